# Guesses at Cyrus, one a minute each: by CRAM-MD5, for which it logs no user, and by PLAIN on a list
# of mailboxes.
must 198.51.100.{200..201}

at 0s every 1m times 15 ip=198.51.100.200
	cyrus/imap: badlogin: [{ip}] CRAM-MD5 [SASL(-13): authentication failure: incorrect digest response]

at 0s every 1m times 15 ip=198.51.100.201 user=m{n}
	cyrus/imaps: badlogin: [{ip}] plain ({user}) [SASL(-13): authentication failure: Password verification failed]
