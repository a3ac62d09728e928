# Twenty-five phones of one provider, each with a /64 of the same /56, mistype once within minutes, each the
# password of its own mailbox. Nobody tries again on the train; they read their mail at home.
never 2001:db8:57:{0..18:x}::7

at 0s every 20s times 25 ip=2001:db8:57:{n:x}::7 user=rider{n}
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<s{n:x}>

at 2h every 20s times 25 ip=203.0.113.{n+1} user=rider{n}
	+2s dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<t{n:x}>
