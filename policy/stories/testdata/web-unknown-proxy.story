# nginx, with its packages' log format, is behind a proxy that it is not configured for. All visitors
# seem to come from the proxy's address, and so do the scanners.
never 192.0.2.10
on web-access

at 0s every 1s times 600 ip=192.0.2.10
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.env HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "198.51.100.9"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.git/config HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "198.51.100.9"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.aws/credentials HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "198.51.100.9"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /phpmyadmin/ HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "198.51.100.9"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-login.php HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "198.51.100.9"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.env.bak HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "198.51.100.9"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /alfa.php HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "198.51.100.9"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /wp-login.php HTTP/2.0" 200 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "198.51.100.9"
