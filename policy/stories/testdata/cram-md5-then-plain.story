# Postfix offers CRAM-MD5, but has no secrets for it, and is too old to log user names of failures.
# Thunderbird tries it first, falls back to PLAIN and sends. An office sends thirty mails in half an
# hour.
never 203.0.113.128

at 0s every 1m times 30 ip=203.0.113.128 user=o1,o2,o3,o4,o5,o6
	postfix/submission/smtpd: connect from office.example.org[{ip}]
	postfix/submission/smtpd: warning: SASL authentication failure: no secret in database
	postfix/submission/smtpd: warning: office.example.org[{ip}]: SASL CRAM-MD5 authentication failed: authentication failure
	+600ms postfix/submission/smtpd: 3F2A{n+4096:x}C1: client=office.example.org[{ip}], sasl_method=PLAIN, sasl_username={user}
	+700ms postfix/submission/smtpd: disconnect from office.example.org[{ip}] ehlo=2 starttls=1 auth=1/2 mail=1 rcpt=1 data=1 quit=1 commands=8/9
