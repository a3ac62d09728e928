# A list of common names at submission, one every ten seconds.
must 198.51.100.131

at 0s every 10s times 12 ip=198.51.100.131 user=admin,info,test,scan,office,contact,sales,support,billing,postmaster,web,user
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}
	+2s dovecot: auth-worker({user},{ip})<540><s{n:x}>: request [{n+1}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	+2s postfix/submission/smtpd: warning: unknown[{ip}]: SASL LOGIN authentication failed: (reason unavailable), sasl_username={user}
	postfix/submission/smtpd: disconnect from unknown[{ip}] ehlo=1 auth=0/1 quit=1 commands=2/3
