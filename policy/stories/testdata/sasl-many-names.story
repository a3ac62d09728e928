# SASL guesses, one every ninety seconds, always at another account: slower than any single window,
# but nobody has twenty-four accounts.
must 198.51.100.24

at 0s every 90s times 24 ip=198.51.100.24 user=sales{n}@example.org
	+2s postfix/submission/smtpd: warning: unknown[{ip}]: SASL PLAIN authentication failed: (reason unavailable), sasl_username={user}
	postfix/submission/smtpd: disconnect from unknown[{ip}] ehlo=1 auth=0/1 quit=1 commands=2/3
