# A mail host that speaks TLS 1.0 only fails in the handshake every five minutes for a day, and
# falls back to nothing.
never 203.0.113.20

at 0s every 5m times 288 ip=203.0.113.20
	postfix/smtpd: connect from relay.example.net[{ip}]
	postfix/smtpd: SSL_accept error from relay.example.net[{ip}]: -1
	postfix/smtpd: warning: TLS library problem: error:0A000102:SSL routines::unsupported protocol:../ssl/statem/statem_srvr.c:1657:
	postfix/smtpd: lost connection after STARTTLS from relay.example.net[{ip}]
	postfix/smtpd: disconnect from relay.example.net[{ip}] ehlo=1 starttls=0/1 commands=1/2
