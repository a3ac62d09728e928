# Dovecot asks PAM, and sssd behind it has lost its domain: pam_unix and pam_sss both say
# "authentication failure", then the auth worker says that there is no answer. Six phones, for an
# hour.
never 203.0.113.65

at 0s every 40s times 90 ip=203.0.113.65 user=o0,o1,o2,o3,o4,o5
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+1s auth: pam_sss(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip} user={user}
	+100ms dovecot: auth-worker({user},{ip})<540><s{n:x}>: request [{n+1}]: pam: pam_authenticate() failed: Authentication service cannot retrieve authentication info
	+1s dovecot: imap-login: Login aborted: Connection closed (auth service reported temporary failure) (auth_temp_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<s{n:x}>
