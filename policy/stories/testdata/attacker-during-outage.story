# saslauthd is down now and then. Meanwhile an attacker keeps guessing at one account: attempts
# that saslauthd answered count.
must 198.51.100.193

at 0s every 20s times 20 ip=198.51.100.193 user=info@example.org
	+2s postfix/submission/smtpd: warning: unknown[{ip}]: SASL LOGIN authentication failed: (reason unavailable), sasl_username={user}
	postfix/submission/smtpd: warning: unknown[{ip}]: SASL LOGIN authentication failed: generic failure
	postfix/submission/smtpd: disconnect from unknown[{ip}] ehlo=1 auth=0/2 quit=1 commands=2/4
