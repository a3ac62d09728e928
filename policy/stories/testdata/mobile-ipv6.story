# Twenty-five phones of one provider, each with a /64 of the same /56, mistype once and are in at
# the second try. A /56 is no single customer in a mobile network.
never 2001:db8:5:{0..18:x}::7

at 0s every 2m times 25 ip=2001:db8:5:{n:x}::7 user=mobile{n}
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<s{n:x}>
	+20s dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<t{n:x}>
