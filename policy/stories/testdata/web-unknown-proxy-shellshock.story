# nginx is behind a proxy that it is not configured for, and its access log is in the journal. A client
# sends a bash function. All visitors seem to come from the proxy's address.
never 192.0.2.10

at 0s
	nginx: 192.0.2.10 - - [22/Nov/2026:10:00:00 +0000] "GET / HTTP/2.0" 404 153 "-" "() { :;}; /bin/id"
