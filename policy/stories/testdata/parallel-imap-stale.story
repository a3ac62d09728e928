# A mail program with an old password opens three connections at once, every ten minutes of a
# working day, until its user comes back from a meeting. It had logged in from there the day before.
never 203.0.113.41

at 0s every 10m times 6 ip=203.0.113.41 user=lena
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<s{n:x}>

at 22h every 10m times 54 ip=203.0.113.41 user=lena
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+30ms auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+30ms auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+2s dovecot: auth-worker({user},{ip})<540><d{n:x}0>: request [{n+1}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	+30ms dovecot: auth-worker({user},{ip})<540><d{n:x}1>: request [{n+1}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	+30ms dovecot: auth-worker({user},{ip})<540><d{n:x}2>: request [{n+1}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<d{n:x}0>
	+30ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<d{n:x}1>
	+30ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<d{n:x}2>
