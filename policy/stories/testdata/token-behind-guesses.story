# An attacker tries nine passwords in each connection, and a token at the end. The line names the
# token's mechanism.
must 198.51.100.175

at 0s every 5m times 12 ip=198.51.100.175 user=kim@example.com
	dovecot: imap-login: Disconnected: Connection closed (auth failed, 10 attempts in 60 secs): user=<{user}>, method=XOAUTH2, rip={ip}, lip=192.0.2.25, TLS, session=<t{n:x}>
