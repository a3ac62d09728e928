package filter

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"bailiff/policy/diag"
)

// The forgery test. Clients choose user names, mail addresses and other text, and an attacker would like to choose the banned address too.
// So for every pattern, in every mode, for every way through its alternatives and both address families, a line is built as the daemon
// would write it. Then every field that a client can choose is filled with forgeries: the rest of the line with another address, the whole
// line, lines of other patterns, with blanks, control characters and brackets around them. The address found must stay the same: the
// daemon's, or none if it wrote none, but never the forged one. A failure must stay a failure, nothing may become a success (which would
// clear the attacker's record), and free text must not hide the line.
//
// Regular expressions are tested with the test lines of the file: forgeries replace every repetition that can hold an
// address, so each expression needs a test line.
//
// It is a test: it tries only forgeries made from the filter's own text. A pattern that passes may still be misled by others.

var (
	realAddrs = [2]string{"192.0.2.55", "2001:db8:5::55"}
	fakeAddrs = [2]string{"203.0.113.99", "2001:db8:bad::99"}
)

// sample is a line that a pattern should match, with the holes: the places that a client can fill.
type sample struct {
	line   []byte
	family int
	holes  []hole
}

type hole struct {
	from, to int
	class    class
	// any: forgeries outside of the field's class are tried, too: with them the line may fail to match, but must not mislead. A <word> has no
	// blanks, but says nothing about what a client can send.
	any bool
}

// maxSamples limits the ways through a template that are tested: all ways of most templates, and a selection with every
// alternative of the others.
const maxSamples = 128

// ForgeryTest tries to mislead the filter's patterns. Each error is a *diag.Error at the pattern's line.
func (f *Filter) ForgeryTest() (errs []error) {
	samples := make(map[*Pattern][]sample)
	var decoys [2][]string // whole lines with the forged address
	for _, p := range f.rules().patterns {
		if p.re != nil {
			samples[p] = f.exprSamples(p)
		} else {
			samples[p] = templateSamples(p)
		}
		for _, s := range samples[p] {
			if d := s.forged(s.line); len(decoys[s.family]) == 0 || decoys[s.family][len(decoys[s.family])-1] != d {
				decoys[s.family] = append(decoys[s.family], d)
			}
			if p.re == nil && s.family == 1 {
				break
			}
		}
	}
	for _, p := range f.rules().patterns {
		if err := f.forge(p, samples[p], &decoys); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func (f *Filter) forge(p *Pattern, samples []sample, decoys *[2][]string) error {
	place := func(format string, args ...any) *diag.Error {
		return &diag.Error{File: p.File, Line: p.Line, Col: p.Col, Path: "patterns." + p.Name, Text: fmt.Sprintf(format, args...)}
	}
	if len(samples) == 0 {
		if p.re != nil {
			return place("has no test line; the forgery test needs one for each regular expression").WithHint("write tests: [{line: …, address: …}] with a line that it takes")
		}
		return place("no line can be made from it")
	}
	reached := false
	for _, mode := range f.Modes {
		m := f.matchers[mode]
		if !slices.Contains(m.plan().patterns, p) {
			continue
		}
		for i := range samples {
			s := &samples[i]
			var own Hit
			if !m.MatchMessage(s.line, &own) {
				return place("does not match a line made from it: %q", s.line)
			}
			reached = reached || own.Pattern == p
			if own.Pattern != p && own.Addr.IsValid() && len(s.addr()) > 0 && own.Addr.String() != s.addr() {
				return place("in mode %s, %s takes %q before it, with another address (%v)", mode, own.Pattern.Name, s.line, own.Addr)
			}
			for _, h := range s.holes {
				for _, forged := range s.forgeries(h, decoys) {
					if bad := m.tricked(s, h, forged, &own); bad != "" {
						return place("in mode %s, %s", mode, bad)
					}
				}
			}
		}
	}
	if !reached {
		return place("is never reached: earlier patterns match all of its lines")
	}
	return nil
}

// tricked fills a hole with a forgery and returns what is wrong with the result; "" if nothing is.
func (m *Matcher) tricked(s *sample, h hole, forged string, own *Hit) string {
	if h.class == classString {
		forged = quote(forged)
	}
	if !h.any && !h.class.in(forged) {
		return ""
	}
	line := slices.Concat(s.line[:h.from], []byte(forged), s.line[h.to:])
	if len(line) > MaxMessage {
		return ""
	}
	var got Hit
	if !m.MatchMessage(line, &got) {
		if (h.class.client() || h.class == classString) && !h.any && len(line) < m.Filter.maxLine { // truncated lines are no evidence
			return fmt.Sprintf("text that a client chose hides the line: %q", line)
		}
		return ""
	}
	switch {
	case got.Addr.IsValid() && got.Addr != own.Addr:
		return fmt.Sprintf("text that a client chose is taken for the address %v by %s: %q", got.Addr, got.Pattern.Name, line)
	case got.Addr != own.Addr:
		return fmt.Sprintf("text that a client chose hides the address: %q", line)
	case got.Kind != own.Kind && (own.Kind == Failure || got.Kind == Success):
		return fmt.Sprintf("text that a client chose makes it a line of %s: %q", got.Pattern.Name, line)
	}
	return ""
}

// quote escapes a text as daemons do between double quotes (JSON, logfmt, Go's %q).
func quote(s string) string {
	q, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can always be written
	}
	return string(q[1 : len(q)-1])
}

// addr returns the address in the sample, "" if it has none.
func (s *sample) addr() string {
	if bytes.Contains(s.line, []byte(realAddrs[s.family])) {
		return realAddrs[s.family]
	}
	return ""
}

// forged returns a part of the sample's line with the forged address.
func (s *sample) forged(part []byte) string {
	return strings.ReplaceAll(string(part), realAddrs[s.family], fakeAddrs[s.family])
}

// forgeries returns the texts to put into a hole.
func (s *sample) forgeries(h hole, decoys *[2][]string) []string {
	tail, head := s.forged(s.line[h.to:]), s.forged(s.line[:h.from])
	whole := s.forged(s.line)
	fake := fakeAddrs[s.family]
	l := []string{
		"", "x", " ", fake, "[" + fake + "]", " from " + fake, " from " + fake + " port 22", " from " + fake + " port 22 ssh2",
		" rhost=" + fake, ", rip=" + fake, "[" + fake + "]: ", " (" + fake + ")", "]: x[" + fake + "]",
		tail, "x" + tail, "x" + tail + " ", "x" + tail + tail, "x" + tail + "\n", "x\n" + whole, "x\x00" + tail, "\x1b[1m" + tail,
		"\t" + tail + "\t", head, whole, " " + whole, whole + "\n", "x" + tail + " x", strings.ReplaceAll("x"+tail, " ", "\t"),
		strings.Repeat("x"+tail, 12), strings.Repeat("a", 600),
	}
	// The text directly around the address: the least that could mislead a template.
	if at := bytes.Index(s.line, []byte(realAddrs[s.family])); at >= h.to {
		end := at + len(realAddrs[s.family])
		l = append(l, "x"+s.forged(s.line[h.to:end]), "x"+s.forged(s.line[h.to:min(end+1, len(s.line))]), s.forged(s.line[max(h.to, at-1):min(end+1, len(s.line))]))
	}
	// Another pattern's line, and the part of that line which is not already before or after the hole.
	before, after := string(s.line[:h.from]), string(s.line[h.to:])
	for _, d := range decoys[s.family] {
		l = append(l, d)
		for _, d := range [2]string{d, strings.ReplaceAll(d, fake, realAddrs[s.family])} {
			p, q := commonPrefix(d, before), 0
			for q < len(after) && q < len(d)-p && d[len(d)-1-q] == after[len(after)-1-q] {
				q++
			}
			if p > 0 && q > 0 {
				l = append(l, d[p:len(d)-q])
			}
			if p > 0 {
				l = append(l, d[p:])
			}
			if q > 0 {
				l = append(l, d[:len(d)-q])
			}
		}
	}
	return l
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

var sampleText = map[class]string{
	classText: "alice", classTrusted: "some text", classWord: "word", classHost: "mail.example.org", classAccount: "alice@example.org", classLogin: "al ice", classMailbox: "<alice@example.org>", classToken: "4Zq1x2",
	classNum: "7", classPort: "40022", classIP: "198.51.100.200", classQuoted: "some words", classString: `some \"words\"`, classJSON: `"agent":"`, classLogfmt: ` agent="`,
}

// templateSamples builds lines from a template, for its ways through the alternatives and each address family.
func templateSamples(p *Pattern) (l []sample) {
	var ways [][]*node
	paths(p.node, maxPaths, func(w []*node) { ways = append(ways, slices.Clone(w)) })
	seen, shapes, words := make(map[*node]bool), make(map[string]bool), wordLists(p.node)
	for i, way := range ways {
		shape := ""
		for _, n := range way {
			shape += fmt.Sprintf("%p ", cmp.Or(words[n], n))
		}
		known := shapes[shape]
		fresh := !known && (len(ways) <= maxSamples || i%(len(ways)/maxSamples*2+1) == 0) // an odd step, so that no alternative is skipped
		shapes[shape] = true
		for _, n := range way {
			fresh = fresh || !seen[n]
		}
		if !fresh {
			continue
		}
		for _, n := range way {
			seen[n] = true
		}
		for family := range realAddrs {
			s := sample{family: family}
			hasAddr := false
			once := slices.ContainsFunc(way, func(n *node) bool { return n.once })
			for _, n := range way {
				if n.kind == nodeLit {
					s.line = append(s.line, n.lit...)
					continue
				}
				text := sampleText[n.class]
				if n.cap == capAddr {
					text, hasAddr = realAddrs[family], true
				} else if n.cap == capCount {
					text = "3"
				}
				switch n.class {
				case classPeer:
					text += ":40022"
				case classJSON, classLogfmt: // a member whose value a client chose
					s.line = append(s.line, text...)
					s.holes = append(s.holes, hole{len(s.line), len(s.line) + len("alice"), classString, once})
					s.line = append(s.line, `alice"`...)
					if n.class == classJSON {
						s.line = append(s.line, ',')
					}
					continue
				}
				if n.class.client() || n.class.narrow() && !n.trusted {
					s.holes = append(s.holes, hole{len(s.line), len(s.line) + len(text), n.class, once || n.class == classQuoted || n.class == classWord})
				}
				s.line = append(s.line, text...)
			}
			if known { // another word in the same place
				s.holes = nil
			}
			v4 := slices.ContainsFunc(way, func(n *node) bool { return n.class == classAddr4 && n.kind == nodeField })
			if family == 0 || hasAddr && !v4 {
				l = append(l, s)
			}
		}
	}
	return l
}

// manyWords is how many alternatives without fields make a list of words: names of files or programs.
const manyWords = 4

// wordLists returns, for each word of a list, the list's node. Ways that differ only in words have the same shape. One way of each shape is
// filled with forgeries; of the others, only enough are matched to cover every word.
func wordLists(n *node) map[*node]*node {
	all := make(map[*node]*node)
	var walk func(n *node)
	walk = func(n *node) {
		var words []*node
		for _, s := range n.subs {
			walk(s)
			if n.kind == nodeAlt && len(s.subs) == 1 && s.subs[0].kind == nodeLit {
				words = append(words, s.subs[0])
			}
		}
		if len(words) < len(n.subs) || len(words) < manyWords {
			return
		}
		for _, w := range words {
			all[w] = n
		}
	}
	walk(n)
	return all
}

// exprSamples returns the test lines that a regular expression matches, with their addresses replaced by the known ones.
func (f *Filter) exprSamples(p *Pattern) (l []sample) {
	holes, err := p.re.clientText()
	if err != nil {
		panic(err) // groups cannot make an expression wrong
	}
	for _, t := range f.rules().tests {
		if t.miss {
			continue
		}
		line := t.line
		family := 0
		if loc := p.re.re.FindSubmatchIndex(line); loc != nil {
			if g := p.re.group[capAddr]; g >= 0 && loc[2*g] >= 0 {
				if a, n := scanAddr(line[loc[2*g]:loc[2*g+1]], 0); n > 0 && !a.Is4() {
					family = 1
				}
				line = slices.Concat(line[:loc[2*g]], []byte(realAddrs[family]), line[loc[2*g+1]:])
			}
		}
		if p.re.re.Match(line) {
			l = append(l, sample{line: line, family: family, holes: holes(line)})
		}
	}
	return l
}
