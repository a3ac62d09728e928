# A guess at one mailbox every four minutes, all day, from an address without logins. Nobody would
# leave a phone on that fails three hundred and sixty times a day.
must 198.51.100.136

at 0s every 4m times 720 ip=198.51.100.136 user=ceo@example.org
	+2s postfix/submission/smtpd: warning: unknown[{ip}]: SASL PLAIN authentication failed: (reason unavailable), sasl_username={user}
	postfix/submission/smtpd: disconnect from unknown[{ip}] ehlo=1 auth=0/1 quit=1 commands=2/3
