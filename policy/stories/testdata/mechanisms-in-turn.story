# Outlook tries the typed password with every mechanism that Postfix offers, within one session:
# CRAM-MD5, PLAIN, LOGIN. Two mistyped passwords make six lines; the third is right.
never 203.0.113.127

at 0s every 45s times 2 ip=203.0.113.127 user=lena
	postfix/submission/smtpd: connect from dsl.example.net[{ip}]
	postfix/submission/smtpd: warning: SASL authentication failure: no secret in database
	postfix/submission/smtpd: warning: dsl.example.net[{ip}]: SASL CRAM-MD5 authentication failed: authentication failure, sasl_username={user}
	+3s postfix/submission/smtpd: warning: SASL authentication failure: Password verification failed
	postfix/submission/smtpd: warning: dsl.example.net[{ip}]: SASL PLAIN authentication failed: authentication failure, sasl_username={user}
	+3s postfix/submission/smtpd: warning: dsl.example.net[{ip}]: SASL LOGIN authentication failed: authentication failure, sasl_username={user}
	postfix/submission/smtpd: disconnect from dsl.example.net[{ip}] ehlo=2 starttls=1 auth=0/3 quit=1 commands=4/7

at 2m ip=203.0.113.127 user=lena
	postfix/submission/smtpd: connect from dsl.example.net[{ip}]
	postfix/submission/smtpd: 4fYk2D1Cz1z2: client=dsl.example.net[{ip}], sasl_method=PLAIN, sasl_username={user}
	postfix/submission/smtpd: disconnect from dsl.example.net[{ip}] ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=8
