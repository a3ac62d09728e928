# A host verifies senders by call-outs and never sends a mail; another is greylisted. None of the
# lines that Exim logs about them is a login.
never 203.0.113.68 203.0.113.69

at 0s every 2m times 200 ip=203.0.113.68
	exim: H=verify.example.net [{ip}]:{port} F=<> rejected RCPT <bob{n}@example.org>: Unrouteable address
	exim: no MAIL in SMTP connection from verify.example.net [{ip}]:{port} D=1s C=EHLO,QUIT

at 0s every 5m times 60 ip=203.0.113.69
	exim: H=mx.example.net [{ip}]:{port} F=<a@example.net> temporarily rejected RCPT <bob@example.org>: greylisted
