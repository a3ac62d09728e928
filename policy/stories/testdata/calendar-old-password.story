# A phone requests its six calendars at once every hour for two days, with the old password. Another
# one does so every twenty minutes, through Apache. Neither server logs successful logins.
never 203.0.113.154 203.0.113.155
on apache-auth

at 0s every 1h times 48 ip=203.0.113.154 user=ines
	+10ms nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+1} user "{user}": password mismatch, client: {ip}, server: dav.example.org, request: "PROPFIND /{user}/a/ HTTP/2.0", host: "dav.example.org"
	+10ms nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+2} user "{user}": password mismatch, client: {ip}, server: dav.example.org, request: "PROPFIND /{user}/b/ HTTP/2.0", host: "dav.example.org"
	+10ms nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+3} user "{user}": password mismatch, client: {ip}, server: dav.example.org, request: "PROPFIND /{user}/c/ HTTP/2.0", host: "dav.example.org"
	+10ms nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+4} user "{user}": password mismatch, client: {ip}, server: dav.example.org, request: "PROPFIND /{user}/d/ HTTP/2.0", host: "dav.example.org"
	+10ms nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+5} user "{user}": password mismatch, client: {ip}, server: dav.example.org, request: "PROPFIND /{user}/e/ HTTP/2.0", host: "dav.example.org"
	+10ms nginx: 2026/11/22 10:00:00 [error] 601#601: *{n+6} user "{user}": password mismatch, client: {ip}, server: dav.example.org, request: "PROPFIND /{user}/f/ HTTP/2.0", host: "dav.example.org"

at 0s every 20m times 144 ip=203.0.113.155 user=jana
	+10ms apache2: [auth_basic:error] [pid 39:tid 72] [client {ip}:{port}] AH01617: user {user}: authentication failure for "/dav/a/": Password Mismatch
	+10ms apache2: [auth_basic:error] [pid 39:tid 72] [client {ip}:{port}] AH01617: user {user}: authentication failure for "/dav/b/": Password Mismatch
