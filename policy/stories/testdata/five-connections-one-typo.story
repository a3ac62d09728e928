# Thunderbird on a train, with a password that its owner mistyped: five connections fail at once,
# then it asks, and five succeed. Another person sets up a phone in a hotel, also with one typo: it
# asks IMAP twice and submission three times. Both log in elsewhere every day.
never 203.0.113.{135..136}

at 0s every 24h times 3 ip=192.0.2.135 user=nora@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<d{n:x}>

at 0s every 24h times 3 ip=192.0.2.136 user=ella
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<e{n:x}>

at 72h every 100ms times 5 ip=203.0.113.135 user=nora@example.com
	dovecot: auth-worker({user},{ip})<540><a{n:x}>: request [{n+7}]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<a{n:x}>

at 72h25s every 100ms times 5 ip=203.0.113.135 user=nora@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<b{n:x}>

at 72h every 2s times 2 ip=203.0.113.136 user=ella
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+2s dovecot: auth-worker({user},{ip})<540><p{n:x}>: request [{n+3}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<p{n:x}>

at 72h8s every 3s times 3 ip=203.0.113.136 user=ella
	postfix/submission/smtpd: connect from hotel.example.net[{ip}]
	auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}  user={user}
	+2s dovecot: auth-worker({user},{ip})<540>: request [{n+5}]: pam: pam_authenticate() failed: Authentication failure (Password mismatch?)
	postfix/submission/smtpd: warning: hotel.example.net[{ip}]: SASL PLAIN authentication failed: (reason unavailable), sasl_username={user}
	postfix/submission/smtpd: disconnect from hotel.example.net[{ip}] ehlo=2 starttls=1 auth=0/1 quit=1 commands=4/5

at 72h1m ip=203.0.113.136 user=ella
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<q>
