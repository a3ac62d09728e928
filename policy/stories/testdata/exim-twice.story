# Exim logs to syslog as it does by default: each rejection twice, for its main log and for its
# reject log. Somebody mistypes a password three times, with another mail program on the second day.
never 203.0.113.71
must 198.51.100.193

at 0s every 20s times 3 ip=203.0.113.71 user=anna
	exim: login authenticator failed for (laptop) [{ip}]:{port}: 535 Incorrect authentication data (set_id={user})
	+1ms exim: login authenticator failed for (laptop) [{ip}]:{port}: 535 Incorrect authentication data (set_id={user})

at 24h every 5s times 3 ip=203.0.113.71 user=anna
	exim: plain authenticator failed for (phone) [{ip}]: 535 Incorrect authentication data (set_id={user})
	+0s exim: plain authenticator failed for (phone) [{ip}]: 535 Incorrect authentication data (set_id={user})

at 26h every 7s times 8 ip=198.51.100.193 user=info
	exim: login authenticator failed for (User) [{ip}]:{port}: 535 Incorrect authentication data (set_id={user})
	+1ms exim: login authenticator failed for (User) [{ip}]:{port}: 535 Incorrect authentication data (set_id={user})
