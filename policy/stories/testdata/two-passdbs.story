# Dovecot asks a passwd-file of system accounts first, which does not know the mail users, then SQL,
# which does. A mail program opens six connections at once, every half an hour of a day.
never 203.0.113.37

at 8h every 30m times 20 ip=203.0.113.37 user=kim@example.org
	+20ms dovecot: auth: passwd-file({user},{ip},<p{n:x}0>): unknown user
	+20ms dovecot: auth: passwd-file({user},{ip},<p{n:x}1>): unknown user
	+20ms dovecot: auth: passwd-file({user},{ip},<p{n:x}2>): unknown user
	+20ms dovecot: auth: passwd-file({user},{ip},<p{n:x}3>): unknown user
	+20ms dovecot: auth: passwd-file({user},{ip},<p{n:x}4>): unknown user
	+20ms dovecot: auth: passwd-file({user},{ip},<p{n:x}5>): unknown user
	+50ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<p{n:x}0>
	+50ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<p{n:x}1>
	+50ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<p{n:x}2>
	+50ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<p{n:x}3>
	+50ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<p{n:x}4>
	+50ms dovecot: imap-login: Logged in: user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<p{n:x}5>
