# A page elsewhere, and a post in the forum, make visitors' browsers ask for everything that scanners
# look for, and send passwords to the login form. Browsers say so in Sec-Fetch-Site.
never 203.0.113.{21..23}
on web-access

at 0s every 1s times 60 ip=203.0.113.21,203.0.113.22
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.env HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "cross-site"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.env HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.git/config HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "cross-site"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.git/config HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.aws/credentials HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "cross-site"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.aws/credentials HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /phpmyadmin/ HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "cross-site"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /phpmyadmin/ HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-login.php HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "cross-site"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-login.php HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.env.bak HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "cross-site"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.env.bak HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /alfa.php HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "cross-site"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /alfa.php HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"

at 1h every 500ms times 500 ip=203.0.113.23
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /wp-login.php HTTP/2.0" 200 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "cross-site"
