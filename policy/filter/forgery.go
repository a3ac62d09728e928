package filter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"bailiff/policy/diag"
)

// The forgery test. A client chooses user names, mail addresses and much else, and would like to choose the address that is
// banned, too. So for every pattern, in every mode, over every way through its alternatives and for both address families, a
// line is made as the daemon would write it; then every field that a client may fill is filled with forgeries: the line's
// own tail with another address, the whole line, the start of every other pattern's line, each with blanks, control
// characters and brackets around it. The answer must stay the same: the daemon's address or none, never the planted one; a
// failure must stay one, nothing may become a success (which would clear the attacker's record), and text that may hold
// anything must not make the line invisible.
//
// Patterns that are regular expressions are tried with the file's own test lines, planted into every repetition that could
// hold an address, so each needs a test line.
//
// It is a test and no proof: it tries the forgeries that can be made of the filter's own words. A pattern that passes may still
// be misled by others.

var (
	realAddrs = [2]string{"192.0.2.55", "2001:db8:5::55"}
	fakeAddrs = [2]string{"203.0.113.99", "2001:db8:bad::99"}
)

// sample is a line that a pattern should take, with the places that a client can fill.
type sample struct {
	line   []byte
	family int
	holes  []hole
}

type hole struct {
	from, to int
	class    class
	any      bool // a client may write what the class does not take: such a line may be missed, but not mistaken
}

// maxSamples bounds the ways through one template that are tried with forgeries: all of most templates, a choice that
// takes in every alternative of the others.
const maxSamples = 128

// ForgeryTest tries to trick the filter. Each error is a *diag.Error at the pattern's line.
func (f *Filter) ForgeryTest() (errs []error) {
	samples := make(map[*Pattern][]sample)
	var decoys [2][]string // whole lines with a planted address
	for _, p := range f.patterns {
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
	for _, p := range f.patterns {
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
			return place("has no test line: a regular expression is tried with forgeries in the file's test lines").WithHint("write tests: [{line: …, address: …}] with a line that it takes")
		}
		return place("no line can be made of it")
	}
	reached := false
	for _, mode := range f.Modes {
		m := f.matchers[mode]()
		if !slices.Contains(m.patterns, p) {
			continue
		}
		for i := range samples {
			s := &samples[i]
			var own Hit
			if !m.MatchMessage(s.line, &own) {
				return place("does not take a line made of it: %q", s.line)
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
		return place("is never reached: patterns before it take all of its lines")
	}
	return nil
}

// tricked fills a hole with a forgery and says what is wrong with the answer, if anything.
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
		if (h.class.client() || h.class == classString) && !h.any && len(line) < m.Filter.maxLine { // what the daemon cuts is no evidence
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

// quote writes a text as daemons do between double quotes (JSON, logfmt, Go's %q).
func quote(s string) string {
	q, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can always be written
	}
	return string(q[1 : len(q)-1])
}

// addr is the address that stands in the sample.
func (s *sample) addr() string {
	if bytes.Contains(s.line, []byte(realAddrs[s.family])) {
		return realAddrs[s.family]
	}
	return ""
}

// forged is a part of the sample's line with the planted address.
func (s *sample) forged(part []byte) string {
	return strings.ReplaceAll(string(part), realAddrs[s.family], fakeAddrs[s.family])
}

// forgeries are the texts to plant in a hole.
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
	// What stands just before and after the address, alone: the least that a template could mistake.
	if at := bytes.Index(s.line, []byte(realAddrs[s.family])); at >= h.to {
		end := at + len(realAddrs[s.family])
		l = append(l, "x"+s.forged(s.line[h.to:end]), "x"+s.forged(s.line[h.to:min(end+1, len(s.line))]), s.forged(s.line[max(h.to, at-1):min(end+1, len(s.line))]))
	}
	// Another pattern's line, and what of it is missing between what stands before and after the hole.
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

// templateSamples makes lines of a template: its ways through the alternatives, for each family.
func templateSamples(p *Pattern) (l []sample) {
	var ways [][]*node
	paths(p.node, maxPaths, func(w []*node) { ways = append(ways, slices.Clone(w)) })
	seen := make(map[*node]bool)
	for i, way := range ways {
		fresh := len(ways) <= maxSamples || i%(len(ways)/maxSamples*2+1) == 0 // odd, so that no alternative is passed by
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
				case classJSON, classLogfmt: // a member with a value that a client chose
					s.line = append(s.line, text...)
					s.holes = append(s.holes, hole{len(s.line), len(s.line) + len("alice"), classString, once})
					s.line = append(s.line, `alice"`...)
					if n.class == classJSON {
						s.line = append(s.line, ',')
					}
					continue
				}
				if n.class.client() || n.class.narrow() && !n.trusted {
					s.holes = append(s.holes, hole{len(s.line), len(s.line) + len(text), n.class, once || n.class == classQuoted || n.class == classWord && n.cap == capUser})
				}
				s.line = append(s.line, text...)
			}
			v4 := slices.ContainsFunc(way, func(n *node) bool { return n.class == classAddr4 && n.kind == nodeField })
			if family == 0 || hasAddr && !v4 {
				l = append(l, s)
			}
		}
	}
	return l
}

// exprSamples are the test lines that a regular expression takes. Their address is changed to the ones known here.
func (f *Filter) exprSamples(p *Pattern) (l []sample) {
	holes, err := p.re.clientText()
	if err != nil {
		panic(err) // groups cannot make an expression wrong
	}
	for i := range f.tests {
		t := &f.tests[i]
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
