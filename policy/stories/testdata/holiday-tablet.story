# A tablet at home reads mail, and is switched off for twelve days. Meanwhile the password was changed; it goes
# on with the old one every quarter of an hour for a day.
never 203.0.113.6

at 0s every 15m times 40 ip=203.0.113.6 user=lena
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<s{n:x}>

at 288h every 15m times 96 ip=203.0.113.6 user=lena
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<d{n:x}>
