# A shop has moved from WordPress, and half its pictures and scripts are missing. Visitors look at page
# after page, and a feed reader asks for the old feed all day. None of them is a scanner.
never 203.0.113.{1..20} 2001:db8:aa::1
on web-access

at 0s every 2s times 2000 ip=203.0.113.1,203.0.113.2,203.0.113.3,203.0.113.4,203.0.113.5,203.0.113.6,203.0.113.7,203.0.113.8,203.0.113.9,203.0.113.10,203.0.113.11,203.0.113.12,203.0.113.13,203.0.113.14,203.0.113.15,203.0.113.16,203.0.113.17,203.0.113.18,203.0.113.19,2001:db8:aa::1
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /shop/{n} HTTP/2.0" 200 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-content/uploads/2019/picture-{n}.jpg HTTP/2.0" 404 153 "https://www.example.org/shop/{n}" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-content/plugins/slider/slider-{n}.js HTTP/2.0" 404 153 "https://www.example.org/shop/{n}" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-includes/js/jquery.js?v={n} HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-json/wp/v2/posts/{n} HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /config.json HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /favicon.ico HTTP/2.0" 404 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "-"

at 0s every 5m times 288 ip=203.0.113.20
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-content/feed.xml HTTP/2.0" 404 153 "-" "Feedly/1.0" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /xmlrpc.php?rsd HTTP/2.0" 404 153 "-" "Feedly/1.0" "-"
