# Phones of a carrier's customers share one address, and thirty log in. Three still have passwords
# that their owners changed at home, and try every fifteen minutes; one tries a deleted mailbox.
never 203.0.113.153

at 0s times 3 ip=192.0.2.7{n} user=old{n}@example.org
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<h{n:x}>

at 1m every 40s times 600 ip=203.0.113.153 user=u0,u1,u2,u3,u4,u5,u6,u7,u8,u9,v0,v1,v2,v3,v4,v5,v6,v7,v8,v9,w0,w1,w2,w3,w4,w5,w6,w7,w8,w9
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<m{n:x}>

at 1h every 5m times 120 ip=203.0.113.153 user=old0@example.org,old1@example.org,old2@example.org
	dovecot: auth-worker({user},{ip})<540><x{n:x}>: request [1]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}>

at 1h1m every 30m times 20 ip=203.0.113.153 user=gone@example.org
	dovecot: auth-worker({user},{ip})<540><y{n:x}>: request [1]: sql: unknown user
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<y{n:x}>
