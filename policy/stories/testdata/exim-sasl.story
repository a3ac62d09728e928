# SASL guesses at Exim.
must 198.51.100.192

at 0s every 7s times 8 ip=198.51.100.192 user=info
	exim: login authenticator failed for (User) [{ip}]:{port}: 535 Incorrect authentication data (set_id={user})
