package config

import (
	"bytes"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bailiff/policy/allow"
)

const (
	page    = "../../units/man/bailiff.yaml.5.scd"
	example = "../../units/config/bailiff.yaml"
)

// allKeys is every path that can be set, NAME standing for free names.
func allKeys() (all []string) {
	var walk func(at string, fields []field)
	walk = func(at string, fields []field) {
		for _, f := range fields {
			path := join(at, f.name)
			switch {
			case f.fields != nil:
				walk(path, f.fields)
			case f.entries != nil:
				walk(path+".NAME", f.entries.new("sshd"))
			default:
				all = append(all, path)
			}
		}
	}
	walk("", schema(builtinDefaults()))
	return all
}

// Every key has its own entry in the manual page, and the page names no key that there is not.
func TestManualPage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, m := range regexp.MustCompile(`(?m)^\*\w+\.[\w.]+\*(?:, \*[\w.]+\*)*$`).FindAllString(string(text), -1) {
		for _, key := range strings.Split(m, ", ") {
			named = append(named, strings.Trim(key, "*"))
		}
	}
	want := allKeys()
	slices.Sort(want)
	slices.Sort(named)
	if !slices.Equal(named, want) {
		t.Errorf("the page has\n%q\nthe loader\n%q", named, want)
	}
}

// What stands in the page as an example loads without an error.
func TestManualExamples(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := bytes.Cut(text, []byte("# EXAMPLES"))
	blocks := regexp.MustCompile("(?s)```\n(.*?)```").FindAllSubmatch(text, -1)
	if !found || len(blocks) < 3 {
		t.Fatalf("%d examples", len(blocks))
	}
	for _, b := range blocks {
		if _, err := Parse("example", b[1]); err != nil {
			t.Errorf("%v in\n%s", err, b[1])
		}
	}
}

func TestManualPageRenders(t *testing.T) {
	scdoc, err := exec.LookPath("scdoc")
	if err != nil {
		t.Skip("scdoc is not installed")
	}
	text, err := os.Open(page)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	cmd := exec.Command(scdoc)
	cmd.Stdin = text
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte(".SH DEFAULTS")) {
		t.Errorf("%v: %s", err, out)
	}
}

// The example changes nothing as it is, holds every key, and changes nothing either when all of it is taken in.
func TestExample(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range strings.Split(string(text), "\n") {
		if l != "" && l[0] != '#' {
			t.Errorf("line %q is no comment", l)
		}
		// Explanations begin with "# "; what can be taken in with "#" and its own indentation of none or at least two.
		if c, ok := strings.CutPrefix(l, "#"); ok && c != "" && (c[0] != ' ' || strings.HasPrefix(c, "  ")) {
			lines = append(lines, c)
		}
	}
	full := strings.Join(lines, "\n") + "\n"
	r := NewBuilder()
	r.Add("example", []byte(full))
	for _, key := range allKeys() {
		path := strings.Replace(strings.Replace(key, "lists.NAME.", "lists.uptimerobot.", 1), "jails.NAME.", "jails.sshd.", 1)
		if name, ok := strings.CutPrefix(path, "report.destinations.NAME."); ok {
			for _, d := range []string{"admin", "blocklist.de", "xarf", "abuseipdb", "chat", "tell"} {
				if p := "report.destinations." + d + "." + name; r.set[p] != nil {
					path = p
				}
			}
		}
		// What the system knows better, and files of one's own, are shown as comments.
		if r.set[path] == nil && !bytes.Contains(text, []byte("# "+path[strings.LastIndexByte(path, '.')+1:]+": ")) {
			t.Errorf("%s is missing in the example", path)
		}
	}
	for _, body := range []string{string(text), full} {
		c, err := Parse("example", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		d := Default()
		if c.Defaults != d.Defaults || c.Escalate != d.Escalate || !reflect.DeepEqual(c.Firewall, d.Firewall) || c.Limits != d.Limits || !slices.Equal(c.Allow.Files, d.Allow.Files) ||
			c.Allow.Self != d.Allow.Self || !reflect.DeepEqual(c.Allow.Operators, d.Allow.Operators) || len(c.Allow.Entries) != 0 || !slices.EqualFunc(c.Jails, d.Jails, func(x, y Jail) bool { x.Explicit = false; return reflect.DeepEqual(x, y) }) ||
			!reflect.DeepEqual(shared(c.Report), shared(d.Report)) {
			t.Errorf("got %+v\nwant %+v\nfrom\n%s", c, d, body)
		}
		// So are destinations; the one that is shown as on has its type's defaults.
		if body == full {
			want := newDestination("admin", TypeMail)
			want.To, want.RetryFor = []string{"root"}, c.Report.RetryFor
			for _, got := range c.Report.Destinations {
				if got.Enabled && !reflect.DeepEqual(got, want) {
					t.Errorf("destination %+v\nwant %+v", got, want)
				}
			}
		}
		// Lists are off until named: the example shows what the catalogue says.
		if body == full && !reflect.DeepEqual(c.Allow.Lists, []allow.Published{allow.NewPublished("uptimerobot")}) {
			t.Errorf("lists %+v", c.Allow.Lists)
		}
	}
}

// shared is what holds for all destinations.
func shared(c Report) Report {
	c.Destinations = nil
	return c
}
