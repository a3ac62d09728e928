package config

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
)

// The commented sample and the tables of the manual are built from the fields. These tests fail when they differ. To rewrite
// them: go test ./policy/config -run 'Sample|Manual' -update
const (
	manualPage = "../../units/man/bailiff.yaml.5.scd"
	sampleFile = "../../units/config/bailiff.yaml"

	wrapAt    = 100
	commentAt = 26 // column of the sample's comments
)

// fieldsAt returns the fields of a mapping; NAME in the path stands for a free name.
func fieldsAt(t *testing.T, path string) []field {
	t.Helper()
	fields := schema(builtinDefaults())
	for _, step := range strings.Split(path, ".") {
		if step == "NAME" {
			continue
		}
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == step })
		if i < 0 {
			t.Fatalf("there is no key %s", path)
		}
		if e := fields[i].entries; e != nil {
			fields = e.new("NAME")
		} else {
			fields = fields[i].fields
		}
	}
	return fields
}

// allKeys visits every key, NAME standing for free names.
func allKeys(t *testing.T, visit func(path string, f *field)) {
	var down func(at string, fields []field)
	down = func(at string, fields []field) {
		for i := range fields {
			f := &fields[i]
			path := join(at, f.name)
			visit(path, f)
			if f.entries != nil {
				down(path+".NAME", f.entries.new("NAME"))
			}
			down(path, f.fields)
		}
	}
	down("", schema(builtinDefaults()))
}

// Every key is documented in one line.
func TestDocs(t *testing.T) {
	n := 0
	allKeys(t, func(path string, f *field) {
		n++
		switch {
		case f.set != nil && (f.doc == "" || f.form == ""):
			t.Errorf("%s: no meaning or no form", path)
		case f.doc != "" && !strings.HasSuffix(f.doc, "."):
			t.Errorf("%s: %q is not a sentence", path, f.doc)
		case f.optional && f.example == "":
			t.Errorf("%s: no example", path)
		}
	})
	if n < 90 {
		t.Errorf("only %d keys", n)
	}
}

// inline writes a default in one line of YAML.
func inline(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case []string:
		var all []string
		for _, s := range v {
			all = append(all, quote(s))
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	return "{}"
}

// A sample line is "#" and YAML, or "# " and an explanation.
type sample struct{ bytes.Buffer }

// line writes YAML with a comment behind it, or above it where there is no room.
func (s *sample) line(depth int, yaml, comment string) {
	l := "#" + strings.Repeat("  ", depth) + yaml
	if comment != "" {
		if both := fmt.Sprintf("%-*s # %s", commentAt-1, l, comment); len(both) <= wrapAt {
			l = both
		} else {
			var b strings.Builder
			cell(&b, "#"+strings.Repeat("  ", depth)+"#", "#"+strings.Repeat("  ", depth)+"#", comment)
			s.WriteString(b.String())
		}
	}
	s.WriteString(l + "\n")
}

func (s *sample) fields(depth int, at string, fields []field) {
	for _, f := range fields {
		path := join(at, f.name)
		if f.set == nil {
			for _, l := range sampleNotes[path] {
				s.line(depth, "# "+l, "")
			}
			s.line(depth, f.name+":", f.doc)
			s.fields(depth+1, path, f.fields)
			if f.entries != nil {
				s.entries(depth+1, path)
			}
			continue
		}
		comment := f.doc
		if f.doc != "" && (regexp.MustCompile(`^[0-9]`).MatchString(f.form) || strings.Contains(f.form, " or ") && !strings.HasPrefix(f.form, "list")) {
			comment = f.meaning()
		}
		if yaml := inline(f.get()); f.optional || f.example != "" && (yaml == "[]" || yaml == `""`) {
			s.line(depth, "# "+f.name+": "+f.example, comment)
		} else {
			s.line(depth, f.name+": "+yaml, comment)
		}
	}
}

var sampleNotes = map[string][]string{
	"allow.lists": {
		"No list is fetched unless it is named here and the timer is enabled:",
		"  systemctl enable --now bailiff-allow-refresh.timer",
		"Lists of the catalogue are used by name: [uptimerobot, pingdom, statuscake, cloudflare]",
	},
	"lists": {
		"No list is fetched unless it is named here and the timer is enabled:",
		"  systemctl enable --now bailiff-lists-refresh.timer",
		"Lists of the catalogue are used by name: [spamhaus-drop, cins]",
	},
	"report.destinations": {"One destination of each type. No report is sent unless a file names its destination."},
}

// entries writes an entry, or for destinations one of each type: the first with all keys, others with their own.
func (s *sample) entries(depth int, path string) {
	switch path {
	case "jails":
		s.line(depth, "sshd:", "")
		s.fields(depth+1, path+".NAME", jailFields(&Jail{Enabled: true, filter: "sshd", Mode: "normal", Thresholds: builtinDefaults().Defaults}))
	case "allow.lists":
		s.line(depth, "uptimerobot:", "")
		p := allow.NewPublished("uptimerobot")
		s.fields(depth+1, path+".NAME", listFields(&p))
	case "lists":
		s.line(depth, "cins:", "")
		l := blocklist.New("cins")
		s.fields(depth+1, path+".NAME", blockFields(&l))
	default:
		for _, e := range []struct{ name, kind string }{
			{"admin", TypeMail}, {TypeBlocklist, TypeBlocklist}, {TypeAbuseIPDB, TypeAbuseIPDB}, {TypeXARF, TypeXARF}, {"chat", TypeWebhook}, {"tell", TypeExec},
		} {
			d := newDestination(e.name, e.kind)
			d.RetryFor = builtinDefaults().Report.RetryFor
			if d.Type == TypeMail {
				d.To = []string{"root"}
			} else {
				d.Enabled = false
			}
			s.line(depth, e.name+":", "")
			var fields []field
			for _, f := range destinationFields(&d) {
				if f.types == nil && d.Type != TypeMail {
					f.doc = "" // documented at the first
				}
				if f.suits(d.Type) && (f.types != nil || d.Type == TypeMail || f.name == "type" || f.name == "enabled") {
					fields = append(fields, f)
				}
			}
			s.fields(depth+1, "", fields)
		}
	}
}

func wantSample() string {
	var s sample
	s.WriteString(`# bailiff.yaml: every key with its built-in default. bailiff needs no configuration file. Write only
# the values that differ, best into a file of your own: /etc/bailiff/bailiff.d/10-mine.yaml.
# All keys are explained in bailiff.yaml(5). Durations are written 30s, 10m, 48h, 2d, 4w, 1h30m.
#
# After a change: bailiff check, then bailiff reload. bailiff config shows what is in effect and
# where it comes from.
`)
	for _, f := range schema(builtinDefaults()) {
		s.WriteString("\n# " + f.doc + "\n")
		f.doc = ""
		s.fields(0, "", []field{f})
	}
	return s.String()
}

// compare fails if a file does not hold what it should, or writes it with -update.
func compare(t *testing.T, file, want string) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) == want {
		return
	}
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	g, w := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%s:%d: is\n%s\nwant\n%s\n(go test ./policy/config -run 'Sample|Manual' -update writes it)", file, i+1, g[i], w[i])
		}
	}
	t.Fatalf("%s has %d lines, want %d", file, len(g), len(w))
}

// The sample has every key and changes nothing, neither as it is nor with every setting uncommented.
func TestSample(t *testing.T) {
	text := wantSample()
	compare(t, sampleFile, text)
	var lines []string
	for _, l := range strings.Split(text, "\n") {
		if len(l) > wrapAt {
			t.Errorf("%d columns: %s", len(l), l)
		}
		// Explanations begin with "# "; settings begin with "#" and an indentation of none or at least two.
		if c, ok := strings.CutPrefix(l, "#"); ok && c != "" && (c[0] != ' ' || strings.HasPrefix(c, "  ")) {
			lines = append(lines, c)
		}
	}
	full := strings.Join(lines, "\n") + "\n"
	allKeys(t, func(path string, f *field) {
		if f.set != nil && !regexp.MustCompile(`(?m)^#\s*(# )?`+f.name+`: `).MatchString(text) {
			t.Errorf("%s is missing", path)
		}
	})
	for _, body := range []string{text, full} {
		c, err := Parse("sample", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		d := Default()
		for i := range c.Jails {
			c.Jails[i].Explicit = false
		}
		if body == full {
			if !reflect.DeepEqual(c.Allow.Lists, []allow.Published{allow.NewPublished("uptimerobot")}) {
				t.Errorf("lists %+v", c.Allow.Lists)
			}
			if !reflect.DeepEqual(c.Lists, []blocklist.List{blocklist.New("cins")}) {
				t.Errorf("lists %+v", c.Lists)
			}
			want := newDestination("admin", TypeMail)
			want.To, want.RetryFor = []string{"root"}, c.Report.RetryFor
			for _, got := range c.Report.Destinations {
				if got.Enabled && !reflect.DeepEqual(got, want) {
					t.Errorf("destination %+v\nwant %+v", got, want)
				}
			}
			c.Allow.Lists, c.Lists, c.Report.Destinations = nil, nil, nil
		}
		c.Files, c.origins, d.origins = nil, nil, nil
		c.Allow.Addresses = slices.Clip(append(d.Allow.Addresses, c.Allow.Addresses...))
		if !reflect.DeepEqual(c, d) {
			t.Errorf("got %+v\nwant %+v\nfrom\n%s", c, d, body)
		}
	}
}

// escape escapes a text for a manual page.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`).Replace(s)
}

// cell writes a text, wrapped; start begins its first line, next the others.
func cell(b *strings.Builder, start, next, text string) {
	l := start
	for _, w := range strings.Fields(text) {
		if len(l)+1+len(w) > wrapAt {
			b.WriteString(l + "\n")
			l = next
		}
		l += " " + w
	}
	b.WriteString(l + "\n")
}

// meaning describes a key and its values.
func (f *field) meaning() string {
	if f.form == "true or false" {
		return f.doc
	}
	return strings.TrimSuffix(f.doc, ".") + " (" + f.form + ")."
}

// plainDefault is a field's default for the manual.
func plainDefault(f *field) string {
	if f.initial != "" {
		return f.initial
	}
	switch v := f.get().(type) {
	case string:
		return v
	case []string:
		if len(v) > 0 {
			return strings.Join(v, " ")
		}
	}
	return "none"
}

// byType is the default of a destination's field, which may differ by type: "off; daily for xarf".
func byType(name string) string {
	var values []string
	kinds := make(map[string][]string)
	for _, kind := range DestinationTypes {
		d := newDestination("NAME", kind)
		for _, f := range destinationFields(&d) {
			if f.name == name && f.suits(kind) {
				v := plainDefault(&f)
				if kinds[v] == nil {
					values = append(values, v)
				}
				kinds[v] = append(kinds[v], kind)
			}
		}
	}
	slices.SortStableFunc(values, func(a, b string) int { return len(kinds[b]) - len(kinds[a]) })
	text := values[0]
	for _, v := range values[1:] {
		text += "; " + v + " for " + strings.Join(kinds[v], ", ")
	}
	return text
}

// keyTable returns the table of a mapping's keys. own selects the keys that only some types of destination have.
func keyTable(t *testing.T, path string, own bool) string {
	var b strings.Builder
	b.WriteString("\n|[ *Key*\n:[ *Default*\n:< *Meaning*\n")
	walk(fieldsAt(t, path), "", func(key string, f *field) {
		if path == "jails.NAME" && inherited[key] || own != (f.types != nil) {
			return
		}
		standard, meaning := plainDefault(f), f.meaning()
		if path == "report.destinations.NAME" && key != "type" {
			standard = byType(key)
		}
		if own {
			meaning = "For " + strings.Join(f.types, ", ") + ". " + meaning
		}
		if len(standard) > 16 {
			meaning += " Default: " + standard
			if standard = "see right"; !strings.HasSuffix(meaning, ".") {
				meaning += "."
			}
		}
		if f.since != "" {
			meaning += " Since " + f.since + "."
		}
		b.WriteString("|  *" + escape(key) + "*\n")
		b.WriteString(":  " + escape(standard) + "\n")
		cell(&b, ": ", "  ", escape(meaning))
	})
	return b.String() + "\n"
}

func renamedTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("\n|[ *Old name*\n:< *Name*\n")
	allKeys(t, func(path string, f *field) {
		if f.old != "" && !strings.HasPrefix(path, "jails.") {
			b.WriteString("|  " + strings.TrimSuffix(path, f.name) + f.old + "\n:  " + path + "\n")
		}
	})
	return b.String() + "\n"
}

// The tables of the page match the fields, and every key is in a table.
func TestManualTables(t *testing.T) {
	page, err := os.ReadFile(manualPage)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	want := regexp.MustCompile(`(?s)(; begin (keys|renamed) ?(\S*)( own)?\n).*?(; end \w+\n)`).ReplaceAllStringFunc(string(page), func(block string) string {
		m := regexp.MustCompile(`(?s)^(; begin (keys|renamed) ?(\S*)( own)?\n).*?(; end \w+\n)$`).FindStringSubmatch(block)
		body := ""
		if m[2] == "renamed" {
			body = renamedTable(t)
		} else {
			body = keyTable(t, m[3], m[4] != "")
			walk(fieldsAt(t, m[3]), m[3], func(path string, f *field) { seen[path] = seen[path] || (f.types != nil) == (m[4] != "") })
		}
		return m[1] + body + m[5]
	})
	compare(t, manualPage, want)
	allKeys(t, func(path string, f *field) {
		if f.set != nil && !seen[path] {
			t.Errorf("%s is in no table", path)
		}
	})
	for i, l := range strings.Split(want, "\n") {
		if len(l) > wrapAt && !strings.HasPrefix(l, "|") && !strings.Contains(l, "http") {
			t.Errorf("%s:%d: %d columns", manualPage, i+1, len(l))
		}
	}
}

// The examples of the page load without an error.
func TestManualExamples(t *testing.T) {
	text, err := os.ReadFile(manualPage)
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
	text, err := os.Open(manualPage)
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
