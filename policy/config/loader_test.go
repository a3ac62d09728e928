package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/yamldoc"
)

// tree makes files under a temporary folder: path to content, "-> target" for a link, "dir" and "pipe" for these.
func tree(t *testing.T, files map[string]string) *Loader {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(to, p)
		} else if text == "dir" {
			err = os.Mkdir(p, 0o755)
		} else if text == "pipe" {
			err = syscall.Mkfifo(p, 0o644)
		} else {
			err = os.WriteFile(p, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &Loader{Root: root}
}

func load(t *testing.T, l *Loader) *Config {
	t.Helper()
	c, err := l.Load()
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

// strip takes the temporary folder out of paths.
func strip(l *Loader, list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ReplaceAll(s, l.Root, "")
	}
	return out
}

func TestNoFileAtAll(t *testing.T) {
	c, d := load(t, tree(t, nil)), Default()
	if !reflect.DeepEqual(c.Jails, d.Jails) || c.Defaults != d.Defaults || c.Escalate != d.Escalate || c.Limits != d.Limits || !reflect.DeepEqual(c.Firewall, d.Firewall) {
		t.Errorf("loaded %+v, default %+v", c, d)
	}
	if len(c.Files) != 0 || len(c.Notices) != 0 {
		t.Errorf("files %q, notices %q", c.Files, c.Notices)
	}
	want := Defaults{FindTime: 10 * time.Minute, MaxRetry: 5, BanTime: 48 * time.Hour, Prefix4: 32, Prefix6: 64, Slow: Slow{24 * time.Hour, 20}, Weights: Weights{2, 0}}
	if d.Defaults != want {
		t.Errorf("defaults %+v, want %+v", d.Defaults, want)
	}
	if want := (Escalate{2, 4 * 7 * 24 * time.Hour, 30 * 24 * time.Hour, 0}); d.Escalate != want {
		t.Errorf("escalate %+v, want %+v", d.Escalate, want)
	}
	if want := (Accounts{10, 6 * time.Hour, 3, 7 * 24 * time.Hour}); d.Accounts != want || c.Accounts != want {
		t.Errorf("accounts %+v, want %+v", d.Accounts, want)
	}
	if want := (Networks{24 * time.Hour, 7 * 24 * time.Hour, 0, Net6{16, 16, 64}}); d.Networks != want || c.Networks != want {
		t.Errorf("neighbours %+v, want %+v", d.Networks, want)
	}
	if want := (Firewall{Backend: "auto", Block: "drop", KeepOnStop: true, Close: true, Method: "policy"}); !reflect.DeepEqual(d.Firewall, want) {
		t.Errorf("firewall %+v, want %+v", d.Firewall, want)
	}
	if want := (Limits{1_000_000, 100}); d.Limits != want {
		t.Errorf("limits %+v, want %+v", d.Limits, want)
	}
	if len(d.Jails) != len(builtin()) {
		t.Errorf("%d jails of %d built-in filters", len(d.Jails), len(builtin()))
	}
	for _, j := range d.Jails {
		if j.Filter == nil || j.Enabled == j.Filter.Off || j.Auto == j.Filter.Off || j.Filter.Name != j.Name || j.Mode != j.Filter.Modes[0] || j.BanTime != want.BanTime || j.MaxRetry != 5 || j.Prefix6 != 64 || j.Ports != nil {
			t.Errorf("jail %+v", j)
		}
	}
	if !slices.IsSortedFunc(d.Jails, func(a, b Jail) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("jails are not sorted")
	}
}

func TestPrecedence(t *testing.T) {
	const retry = "defaults: {max_retry: "
	for _, tt := range []struct {
		name  string
		files map[string]string
		read  []string
		retry int
	}{
		{"main of packages", map[string]string{"usr/lib/bailiff/bailiff.yaml": retry + "10}"}, []string{"/usr/lib/bailiff/bailiff.yaml"}, 10},
		{"local over packages", map[string]string{
			"usr/lib/bailiff/bailiff.yaml": retry + "10}", "usr/local/lib/bailiff/bailiff.yaml": retry + "11}",
		}, []string{"/usr/local/lib/bailiff/bailiff.yaml"}, 11},
		{"run over local", map[string]string{
			"run/bailiff/bailiff.yaml": retry + "12}", "usr/local/lib/bailiff/bailiff.yaml": retry + "11}",
		}, []string{"/run/bailiff/bailiff.yaml"}, 12},
		{"etc over all", map[string]string{
			"run/bailiff/bailiff.yaml": retry + "12}", "etc/bailiff/bailiff.yaml": retry + "13}", "usr/lib/bailiff/bailiff.yaml": "broken: ",
		}, []string{"/etc/bailiff/bailiff.yaml"}, 13},
		{"an empty main file hides", map[string]string{
			"etc/bailiff/bailiff.yaml": "", "usr/lib/bailiff/bailiff.yaml": retry + "10}",
		}, []string{"/etc/bailiff/bailiff.yaml"}, 5},
		{"a masked main file hides", map[string]string{
			"etc/bailiff/bailiff.yaml": "-> /dev/null", "usr/lib/bailiff/bailiff.yaml": retry + "10}",
		}, nil, 5},
		{"drop-in over main, whatever the folder", map[string]string{
			"etc/bailiff/bailiff.yaml": retry + "13}", "usr/lib/bailiff/bailiff.d/10-a.yaml": retry + "14}",
		}, []string{"/etc/bailiff/bailiff.yaml", "/usr/lib/bailiff/bailiff.d/10-a.yaml"}, 14},
		{"all folders sorted together by file name", map[string]string{
			"etc/bailiff/bailiff.d/10-a.yaml":           retry + "20}",
			"usr/lib/bailiff/bailiff.d/30-c.yaml":       retry + "22}",
			"run/bailiff/bailiff.d/20-b.yaml":           retry + "21}",
			"usr/local/lib/bailiff/bailiff.d/15-d.yaml": retry + "23}",
		}, []string{
			"/etc/bailiff/bailiff.d/10-a.yaml", "/usr/local/lib/bailiff/bailiff.d/15-d.yaml", "/run/bailiff/bailiff.d/20-b.yaml", "/usr/lib/bailiff/bailiff.d/30-c.yaml",
		}, 22},
		{"same name: the higher folder alone", map[string]string{
			"etc/bailiff/bailiff.d/10-a.yaml":     "limits: {max_tracked: 5000}",
			"run/bailiff/bailiff.d/10-a.yaml":     retry + "31}",
			"usr/lib/bailiff/bailiff.d/10-a.yaml": "nonsense: [",
		}, []string{"/etc/bailiff/bailiff.d/10-a.yaml"}, 5},
		{"a link to /dev/null switches off", map[string]string{
			"etc/bailiff/bailiff.d/10-a.yaml":     "-> /dev/null",
			"usr/lib/bailiff/bailiff.d/10-a.yaml": "nonsense: [",
			"usr/lib/bailiff/bailiff.d/05-a.yaml": retry + "32}",
		}, []string{"/usr/lib/bailiff/bailiff.d/05-a.yaml"}, 32},
		{"a link to /dev/null lower down does not", map[string]string{
			"etc/bailiff/bailiff.d/10-a.yaml":     retry + "33}",
			"usr/lib/bailiff/bailiff.d/10-a.yaml": "-> /dev/null",
		}, []string{"/etc/bailiff/bailiff.d/10-a.yaml"}, 33},
		{"hidden files and backups are not read", map[string]string{
			"etc/bailiff/bailiff.d/.10-a.yaml":          "nonsense: [",
			"etc/bailiff/bailiff.d/10-a.yaml~":          "nonsense: [",
			"etc/bailiff/bailiff.d/10-a.yaml.dpkg-old":  "nonsense: [",
			"etc/bailiff/bailiff.d/20-b.yaml.rpmsave":   "nonsense: [",
			"etc/bailiff/bailiff.d/30-c.yaml":           retry + "34}",
			"etc/bailiff/bailiff.d/README":              "nonsense: [",
			"etc/bailiff/bailiff.d/sub/40-in-it.yaml":   "nonsense: [",
			"usr/lib/bailiff/bailiff.d/.hidden.d/x.yml": "nonsense: [",
		}, []string{"/etc/bailiff/bailiff.d/30-c.yaml"}, 34},
		{"a link to another file is read", map[string]string{
			"etc/bailiff/bailiff.d/10-a.yaml": "-> ../real", "etc/bailiff/real": retry + "35}",
		}, []string{"/etc/bailiff/bailiff.d/10-a.yaml"}, 35},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := tree(t, tt.files)
			c := load(t, l)
			if got := strip(l, c.Files); !slices.Equal(got, tt.read) {
				t.Errorf("read %q, want %q", got, tt.read)
			}
			if j := jailNamed(t, c, "sshd"); c.Defaults.MaxRetry != tt.retry || j.MaxRetry != tt.retry {
				t.Errorf("max_retry %d, of sshd %d, want %d", c.Defaults.MaxRetry, j.MaxRetry, tt.retry)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	l := tree(t, map[string]string{
		"etc/bailiff/bailiff.yaml": `
defaults: {ban_time: 1h, prefix: {ipv4: 24}, slow: {max_retry: 30}}
allow: {addresses: [192.0.2.1, 192.0.2.2]}
jails:
  sshd: {max_retry: 3, ports: [ssh, 2222], prefix: {ipv6: 48}, slow: {find_time: 12h}, weights: {new_account: 0}}
  strict: {filter: sshd, mode: aggressive, find_time: 1d}
`,
		"etc/bailiff/bailiff.d/10-a.yaml": `
defaults: {prefix: {ipv6: 56}}
allow: {addresses: [198.51.100.0/24]}
jails:
  sshd: {ban_time: forever, ports: [submission]}
  strict: {enabled: off}
`,
		"etc/bailiff/bailiff.d/20-b.yaml": "jails:\n  sshd:\nlimits:\n",
	})
	c := load(t, l)
	if want := (Defaults{10 * time.Minute, 5, time.Hour, false, 24, 56, Slow{24 * time.Hour, 30}, Weights{2, 0}}); c.Defaults != want {
		t.Errorf("defaults %+v, want %+v", c.Defaults, want)
	}
	s := jailNamed(t, c, "sshd")
	if !s.Enabled || !s.Auto || s.MaxRetry != 3 || s.BanTime != Forever || s.FindTime != 10*time.Minute || s.Prefix4 != 24 || s.Prefix6 != 48 || s.Slow != (Slow{12 * time.Hour, 30}) || s.Weights != (Weights{2, 0}) || !slices.Equal(s.Ports, []Port{tcp(587)}) {
		t.Errorf("sshd is %+v", s)
	}
	x := jailNamed(t, c, "strict")
	if x.Enabled || x.Auto || x.Filter.Name != "sshd" || x.Mode != "aggressive" || x.FindTime != 24*time.Hour || x.BanTime != time.Hour || x.Prefix6 != 56 {
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
		"limits.tracked":            "built in",
	} {
		if got := strings.ReplaceAll(c.Origin(path), l.Root, ""); got != want {
			t.Errorf("origin of %s is %q, want %q", path, got, want)
		}
	}
}

// ownFilter is a filter file of an operator's own.
func ownFilter(name string) string {
	return "name: " + name + "\ndescription: ours\ntrust: {units: [" + name + ".service], uid: 0}\nmodes: {normal: []}\npatterns:\n" +
		"  - name: failed\n    text: login failed from <addr>\ntests:\n  - line: login failed from 192.0.2.1\n    address: 192.0.2.1\n"
}

func TestOwnFilters(t *testing.T) {
	l := tree(t, map[string]string{
		"etc/bailiff/filters.d/app.yaml":        ownFilter("app"),
		"usr/lib/bailiff/filters.d/app.yaml":    "nonsense: [",
		"usr/lib/bailiff/filters.d/sshd.yaml":   ownFilter("sshd"),
		"usr/lib/bailiff/filters.d/off.yaml":    "nonsense: [",
		"etc/bailiff/filters.d/off.yaml":        "-> /dev/null",
		"usr/lib/bailiff/filters.d/unused.yaml": ownFilter("unused"),
		"etc/bailiff/filters.d/typo.yml":        "nonsense: [",
		"etc/bailiff/bailiff.yaml":              "jails: {app: {max_retry: 2}}\n",
	})
	c := load(t, l)
	if j := jailNamed(t, c, "app"); j.Filter.Name != "app" || j.MaxRetry != 2 || !j.Auto || !j.Enabled || j.Filter.Description != "ours" {
		t.Errorf("app is %+v", j)
	}
	if j := jailNamed(t, c, "sshd"); j.Filter.Description != "ours" {
		t.Errorf("sshd's filter is %+v, not the one in filters.d", j.Filter)
	}
	want := []string{
		"/etc/bailiff/filters.d/typo.yml: is not read, since its name does not end in .yaml",
		"/usr/lib/bailiff/filters.d/unused.yaml: no jail uses this filter; write jails: {unused: {}} to switch it on",
	}
	if got := strip(l, c.Notices); !slices.Equal(got, want) {
		t.Errorf("notices %q, want %q", got, want)
	}
	if f, err := l.Filter("app"); err != nil || f.Name != "app" {
		t.Errorf("filter app: %v, %v", f, err)
	}
	if f, err := l.Filter("sshd"); err != nil || f.Description != "ours" {
		t.Errorf("filter sshd: %v, %v", f, err)
	}
	if f, err := l.Filter("sshdd"); f != nil || err == nil || !strings.Contains(diag.Errors(err)[0].Hint, "sshd?") {
		t.Errorf("filter sshdd: %v, %v", f, err)
	}
	if f, err := (&Loader{Root: t.TempDir()}).Filter("sshd"); err != nil || f.Description == "ours" {
		t.Errorf("built-in filter sshd: %v, %v", f, err)
	}
}

// A built-in filter that could hurt harmless clients is no jail until it is named, and then as every other.
func TestNamedJails(t *testing.T) {
	if j := jailNamed(t, Default(), "named-refused"); j.Enabled || j.Auto {
		t.Errorf("without a file it is %+v", j)
	}
	c := load(t, tree(t, map[string]string{"etc/bailiff/bailiff.yaml": "jails: {named-refused: {}}\n"}))
	if j := jailNamed(t, c, "named-refused"); !j.Enabled || !j.Auto || j.Mode != "normal" {
		t.Errorf("named, it is %+v", j)
	}
	if _, out, _ := strings.Cut(string(Default().Render()), "  named-refused:\n"); !strings.HasPrefix(out, "    enabled: false ") {
		t.Errorf("without a file rendered as %.40q", out)
	}
}

func TestLoadFileStandsAlone(t *testing.T) {
	l := tree(t, map[string]string{
		"etc/bailiff/bailiff.yaml":           "defaults: {max_retry: 9}\n",
		"etc/bailiff/bailiff.d/10-a.yaml":    "defaults: {ban_time: 1m}\n",
		"etc/bailiff/filters.d/sshd.yaml":    ownFilter("sshd"),
		"home/me/try.yaml":                   "jails: {app: {}}\n",
		"home/me/filters.d/app.yaml":         ownFilter("app"),
		"home/me/bailiff.d/20-not-read.yaml": "nonsense: [",
	})
	file := filepath.Join(l.Root, "home/me/try.yaml")
	c, err := l.LoadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Files, []string{file}) || c.Defaults.MaxRetry != 5 || c.Defaults.BanTime != 48*time.Hour {
		t.Errorf("files %q, defaults %+v", c.Files, c.Defaults)
	}
	jailNamed(t, c, "app")
	if j := jailNamed(t, c, "sshd"); j.Filter.Description == "ours" {
		t.Error("a filter of the host was taken")
	}
}

// A folder, such as one that an import was written to, is read in place of all others.
func TestLoadFolder(t *testing.T) {
	l := tree(t, map[string]string{
		"etc/bailiff/bailiff.yaml":        "defaults: {max_retry: 9}\n",
		"etc/bailiff/bailiff.d/10-a.yaml": "defaults: {ban_time: 1m}\n",
		"etc/bailiff/allow.d/a.list":      "192.0.2.1\n",
		"home/[me]/bailiff.d/50-b.yaml":   "jails: {app: {}}\n",
		"home/[me]/filters.d/app.yaml":    ownFilter("app"),
		"home/[me]/allow.d/b.list":        "192.0.2.2\n",
	})
	folder := filepath.Join(l.Root, "home/[me]")
	c, err := new(Loader).LoadFile(folder)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Files, []string{folder + "/bailiff.d/50-b.yaml"}) || c.Defaults.MaxRetry != 5 || c.Defaults.BanTime != 48*time.Hour {
		t.Errorf("files %q, defaults %+v", c.Files, c.Defaults)
	}
	jailNamed(t, c, "app")
	if len(c.Allow.Entries) != 1 || c.Allow.Entries[0].Prefix.String() != "192.0.2.2/32" {
		t.Errorf("%+v", c.Allow.Entries)
	}
}

func TestAllowFiles(t *testing.T) {
	l := tree(t, map[string]string{
		"etc/bailiff/bailiff.yaml":        "allow:\n  addresses: [192.0.2.1, 2001:db8::/48 until 2030-01-31]\n  files: [/etc/bailiff/allow.d/*.list, /srv/one, /etc/bailiff/allow.d/a.*]\n",
		"etc/bailiff/allow.d/a.list":      "198.51.100.1\n",
		"etc/bailiff/allow.d/b.list":      "\ufeff# monitors\r\n198.51.100.2 # eu\r\n",
		"etc/bailiff/allow.d/c.list":      "-> /dev/null",
		"etc/bailiff/allow.d/d.list.save": "nonsense",
		"srv/one":                         "203.0.113.0/24\n",
	})
	c := load(t, l)
	var got []string
	for _, e := range c.Allow.Entries {
		got = append(got, e.String()+" "+strings.ReplaceAll(e.Where(), l.Root, "")+" "+e.Comment)
	}
	want := []string{
		"192.0.2.1 /etc/bailiff/bailiff.yaml:2 ",
		"2001:db8::/48 until 2030-01-31 /etc/bailiff/bailiff.yaml:2 ",
		"198.51.100.1 /etc/bailiff/allow.d/a.list:1 ",
		"198.51.100.2 /etc/bailiff/allow.d/b.list:2 eu",
		"203.0.113.0/24 /srv/one:1 ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(c.Allow.Addresses) != 2 || !c.Allow.Self {
		t.Errorf("allow is %+v", c.Allow)
	}
	// Without any configuration the usual folder is read too.
	l = tree(t, map[string]string{"etc/bailiff/allow.d/a.list": "198.51.100.1\n"})
	if c := load(t, l); len(c.Allow.Entries) != 1 {
		t.Errorf("allowed are %v", c.Allow.Entries)
	}
}

// One fault anywhere, and there is no configuration.
func TestAllOrNothing(t *testing.T) {
	big := "# " + strings.Repeat("x", yamldoc.MaxSize) + "\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"list", map[string]string{"etc/bailiff/allow.d/a.list": "192.0.2.1\nmonitor.example.org\n"},
			"/etc/bailiff/allow.d/a.list:2:1: \"monitor.example.org\" is neither an address nor a prefix"},
		{"list is a folder", map[string]string{"etc/bailiff/allow.d/a.list": "dir"}, "/etc/bailiff/allow.d/a.list: is a folder, not a file"},
		{"drop-in is a folder", map[string]string{"etc/bailiff/bailiff.d/a.yaml": "dir"}, "/etc/bailiff/bailiff.d/a.yaml: is a folder, not a file"},
		{"main is a pipe", map[string]string{"etc/bailiff/bailiff.yaml": "pipe"}, "/etc/bailiff/bailiff.yaml: is a pipe, not a file"},
		{"main is a dead link", map[string]string{"etc/bailiff/bailiff.yaml": "-> nowhere"}, "/etc/bailiff/bailiff.yaml: cannot be read: no such file or directory"},
		{"main is too large", map[string]string{"etc/bailiff/bailiff.yaml": big}, "/etc/bailiff/bailiff.yaml: has more than 1048576 bytes"},
		{"bailiff.d is a file", map[string]string{"etc/bailiff/bailiff.d": ""}, "/etc/bailiff/bailiff.d: cannot be read: not a directory"},
		{"overridden value is bad", map[string]string{"etc/bailiff/bailiff.yaml": "defaults: {max_retry: 0}", "etc/bailiff/bailiff.d/a.yaml": "defaults: {max_retry: 3}"},
			"/etc/bailiff/bailiff.yaml:1:23: defaults.max_retry: 0 is out of range"},
		{"filter that no jail uses", map[string]string{"etc/bailiff/filters.d/a.yaml": "nam: a\n"}, "/etc/bailiff/filters.d/a.yaml:1:1: "},
		{"filter under another name", map[string]string{"etc/bailiff/filters.d/a.yaml": ownFilter("b")},
			`/etc/bailiff/filters.d/a.yaml:1:7: name: is "b", but its file name says "a"`},
		{"filter of a jail", map[string]string{"etc/bailiff/filters.d/sshd.yaml": "["}, "/etc/bailiff/filters.d/sshd.yaml:1:1: is not YAML"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := tree(t, tt.files)
			c, err := l.Load()
			if c != nil || err == nil {
				t.Fatalf("configuration %v, error %v", c, err)
			}
			if got := strings.ReplaceAll(err.Error(), l.Root, ""); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			for _, e := range diag.Errors(err) {
				if e.File == "" {
					t.Errorf("%v names no file", e)
				}
			}
		})
	}
	if _, err := new(Loader).LoadFile("/nonexistent/x.yaml"); err == nil || err.Error() != "/nonexistent/x.yaml: cannot be read: "+fs.ErrNotExist.Error() && !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error %v", err)
	}
}

// A file that everybody may write is told of, since whoever writes it chooses who is banned.
func TestWorldWritable(t *testing.T) {
	l := tree(t, map[string]string{"etc/bailiff/bailiff.yaml": ""})
	file := filepath.Join(l.Root, "etc/bailiff/bailiff.yaml")
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if c := load(t, l); !slices.Equal(c.Notices, []string{file + ": everybody may write this file; chmod o-w it"}) {
		t.Errorf("notices %q", c.Notices)
	}
}

// A file full of faults ends in a bounded number of errors.
func TestErrorsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 20000 {
		b.WriteString("key" + strconv.Itoa(i) + ": 1\n")
	}
	_, err := tree(t, map[string]string{"etc/bailiff/bailiff.yaml": b.String()}).Load()
	if n := len(diag.Errors(err)); n != maxErrors+1 {
		t.Errorf("%d errors", n)
	}
}

func TestNoJailEnabled(t *testing.T) {
	var b strings.Builder
	b.WriteString("jails:\n")
	for _, name := range builtin() {
		b.WriteString("  " + name + ": {enabled: false}\n")
	}
	if c := load(t, tree(t, map[string]string{"etc/bailiff/bailiff.yaml": b.String()})); !slices.Equal(c.Notices, []string{"no jail is enabled: nobody will be banned"}) {
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
			l := tree(t, map[string]string{"etc/bailiff/bailiff.yaml": text, "again": ""})
			c := load(t, l)
			out := c.Render()
			again := filepath.Join(l.Root, "again")
			if err := os.WriteFile(again, out, 0o644); err != nil {
				t.Fatal(err)
			}
			d, err := l.LoadFile(again)
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

// same compares what counts of two configurations: all but files, notices and origins.
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
			if j := &v.Jails[i]; !reflect.DeepEqual(j.Trust, filter.Additions{}) {
				j.Filter = nil // made anew, with functions, which are never equal
			}
		}
	}
	if !reflect.DeepEqual(x, y) {
		t.Errorf("first  %+v\nsecond %+v\nas\n%s", x, y, out)
	}
}

// values are the lines without their comments.
func values(text []byte) (lines []string) {
	for _, l := range strings.Split(string(text), "\n") {
		if l, _, _ = strings.Cut(l, "  # "); l != "" && l[0] != '#' {
			lines = append(lines, strings.TrimRight(l, " "))
		}
	}
	return lines
}

func TestRenderTellsOrigins(t *testing.T) {
	l := tree(t, map[string]string{
		"etc/bailiff/bailiff.yaml":        "defaults:\n  ban_time: 48h\n",
		"etc/bailiff/bailiff.d/20-x.yaml": "jails:\n  sshd:\n    max_retry: 3\n",
	})
	out := strings.ReplaceAll(string(load(t, l).Render()), l.Root, "")
	for _, want := range []string{
		"# Merged, later over earlier:\n#   /etc/bailiff/bailiff.yaml\n#   /etc/bailiff/bailiff.d/20-x.yaml\n",
		"  ban_time: 2d                    # /etc/bailiff/bailiff.yaml:2\n",
		"    max_retry: 3                  # /etc/bailiff/bailiff.d/20-x.yaml:3\n",
		"    ban_time: 2d                  # defaults, /etc/bailiff/bailiff.yaml:2\n",
		"  backend: auto                   # built in\n",
		"    enabled: auto                 # built in\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if out := string(Default().Render()); !strings.HasPrefix(out, "# No configuration file: all of this is built in.\n") {
		t.Errorf("got\n%s", out)
	}
}

// TestUnreadable needs another user than root, who may read everything.
func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every file")
	}
	l := tree(t, map[string]string{"etc/bailiff/bailiff.yaml": ""})
	if err := os.Chmod(filepath.Join(l.Root, "etc/bailiff/bailiff.yaml"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Load(); err == nil || !strings.Contains(err.Error(), "permission denied") || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// Of jails that nobody asks for the names are known and nothing else; what their files say is checked all the same.
func TestLoaderJails(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/bailiff"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "etc/bailiff/bailiff.yaml")
	if err := os.WriteFile(file, []byte("jails: {sshd: {max_retry: 3}, mine: {filter: dovecot}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	all, err := (&Loader{Root: root}).Load()
	if err != nil {
		t.Fatal(err)
	}
	c, err := (&Loader{Root: root, Jails: []string{"sshd", "mine"}}).Load()
	if err != nil || len(c.Jails) != len(all.Jails) {
		t.Fatal(err, len(c.Jails), len(all.Jails))
	}
	for i, j := range c.Jails {
		if j.Name != all.Jails[i].Name {
			t.Errorf("%s where %s should be", j.Name, all.Jails[i].Name)
		}
		if wanted := j.Name == "sshd" || j.Name == "mine"; wanted != (j.Filter != nil) || wanted != j.Enabled {
			t.Errorf("%s: filter %v, enabled %v", j.Name, j.Filter != nil, j.Enabled)
		}
		if j.Name == "sshd" && j.MaxRetry != 3 {
			t.Errorf("max_retry is %d", j.MaxRetry)
		}
	}
	if err := os.WriteFile(file, []byte("jails: {sshd: {}, dovecot: {max_rety: 3}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Loader{Root: root, Jails: []string{"sshd"}}).Load(); err == nil {
		t.Error("a bad key of another jail passed")
	}
}
