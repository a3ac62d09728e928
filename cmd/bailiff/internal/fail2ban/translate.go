package fail2ban

import (
	"bailiff/cmd/bailiff/internal/text"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"bailiff/policy/diag"
	"bailiff/policy/filter"
)

// expression is one line of a failregex or ignoreregex, and where its option stands.
type expression struct {
	text string
	from *option
	line int // not 0: its own
}

// at is where it stands.
func (e *expression) at() string {
	if e.line > 0 {
		return fmt.Sprintf("%s:%d", e.from.file, e.line)
	}
	return e.from.at()
}

// source is a filter of fail2ban's with everything put in.
type source struct {
	name      string // ours: of the file that is written
	origin    string // for people: the file
	prefregex string
	fail      []expression
	ignore    []expression
	trust     trust
	assumed   string // what had to be guessed
}

// verdict is what became of one expression.
type verdict struct {
	expression
	kind  string // failregex or ignoreregex
	taken bool
	why   string // not taken: the reason; taken, but not as it was: what was changed
	hint  string
}

// pattern is a candidate for one pattern of the filter that is written.
type pattern struct {
	name    string
	kind    string // failure, context or success
	text    string // a template
	re      string // or a regular expression
	tests   []test
	changed string // what differs from the expression
	once    string // the text that must stand only once in the line
}

type test struct{ line, address string }

// translation is a filter file and what became of each expression.
type translation struct {
	name     string
	data     []byte // nil: nothing could be translated
	filter   *filter.Filter
	verdicts []verdict
}

// exact says whether all expressions were translated and none means something else now.
func (t *translation) exact() bool {
	return t.data != nil && !slices.ContainsFunc(t.verdicts, func(v verdict) bool { return !v.taken || v.why != "" })
}

// attempt is one expression with the forms in which it may be taken, the most faithful first.
type attempt struct {
	*variants
	result int // in translation.results
	at     int // the variant being tried
}

// loose is 1 for an expression that is taken wherever in a line it stands.
func (a *attempt) loose() int {
	if form := a.forms[a.at]; form[len(form)-1].once != "" {
		return 1
	}
	return 0
}

// innerText says whether a client's text stands between the fixed texts of an expression.
func (a *attempt) innerText() bool {
	return slices.ContainsFunc(a.forms[a.at], func(p pattern) bool {
		before, after, _ := strings.Cut(strings.TrimPrefix(p.text, "<text>"), "<once:")
		return strings.Contains(before, "<text>") || strings.Contains(before, "<user>") || strings.Contains(strings.TrimRight(after, "}?"), "<text>") && !strings.HasSuffix(strings.TrimRight(after, "}?"), "<text>")
	})
}

// translate makes a filter of ours out of one of fail2ban's. Each expression becomes a template where it is simple, else
// a regular expression; the loader then proves all of it, and what it refuses is tried in a stricter form or left out.
func translate(src *source) *translation {
	t := &translation{name: src.name}
	var pre *reNode
	if src.prefregex != "" {
		var err error
		if pre, err = parseRegexp(src.prefregex); err == nil {
			if tag := unresolved.FindString(src.prefregex); tag != "" {
				err = fmt.Errorf("holds %s, which is nowhere defined", tag)
			}
		}
		if err != nil {
			for _, e := range src.fail {
				t.verdicts = append(t.verdicts, verdict{expression: e, kind: "failregex", why: "its prefregex " + err.Error(), hint: hintTemplate})
			}
			return t
		}
	}
	var all []*attempt
	add := func(e expression, kind string, pre *reNode, number int) {
		v := verdict{expression: e, kind: kind}
		n, err := parseRegexp(e.text)
		if tag := unresolved.FindString(e.text); tag != "" {
			err = fmt.Errorf("holds %s, which is nowhere defined", tag)
		}
		var f *variants
		if err == nil {
			f, err = newVariants(n, pre, fmt.Sprintf("%s-%d", kind, number))
		}
		if err != nil {
			v.why, v.hint = err.Error(), hintTemplate
		} else {
			v.taken = true
			all = append(all, &attempt{variants: f, result: len(t.verdicts)})
		}
		t.verdicts = append(t.verdicts, v)
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

// dates are what fail2ban takes out of a line before expressions see it, so that they begin with the blank behind it, or
// have [] where it stood. In the journal's message it still stands there.
var dates = func() *reNode {
	n, err := parseRegexp(`(?:\d+/\d+/\d+ \d+:\d+:\d+|\d+-\d+-\d+T\d+:\S+|\d+-\d+-\d+ \d+:\S+|\[\d+-\d+-\d+ \d+:\S+\])`)
	if err != nil {
		panic(err)
	}
	return n
}()

var datesInBrackets = func() *reNode {
	n, err := parseRegexp(`(?:\d+/\w+/\d+:\d+:\d+:\d+ [+-]\d+|\w+ \w+ \d+ \d+:\d+:\d+(?:\.\d+)? \d+|\d+-\d+-\d+[T ]\d+:\d+:\d+(?:[.,]\d+)?Z?)`)
	if err != nil {
		panic(err)
	}
	return n
}()

// undate lets an expression be taken with the date in its place, too.
func undate(n *reNode) *reNode {
	if len(n.subs) == 0 {
		return n
	}
	c := *n
	c.subs = nil
	maybe := func(subs ...*reNode) *reNode {
		return &reNode{kind: reRep, min: 0, max: 1, subs: []*reNode{{kind: reGroup, subs: []*reNode{{kind: reSeq, subs: subs}}}}}
	}
	for i := 0; i < len(n.subs); i++ {
		s := n.subs[i]
		c.subs = append(c.subs, undate(s))
		if n.kind != reSeq || i+1 == len(n.subs) {
			continue
		}
		next := n.subs[i+1]
		switch {
		case s.kind == reBegin && (blank(next) || next.kind == reLit && next.r == ' ' || next.kind == reClass && next.text == `\s`):
			c.subs = append(c.subs, maybe(dates, &reNode{kind: reLit, r: ' '}))
			i++
		case s.kind == reLit && s.r == '[' && next.kind == reLit && next.r == ']':
			c.subs = append(c.subs, maybe(datesInBrackets))
		}
	}
	return &c
}

// spansLines says whether an expression takes nothing without a newline in it.
func spansLines(n *reNode) bool {
	switch n.kind {
	case reLit:
		return n.r == '\n'
	case reClass:
		return n.text == `\n`
	case reRep:
		return n.min > 0 && spansLines(n.subs[0])
	case reAlt:
		return len(n.subs) > 0 && !slices.ContainsFunc(n.subs, func(s *reNode) bool { return !spansLines(s) })
	case reSeq, reGroup, reFlags:
		return slices.ContainsFunc(n.subs, spansLines)
	}
	return false
}

// unresolved are names of fail2ban's own options that its files would have put something in for. Other texts in <> stand
// for themselves, as they do for fail2ban.
var unresolved = regexp.MustCompile(`<(?:__[\w-]+|md(?:re|pr)-[\w-]+|known/[^<> ]+|lt_\w+)>`)

const (
	hintTemplate = "write it as a template in a filter of your own: bailiff.yaml(5), FILTERS"
	hintAnchor   = "say where the line begins and ends: ^ before the expression or $ behind it, with no free text (.*) between that end and the address"
)

// prove asks the loader for its opinion until it has none against the filter, going on to stricter forms or leaving
// expressions out.
func (t *translation) prove(src *source, all []*attempt) {
	drop := func(a *attempt, why string) {
		v := &t.verdicts[a.result]
		if v.why == "" || a.loose() > 0 {
			v.why = why
		}
		if a.at++; a.at < len(a.forms) {
			return
		}
		v.taken, v.hint = false, hintTemplate
		if a.open {
			v.hint = hintAnchor
		}
		if a.notOnce != "" && v.kind == "failregex" {
			v.why += "; " + a.notOnce
		}
		all = slices.DeleteFunc(all, func(b *attempt) bool { return a == b })
	}
	// Each by itself first, which is quick; then all together, since one may take another's lines.
	for _, a := range slices.Clone(all) {
		if !slices.ContainsFunc(a.forms[0], func(p pattern) bool {
			return strings.Contains(p.text, "<addr>") || strings.Contains(p.re, "(?P<addr>")
		}) {
			continue // without an address it is nothing by itself
		}
		for t.verdicts[a.result].taken {
			_, err := filter.Parse("filters.d/"+t.name+".yaml", t.render(src, []*attempt{a}))
			if err == nil {
				break
			}
			drop(a, reason(diag.Errors(err)[0].Text))
		}
	}
	var exceptions []*attempt
	all = slices.DeleteFunc(all, func(a *attempt) bool {
		ignore := t.verdicts[a.result].kind == "ignoreregex"
		if ignore {
			exceptions = append(exceptions, a)
		}
		return ignore
	})
	// A user name that spoils the line of one such expression could hold all of another.
	for _, a := range slices.Backward(slices.Clone(all)) {
		if a.loose() > 0 && slices.ContainsFunc(all, func(b *attempt) bool { return a != b && b.loose() > 0 && b.innerText() }) {
			drop(a, "is open at both ends, and a client could write all of it into the text that another expression leaves to them")
		}
	}
	for {
		// What begins anywhere comes last: the lines of those that know their beginning are not for it.
		slices.SortStableFunc(all, func(a, b *attempt) int { return cmp.Compare(a.loose(), b.loose()) })
		if len(all) == 0 {
			for _, a := range exceptions {
				v := &t.verdicts[a.result]
				v.taken, v.why = false, "there is nothing left that it could take an exception from"
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
		// One whose end is open takes others' lines for its own: it is the one to be stricter about.
		for _, e := range errs {
			m := takenBy.FindStringSubmatch(e.Text)
			if m == nil || "patterns."+m[1] == e.Path {
				continue
			}
			if i := slices.IndexFunc(all, func(a *attempt) bool {
				return (a.at+1 < len(a.forms) || a.loose() > 0) && slices.ContainsFunc(a.forms[a.at], func(p pattern) bool { return p.name == m[1] })
			}); i >= 0 {
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
				name = t.testOf(all, e)
			}
			name, _, _ = strings.Cut(name, ".")
			for _, a := range slices.Clone(all) {
				if slices.ContainsFunc(a.forms[a.at], func(p pattern) bool { return p.name == name }) {
					drop(a, reason(e.Text))
					hit = true
					break
				}
			}
		}
		if !hit { // an error of the file as a whole, which belongs to no expression
			for i := range t.verdicts {
				if v := &t.verdicts[i]; v.taken {
					v.taken, v.why = false, errs[0].Text
				}
			}
			return
		}
	}
	// Exceptions stand before what they are taken from. One that a client's text can reach would be a way to hide.
	for i := len(exceptions) - 1; i >= 0; i-- {
		a := exceptions[i]
		for t.verdicts[a.result].taken {
			with := append([]*attempt{a}, all...)
			data := t.render(src, with)
			f, err := filter.Parse("filters.d/"+t.name+".yaml", data)
			if err == nil {
				t.data, t.filter, all = data, f, with
				break
			}
			drop(a, "an attacker could hide by it: what it asks for may stand in text that a client chooses")
		}
	}
	for _, a := range all {
		v := &t.verdicts[a.result]
		if form := a.forms[a.at]; form[len(form)-1].changed != "" {
			v.why = form[len(form)-1].changed
		} else {
			v.why = ""
		}
	}
}

// byPattern are the names that patterns have in the file that was tried, which nobody knows.
var byPattern = regexp.MustCompile(` (?:by|a line of) (?:fail|ignore)regex-[\w-]+`)

var takenBy = regexp.MustCompile(` by ([a-z0-9-]+): "`)

// reason writes an error of the loader's test for the report.
func reason(reason string) string {
	if strings.Contains(reason, "on both sides of <addr>") {
		return "free text may stand on both sides of the address, so that it cannot be told which one is the daemon's"
	}
	reason = strings.TrimPrefix(reason, "in mode normal, ")
	reason = byPattern.ReplaceAllString(reason, "")
	if i := strings.Index(reason, ": \""); i > 0 && strings.Contains(reason, "client chose") {
		reason = reason[:i] + ": the line " + reason[i+2:]
	}
	return text.Clip(reason, 240)
}

// testOf finds the pattern whose test line an error is about.
func (t *translation) testOf(all []*attempt, e *diag.Error) string {
	for _, a := range all {
		for _, p := range a.forms[a.at] {
			for _, ts := range p.tests {
				if strings.Contains(e.Text, strconv.Quote(ts.line)) {
					return p.name
				}
			}
		}
	}
	return ""
}

// render writes the filter file.
func (t *translation) render(src *source, all []*attempt) []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by bailiff import. Yours to edit: what is changed here is not undone unless you import again with --force.")
	line("name: %s", t.name)
	line("description: %s", quote("translated from "+src.origin))
	line("trust:")
	list := func(key string, l []string) {
		if len(l) > 0 {
			line("  %s: [%s]", key, quoted(l))
		}
	}
	list("units", src.trust.units)
	list("slices", src.trust.slices)
	list("containers", src.trust.containers)
	list("user_units", src.trust.userUnits)
	if len(src.trust.units)+len(src.trust.slices) > 0 {
		list("exe", src.trust.exe)
		list("identifiers", src.trust.identifiers)
		line("  uid: %s", src.trust.uid)
	}
	if src.trust.whole {
		line("  require: message")
	}
	line("patterns:")
	for _, a := range all {
		v := &t.verdicts[a.result]
		line("  # %s: %s", v.at(), printable(v.text))
		for _, p := range a.forms[a.at] {
			line("  - name: %s", p.name)
			if p.kind != "failure" {
				line("    kind: %s", p.kind)
			}
			if p.text != "" {
				line("    text: %s", quote(p.text))
			} else {
				line("    regexp: %s", quote(p.re))
			}
		}
	}
	line("tests:")
	seen := make(map[string]bool)
	for _, a := range all {
		for _, p := range a.forms[a.at] {
			for _, ts := range p.tests {
				if seen[ts.line] {
					continue
				}
				seen[ts.line] = true
				if ts.address == "" {
					line("  - {line: %s}", quote(ts.line))
				} else {
					line("  - {line: %s, address: %s}", quote(ts.line), quote(ts.address))
				}
			}
		}
	}
	return []byte(b.String())
}

// quoted writes the items of a list.
func quoted(l []string) string {
	q := make([]string, len(l))
	for i, s := range l {
		q[i] = quote(s)
	}
	return strings.Join(q, ", ")
}

// quote writes a text so that YAML reads the same: Go's escapes are among YAML's.
func quote(s string) string { return strconv.QuoteToASCII(s) }

// printable keeps a comment in its line.
func printable(s string) string {
	s = strings.ReplaceAll(s, string(prefixMark), "%(__prefix_line)s")
	q := strconv.Quote(s)
	q = q[1 : len(q)-1]
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(q)
}

// clip shortens a value of fail2ban's for a message.
func clip(s string) string { return text.Clip(strings.ReplaceAll(s, "\n", " "), 100) }

// form is one way to write an expression. All of them take what the expression takes where it says all there is to know;
// none guesses that a line begins or ends where the expression leaves that open.
type form struct {
	own   bool // what follows the address is the daemon's own text: see way.ownTail
	plain bool // no template, although one would do
	only4 bool // an address is an IPv4 one
	once  bool // the text before the address must stand only once in the line
	port  bool // with once: a port may follow the address
	peer  bool // with once: a port follows the address
}

// variants are the ways to write one expression, the most faithful first. Each consists of the patterns that a filter needs for it, in
// order.
type variants struct {
	forms   [][]pattern
	open    bool   // the expression does not say where a line begins or ends
	notOnce string // why no variant relies on the text before the address being unique in the line
}

// newVariants writes an expression for a filter. prefix is the filter's prefregex or nil; name is the first pattern's name, and the
// beginning of the others'.
//
// If free text may stand on both sides of the address, an attacker could place an address of their choice. Such a line
// counts only if there is no doubt which address the daemon wrote.
func newVariants(n, pre *reNode, name string) (*variants, error) {
	n = undate(n)
	if spansLines(n) {
		return nil, fmt.Errorf("spans several lines (\\n): a line is judged by itself, and lines of one connection are joined by its process or id")
	}
	var ways []way
	single, err := splitHosts(alternatives(n))
	if err != nil {
		return nil, err
	}
	for _, alt := range single {
		w := stripEnds(alt)
		if pre != nil {
			whole, err := combine(pre, w)
			if err != nil {
				return nil, err
			}
			w = stripEnds(whole)
		}
		if cut, ok := cutHead(w.node); ok && !has(alt, rePrefix) {
			w.node, w.begins = cut, true
		}
		ways = append(ways, w)
	}
	a := &variants{open: slices.ContainsFunc(ways, func(w way) bool { return !w.begins || !w.ends })}
	tried := make(map[string]bool)
	var last error
	for _, f := range []form{{}, {own: true}, {plain: true}, {plain: true, only4: true}, {once: true}} {
		var ps []pattern
		var key strings.Builder
		var changes []string
		if f.only4 {
			changes = append(changes, "it is taken with IPv4 addresses alone, since an IPv6 one could not be told from what follows it")
		}
		for i, w := range ways {
			id := name
			if len(ways) > 1 {
				id = fmt.Sprintf("%s-%d", name, i+1)
			}
			more, err := w.patterns(id, f)
			if err != nil {
				if f.once {
					a.notOnce = err.Error()
				} else if last == nil { // of the most faithful form
					last = err
				}
				ps = nil
				break
			}
			for _, p := range more {
				key.WriteString(p.kind + "\x00" + p.text + "\x00" + p.re + "\x00")
				if why := fmt.Sprintf("a line in which %q stands more than once is not taken: which of the addresses is the daemon's could not be told", p.once); p.once != "" && !slices.Contains(changes, why) {
					changes = append(changes, why)
				}
			}
			open := "since it has no ^"
			if w.begins {
				open = "since free text (.*) stands behind its ^"
			}
			if why := open + ", whoever gets all of its text into some other message of this unit chooses an address: anchor it if you can"; f.once && strings.HasPrefix(more[0].text, "<text>") && !slices.Contains(changes, why) {
				changes = append(changes, why)
			}
			ps = append(ps, more...)
		}
		if ps == nil || tried[key.String()] {
			continue
		}
		tried[key.String()] = true
		ps[len(ps)-1].changed = strings.Join(changes, "; ")
		if strings.HasPrefix(name, "ignoreregex") {
			for i := range ps {
				ps[i].kind = "context"
			}
		}
		a.forms = append(a.forms, ps)
	}
	if len(a.forms) == 0 {
		return nil, last
	}
	return a, nil
}

// way is one alternative of an expression, without what ties its ends to the line's.
type way struct {
	node         *reNode
	begins, ends bool
}

// alternatives takes an expression apart that is nothing but alternatives.
func alternatives(n *reNode) []*reNode {
	switch {
	case n.kind == reAlt:
		var l []*reNode
		for _, s := range n.subs {
			l = append(l, alternatives(s)...)
		}
		return l
	case n.kind == reSeq && len(n.subs) == 1 && n.subs[0].kind == reAlt:
		return alternatives(n.subs[0])
	}
	return []*reNode{n}
}

// stripEnds takes ^, the prefix and $ off.
func stripEnds(n *reNode) way {
	w := way{}
	subs := flatten(n)
	for len(subs) > 0 {
		if s := subs[0]; s.kind == reBegin || onlyPrefix(s) {
			w.begins = true
		} else if w.begins && blank(s) && s.min == 0 {
			// white space before the message: the journal's have none
		} else {
			break
		}
		subs = subs[1:]
	}
	for len(subs) > 0 && subs[len(subs)-1].kind == reEnd {
		w.ends, subs = true, subs[:len(subs)-1]
	}
	// (?i) at the beginning holds for all that follows, the line's ends among it.
	if len(subs) == 1 && subs[0].kind == reFlags && !w.ends && len(subs[0].subs) == 1 {
		inner := stripEnds(subs[0].subs[0])
		flags := *subs[0]
		flags.subs = []*reNode{inner.node}
		return way{&reNode{kind: reSeq, subs: []*reNode{&flags}}, w.begins || inner.begins, inner.ends}
	}
	// <HOST>(?:\s|$) says no more than that the address has ended.
	if last := len(subs) - 1; last > 0 && !w.ends && subs[last-1].kind == reHost && orEnd(subs[last]) {
		subs = subs[:last]
	}
	if w.ends && len(subs) > 0 {
		if s := subs[len(subs)-1]; blank(s) && s.min == 0 {
			subs = subs[:len(subs)-1] // it may follow anyway
		}
	}
	w.node = &reNode{kind: reSeq, subs: subs}
	return w
}

// orEnd says whether n is the line's end or a single character.
func orEnd(n *reNode) bool {
	for (n.kind == reGroup && n.name == "" || n.kind == reSeq) && len(n.subs) == 1 {
		n = n.subs[0]
	}
	if n.kind != reAlt {
		return false
	}
	ends := false
	for _, s := range n.subs {
		for (s.kind == reGroup || s.kind == reSeq) && len(s.subs) == 1 {
			s = s.subs[0]
		}
		if ends = ends || s.kind == reEnd; s.kind != reEnd && s.kind != reLit && s.kind != reClass && s.kind != reEdge {
			return false
		}
	}
	return ends
}

// blank says whether n is a repetition of white space.
func blank(n *reNode) bool {
	return n.kind == reRep && n.subs[0].kind == reClass && n.subs[0].text == `\s`
}

// flatten returns the parts of a sequence, with sequences in it and groups that only hold it together dissolved.
func flatten(n *reNode) []*reNode {
	switch {
	case n.kind == reSeq:
		var l []*reNode
		for _, s := range n.subs {
			l = append(l, flatten(s)...)
		}
		return l
	case n.kind == reGroup && n.name == "":
		if inner := flatten(n.subs[0]); len(inner) != 1 || inner[0].kind != reAlt {
			return inner
		}
	}
	return []*reNode{n}
}

// onlyPrefix says whether n is the prefix and nothing else, as in <F-MLFID>%(__prefix_line)s</F-MLFID>.
func onlyPrefix(n *reNode) bool {
	switch n.kind {
	case rePrefix:
		return true
	case reGroup, reSeq, reRep:
		return len(n.subs) == 1 && onlyPrefix(n.subs[0])
	}
	return false
}

// splitHosts takes alternatives apart in which addresses stand in different places, IPv6:<IP6>|<IP4>: a pattern has one.
func splitHosts(list []*reNode) ([]*reNode, error) {
	var out []*reNode
	for len(list) > 0 {
		if len(out)+len(list) > 16 {
			return nil, fmt.Errorf("has its addresses in too many alternatives")
		}
		n := list[0]
		list = list[1:]
		if ways := splitHost(n); ways != nil {
			list = append(ways, list...)
			continue
		}
		out = append(out, n)
	}
	return out, nil
}

// splitHost splits the first alternatives of which several hold an address; nil if there are none.
func splitHost(n *reNode) []*reNode {
	if n.kind == reAlt {
		hosts := 0
		for _, s := range n.subs {
			if has(s, reHost) {
				hosts++
			}
		}
		if hosts > 1 {
			return n.subs
		}
	}
	for i, s := range n.subs {
		ways := splitHost(s)
		if ways == nil {
			continue
		}
		var out []*reNode
		for _, w := range ways {
			c := *n
			c.subs = slices.Clone(n.subs)
			c.subs[i] = w
			out = append(out, &c)
		}
		return out
	}
	return nil
}

// cutHead takes off what stands for host and identifier[pid] where an expression spells it out instead of using
// __prefix_line: everything up to "[digits]: ", also if it is the beginning of a group that may be missing in a file.
func cutHead(n *reNode) (*reNode, bool) {
	subs := flatten(n)
	if len(subs) > 0 && (subs[0].kind == reGroup || subs[0].kind == reRep && subs[0].min == 0 && subs[0].max == 1) && !has(subs[0], reHost) {
		if inner, ok := cutHead(subs[0].subs[0]); ok {
			return loosen(&reNode{kind: reSeq, subs: append([]*reNode{inner}, subs[1:]...)}), true
		}
	}
	lit := func(i int, r rune) bool { return i < len(subs) && subs[i].kind == reLit && subs[i].r == r }
	for i := range min(len(subs), 40) {
		if !lit(i, '[') || i+1 >= len(subs) || subs[i+1].kind != reRep || subs[i+1].subs[0].text != `\d` && subs[i+1].subs[0].text != "[0-9]" || !lit(i+2, ']') || !lit(i+3, ':') {
			continue
		}
		i += 4
		if lit(i, ' ') || i < len(subs) && (blank(subs[i]) || subs[i].text == `\s`) {
			i++
		}
		if slices.ContainsFunc(subs[:i], func(s *reNode) bool { return has(s, reHost) }) {
			return nil, false
		}
		return loosen(&reNode{kind: reSeq, subs: subs[i:]}), true
	}
	return nil, false
}

// loosen lets an expression begin without the white space that stood between the head and the message.
func loosen(n *reNode) *reNode {
	switch {
	case blank(n):
		c := *n
		c.min = 0
		return &c
	case n.kind == reSeq:
		c := *n
		c.subs = slices.Clone(n.subs)
		for i, s := range c.subs {
			c.subs[i] = loosen(s)
			if s.kind != reRep || s.min > 0 && !blank(s) {
				break
			}
		}
		return &c
	case n.kind == reGroup || n.kind == reRep:
		c := *n
		c.subs = []*reNode{loosen(n.subs[0])}
		return &c
	}
	return n
}

func has(n *reNode, kind reKind) bool {
	return n.kind == kind || slices.ContainsFunc(n.subs, func(s *reNode) bool { return has(s, kind) })
}

func hasGroup(n *reNode, name string) bool {
	return n.kind == reGroup && n.name == name || slices.ContainsFunc(n.subs, func(s *reNode) bool { return hasGroup(s, name) })
}

func anything(min int) *reNode {
	return &reNode{kind: reRep, min: min, max: -1, subs: []*reNode{{kind: reAny}}}
}

// combine puts a failregex in the place of the prefregex's <F-CONTENT>.
func combine(pre *reNode, w way) (*reNode, error) {
	var subs []*reNode
	if !w.begins {
		subs = append(subs, anything(0))
	}
	subs = append(subs, w.node)
	if !w.ends {
		subs = append(subs, anything(0))
	}
	content := &reNode{kind: reSeq, subs: subs}
	found := 0
	host := has(w.node, reHost)
	var replace func(n *reNode) *reNode
	replace = func(n *reNode) *reNode {
		if n.kind == reGroup && n.name == "F-CONTENT" {
			found++
			return content
		}
		c := *n
		if n.kind == reHost && host { // the failregex's own wins
			c.name = "other"
		}
		c.subs = nil
		for _, s := range n.subs {
			c.subs = append(c.subs, replace(s))
		}
		return &c
	}
	n := replace(pre)
	if found != 1 {
		return nil, fmt.Errorf("stands beside a prefregex without one <F-CONTENT>: two conditions on the same line")
	}
	return n, nil
}

// patterns writes one way through the expression, with the exceptions before it that a (?!…) makes.
func (w way) patterns(name string, f form) ([]pattern, error) {
	kind := "failure"
	switch {
	case hasGroup(w.node, "F-NOFAIL"):
		kind = "context"
		if underAlt(w.node, "F-NOFAIL", false) {
			return nil, fmt.Errorf("is a failure in some of its alternatives and none in others (<F-NOFAIL>)")
		}
	case hasGroup(w.node, "F-MLFGAINED"):
		kind = "success"
	}
	if !has(w.node, reHost) && !strings.HasPrefix(name, "ignoreregex") && kind == "failure" && !w.joined() {
		return nil, fmt.Errorf("takes no address: it has neither <HOST> nor <ADDR>")
	}
	if f.own && !has(w.node, reLook) {
		return nil, fmt.Errorf("looks nowhere ahead")
	}
	var out []pattern
	n := w.node
	for i := 1; ; i++ {
		guard, rest := cutLook(n)
		if guard == nil {
			break
		}
		if has(guard, reLook) || i > 8 {
			return nil, fmt.Errorf("looks ahead or behind ((?!…), (?=…)) in a way that RE2 cannot")
		}
		if kind == "context" || kind == "success" {
			return nil, fmt.Errorf("looks ahead ((?!…)) in a line that is no failure")
		}
		g, err := way{guard, w.begins, false}.write(fmt.Sprintf("%s-except-%d", name, i), "context", form{own: f.own, plain: f.plain, only4: f.only4})
		if err != nil {
			return nil, err
		}
		out = append(out, g)
		n = rest
	}
	if has(n, reLook) {
		return nil, fmt.Errorf("looks ahead or behind ((?!…), (?=…)) in a way that RE2 cannot")
	}
	subs := flatten(n)
	for f.once && len(subs) > 0 && subs[len(subs)-1].kind == reEdge { // an address ends there anyway
		subs = subs[:len(subs)-1]
	}
	if last := len(subs) - 1; last > 0 && isAnything(subs[last]) && subs[last-1].kind == reHost {
		subs, w.ends = subs[:last], false
	}
	if i := slices.IndexFunc(subs, func(s *reNode) bool { return s.kind == reHost }); f.once && i >= 0 && i+1 < len(subs) && optionalPort(subs[i+1]) {
		subs = slices.Delete(slices.Clone(subs), i+1, i+2) // it is taken with a port, too, by another pattern
		f.port = true
	}
	n = &reNode{kind: reSeq, subs: subs}
	p, err := way{n, w.begins, w.ends}.write(name, kind, f)
	if err != nil {
		return nil, err
	}
	out = append(out, p)
	if f.once && (f.port || !w.ends && len(subs) > 0 && subs[len(subs)-1].kind == reHost) { // 192.0.2.1:25 and [2001:db8::1]:25
		f.peer = true
		if p, err = (way{n, w.begins, w.ends}).write(name+"-port", kind, f); err == nil {
			out = append(out, p)
		}
	}
	return out, nil
}

// joined says whether an expression without an address belongs to a connection whose address other lines have.
func (w way) joined() bool { return hasGroup(w.node, "F-MLFID") || hasGroup(w.node, "F-MLFFORGET") }

func underAlt(n *reNode, name string, below bool) bool {
	if n.kind == reGroup && n.name == name {
		return below
	}
	below = below || n.kind == reAlt
	return slices.ContainsFunc(n.subs, func(s *reNode) bool { return underAlt(s, name, below) })
}

// cutLook finds the first (?!…) that stands in no repetition. guard is what the line looks like if it holds what it must
// not, rest the expression without the (?!…). Go's expressions cannot look ahead; but a pattern of kind context before the
// other takes those lines away from it.
func cutLook(n *reNode) (guard, rest *reNode) {
	switch n.kind {
	case reLook:
		if n.text == "!" {
			return n.subs[0], &reNode{kind: reSeq}
		}
	case reSeq, reAlt, reGroup, reFlags:
		for i, s := range n.subs {
			g, r := cutLook(s)
			if g == nil {
				continue
			}
			c, d := *n, *n
			d.subs = slices.Clone(n.subs)
			d.subs[i] = r
			switch n.kind {
			case reSeq:
				c.subs = append(slices.Clone(n.subs[:i]), g)
			case reAlt:
				return g, &d
			default:
				c.subs = []*reNode{g}
			}
			return &c, &d
		}
	}
	return nil, nil
}

// write makes one pattern.
func (w way) write(name, kind string, f form) (pattern, error) {
	p := pattern{name: name, kind: kind}
	subs := flatten(w.node)
	if !w.begins && !(len(subs) > 0 && isAnything(subs[0])) {
		subs = append([]*reNode{anything(0)}, subs...)
	}
	if !w.ends && !(len(subs) > 0 && isAnything(subs[len(subs)-1])) {
		rest := anything(0)
		if len(subs) > 0 && subs[len(subs)-1].kind == reHost {
			rest = edged(f)
		}
		subs = append(subs, rest)
	}
	for i := 0; i+2 < len(subs); i++ {
		if subs[i].kind == reHost && isAnything(subs[i+1]) && subs[i+1].min == 0 {
			subs = slices.Clone(subs)
			subs[i+1] = edged(f)
		}
	}
	n := &reNode{kind: reSeq, subs: subs}
	switch {
	case f.only4:
		if !has(n, reHost) {
			return p, fmt.Errorf("takes no address")
		}
		n = narrow(n)
	case f.own && !ownTail(n):
		return p, fmt.Errorf("has free text before its address")
	case f.once && !has(n, reHost):
		return p, fmt.Errorf("takes no address")
	case f.once && kind != "failure":
		return p, fmt.Errorf("is no failure")
	}
	if text, ok := template(n, f); ok && !f.plain {
		if f.once {
			if p.once = beforeAddress(text); !distinct(p.once) {
				if p.once == "" {
					return p, fmt.Errorf("no fixed text stands just before the address that could tell it from others in the line")
				}
				return p, fmt.Errorf("the text just before the address (%q) is too common to tell it from others in the line", p.once)
			}
		}
		p.text = text
		p.tests = samples(n, 1)
		return p, nil
	}
	if f.once || f.own {
		return p, fmt.Errorf("it is too intricate for a template, which could ask that the text before the address stands only once in the line")
	}
	e := &emitter{}
	re, err := e.regexp(n)
	if err != nil {
		return p, err
	}
	if len(re) > maxRegexOut {
		return p, fmt.Errorf("is longer than the %d bytes that a pattern may have", maxRegexOut)
	}
	p.re = re
	compiled, err := regexp.Compile(`(?s)\A(?:` + re + `)\s*\z`)
	if err != nil {
		return p, fmt.Errorf("is nothing that RE2 knows: %w", err)
	}
	for _, s := range samples(n, 24) {
		m := compiled.FindStringSubmatch(s.line)
		if m == nil {
			continue
		}
		if i := compiled.SubexpIndex("addr"); i >= 0 && m[i] == "" {
			continue
		}
		p.tests = append(p.tests, s)
		if len(p.tests) == 8 {
			break
		}
	}
	if len(p.tests) == 0 {
		return p, fmt.Errorf("is so made that no line for it could be made up, on which to prove it")
	}
	return p, nil
}

// edged is what may follow an address with which an expression ends: nothing, or a text that is no part of the address.
func edged(f form) *reNode {
	edge := &reNode{kind: reClass, text: "[^0-9A-Za-z]"}
	if f.once || f.own { // a template has no such class, and its proof knows ":alice" for a part of an IPv6 address
		edge = &reNode{kind: reAlt}
		for _, s := range []string{" ", ",", ": ", ";", ")", "]", "}", ">", "\"", "'", "/", "|", "&", ". "} {
			seq := &reNode{kind: reSeq}
			for _, r := range s {
				seq.subs = append(seq.subs, &reNode{kind: reLit, r: r})
			}
			edge.subs = append(edge.subs, seq)
		}
	}
	return &reNode{kind: reRep, max: 1, subs: []*reNode{{kind: reSeq, subs: []*reNode{edge, anything(0)}}}}
}

// optionalPort says whether n is (?::\d+)?.
func optionalPort(n *reNode) bool {
	if n.kind != reRep || n.min != 0 || n.max != 1 {
		return false
	}
	subs := flatten(n.subs[0])
	return len(subs) > 0 && portAt(subs) == len(subs)
}

// isAnything says whether n is .* or .+ of any length.
func isAnything(n *reNode) bool {
	return n.kind == reRep && n.max < 0 && n.min <= 1 && n.subs[0].kind == reAny
}

// ownTail says whether no free text stands before the address, so that nothing behind it can be mistaken for it.
func ownTail(n *reNode) bool {
	free, ok := false, false
	var walk func(n *reNode)
	walk = func(n *reNode) {
		switch {
		case ok:
		case n.kind == reHost && n.name != "other":
			ok = !free
			free = true
		case n.kind == reAny || n.kind == reClass && n.text == `\S`:
			free = true
		}
		for _, s := range n.subs {
			walk(s)
		}
	}
	walk(n)
	return ok
}

// beforeAddress returns the literal text that stands before <once:addr> or <once:peer> in a template.
func beforeAddress(text string) string {
	var lit strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			lit.WriteByte(text[i])
		case strings.HasPrefix(text[i:], "<once:"):
			return lit.String()
		case strings.ContainsRune("<>{}|", rune(c)) || c == '?' && text[i-1] == '}':
			lit.Reset()
			if c == '<' {
				i += strings.IndexByte(text[i:], '>')
			}
		default:
			lit.WriteByte(c)
		}
	}
	return ""
}

// distinct says whether a text can mark the place of an address: a bracket or a blank stands in a line for other reasons, too.
func distinct(s string) bool {
	n := 0
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			n++
		}
	}
	return n >= 2
}

// narrow makes all addresses of an expression IPv4 ones.
func narrow(n *reNode) *reNode {
	c := *n
	if n.kind == reHost && n.name != "other" {
		c.name = "IP4"
	}
	c.subs = nil
	for _, s := range n.subs {
		c.subs = append(c.subs, narrow(s))
	}
	return &c
}
