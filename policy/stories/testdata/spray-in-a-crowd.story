# As in guesser-in-a-crowd, but each guess is at another colleague's mailbox, three a minute.
must 203.0.113.152

at 0s every 10s times 40 ip=203.0.113.152 user=w{n}@example.org
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<m{n:x}>

at 1h every 20s times 16 ip=203.0.113.152 user=boss{n}@example.org
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}>
