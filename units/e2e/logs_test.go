package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"bailiff/units/control"
	"bailiff/units/e2e/host"
)

// logging is what `bailiff check --json` says of a service.
type logging struct {
	Name, Log, Unit, Journal, Where, Part string
	Running, Socket                       bool
	Last                                  string   `json:"last_entry"`
	On                                    []string `json:"jails_on"`
	Also                                  []string
	Change                                struct {
		What, File, Command string
		Line                int
		Lines               []string
		DropIn              bool `json:"drop_in"`
	}
}

func (v *victim) logs(t *testing.T, name string) (l logging) {
	t.Helper()
	var r struct{ Services []logging }
	out := v.sh(t, `bailiff check --json`)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	i := slices.IndexFunc(r.Services, func(s logging) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("bailiff check does not find %s: %s", name, out)
	}
	return r.Services[i]
}

// obey changes a configuration file as bailiff check says, and runs the command that makes it active.
func (v *victim) obey(t *testing.T, l logging) {
	t.Helper()
	c := l.Change
	switch {
	case c.File == "" || c.Command == "" || c.DropIn:
		t.Fatalf("%s: check says %+v", l.Name, c)
	case c.What == "remove":
		v.sh(t, fmt.Sprintf(`sed -i %dd %s`, c.Line, c.File))
	default:
		v.sh(t, fmt.Sprintf("printf '%%s\\n' '%s' >>%s", strings.Join(c.Lines, "\n"), c.File))
	}
	v.sh(t, c.Command)
}

// finds waits until a failed login of an address is evidence for a filter.
func (v *victim) finds(t *testing.T, filter string, from netip.Addr) {
	t.Helper()
	eventually(t, func() error {
		out := v.sh(t, `journalctl -b -o export | bailiff match --json --matched --export `+filter)
		for s := bufio.NewScanner(strings.NewReader(out)); s.Scan(); {
			var l struct {
				Kind, Address string
				Trusted       bool
			}
			if json.Unmarshal(s.Bytes(), &l) == nil && l.Kind == "failure" && l.Trusted && l.Address == from.String() {
				return nil
			}
		}
		return fmt.Errorf("%s finds no failure of %s in %q, of\n%s", filter, from, out, v.sh(t, `journalctl -b -o short | tail -n 30`))
	})
}

const logsSetup = `
echo 'server { listen 81; location / { auth_basic e2e; auth_basic_user_file /etc/nginx/e2e.passwords; root /var/www/html; } }' >/etc/nginx/conf.d/e2e.conf
echo 'bob:{PLAIN}correct-horse' >/etc/nginx/e2e.passwords
systemctl restart nginx.service; systemctl start vsftpd.service mariadb.service exim4.service
`

// servicesLog: bailiff check finds services that log to files, as Debian installs them; doing what it says brings their
// failed logins to the journal.
func (v *victim) servicesLog(t *testing.T) {
	v.sh(t, logsSetup)
	for _, want := range []logging{
		{Name: "sshd", Unit: "ssh.service", Journal: "yes"},
		{Name: "nginx", Unit: "nginx.service", Journal: "elsewhere", Where: "/var/log/nginx/error.log"},
		{Name: "exim", Unit: "exim4.service", Journal: "elsewhere"},
		{Name: "vsftpd", Unit: "vsftpd.service", Journal: "elsewhere", Where: "/var/log/vsftpd.log", Part: "PAM's lines"},
		{Name: "mariadb", Unit: "mariadb.service", Journal: "no", Where: "failed logins are not logged"},
	} {
		l := v.logs(t, want.Name)
		if !l.Running || len(l.On) == 0 || l.Unit != want.Unit || l.Journal != want.Journal || l.Part != want.Part || want.Where != "" && l.Where != want.Where {
			t.Errorf("bailiff check says %+v of %s, want %+v", l, want.Name, want)
		}
	}
	text := v.sh(t, `bailiff check 2>&1`)
	t.Logf("bailiff check:\n%s", text)
	_, table, _ := strings.Cut(text, "SERVICE ")
	table, _, _ = strings.Cut("SERVICE "+table, "\n\n")
	for line := range strings.Lines(table) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > 80 {
			t.Errorf("a row is wider than a terminal: %s", line)
		}
	}

	t.Run("nginx", func(t *testing.T) {
		from := sourceN(91)
		v.obey(t, v.logs(t, "nginx"))
		i := 0
		eventually(t, func() error { // workers from before the reload may take the first requests
			if i++; i < 50 && v.curl(t, from, "http://"+host.Victim4.String()+":81/", "--fail", "--max-time", "2", "--user", fmt.Sprintf("guess%d:letmein", i)) == nil {
				t.Fatal("nginx let a wrong password in")
			}
			if bans := ask[[]control.Ban](v, t, "bans"); !slices.ContainsFunc(bans, func(b control.Ban) bool {
				return strings.HasPrefix(b.Prefix, from.String()+"/") && b.Jail == "nginx-http-auth"
			}) {
				return fmt.Errorf("no ban of %s after %d wrong passwords", from, i)
			}
			return nil
		})
		v.finds(t, "nginx-http-auth", from)
	})
	t.Run("exim", func(t *testing.T) {
		v.obey(t, v.logs(t, "exim"))
		eventually(t, func() error {
			if l := v.logs(t, "exim"); l.Journal != "yes" || l.Last == "" {
				return fmt.Errorf("exim's log: %+v", l)
			}
			return nil
		})
	})
	t.Run("vsftpd", func(t *testing.T) {
		v.obey(t, v.logs(t, "vsftpd"))
		v.ftp(t, sourceN(92))
		v.finds(t, "vsftpd", sourceN(92))
	})
	t.Run("level", func(t *testing.T) { // a unit whose own setting drops the lines
		v.sh(t, `mkdir -p /etc/systemd/system/vsftpd.service.d; printf '[Service]\nLogLevelMax=warning\n' >/etc/systemd/system/vsftpd.service.d/10-quiet.conf
			systemctl daemon-reload; systemctl restart vsftpd.service`)
		if l := v.logs(t, "vsftpd"); l.Journal != "no" || !l.Change.DropIn {
			t.Fatalf("with LogLevelMax=warning: %+v", l)
		}
		v.fixes(t, "vsftpd")
		v.ftp(t, sourceN(93))
		v.finds(t, "vsftpd", sourceN(93))
	})
	t.Run("mariadb", func(t *testing.T) {
		v.sh(t, `mariadb -e "CREATE USER app@'127.0.0.1' IDENTIFIED BY 'correct-horse'"`)
		v.fixes(t, "mariadb")
		if out, err := v.Sh(t.Context(), `mariadb -h 127.0.0.1 -u app -pletmein -e 'select 1' 2>&1`); err == nil || !strings.Contains(out, "Access denied") {
			t.Fatalf("mariadb: %v %s", err, out)
		}
		v.finds(t, "mariadb-auth", netip.MustParseAddr("127.0.0.1"))
	})
	t.Run("socket", func(t *testing.T) {
		v.sh(t, `systemctl stop ssh.service; systemctl start ssh.socket`)
		if l := v.logs(t, "sshd"); l.Unit != "ssh.service" || l.Running || !l.Socket || l.Journal != "yes" {
			t.Errorf("sshd behind its socket: %+v", l)
		}
		v.fails(t, sourceN(95), 5)
		v.bansInKernel(t, sourceN(95))
	})
	for _, name := range []string{"nginx", "exim", "vsftpd", "mariadb"} {
		if l := v.logs(t, name); l.Journal != "yes" || l.Last == "" {
			t.Errorf("after the change, bailiff check says %+v of %s", l, name)
		}
	}
}

// ftp tries a login that must fail.
func (v *victim) ftp(t *testing.T, from netip.Addr) {
	t.Helper()
	eventually(t, func() error { // it may just have been started
		err := v.curl(t, from, "ftp://"+host.Victim4.String()+"/", "--user", "nobody-here:letmein")
		if err == nil || !strings.Contains(err.Error(), "denied") {
			return fmt.Errorf("a wrong password: %v", err)
		}
		return nil
	})
}

// fixes has bailiff check --fix write the drop-in of a service, and makes it active as it says.
func (v *victim) fixes(t *testing.T, name string) {
	t.Helper()
	file := v.logs(t, name).Change.File
	dry := v.sh(t, `bailiff check --fix `+name+` --dry-run 2>/dev/null`)
	if _, err := v.Sh(t.Context(), `test -e `+file); err == nil || !strings.HasPrefix(dry, "# "+file+"\n") {
		t.Errorf("--dry-run wrote %s, or prints %q", file, dry)
	}
	out := v.sh(t, `bailiff check --fix `+name+` 2>&1`)
	_, command, ok := strings.Cut(out, "hint: to make it active: ")
	if !ok || !strings.Contains(out, "wrote "+file) {
		t.Fatalf("--fix: %s", out)
	}
	if l := v.logs(t, name); l.Journal != "no" || !strings.Contains(l.Where, "not in effect yet") {
		t.Errorf("before the restart, check says %+v", l)
	}
	v.sh(t, command)
	if l := v.logs(t, name); l.Journal != "yes" {
		t.Errorf("after the restart, check says %+v", l)
	}
	if have := v.sh(t, `cat `+file); !strings.HasSuffix(dry, have) {
		t.Errorf("--fix wrote %q, --dry-run printed %q", have, dry)
	}
}

// apacheLogs: Debian's Apache has an ErrorLog of its own in each virtual host.
func (v *victim) apacheLogs(t *testing.T) {
	v.sh(t, `touch /etc/apache2/e2e.passwords
		printf '<Location "/private">\nAuthType Basic\nAuthName e2e\nAuthUserFile /etc/apache2/e2e.passwords\nRequire valid-user\n</Location>\n' >/etc/apache2/conf-enabled/e2e.conf
		systemctl restart apache2.service`)
	l := v.logs(t, "apache")
	if l.Unit != "apache2.service" || !l.Running || l.Journal != "elsewhere" || l.Where != "/var/log/apache2/error.log" || l.Change.Line == 0 || len(l.Also) == 0 {
		t.Fatalf("bailiff check says %+v", l)
	}
	for _, p := range append(l.Also, fmt.Sprintf("%s:%d", l.Change.File, l.Change.Line)) {
		file, line, _ := strings.Cut(p, ":")
		v.sh(t, fmt.Sprintf(`sed -i --follow-symlinks '%sc %s' %s`, line, l.Change.Lines[0], file))
	}
	v.sh(t, l.Change.Command)
	if l := v.logs(t, "apache"); l.Journal != "yes" || len(l.Also) > 0 {
		t.Errorf("after the change, bailiff check says %+v", l)
	}
	from := sourceN(96)
	eventually(t, func() error {
		if err := v.curl(t, from, "http://"+host.Victim4.String()+"/private", "--fail", "--user", "guess:letmein"); err == nil {
			t.Fatal("apache let an unknown user in")
		}
		if out := v.sh(t, `journalctl -b -o export _SYSTEMD_UNIT=apache2.service | bailiff match --json --matched --export apache-auth`); !strings.Contains(out, `"address":"`+from.String()) {
			return fmt.Errorf("apache-auth finds nothing: %s", out)
		}
		return nil
	})
	v.finds(t, "apache-auth", from)
}

// proftpdLogs: ProFTPD's SystemLog, which Debian sets, keeps its lines from the journal.
func (v *victim) proftpdLogs(t *testing.T) {
	v.sh(t, `systemctl start proftpd.service`)
	l := v.logs(t, "proftpd")
	if l.Journal != "elsewhere" || l.Where != "/var/log/proftpd/proftpd.log" || l.Change.What != "remove" || l.Change.Line == 0 {
		t.Fatalf("bailiff check says %+v", l)
	}
	v.obey(t, l)
	v.ftp(t, sourceN(94))
	v.finds(t, "proftpd", sourceN(94))
	if l := v.logs(t, "proftpd"); l.Journal != "yes" || l.Last == "" {
		t.Errorf("after the change, bailiff check says %+v", l)
	}
}
