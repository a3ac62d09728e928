# Scanners: for secrets, for all kinds of software, in a hurry and slowly, one that says what it is, and
# guessers of passwords, on WordPress and on an API. One sends text that looks like other addresses.
must 198.51.100.{1..6} 2001:db8:bad::1
never 192.0.2.4
on web-access

at 0s ip=198.51.100.1
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.env HTTP/2.0" 404 153 "-" "python-requests/2.32" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /api/.env HTTP/2.0" 404 153 "-" "python-requests/2.32" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.env.production HTTP/2.0" 404 153 "-" "python-requests/2.32" "-"

at 0s ip=198.51.100.2
	+100s httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-login.php HTTP/1.1" 404 512 "-" "Mozilla/5.0"
	+100s httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /phpmyadmin/index.php HTTP/1.1" 404 512 "-" "Mozilla/5.0"
	+100s httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /boaform/admin/formLogin HTTP/1.1" 404 512 "-" "Mozilla/5.0"
	+100s httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /alfa.php HTTP/1.1" 404 512 "-" "Mozilla/5.0"
	+100s httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /actuator/env HTTP/1.1" 404 512 "-" "Mozilla/5.0"

at 0s ip=198.51.100.3 times 5 every 1s
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /shop/{n} HTTP/2.0" 200 153 "-" "sqlmap/1.8" "-"

at 0s ip=198.51.100.4 times 60 every 5s
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /wp-login.php HTTP/2.0" 200 153 "-" "Mozilla/5.0" "-"

at 0s ip=198.51.100.5 times 60 every 100ms
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /api/v1/login HTTP/1.1" 401 512 "-" "python-requests/2.32"

at 0s ip=198.51.100.6
	nginx: {ip} - 192.0.2.4 - x [22/Nov/2026:10:00:00 +0000] "GET /.env HTTP/2.0" 404 153 "\x22192.0.2.4 - - \x22" "192.0.2.4 - - sqlmap" "-"
	nginx: {ip} - 192.0.2.4 - x [22/Nov/2026:10:00:00 +0000] "GET /.git/HEAD HTTP/2.0" 404 153 "\x22192.0.2.4 - - \x22" "192.0.2.4 - - sqlmap" "-"
	nginx: {ip} - 192.0.2.4 - x [22/Nov/2026:10:00:00 +0000] "GET /.aws/credentials HTTP/2.0" 404 153 "\x22192.0.2.4 - - \x22" "192.0.2.4 - - sqlmap" "-"

at 0s ip=2001:db8:bad::1
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.env HTTP/2.0" 301 153 "-" "x" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.git/config HTTP/2.0" 403 153 "-" "x" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.ssh/id_rsa HTTP/2.0" 404 153 "-" "x" "-"
