# A monitor opens ports 22, 25 and 993 every minute of two days, and says nothing.
never 203.0.113.15

at 0s every 1m times 2880 ip=203.0.113.15
	sshd-session: Connection closed by {ip} port {port}
	postfix/smtpd: connect from monitor.example.net[{ip}]
	postfix/smtpd: lost connection after CONNECT from monitor.example.net[{ip}]
	dovecot: imap-login: Login aborted: Connection closed (no auth attempts in 0 secs) (no_auth_attempts): user=<>, rip={ip}, lip=192.0.2.25, TLS, session=<c{n:x}>
