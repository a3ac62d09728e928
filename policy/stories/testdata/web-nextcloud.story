# Clients of Nextcloud: a phone with an old password on the calendar and the address book for a week,
# a desktop client that waits a quarter of an hour for its owner to log in, and one that synchronizes a
# programmer's folder, secrets and repository included.
never 203.0.113.{11..13}
on web-access

at 0s ip=203.0.113.12
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /login HTTP/2.0" 403 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"

at 0s every 5m times 2016 ip=203.0.113.11
	nginx: {ip} - bob [22/Nov/2026:10:00:00 +0000] "PROPFIND /remote.php/dav/calendars/bob/ HTTP/2.0" 401 153 "-" "DAVx5/4.4" "-"
	nginx: {ip} - bob [22/Nov/2026:10:00:00 +0000] "PROPFIND /remote.php/dav/addressbooks/users/bob/ HTTP/2.0" 401 153 "-" "DAVx5/4.4" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /.well-known/carddav HTTP/2.0" 301 153 "-" "DAVx5/4.4" "-"

at 0s every 1s times 900 ip=203.0.113.12
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /index.php/login/v2/poll HTTP/2.0" 404 153 "-" "Mozilla/5.0 (Linux) mirall/3.15.0" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /status.php HTTP/2.0" 200 153 "-" "Mozilla/5.0 (Linux) mirall/3.15.0" "-"

at 0s every 1m times 60 ip=203.0.113.13
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /remote.php/dav/files/kim/.env HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /remote.php/dav/files/kim/.env.local HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /remote.php/dav/files/kim/.git/HEAD HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /remote.php/dav/files/kim/.ssh/config HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /remote.php/dav/files/kim/.npmrc HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /remote.php/dav/files/kim/app/.env HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /remote.php/dav/files/kim/backup.zip HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "GET /remote.php/dav/files/kim/.env HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "GET /remote.php/dav/files/kim/.env.local HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "GET /remote.php/dav/files/kim/.git/HEAD HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "GET /remote.php/dav/files/kim/.ssh/config HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "GET /remote.php/dav/files/kim/.npmrc HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "GET /remote.php/dav/files/kim/app/.env HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "GET /remote.php/dav/files/kim/backup.zip HTTP/2.0" 404 153 "-" "rclone/v1.68" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /dav/kim/.env HTTP/2.0" 404 153 "-" "davfs2/1.7" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /dav/kim/.env.local HTTP/2.0" 404 153 "-" "davfs2/1.7" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /dav/kim/.git/HEAD HTTP/2.0" 404 153 "-" "davfs2/1.7" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /dav/kim/.ssh/config HTTP/2.0" 404 153 "-" "davfs2/1.7" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "PROPFIND /dav/kim/.svn/entries HTTP/2.0" 404 153 "-" "davfs2/1.7" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "HEAD /dav/kim/.env HTTP/2.0" 404 153 "-" "davfs2/1.7" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "HEAD /dav/kim/.env.local HTTP/2.0" 404 153 "-" "davfs2/1.7" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "HEAD /dav/kim/.git/HEAD HTTP/2.0" 404 153 "-" "davfs2/1.7" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "HEAD /dav/kim/.ssh/config HTTP/2.0" 404 153 "-" "davfs2/1.7" "-"
	nginx: {ip} - kim [22/Nov/2026:10:00:00 +0000] "HEAD /dav/kim/.svn/entries HTTP/2.0" 404 153 "-" "davfs2/1.7" "-"
