# As in two-passdbs, but for sending mail: Dovecot logs "unknown user" for its first database, and
# Postfix logs the success.
never 203.0.113.38

at 0s every 1m times 25 ip=203.0.113.38 user=kim@example.org
	dovecot: auth: passwd-file({user},{ip}): unknown user
	postfix/submission/smtpd: 4fYk2D{port}z: client=client.example.net[{ip}], sasl_method=PLAIN, sasl_username={user}
	postfix/submission/smtpd: disconnect from client.example.net[{ip}] ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=8
