# A laptop's clock is wrong, so its Kerberos ticket is refused: its mail program tries every two
# minutes for three hours, and Dovecot does not know the user. Another laptop wakes up in a hotel
# with an expired token, and tries eight folders with it before it fetches a new one. Nobody guesses
# tickets or tokens.
never 203.0.113.{133..134}

at 0s every 2m times 90 ip=203.0.113.133
	dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 0 secs): user=<>, method=GSSAPI, rip={ip}, lip=192.0.2.25, TLS, session=<k{n:x}>

at 0s every 24h times 3 ip=192.0.2.134 user=olga@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=XOAUTH2, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<d{n:x}>

at 72h every 500ms times 8 ip=203.0.113.134 user=olga@example.com
	dovecot: auth({user},{ip},sasl:xoauth2)<w{n:x}>: oauth2: Token validation failed: token is expired
	+2s dovecot: imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{user}>, method=XOAUTH2, rip={ip}, lip=192.0.2.25, TLS, session=<w{n:x}>

at 72h1m every 1s times 8 ip=203.0.113.134 user=olga@example.com
	dovecot: imap-login: Logged in: user=<{user}>, method=XOAUTH2, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<x{n:x}>
