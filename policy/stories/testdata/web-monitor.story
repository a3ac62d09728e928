# Monitors check every minute, for two days, that the login page is closed to the world, that /.env and
# /phpmyadmin are not there, and that the health page of an application answers, which it does not.
never 203.0.113.{1..4}
on web-access

at 0s every 1m times 2880 ip=203.0.113.1
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.env HTTP/2.0" 404 153 "-" "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /phpmyadmin/ HTTP/2.0" 404 153 "-" "check_http/v2.3" "-"

at 0s every 1m times 2880 ip=203.0.113.2
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /wp-login.php HTTP/2.0" 404 153 "-" "check_http/v2.3" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.git/config HTTP/2.0" 403 153 "-" "check_http/v2.3" "-"

at 0s every 20s times 4320 ip=203.0.113.3
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /actuator/health HTTP/2.0" 503 153 "-" "kube-probe/1.32" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /actuator/env HTTP/2.0" 404 153 "-" "kube-probe/1.32" "-"

at 0s every 1m times 2880 ip=203.0.113.4
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /api/login HTTP/2.0" 401 153 "-" "synthetic-login/1.0" "-"
