# The provider of a small company has broken its reverse DNS. Its mail host tries every five minutes
# for a day.
never 203.0.113.13

at 0s every 5m times 288 ip=203.0.113.13
	postfix/smtpd: connect from unknown[{ip}]
	postfix/smtpd: NOQUEUE: reject: RCPT from unknown[{ip}]: 450 4.7.25 Client host rejected: cannot find your hostname, [{ip}]; from=<office@example.net> to=<info@example.org> proto=ESMTP helo=<mail.example.net>
	postfix/smtpd: disconnect from unknown[{ip}] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4
