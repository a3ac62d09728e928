# A phone with last week's password asks for mail every fifteen minutes, for two days. It had logged
# in from there.
never 203.0.113.6

at 0s every 15m times 10 ip=203.0.113.6 user=frank
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<s{n:x}>

at 3h every 15m times 192 ip=203.0.113.6 user=frank
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<t{n:x}>
