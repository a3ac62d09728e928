# A phone with an old password behind a carrier's NAT asks every five minutes of a day. Others log
# in from the same address. It never logged in from there, since the carrier changes addresses.
never 203.0.113.42

at 0s every 5m times 288 ip=203.0.113.42 user=nils
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<s{n:x}>

at 2m every 20m times 72 ip=203.0.113.42 user=cust{n}
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<o{n:x}>

at 0s ip=192.0.2.77 user=nils
	+300ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<home>
