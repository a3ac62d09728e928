# A mail password has expired. The phone tries every ten minutes over the weekend.
never 203.0.113.66

at 0s every 10m times 300 ip=203.0.113.66 user=uwe
	dovecot: imap-login: Login aborted: Connection closed (password expired) (auth_pass_expired): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<e{n:x}>
