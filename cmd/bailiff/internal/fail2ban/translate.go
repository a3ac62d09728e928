package fail2ban

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/regex"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
)

// result is the outcome of one expression.
type result struct {
	expression
	kind  string // failregex or ignoreregex
	taken bool
	why   string // why it was not taken or, if it was, how it was changed
	hint  string
}

// translation is a filter file and the outcome of each expression.
type translation struct {
	name    string
	data    []byte // nil: no expression could be translated
	filter  *filter.Filter
	results []result
}

// exact reports whether all expressions were translated without a change of meaning.
func (t *translation) exact() bool {
	return t.data != nil && !slices.ContainsFunc(t.results, func(v result) bool { return !v.taken || v.why != "" })
}

// candidate is one expression with its variants.
type candidate struct {
	*regex.Variants
	result int // in translation.results
	at     int // the variant being tried
}

// patterns are those of the variant.
func (a *candidate) patterns() []regex.Pattern { return a.Patterns[a.at] }

// last is the pattern that says how the variant differs from the expression.
func (a *candidate) last() *regex.Pattern { return &a.patterns()[len(a.patterns())-1] }

// has reports whether the variant has a pattern of a name.
func (a *candidate) has(name string) bool {
	return slices.ContainsFunc(a.patterns(), func(p regex.Pattern) bool { return p.Name == name })
}

// unanchored is 1 if the expression matches anywhere in a line, else 0.
func (a *candidate) unanchored() int {
	if a.last().Once != "" {
		return 1
	}
	return 0
}

// innerText reports whether there is text chosen by a client between the fixed texts of an expression.
func (a *candidate) innerText() bool {
	return slices.ContainsFunc(a.patterns(), func(p regex.Pattern) bool {
		before, after, _ := strings.Cut(strings.TrimPrefix(p.Text, "<text>"), "<once:")
		return strings.Contains(before, "<text>") || strings.Contains(before, "<user>") || strings.Contains(strings.TrimRight(after, "}?"), "<text>") && !strings.HasSuffix(strings.TrimRight(after, "}?"), "<text>")
	})
}

// translate translates a filter. Simple expressions become templates, others regular expressions. The loader's tests decide
// whether the filter is safe; an expression that fails them is tried in a stricter variant or left out.
func translate(src *source) *translation {
	t := &translation{name: src.name}
	var pre *regex.Node
	if src.prefregex != "" {
		var err error
		if pre, err = regex.Parse(src.prefregex); err == nil {
			if tag := unresolved.FindString(src.prefregex); tag != "" {
				err = fmt.Errorf("contains %s, which is nowhere defined", tag)
			}
		}
		if err != nil {
			for _, e := range src.fail {
				t.results = append(t.results, result{expression: e, kind: "failregex", why: "its prefregex " + err.Error(), hint: hintTemplate})
			}
			return t
		}
	}
	var all []*candidate
	add := func(e expression, kind string, pre *regex.Node, number int) {
		v := result{expression: e, kind: kind}
		n, err := regex.Parse(e.text)
		if tag := unresolved.FindString(e.text); tag != "" {
			err = fmt.Errorf("contains %s, which is nowhere defined", tag)
		}
		var f *regex.Variants
		if err == nil {
			f, err = regex.NewVariants(n, pre, fmt.Sprintf("%s-%d", kind, number))
		}
		if err != nil {
			v.why, v.hint = err.Error(), hintTemplate
		} else {
			v.taken = true
			all = append(all, &candidate{Variants: f, result: len(t.results)})
		}
		t.results = append(t.results, v)
	}
	for i, e := range src.ignore {
		add(e, "ignoreregex", nil, i+1)
	}
	for i, e := range src.fail {
		add(e, "failregex", pre, i+1)
	}
	t.prove(src, all)
	return t
}

// unresolved matches tags of fail2ban's own options that were not replaced. Other texts in <> stand for themselves, as in
// fail2ban.
var unresolved = regexp.MustCompile(`<(?:__[\w-]+|md(?:re|pr)-[\w-]+|known/[^<> ]+|lt_\w+)>`)

const (
	hintTemplate = "write it as a template in your own filter: see FILTERS in bailiff.yaml(5)"
	hintAnchor   = "anchor it: ^ at the beginning or $ at the end, with no free text (.*) between the anchor and the address"
)

// prove has the loader check the filter until it finds no fault. After each fault the expression is replaced by its next,
// stricter variant, or left out.
func (t *translation) prove(src *source, all []*candidate) {
	drop := func(a *candidate, why string) {
		v := &t.results[a.result]
		if v.why == "" || a.unanchored() > 0 {
			v.why = why
		}
		if a.at++; a.at < len(a.Patterns) {
			return
		}
		v.taken, v.hint = false, hintTemplate
		if a.Open {
			v.hint = hintAnchor
		}
		if a.NotOnce != "" && v.kind == "failregex" {
			v.why += "; " + a.NotOnce
		}
		all = slices.DeleteFunc(all, func(b *candidate) bool { return a == b })
	}
	// First each expression by itself, which is quick; then all together, since one may match another's lines.
	for _, a := range slices.Clone(all) {
		if !slices.ContainsFunc(a.Patterns[0], func(p regex.Pattern) bool {
			return strings.Contains(p.Text, "<addr>") || strings.Contains(p.Regexp, "(?P<addr>")
		}) {
			continue // without an address it is not valid by itself
		}
		for t.results[a.result].taken {
			_, err := filter.Parse("filters.d/"+t.name+".yaml", t.render(src, []*candidate{a}))
			if err == nil {
				break
			}
			drop(a, reason(diag.Errors(err)[0].Text))
		}
	}
	var exceptions []*candidate
	all = slices.DeleteFunc(all, func(a *candidate) bool {
		if t.results[a.result].kind == "failregex" {
			return false
		}
		exceptions = append(exceptions, a)
		return true
	})
	// A user name could contain all of the text of another such expression.
	for _, a := range slices.Backward(slices.Clone(all)) {
		if a.unanchored() > 0 && slices.ContainsFunc(all, func(b *candidate) bool { return a != b && b.unanchored() > 0 && b.innerText() }) {
			drop(a, "it is open at both ends, and a client could place a match for it in the text that another expression leaves to clients")
		}
	}
	for {
		// Unanchored expressions come last, so that they cannot match the lines of anchored ones.
		slices.SortStableFunc(all, func(a, b *candidate) int { return cmp.Compare(a.unanchored(), b.unanchored()) })
		if len(all) == 0 {
			for _, a := range exceptions {
				v := &t.results[a.result]
				v.taken, v.why = false, "there is no expression left that it could be an exception from"
			}
			return
		}
		data := t.render(src, all)
		f, err := filter.Parse("filters.d/"+t.name+".yaml", data)
		if err == nil {
			t.data, t.filter = data, f
			break
		}
		errs := diag.Errors(err)
		hit := false
		// If an expression matches another's lines, the one with the open end must become stricter.
		for _, e := range errs {
			m := takenBy.FindStringSubmatch(e.Text)
			if m == nil || "patterns."+m[1] == e.Path {
				continue
			}
			if i := slices.IndexFunc(all, func(a *candidate) bool { return (a.at+1 < len(a.Patterns) || a.unanchored() > 0) && a.has(m[1]) }); i >= 0 {
				drop(all[i], reason(e.Text))
				hit = true
				break
			}
		}
		if hit {
			continue
		}
		for _, e := range errs {
			name, ok := strings.CutPrefix(e.Path, "patterns.")
			if !ok {
				name = t.patternOfTest(all, e)
			}
			name, _, _ = strings.Cut(name, ".")
			for _, a := range slices.Clone(all) {
				if a.has(name) {
					drop(a, reason(e.Text))
					hit = true
					break
				}
			}
		}
		if !hit { // an error that belongs to no expression
			for i := range t.results {
				if v := &t.results[i]; v.taken {
					v.taken, v.why = false, errs[0].Text
				}
			}
			return
		}
	}
	// Exceptions come before the patterns that they apply to. If a client could trigger one, an attacker could hide.
	for _, a := range slices.Backward(exceptions) {
		for t.results[a.result].taken {
			with := append([]*candidate{a}, all...)
			data := t.render(src, with)
			f, err := filter.Parse("filters.d/"+t.name+".yaml", data)
			if err == nil {
				t.data, t.filter, all = data, f, with
				break
			}
			drop(a, "an attacker could use it to hide, because it may match text that a client chooses")
		}
	}
	for _, a := range all {
		t.results[a.result].why = a.last().Changed
	}
}

// patternReference matches names of patterns in messages of the loader. Users do not know these names.
var patternReference = regexp.MustCompile(` (?:by|a line of) (?:fail|ignore)regex-[\w-]+`)

var takenBy = regexp.MustCompile(` by ([a-z0-9-]+): "`)

// reason rewrites an error of the loader's tests for the report.
func reason(reason string) string {
	if strings.Contains(reason, "on both sides of <addr>") {
		return "free text may stand on both sides of the address, so an attacker could choose which address is found"
	}
	reason = strings.TrimPrefix(reason, "in mode normal, ")
	reason = patternReference.ReplaceAllString(reason, "")
	if i := strings.Index(reason, ": \""); i > 0 && strings.Contains(reason, "client chose") {
		reason = reason[:i] + ": the line " + reason[i+2:]
	}
	return text.Clip(reason, 240)
}

// patternOfTest returns the name of the pattern whose test line an error is about.
func (t *translation) patternOfTest(all []*candidate, e *diag.Error) string {
	for _, a := range all {
		for _, p := range a.patterns() {
			for _, ts := range p.Tests {
				if strings.Contains(e.Text, strconv.Quote(ts.Line)) {
					return p.Name
				}
			}
		}
	}
	return ""
}

// render formats the filter file.
func (t *translation) render(src *source, all []*candidate) []byte {
	d := &document{}
	d.line("# Written by bailiff import. You may edit this file: only import --force overwrites it.")
	d.line("name: %s", t.name)
	d.line("description: %s", quote("translated from "+src.origin))
	d.line("trust:")
	d.list("  units", src.trust.units)
	d.list("  slices", src.trust.slices)
	d.list("  containers", src.trust.containers)
	d.list("  user_units", src.trust.userUnits)
	if len(src.trust.units)+len(src.trust.slices) > 0 {
		d.list("  exe", src.trust.exe)
		d.list("  identifiers", src.trust.identifiers)
		d.line("  uid: %s", src.trust.uid)
	}
	if src.trust.requireMessage {
		d.line("  require: message")
	}
	d.line("patterns:")
	for _, a := range all {
		v := &t.results[a.result]
		d.line("  # %s: %s", v.at(), printable(v.text))
		for _, p := range a.patterns() {
			d.line("  - name: %s", p.Name)
			if p.Kind != "failure" {
				d.line("    kind: %s", p.Kind)
			}
			if p.Text != "" {
				d.set("    text", quote(p.Text))
			} else {
				d.set("    regexp", quote(p.Regexp))
			}
		}
	}
	d.line("tests:")
	seen := make(map[string]bool)
	for _, a := range all {
		for _, p := range a.patterns() {
			for _, ts := range p.Tests {
				switch {
				case seen[ts.Line]:
				case ts.Address == "":
					d.line("  - {line: %s}", quote(ts.Line))
				default:
					d.line("  - {line: %s, address: %s}", quote(ts.Line), quote(ts.Address))
				}
				seen[ts.Line] = true
			}
		}
	}
	return []byte(d.String())
}

// clip shortens a value of fail2ban's for a message.
func clip(s string) string { return text.Clip(strings.ReplaceAll(s, "\n", " "), 100) }
