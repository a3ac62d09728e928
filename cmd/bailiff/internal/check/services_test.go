package check

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/units/configdir"
	"bailiff/units/hosts"
	"bailiff/units/manager"
)

// tree is a host whose files are these, with units as systemd describes them.
func tree(t *testing.T, files map[string]string, units ...manager.Service) *host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			if err := os.Symlink(target, file); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &host{
		root:     root,
		describe: func(context.Context, []string) ([]manager.Service, error) { return units, nil },
		last:     func(context.Context, []*filter.Matcher) (map[int]uint64, error) { return nil, nil },
	}
}

func unit(name string) manager.Service {
	return manager.Service{Unit: name, Template: strings.HasSuffix(name, "@.service"), Running: true, LogLevelMax: -1, Output: "journal", Error: "inherit"}
}

func defaults(t *testing.T) *config.Config {
	t.Helper()
	c, err := (&configdir.Loader{Root: t.TempDir()}).Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestWhereServicesLog: what the configuration files, the unit and the open files of a service say.
func TestWhereServicesLog(t *testing.T) {
	quiet, file, level := unit("vsftpd.service"), unit("dropbear.service"), unit("traefik.service")
	quiet.LogLevelMax = 4
	level.Output = "file"
	running := unit("apache2.service")
	running.ControlGroup = "/system.slice/apache2.service"
	apache := map[string]string{
		"etc/apache2/apache2.conf":                                "ErrorLog ${APACHE_LOG_DIR}/error.log\n",
		"etc/apache2/sites-enabled/a.conf":                        "<VirtualHost>\n  errorlog /srv/a.log\n</VirtualHost>\n",
		"sys/fs/cgroup/system.slice/apache2.service/cgroup.procs": "7\n",
		"proc/7/fd/2":       "-> /var/log/apache2/error.log",
		"proc/7/fdinfo/2":   "pos:\t0\nflags:\t02102001\n",
		"proc/7/fd/3":       "-> /var/log/apache2/access.log",
		"proc/7/fdinfo/3":   "pos:\t0\nflags:\t02102001\n",
		"proc/7/fd/4":       "-> /etc/apache2/readme.log",
		"proc/7/fdinfo/4":   "pos:\t0\nflags:\t0100000\n",
		"proc/7/fd/5":       "-> /var/log/journal/x/system.journal",
		"proc/7/fdinfo/5":   "pos:\t0\nflags:\t02102001\n",
		"proc/7/fd/garbage": "x",
	}
	mariadb := unit("mariadb.service")
	mariadb.Command = "/usr/sbin/mariadbd $MYSQLD_OPTS $_WSREP_NEW_CLUSTER\n"
	set := mariadb
	set.Environment = []string{"MYSQLD_OPTS=--mine"}
	for _, c := range []struct {
		name, service string
		files         map[string]string
		unit          manager.Service
		journal       string
		where         string
		change        string // the words of it, all must be there
	}{
		{"always", "sshd", nil, unit("ssh.service"), "yes", "", ""},
		{"sshd is silent", "sshd", map[string]string{"etc/ssh/sshd_config": "# LogLevel INFO\nLogLevel QUIET\n"}, unit("sshd.service"), "no", "QUIET",
			"in /etc/ssh/sshd_config:2 (LogLevel QUIET), replace by:|LogLevel INFO|systemctl reload sshd.service"},
		{"nginx as packaged", "nginx", map[string]string{"etc/nginx/nginx.conf": "error_log /var/log/nginx/error.log;\n"}, unit("nginx.service"), "elsewhere", "/var/log/nginx/error.log",
			"in /etc/nginx/nginx.conf, add at the top level:|    error_log syslog:server=unix:/dev/log;|then: nginx -t && systemctl reload nginx.service"},
		{"nginx, both", "nginx", map[string]string{"etc/nginx/nginx.conf": "error_log /var/log/nginx/error.log;\nerror_log syslog:server=unix:/dev/log;\n"}, unit("nginx.service"), "yes", "", ""},
		{"nginx, commented out", "nginx", map[string]string{"etc/nginx/nginx.conf": "# error_log syslog:server=unix:/dev/log;\n"}, unit("nginx.service"), "elsewhere", "/var/log/nginx/error.log", "error_log syslog"},
		{"nginx, one server differs", "nginx", map[string]string{"etc/nginx/nginx.conf": "error_log syslog:server=unix:/dev/log;\n", "etc/nginx/sites-enabled/shop": "server {\n  error_log /srv/shop.log;\n}\n"},
			unit("nginx.service"), "yes", "", "but not as set in /etc/nginx/sites-enabled/shop:2"},
		{"apache, the open file", "apache", apache, running, "elsewhere", "/var/log/apache2/error.log", "in /etc/apache2/apache2.conf:1 (ErrorLog ${APACHE_LOG_DIR}/error.log), replace each ErrorLog by:|ErrorLog syslog|(the same in /etc/apache2/sites-enabled/a.conf:2)"},
		{"exim", "exim", map[string]string{"etc/exim4/exim4.conf.template": "x\n"}, unit("exim4.service"), "elsewhere", "its main log file", "in /etc/exim4/exim4.conf.localmacros, add:|log_file_path = syslog"},
		{"exim, whole configuration", "exim", map[string]string{"etc/exim4/exim4.conf": "log_file_path = /x/%slog\n"}, unit("exim4.service"), "elsewhere", "/x/%slog", "in /etc/exim4/exim4.conf, add:"},
		{"exim, syslog too", "exim", map[string]string{"etc/exim.conf": "log_file_path = /x/%slog : syslog\n"}, unit("exim.service"), "yes", "", ""},
		{"vsftpd", "vsftpd", map[string]string{"etc/vsftpd/vsftpd.conf": "listen=YES\n"}, unit("vsftpd@.service"), "elsewhere", "/var/log/vsftpd.log", "in /etc/vsftpd/vsftpd.conf, add:|syslog_enable=YES"},
		{"vsftpd, syslog", "vsftpd", map[string]string{"etc/vsftpd.conf": "syslog_enable=YES\r\n"}, unit("vsftpd.service"), "yes", "", ""},
		{"vsftpd, level", "vsftpd", map[string]string{"etc/vsftpd.conf": "syslog_enable=YES\n"}, quiet, "no", "LogLevelMax= of the unit drops it (level 4)", "bailiff check --fix vsftpd"},
		{"proftpd", "proftpd", map[string]string{"etc/proftpd/proftpd.conf": "ServerName x\n  SystemLog /var/log/proftpd/proftpd.log\n"}, unit("proftpd.service"), "elsewhere", "/var/log/proftpd/proftpd.log",
			"remove /etc/proftpd/proftpd.conf:2 (SystemLog /var/log/proftpd/proftpd.log)|systemctl restart proftpd.service"},
		{"proftpd, syslog", "proftpd", map[string]string{"etc/proftpd.conf": "ServerName x\n"}, unit("proftpd.service"), "yes", "", ""},
		{"mariadb", "mariadb", nil, mariadb, "no", "failed logins are not logged", "bailiff check --fix mariadb"},
		{"mariadb, options set", "mariadb", map[string]string{"etc/my.cnf.d/x.cnf": "[mariadb]\n"}, set, "no", "failed logins are not logged", "in /etc/my.cnf.d/90-bailiff.cnf, add:|plugin_load_add=server_audit"},
		{"mariadb, of openSUSE", "mariadb", nil, unit("mariadb.service"), "no", "failed logins are not logged", "plugin_load_add=server_audit"},
		{"mariadb, audited", "mariadb", map[string]string{"etc/mysql/mariadb.conf.d/9.cnf": "server_audit_output_type = syslog\n"}, mariadb, "yes", "", ""},
		{"traefik, standard output", "traefik", map[string]string{"etc/traefik/traefik.yml": "accessLog: {format: json}\n"}, level, "elsewhere", "StandardOutput=file, StandardError=inherit of the unit", "bailiff check --fix traefik"},
		{"dropbear", "dropbear", nil, file, "yes", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := tree(t, c.files, c.unit)
			list, err := h.services(t.Context(), defaults(t))
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(list, func(s service) bool { return s.Name == c.service })
			if i < 0 {
				t.Fatalf("%s is not found: %+v", c.service, list)
			}
			s := &list[i]
			if s.Journal != c.journal || s.Where != c.where || s.Unit != c.unit.Unit {
				t.Errorf("%s, %q, unit %s; want %s, %q", s.Journal, s.Where, s.Unit, c.journal, c.where)
			}
			text := strings.Join(s.advice(), "\n")
			for _, want := range strings.Split(c.change, "|") {
				if !strings.Contains(text, want) || c.change == "" && text != "" {
					t.Errorf("advice %q, want %q", text, want)
				}
			}
		})
	}
}

// TestSameUnitName: mysql.service is MySQL on Ubuntu and MariaDB on NixOS.
func TestSameUnitName(t *testing.T) {
	for exe, want := range map[string]string{"/usr/sbin/mysqld": "mysql", "/nix/store/x-mariadb/bin/mariadbd": "mariadb"} {
		u := unit("mysql.service")
		u.ControlGroup = "/system.slice/mysql.service"
		list, err := tree(t, map[string]string{"sys/fs/cgroup/system.slice/mysql.service/cgroup.procs": "9\n", "proc/9/exe": "-> " + exe}, u).services(t.Context(), defaults(t))
		if err != nil || len(list) != 1 || list[0].Name != want {
			t.Errorf("%s: %+v, %v; want %s", exe, list, err, want)
		}
	}
}

// TestHelperUnits: Courier's authentication daemon belongs to its IMAP and to its SMTP server, and is no sign that either is installed.
func TestHelperUnits(t *testing.T) {
	list, err := tree(t, nil, unit("courier-authdaemon.service"), unit("courier-imap.service")).services(t.Context(), defaults(t))
	if err != nil || len(list) != 1 || list[0].Name != "courier" || list[0].Unit != "courier-imap.service" {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestConfiguredJails: an administrator's own filter is a service of its own, and access logs are checked if a jail for them is enabled.
// Units that a jail adds to those of its filter are found.
func TestConfiguredJails(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"bailiff.d/10-mine.yaml": "jails:\n  mine: {}\n  nginx-botsearch: {enabled: true}\n  sshd: {units: [my-ssh.service]}\n",
		"filters.d/mine.yaml":    "name: mine\ntrust: {units: [mine.service], uid: 0}\npatterns: [{name: a, text: 'no <addr>'}]\ntests: [{line: 'no 192.0.2.1', address: 192.0.2.1}]\n",
	} {
		file := filepath.Join(root, "etc/bailiff", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := (&configdir.Loader{Root: root}).Load()
	if err != nil {
		t.Fatal(err)
	}
	h := tree(t, map[string]string{"etc/nginx/nginx.conf": "error_log syslog:server=unix:/dev/log;\naccess_log /var/log/nginx/access.log;\n"}, unit("mine.service"), unit("nginx.service"), unit("my-ssh.service"))
	seen := false
	h.last = func(_ context.Context, ms []*filter.Matcher) (map[int]uint64, error) {
		last := map[int]uint64{}
		for i, m := range ms {
			if seen && m.Filter.Name == "mine" {
				last[i] = 1700000000000000
			}
		}
		return last, nil
	}
	for _, want := range []map[string]string{
		{"mine": "unknown", "nginx": "yes", "nginx, access log": "elsewhere", "sshd": "yes"},
		{"mine": "yes", "nginx": "yes", "nginx, access log": "elsewhere", "sshd": "yes"},
	} {
		list, err := h.services(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, s := range list {
			got[s.title()] = s.Journal
			if seen && s.Name == "mine" && s.LastEntry != "2023-11-14T22:13:20Z" {
				t.Errorf("last entry %q", s.LastEntry)
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		seen = true
	}
}

// TestFix: a drop-in is written once, never over another file, and only where it can help.
func TestFix(t *testing.T) {
	mariadb := unit("mariadb@.service")
	mariadb.Command, mariadb.Instances = "/usr/sbin/mariadbd $MYSQLD_OPTS\n", []string{"mariadb@a.service", "mariadb@b.service"}
	mariadb.Started = time.Now().Add(-time.Hour)
	h := tree(t, map[string]string{"etc/vsftpd.conf": "\n", "etc/systemd/system/x": ""}, mariadb, unit("vsftpd.service"), unit("ssh.service"))
	run := func(name string, dry bool) (out, notes string, err error) {
		list, err := h.services(t.Context(), defaults(t))
		if err != nil {
			t.Fatal(err)
		}
		var o, n bytes.Buffer
		err = h.fix(&cli.Env{Ctx: t.Context(), Out: &o, Err: &n}, list, name, dry)
		return o.String(), n.String(), err
	}
	file := filepath.Join(h.root, "etc/systemd/system/mariadb@.service.d/90-bailiff.conf")
	out, _, err := run("mariadb", true)
	if _, missing := os.Stat(file); err != nil || missing == nil || !strings.Contains(out, "\n[Service]\nEnvironment=\"MYSQLD_OPTS=") {
		t.Fatalf("--dry-run: %v, %q", err, out)
	}
	for _, bad := range []struct{ name, want string }{
		{"vsftpd", "not by a drop-in"}, {"nginx", `there is no service "nginx"`},
	} {
		if _, _, err := run(bad.name, false); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("--fix %s: %v, want %q", bad.name, err, bad.want)
		}
	}
	if _, notes, err := run("ssh", false); err != nil || !strings.Contains(notes, "nothing to change") {
		t.Errorf("--fix ssh: %v, %q", err, notes)
	}
	dryOut := out
	out, notes, err := run("mariadb@.service", false)
	if err != nil || !strings.Contains(out, "wrote /etc/systemd/system/mariadb@.service.d/90-bailiff.conf") || !strings.Contains(notes, "systemctl daemon-reload && systemctl restart mariadb@a.service mariadb@b.service") {
		t.Fatalf("--fix: %v, %q, %q", err, out, notes)
	}
	have, err := os.ReadFile(file)
	if st, err2 := os.Stat(file); err != nil || err2 != nil || st.Mode().Perm() != 0o644 || !strings.HasSuffix(dryOut, string(have)) {
		t.Errorf("written: %v, %q, dry: %q", err, have, dryOut)
	}
	// It is written, but the service runs without it.
	if _, notes, err := run("mariadb", false); err != nil || !strings.Contains(notes, "not in effect yet") {
		t.Errorf("a second --fix: %v, %q", err, notes)
	}
	if names, _ := os.ReadDir(filepath.Dir(file)); len(names) != 1 {
		t.Errorf("files beside it: %v", names)
	}
}

func TestWriteNew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.service.d", "90-bailiff.conf")
	for i, want := range []bool{true, false} {
		if written, err := writeNew(file, "one\n"); err != nil || written != want {
			t.Errorf("write %d: %v, %v", i, written, err)
		}
	}
	if written, err := writeNew(file, "two\n"); err == nil || written || !strings.Contains(err.Error(), "other content") {
		t.Errorf("over another file: %v, %v", written, err)
	}
	if have, _ := os.ReadFile(file); string(have) != "one\n" {
		t.Errorf("the other file is %q now", have)
	}
}

// TestTableFits: on a terminal the table fits into 80 columns, and foreign text cannot move the cursor.
func TestTableFits(t *testing.T) {
	var units []manager.Service
	for _, s := range hosts.Services() {
		units = append(units, unit(s.Units()[0]))
	}
	evil := unit("vsftpd.service")
	evil.ControlGroup = "/e"
	h := tree(t, map[string]string{"etc/proftpd.conf": "SystemLog /x\x1b[2J\n", "etc/nginx/nginx.conf": "error_log ${X}/\x1b[2J.log;\n"}, units...)
	list, err := h.services(t.Context(), defaults(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 30 {
		t.Errorf("only %d services are found", len(list))
	}
	var out bytes.Buffer
	printServices(&cli.Env{Ctx: t.Context(), Out: &out, OutTTY: true}, list, true)
	if strings.Contains(out.String(), "\x1b") {
		t.Error("an escape sequence of a configuration file is printed")
	}
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if n := len([]rune(line)); n > 80 && !strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "  then: ") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
