# fetchmail on somebody's home server fetches the mail of a family every minute. One of them has
# changed the password on Friday evening and does not see to it before Sunday night.
never 203.0.113.141

at 0s every 1s times 3 ip=203.0.113.141 user=mum@example.com,dad@example.com,kid@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<a{n:x}>

at 10m every 1m times 2880 ip=203.0.113.141 user=dad@example.com
	dovecot: auth-worker({user},{ip})<540><f{n:x}>: request [{n+1}]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<f{n:x}>

at 10m20s every 5m times 576 ip=203.0.113.141 user=mum@example.com,kid@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<g{n:x}>
