package filter

import (
	"slices"
	"testing"
)

func parse(t *testing.T, trust string) *Filter {
	t.Helper()
	f, err := read("t.yaml", []byte("name: t\ntrust: "+trust+"\npatterns: [{name: p, text: 'from <addr>'}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func trusts(t *testing.T, f *Filter, e Entry) bool {
	t.Helper()
	m, err := f.Mode("")
	if err != nil {
		t.Fatal(err)
	}
	e.Message = []byte("from 192.0.2.1")
	var h Hit
	ok := m.Trusts(&e)
	if m.Match(&e, &h) != ok {
		t.Errorf("%+v: Trusts says %v, Match does not", e, ok)
	}
	if m.Why(&e) == "" {
		t.Errorf("%+v: no reason", e)
	}
	return ok
}

func TestRelay(t *testing.T) {
	for _, c := range []struct {
		comm, exe, unit string
		uid             int64
		named           bool
		want            Relay
	}{
		{"", "", "nginx.service", 33, false, Direct},
		{"nginx", "/usr/sbin/nginx", "nginx.service", 33, false, Direct},
		{"nginx", "/usr/sbin/nginx", "nginx.service", 33, true, Forwarded}, // it claims to be a container's
		{"conmon", "/usr/bin/conmon", "nginx.service", 0, true, Vouched},
		{"conmon", "/usr/bin/conmon (deleted)", "nginx.service", 0, true, Vouched},
		{"conmon", "", "nginx.service", 0, true, Vouched},
		{"conmon", "/usr/bin/conmon", "user@1000.service", 1000, true, Forwarded}, // without root
		{"conmon", "/usr/bin/conmon", "nginx.service", 0, false, Forwarded},
		{"conmon", "/home/bob/conmon", "nginx.service", 0, true, Forwarded},
		{"conmon", "/usr/bin/python3", "nginx.service", 0, true, Forwarded},
		{"x", "/usr/bin/conmon", "nginx.service", 0, true, Forwarded},
		{"dockerd", "/usr/sbin/dockerd", "docker.service", 0, true, Vouched},
		{"dockerd", "", "docker.service", 0, true, Vouched},
		{"dockerd", "/snap/docker/2963/bin/dockerd", "snap.docker.dockerd.service", 0, true, Vouched},
		{"dockerd", "/usr/bin/dockerd", "evil.service", 0, true, Forwarded},
		{"dockerd", "/usr/bin/dockerd", "docker.service", 1000, true, Forwarded},
		{"docker", "/usr/bin/docker", "web.service", 0, false, Forwarded}, // docker run, attached
		{"podman", "/usr/bin/podman", "web.service", 0, false, Attached},
		{"podman", "", "web.service", 0, false, Attached},
		{"", "", "web.service", 0, true, Forwarded},
	} {
		if got := RelayOf([]byte(c.comm), []byte(c.exe), []byte(c.unit), c.uid, c.named); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// TestContainer: the output of a container in a unit is not the unit's own.
func TestContainer(t *testing.T) {
	line := func(unit string, r Relay, name, tag string) Entry {
		return Entry{Unit: []byte(unit), Relay: r, Container: []byte(name), ContainerTag: []byte(tag)}
	}
	unit := parse(t, "{units: [web.service], uid: 0, identifiers: [web]}")
	users := parse(t, "{units: [web.service], uid: any}")
	named := parse(t, "{units: [web.service], uid: any, containers: [front, db/front]}")
	for _, c := range []struct {
		e                  Entry
		unit, users, named bool
	}{
		{Entry{Unit: []byte("web.service")}, true, true, true},
		{line("web.service", Vouched, "front", ""), false, true, true},
		{line("web.service", Vouched, "other", ""), false, true, false},
		{line("web.service", Forwarded, "front", ""), false, true, false}, // by whoever
		{line("web.service", Attached, "", ""), false, false, false},      // conmon has written it, too
		{line("docker.service", Vouched, "x", "db/front"), false, false, true},
		{line("docker.service", Vouched, "front", "x"), false, false, true},
		{line("docker.service", Vouched, "x", "x"), false, false, false},
		{line("session-1.scope", Forwarded, "front", "front"), false, false, false},
		{line("session-1.scope", Direct, "front", "front"), false, false, false},
		{Entry{Identifier: []byte("web"), Relay: Forwarded}, false, false, false},
	} {
		for _, f := range []struct {
			name string
			f    *Filter
			want bool
		}{{"uid 0", unit, c.unit}, {"any", users, c.users}, {"named", named, c.named}} {
			if got := trusts(t, f.f, c.e); got != f.want {
				t.Errorf("%s: %+v: %v", f.name, c.e, got)
			}
		}
	}
}

func TestUserUnit(t *testing.T) {
	f := parse(t, "{user_units: [1092/edge.service]}")
	for _, c := range []struct {
		unit, user string
		uid        int64
		want       bool
	}{
		{"user@1092.service", "edge.service", 1092, true},
		{"user@1092.service", "edge.service", 0, true}, // a program of the unit that is set-user-ID
		{"user@1093.service", "edge.service", 1093, false},
		{"user@1092.service", "other.service", 1092, false},
		{"user@1092.service", "", 1092, false},
		{"edge.service", "edge.service", 1092, false},
		{"", "edge.service", 1092, false},
	} {
		if got := trusts(t, f, Entry{Unit: []byte(c.unit), UserUnit: []byte(c.user), UID: c.uid}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestExe(t *testing.T) {
	f := parse(t, "{units: [a.service], uid: system, exe: [/usr/sbin/a, '/usr/lib/a/*', '/opt/*/bin/a', '0:/usr/bin/logger'], identifiers: [a]}")
	for _, c := range []struct {
		unit, exe string
		uid       int64
		want      bool
	}{
		{"a.service", "", 33, true}, // gone before journald looked
		{"a.service", "/usr/sbin/a", 33, true},
		{"a.service", "/usr/sbin/a (deleted)", 33, true}, // upgraded
		{"a.service", "/usr/sbin/ab", 33, false},
		{"a.service", "/usr/sbin/", 33, false},
		{"a.service", "/usr/sbin/a/b", 33, false},
		{"a.service", "/usr/lib/a/worker", 33, true},
		{"a.service", "/usr/lib/a/worker (deleted)", 33, true},
		{"a.service", "/usr/lib/a/", 33, false},
		{"a.service", "/usr/lib/a/x/y", 33, false},
		{"a.service", "/opt/v2/bin/a", 33, true},
		{"a.service", "/opt//bin/a", 33, false},
		{"a.service", "/opt/x/y/bin/a", 33, false},
		{"a.service", "/usr/bin/logger", 33, false},
		{"a.service", "/usr/bin/logger", 0, true},
		{"", "", 0, true},
		{"", "/usr/sbin/a", 0, true}, // gone after journald read the executable, before it read the unit
		{"", "/usr/sbin/a", 33, false},
		{"", "/usr/sbin/b", 0, false},
	} {
		e := Entry{Unit: []byte(c.unit), Exe: []byte(c.exe), UID: c.uid, Identifier: []byte("a")}
		if got := trusts(t, f, e); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestDynamicUser: services with DynamicUser= count as system users.
func TestDynamicUser(t *testing.T) {
	f := parse(t, "{units: [a.service], uid: system}")
	for uid, want := range map[int64]bool{-1: false, 0: true, 999: true, 1000: false, 61183: false, 61184: true, 65519: true, 65520: false, 65534: false} {
		if got := trusts(t, f, Entry{Unit: []byte("a.service"), UID: uid}); got != want {
			t.Errorf("uid %d: %v", uid, got)
		}
	}
}

// TestWith: a jail's settings change its filter's trust, and no other jail's.
func TestWith(t *testing.T) {
	f := parse(t, "{units: [a.service], uid: system, exe: [/usr/sbin/a]}")
	root := parse(t, "{units: [a.service], uid: 0, exe: [/usr/sbin/a]}")
	e := func(unit string, uid int64, exe string) Entry {
		return Entry{Unit: []byte(unit), Slice: []byte("system-c.slice"), UID: uid, Exe: []byte(exe)}
	}
	units := Additions{Units: []string{"b.service", "system-c.slice"}}
	for _, c := range []struct {
		f    *Filter
		a    Additions
		e    Entry
		want bool
	}{
		{f, Additions{}, e("b.service", 0, ""), false},
		{f, units, e("b.service", 0, ""), true},
		{f, units, e("b.service", 1002, "/usr/sbin/a"), true}, // the unit is named: any user's
		{f, units, e("b.service", 1002, "/usr/bin/logger"), false},
		{f, units, e("c@1.service", 1002, ""), true},
		{f, units, e("a.service", 1002, ""), true}, // in the slice that is named
		{f, Additions{Units: []string{"b.service"}}, e("a.service", 1002, ""), false},
		{f, Additions{Units: []string{"a.service"}}, e("a.service", 1002, ""), true},
		{root, units, e("b.service", 0, ""), true},
		{root, units, e("b.service", 1002, ""), false}, // what only root's daemon writes
		{f, Additions{Exe: []Exe{{-1, "/opt/a"}}}, e("a.service", 1, "/opt/a"), true},
		{f, Additions{Exe: []Exe{{-1, "/opt/a"}}}, e("a.service", 1, "/usr/sbin/a"), false},
		{f, Additions{AnyExe: true}, e("a.service", 1, "/opt/b"), true},
		{f, Additions{Containers: []string{"x"}}, Entry{Unit: []byte("docker.service"), Relay: Vouched, Container: []byte("x")}, true},
		{f, Additions{UserUnits: []UserUnit{{7, "a.service"}}}, Entry{Unit: []byte("user@7.service"), UserUnit: []byte("a.service"), UID: 7}, true},
	} {
		g := c.f.With(c.a)
		if got := trusts(t, g, c.e); got != c.want {
			t.Errorf("%+v: %+v: %v", c.a, c.e, got)
		}
		if m, _ := g.Mode(""); m.Filter != g {
			t.Error("the matcher is another filter's")
		}
	}
	if trusts(t, f, e("b.service", 0, "")) {
		t.Error("the filter itself has changed")
	}
}

func TestRefuses(t *testing.T) {
	whole := "{units: [a.service], uid: system, require: message, exe: [/usr/sbin/a]}"
	lines := "{units: [a.service], uid: system, exe: [/usr/sbin/a]}"
	entry := func(unit, exe string, whole bool, r Relay, container string) Entry {
		return Entry{Message: []byte("from 192.0.2.1"), Unit: []byte(unit), UID: 33, Exe: []byte(exe), WholeMessage: whole, Relay: r, Container: []byte(container)}
	}
	for _, c := range []struct {
		trust string
		e     Entry
		want  Refusal
	}{
		{whole, entry("a.service", "/usr/sbin/a", true, Direct, ""), Refusal{}},
		{whole, entry("a.service", "/opt/a", true, Direct, ""), Refusal{Exe: "/opt/a"}},
		{whole, entry("a.service", "/opt/a", false, Direct, ""), Refusal{Exe: "/opt/a"}},
		{whole, entry("a.service", "/usr/sbin/a", false, Direct, ""), Refusal{Line: true}},
		{whole, entry("a.service", "/usr/bin/conmon", false, Vouched, "x"), Refusal{Line: true, Container: "x"}},
		{whole, entry("b.service", "/opt/a", true, Direct, ""), Refusal{}},
		{lines, entry("a.service", "/usr/sbin/a", false, Direct, ""), Refusal{}},
		{lines, entry("a.service", "/opt/a", false, Direct, ""), Refusal{Exe: "/opt/a"}},
		{lines, entry("a.service", "/usr/bin/conmon", false, Vouched, "x"), Refusal{Container: "x"}},
	} {
		m, _ := parse(t, c.trust).Mode("")
		got, ok := m.Refuses(&c.e)
		if ok != (c.want != Refusal{}) || ok && got != c.want {
			t.Errorf("%s: %+v: %v, %+v", c.trust, c.e, ok, got)
		}
		if ok && (m.Trusts(&c.e) || got.Hint("j") == "") {
			t.Errorf("%+v: trusted, or no hint", c.e)
		}
		c.e.Message = []byte("something else")
		if _, ok := m.Refuses(&c.e); ok {
			t.Errorf("%+v: refused though no pattern takes it", c.e)
		}
	}
}

func TestBadTrust(t *testing.T) {
	for _, c := range []struct{ trust, want string }{
		{"{units: [system-a.slice], uid: 0}", `f.yaml:2:17: trust.units: "system-a.slice" is a slice`},
		{"{slices: [a.service], uid: 0}", `f.yaml:2:18: trust.slices: "a.service" is not the slice of a template unit`},
		{"{user_units: [a.service]}", `f.yaml:2:22: trust.user_units: "a.service" is not UID/UNIT`},
		{"{user_units: [01/a.service]}", `f.yaml:2:22: trust.user_units: "01/a.service" is not UID/UNIT`},
		{"{user_units: [1/a]}", `f.yaml:2:22: trust.user_units: "a" is not the name of a unit`},
		{"{containers: ['a*']}", `f.yaml:2:22: trust.containers: "a*" is a pattern; the journal knows exact names only`},
		{"{containers: [a], require: message}", "f.yaml:2:21: trust.containers: filter t takes whole messages only (require: message), since a client can put a newline into what the daemon logs; a container's log driver forwards single lines"},
		{"{units: [a.service], uid: 0, exe: [a]}", `f.yaml:2:43: trust.exe: "a" is not the path of an executable`},
		{"{units: [a.service], uid: 0, exe: [/a/../b]}", `f.yaml:2:43: trust.exe: "/a/../b" is not a path as the kernel writes it`},
		{"{units: [a.service], uid: 0, exe: ['root:/a']}", `f.yaml:2:43: trust.exe: "root" is not a user id`},
		{"{units: [a.service], uid: 0, exe: ['/a*']}", `f.yaml:2:43: trust.exe: "/a*": a * stands for a whole part of the path`},
	} {
		_, err := read("f.yaml", []byte("name: t\ntrust: "+c.trust+"\npatterns: [{name: p, text: 'from <addr>'}]\n"))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.trust, err, c.want)
		}
	}
}

// TestBuiltinExe: what journald says of the executables of daemons on real hosts (Debian 12 and 13), and where other
// distributions put them; and what else runs in their units.
func TestBuiltinExe(t *testing.T) {
	for _, c := range []struct {
		filter, unit string
		uid          int64
		good, bad    []string
	}{
		{"sshd", "ssh.service", 0,
			[]string{"/usr/sbin/sshd", "/usr/lib/openssh/sshd-session", "/usr/lib/openssh/sshd-auth", "/usr/bin/sshd", "/usr/libexec/openssh/sshd-session", "/usr/lib/ssh/sshd-session", "/usr/libexec/ssh/sshd-auth", "/usr/sbin/sshd (deleted)"},
			[]string{"/usr/bin/logger", "/usr/sbin/unix_chkpwd", "/usr/bin/bash", "/usr/lib/openssh/sftp-server", "/home/bob/sshd", "/usr/sbin/sshd/x"}},
		{"postfix", "postfix.service", 100,
			[]string{"/usr/lib/postfix/sbin/smtpd", "/usr/lib/postfix/sbin/master", "/usr/libexec/postfix/postscreen", "/usr/lib/postfix/bin/smtpd"},
			[]string{"/usr/bin/logger", "/usr/bin/spamc", "/usr/bin/python3.11"}},
		{"dovecot", "dovecot.service", 0,
			[]string{"/usr/lib/dovecot/log", "/usr/lib/dovecot/auth", "/usr/sbin/dovecot", "/usr/libexec/dovecot/auth"},
			[]string{"/usr/sbin/unix_chkpwd", "/usr/lib/dovecot/sieve-pipe/train", "/usr/bin/logger"}},
		{"nginx-http-auth", "nginx.service", 33, []string{"/usr/sbin/nginx", "/usr/bin/nginx"}, []string{"/usr/bin/perl", "/usr/bin/logger", "/usr/sbin/apache2"}},
		{"apache-auth", "apache2.service", 33, []string{"/usr/sbin/apache2"}, []string{"/usr/bin/php-cgi8.2", "/usr/bin/logger"}},
		{"apache-auth", "httpd.service", 48, []string{"/usr/sbin/httpd", "/usr/bin/httpd"}, []string{"/usr/bin/dash"}},
		{"apache-shellshock", "apache2.service", 33, []string{"/usr/sbin/apache2"}, []string{"/usr/bin/logger"}},
		{"apache-shellshock", "apache2.service", 0, []string{"/usr/bin/logger"}, []string{"/usr/bin/dash"}}, // the access log's pipe, which Apache starts as root
		{"exim", "exim4.service", 104, []string{"/usr/sbin/exim4"}, []string{"/usr/bin/procmail"}},
		{"cockpit", "cockpit-wsinstance-http.service", 990, []string{"/usr/lib/cockpit/cockpit-session", "/usr/libexec/cockpit-session"}, []string{"/usr/lib/cockpit/cockpit-ws"}},
		{"mariadb-auth", "mariadb.service", 110, []string{"/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/bin/mariadbd"}, []string{"/usr/bin/sh"}},
		{"vsftpd", "vsftpd.service", 0, []string{"/usr/sbin/vsftpd"}, []string{"/usr/bin/logger"}},
		{"proftpd", "proftpd.service", 0, []string{"/usr/sbin/proftpd"}, []string{"/usr/bin/logger"}},
	} {
		f, err := LoadBuiltin(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		m, _ := f.Mode("")
		for i, list := range [][]string{c.good, c.bad} {
			for _, exe := range list {
				e := Entry{Unit: []byte(c.unit), UID: c.uid, Exe: []byte(exe), WholeMessage: true}
				if m.Trusts(&e) != (i == 0) {
					t.Errorf("%s: %s by %d: %s", c.filter, exe, c.uid, m.Why(&e))
				}
			}
		}
	}
}

// TestBuiltinTrust: what any user of a unit writes, a container's output included, counts by itself only where a pattern cannot
// be misled by lines that a client begins.
func TestBuiltinTrust(t *testing.T) {
	quoted := []string{"caddy-access", "grafana", "traefik-access", "traefik-auth"}
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		if trust := f.Trust(); trust.AnyUID != slices.Contains(quoted, name) || len(trust.Containers)+len(trust.UserUnits)+len(trust.Added) > 0 {
			t.Errorf("%s trusts %s", name, trust.Text())
		}
	}
}
