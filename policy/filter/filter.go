// Package filter says what a line of a daemon's log means: a failure of an address, a success, or something that tells
// more about a connection. What it knows of a daemon stands in one YAML file (builtin/ holds ours, an operator's own are
// read the same way): whose entries count as evidence, patterns, modes, and the file's own test lines.
//
// It looks at one entry at a time and keeps nothing: counting, and joining the lines of one connection, is for
// policy/jail. It never resolves a name. Patterns must not take an address out of text that a client chose, which a test at
// load tries to make them do (forgery.go). Its time is linear in the length of the line (match.go).
//
// Start reading at Matcher.Match; the template language stands in template.go, the file format in load.go.
package filter

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bailiff/policy/diag"
)

// Filter is what one file says.
type Filter struct {
	Name           string
	Description    string   // one line
	Notes          string   // what it takes as evidence and why
	Modes          []string // the first is the default
	File           string   // where it was read from
	ParallelLogins bool     // programs log in over several connections at once with one password
	HasSuccess     bool     // one of its patterns is of a login that went well
	Guests         []string // names that stand for nobody: no password belongs to them, and failures on them are no evidence
	Off            bool     // no jail until the configuration names it: its lines come from harmless clients or forged senders, too

	trust     Trust
	modes     map[string][]string // mode → itself and the modes that it includes
	patterns  []*Pattern
	prefixes  []messagePrefix
	maxLine   int  // lines of so many bytes may have lost their end
	byAddress bool // lines of one attempt are joined by address
	tests     []test
	matchers  map[string]func() *Matcher // each made when it is first asked for
}

// Pattern is one shape of line.
type Pattern struct {
	Name   string
	Text   string // the template, or the regular expression
	Regexp bool
	Kind   Kind
	Weight int   // how much one such line counts; 1 unless the file says otherwise
	Stage  uint8 // which of the lines about one attempt it is; 0: it stands for itself. See jail.Connections

	// MaxRetry is how many such lines are too many, whatever the jail says; 0: as the jail says. 1: one line is enough.
	MaxRetry int
	// InvalidUser says that such a line is about an account that does not exist: see config.Weights.
	InvalidUser bool
	// Provisional says that such a line is about one step of an attempt to log in that may still succeed: other lines tell
	// how it ended.
	Provisional bool
	// ProvisionalWithoutUser says that such a line is provisional where it names no account.
	ProvisionalWithoutUser bool
	// AfterFailure says that such a line is no evidence by itself, only where its address has failed before.
	AfterFailure bool

	Modes          []string // the modes it is for; empty: all
	RequireMessage bool     // of whole messages alone, as Trust.Whole says of all patterns
	File           string
	Line           int
	Col            int // of its template or expression

	node  *node
	prog  *program
	re    *expr
	blind func() *blind // of a regular expression: see Dissect
}

// Mode returns the matcher of a mode, "" meaning the default.
func (f *Filter) Mode(name string) (*Matcher, error) {
	if name == "" {
		name = f.Modes[0]
	}
	if m := f.matchers[name]; m != nil {
		return m(), nil
	}
	err := fmt.Errorf("filter %s has no mode %q", f.Name, name)
	if near := diag.Near(name, f.Modes); near != "" {
		return nil, fmt.Errorf("%w: did you mean %s?", err, near)
	}
	return nil, fmt.Errorf("%w: it has %s", err, strings.Join(f.Modes, ", "))
}

// Patterns lists the filter's patterns in the order in which they are tried.
func (f *Filter) Patterns() []*Pattern { return f.patterns }

// Trust says whose entries the filter looks at.
func (f *Filter) Trust() Trust { return f.trust }

// Includes lists the modes whose patterns a mode has, itself first.
func (f *Filter) Includes(mode string) []string { return slices.Clone(f.modes[mode]) }

// Prefixes lists the templates of what may stand before every message.
func (f *Filter) Prefixes() (l []string) {
	for i := range f.prefixes {
		l = append(l, f.prefixes[i].text)
	}
	return l
}

// CorrelatesByAddress says that lines of one attempt are joined by address, not by process or id.
func (f *Filter) CorrelatesByAddress() bool { return f.byAddress }

// Failures are the file's test lines that are failures with an address, in its default mode.
func (f *Filter) Failures() (lines []string) {
	m := f.matchers[f.Modes[0]]()
	for i := range f.tests {
		var h Hit
		if t := &f.tests[i]; !t.miss && slices.Contains(t.modes, f.Modes[0]) && m.MatchMessage(t.line, &h) && h.Kind == Failure && h.Addr.IsValid() {
			lines = append(lines, string(t.line))
		}
	}
	return lines
}

// Tests is how many test lines the file has.
func (f *Filter) Tests() int { return len(f.tests) }

// Matcher is a filter in one of its modes. It is read-only: any number of goroutines may use it.
type Matcher struct {
	Filter *Filter
	Mode   string

	trust       Trust
	patterns    []*Pattern
	prefixes    []messagePrefix
	prefixFirst byteSet
	trie        *trie
	mixed       bool     // some patterns take whole messages alone
	cover       [][]byte // every line that a pattern takes holds one of them; nil: that would be too many
}

// messagePrefix is what may stand before any message: "error: ", a queue id.
type messagePrefix struct {
	prog *program
	text string
}

func newMatcher(f *Filter, mode string) *Matcher {
	m := &Matcher{Filter: f, Mode: mode, trust: f.trust, prefixes: f.prefixes}
	for _, p := range f.patterns {
		if len(p.Modes) == 0 || slices.ContainsFunc(p.Modes, func(w string) bool { return slices.Contains(f.modes[mode], w) }) {
			m.patterns = append(m.patterns, p)
			m.mixed = m.mixed || p.RequireMessage
		}
	}
	m.trie = newTrie(m.patterns)
	if len(m.prefixes) > 0 || len(m.trie.root.list) > 0 { // otherwise most lines fail at their first byte
		m.cover = cover(m.patterns)
	}
	for _, l := range m.prefixes {
		firsts, _ := firstSets(l.prog.ins)
		for b, ok := range firsts[0] {
			m.prefixFirst[b] = m.prefixFirst[b] || ok
		}
	}
	return m
}

// Trust says whose entries the matcher looks at.
func (m *Matcher) Trust() Trust { return m.trust }

// Patterns lists the patterns of this mode in the order in which they are tried.
func (m *Matcher) Patterns() []*Pattern { return m.patterns }

// Match fills h with what the entry means and reports whether it means anything. h is changed only then. The texts in h
// are the entry's.
func (m *Matcher) Match(e *Entry, h *Hit) bool { return m.Trusts(e) && m.MatchTrusted(e, h) }

// MatchTrusted is Match for an entry that may be evidence: Trusts has said so.
func (m *Matcher) MatchTrusted(e *Entry, h *Hit) bool {
	if e.WholeMessage || !m.mixed {
		return m.MatchMessage(e.Message, h)
	}
	var own Hit
	if !m.MatchMessage(e.Message, &own) || own.Pattern.RequireMessage {
		return false
	}
	*h = own
	return true
}

// MatchMessage is Match for a line whose sender is known to be right.
//
// White space may follow at the end of every line. Of a line longer than MaxMessage only that much is looked at. Such a line,
// and one as long as those that the daemon cuts itself (cut in the filter's file), is matched only by patterns that have
// the address before any client's text and need no end: where a line was cut is the client's choice, who could have
// written a false end just there. All other such lines are no evidence.
func (m *Matcher) MatchMessage(msg []byte, h *Hit) bool {
	ok, _ := m.match(msg, h)
	return ok
}

// match is MatchMessage that also says how many steps it took (vm).
func (m *Matcher) match(msg []byte, h *Hit) (ok bool, steps int) {
	cut := len(msg) >= m.Filter.maxLine
	msg = msg[:min(len(msg), MaxMessage)]
	repeat := 1
	if len(msg) > len(repeated) && msg[0] == 'm' && string(msg[:len(repeated)]) == repeated {
		inner, n := unfold(msg)
		if n == 0 || cut {
			return false, 0
		}
		msg, repeat = inner, n
	}
	if m.cover != nil && !slices.ContainsFunc(m.cover, func(s []byte) bool { return bytes.Contains(msg, s) }) {
		return false, 0
	}
	v := vm{line: msg, tail: len(trimRight(msg)), fuel: fuelFor(len(msg))}
	from := 0
	id := span{-1, 0}
	if len(msg) > 0 && m.prefixFirst[msg[0]] {
		for i := range m.prefixes {
			v.reset(m.prefixes[i].prog)
			if v.run(0, 0) {
				from, id = v.pos, v.caps[capID]
				break
			}
		}
	}
	for {
		if m.try(&v, from, cut, h) {
			if h.ID == nil && id.from >= 0 {
				h.ID = msg[id.from:id.to:id.to]
			}
			h.Repeat = min(h.Repeat*repeat, maxRepeat)
			return true, fuelFor(len(msg)) - v.fuel
		}
		if from == 0 {
			return false, fuelFor(len(msg)) - v.fuel
		}
		from, id.from = 0, -1 // what looked like a lead may be the message's own beginning
	}
}

// try matches what begins at from against the patterns.
func (m *Matcher) try(v *vm, from int, cut bool, h *Hit) bool {
	msg := v.line
	list := m.trie.find(msg[from:])
	var run lastRun
	var good, bad uint16     // heads that the line was seen to have, and not to have
	var looked, found uint64 // texts that it was looked for, and found to hold
	for i := range list {
		c := &list[i]
		p := c.pattern
		if c.head != 0 && c.head != good {
			if c.head == bad {
				continue
			}
			if !c.begins(msg[from:], &run) {
				bad = c.head
				continue
			}
			good = c.head
		}
		if c.need != 0 && len(list) > 1 {
			bit := uint64(1) << c.need
			if looked&bit == 0 {
				if looked |= bit; bytes.Contains(msg[from:], p.prog.needs) {
					found |= bit
				}
			}
			if found&bit == 0 {
				continue
			}
		}
		var addrText []byte
		if p.re != nil {
			if cut || !p.re.match(msg[from:], h, &addrText) {
				continue
			}
		} else {
			if cut && !p.prog.early {
				continue
			}
			v.reset(p.prog)
			if !v.run(int(c.pc), from+int(c.skip)) {
				if v.fuel < 0 {
					return false
				}
				continue
			}
			h.Addr = v.address()
			h.Port = uint16(v.number(capPort, 65535))
			h.User = v.text(capUser)
			h.ID = v.text(capID)
			h.Source = v.text(capSource)
			addrText = v.text(capAddr)
			h.Repeat = max(1, v.number(capCount, maxRepeat))
		}
		if m.Filter.byAddress && h.ID == nil {
			h.ID = addrText
		}
		h.Kind, h.Pattern, h.InvalidUser = p.Kind, p, p.InvalidUser
		if p.Kind == Failure && contains(m.Filter.Guests, h.User) {
			h.Kind, h.InvalidUser = Context, false
		}
		return true
	}
	return false
}

// repeated is how rsyslog and syslogd write "the same line again" ($RepeatedMsgReduction): message repeated 5 times:
// [ Failed password …]
const repeated = "message repeated "

// maxRepeat bounds what one line can count for. rsyslog itself counts up to 2^31, but a daemon that was slow to be
// folded has no hundred attempts within a ban's shortest window.
const maxRepeat = 100

// unfold returns the line within a "message repeated N times: [ … ]", and N; 0 if it is not one.
func unfold(msg []byte) ([]byte, int) {
	s := msg[len(repeated):]
	i, n := 0, 0
	for i < len(s) && i < 9 && isDigit(s[i]) {
		n = n*10 + int(s[i]-'0')
		i++
	}
	inner, ok := bytes.CutPrefix(s[i:], []byte(" times: ["))
	if i == 0 || !ok {
		return nil, 0
	}
	if inner, ok = bytes.CutSuffix(trimRight(inner), []byte("]")); !ok {
		return nil, 0
	}
	if len(inner) > 0 && inner[0] == ' ' {
		inner = inner[1:]
	}
	return inner, min(max(n, 1), maxRepeat)
}

func trimRight(b []byte) []byte {
	for n := len(b); n > 0; n-- {
		if c := b[n-1]; c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return b[:n]
		}
	}
	return b[:0]
}

// joinErrors is errors.Join over a list whose type is known.
func joinErrors[E error](l []E) error {
	all := make([]error, len(l))
	for i, e := range l {
		all[i] = e
	}
	return errors.Join(all...)
}
