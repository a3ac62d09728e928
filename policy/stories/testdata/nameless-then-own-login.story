# An attacker with a mailbox here makes eight CRAM-MD5 guesses, which name nobody, and then logs in
# to that mailbox by PLAIN and sends a mail, as though a mail program had fallen back.
must 198.51.100.199

at 0s every 2m times 10 ip=198.51.100.199 user=mallory
	postfix/submission/smtpd: connect from unknown[{ip}]
	+1s postfix/submission/smtpd: warning: unknown[{ip}]: SASL CRAM-MD5 authentication failed: authentication failure
	+1s postfix/submission/smtpd: warning: unknown[{ip}]: SASL CRAM-MD5 authentication failed: authentication failure
	+1s postfix/submission/smtpd: warning: unknown[{ip}]: SASL CRAM-MD5 authentication failed: authentication failure
	+1s postfix/submission/smtpd: warning: unknown[{ip}]: SASL CRAM-MD5 authentication failed: authentication failure
	+1s postfix/submission/smtpd: warning: unknown[{ip}]: SASL CRAM-MD5 authentication failed: authentication failure
	+1s postfix/submission/smtpd: warning: unknown[{ip}]: SASL CRAM-MD5 authentication failed: authentication failure
	+1s postfix/submission/smtpd: warning: unknown[{ip}]: SASL CRAM-MD5 authentication failed: authentication failure
	+1s postfix/submission/smtpd: warning: unknown[{ip}]: SASL CRAM-MD5 authentication failed: authentication failure
	+1s postfix/submission/smtpd: 3F2B{n+4096:x}D4: client=unknown[{ip}], sasl_method=PLAIN, sasl_username={user}
	postfix/submission/smtpd: disconnect from unknown[{ip}] ehlo=1 auth=1/9 mail=1 rcpt=1 data=1 quit=1 commands=6/14
