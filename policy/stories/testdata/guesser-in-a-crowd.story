# Forty people of an office read mail. Somebody behind the same address guesses at one mailbox, once
# every twenty seconds: that others log in is no excuse.
must 203.0.113.151

at 0s every 10s times 40 ip=203.0.113.151 user=w{n}@example.org
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<m{n:x}>

at 1h every 20s times 6 ip=203.0.113.151 user=ceo@example.org
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<x{n:x}>
