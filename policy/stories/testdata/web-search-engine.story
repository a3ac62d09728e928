# Crawlers of a search engine follow links from ten years ago: of a WordPress that is gone, of phpMyAdmin
# that somebody linked to, of downloads.
never 198.51.100.{1..3}
on web-access

at 0s every 3s times 4000 ip=198.51.100.1,198.51.100.2,198.51.100.3
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /old/{n}.html HTTP/1.1" 404 512 "-" "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-login.php?redirect_to={n} HTTP/1.1" 404 512 "-" "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-content/uploads/{n}.png HTTP/1.1" 404 512 "-" "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /xmlrpc.php HTTP/1.1" 404 512 "-" "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /phpmyadmin/ HTTP/1.1" 404 512 "-" "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /backup.zip HTTP/1.1" 404 512 "-" "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /ads.txt HTTP/1.1" 404 512 "-" "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.well-known/security.txt HTTP/1.1" 404 512 "-" "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /calendar/{n}/ HTTP/1.1" 404 512 "-" "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /cgi-bin/counter.cgi?{n} HTTP/1.1" 404 512 "-" "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	httpd: www.example.org:443 {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /robots.txt HTTP/1.1" 200 512 "-" "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"
