# A list of mailboxes and passwords from another site, one every minute and a half. Every fifth
# password is right here, too, which does not clear the failures on the others.
must 2001:db8:41::9

at 0s every 90s times 80 ip=2001:db8:41::9 user=c{n}@example.com
	dovecot: auth-worker({user},{ip})<540><s{n:x}>: request [{n+1}]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<s{n:x}>

at 45s every 6m times 20 ip=2001:db8:41::9 user=right{n}@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<r{n:x}>
