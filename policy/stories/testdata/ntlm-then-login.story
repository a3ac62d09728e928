# Outlook tries NTLM over separate connections, for which Dovecot knows no user, and then logs in by
# LOGIN: four folders every ten minutes of a day.
never 203.0.113.132

at 0s every 10m times 100 ip=203.0.113.132 user=otto@example.com
	dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 0 secs): user=<>, method=NTLM, rip={ip}, lip=192.0.2.25, TLS, session=<n{n:x}0>
	+400ms dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 0 secs): user=<>, method=NTLM, rip={ip}, lip=192.0.2.25, TLS, session=<n{n:x}1>
	+400ms dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 0 secs): user=<>, method=NTLM, rip={ip}, lip=192.0.2.25, TLS, session=<n{n:x}2>
	+400ms dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 0 secs): user=<>, method=NTLM, rip={ip}, lip=192.0.2.25, TLS, session=<n{n:x}3>
	+2s dovecot: imap-login: Login: user=<{user}>, method=LOGIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<n{n:x}4>
	+400ms dovecot: imap-login: Login: user=<{user}>, method=LOGIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<n{n:x}5>
	+400ms dovecot: imap-login: Login: user=<{user}>, method=LOGIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<n{n:x}6>
	+400ms dovecot: imap-login: Login: user=<{user}>, method=LOGIN, rip={ip}, lip=192.0.2.25, mpid=4{port}, TLS, session=<n{n:x}7>
