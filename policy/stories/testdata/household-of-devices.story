# A family's address: after a change of one account's mail password, a phone, a tablet and a laptop
# each try the old one every ten minutes for half a day. The account logged in from there all week.
never 203.0.113.74

at 0s every 1h times 48 ip=203.0.113.74 user=tina
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<s{n:x}>

at 48h every 200s times 216 ip=203.0.113.74 user=tina
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<h{n:x}>
