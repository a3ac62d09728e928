# A build server fetches packages: it tries each mirror and each version, clones repositories, asks the
# registry for a token at every pull, and looks for files that most repositories do not have.
never 198.51.100.30
on web-access

at 0s every 200ms times 9000 ip=198.51.100.30
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /registry/.npmrc HTTP/2.0" 404 153 "-" "npm/10.9.0" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /maven2/org/example/app/1.{n}/app-1.{n}.pom HTTP/2.0" 404 153 "-" "Apache-Maven/3.9.9" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /simple/package-{n}/ HTTP/2.0" 404 153 "-" "pip/24.3.1" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /v2/ HTTP/2.0" 401 153 "-" "containerd/1.7" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "HEAD /v2/app/manifests/{n} HTTP/2.0" 404 153 "-" "containerd/1.7" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /team/app-{n}.git/info/refs?service=git-upload-pack HTTP/2.0" 401 153 "-" "git/2.47.1" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /team/app-{n}/raw/main/.npmrc HTTP/2.0" 404 153 "-" "renovate/39" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "GET /team/app-{n}/raw/main/.gitlab-ci.yml HTTP/2.0" 404 153 "-" "renovate/39" "-"
	nginx: {ip} - - [22/Nov/2026:10:00:00 +0000] "PUT /-/user/org.couchdb.user:ci HTTP/2.0" 401 153 "-" "npm/10.9.0" "-"
