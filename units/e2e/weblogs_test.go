package e2e

import (
	"bufio"
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/units/e2e/host"
)

// webServers are configured with the files that are installed; access logs go to the journal namespace web. Each serves a login
// that fails, a picture, and a folder for which a password is asked.
const (
	nginxSite = `server {
	listen 8080 default_server; listen [::]:8080 default_server;
	root /srv/site;
	location = /api/login { return 401; }
	location /a/ { auth_basic a; auth_basic_user_file /srv/htpasswd; }
}
`
	apacheSite = `Listen 8081
<VirtualHost *:8081>
	DocumentRoot /srv/site
	<Directory /srv/site>
		Require all granted
	</Directory>
	<Directory /srv/site/a>
		AuthType Basic
		AuthName a
		AuthUserFile /srv/htpasswd
		Require valid-user
	</Directory>
</VirtualHost>
`
	caddySite = `{
	admin off
	auto_https off
}
:8082 {
	log
	root * /srv/site
	respond /api/login 401
	file_server
}
`
)

var webServerPorts = map[string]uint16{"nginx": 8080, "apache2": 8081, "caddy": 8082}

// TestWebLogs attacks real web servers whose access logs are in a journal namespace, as web-access-logs.md says. Scanners and guessers
// are banned, harmless clients and those whose address an attacker writes into the log are not.
func TestWebLogs(t *testing.T) {
	suites, tree, load := wanted(t, "bookworm", "trixie")
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			v := boot(t, suite, tree, load, "nginx-light", "apache2", "caddy", "wrk")
			v.webServers(t)
			v.sh(t, `systemctl enable -q --now bailiff.service`)
			v.active(t)
			for i, name := range []string{"nginx", "apache2", "caddy"} {
				t.Run(name, func(t *testing.T) { v.webServer(t, i+1, webServerPorts[name]) })
			}
			t.Run("harmless", v.webHarmless)
			t.Run("split", v.webSplit)
			t.Run("rate", v.webRate)
		})
	}
}

// webServers does what web-access-logs.md says.
func (v *victim) webServers(t *testing.T) {
	t.Helper()
	for path, text := range map[string]string{
		"/etc/nginx/sites-enabled/default": nginxSite, "/etc/apache2/sites-enabled/000-default.conf": apacheSite, "/etc/apache2/ports.conf": "",
		"/etc/caddy/Caddyfile": caddySite, "/srv/htpasswd": "bob:{SHA}x\n", "/srv/site/index.html": "x", "/srv/site/wp-login.php": "x", "/srv/site/a/b": "x",
	} {
		v.sh(t, `rm -f `+path) // links of the package
		v.place(t, path, text, 0o644)
	}
	v.sh(t, `d=/usr/share/doc/bailiff/web
		install -D -m 644 $d/journald@web.conf /etc/systemd/
		for u in nginx apache2 caddy; do install -D -m 644 $d/log-namespace.conf /etc/systemd/system/$u.service.d/log-namespace.conf; done
		install -m 644 $d/nginx.conf /etc/nginx/conf.d/bailiff.conf
		install -m 644 $d/apache.conf /etc/apache2/conf-enabled/bailiff.conf
		install -D -m 644 $d/web-access.yaml /etc/bailiff/bailiff.d/40-web-access.yaml
		bailiff check
		systemctl daemon-reload; systemctl restart nginx.service apache2.service caddy.service`)
	for name, port := range webServerPorts {
		eventually(t, func() error {
			if out, err := v.request(host.Attacker4.String(), port, "/index.html"); err != nil || out != "200" {
				return fmt.Errorf("%s: %q, %v", name, out, err)
			}
			return nil
		})
	}
}

// request sends one request as it is, from an address, and returns the status. Each of header is a line of the header; one that begins with
// "=" is the body of a POST.
func (v *victim) request(from string, port uint16, path string, header ...string) (status string, err error) {
	return v.requestWithin(time.Minute, from, port, path, header...)
}

func (v *victim) requestWithin(limit time.Duration, from string, port uint16, path string, header ...string) (status string, err error) {
	c, err := v.Dial(netip.MustParseAddr(from), port, limit)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	method, body, lines := "GET", "", []string{"Host: www.example.org", "Connection: close"}
	for _, l := range header {
		if b, is := strings.CutPrefix(l, "="); is {
			method, body = "POST", b
			lines = append(lines, "Content-Type: application/x-www-form-urlencoded", fmt.Sprintf("Content-Length: %d", len(b)))
		} else {
			lines = append(lines, l)
		}
	}
	if !slices.ContainsFunc(header, func(l string) bool { return strings.HasPrefix(l, "User-Agent:") }) {
		lines = append(lines, "User-Agent: e2e")
	}
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\n%s\r\n\r\n%s", method, path, strings.Join(lines, "\r\n"), body); err != nil {
		return "", err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return strconv.Itoa(r.StatusCode), err
}

// basic is the header of a login with user name and password.
func basic(login string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(login))
}

// requests sends requests that must be answered with a status.
func (v *victim) requests(t testing.TB, status, from string, port uint16, paths []string, header ...string) {
	t.Helper()
	for _, p := range paths {
		if out, err := v.request(from, port, p, header...); out != status {
			t.Fatalf("%s:%d%s: %q, want %s (%v)", from, port, p, out, status, err)
		}
	}
}

// probes is requests for an attacker: the last request may lead to a ban, which ends the connection before the answer has arrived.
func (v *victim) probes(t testing.TB, status, from string, port uint16, paths []string, header ...string) {
	t.Helper()
	last := len(paths) - 1
	v.requests(t, status, from, port, paths[:last], header...)
	if out, err := v.requestWithin(5*time.Second, from, port, paths[last], header...); out != status && out != "" {
		t.Fatalf("%s:%d%s: %q, want %s (%v)", from, port, paths[last], out, status, err)
	}
}

var (
	webSecrets  = []string{"/.env", "/.git/config", "/.aws/credentials"}
	webSoftware = []string{"/blog/wp-login.php", "/phpmyadmin/", "/boaform/admin/formLogin", "/alfa.php", "/actuator/env"}
	webFramed   = netip.MustParseAddr("203.0.113.77")
)

func (v *victim) webServer(t *testing.T, n int, port uint16) {
	secrets, software, guesser := fmt.Sprintf("198.51.100.%d", n), fmt.Sprintf("2001:db8:%x::7", n), fmt.Sprintf("198.51.100.%d", 10+n)
	v.probes(t, "404", secrets, port, webSecrets)
	v.probes(t, "404", software, port, webSoftware)
	path, status := "/api/login", "401"
	if port == webServerPorts["apache2"] {
		path, status = "/wp-login.php", "200"
	}
	v.probes(t, status, guesser, port, slices.Repeat([]string{path}, 60), "=user=bob&password=wrong")
	for _, a := range []string{secrets, software, guesser} {
		v.bansInKernel(t, netip.MustParseAddr(a))
	}

	// Addresses that an attacker writes into user name, path, Referer, User-Agent and X-Forwarded-For are ignored. The user name is so long
	// that logger would split the line without --size.
	forger := fmt.Sprintf("198.51.100.%d", 20+n)
	for i, p := range webSecrets {
		line := webFramed.String() + ` - - [22/Nov/2026:22:49:57 +0000] "GET ` + p + ` HTTP/1.1" 404 1 "-" "-"`
		pad := strings.Repeat("x", 940+i) + strings.Repeat(" ", 200)
		path := "/a/b"
		if port == webServerPorts["caddy"] {
			path = "/index.html"
		}
		for _, header := range [][]string{
			{basic(pad + webFramed.String() + " - -:x")}, {basic(line + ":x")}, {"User-Agent: " + line, "Referer: " + line}, {"X-Forwarded-For: " + webFramed.String()},
			{"User-Agent: x\",\"client_ip\":\"" + webFramed.String()},
		} {
			v.request(forger, port, path, header...)
			v.request(forger, port, "/x%0a"+strings.ReplaceAll(line, " ", "%20"), header...)
		}
	}
	v.probes(t, "404", forger, port, webSecrets, "X-Forwarded-For: "+webFramed.String())
	v.bansInKernel(t, netip.MustParseAddr(forger))
	if v.inKernel(t, webFramed) {
		t.Errorf("%s is banned, who has sent nothing: %+v", webFramed, v.why(t, webFramed))
	}
	line := strings.ReplaceAll(secrets, ".", `\.`) + `[ "]`
	if out := v.sh(t, `journalctl -q -o cat -g '`+line+`' -u nginx -u apache2 -u caddy | wc -l; journalctl -q --namespace=web -o cat -g '`+line+`' | wc -l`); out != "0\n3\n" {
		t.Errorf("lines outside and inside of the namespace: %q", out)
	}
}

// webSplit: without --size, a client of Apache can write lines with an address of its choice, so webServer tests something.
func (v *victim) webSplit(t *testing.T) {
	const file, split = "/etc/apache2/conf-enabled/bailiff.conf", "203.0.113.78"
	v.sh(t, `sed -i 's/ --size [0-9]*//' `+file+`; systemctl restart apache2.service`)
	for pad := 930; pad < 1030; pad++ {
		v.request("198.51.100.30", webServerPorts["apache2"], "/a/b", basic(strings.Repeat("x", pad)+split+" - -:x"))
	}
	if out := v.sh(t, `journalctl --sync --namespace=web; journalctl -q --namespace=web -o cat -g '^`+split+` - - ' | wc -l`); out == "0\n" {
		t.Error("logger does not split long lines: the recipe's --size is not needed")
	}
	v.sh(t, `install -m 644 /usr/share/doc/bailiff/web/apache.conf `+file+`; systemctl restart apache2.service`)
}

// webHarmless: broken pictures, a monitor, a page that makes browsers ask, an office that mistypes passwords, an old password.
func (v *victim) webHarmless(t *testing.T) {
	const shop, monitor, sent, office, phone = "203.0.113.41", "203.0.113.42", "203.0.113.43", "203.0.113.44", "203.0.113.45"
	for name, port := range webServerPorts {
		for i := range 30 {
			v.requests(t, "404", shop, port, []string{fmt.Sprintf("/wp-content/uploads/%d.jpg", i)}, "Referer: http://www.example.org/")
			v.requests(t, "404", monitor, port, []string{"/.env", "/phpmyadmin/"})
		}
		for _, site := range []string{"cross-site", "same-origin"} {
			v.requests(t, "404", sent, port, append(webSecrets, webSoftware...), "Sec-Fetch-Site: "+site)
		}
		if name == "caddy" {
			continue
		}
		for range 70 {
			v.requests(t, "401", phone, port, []string{"/a/b"}, basic("bob:old"))
		}
	}
	for range 50 {
		v.requests(t, "401", office, webServerPorts["nginx"], []string{"/api/login"}, "=x", "Sec-Fetch-Site: same-origin")
	}
	v.probes(t, "404", "198.51.100.40", webServerPorts["nginx"], webSecrets)
	v.bansInKernel(t, netip.MustParseAddr("198.51.100.40")) // so all earlier lines have been read
	for _, a := range []string{shop, monitor, sent, office} {
		if v.inKernel(t, netip.MustParseAddr(a)) {
			t.Errorf("%s is banned: %+v", a, v.why(t, netip.MustParseAddr(a)))
		}
	}
}

// webRate writes nginx's access log at 20,000 lines a second, by a program that journald takes for nginx, and then lets a real nginx answer
// as many requests as it can. It prints the cost of each. It is a measurement, so it runs only on request.
func (v *victim) webRate(t *testing.T) {
	if os.Getenv("BAILIFF_BENCH") == "" {
		t.Skip("set BAILIFF_BENCH=1 to measure")
	}
	const asNginx = "/usr/local/sbin/nginx"
	sets := strings.Join(strings.Fields(v.sh(t, `ipset list -n | grep '^bailiff4'`)), ",")
	v.sh(t, `cp `+loadPath+` `+asNginx)
	cpu := func(unit string) int {
		return ticks(t, v.Path("/proc/"+strings.TrimSpace(v.sh(t, `systemctl show -P MainPID `+unit))))
	}
	lines := func(since time.Time) int {
		n, _ := strconv.Atoi(strings.TrimSpace(v.sh(t, fmt.Sprintf(`journalctl --sync --namespace=web; journalctl -q --namespace=web -o cat --output-fields=_PID --since @%d | wc -l`, since.Unix()))))
		return n
	}
	during := func(what string, run func() string) {
		v.sh(t, `journalctl --rotate --namespace=web; journalctl -q --vacuum-files=1 --namespace=web`)
		before, bailiff, begin := cpu("systemd-journald@web.service"), cpu("bailiff.service"), time.Now()
		out := run()
		d := time.Since(begin).Seconds()
		journald, own := cpu("systemd-journald@web.service")-before, cpu("bailiff.service")-bailiff
		load, _ := os.ReadFile("/proc/loadavg")
		t.Logf("%s on %s: %.1f s, journald %.0f %% and bailiffd %.0f %% of a core, %d lines in the journal, %s there, load %s\n%s", what, v.suite, d, float64(journald)/d, float64(own)/d, lines(begin),
			v.sh(t, `journalctl --disk-usage --namespace=web`), load, out)
	}
	for _, rate := range []int{2000, 20000, 0} {
		during(fmt.Sprintf("%d lines a second", rate), func() string {
			out, err := v.Sh(t.Context(), fmt.Sprintf(`echo $$ >/sys/fs/cgroup/system.slice/nginx.service/cgroup.procs
				exec %s -web -lines %d -rate %d -trials 1000 -failures 1000 -base %d -set %s`, asNginx, cmp.Or(rate*20, 400_000), rate, 1000+rate, sets))
			if err != nil {
				t.Error(err)
			}
			return out
		})
	}
	during("nginx", func() string {
		out, err := v.Attack(t.Context(), nil, "wrk", "-t", "1", "-c", "50", "-d", "10s", fmt.Sprintf("http://%s:%d/index.html", host.Victim4, webServerPorts["nginx"]))
		if err != nil {
			t.Error(err)
		}
		return out
	})
}
