package filter

import (
	"bytes"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// Explanation shows how a line is matched, for `bailiff match --explain`. It is separate from Matcher.Match, so that it does not slow down
// matching.
type Explanation struct {
	Text      []byte   // what the patterns see: unfolded, and cut at MaxMessage
	Repeat    int      // more than 1: the line was folded ("message repeated N times")
	Truncated bool     // the line may have lost its end, so only patterns that do not need the end are tried
	Refused   string   // why no pattern was tried; empty if they were
	Prefix    string   // the template of the prefix that was removed; empty if none was
	Tries     []Try    // every pattern of the filter, in order; listed twice if nothing matches without the prefix
	Modes     []string // in which the line matches
	Hit       *Hit     // nil: no match in this mode
}

// Try is the result of one pattern on a line.
type Try struct {
	Pattern   *Pattern
	InMode    bool // the pattern belongs to the matcher's mode
	Prefilter bool // the pattern can match a line that begins like this; otherwise the matcher does not try it
	Matched   bool
	From      int    // where in Text the pattern begins
	At        int    // where in Text it stopped; From if it matched
	Wanted    string // what it expected there; empty if it matched
	Near      int    // bytes that the line and the pattern have in common, to find the nearest pattern
}

// Explain matches a line as MatchMessage does, and returns the result of each pattern.
func (m *Matcher) Explain(msg []byte) *Explanation {
	x := &Explanation{}
	var h Hit
	if m.MatchMessage(msg, &h) {
		x.Hit = &h
	}
	for _, mode := range m.Filter.Modes {
		if m.Filter.matchers[mode].MatchMessage(msg, new(Hit)) {
			x.Modes = append(x.Modes, mode)
		}
	}
	if x.Text, x.Repeat, x.Truncated = m.Filter.open(msg); x.Repeat == 0 {
		x.Text, x.Repeat = msg[:min(len(msg), MaxMessage)], 1
		x.Refused = `it begins like a folded line, but is not "message repeated N times: [ … ]" as a whole`
		return x
	}
	v := newVM(x.Text)
	from := 0
	if p := m.plan().prefix(&v); p != nil {
		from, x.Prefix = v.pos, p.text
	}
	if x.tries(m, from); from > 0 && !slices.ContainsFunc(x.Tries, func(t Try) bool { return t.InMode && t.Matched }) {
		x.tries(m, 0)
	}
	return x
}

func (x *Explanation) tries(m *Matcher, from int) {
	plan, passed := m.plan(), make(map[*Pattern]bool)
	for _, c := range plan.trie.find(x.Text[from:]) {
		passed[c.pattern] = passed[c.pattern] || c.head == 0 || c.begins(x.Text[from:], new(lastRun))
	}
	for _, p := range m.Filter.rules().patterns {
		t := Try{Pattern: p, From: from, At: from, InMode: slices.Contains(plan.patterns, p), Prefilter: passed[p]}
		switch {
		case p.re != nil:
			t.expr(p.re, x)
		default:
			t.template(p.prog, x)
		}
		t.near(x)
		x.Tries = append(x.Tries, t)
	}
}

// near counts the pattern's literals anywhere in the line.
func (t *Try) near(x *Explanation) {
	t.Near = t.At - t.From
	if t.Pattern.re != nil {
		return
	}
	rest := string(x.Text[t.At:])
	for i := range t.Pattern.prog.ins {
		if in := &t.Pattern.prog.ins[i]; in.op == opLit && len(in.lit) >= 4 && strings.Contains(rest, in.lit) {
			t.Near += len(in.lit)
		}
	}
}

// needsEnd is what a pattern expects that cannot match a truncated line.
const needsEnd = "the end of the line, which may have been cut off"

// template finds the step at which a program fails: the last step such that the program, cut off before it, matches the beginning of the
// line.
func (t *Try) template(p *program, x *Explanation) {
	reach := func(pc int) (int, bool) {
		ins := slices.Clone(p.ins)
		ins[pc] = instr{op: opAccept, choice: -1}
		for i := range ins[:pc] {
			if ins[i].op == opSplit { // what its ways can begin with has changed
				ins[i].first, ins[i].end = &anyByte, true
			}
		}
		if pc > 0 && (ins[pc-1].op == opText || ins[pc-1].op == opRun) && ins[pc-1].choice >= 0 {
			ins[pc-1].next, ins[pc-1].first, ins[pc-1].end = "", &anyByte, true
		}
		v := newVM(x.Text)
		ok := v.match(&program{ins: ins, choices: p.choices}, 0, t.From)
		return v.pos, ok
	}
	v := newVM(x.Text)
	if v.match(p, 0, t.From) {
		if t.Matched = !x.Truncated || p.early; !t.Matched {
			t.At, t.Wanted = len(x.Text), needsEnd
		}
		return
	}
	if v.fuel < 0 {
		t.At, t.Wanted = t.From, "fewer steps: this line takes too many"
		return
	}
	deep, order := depths(p.ins)
	for i, pc := range order {
		at, ok := reach(pc)
		if !ok {
			continue
		}
		in := &p.ins[pc]
		t.At, t.Wanted = at, in.wanted()
		if in.op == opLit && pc > 0 && p.ins[pc-1].op == opText {
			// The field before it may end anywhere, so the literal was searched for in the rest of the line.
			if begin, ok := reach(pc - 1); ok {
				t.At, t.Wanted = begin, t.Wanted+" after this"
			}
			return
		}
		same, ways := 0, 1
		if in.op == opLit {
			same = commonPrefix(in.lit, string(x.Text[at:]))
		}
		for _, other := range order[i+1:] { // of several alternatives, the best match, or all
			if deep[other] != deep[pc] {
				break
			}
			o := &p.ins[other]
			if where, ok := reach(other); !ok || where != at {
				continue
			}
			n := 0
			if o.op == opLit {
				n = commonPrefix(o.lit, string(x.Text[at:]))
			}
			switch {
			case n > same:
				same, t.Wanted, ways = n, o.wanted(), 1
			case n == same && !strings.Contains(t.Wanted, o.wanted()):
				if ways++; ways <= maxWays {
					t.Wanted += " or " + o.wanted()
				} else if ways == maxWays+1 {
					t.Wanted += " …"
				}
			}
		}
		t.At += same
		return
	}
}

// maxWays is the number of alternatives that are listed.
const maxWays = 4

var anyByte = func() (s byteSet) {
	for i := range s {
		s[i] = true
	}
	return s
}()

// depths returns the number of steps on the longest way to each step, and all steps other than jumps, deepest first.
func depths(ins []instr) (deep []int, order []int) {
	deep = make([]int, len(ins))
	for pc := range ins {
		in := &ins[pc]
		next := []int{pc + 1}
		switch in.op {
		case opSplit:
			next = []int{int(in.x), int(in.y)}
		case opJump:
			next = []int{int(in.x)}
		case opEnd, opAccept:
			next = nil
		}
		cost := 1
		if in.op == opSplit || in.op == opJump {
			cost = 0
		} else {
			order = append(order, pc)
		}
		for _, n := range next {
			deep[n] = max(deep[n], deep[pc]+cost)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return deep[b] - deep[a] })
	return deep, order
}

// wanted describes what a step matches.
func (in *instr) wanted() string {
	switch in.op {
	case opLit:
		return strconv.Quote(in.lit)
	case opAddr, opPeer:
		s := "an address"
		if in.op == opPeer {
			s = "an address and a port"
		}
		if in.once {
			s += fmt.Sprintf(", with only one %q before it", in.lit)
		}
		return s
	case opPort:
		return "a port"
	case opEnd:
		return "the end of the line"
	case opSkip:
		if in.next != "" {
			return fmt.Sprintf("<%s> and then %q", in.class, in.next)
		}
	}
	return fmt.Sprintf("<%s>", in.class)
}

// expr finds how far a regular expression matches, part by part.
func (t *Try) expr(e *expr, x *Explanation) {
	line := x.Text[t.From:]
	var h Hit
	var addr []byte
	switch {
	case e.match(line, &h, &addr):
		if t.Matched = !x.Truncated; x.Truncated {
			t.At, t.Wanted = len(x.Text), needsEnd
		}
		return
	case !bytes.Contains(line, e.literal):
		t.At, t.Wanted = t.From, strconv.Quote(string(e.literal))+" after this"
		return
	}
	if loc := e.re.FindSubmatchIndex(line); loc != nil { // so the captured address is not valid, or none is captured (-1)
		t.At, t.Wanted = t.From+max(0, loc[2*e.group[capAddr]]), "an address"
		return
	}
	tree, err := syntax.Parse(e.re.String(), syntax.Perl)
	if err != nil || tree.Op != syntax.OpConcat {
		t.Wanted = "what the expression describes"
		return
	}
	for n := len(tree.Sub) - 1; n > 0; n-- {
		part := *tree
		part.Sub = tree.Sub[:n]
		re, err := regexp.Compile(part.String())
		if err != nil {
			continue
		}
		if loc := re.FindIndex(line); loc != nil {
			t.At, t.Wanted = t.From+loc[1], "a match of "+tree.Sub[n].String()
			return
		}
	}
}
