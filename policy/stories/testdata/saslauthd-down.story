# saslauthd has crashed. Everybody's mail program fails at submission, every two minutes, until
# somebody notices after three hours: "generic failure".
never 203.0.113.{60..63}

at 0s every 30s times 360 ip=203.0.113.60,203.0.113.61,203.0.113.62,203.0.113.63
	postfix/submission/smtpd: connect from client.example.net[{ip}]
	postfix/submission/smtpd: warning: SASL authentication failure: cannot connect to saslauthd server: No such file or directory
	postfix/submission/smtpd: warning: client.example.net[{ip}]: SASL LOGIN authentication failed: generic failure
	postfix/submission/smtpd: disconnect from client.example.net[{ip}] ehlo=2 starttls=1 auth=0/1 quit=1 commands=4/5
