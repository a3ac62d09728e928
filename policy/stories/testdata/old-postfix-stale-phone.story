# Postfix 3.5 names nobody in its SASL failures. A phone that read mail in the morning goes on with
# the old password all afternoon and night: IMAP, and a mail in its outbox. Dovecot, which Postfix
# asks, says who it is.
never 203.0.113.173

at 0s every 15m times 16 ip=203.0.113.173 user=hanna@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<g{n:x}>

at 4h every 15m times 48 ip=203.0.113.173 user=hanna@example.com
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+2s dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<b{n:x}>
	+3s postfix/submission/smtpd: connect from unknown[{ip}]
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+2s postfix/submission/smtpd: warning: unknown[{ip}]: SASL PLAIN authentication failed:
	postfix/submission/smtpd: disconnect from unknown[{ip}] ehlo=2 starttls=1 auth=0/1 quit=1 commands=3/4
