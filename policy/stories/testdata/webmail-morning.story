# A webmail server logs in for all users from its own address, and does not pass on theirs. On the
# morning after bailiff's installation two hundred log in within an hour; twenty mistype once, three
# have forgotten their password and ask for a new one.
never 203.0.113.145

at 8h every 18s times 200 ip=203.0.113.145 user=w{n}@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<w{n:x}>

at 8h2m every 170s times 20 ip=203.0.113.145 user=m{n}@example.com
	dovecot: auth-worker({user},{ip})<540><m{n:x}>: request [{n+1}]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<m{n:x}>
	+20s dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<i{n:x}>

at 8h10m every 15m times 3 ip=203.0.113.145 user=f{n}@example.com
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<f{n:x}0>
	+30s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<f{n:x}1>
	+2m dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<f{n:x}2>
