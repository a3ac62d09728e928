# A browser restores seven tabs of one site. The password for all of them is mistyped twice, and each
# time all fail at once. Then it is right, which nginx does not log.
never 203.0.113.176

at 0s every 40ms times 7 ip=203.0.113.176
	nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+700} user "ines": password mismatch, client: {ip}, server: wiki.example.org, request: "GET /page/{n} HTTP/2.0", host: "wiki.example.org"

at 50s every 60ms times 7 ip=203.0.113.176
	nginx: 2026/11/22 10:00:50 [error] 601#601: *{n+720} user "ines": password mismatch, client: {ip}, server: wiki.example.org, request: "GET /page/{n} HTTP/2.0", host: "wiki.example.org"
