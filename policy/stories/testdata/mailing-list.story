# A mailing list host delivers to sixty members here every few hours. Ten mailboxes no longer exist,
# five are full.
never 203.0.113.49

at 0h every 200ms times 10 ip=203.0.113.49
	postfix/smtpd: 4bXq{port}: client=lists.example.net[{ip}]
	postfix/smtpd: NOQUEUE: reject: RCPT from lists.example.net[{ip}]: 550 5.1.1 <gone{n}@example.org>: Recipient address rejected: User unknown in local recipient table; from=<list-bounces@example.net> to=<gone{n}@example.org> proto=ESMTP helo=<lists.example.net>

at 3h every 200ms times 10 ip=203.0.113.49
	postfix/smtpd: 4bXq{port}: client=lists.example.net[{ip}]
	postfix/smtpd: NOQUEUE: reject: RCPT from lists.example.net[{ip}]: 550 5.1.1 <gone{n}@example.org>: Recipient address rejected: User unknown in local recipient table; from=<list-bounces@example.net> to=<gone{n}@example.org> proto=ESMTP helo=<lists.example.net>

at 6h every 200ms times 10 ip=203.0.113.49
	postfix/smtpd: 4bXq{port}: client=lists.example.net[{ip}]
	postfix/smtpd: NOQUEUE: reject: RCPT from lists.example.net[{ip}]: 550 5.1.1 <gone{n}@example.org>: Recipient address rejected: User unknown in local recipient table; from=<list-bounces@example.net> to=<gone{n}@example.org> proto=ESMTP helo=<lists.example.net>

at 9h every 200ms times 10 ip=203.0.113.49
	postfix/smtpd: 4bXq{port}: client=lists.example.net[{ip}]
	postfix/smtpd: NOQUEUE: reject: RCPT from lists.example.net[{ip}]: 550 5.1.1 <gone{n}@example.org>: Recipient address rejected: User unknown in local recipient table; from=<list-bounces@example.net> to=<gone{n}@example.org> proto=ESMTP helo=<lists.example.net>

at 1h every 3h times 4 ip=203.0.113.49
	postfix/smtpd: NOQUEUE: reject: RCPT from lists.example.net[{ip}]: 452 4.2.2 <full{n}@example.org>: Recipient address rejected: Mailbox is full; from=<list-bounces@example.net> to=<full{n}@example.org> proto=ESMTP helo=<lists.example.net>
