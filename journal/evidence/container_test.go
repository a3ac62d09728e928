package evidence

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"bailiff/journal"
	"bailiff/policy"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// row is the fields of an entry; export writes them as journalctl -o export does.
type row map[string]string

func export(rows []row) []byte {
	var b bytes.Buffer
	for i, r := range rows {
		at := 1_900_000_000_000_000 + i*1_000_000
		fmt.Fprintf(&b, "__CURSOR=s=%032x;i=%x;b=%032x;m=%x;t=%x;x=%x\n__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%032x\n", 1, i+1, 2, i, at, i, at, i, 2)
		for k, v := range r {
			if !strings.Contains(v, "\n") {
				fmt.Fprintf(&b, "%s=%s\n", k, v)
				continue
			}
			fmt.Fprintf(&b, "%s\n", k)
			b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(v))))
			fmt.Fprintf(&b, "%s\n", v)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// What writes a container's lines: fields as they were seen with Podman 5.4 and conmon 2.1, and with Docker 26.1. Podman's
// messages keep their newline.
func podman(unit, name, line string) row {
	return row{"_TRANSPORT": "journal", "_UID": "0", "_PID": "700", "_COMM": "conmon", "_EXE": "/usr/bin/conmon", "_SYSTEMD_UNIT": unit, "_SYSTEMD_SLICE": "system.slice",
		"SYSLOG_IDENTIFIER": name, "CONTAINER_NAME": name, "CONTAINER_ID": "0a1b2c3d4e5f", "CONTAINER_ID_FULL": strings.Repeat("0a1b2c3d", 8), "MESSAGE": line + "\n"}
}

func attached(unit, line string) row {
	return row{"_TRANSPORT": "stdout", "_UID": "0", "_PID": "690", "_COMM": "podman", "_EXE": "/usr/bin/podman", "_SYSTEMD_UNIT": unit, "_SYSTEMD_SLICE": "system.slice",
		"SYSLOG_IDENTIFIER": "podman", "MESSAGE": line}
}

func rootless(unit, name, line string) row {
	r := podman("user@1000.service", name, line)
	r["_UID"], r["_SYSTEMD_USER_UNIT"], r["_SYSTEMD_OWNER_UID"], r["_SYSTEMD_SLICE"] = "1000", unit, "1000", "user-1000.slice"
	return r
}

func docker(name, tag, line string) row {
	return row{"_TRANSPORT": "journal", "_UID": "0", "_PID": "800", "_COMM": "dockerd", "_EXE": "/usr/sbin/dockerd", "_SYSTEMD_UNIT": "docker.service", "_SYSTEMD_SLICE": "system.slice",
		"SYSLOG_IDENTIFIER": tag, "CONTAINER_NAME": name, "CONTAINER_TAG": tag, "CONTAINER_ID": "0a1b2c3d4e5f", "CONTAINER_ID_FULL": strings.Repeat("0a1b2c3d", 8), "MESSAGE": line}
}

func passthrough(unit, exe, line string) row {
	return row{"_TRANSPORT": "stdout", "_UID": "33", "_PID": "900", "_COMM": exe[strings.LastIndexByte(exe, '/')+1:], "_EXE": exe, "_SYSTEMD_UNIT": unit, "_SYSTEMD_SLICE": "system.slice",
		"SYSLOG_IDENTIFIER": strings.TrimSuffix(unit, ".service"), "MESSAGE": line}
}

// banned replays entries under a configuration, as the reader of the daemon finds them.
func banned(t *testing.T, conf string, rows []row) (bans []string, jails map[string]policy.JailInfo) {
	t.Helper()
	c, err := config.Parse("bailiff.yaml", []byte(conf+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := policy.New(c, state.New())
	if err != nil {
		t.Fatal(err)
	}
	x := journal.NewExport(bytes.NewReader(export(rows)), journal.Options{Matches: Matches(g.Matchers()), Fields: Fields, MaxValue: MaxValue})
	var e filter.Entry
	for n := jail.Ref(1); x.Next(); n++ {
		Convert(x.Entry(), &e)
		for _, b := range g.Entry(&e, n).Bans {
			bans = append(bans, fmt.Sprintf("%s %s %d", b.Jail, b.Addr, b.Failures))
		}
	}
	if err := x.Err(); err != nil {
		t.Fatal(err)
	}
	jails = make(map[string]policy.JailInfo)
	for _, j := range g.Jails() {
		jails[j.Name] = j
	}
	return bans, jails
}

// What a client has a daemon write: nginx decodes the %0a of a request, MariaDB takes a newline in a user name. Each line that
// follows is the client's, and names a third party.
var (
	victims = []netip.Addr{netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("203.0.113.6")}
	forged  = []string{
		`2026/11/22 22:49:55 [error] 1#1: *1 user "x%d" was not found in "y", client: 203.0.113.5, server: s" failed (2: No such file or directory), client: 198.51.100.9, server: _, request: "GET / HTTP/1.1", host: "www.example.org"`,
		`db1,bob%d,203.0.113.6,113,0,FAILED_CONNECT,,,1045`,
	}
)

// TestForgedLines: nobody is banned by lines that a client made of one message, whatever forwards them. The same line is
// evidence where the daemon itself has sent it as a message.
func TestForgedLines(t *testing.T) {
	for how, make := range map[string]func(daemon, line string) row{
		"podman":      func(d, l string) row { return podman(d+".service", "systemd-"+d, l) },
		"attached":    func(d, l string) row { return attached(d+".service", l) },
		"rootless":    func(d, l string) row { return rootless(d+".service", "systemd-"+d, l) },
		"docker":      func(d, l string) row { return docker(d, d, l) },
		"passthrough": func(d, l string) row { return passthrough(d+".service", "/usr/sbin/"+d, l) },
	} {
		var rows []row
		for i := range 12 {
			rows = append(rows, make("nginx", fmt.Sprintf(forged[0], i)), make("mariadb", fmt.Sprintf(forged[1], i)))
		}
		for _, conf := range []string{"{}", "jails: {nginx-http-auth: {units: [nginx.service, docker.service, user@1000.service], user_units: [1000/nginx.service], exe: any}, mariadb-auth: {units: [mariadb.service, docker.service], user_units: [1000/mariadb.service], exe: any}}"} {
			if bans, _ := banned(t, conf, rows); len(bans) > 0 {
				t.Errorf("%s, %s: %q", how, conf, bans)
			}
		}
	}
	var rows []row
	for i := range 12 {
		for n, d := range []string{"nginx", "mariadb"} {
			r := passthrough(d+".service", "", fmt.Sprintf(forged[n], i))
			r["_TRANSPORT"] = "syslog"
			delete(r, "_EXE")
			delete(r, "_COMM")
			rows = append(rows, r)
		}
	}
	bans, _ := banned(t, "{}", rows)
	for _, v := range victims {
		if !strings.Contains(strings.Join(bans, "\n"), v.String()) {
			t.Errorf("%v is not banned by messages of the daemon itself: this test shows nothing (%q)", v, bans)
		}
	}
}

// TestNamedContainer: a container's lines count in the jail that names it, once each, and no other's.
func TestNamedContainer(t *testing.T) {
	const line = `imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<bob>, method=PLAIN, rip=198.51.100.8, lip=192.0.2.1, TLS, session=<x%d>`
	times := func(make func(line string) row) (rows []row) {
		for i := range 12 {
			r := make(fmt.Sprintf(line, i))
			r["_PID"] = "700"
			rows = append(rows, r)
		}
		return rows
	}
	inUnit := times(func(l string) row { return podman("dovecot.service", "systemd-dovecot", l) })
	byTag := times(func(l string) row { return docker("mail_front_1", "mail/front", l) })
	liar := times(func(l string) row {
		r := podman("session-1.scope", "systemd-dovecot", l)
		r["_UID"], r["_COMM"], r["_EXE"] = "1000", "conmon", "/home/bob/conmon"
		return r
	})
	user := times(func(l string) row { return rootless("mail.service", "systemd-mail", l) })
	twice := []row{}
	for i, r := range times(func(l string) row { return podman("mail.service", "mail", l) })[:4] {
		twice = append(twice, r, attached("mail.service", fmt.Sprintf(line, i)))
	}
	for _, c := range []struct {
		name, conf string
		rows       []row
		want       bool
	}{
		{"in the filter's own unit", "{}", inUnit, false},
		{"named", "jails: {dovecot: {containers: [systemd-dovecot]}}", inUnit, true},
		{"the unit named", "jails: {dovecot: {units: [dovecot.service]}}", inUnit, true},
		{"another named", "jails: {dovecot: {containers: [other]}}", inUnit, false},
		{"docker, by tag", "jails: {dovecot: {containers: [mail/front]}}", byTag, true},
		{"docker, by name", "jails: {dovecot: {containers: [mail_front_1]}}", byTag, true},
		{"docker, not named", "{}", byTag, false},
		{"a user who writes such fields", "jails: {dovecot: {containers: [systemd-dovecot]}}", liar, false},
		{"a user's container", "jails: {dovecot: {user_units: [1000/mail.service]}}", user, true},
		{"another user's", "jails: {dovecot: {user_units: [1001/mail.service]}}", user, false},
		{"a user's container by its name", "jails: {dovecot: {containers: [systemd-mail]}}", user, false},
		{"each line twice, four attempts", "jails: {dovecot: {units: [mail.service]}}", twice, false},
	} {
		bans, jails := banned(t, c.conf, c.rows)
		if (len(bans) > 0) != c.want {
			t.Errorf("%s: %q", c.name, bans)
		}
		if j := jails["dovecot"]; c.name == "in the filter's own unit" && (j.Refused.Entries != 12 || j.Refused.Why != filter.Refusal{Container: "systemd-dovecot"}) {
			t.Errorf("refused: %+v", j.Refused)
		}
	}
}
