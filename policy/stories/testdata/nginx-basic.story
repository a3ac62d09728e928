# Guesses at a page with basic authentication, through nginx' error log to syslog.
must 198.51.100.191

at 0s every 1s times 9 ip=198.51.100.191 user=admin
	nginx: web1 nginx: 2026/11/22 00:00:00 [error] 601#601: *{n} user "{user}": password mismatch, client: {ip}, server: www.example.org, request: "GET /intranet/ HTTP/1.1", host: "www.example.org"
