# A household of four: three read mail all day. The fourth's tablet tries an old password every
# twenty minutes; nobody has logged in to that mailbox since the server was set up. Behind a
# carrier's address thirty phones read mail, and four try an old password all day. Somebody with a
# single account guesses at another mailbox as often.
never 203.0.113.{194..195}
must 203.0.113.196

at 0s every 20m times 72 ip=203.0.113.194
	dovecot: imap-login: Logged in: user=<anna@example.com>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<a{n:x}>
	+90s dovecot: imap-login: Logged in: user=<bert@example.com>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<b{n:x}>
	+90s dovecot: imap-login: Logged in: user=<cleo@example.com>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<c{n:x}>
	+90s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<dirk@example.com>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<d{n:x}>

at 10s every 48m times 30 ip=203.0.113.195
	dovecot: imap-login: Logged in: user=<p{n}@example.com>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<e{n:x}>

at 30s every 30s times 30 ip=203.0.113.195
	dovecot: imap-login: Logged in: user=<q{n}@example.com>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<f{n:x}>

at 1h every 5m times 240 ip=203.0.113.195 user=x1@example.com,x2@example.com,x3@example.com,x4@example.com
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<g{n:x}>

at 0s every 2h times 12 ip=203.0.113.196
	dovecot: imap-login: Logged in: user=<eve@example.com>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<h{n:x}>

at 10m every 20m times 70 ip=203.0.113.196
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<ceo@example.com>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<i{n:x}>
