# Sixty strangers behind one address of a mobile network read their mail all day; one in six
# mistypes once, over the day.
never 203.0.113.55

at 0s every 5m times 240 ip=203.0.113.55 user=m{n}@example.org
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<s{n:x}>

at 1h every 80m times 10 ip=203.0.113.55 user=n{n}@example.org
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<f{n:x}>
	+12s dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<g{n:x}>
