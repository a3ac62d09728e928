package fail2ban

import (
	"crypto/md5"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/units/configdir"
)

// load lays an import's files under a root of their own and has the daemon's loader read them.
func load(t *testing.T, r *Result) *config.Config {
	t.Helper()
	root := t.TempDir()
	for _, f := range r.Files {
		lay(t, filepath.Join(root, "etc/bailiff"), map[string]string{f.Path: string(f.Data)})
	}
	l := configdir.Loader{Root: root}
	c, err := l.Load()
	if err != nil {
		t.Fatalf("the loader refuses what was written: %v", err)
	}
	return c
}

// mailHost is a jail.local of a mail host, as an administrator has it.
const mailHost = `
[DEFAULT]
# the office, and the addresses of an uptime monitor
ignoreip = 127.0.0.1/8 ::1 192.0.2.0/28
           203.0.113.1 203.0.113.2 203.0.113.3 203.0.113.4 203.0.113.5
           203.0.113.6, 203.0.113.7, 203.0.113.8, 203.0.113.9
           203.0.113.10 203.0.113.11 203.0.113.12 203.0.113.13
           2001:db8:1::/64 2001:db8:2::25 198.51.100.0/255.255.255.0
           monitor.example.org
findtime = 30m
bantime  = 48h
maxretry = 4
banaction = iptables-ipset-proto4
destemail = fail2ban@blocklist.de
sender = abuse@mail.example.org
action = %(action_mwl)s

[sshd]
enabled = true
mode = aggressive

[postfix]
enabled = true

[postfix-sasl]
enabled = true
maxretry = 2

[sendmail-auth]
enabled = true

[sendmail-reject]
enabled = true

[dovecot]
enabled = true
`

// accounted checks that every assignment of the administrator's files and of enabled jails is in the report, with a reason for whatever is
// lost, changed or not needed.
func accounted(t *testing.T, dir string, r *Result) {
	t.Helper()
	told := make(map[string]bool)
	for _, s := range r.Report.Settings {
		told[fmt.Sprintf("%s [%s] %s", s.File, s.Section, s.Option)] = true
		switch s.Outcome {
		case Lost, NotNeeded, Changed, Unused:
			if s.Why == "" {
				t.Errorf("%s:%d: [%s] %s is %s, and nobody says why", s.File, s.Line, s.Section, s.Option, s.Outcome)
			}
		case Carried, Part, Replaced:
			if s.To == "" {
				t.Errorf("%s:%d: [%s] %s is %s, and nobody says where to", s.File, s.Line, s.Section, s.Option, s.Outcome)
			}
		default:
			t.Errorf("%s:%d: outcome %q", s.File, s.Line, s.Outcome)
		}
	}
	on := make(map[string]bool)
	for _, j := range r.Report.Jails {
		on[j.Name] = true
		if j.As == "" && j.Why == "" {
			t.Errorf("jail %s is gone without a reason", j.Name)
		}
	}
	// Read the files again in the simplest way, so that a mistake of the parser is not repeated.
	n := 0
	for _, pattern := range []string{"jail.conf", "jail.local", "jail.d/*.conf", "jail.d/*.local", "paths-debian.conf", "paths-common.conf", "filter.d/*.local", "action.d/*.local"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			section := ""
			for i, line := range strings.Split(string(data), "\n") {
				if m := regexp.MustCompile(`^\[(.+)\]`).FindStringSubmatch(line); m != nil {
					section = m[1]
				}
				m := regexp.MustCompile(`^([a-z_][a-z0-9_.-]*)\s*=`).FindStringSubmatch(line)
				if m == nil || section == "INCLUDES" || filepath.Base(file) == "jail.conf" && section != "DEFAULT" && !on[section] {
					continue
				}
				n++
				if !told[fmt.Sprintf("%s [%s] %s", file, section, m[1])] {
					t.Errorf("%s:%d: [%s] %s is in no account", file, i+1, section, m[1])
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d assignments were looked at", n)
	}
	t.Logf("%d assignments, %d lines of account", n, len(r.Report.Settings))
}

func find(c *config.Config, name string) *config.Jail {
	for i := range c.Jails {
		if c.Jails[i].Name == name {
			return &c.Jails[i]
		}
	}
	return nil
}

// TestMailHost: a mail host's jail.local over Debian's own files.
func TestMailHost(t *testing.T) {
	dir := stockFolder(t, map[string]string{"jail.local": mailHost})
	r, err := Import(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, r)
	accounted(t, dir, r)
	if d := c.Defaults; d.FindTime.Minutes() != 30 || d.BanTime.Hours() != 48 || d.MaxRetry != 4 {
		t.Errorf("defaults: %+v", d)
	}
	if c.Firewall.Backend != "ipset" {
		t.Errorf("backend %s", c.Firewall.Backend)
	}
	var allowed []string
	for _, e := range c.Allow.Entries {
		allowed = append(allowed, e.Prefix.String())
	}
	for _, want := range []string{"127.0.0.0/8", "::1/128", "192.0.2.0/28", "203.0.113.1/32", "203.0.113.13/32", "2001:db8:1::/64", "2001:db8:2::25/128", "198.51.100.0/24"} {
		if !slices.Contains(allowed, want) {
			t.Errorf("%s is not allowed: %v", want, allowed)
		}
	}
	if len(allowed) != 19 {
		t.Errorf("%d entries are allowed: %v", len(allowed), allowed)
	}
	for _, want := range []struct {
		jail, filter, mode, ports string
		retry                     int
	}{
		{"sshd", "sshd", "aggressive", "[22]", 4},
		{"postfix", "postfix", "more", "[25 465 587]", 4},
		{"postfix-sasl", "postfix", "auth", "[25 110 143 465 587 993 995]", 2},
		{"sendmail-auth", "sendmail-auth", "normal", "[25 465 587]", 4},
		{"sendmail-reject", "sendmail-reject", "normal", "[25 465 587]", 4},
		{"dovecot", "dovecot", "normal", "[110 143 465 587 993 995 4190]", 4},
	} {
		j := find(c, want.jail)
		if j == nil || !j.Explicit || j.Filter.Name != want.filter || j.Mode != want.mode || fmt.Sprint(j.Ports) != want.ports || j.MaxRetry != want.retry {
			t.Errorf("%s: %+v", want.jail, j)
		}
	}
	lost := func(option, word string) {
		if !slices.ContainsFunc(r.Report.Settings, func(s *Setting) bool {
			return s.Outcome == Lost && s.Option == option && strings.Contains(s.Why+s.Hint, word) && strings.HasSuffix(s.File, "jail.local") && s.Line > 0
		}) {
			t.Errorf("nobody says that %s (%s) is not carried over", option, word)
		}
	}
	lost("ignoreip", "monitor.example.org")
	rep := c.Report
	if len(rep.Destinations) != 1 || rep.Sender != "abuse@mail.example.org" {
		t.Fatalf("%+v\n%s", rep, r.Files[0].Data)
	}
	if d := rep.Destinations[0]; d.Type != config.TypeBlocklist || !d.Enabled || d.Method != "mail" || fmt.Sprint(d.To) != "[fail2ban@blocklist.de]" || d.Jails != nil {
		t.Errorf("%+v", d)
	}
}

// TestEveryStockJail: all jails that fail2ban ships at once.
func TestEveryStockJail(t *testing.T) {
	dir := stockFolder(t, nil)
	lay(t, dir, map[string]string{"jail.local": everyJail(t, dir)})
	r, err := Import(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, r)
	accounted(t, dir, r)
	mapped, translated, expressions, taken := 0, 0, 0, 0
	for _, j := range r.Report.Jails {
		switch {
		case j.Translated:
			translated++
			expressions, taken = expressions+j.Of, taken+j.Taken
			if j.As != "" && find(c, j.As) == nil {
				t.Errorf("jail %s is not in the configuration", j.As)
			}
		case j.As != "":
			mapped++
		}
	}
	t.Logf("%d jails: %d by our filters, %d translated with %d of %d expressions", len(r.Report.Jails), mapped, translated, taken, expressions)
	if mapped < 8 || taken*2 < expressions {
		t.Error("too few")
	}
}

// TestServices: units are assumed only for stock filters that are translated.
func TestServices(t *testing.T) {
	for name := range services {
		if builtin, _, ok := Builtin(name); ok || !slices.Contains(stock, name) {
			t.Errorf("%s: the built-in filter is %q; or fail2ban has no such filter", name, builtin)
		}
	}
}

// own is an administrator's own configuration: a filter, a jail, additions to shipped ones.
var own = map[string]string{
	"jail.conf": "[DEFAULT]\nbantime = 10m\nfindtime = 10m\nmaxretry = 5\nbackend = systemd\nport = 0:65535\nprotocol = tcp\nfilter = %(__name__)s\naction = iptables-multiport[port=\"%(port)s\", protocol=\"%(protocol)s\"]\n[sshd]\nport = ssh\n",
	"jail.local": `
[DEFAULT]
bantime.increment = true
bantime.multipliers = 1 3 9 27
bantime.rndtime = 5m
bantime.overalljails = true
bantim = 5
[sshd]
enabled = true
failregex = %(known/failregex)s
            ^odd thing from <HOST>$
[My_App]
enabled = true
port = 8443,9000:9010
protocol = tcp,udp
bantime = -1
ignoreip = 192.0.2.9
[nobody]
enabled = true
filter = nosuch
[recidive]
enabled = true
bantime = 1w
maxretry = 3
findtime = 1d
[postfix]
enabled = false
`,
	"filter.d/common.conf":             ownTree["filter.d/common.conf"],
	"filter.d/sshd.conf":               "[INCLUDES]\nbefore = common.conf\n[Definition]\n_daemon = sshd\nprefregex = ^%(__prefix_line)s<F-CONTENT>.+</F-CONTENT>$\nfailregex = ^Failed .* from <HOST>$\njournalmatch = _SYSTEMD_UNIT=sshd.service\n# Fail2Ban\n",
	"filter.d/recidive.conf":           "[Definition]\nfailregex = Ban <HOST>\n",
	"action.d/iptables-multiport.conf": "[Definition]\nactionban = true\n[Init]\nblocktype = REJECT\nport = ssh\nprotocol = tcp\n",
	"filter.d/My_App.conf": `
[INCLUDES]
before = common.conf
[Definition]
_daemon = myapp
failregex = ^%(__prefix_line)slogin of <F-USER>\S+</F-USER> failed: <HOST>$
            ^%(__prefix_line)sdenied <ADDR>:\d+ \(code [45]\d\d\)$
            no access for .* at <HOST>
            ^%(__prefix_line)sspam from <HOST>
            ^%(__prefix_line)sbad token(?! expired) from <HOST>$
            ^%(__prefix_line)suser (?P<u>\S+) is not (?P=u), <HOST>$
            ^%(__prefix_line)sfirst <SKIPLINES> last <HOST>$
            ^%(__prefix_line)s(?:v6 (?:IPv6:<IP6>|<IP4>)|host) gone$
ignoreregex = ^%(__prefix_line)slogin of monitor failed
journalmatch = _SYSTEMD_UNIT=myapp.service
`,
}

func TestOwnFilters(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, own)
	r, err := Import(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, r)
	accounted(t, dir, r)

	j := find(c, "my-app")
	if j == nil {
		t.Fatalf("there is no jail my-app: %+v", r.Report.Jails)
	}
	if j.BanTime != config.Forever || fmt.Sprint(j.Ports) != "[8443 9000-9010 udp/8443 udp/9000-9010]" || j.Filter.Name != "My_App" {
		t.Errorf("%+v", j)
	}
	if u := j.Filter.Trust(); !slices.Equal(u.Units, []string{"myapp.service"}) || !u.AnyUID {
		t.Errorf("trust: %+v", u)
	}
	m, err := j.Filter.Mode("")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ line, addr, user string }{
		{"login of bob failed: 192.0.2.7", "192.0.2.7", "bob"},
		{"login of monitor failed: 192.0.2.7", "192.0.2.7", "monitor"}, // any client could use the name monitor
		{"debug: login of bob failed: 192.0.2.7", "", ""},
		{"denied 2001:db8::7:443 (code 403)", "2001:db8::7", ""},
		{"denied 192.0.2.7:443 (code 603)", "", ""},
		{"no access for x at 192.0.2.7", "", ""}, // a user named "x no access for y at 203.0.113.9" would choose an address

		{"spam from 192.0.2.7", "192.0.2.7", ""},
		{"spam from 2001:db8::7, from 203.0.113.9", "2001:db8::7", ""},
		{"spam from 192.0.2.7x", "", ""},
		{"bad token from 192.0.2.7", "192.0.2.7", ""},
		{"bad token expired from 192.0.2.7", "", ""},
		{"v6 IPv6:2001:db8::7 gone", "2001:db8::7", ""},
		{"v6 192.0.2.7 gone", "192.0.2.7", ""},
	} {
		var h filter.Hit
		hit := m.MatchMessage([]byte(x.line), &h) && h.Kind == filter.Failure
		if hit != (x.addr != "") || hit && h.Addr.String() != x.addr || string(h.User) != x.user && hit {
			t.Errorf("%q: %v %v %q", x.line, hit, h.Addr, h.User)
		}
	}
	for _, want := range []struct{ option, outcome, word string }{
		{"failregex", Lost, "(?P=u)"}, {"failregex", Lost, "SKIPLINES"}, {"failregex", Lost, "no access for .* at <HOST>: text that a client chose is taken for the address"},
		{"ignoreregex", Lost, "hide"}, {"filter", Lost, "nosuch.conf"}, {"ignoreip", Changed, "all jails"}, {"bantim", Unused, ""},
		{"bantime.multipliers", Carried, ""}, {"bantime.rndtime", Carried, ""},
	} {
		if !slices.ContainsFunc(r.Report.Settings, func(s *Setting) bool {
			return s.Option == want.option && s.Outcome == want.outcome && strings.Contains(s.Why, want.word)
		}) && (want.option != "filter" || !slices.ContainsFunc(r.Report.Settings, func(s *Setting) bool { return s.Outcome == Lost && strings.Contains(s.Why, want.word) })) {
			t.Errorf("nobody says %+v", want)
		}
	}
	// Each line of an expression has its own place.
	i := slices.IndexFunc(r.Report.Settings, func(s *Setting) bool { return strings.Contains(s.Why, "(?P=u)") })
	lines := strings.Split(own["filter.d/My_App.conf"], "\n")
	if s := r.Report.Settings[max(i, 0)]; s.Line < 1 || !strings.Contains(lines[s.Line-1], "(?P=u)") {
		t.Errorf("the place is wrong: %+v", s)
	}
	// Additions to a filter that we have become a filter beside ours.
	local := find(c, "sshd-local")
	if local == nil || !slices.Contains(local.Filter.Trust().Units, "ssh.service") {
		t.Fatalf("sshd-local: %+v", local)
	}
	if m, err = local.Filter.Mode(""); err != nil {
		t.Fatal(err)
	}
	var h filter.Hit
	if !m.MatchMessage([]byte("odd thing from 192.0.2.7"), &h) || h.Addr.String() != "192.0.2.7" || m.MatchMessage([]byte("Failed x from 192.0.2.7"), &h) {
		t.Error("sshd-local does not judge the added line, or judges others")
	}
	if s := find(c, "sshd"); s == nil || !s.Explicit {
		t.Errorf("sshd: %+v", s)
	}
	if s := find(c, "postfix"); s == nil || s.Enabled {
		t.Errorf("postfix was switched off: %+v", s)
	}
	if e := c.Escalate; e.Factor < 2 || e.RandomExtra.Minutes() != 5 {
		t.Errorf("escalate: %+v", e)
	}
}

// TestEditedFiles: dpkg's record says which of a package's files were changed.
func TestEditedFiles(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, map[string]string{"same.conf": "a\n", "changed.conf": "b\n", "other.conf": "c\n"})
	sum := fmt.Sprintf("%x", md5.Sum([]byte("a\n")))
	var b strings.Builder
	fmt.Fprintf(&b, "Package: bash\nConffiles:\n %s/other.conf %s\n\nPackage: fail2ban\nStatus: install ok installed\nConffiles:\n %s/same.conf %s\n %s/changed.conf %s\n %s/gone.conf %s obsolete\nDescription: x\n %s/other.conf %s\n", dir, sum, dir, sum, dir, sum, dir, sum, dir, sum)
	lay(t, dir, map[string]string{"status": b.String()})
	got := editedFiles(filepath.Join(dir, "status"), "fail2ban")
	if len(got) != 1 || !got[filepath.Join(dir, "changed.conf")] {
		t.Errorf("%v", got)
	}
}

func TestSeconds(t *testing.T) {
	for in, want := range map[string]float64{
		"600": 600, "48h": 48 * 3600, "1w": 604800, "1d12h": 129600, "1d 12h": 129600, "-1": -1, "24*60*60": 86400, "1.5h": 5400, "1 hour + 30 min": 5400, "2 weeks": 1209600,
		"1year-6mo": 15778800, "0": 0, "1mo": 2629800, "60 * 2": 120,
	} {
		if got, err := seconds(in); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "x", "1q", "1h banana", "--", "1*", "__import__('os')", "1e400*1e400", "5 5x"} {
		if got, err := seconds(in); err == nil {
			t.Errorf("%q is %v", in, got)
		}
	}
}

// TestReports: the reports of jails become destinations, and no key is written where everybody can read it.
func TestReports(t *testing.T) {
	dir := stockFolder(t, map[string]string{"jail.local": `
[DEFAULT]
destemail = root, ops@example.org
sender = f2b@mail.example.org
blocklist_de_apikey = s3cret-one
[sshd]
enabled = true
action = %(action_mwl)s
         %(action_abuseipdb)s[abuseipdb_apikey="s3cret-two", abuseipdb_category="18,22"]
[postfix]
enabled = true
action = %(action_mw)s
         blocklist_de[email="%(sender)s", service="mail", apikey="%(blocklist_de_apikey)s", agent="x"]
[dovecot]
enabled = true
action = %(action_)s
         sendmail-whois-lines[name=%(__name__)s, sender="%(sender)s", dest="%(destemail)s", logpath="%(logpath)s", chain="x"]
         myhook[url="https://hooks.example.org/services/s3cret-three", botToken=s3cret-four]
         xarf-login-attack[service=dovecot, sender="%(sender)s", logpath="%(logpath)s", port="x"]
`})
	r, err := Import(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, r)
	got := map[string]string{}
	for _, d := range c.Report.Destinations {
		got[d.Name] = fmt.Sprintf("%s %t %v %v %s %v %s %s %v", d.Type, d.Enabled, d.Jails, d.To, d.Layout, d.Include, d.Method, d.Server, d.Categories)
	}
	want := map[string]string{
		"admin":        "mail true [dovecot sshd] [root ops@example.org] fail2ban [whois lines]   map[]",
		"admin-2":      "mail true [postfix] [root ops@example.org] fail2ban [whois]   map[]",
		"blocklist.de": "blocklist.de true [postfix] [fail2ban@blocklist.de]  [] http f2b@mail.example.org map[]",
		"abuseipdb":    "abuseipdb true [sshd] []  []   map[sshd:[18 22]]",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %q\nwant %q\n%s", got, want, r.Files[0].Data)
	}
	if c.Report.Sender != "f2b@mail.example.org" {
		t.Errorf("sender %q", c.Report.Sender)
	}
	if strings.Contains(string(r.Files[0].Data), "s3cret") {
		t.Errorf("a key stands in\n%s", r.Files[0].Data)
	}
	for _, s := range r.Report.Settings {
		if text := fmt.Sprint(s); strings.Contains(text, "s3cret") {
			t.Errorf("a key stands in the report: %s", text)
		}
	}
	for _, word := range []string{"xarf-login-attack", "credentials/abuseipdb", "credentials/blocklist.de"} {
		if !slices.ContainsFunc(r.Report.Settings, func(s *Setting) bool { return s.Outcome == Lost && strings.Contains(s.Why+s.Hint, word) }) {
			t.Errorf("nobody says what became of %s", word)
		}
	}
}
