package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/policy/diag"
	"bailiff/policy/filter"
)

// build lays files over each other: /etc/bailiff/bailiff.yaml first, then 10-a.yaml, 20-b.yaml and so on in bailiff.d.
func build(t *testing.T, files ...string) *Config {
	t.Helper()
	b := NewBuilder()
	for i, text := range files {
		name := "bailiff.yaml"
		if i > 0 {
			name = fmt.Sprintf("bailiff.d/%d0-%c.yaml", i, 'a'+i-1)
		}
		b.Add("/etc/bailiff/"+name, []byte(text))
	}
	c, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func jailNamed(t *testing.T, c *Config, name string) Jail {
	t.Helper()
	for _, j := range c.Jails {
		if j.Name == name {
			return j
		}
	}
	t.Fatalf("there is no jail %s", name)
	return Jail{}
}

func TestDefaults(t *testing.T) {
	d := Default()
	want := Thresholds{FindTime: 10 * time.Minute, MaxRetry: 5, BanTime: 48 * time.Hour, Prefix4: 32, Prefix6: 64, Slow: Slow{24 * time.Hour, 20}, Weights: Weights{2, 0}}
	if d.Defaults != want {
		t.Errorf("defaults %+v, want %+v", d.Defaults, want)
	}
	if want := (Escalate{2, 4 * 7 * 24 * time.Hour, 30 * 24 * time.Hour, 0}); d.Escalate != want {
		t.Errorf("escalate %+v, want %+v", d.Escalate, want)
	}
	if want := (Accounts{10, 6 * time.Hour, 3, 7 * 24 * time.Hour}); d.Accounts != want {
		t.Errorf("accounts %+v, want %+v", d.Accounts, want)
	}
	if want := (Networks{24 * time.Hour, 7 * 24 * time.Hour, 0, Net6{16, 16, 64}}); d.Networks != want {
		t.Errorf("neighbours %+v, want %+v", d.Networks, want)
	}
	if want := (Firewall{Backend: "auto", Block: "drop", KeepOnStop: true, Close: true, Method: "policy"}); !reflect.DeepEqual(d.Firewall, want) {
		t.Errorf("firewall %+v, want %+v", d.Firewall, want)
	}
	if want := (Limits{1_000_000, 100}); d.Limits != want {
		t.Errorf("limits %+v, want %+v", d.Limits, want)
	}
	if len(d.Jails) != len(filter.Builtin()) {
		t.Errorf("%d jails of %d built-in filters", len(d.Jails), len(filter.Builtin()))
	}
	for _, j := range d.Jails {
		if j.Filter == nil || j.Enabled == j.Filter.Off || j.Explicit || j.Filter.Name != j.Name || j.Mode != j.Filter.Modes[0] || j.BanTime != want.BanTime || j.MaxRetry != cmp.Or(j.Filter.MaxRetry, 5) || j.Prefix6 != 64 || j.Ports != nil {
			t.Errorf("jail %+v", j)
		}
	}
	if !slices.IsSortedFunc(d.Jails, func(a, b Jail) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("jails are not sorted")
	}
}

func TestMerge(t *testing.T) {
	c := build(t, `
defaults: {ban_time: 1h, prefix: {ipv4: 24}, slow: {max_retry: 30}}
allow: {addresses: [192.0.2.1, 192.0.2.2]}
jails:
  sshd: {max_retry: 3, ports: [ssh, 2222], prefix: {ipv6: 48}, slow: {find_time: 12h}, weights: {new_account: 0}}
  strict: {filter: sshd, mode: aggressive, find_time: 1d}
`, `
defaults: {prefix: {ipv6: 56}}
allow: {addresses: [198.51.100.0/24]}
jails:
  sshd: {ban_time: forever, ports: [submission]}
  strict: {enabled: off}
`, "jails:\n  sshd:\nlimits:\n")
	if want := (Thresholds{10 * time.Minute, 5, time.Hour, false, 24, 56, Slow{24 * time.Hour, 30}, Weights{2, 0}}); c.Defaults != want {
		t.Errorf("defaults %+v, want %+v", c.Defaults, want)
	}
	s := jailNamed(t, c, "sshd")
	if !s.Enabled || s.Explicit || s.MaxRetry != 3 || s.BanTime != Forever || s.FindTime != 10*time.Minute || s.Prefix4 != 24 || s.Prefix6 != 48 || s.Slow != (Slow{12 * time.Hour, 30}) || s.Weights != (Weights{2, 0}) || !slices.Equal(s.Ports, []Port{tcp(587)}) {
		t.Errorf("sshd is %+v", s)
	}
	x := jailNamed(t, c, "strict")
	if x.Enabled || x.Explicit || x.Filter.Name != "sshd" || x.Mode != "aggressive" || x.FindTime != 24*time.Hour || x.BanTime != time.Hour || x.Prefix6 != 56 {
		t.Errorf("strict is %+v", x)
	}
	if len(c.Allow.Addresses) != 1 || c.Allow.Addresses[0].Prefix.String() != "198.51.100.0/24" {
		t.Errorf("lists replace each other, but there is %v", c.Allow.Addresses)
	}
	for path, want := range map[string]string{
		"jails.sshd.max_retry":      "/etc/bailiff/bailiff.yaml:5",
		"jails.sshd.ban_time":       "/etc/bailiff/bailiff.d/10-a.yaml:5",
		"jails.sshd.prefix.ipv4":    "defaults, /etc/bailiff/bailiff.yaml:2",
		"jails.sshd.find_time":      "defaults",
		"jails.sshd.mode":           "built in",
		"jails.sshd.slow.max_retry": "defaults, /etc/bailiff/bailiff.yaml:2",
		"jails.sshd.slow.find_time": "/etc/bailiff/bailiff.yaml:5",
		"jails.strict.ban_time":     "defaults, /etc/bailiff/bailiff.yaml:2",
		"allow.addresses":           "/etc/bailiff/bailiff.d/10-a.yaml:3",
		"limits.max_tracked":        "built in",
	} {
		if got := c.Origin(path); got != want {
			t.Errorf("origin of %s is %q, want %q", path, got, want)
		}
	}
}

func TestNamedJails(t *testing.T) {
	if j := jailNamed(t, Default(), "named-refused"); j.Enabled {
		t.Errorf("without a file it is %+v", j)
	}
	c := build(t, "jails: {named-refused: {}}\n")
	if j := jailNamed(t, c, "named-refused"); !j.Enabled || j.Explicit || j.Mode != "normal" {
		t.Errorf("named, it is %+v", j)
	}
	if _, out, _ := strings.Cut(string(Default().Render()), "  named-refused:\n"); !strings.HasPrefix(out, "    enabled: false ") {
		t.Errorf("without a file rendered as %.40q", out)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 20000 {
		b.WriteString("key" + strconv.Itoa(i) + ": 1\n")
	}
	_, err := Parse("f", []byte(b.String()))
	if n := len(diag.Errors(err)); n != maxErrors+1 {
		t.Errorf("%d errors", n)
	}
}

func TestNoJailEnabled(t *testing.T) {
	var b strings.Builder
	b.WriteString("jails:\n")
	for _, name := range filter.Builtin() {
		b.WriteString("  " + name + ": {enabled: false}\n")
	}
	if c := build(t, b.String()); !slices.Equal(c.Notices, []string{"no jail is enabled: nobody will be banned"}) {
		t.Errorf("notices %q", c.Notices)
	}
}

func TestRenderLoadsAgain(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "",
		"much": `
defaults: {find_time: 61s, max_retry: 7, ban_time: 1h30m, prefix: {ipv4: 24, ipv6: 56}, slow: {max_retry: off}, weights: {invalid_user: 1, new_account: 0}}
escalate: {factor: 1.5, max: forever, forget: 100d, random_extra: 90s}
accounts: {addresses: off, find_time: 2h, max_retry: 4, trust_logins_for: 3w}
networks: {find_time: 3h, trust_logins_for: 1d, ipv4: {24: off}, ipv6: {64: 2, 56: 64, 48: off}}
allow: {self: no, addresses: ["::1", 192.0.2.0/24, "2001:db8::/48 until 2030-01-31", "192.0.2.9 until 2030-01-31T12:00:00.5Z"], files: ["/srv/ümlaut #1/*.list", "/srv/\"q\"/[a-c]*"],
  operators: {enabled: no, groups: [], grace: none}, lists: {pingdom: {}, "1": {url: "file:///srv/a b", format: json, pointers: [/a/*], interval: 5m, min_prefix: {ipv4: 9, ipv6: 17}, min_percent: 0, insecure: yes}}}
firewall: {backend: dryrun, block: reject, keep_on_stop: false}
limits: {max_tracked: 2000, max_evidence: 7}
jails:
  sshd: {enabled: true, mode: aggressive, ports: ["22,2222", udp/53, 1000-2000, https]}
  "1": {filter: sshd, enabled: false, ban_time: forever}
  "null": {filter: sshd, ports: all}
  off: {filter: sshd, slow: {find_time: 3d, max_retry: 60}, weights: {invalid_user: 20}}
  alt: {filter: sshd, units: [sshd-alt.service, 'system-sshd\x2dalt.slice'], user_units: [1000/a@1.service], exe: [/opt/*/sshd, "0:/usr/bin/logger"]}
  box: {filter: dovecot, containers: [front-mail, 'mail/front #1'], exe: any}
`,
	} {
		t.Run(name, func(t *testing.T) {
			c := build(t, text)
			out := c.Render()
			d, err := Parse("again", out)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			same(t, c, d, out)
			if second := d.Render(); !slices.Equal(values(out), values(second)) {
				t.Errorf("first\n%ssecond\n%s", out, second)
			}
		})
	}
}

func same(t *testing.T, c, d *Config, out []byte) {
	t.Helper()
	x, y := *c, *d
	for _, v := range []*Config{&x, &y} {
		v.Files, v.Notices, v.origins = nil, nil, nil
		v.Allow.Addresses, v.Allow.Entries = slices.Clone(v.Allow.Addresses), nil
		for i := range v.Allow.Addresses {
			v.Allow.Addresses[i].Origin, v.Allow.Addresses[i].Line = "", 0
		}
		if len(v.Allow.Addresses) == 0 {
			v.Allow.Addresses = nil
		}
		if len(v.Allow.Files) == 0 {
			v.Allow.Files = nil
		}
		v.Jails = slices.Clone(v.Jails)
		for i := range v.Jails {
			v.Jails[i].Explicit = false // Render writes everything explicitly
			if j := &v.Jails[i]; !reflect.DeepEqual(j.Trust, filter.Additions{}) {
				j.Filter = nil // built again, with functions, which are never equal
			}
		}
	}
	if !reflect.DeepEqual(x, y) {
		t.Errorf("first  %+v\nsecond %+v\nas\n%s", x, y, out)
	}
}

func values(text []byte) (lines []string) {
	for _, l := range strings.Split(string(text), "\n") {
		if l, _, _ = strings.Cut(l, "  # "); l != "" && l[0] != '#' {
			lines = append(lines, strings.TrimRight(l, " "))
		}
	}
	return lines
}

func TestRenderTellsOrigins(t *testing.T) {
	out := string(build(t, "defaults:\n  ban_time: 48h\n", "jails:\n  sshd:\n    max_retry: 3\n").Render())
	for _, want := range []string{
		"# Merged, later over earlier:\n#   /etc/bailiff/bailiff.yaml\n#   /etc/bailiff/bailiff.d/10-a.yaml\n",
		"  ban_time: 2d                    # /etc/bailiff/bailiff.yaml:2\n",
		"    max_retry: 3                  # /etc/bailiff/bailiff.d/10-a.yaml:3\n",
		"    ban_time: 2d                  # defaults, /etc/bailiff/bailiff.yaml:2\n",
		"  backend: auto                   # built in\n",
		"    enabled: true                 # built in\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if out := string(Default().Render()); !strings.HasPrefix(out, "# No configuration file: all of this is built in.\n") {
		t.Errorf("got\n%s", out)
	}
}
