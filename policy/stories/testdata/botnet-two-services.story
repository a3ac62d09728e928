# Fifteen hosts try four passwords each of one mailbox within five hours, two at IMAP and two at submission. Its owner, at a hotel,
# mistypes the password twice: each time the mail program tries it at both.
must 198.51.100.{200..214}
never 203.0.113.44

at 0s every 17m times 15 ip=198.51.100.{n+200} user=sales@example.org
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<a{n:x}>
	+40s postfix/submission/smtpd: warning: unknown[{ip}]: SASL PLAIN authentication failed: (reason unavailable), sasl_username={user}

at 5h every 1m times 15 ip=198.51.100.{n+200} user=sales@example.org
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<b{n:x}>
	+20s postfix/submission/smtpd: warning: unknown[{ip}]: SASL PLAIN authentication failed: (reason unavailable), sasl_username={user}

at 330m every 1m times 2 ip=203.0.113.44 user=sales@example.org
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<c{n:x}>
	+3s postfix/submission/smtpd: warning: unknown[{ip}]: SASL PLAIN authentication failed: (reason unavailable), sasl_username={user}

at 333m ip=203.0.113.44 user=sales@example.org
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4711, TLS, session=<d{n:x}>
