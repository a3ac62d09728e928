# A mail host with fifteen recipients is greylisted and tries again every two minutes, as RFC 5321
# requires.
never 203.0.113.12

at 0s every 2m times 30 ip=203.0.113.12 host=mx1.example.net user=u{n}
	postfix/smtpd: connect from {host}[{ip}]
	postfix/smtpd: NOQUEUE: reject: RCPT from mx1.example.net[{ip}]: 450 4.2.0 <{user}@example.org>: Recipient address rejected: Greylisted, see https://postgrey.schweikert.ch/help/example.org.html; from=<list-{n}@example.net> to=<{user}@example.org> proto=ESMTP helo=<mx1.example.net>
	postfix/smtpd: disconnect from mx1.example.net[{ip}] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4

at 1h ip=203.0.113.12
	postfix/smtpd: 4bXqKz4y2Fz1Wk: client=mx1.example.net[{ip}]
