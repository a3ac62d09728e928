# An upgrade removed a plug-in of the SASL library: everybody who sends mail gets "no mechanism
# available". Six mail programs keep trying every four minutes for two hours. A scanner's SASL
# password has also expired; Postfix logs at each scan that it "has to be reset".
never 203.0.113.{120..126}

at 0s every 40s times 180 ip=203.0.113.120,203.0.113.121,203.0.113.122,203.0.113.123,203.0.113.124,203.0.113.125
	postfix/submission/smtpd: connect from pc.example.net[{ip}]
	+200ms postfix/submission/smtpd: warning: pc.example.net[{ip}]: SASL LOGIN authentication failed: no mechanism available
	postfix/submission/smtpd: disconnect from pc.example.net[{ip}] ehlo=2 starttls=1 auth=0/1 quit=1 commands=4/5

at 0s every 90s times 40 ip=203.0.113.126 user=scanner
	postfix/submission/smtpd: connect from unknown[{ip}]
	+200ms postfix/submission/smtpd: warning: unknown[{ip}]: SASL PLAIN authentication failed: passphrase expired, has to be reset, sasl_username={user}
	postfix/submission/smtpd: disconnect from unknown[{ip}] ehlo=2 starttls=1 auth=0/1 quit=1 commands=4/5
