# Guesses at admin's password: five at once every four minutes, at a page behind nginx, and one
# every ten minutes, at a page behind Apache.
must 198.51.100.150 198.51.100.151
on apache-auth

at 0s every 4m times 90 ip=198.51.100.150 user=admin
	+10ms nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+1} user "{user}": password mismatch, client: {ip}, server: www.example.org, request: "GET / HTTP/1.1", host: "www.example.org"
	+10ms nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+2} user "{user}": password mismatch, client: {ip}, server: www.example.org, request: "GET / HTTP/1.1", host: "www.example.org"
	+10ms nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+3} user "{user}": password mismatch, client: {ip}, server: www.example.org, request: "GET / HTTP/1.1", host: "www.example.org"
	+10ms nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+4} user "{user}": password mismatch, client: {ip}, server: www.example.org, request: "GET / HTTP/1.1", host: "www.example.org"
	+10ms nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+5} user "{user}": password mismatch, client: {ip}, server: www.example.org, request: "GET / HTTP/1.1", host: "www.example.org"

at 0s every 10m times 144 ip=198.51.100.151 user=admin
	apache2: [auth_basic:error] [pid 39:tid 72] [client {ip}:{port}] AH01617: user {user}: authentication failure for "/": Password Mismatch
