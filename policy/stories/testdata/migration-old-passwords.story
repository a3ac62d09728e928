# A migration copies mailboxes with imapsync, one every eighteen seconds. Every eleventh password has
# been changed, and is tried three times.
never 203.0.113.150

at 0s every 18s times 80 ip=203.0.113.150 user=box{n}@example.org
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<m{n:x}>

at 70s every 198s times 7 ip=203.0.113.150 user=old{n}@example.org
	dovecot: auth-worker({user},{ip})<540><x{n:x}>: request [1]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}>
	+2s dovecot: auth-worker({user},{ip})<540><y{n:x}>: request [1]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<y{n:x}>
	+2s dovecot: auth-worker({user},{ip})<540><z{n:x}>: request [1]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<z{n:x}>
