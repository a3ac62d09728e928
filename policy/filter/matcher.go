package filter

import (
	"bytes"
	"slices"
	"sync"
)

// Matcher is a filter in one of its modes. It is read-only: any number of goroutines may use it.
type Matcher struct {
	Filter *Filter
	Mode   string

	trust Trust
	lazy  *lazyPlan
}

// lazyPlan is a plan that is built at the first line. Matchers that differ only in their trust share it. (With sync.OnceValue each line
// takes 10% longer.)
type lazyPlan struct {
	filter *Filter
	mode   string
	once   sync.Once
	made   *plan
}

func (m *Matcher) plan() *plan {
	l := m.lazy
	l.once.Do(func() { l.made = newPlan(l.filter, l.mode) })
	return l.made
}

// plan holds the checks for a line. Most journal lines match no pattern, so the cheapest checks come first. Does the line contain one of
// the texts that every matching line contains (cover)? Which patterns can begin as the line does (trie)? Only these patterns are tried, in
// the order of the file. Without cover, lines of web and mail units that match nothing take twice as long (0.66 instead of 0.34 µs).
type plan struct {
	patterns    []*Pattern
	prefixes    []messagePrefix
	prefixFirst byteSet
	trie        *trie
	mixed       bool     // some patterns accept whole messages only
	cover       [][]byte // every line that a pattern accepts contains one of these; nil: it would take too many
}

// messagePrefix may stand before any message: "error: ", a queue id.
type messagePrefix struct {
	prog *program
	text string
}

func newMatcher(f *Filter, mode string) *Matcher {
	return &Matcher{Filter: f, Mode: mode, trust: f.trust, lazy: &lazyPlan{filter: f, mode: mode}}
}

func newPlan(f *Filter, mode string) *plan {
	r := f.rules()
	p := &plan{prefixes: r.prefixes}
	for _, x := range r.patterns {
		if len(x.Modes) == 0 || slices.ContainsFunc(x.Modes, func(w string) bool { return slices.Contains(f.modes[mode], w) }) {
			p.patterns = append(p.patterns, x)
			p.mixed = p.mixed || x.RequireMessage
		}
	}
	p.trie = newTrie(p.patterns)
	if len(p.prefixes) > 0 || len(p.trie.root.list) > 0 { // otherwise most lines fail at their first byte
		p.cover = cover(p.patterns)
	}
	for _, l := range p.prefixes {
		firsts, _ := firstSets(l.prog.ins)
		for b, ok := range firsts[0] {
			p.prefixFirst[b] = p.prefixFirst[b] || ok
		}
	}
	return p
}

// Trust returns whose entries the matcher trusts.
func (m *Matcher) Trust() Trust { return m.trust }

// Patterns lists the patterns of this mode in the order in which they are tried.
func (m *Matcher) Patterns() []*Pattern { return m.plan().patterns }

// Match sets h to the meaning of an entry and reports whether it has one; otherwise h is unchanged. Texts in h are slices of the entry's.
func (m *Matcher) Match(e *Entry, h *Hit) bool { return m.Trusts(e) && m.MatchTrusted(e, h) }

// MatchTrusted is Match for an entry that Trusts accepts.
func (m *Matcher) MatchTrusted(e *Entry, h *Hit) bool {
	if e.WholeMessage || !m.plan().mixed {
		return m.MatchMessage(e.Message, h)
	}
	var own Hit
	if !m.MatchMessage(e.Message, &own) || own.Pattern.RequireMessage {
		return false
	}
	*h = own
	return true
}

// MatchMessage is Match for a line whose sender is known to be trusted.
//
// Trailing white space is ignored. A line longer than MaxMessage is cut there. By its length, a client decides where a long line is cut,
// and could place a forged ending there. So a line that may have been cut, here or by the daemon (max_line in the filter's file), is
// matched only by patterns that have the address before any client's text and need no ending.
func (m *Matcher) MatchMessage(msg []byte, h *Hit) bool {
	ok, _ := m.match(msg, h)
	return ok
}

// match is MatchMessage, but also returns how many steps the vm took.
func (m *Matcher) match(msg []byte, h *Hit) (ok bool, steps int) {
	msg, repeat, truncated := m.Filter.open(msg)
	if repeat == 0 {
		return false, 0
	}
	p := m.plan()
	if p.cover != nil && !slices.ContainsFunc(p.cover, func(s []byte) bool { return bytes.Contains(msg, s) }) {
		return false, 0
	}
	v := newVM(msg)
	fuel := v.fuel
	from, id := 0, span{-1, 0}
	if len(msg) > 0 && p.prefixFirst[msg[0]] && p.prefix(&v) != nil {
		from, id = v.pos, v.caps[capID]
	}
	for {
		if v.try(p.trie.find(msg[from:]), from, truncated, m.Filter, h) {
			if h.ID == nil && id.from >= 0 {
				h.ID = msg[id.from:id.to:id.to]
			}
			h.Repeat = min(h.Repeat*repeat, maxRepeat)
			return true, fuel - v.fuel
		}
		if from == 0 {
			return false, fuel - v.fuel
		}
		from, id.from = 0, -1 // what looked like a prefix may be the beginning of the message itself
	}
}

// open returns the part of a message that patterns see, how many lines it stands for (0: it looks like a folded line but is not one), and
// whether it may have lost its end.
func (f *Filter) open(msg []byte) (text []byte, repeat int, truncated bool) {
	truncated = len(msg) >= f.maxLine
	text = msg[:min(len(msg), MaxMessage)]
	if len(text) < len(repeated) || text[0] != 'm' || string(text[:len(repeated)]) != repeated {
		return text, 1, truncated
	}
	if text, repeat = unfold(text); truncated {
		repeat = 0
	}
	return text, repeat, truncated
}

// prefix returns the first message prefix with which the line begins, and sets v.pos to its end; nil if there is none.
func (p *plan) prefix(v *vm) *messagePrefix {
	for i := range p.prefixes {
		if v.match(p.prefixes[i].prog, 0, 0) {
			return &p.prefixes[i]
		}
	}
	return nil
}

// repeated begins a folded line, as rsyslog and syslogd write it ($RepeatedMsgReduction): message repeated 5 times:
// [ Failed password …]
const repeated = "message repeated "

// maxRepeat bounds how many attempts one line can stand for. rsyslog counts up to 2^31, but no daemon logs a hundred attempts
// within the shortest window.
const maxRepeat = 100

// unfold returns the line in "message repeated N times: [ … ]" and N; N is 0 if msg is not such a message.
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
