# SASL guesses on one account, one every eight seconds.
must 198.51.100.14

at 0s every 8s times 8 ip=198.51.100.14 user=info@example.org
	+2s postfix/submission/smtpd: warning: unknown[{ip}]: SASL LOGIN authentication failed: (reason unavailable), sasl_username={user}
	postfix/submission/smtpd: disconnect from unknown[{ip}] ehlo=1 auth=0/1 quit=1 commands=2/3
