# Somebody sets up a mail program and tries three spellings of the user name before calling a
# colleague who knows it.
never 203.0.113.67

at 0s every 40s times 3 ip=203.0.113.67 user=j.doe,jdoe@example.org,john.doe
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}
	+2s dovecot: auth-worker({user},{ip})<540><s{n:x}>: request [{n+1}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<s{n:x}>

at 5m ip=203.0.113.67 user=john@example.org
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<s{n:x}>
