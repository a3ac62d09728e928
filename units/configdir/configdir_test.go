package configdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/yamldoc"
)

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

func load(t *testing.T, l *Loader) *config.Config {
	t.Helper()
	c, err := l.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func jailNamed(t *testing.T, c *config.Config, name string) config.Jail {
	t.Helper()
	for _, j := range c.Jails {
		if j.Name == name {
			return j
		}
	}
	t.Fatalf("there is no jail %s", name)
	return config.Jail{}
}

func strip(l *Loader, list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ReplaceAll(s, l.Root, "")
	}
	return out
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
	if j := jailNamed(t, c, "app"); j.Filter.Name != "app" || j.MaxRetry != 2 || j.Explicit || !j.Enabled || j.Filter.Description != "ours" {
		t.Errorf("app is %+v", j)
	}
	if j := jailNamed(t, c, "sshd"); j.Filter.Description != "ours" {
		t.Errorf("sshd's filter is %+v, not the one in filters.d", j.Filter)
	}
	want := []string{
		"/etc/bailiff/filters.d/typo.yml: is not read, since its name does not end in .yaml",
		"/usr/lib/bailiff/filters.d/unused.yaml: no jail uses this filter; write jails: {unused: {}} to enable it",
	}
	if got := strip(l, c.Notices); !slices.Equal(got, want) {
		t.Errorf("notices %q, want %q", got, want)
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

func TestWorldWritable(t *testing.T) {
	l := tree(t, map[string]string{"etc/bailiff/bailiff.yaml": ""})
	file := filepath.Join(l.Root, "etc/bailiff/bailiff.yaml")
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if c := load(t, l); !slices.Equal(c.Notices, []string{file + ": all users may write this file; chmod o-w it"}) {
		t.Errorf("notices %q", c.Notices)
	}
}

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

// No file at all is no error.
func TestNoFileAtAll(t *testing.T) {
	c, d := load(t, tree(t, nil)), config.Default()
	if !reflect.DeepEqual(c, d) {
		t.Errorf("loaded %+v, default %+v", c, d)
	}
}

// A pattern of allow.files may find nothing, a path must exist.
func TestMissingAllowFile(t *testing.T) {
	l := tree(t, map[string]string{"etc/bailiff/bailiff.yaml": "allow: {files: [/srv/none.list, /srv/*.list]}\n"})
	_, err := l.Load()
	e := diag.Errors(err)
	if len(e) != 1 || e[0].Error() != l.Root+"/etc/bailiff/bailiff.yaml:1:17: allow.files: "+l.Root+"/srv/none.list: no such file or directory" || !strings.HasSuffix(e[0].Hint, " /srv/*.list") {
		t.Errorf("%v", err)
	}
}

// Files of an overlay are read as if they were there, in place of those that are.
func TestOverlay(t *testing.T) {
	l := tree(t, map[string]string{
		"etc/bailiff/bailiff.yaml":        "defaults: {max_retry: 9}\n",
		"etc/bailiff/bailiff.d/10-a.yaml": "defaults: {ban_time: 1m}\n",
		"etc/bailiff/allow.d/a.list":      "192.0.2.1\n",
	})
	folder := filepath.Join(l.Root, "etc/bailiff")
	l.Overlay = map[string][]byte{
		folder + "/bailiff.d/10-a.yaml": []byte("defaults: {ban_time: 2m}\n"), folder + "/bailiff.d/20-b.yaml": []byte("jails: {app: {}}\n"),
		folder + "/filters.d/app.yaml": []byte(ownFilter("app")), folder + "/allow.d/b.list": []byte("192.0.2.2\n"),
	}
	for name, load := range map[string]func() (*config.Config, error){"host": l.Load, "folder": func() (*config.Config, error) { return (&Loader{Overlay: l.Overlay}).LoadFile(folder) }} {
		c, err := load()
		if err != nil {
			t.Fatal(name, err)
		}
		if len(c.Files) != 3 || c.Defaults.MaxRetry != 9 || c.Defaults.BanTime != 2*time.Minute || len(c.Allow.Entries) != 2 {
			t.Errorf("%s: files %q, defaults %+v, allowed %v", name, c.Files, c.Defaults, c.Allow.Entries)
		}
		jailNamed(t, c, "app")
	}
	// Nor need the folder exist.
	c, err := (&Loader{Overlay: map[string][]byte{"/nonexistent/bailiff.d/a.yaml": []byte("defaults: {max_retry: 7}\n")}}).LoadFile("/nonexistent")
	if err != nil || c.Defaults.MaxRetry != 7 {
		t.Errorf("%v, %+v", err, c)
	}
}
