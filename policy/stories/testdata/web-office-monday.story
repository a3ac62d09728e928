# An office of several hundred people behind one address, on the first Monday after a change of
# passwords: within ten minutes, fifty type the old one into WordPress or the intranet. Meanwhile a
# colleague reads her mail, and her phone asks for the calendar with the old password.
never 203.0.113.4
on web-access

at 9h every 20s times 25 ip=203.0.113.4
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /wp-login.php HTTP/2.0" 200 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"
	+8s nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /wp-login.php HTTP/2.0" 302 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "POST /intranet/login HTTP/2.0" 401 153 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" "same-origin"
	nginx: {ip} - ines [22/Nov/2026:10:00:00 +0000] "PROPFIND /remote.php/dav/calendars/ines/ HTTP/2.0" 401 153 "-" "iOS/18.1 (22B83) dataaccessd/1.0" "-"
