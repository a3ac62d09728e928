package fail2ban

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
)

// debian is fail2ban's Debian package, unpacked. It is fetched at test time, since none of it is ours to ship.
var debian = sync.OnceValues(func() (dir, why string) {
	dir, err := os.MkdirTemp("", "bailiff-fail2ban-")
	if err != nil {
		return "", err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	get := exec.CommandContext(ctx, "apt-get", "download", "fail2ban")
	get.Dir = dir
	if out, err := get.CombinedOutput(); err != nil {
		return dir, "apt-get download fail2ban: " + err.Error() + ": " + string(out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) != 1 {
		return dir, "apt-get download fail2ban left no package"
	}
	if out, err := exec.CommandContext(ctx, "dpkg", "-x", files[0], filepath.Join(dir, "root")).CombinedOutput(); err != nil {
		return dir, "dpkg -x: " + err.Error() + ": " + string(out)
	}
	return dir, ""
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := debian(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// stockFolder copies the package's configuration into a folder of the test's own and lays files over it.
func stockFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	from, why := debian()
	if why != "" {
		t.Skip("fail2ban's own files are not to be had: ", why)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(from, "root/etc/fail2ban"))); err != nil {
		t.Fatal(err)
	}
	lay(t, dir, files)
	return dir
}

func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// everyJail switches on all jails of a folder's jail.conf.
func everyJail(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "jail.conf"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range regexp.MustCompile(`(?m)^\[([a-z0-9-]+)\]`).FindAllStringSubmatch(string(data), -1) {
		b.WriteString("[" + m[1] + "]\nenabled = true\n\n")
	}
	return b.String()
}

// oracle has fail2ban's own readers interpret a folder.
func oracle(t *testing.T, dir string) map[string]resolved {
	t.Helper()
	from, why := debian()
	if why != "" {
		t.Skip("fail2ban's own readers are not to be had: ", why)
	}
	const script = `
import json, sys, logging
logging.disable(logging.CRITICAL)
sys.path.insert(0, sys.argv[1])
from fail2ban.client.jailsreader import JailsReader
jails = JailsReader(basedir=sys.argv[2])
jails.read()
jails.getOptions()
out = {}
for jail in jails.jails:
    d = {"failregex": [], "ignoreregex": [], "prefregex": "", "journalmatch": [], "ignoreip": [], "actions": [], "error": "",
         "maxretry": "", "findtime": "", "bantime": "", "backend": ""}
    try:
        stream = jail.convert(allow_no_files=True)
    except Exception as e:
        d["error"], stream = str(e), []
    for c in stream:
        if c[0] == "config-error": d["error"] = c[1]
        if c[0] == "add": d["backend"] = c[2]
        if len(c) < 4: continue
        if c[2] in ("addfailregex", "addignoreregex"): d[c[2][3:]] += c[3] if c[0] == "multi-set" else [c[3]]
        elif c[2] == "addaction": d["actions"].append(c[3])
        elif c[2] == "addignoreip": d["ignoreip"] = c[3:]
        elif c[2] == "addjournalmatch": d["journalmatch"] += c[3:]
        elif c[2] in ("maxretry", "findtime", "bantime", "prefregex"): d[c[2]] = str(c[3])
    out[jail.getName()] = d
json.dump(out, sys.stdout)
`
	cmd := exec.Command("python3", "-c", script, filepath.Join(from, "root/usr/lib/python3/dist-packages"), dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) || strings.Contains(stderr.String(), "ImportError") || strings.Contains(stderr.String(), "ModuleNotFoundError") {
		t.Skipf("python3 does not run fail2ban's readers: %v: %s", err, stderr.String())
	} else if err != nil {
		t.Fatalf("fail2ban's readers: %v: %s", err, stderr.String())
	}
	var out map[string]resolved
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// resolved is a jail with everything filled in.
type resolved struct {
	Failregex, Ignoreregex, Journalmatch, Ignoreip, Actions []string
	Prefregex, Maxretry, Findtime, Bantime, Backend         string
	Error                                                   string
}

// resolve is oracle, by our own readers.
func resolve(t *testing.T, dir string) map[string]resolved {
	t.Helper()
	im := newImporter(dir)
	im.jails = im.read("jail")
	out := make(map[string]resolved)
	for _, name := range im.jails.Order {
		if on, _ := im.value(name, "enabled"); !isTrue(on) || name == "DEFAULT" {
			continue
		}
		var x resolved
		text := func(opt string) string { v, _ := im.value(name, opt); return v }
		x.Maxretry, x.Findtime, x.Bantime, x.Backend = text("maxretry"), text("findtime"), text("bantime"), text("backend")
		x.Ignoreip = strings.FieldsFunc(text("ignoreip"), func(r rune) bool { return strings.ContainsRune(" ,\n", r) })
		filterName, args, err := ini.SplitOptions(text("filter"))
		if err != nil {
			t.Fatal(err)
		}
		def, err := im.definition("filter.d", filterName, args)
		if err != nil {
			x.Error = err.Error()
			out[name] = x
			continue
		}
		// With fail2ban's own prefix.
		def.Tree = ini.NewTree(dir)
		(&ini.Reader{Tree: def.Tree}).ReadAll("filter.d/" + filterName)
		def.InitVars()
		if args["logtype"] == "" {
			def.Args["logtype"] = "file"
			if o := def.Tree.Local("Definition", "logtype"); o != nil {
				delete(def.Args, "logtype")
			} else if strings.HasPrefix(x.Backend, "systemd") {
				def.Args["logtype"] = "journal"
			}
		}
		src := im.source(name, filterName, def, im.jails.Get(name, "filter"))
		for _, e := range src.fail {
			x.Failregex = append(x.Failregex, e.text)
		}
		for _, e := range src.ignore {
			x.Ignoreregex = append(x.Ignoreregex, e.text)
		}
		x.Prefregex = src.prefregex
		match, _, _ := def.Value("journalmatch")
		if o := im.jails.Get(name, "journalmatch"); o != nil {
			match = text("journalmatch")
		}
		x.Journalmatch = strings.Fields(match)
		for _, w := range ini.SplitActions(text("action")) {
			n, _, err := ini.SplitOptions(w)
			if err != nil {
				t.Fatal(err)
			}
			x.Actions = append(x.Actions, n)
		}
		out[name] = x
	}
	return out
}

func compare(t *testing.T, dir string) {
	t.Helper()
	want, got := oracle(t, dir), resolve(t, dir)
	if len(want) == 0 {
		t.Fatal("fail2ban sees no jail")
	}
	trim := func(l []string) []string {
		out := []string{}
		for _, s := range l {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
		}
		return out
	}
	expressions := 0
	for name, w := range want {
		g, ok := got[name]
		if !ok {
			t.Errorf("jail %s: fail2ban has it, we do not", name)
			continue
		}
		if w.Error != "" {
			if g.Error == "" && !strings.Contains(w.Error, "log file") {
				t.Errorf("jail %s: fail2ban says %q, we nothing", name, w.Error)
			}
			continue
		}
		expressions += len(w.Failregex)
		for _, x := range []struct {
			what      string
			want, got any
		}{
			{"failregex", trim(w.Failregex), trim(g.Failregex)}, {"ignoreregex", trim(w.Ignoreregex), trim(g.Ignoreregex)}, {"prefregex", w.Prefregex, g.Prefregex},
			{"ignoreip", trim(w.Ignoreip), trim(g.Ignoreip)}, {"journalmatch", trim(w.Journalmatch), trim(g.Journalmatch)},
			{"maxretry", w.Maxretry, g.Maxretry}, {"findtime", w.Findtime, g.Findtime}, {"bantime", w.Bantime, g.Bantime}, {"backend", w.Backend, g.Backend},
		} {
			if !reflect.DeepEqual(x.want, x.got) {
				t.Errorf("jail %s: %s\n  fail2ban: %q\n  here:     %q", name, x.what, x.want, x.got)
			}
		}
		for i, a := range w.Actions { // theirs may have the jail's name behind it
			if i >= len(g.Actions) || !strings.HasPrefix(a, strings.TrimSuffix(g.Actions[i], ".py")) {
				t.Errorf("jail %s: actions\n  fail2ban: %q\n  here:     %q", name, w.Actions, g.Actions)
				break
			}
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("jail %s: we have it, fail2ban does not", name)
		}
	}
	t.Logf("%d jails, %d expressions alike", len(want), expressions)
}

// TestOracleStock: all jails that fail2ban ships mean the same to its readers and to ours.
func TestOracleStock(t *testing.T) {
	dir := stockFolder(t, nil)
	lay(t, dir, map[string]string{"jail.local": everyJail(t, dir)})
	compare(t, dir)
}

// ownTree is a configuration that uses all of what jail.conf(5) offers.
var ownTree = map[string]string{
	"jail.conf": `
[INCLUDES]
before = paths.conf
after = after.conf
[DEFAULT]
enabled = no
maxretry = 5 ; as inline comment
findtime : 600
bantime = 1h
backend = auto
filter = %(__name__)s[mode="%(mode)s"]
mode = normal
usedns = no
logpath = %(here)s/log ; of one: %(sshd)s
action_ = act[port="%(port)s", name=%(__name__)s]
action = %(action_)s
port = 0:65535
[first]
enabled = true
port = ssh
[second]
enabled = true
filter = first[mode=hard, extra='a, b']
findtime = %(first/port)s
maxretry = %(known/maxretry)s
[third]
filter = first
[fourth]
enabled = on
filter = percent
`,
	"paths.conf":  "[DEFAULT]\nhere = /var/log\nmaxretry = 9\n",
	"after.conf":  "[DEFAULT]\nbantime = 2h\n[second]\nmaxretry = 7\n",
	"after.local": "[second]\nmaxretry = 8\n",
	"jail.d/b.conf": `
[first]
findtime = 11m
failregex = %(known/failregex)s
            ^own two <HOST>$
# a comment within

            ^own three <HOST>$
`,
	"jail.d/a.conf": "[first]\nfindtime = 12m\nbantime = %(default/bantime)s\n",
	"jail.local": `
[DEFAULT]
ignoreip = 127.0.0.1/8, ::1
    192.0.2.7
  # not this one
    198.51.100.0/24
[third]
enabled = TRUE
journalmatch = _SYSTEMD_UNIT=third.service + _COMM=third
`,
	"jail.d/z.local": "[third]\nmaxretry=1\naction = %(action_)s\n         act[name=two, port='a b']\n",
	"filter.d/common.conf": `
[DEFAULT]
logtype = file
_daemon = \S*
__prefix_line = <lt_<logtype>/__prefix_line>
[lt_file]
__prefix_line = \s*(?:\S+ )?<_daemon>(?:\[\d+\])?:?\s+
[lt_short]
__prefix_line = \s*(?:\S+\s+)?(?:<_daemon>(?:\[\d+\]):?\s+)?
[lt_journal]
__prefix_line = %(lt_short/__prefix_line)s
`,
	"filter.d/first.conf": `
[INCLUDES]
before = common.conf
[Definition]
_daemon = firstd
prefregex = ^%(__prefix_line)s<F-CONTENT>.+</F-CONTENT>$
failregex = ^bad <what> from <HOST>$
            <mdre-<mode>>
mdre-normal = ^quite wrong <HOST>$
mdre-hard = ^%(what)s <extra> <HOST>$
            <mdre-normal>
extra = none
mode = normal
ignoreregex =
what = login
journalmatch = _SYSTEMD_UNIT=first.service
[Init]
what = password
`,
	"filter.d/percent.conf": "[Definition]\nfailregex = ^100%% wrong <HOST>$\n",
	"filter.d/first.local":  "[Definition]\nfailregex = %(known/failregex)s\n            ^local <HOST>$\n",
	"action.d/act.conf":     "[Definition]\nactionban = true\n[Init]\nport = any\n",
}

func TestOracleOwn(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, ownTree)
	compare(t, dir)
	got := resolve(t, dir)
	if first := got["first"].Failregex; !slices.Contains(first, "^own three <HOST>$") || !slices.Contains(first, "^local <HOST>$") || !slices.Contains(first, "^bad password from <HOST>$") {
		t.Errorf("first: %q", first)
	}
}
