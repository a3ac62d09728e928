package fail2ban

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/policy/filter"
)

// shared returns the folder of sample lines beside the checkout, and skips the test without it.
func shared(t *testing.T, elem ...string) string {
	t.Helper()
	dir := os.Getenv("BAILIFF_SHARED")
	if wd, err := os.Getwd(); err == nil {
		for d := wd; d != filepath.Dir(d) && dir == ""; d = filepath.Dir(d) {
			if s := filepath.Join(filepath.Dir(d), "shared"); isFolder(s) {
				dir = s
			}
		}
	}
	p := filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(p); dir == "" || err != nil {
		t.Skipf("%s is not there: the sample lines of others are no part of the project", filepath.Join(append([]string{"shared"}, elem...)...))
	}
	return p
}

func isFolder(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.IsDir()
}

// translateStock translates one of fail2ban's filters with options in brackets.
func translateStock(t *testing.T, dir, name string, args map[string]string) (*translation, []expression) {
	t.Helper()
	im := newImporter(dir)
	im.jails = ini.NewTree(dir)
	def, err := im.definition("filter.d", name, args)
	if err != nil {
		t.Fatal(err)
	}
	src := im.source("none", name, def, &ini.Option{File: "test", Name: "filter"})
	src.name, src.trust = name, trust{units: []string{"any.service"}, uid: "any"}
	return translate(src), src.fail
}

// judged is fail2ban's result for a line: which of its expressions matched (-1: none), with which address.
type judged struct {
	Index      int
	Host       string
	Name       bool // Host is a name
	Nofail     bool
	Ignored    bool
	Unreadable string
}

// question is a filter with its options, and lines for it.
type question struct {
	Name  string            `json:"name"`
	Args  map[string]string `json:"args"`
	Lines []string          `json:"lines"`
}

// judge has fail2ban's own expressions match lines in the form of its journal backend: host identifier[pid]: message.
func judge(t *testing.T, dir string, questions []question) [][]judged {
	t.Helper()
	from, why := debian()
	if why != "" {
		t.Skip("fail2ban's own code is not to be had: ", why)
	}
	const script = `
import json, sys, logging
logging.disable(logging.CRITICAL)
sys.path.insert(0, sys.argv[1])
from fail2ban.client.filterreader import FilterReader
from fail2ban.server.failregex import FailRegex, Regex
split = lambda v: [l.strip() for l in (v or "").split("\n") if l.strip()]
def answer(q):
    r = FilterReader(q["name"], "test", dict(q["args"] or {}, logtype="journal"), basedir=sys.argv[2])
    r.read(); r.getOptions({}); o = r.getCombined()
    try:
        pref = Regex(o["prefregex"]) if o.get("prefregex") else None
        fail = [FailRegex(l, prefRegex=pref) for l in split(o.get("failregex"))]
        ignore = [Regex(l) for l in split(o.get("ignoreregex"))]
    except Exception as e:
        return [{"Unreadable": str(e)}] * len(q["lines"])
    def look(line):
        d, buf, groups = {"Index": -1}, [("", "", line)], {}
        if pref:
            pref.search(buf)
            if not pref.hasMatched(): return d
            groups = pref.getGroups()
            content = groups.pop("content", None)
            if content: buf = [("", "", content)]
        for i, f in enumerate(fail):
            f.search(buf)
            if not f.hasMatched(): continue
            for g in ignore:
                g.search(buf)
                if g.hasMatched(): return dict(d, Ignored=True)
            groups.update({k: v for k, v in f.getGroups().items() if v is not None})
            ip = groups.get("ip4") or groups.get("ip6")
            return {"Index": i, "Host": ip or groups.get("dns") or "", "Name": not ip and bool(groups.get("dns")), "Nofail": bool(groups.get("nofail") or groups.get("mlfgained"))}
        return d
    return [look(line) for line in q["lines"]]
out = [answer(q) for q in json.load(sys.stdin)]
json.dump(out, sys.stdout)
`
	in, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", "-c", script, filepath.Join(from, "root/usr/lib/python3/dist-packages"), dir)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	if err != nil {
		t.Skipf("python3 does not run fail2ban's expressions: %v: %s", err, stderr.String())
	}
	var out [][]judged
	if err := json.Unmarshal(data, &out); err != nil || len(out) != len(questions) {
		t.Fatalf("%d answers to %d questions: %v", len(out), len(questions), err)
	}
	return out
}

// TestTranslatedCorpus runs all sample lines of fail2ban's tests through its filters, by fail2ban's own code as it reads the journal, and
// through our translation of them, line by line. Where they differ, the report must have said so: the expression that matched the line was
// left out, or was made stricter.
func TestTranslatedCorpus(t *testing.T) {
	corpus := shared(t, "corpus", "fail2ban")
	dir := stockFolder(t, nil)
	files, err := filepath.Glob(filepath.Join(corpus, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal("no samples", err)
	}
	type sample struct {
		Mode     string            `json:"mode_or_options"`
		Options  map[string]string `json:"options"`
		Message  string
		Ident    string `json:"syslog_identifier"`
		Hostname string
		PID      int
	}
	var questions []question
	var samples [][]sample
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		if _, err := os.Stat(filepath.Join(dir, "filter.d", name+".conf")); err != nil {
			continue // of a later version
		}
		if _, _, mapped := Builtin(name); mapped || name == "recidive" {
			continue // ours is taken in its place: policy/filter compares it with these lines
		}
		if name == "domino-smtp" {
			continue // its own expressions take minutes for one of these lines
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		at := make(map[string]int)
		sc := bufio.NewScanner(f)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			var l sample
			if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
				t.Fatal(err)
			}
			i, ok := at[l.Mode]
			if !ok {
				i = len(questions)
				at[l.Mode] = i
				args := maps.Clone(l.Options)
				delete(args, "logtype")
				questions, samples = append(questions, question{Name: name, Args: args}), append(samples, nil)
			}
			host, ident := l.Hostname, l.Ident
			host = cmp.Or(host, "mail")
			ident = cmp.Or(ident, name)
			// Expressions for a daemon's own file do not expect the head that the journal backend puts before the message.
			questions[i].Lines = append(questions[i].Lines, fmt.Sprintf("%s %s[%d]: %s", host, ident, max(l.PID, 1), l.Message), l.Message)
			samples[i] = append(samples[i], l)
		}
		f.Close()
	}
	// Known differences, with the reason.
	better := map[string]string{
		"groupoffice": "fail2ban takes the date out of a file's line, which the expression expects, but not out of the journal's message",
		"murmur":      "its expressions expect a head of another form than the journal backend's; the message is the same",
		"sogo-auth":   "its expressions expect a head of another form than the journal backend's; the message is the same",
	}
	worse := map[string]string{"softethervpn": "the prefix takes a part of the message for host and identifier: the message would not begin like this in the journal"}
	var total, alike, names, said, more, failures, caught int
	answers := judge(t, dir, questions)
	for q, answer := range answers {
		name := questions[q].Name
		tr, fail := translateStock(t, dir, name, questions[q].Args)
		told := func(index int) bool {
			return slices.ContainsFunc(tr.results, func(v result) bool { return v.kind == "failregex" && v.text == fail[index].text && v.why != "" })
		}
		for i, l := range samples[q] {
			want := answer[2*i]
			if want.Index < 0 {
				want = answer[2*i+1]
			}
			if want.Unreadable != "" {
				continue // fail2ban refuses its own expression
			}
			total++
			var h filter.Hit
			failure := false
			if tr.filter != nil {
				m, err := tr.filter.Mode("")
				if err != nil {
					t.Fatal(err)
				}
				failure = m.MatchMessage([]byte(l.Message), &h) && h.Kind == filter.Failure
			}
			theirs := want.Index >= 0 && !want.Nofail
			var addr netip.Addr
			if theirs && !want.Name {
				failures++
				if a, err := netip.ParseAddr(want.Host); err == nil {
					addr = a.Unmap()
				}
			}
			switch {
			case failure == theirs && (!failure || h.Addr == addr):
				alike++
				if failure {
					caught++
				}
			case theirs && want.Name && !h.Addr.IsValid():
				names++
			case failure && want.Index < 0 && better[name] != "":
				more++
			case theirs && !failure && (told(want.Index) || worse[name] != ""), want.Ignored && failure:
				said++
			default:
				t.Errorf("%s %v: fail2ban %+v, here %v %v: %q", name, questions[q].Args, want, failure, h.Addr, l.Message)
			}
		}
	}
	t.Logf("%d lines of %d filters and modes: %d alike, %d where fail2ban takes a host name, %d where the report says that an expression is left out or stricter, %d caught by us alone; of %d failures with an address %d are caught",
		total, len(questions), alike, names, said, more, failures, caught)
	if total == 0 || alike*100 < total*70 {
		t.Error("too few are alike")
	}
}
