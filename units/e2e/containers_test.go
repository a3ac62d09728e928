package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
	"bailiff/units/e2e/host"
)

// Who is who where containers are attacked. The framed ones never do anything.
var (
	tricky       = netip.MustParseAddr("198.51.100.9")
	framedWeb    = netip.MustParseAddr("203.0.113.5")
	framedSQL    = netip.MustParseAddr("203.0.113.6")
	guessPodman  = netip.MustParseAddr("198.51.100.81")
	guessDocker  = netip.MustParseAddr("198.51.100.82")
	guessOther   = netip.MustParseAddr("198.51.100.83")
	guessTwice   = netip.MustParseAddr("198.51.100.84")
	webPorts     = map[string]uint16{"podman": 8080, "docker": 8081, "other": 8082, "attached": 8083}
	databasePort = uint16(3306)
)

// nginxConf has nginx write both of its logs to the container's output, as the usual image does.
const nginxConf = `daemon off;
error_log /dev/stderr;
events {}
http {
	access_log /dev/stdout combined;
	server {
		listen 80;
		root /srv;
		location /a/ { auth_basic a; auth_basic_user_file /etc/web/htpasswd; }
	}
}
`

const nginxQuadlet = `[Container]
Image=localhost/web:latest
Exec=nginx -c /etc/web/nginx.conf
Volume=/etc/web:/etc/web:ro
PublishPort=8080:80
`

const mariadbQuadlet = `[Container]
Image=localhost/web:latest
Exec=mariadbd --no-defaults --user=mysql --datadir=/var/lib/mysql --bind-address=0.0.0.0 --skip-name-resolve --socket=/tmp/mysql.sock
PublishPort=3306:3306
`

const attachedUnit = `[Service]
ExecStart=/usr/bin/podman run --rm --name attached -v /etc/web:/etc/web:ro -p 8083:80 localhost/web:latest nginx -c /etc/web/nginx.conf
ExecStop=/usr/bin/podman stop -t 1 attached
`

// webFilter is an administrator's own, for the access log of containers: nginx escapes what clients write there.
const webFilter = `name: web
trust: {containers: [systemd-nginx, site/front]}
patterns:
  - {name: refused, text: '<addr> - <user:word> [<trusted>] "<trusted:quoted>" 401 <trusted>'}
tests:
  - {line: '198.51.100.7 - bob [02/Mar/2026:10:11:12 +0000] "GET /a/ HTTP/1.1" 401 1 "-" "curl"', address: 198.51.100.7, user: bob}
`

// attachedFilter watches a unit that runs podman in the foreground.
const attachedFilter = `name: attached
trust: {units: [attached.service], uid: any}
patterns:
  - {name: refused, text: '<addr> - <user:word> [<trusted>] "<trusted:quoted>" 401 <trusted>'}
`

// TestContainers attacks nginx and MariaDB in real containers, whose output conmon and dockerd write to the journal line by line. A line
// that a client injects bans nobody. Lines count only if a jail names their container.
func TestContainers(t *testing.T) {
	suites, tree, load := wanted(t)
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			if suite == "bookworm" {
				t.Skip("Podman 4.3 has no quadlets")
			}
			v := boot(t, suite, tree, load, "podman", "crun", "netavark", "aardvark-dns", "docker.io", "docker-cli", "firewalld", "polkitd", "netbase")
			v.containers(t)
			v.put(t, "30-containers.yaml", "jails:\n  web: {}\n  attached: {}\n")
			for name, text := range map[string]string{"web": webFilter, "attached": attachedFilter} {
				v.place(t, "/etc/bailiff/filters.d/"+name+".yaml", text, 0o644)
			}
			v.sh(t, `bailiff check; systemctl enable -q --now bailiff.service`)
			v.active(t)
			t.Run("forged", v.forgedInContainers)
			t.Run("named", v.namedContainers)
			t.Run("twice", v.attachedTwice)
			t.Run("refused", v.refusedContainers)
			t.Run("published", v.publishedPorts)
		})
	}
}

// containers starts nginx in Podman and in Docker, and MariaDB in Podman.
func (v *victim) containers(t *testing.T) {
	t.Helper()
	image, err := host.Root(t.Context(), v.suite, os.Stderr, "nginx-light", "mariadb-server")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"/etc/web/nginx.conf": nginxConf, "/etc/web/htpasswd": "bob:{PLAIN}correct-horse\n",
		"/etc/containers/systemd/nginx.container": nginxQuadlet, "/etc/containers/systemd/mariadb.container": mariadbQuadlet,
		"/etc/systemd/system/attached.service": attachedUnit,
		"/etc/containers/containers.conf":      "[containers]\npids_limit = 0\n", // the host has no controllers
	} {
		v.place(t, path, text, 0o644)
	}
	// The host's root is an overlay, and an overlay cannot be the upper layer of another.
	v.sh(t, `systemctl disable -q --now firewalld.service; systemctl stop docker.socket docker.service; mkdir -p /var/lib/containers /var/lib/docker
		mount -t tmpfs -o mode=0755 tmpfs /var/lib/containers; mount -t tmpfs -o mode=0710 tmpfs /var/lib/docker
		systemctl daemon-reload; systemctl start docker.service
		iptables -P FORWARD ACCEPT`) // Docker drops what is for Podman's containers
	v.importRoot(t, image, "podman", "import", "-q", "-", "localhost/web:latest")
	v.importRoot(t, image, "docker", "import", "-", "web:latest")
	v.sh(t, `systemctl start nginx.service mariadb.service attached.service
		docker run -d --log-driver=journald --log-opt tag=site/front --name front -p 8081:80 -v /etc/web:/etc/web:ro web nginx -c /etc/web/nginx.conf
		docker run -d --log-driver=journald --name other -p 8082:80 -v /etc/web:/etc/web:ro web nginx -c /etc/web/nginx.conf`)
	for engine, port := range webPorts {
		eventually(t, func() error {
			_, err := v.Attack(t.Context(), nil, "curl", "-s", "-m", "5", "-o", "/dev/null", fmt.Sprintf("http://%s:%d/", host.Victim4, port))
			if err != nil {
				return fmt.Errorf("nginx in %s: %w", engine, err)
			}
			return nil
		})
	}
	// Until such an account exists, a login from outside ends early.
	eventually(t, func() error {
		_, err := v.Sh(t.Context(), `podman exec systemd-mariadb mariadb -S /tmp/mysql.sock -e "CREATE USER IF NOT EXISTS app@'%' IDENTIFIED BY 'x'"`)
		return err
	})
}

// importRoot hands a root over to a container engine.
func (v *victim) importRoot(t *testing.T, root string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	tar := exec.CommandContext(ctx, "tar", "-C", root, "--one-file-system", "-cf", "-", ".")
	in := v.Command(ctx, args...)
	var err error
	if in.Stdin, err = tar.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := tar.Start(); err != nil {
		t.Fatal(err)
	}
	if out, err := in.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	if err := tar.Wait(); err != nil {
		t.Fatal(err)
	}
}

// get asks a web server for a path as it is, perhaps with a login.
func (v *victim) get(t *testing.T, from netip.Addr, port uint16, path, login string) {
	t.Helper()
	var header []string
	if login != "" {
		header = append(header, basic(login))
	}
	if _, err := v.request(from.String(), port, path, header...); err != nil {
		t.Fatalf("GET %s on port %d: %v", path, port, err)
	}
}

// logIn fails to log in to MariaDB, as a user of any name.
func (v *victim) logIn(t *testing.T, from netip.Addr, user string) {
	t.Helper()
	c, err := v.Dial(from, databasePort, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	read := func() []byte {
		var head [4]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			t.Fatalf("MariaDB: %v", err)
		}
		body := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
		if _, err := io.ReadFull(c, body); err != nil {
			t.Fatalf("MariaDB: %v", err)
		}
		return body
	}
	write := func(seq byte, body []byte) {
		head := []byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), seq}
		if _, err := c.Write(append(head, body...)); err != nil {
			t.Fatalf("MariaDB: %v", err)
		}
	}
	read() // the server's greeting
	const protocol41, secure, plugin = 0x200, 0x8000, 0x80000
	b := binary.LittleEndian.AppendUint32(nil, protocol41|secure|plugin)
	b = binary.LittleEndian.AppendUint32(b, 1<<24)
	b = append(append(b, 33), make([]byte, 23)...)
	b = append(append(b, user...), 0, 20)
	b = append(b, bytes.Repeat([]byte("x"), 20)...)
	write(1, append(append(b, "mysql_native_password"...), 0))
	answer := read()
	if len(answer) > 0 && answer[0] == 0xfe { // another way to log in
		write(3, bytes.Repeat([]byte("x"), 20))
		answer = read()
	}
	if !bytes.Contains(answer, []byte("Access denied for user")) {
		t.Fatalf("MariaDB answers %q to user %q", answer, user)
	}
}

// forgedInContainers: clients make the daemons write extra lines that accuse another address. nginx decodes a newline in the path; MariaDB
// accepts one in a user name.
func (v *victim) forgedInContainers(t *testing.T) {
	const path = "/%%0a2026/11/22%%2022:49:55%%20%%5Berror%%5D%%201%%231:%%20*1%%20user%%20%%22x%d%%22%%20was%%20not%%20found%%20in%%20%%22y%%22,%%20client:%%20203.0.113.5,%%20server:%%20s"
	for i := range 6 {
		for _, engine := range []string{"podman", "docker", "attached"} {
			v.get(t, tricky, webPorts[engine], fmt.Sprintf(path, i), "")
		}
		v.logIn(t, tricky, fmt.Sprintf("x\ndb1,bob%d,203.0.113.6,113,0,FAILED_CONNECT,,,1045\ny", i))
	}
	v.sh(t, `journalctl --sync`)
	for _, c := range []struct{ begins, unit string }{
		{"2026/11/22 22:49:55 [error]", "nginx.service"}, {"2026/11/22 22:49:55 [error]", "docker.service"}, {"2026/11/22 22:49:55 [error]", "attached.service"},
		{"db1,bob", "mariadb.service"},
	} {
		n := 0
		for _, e := range v.entries(t, "_SYSTEMD_UNIT="+c.unit) {
			if strings.HasPrefix(e["MESSAGE"], c.begins) && e["_COMM"] != "podman" {
				n++
				if e["_UID"] != "0" || e["_TRANSPORT"] != "journal" || e["CONTAINER_NAME"] == "" {
					t.Errorf("%s: an entry of another kind: %v", c.unit, e)
				}
			}
		}
		if n != 6 {
			t.Errorf("%s: %d forged entries, want 6", c.unit, n)
		}
	}
	v.settled(t)
	for _, a := range []netip.Addr{framedWeb, framedSQL} {
		if w := v.why(t, a); w.State != "unknown" {
			t.Errorf("why %s, whom only forged lines accuse: %+v", a, w)
		}
		if v.inKernel(t, a) {
			t.Errorf("%s is banned by forged lines", a)
		}
	}
}

// guess fails to log in to a web server.
func (v *victim) guess(t *testing.T, from netip.Addr, port uint16, n int) {
	t.Helper()
	for i := range n {
		v.get(t, from, port, "/a/", fmt.Sprintf("bob:wrong%d", i))
	}
}

// namedContainers: by the name that Podman gave it, and by the tag that Docker writes.
func (v *victim) namedContainers(t *testing.T) {
	v.guess(t, guessOther, webPorts["other"], 12)
	v.guess(t, guessPodman, webPorts["podman"], 5)
	v.guess(t, guessDocker, webPorts["docker"], 5)
	v.bansInKernel(t, guessPodman)
	v.bansInKernel(t, guessDocker)
	v.settled(t)
	if w := v.why(t, guessOther); w.State != "unknown" {
		t.Errorf("a container that no jail names counts: %+v", w)
	}
	s := ask[control.Status](v, t, "status")
	for _, j := range s.Jails {
		if j.Name == "web" && (len(j.Containers) != 2 || j.Failures == 0) {
			t.Errorf("status: %+v", j)
		}
	}
}

// attachedTwice: conmon and podman both write what an attached container writes, and each attempt counts once.
func (v *victim) attachedTwice(t *testing.T) {
	v.guess(t, guessTwice, webPorts["attached"], 2)
	v.sh(t, `journalctl --sync`)
	lines := 0
	for _, e := range v.entries(t, "_SYSTEMD_UNIT=attached.service") {
		if strings.HasPrefix(e["MESSAGE"], guessTwice.String()+" ") {
			lines++
		}
	}
	if lines != 4 {
		t.Errorf("%d lines of two attempts: this shows nothing", lines)
	}
	v.settled(t)
	w := v.why(t, guessTwice)
	if len(w.Counted) == 0 || w.Counted[0].Window != "normal" || w.Counted[0].Count != 2 {
		t.Errorf("two attempts: %+v", w.Counted)
	}
}

// refusedContainers: status reports a container that runs in a filter's unit but is not watched.
func (v *victim) refusedContainers(t *testing.T) {
	for _, j := range ask[control.Status](v, t, "status").Jails {
		if j.Name == "nginx-http-auth" {
			if r := j.Refused; r == nil || r.Entries == 0 || r.Container != "systemd-nginx" || !r.Line || r.Hint == "" {
				t.Errorf("nginx-http-auth: refused %+v", r)
			}
			return
		}
	}
	t.Error("no jail nginx-http-auth")
}

// publishedPorts: ports that containers publish are closed to banned addresses by nftables and ipset, also beside a firewalld
// that runs. firewalld itself leaves them open, and status says so.
func (v *victim) publishedPorts(t *testing.T) {
	banned, free := netip.MustParseAddr("198.51.100.91"), netip.MustParseAddr("198.51.100.92")
	reach := func(backend string, want bool) {
		t.Helper()
		eventually(t, func() error {
			if s := ask[control.Status](v, t, "status"); s.Firewall.Backend != backend || !s.Firewall.OK {
				return fmt.Errorf("firewall %+v", s.Firewall)
			}
			return v.keptOut(banned, 22) // a ban made while the backend changes takes effect right afterwards
		})
		for _, engine := range []string{"podman", "docker"} {
			for from, want := range map[netip.Addr]bool{banned: want, free: true} {
				meets := v.keptOut
				if want {
					meets = v.letIn
				}
				if err := meets(from, webPorts[engine]); err != nil {
					t.Errorf("%s: nginx in %s: %v", backend, engine, err)
				}
			}
		}
	}
	use := func(backend string) {
		v.put(t, "40-backend.yaml", "firewall: {backend: "+backend+"}\n")
		v.sh(t, `systemctl reload bailiff.service`)
	}
	use("nftables")
	v.sh(t, `bailiff ban `+banned.String())
	reach("nftables", false)
	use("ipset")
	reach("ipset", false)
	if out := v.sh(t, `bailiff status`); strings.Contains(out, "ports that containers publish") {
		t.Error(out)
	}
	// firewalld takes over the host; Docker and Podman put their rules there anew.
	v.sh(t, `systemctl start firewalld.service; firewall-cmd -q --set-default-zone=trusted
		systemctl restart docker.service; docker start front other; iptables -P FORWARD ACCEPT; podman network reload --all`)
	use("firewalld")
	reach("firewalld", true)
	if out := v.sh(t, `bailiff status`); !strings.Contains(out, "ports published by containers (docker0, podman0) stay open to banned addresses") && !strings.Contains(out, "(podman0, docker0)") {
		t.Error(out)
	}
	use("nftables")
	reach("nftables", false)
	if out := v.sh(t, `bailiff status`); strings.Contains(out, "ports that containers publish") {
		t.Error(out)
	}
}
