# The provider gives a home a new address each night. A tablet there has an old password and opens
# three connections every five minutes until noon, for two days, from addresses without logins. Its
# owner's phone reads the same mailbox elsewhere all the time.
never 203.0.113.{137..138}

at 0s every 30m times 96 ip=192.0.2.137 user=paul@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<o{n:x}>

at 4h every 5m times 96 ip=203.0.113.137 user=paul@example.com
	dovecot: auth-worker({user},{ip})<540><t{n:x}0>: request [{n+1}]: sql: Password mismatch
	+50ms dovecot: auth-worker({user},{ip})<540><t{n:x}1>: request [{n+2}]: sql: Password mismatch
	+50ms dovecot: auth-worker({user},{ip})<540><t{n:x}2>: request [{n+3}]: sql: Password mismatch
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<t{n:x}0>
	+50ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<t{n:x}1>
	+50ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<t{n:x}2>

at 28h every 5m times 96 ip=203.0.113.138 user=paul@example.com
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<u{n:x}0>
	+50ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<u{n:x}1>
	+50ms dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<u{n:x}2>
