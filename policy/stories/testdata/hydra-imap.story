# hydra at IMAP, where five failures at once may be one mail program's: thirty connections within
# three seconds, and never again, on a mailbox whose owner reads it elsewhere. A second attacker
# keeps to five at once, as a mail program would, every eight seconds.
must 198.51.100.{204..205}

at 0s every 30m times 4 ip=203.0.113.151 user=kim@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<k{n:x}>

at 1h every 100ms times 30 ip=198.51.100.204 user=kim@example.com
	dovecot: auth-worker({user},{ip})<540><h{n:x}>: request [{n+1}]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<h{n:x}>

at 1h every 8s times 60 ip=198.51.100.205 user=kim@example.com
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<i{n:x}0>
	+10ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<i{n:x}1>
	+10ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<i{n:x}2>
	+10ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<i{n:x}3>
	+10ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<i{n:x}4>
