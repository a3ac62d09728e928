# Forty hosts of a botnet guess the mailbox of a shop. Its owner mistypes the password once, on a
# train: the phone fails over three connections, then succeeds. One typo is no attack, over however
# many connections.
never 203.0.113.139

at 0s every 1h times 3 ip=192.0.2.139 user=shop@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<o{n:x}>

at 4h every 2m times 40 ip=198.51.100.{n+1} user=shop@example.com
	dovecot: auth-worker({user},{ip})<540><b{n:x}>: request [{n+1}]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<b{n:x}>

at 5h10m every 50ms times 3 ip=203.0.113.139 user=shop@example.com
	dovecot: auth-worker({user},{ip})<540><t{n:x}>: request [{n+50}]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<t{n:x}>

at 5h11m every 1s times 3 ip=203.0.113.139 user=shop@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<v{n:x}>
