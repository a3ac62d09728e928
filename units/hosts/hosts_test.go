package hosts

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bailiff/policy/filter"
)

//go:generate go test -run ^TestPage$ . -update

var update = flag.Bool("update", false, "write units/doc/hosts.md")

// unlisted are filters that belong to no service of a distribution.
var unlisted = []string{
	"gitlab",      // a unit that its notes tell the administrator to write
	"pam-generic", // any service that asks PAM
}

// writer is an entry as journald reports it for a process of a unit.
func writer(unit, exe string, uid int64) filter.Entry {
	e := filter.Entry{Unit: []byte(unit), Exe: []byte(exe), UID: uid, Message: []byte("x"), WholeMessage: true}
	if name, ok := strings.CutSuffix(unit, "@.service"); ok {
		e.Unit, e.Slice = []byte(name+"@1-10.0.0.1:22.service"), []byte("system-"+strings.ReplaceAll(name, "-", `\x2d`)+".slice")
	}
	return e
}

// executables are those of a row, in the folder where the distribution has them.
func (r *Row) executables(on string) (l []string) {
	for _, x := range r.Exe {
		if i := slices.IndexFunc(Distributions(), func(d Distribution) bool { return d.ID == on }); Distributions()[i].SbinIsBin {
			x = strings.Replace(x, "/usr/sbin/", "/usr/bin/", 1)
		}
		l = append(l, x)
	}
	return l
}

// TestFiltersTrustEachHost: every unit, user, executable and identifier of every row is accepted by the service's filters,
// and nobody else is: another unit, another program, a person, a container, or a user's own service manager.
func TestFiltersTrustEachHost(t *testing.T) {
	rows := 0
	for _, s := range Services() {
		for _, name := range s.Filters {
			f, err := filter.LoadBuiltin(name)
			if err != nil {
				t.Fatal(err)
			}
			m, err := f.Mode("")
			if err != nil {
				t.Fatal(err)
			}
			trust := f.Trust()
			for _, r := range s.Rows {
				if s.filterOf(name) {
					rows++
				}
				for _, on := range r.On {
					for _, unit := range r.Units {
						for _, exe := range r.executables(on) {
							for _, uid := range r.UIDs {
								said := func(what string, e filter.Entry, want bool) {
									if m.Trusts(&e) != want {
										t.Errorf("%s on %s, filter %s: %s is trusted: %v (unit %s slice %s exe %s uid %d identifier %s)", s.Name, on, name, what, !want, e.Unit, e.Slice, e.Exe, e.UID, e.Identifier)
									}
								}
								e := writer(unit, exe, uid)
								said("the service", e, true)
								gone := e
								gone.Exe = nil // the process ended before journald looked
								said("the service, executable unknown", gone, true)

								other := e
								other.Unit, other.Slice = []byte("other.service"), []byte("system.slice")
								said("another unit", other, false)
								other.Unit = []byte("x-" + unit)
								said("a unit with a similar name", other, false)
								other.Unit, other.Slice = []byte("user@1000.service"), []byte("user-1000.slice")
								other.UserUnit = []byte(unit)
								said("a user's unit of that name", other, false)
								if !trust.AnyUID {
									person := e
									person.UID = 1000
									said("a person", person, false)
									inside := e
									inside.Relay = filter.Vouched
									inside.Container = []byte("web")
									said("a container", inside, false)
								}
								if len(trust.Exe) > 0 {
									program := e
									program.Exe = []byte("/usr/bin/python3")
									said("another program", program, false)
									program.Exe = []byte("/tmp" + exe)
									said("a program in /tmp", program, false)
								}
							}
						}
					}
				}
				for _, id := range r.Identifiers {
					e := filter.Entry{Identifier: []byte(id), UID: 0, WholeMessage: true}
					if !m.Trusts(&e) && len(trust.Identifiers) > 0 {
						t.Errorf("%s on %s, filter %s: root without a unit, as %s, is not trusted", s.Name, r.On, name, id)
					}
					if e.UID = 1000; m.Trusts(&e) {
						t.Errorf("%s, filter %s: a person without a unit, as %s, is trusted", s.Name, name, id)
					}
				}
			}
		}
	}
	if rows < 90 {
		t.Errorf("only %d rows were tried", rows)
	}
}

func (s *Service) filterOf(name string) bool { return slices.Contains(s.Filters, name) }

// TestAccessLogIsWhole: Apache's access log is in the journal only if logger does not split its lines.
func TestAccessLogIsWhole(t *testing.T) {
	for _, s := range Services() {
		for _, l := range s.Logs {
			if s.Name != "apache" || l.Name != "access log" {
				continue
			}
			for line, want := range map[string]bool{
				l.Change.Lines[0]: true,
				`	customlog "|/usr/bin/logger --tag httpd --priority daemon.info --size 200000" bailiff`: true,
				`CustomLog "|/usr/bin/logger -t httpd -S200000" combined`:                                true,
				`CustomLog "|/usr/bin/logger -t httpd" combined`:                                         false,
				`CustomLog "|/usr/bin/logger -t httpd --size 4096" combined`:                             false,
			} {
				if l.Journal.MatchString(line) != want {
					t.Errorf("in the journal: %v, want %v: %s", !want, want, line)
				}
			}
			return
		}
	}
	t.Error("Apache has no access log")
}

// TestMariaDBIsNotMySQL: MariaDB does not escape newlines in what it writes to standard error, so a name sent by a client
// could forge a line there. It is refused under MySQL's unit names, too.
func TestMariaDBIsNotMySQL(t *testing.T) {
	f, err := filter.LoadBuiltin("mysqld-auth")
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Mode("")
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{"mysql.service", "mysqld.service", "mysqld@.service"} {
		for _, exe := range []string{"/usr/sbin/mariadbd", "/usr/bin/mariadbd", "/usr/libexec/mariadbd", "/nix/store/x-mariadb/bin/mariadbd"} {
			e := writer(unit, exe, 27)
			if m.Trusts(&e) {
				t.Errorf("%s in %s is trusted", exe, unit)
			}
		}
	}
}

// TestCourierloggerIsNotCourier: courierlogger splits long lines, and authdaemond sends user names through it if DEBUG_LOGIN
// is set: a client could forge what PAM and courieresmtpd write to syslog themselves, with the same user and identifier.
func TestCourierloggerIsNotCourier(t *testing.T) {
	f, err := filter.LoadBuiltin("courier-smtp")
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Mode("")
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range f.Trust().Units {
		e := writer(unit, "/usr/sbin/courierlogger", 0)
		if m.Trusts(&e) {
			t.Errorf("courierlogger in %s is trusted", unit)
		}
	}
}

// TestTableIsWhole: each filter has its services, each distribution its rows, each row its source; and logging.yaml names only filters that
// the service has.
func TestTableIsWhole(t *testing.T) {
	missing := slices.DeleteFunc(filter.Builtin(), func(name string) bool {
		return slices.Contains(unlisted, name) || slices.ContainsFunc(Services(), func(s *Service) bool { return s.filterOf(name) })
	})
	if len(missing) > 0 {
		t.Errorf("hosts.yaml has no service for the filters %q: add them where their daemon is, with the unit files' sources", missing)
	}
	used := map[string]bool{}
	for _, s := range Services() {
		seen := map[string]bool{}
		for _, r := range s.Rows {
			if len(r.On) == 0 || len(r.Units) == 0 || len(r.Exe) == 0 || len(r.UIDs) == 0 || r.Logs == "" || len(r.Source) == 0 {
				t.Errorf("%s: a row lacks something: %+v", s.Name, r)
			}
			for _, on := range r.On {
				if used[on] = true; !slices.ContainsFunc(Distributions(), func(d Distribution) bool { return d.ID == on }) {
					t.Errorf("%s: %q is no distribution", s.Name, on)
				}
				if key := on + strings.Join(r.Units, " ") + strings.Join(r.Exe, " "); seen[key] {
					t.Errorf("%s: two equal rows for %s", s.Name, on)
				} else {
					seen[key] = true
				}
			}
		}
		for _, l := range s.Logs {
			for _, f := range l.Filters {
				if !s.filterOf(f) {
					t.Errorf("logging.yaml: %s has no filter %s", s.Name, f)
				}
			}
			if c := l.Change; l.Default != "journal" && l.Default != "" && len(c.Lines)+len(c.DropIn) == 0 && l.Elsewhere == nil {
				t.Errorf("logging.yaml: %s says nothing of what to change", s.Name)
			}
		}
	}
	for _, d := range Distributions() {
		if !used[d.ID] {
			t.Errorf("%s has no rows", d.Name)
		}
	}
}

func TestBadTables(t *testing.T) {
	good := "distributions: {a: {name: A}}\nservices:\n  x: {filters: [sshd], rows: [{on: [a], units: [x.service], exe: [/x], uid: [0], logs: journal, source: [here]}]}\n"
	if _, err := load([]byte(good), []byte("x: [{default: journal}]\n")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ hosts, logging, want string }{
		{strings.Replace(good, "logs:", "lgos:", 1), "x: []\n", `unknown key "lgos"`},
		{strings.Replace(good, "uid: [0]", "uid: [root]", 1), "x: []\n", `"root" is not a number`},
		{strings.Replace(good, "exe: [/x]", "exe: /x", 1), "x: []\n", "is not a list"},
		{good, "y: []\n", "is not a service"},
		{good, "x: [{journal: '(' }]\n", "missing closing )"},
	} {
		if _, err := load([]byte(c.hosts), []byte(c.logging)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.logging, err, c.want)
		}
	}
}

// TestPage holds units/doc/hosts.md to the table.
func TestPage(t *testing.T) {
	file := filepath.Join("..", "doc", "hosts.md")
	want := page()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s differs from hosts.yaml (%v): go generate ./units/hosts", file, err)
	}
}

func page() []byte {
	var b bytes.Buffer
	b.WriteString(`# Services on each distribution

<!-- Generated from units/hosts/hosts.yaml by go generate ./units/hosts. Edit that file instead. -->

A filter trusts a line only from the right unit, user and executable, and these differ between distributions. This page lists
what was found in their packages, and where each service logs as installed. The shipped filters are tested against every row.
` + "`bailiff check`" + ` shows the same for the host it runs on, and what to change where a service logs to a file.

- A unit with an @ is a template. Its instances count, too.
- sshd behind a socket: Debian's and Ubuntu's ssh.socket starts ssh.service (Accept=no; Ubuntu 22.04: an instance of ssh@.service
  for each connection), sshd.socket elsewhere an instance of sshd@.service for each connection.
- Fedora since 42 and Arch have /usr/sbin as a link to /usr/bin: /usr/sbin/sshd is /usr/bin/sshd in their journal.
- NixOS has executables in /nix/store; … stands for the rest of the folder's name.
- Services whose filter is not listed here run on no particular distribution (gitlab), or everywhere (pam-generic).

`)
	for _, s := range Services() {
		fmt.Fprintf(&b, "## %s\n\nFilters: %s\n\n| Distribution | Units | Executables | Root writes as | Logs go to | Source |\n|---|---|---|---|---|---|\n", s.Name, strings.Join(s.Filters, ", "))
		for _, r := range s.Rows {
			var on, exe []string
			for _, d := range Distributions() {
				if slices.Contains(r.On, d.ID) {
					on = append(on, d.Name)
				}
			}
			for _, x := range r.Exe {
				if rest, ok := strings.CutPrefix(x, "/nix/store/"); ok {
					_, rest, _ = strings.Cut(rest, "/")
					x = "/nix/store/…/" + rest
				}
				exe = append(exe, x)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", strings.Join(on, "<br>"), strings.Join(r.Units, "<br>"), strings.Join(exe, "<br>"),
				strings.Join(r.Identifiers, ", "), r.Logs, strings.Join(r.Source, "; "))
		}
		b.WriteString("\n")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
