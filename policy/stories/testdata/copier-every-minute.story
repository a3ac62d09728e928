# A copier sent scans all day; its password was changed in the evening. With one scan in its queue it tries every
# minute over the weekend. Postfix counts each attempt, and so does Dovecot, which Postfix asks.
never 203.0.113.4

at 0s every 20m times 24 ip=203.0.113.4 user=scan@example.com
	postfix/submission/smtpd: 4fYk2D0{n:x}: client=unknown[{ip}], sasl_method=PLAIN, sasl_username={user}

at 10h every 1m times 2400 ip=203.0.113.4 user=scan@example.com
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+2s dovecot: auth-worker({user},{ip})<540><d{n:x}>: request [{n+1}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	+200ms postfix/submission/smtpd: warning: unknown[{ip}]: SASL PLAIN authentication failed: (reason unavailable), sasl_username={user}
