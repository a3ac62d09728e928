# A botnet of sixty addresses guesses info's mailbox. Its owner, who logged in this morning,
# mistypes twice on a phone in the same hours, from a new address.
never 203.0.113.90

at 0s ip=192.0.2.90 user=info@example.org
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<m>

at 1h every 2m times 180 ip=198.51.100.1,198.51.100.2,198.51.100.3,198.51.100.4,198.51.100.5,198.51.100.6,198.51.100.7,198.51.100.8,198.51.100.9,198.51.100.10,198.51.100.11,198.51.100.12,198.51.100.13,198.51.100.14,198.51.100.15,198.51.100.16,198.51.100.17,198.51.100.18,198.51.100.19,198.51.100.20,198.51.100.21,198.51.100.22,198.51.100.23,198.51.100.24,198.51.100.25,198.51.100.26,198.51.100.27,198.51.100.28,198.51.100.29,198.51.100.30,198.51.100.31,198.51.100.32,198.51.100.33,198.51.100.34,198.51.100.35,198.51.100.36,198.51.100.37,198.51.100.38,198.51.100.39,198.51.100.40,198.51.100.41,198.51.100.42,198.51.100.43,198.51.100.44,198.51.100.45,198.51.100.46,198.51.100.47,198.51.100.48,198.51.100.49,198.51.100.50,198.51.100.51,198.51.100.52,198.51.100.53,198.51.100.54,198.51.100.55,198.51.100.56,198.51.100.57,198.51.100.58,198.51.100.59,198.51.100.60 user=info@example.org
	+2s postfix/submission/smtpd: warning: unknown[{ip}]: SASL LOGIN authentication failed: (reason unavailable), sasl_username={user}
	postfix/submission/smtpd: disconnect from unknown[{ip}] ehlo=1 auth=0/1 quit=1 commands=2/3

at 5h every 20s times 2 ip=203.0.113.90 user=info@example.org
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<z{n:x}>

at 5h1m ip=203.0.113.90 user=info@example.org
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<y>
