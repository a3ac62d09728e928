# An attacker guesses the mailbox of somebody who logs in every day: four passwords in each of five
# connections at once, every eleven minutes. A mail program tries one password over several
# connections, not four over each.
must 198.51.100.174

at 0s every 1h times 3 ip=192.0.2.174 user=kim@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<g{n:x}>

at 10m every 11m times 8 ip=198.51.100.174 user=kim@example.com
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 4 attempts in 14 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<a{n:x}>
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 4 attempts in 14 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<b{n:x}>
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 4 attempts in 14 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<c{n:x}>
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 4 attempts in 14 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<d{n:x}>
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 4 attempts in 14 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<e{n:x}>
