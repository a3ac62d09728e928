# A household of five with privacy extensions: each device takes a new address of the same /64 every
# few hours, and over the day six typos come from it, each on another account and each followed by a
# login.
never 2001:db8:54:1::{1..6:x}

at 6h every 2h30m times 6 ip=2001:db8:54:1::{n+1:x} user=mum,dad,kid1,kid2,mum,aunt
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<s{n:x}>
	+15s dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<t{n:x}>
