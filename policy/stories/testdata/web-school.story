# A class of thirty logs in to the school's site for the first time, from one address; most mistype
# the new password, some of them twice.
never 203.0.113.7
on web-access

at 8h every 12s times 45 ip=203.0.113.7
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /user/login HTTP/1.1" 200 512 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

at 9h every 2s times 30 ip=203.0.113.7
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /user/login HTTP/1.1" 303 512 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /user HTTP/1.1" 200 512 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
