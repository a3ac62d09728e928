# A Dovecot proxy has three backends, one of which is down for a quarter of an hour: its users fail
# again and again with the right password. Meanwhile three people of the same office mistype.
never 203.0.113.146

at 0s every 30s times 60 ip=203.0.113.146 user=d{n}@example.com
	dovecot: imap-login: proxy({user},192.0.2.71:143): Started proxying to <192.0.2.71> (0.012 secs): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<p{n:x}>

at 10m every 15s times 60 ip=203.0.113.146 user=b1@example.com,b2@example.com,b3@example.com,b4@example.com
	dovecot: imap-login: Error: proxy({user},192.0.2.72:143): connect(192.0.2.72, 143) failed: Connection refused (after 0 secs, 2 reconnects): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<q{n:x}>
	dovecot: imap-login: Disconnected: Connection closed (auth service reported temporary failure): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<q{n:x}>

at 11m every 3m times 3 ip=203.0.113.146 user=e{n}@example.com
	dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<{user}>, method=PLAIN, rip={ip}, lip=192.0.2.25, TLS, session=<e{n:x}>
