# Every minute of a day a monitoring service checks ssh by its banner, SMTP by EHLO and QUIT, IMAP
# and POP3 by their greeting, TLS by a handshake and submission by its offer of AUTH.
never 203.0.113.52 2001:db8:52::1

at 0s every 1m times 1440 ip=203.0.113.52
	sshd-session: Connection closed by {ip} port {port} [preauth]
	sshd-session: error: kex_exchange_identification: Connection closed by remote host
	sshd-session: Connection closed by {ip} port {port}
	postfix/smtpd: connect from unknown[{ip}]
	postfix/smtpd: disconnect from unknown[{ip}] ehlo=1 quit=1 commands=2
	postfix/submission/smtpd: lost connection after EHLO from unknown[{ip}]
	dovecot: pop3-login: Login aborted: Connection closed (no auth attempts in 0 secs) (no_auth_attempts): user=<>, rip={ip}, lip=192.0.2.25, TLS, session=<m{n:x}>
	dovecot: imap-login: Login aborted: Connection closed: SSL_accept() failed: error:0A000126:SSL routines::unexpected eof while reading (disconnected during TLS handshake) (tls_handshake_not_finished): user=<>, rip={ip}, lip=192.0.2.25, TLS handshaking: SSL_accept() failed: error:0A000126:SSL routines::unexpected eof while reading, session=<w{n:x}>

at 30s every 1m times 1440 ip=2001:db8:52::1
	sshd-session: Connection closed by {ip} port {port} [preauth]
	sshd-session: error: kex_exchange_identification: Connection closed by remote host
	sshd-session: Connection closed by {ip} port {port}
	postfix/smtpd: connect from unknown[{ip}]
	postfix/smtpd: disconnect from unknown[{ip}] ehlo=1 quit=1 commands=2
	postfix/submission/smtpd: lost connection after EHLO from unknown[{ip}]
	dovecot: pop3-login: Login aborted: Connection closed (no auth attempts in 0 secs) (no_auth_attempts): user=<>, rip={ip}, lip=192.0.2.25, TLS, session=<m{n:x}>
	dovecot: imap-login: Login aborted: Connection closed: SSL_accept() failed: error:0A000126:SSL routines::unexpected eof while reading (disconnected during TLS handshake) (tls_handshake_not_finished): user=<>, rip={ip}, lip=192.0.2.25, TLS handshaking: SSL_accept() failed: error:0A000126:SSL routines::unexpected eof while reading, session=<w{n:x}>
