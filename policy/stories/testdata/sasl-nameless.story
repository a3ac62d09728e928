# Guesses at an older Postfix, which does not log the user name: one address makes one every half
# minute, another makes one every half hour for two days.
must 198.51.100.{197..198}

at 0s every 30s times 20 ip=198.51.100.197
	postfix/submission/smtpd: connect from unknown[{ip}]
	+2s postfix/submission/smtpd: warning: unknown[{ip}]: SASL LOGIN authentication failed: UGFzc3dvcmQ6
	postfix/submission/smtpd: disconnect from unknown[{ip}] ehlo=1 auth=0/1 quit=1 commands=2/3

at 0s every 30m times 96 ip=198.51.100.198
	postfix/submission/smtpd: connect from unknown[{ip}]
	+2s postfix/submission/smtpd: warning: unknown[{ip}]: SASL LOGIN authentication failed: authentication failure
	postfix/submission/smtpd: disconnect from unknown[{ip}] ehlo=1 auth=0/1 quit=1 commands=2/3
