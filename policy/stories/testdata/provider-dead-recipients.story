# A newsletter of a large provider to eight people who have left the company, three times a day from
# the same host.
never 203.0.113.10

at 0h every 400ms times 8 ip=203.0.113.10
	postfix/smtpd: NOQUEUE: reject: RCPT from mail-ot1-f41.example.net[{ip}]: 550 5.1.1 <left{n}@example.org>: Recipient address rejected: User unknown in virtual mailbox table; from=<news@example.net> to=<left{n}@example.org> proto=ESMTP helo=<mail-ot1-f41.example.net>

at 6h every 400ms times 8 ip=203.0.113.10
	postfix/smtpd: NOQUEUE: reject: RCPT from mail-ot1-f41.example.net[{ip}]: 550 5.1.1 <left{n}@example.org>: Recipient address rejected: User unknown in virtual mailbox table; from=<news@example.net> to=<left{n}@example.org> proto=ESMTP helo=<mail-ot1-f41.example.net>

at 12h every 400ms times 8 ip=203.0.113.10
	postfix/smtpd: NOQUEUE: reject: RCPT from mail-ot1-f41.example.net[{ip}]: 550 5.1.1 <left{n}@example.org>: Recipient address rejected: User unknown in virtual mailbox table; from=<news@example.net> to=<left{n}@example.org> proto=ESMTP helo=<mail-ot1-f41.example.net>
