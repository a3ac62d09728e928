# The same with mail: a valid login of the attacker's own mailbox between guesses at another.
must 198.51.100.138

at 0s every 15s times 16 ip=198.51.100.138 user=ceo@example.org
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+2s dovecot: auth-worker({user},{ip})<540><s{n:x}>: request [{n+1}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<s{n:x}>

at 8s every 30s times 8 ip=198.51.100.138 user=mallory@example.org
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<v{n:x}>
