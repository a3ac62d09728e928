# One of a provider's outbound hosts is on a block list for a day; customers' mail to this host is
# refused by the dozen.
never 203.0.113.50

at 0s every 3m times 300 ip=203.0.113.50
	postfix/smtpd: NOQUEUE: reject: RCPT from out7.example.net[{ip}]: 554 5.7.1 Service unavailable; Client host [{ip}] blocked using bl.example.com; from=<c{n}@example.net> to=<info@example.org> proto=ESMTP helo=<out7.example.net>
