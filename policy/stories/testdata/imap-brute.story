# IMAP guesses at one account, four at a time as some tools do. PAM, the auth worker and the login
# process each report every guess.
must 198.51.100.132

at 0s every 20s times 4 ip=198.51.100.132 user=info
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+30ms auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+30ms auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+30ms auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+2s dovecot: auth-worker({user},{ip})<540><x{n:x}0>: request [{n+1}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	+30ms dovecot: auth-worker({user},{ip})<540><x{n:x}1>: request [{n+1}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	+30ms dovecot: auth-worker({user},{ip})<540><x{n:x}2>: request [{n+1}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	+30ms dovecot: auth-worker({user},{ip})<540><x{n:x}3>: request [{n+1}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}0>
	+30ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}1>
	+30ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}2>
	+30ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}3>
