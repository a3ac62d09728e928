package filter

import (
	"fmt"
	"slices"
	"strings"
)

// compile turns a template into a program that ends with last (opEnd or opAccept).
func compile(n *node, last op) (*program, error) {
	c := &compiler{}
	c.emit(n)
	c.ins = append(c.ins, instr{op: last, choice: -1})
	if len(c.ins) > maxInstrs {
		return nil, fmt.Errorf("takes %d steps, more than %d", len(c.ins), maxInstrs)
	}
	firsts, ends := firstSets(c.ins)
	p := &program{ins: c.ins}
	for pc := range c.ins {
		in := &c.ins[pc]
		if in.op == opAddr && c.ins[pc+1].op == opLit {
			in.after = c.ins[pc+1].lit[0]
		}
		if in.once {
			if pc == 0 || c.ins[pc-1].op != opLit || c.target[pc] {
				return nil, fmt.Errorf("has no text just before <once:addr> of which there should be one only")
			}
			in.lit = c.ins[pc-1].lit
			alone := []byte(in.lit)
			in.alone = &alone
		}
		if in.op == opSkip {
			next := c.ins[pc+1]
			switch {
			case p.choices > 0 && in.class != classQuoted: // it examines each byte once, wherever it began
				return nil, fmt.Errorf("has a <%s> after a field with more than one possible end", in.class)
			case next.op == opLit && (in.class != classQuoted && in.class != classString || next.lit[0] == '"'):
				in.next = next.lit
			case in.class == classQuoted || in.class == classString:
				return nil, fmt.Errorf(`has a <%s> that no " follows`, in.class)
			case next.op != opEnd:
				return nil, fmt.Errorf("has a <%s> that is followed by neither text nor the line's end", in.class)
			}
			continue
		}
		if in.op == opSplit {
			in.first, in.end = firsts[in.x], ends[in.x]
		}
		if in.op != opText && in.op != opRun {
			continue
		}
		in.choice = -1
		if in.op == opText && c.ins[pc+1].op == opEnd || in.op == opRun && c.ins[pc+1].op == opSkip || in.op == opRun && disjoint(&runs[in.class].set, firsts[pc+1]) {
			continue
		}
		if p.choices == maxChoices {
			return nil, fmt.Errorf("has more than %d fields with more than one possible end", maxChoices)
		}
		in.choice = int8(p.choices)
		p.choices++
		if c.ins[pc+1].op == opLit {
			in.next = c.ins[pc+1].lit
			in.rare = uint8(rarest(in.next))
		} else {
			in.first, in.end = firsts[pc+1], ends[pc+1]
		}
	}
	p.early = early(n)
	return p, nil
}

// rarest returns the index of the byte of s that is probably the rarest in log lines: one that is not in a list of frequent bytes, else the
// one that is last in that list.
func rarest(s string) int {
	best, at := -1, 0
	for i := range min(len(s), 255) {
		rank := strings.IndexByte(" eatinorsdlc1u02:p.mhfg9-8375", s[i])
		if rank < 0 {
			rank = 256
		}
		if rank > best {
			best, at = rank, i
		}
	}
	return at
}

type compiler struct {
	ins    []instr
	target map[int]bool // steps that are the target of a jump
}

func (c *compiler) emit(n *node) {
	switch n.kind {
	case nodeLit:
		// Two literals in a row are merged, unless a jump leads between them.
		if l := len(c.ins); l > 0 && c.ins[l-1].op == opLit && !c.target[l] {
			c.ins[l-1].lit += n.lit
			return
		}
		c.ins = append(c.ins, instr{op: opLit, lit: n.lit, cap: capNone, choice: -1})
	case nodeField:
		in := instr{class: n.class, cap: n.cap, choice: -1, once: n.once}
		switch n.class {
		case classQuoted, classString, classJSON, classLogfmt:
			in.op = opSkip
		case classPeer:
			in.op = opPeer
		case classText, classTrusted:
			in.op = opText
		case classAddr, classAddr4, classIP:
			in.op = opAddr
		case classPort:
			in.op = opPort
		default:
			in.op = opRun
		}
		c.ins = append(c.ins, in)
	case nodeSeq:
		for _, s := range n.subs {
			c.emit(s)
		}
	case nodeAlt:
		var jumps []int
		for i, s := range n.subs {
			if i == len(n.subs)-1 {
				c.emit(s)
				break
			}
			split := len(c.ins)
			c.ins = append(c.ins, instr{op: opSplit, cap: capNone, choice: -1, x: uint16(split + 1)})
			c.mark(split + 1)
			c.emit(s)
			jumps = append(jumps, len(c.ins))
			c.ins = append(c.ins, instr{op: opJump, cap: capNone, choice: -1})
			c.ins[split].y = uint16(len(c.ins))
			c.mark(len(c.ins))
		}
		for _, j := range jumps {
			c.ins[j].x = uint16(len(c.ins))
		}
		c.mark(len(c.ins))
	}
}

func (c *compiler) mark(pc int) {
	if c.target == nil {
		c.target = make(map[int]bool)
	}
	c.target[pc] = true
}

// firstSets returns for each step the bytes with which the rest of the line can begin, and whether the line can end there.
func firstSets(ins []instr) ([]*byteSet, []bool) {
	firsts, ends := make([]*byteSet, len(ins)), make([]bool, len(ins))
	for pc := len(ins) - 1; pc >= 0; pc-- {
		firsts[pc], ends[pc] = first(ins, pc, firsts, ends)
	}
	return firsts, ends
}

func first(ins []instr, pc int, firsts []*byteSet, ends []bool) (*byteSet, bool) {
	in := &ins[pc]
	s := new(byteSet)
	switch in.op {
	case opLit:
		s[in.lit[0]] = true
	case opRun:
		*s = runs[in.class].set
	case opAddr:
		for b := range 256 {
			s[b] = isHex(byte(b)) || b == ':'
		}
	case opPeer:
		for b := range 256 {
			s[b] = isHex(byte(b)) || b == ':' || b == '['
		}
	case opSkip:
		for b := range s {
			s[b] = true
		}
		return s, in.next == ""
	case opPort:
		*s = runs[classNum].set
	case opText:
		for b := range s {
			s[b] = true
		}
		return s, ends[pc+1]
	case opSplit:
		for b := range s {
			s[b] = firsts[in.x][b] || firsts[in.y][b]
		}
		return s, ends[in.x] || ends[in.y]
	case opJump:
		return firsts[in.x], ends[in.x]
	case opEnd:
		return s, true
	case opAccept:
		for b := range s {
			s[b] = true
		}
		return s, true
	}
	return s, false
}

func disjoint(a, b *byteSet) bool {
	for i := range a {
		if a[i] && b[i] {
			return false
		}
	}
	return true
}

// paths calls f with every way through the template's alternatives, as a flat list of literals and fields, at most most times, and reports
// whether it covered all of them. The list is valid only during the call.
func paths(n *node, most int, f func([]*node)) bool {
	type rest struct {
		n    *node
		next *rest
	}
	left := most
	var walk func(todo *rest, done []*node) bool
	walk = func(todo *rest, done []*node) bool {
		for todo != nil {
			n := todo.n
			todo = todo.next
			switch n.kind {
			case nodeLit, nodeField:
				done = append(done, n) // overwrites what earlier ways left there
			case nodeSeq:
				for _, s := range slices.Backward(n.subs) {
					todo = &rest{s, todo}
				}
			case nodeAlt:
				for _, s := range n.subs {
					if !walk(&rest{s, todo}, done) {
						return false
					}
				}
				return true
			}
		}
		if left == 0 {
			return false
		}
		left--
		f(done)
		return true
	}
	return walk(&rest{n: n}, make([]*node, 0, 32))
}

// maxPaths limits the ways through the alternatives of a template: each of them is checked.
const maxPaths = 2048

// early reports whether a truncated line can match: on every way through the template the address precedes all client text,
// and the line ends with free text, so nothing depends on the missing end. Text in quotation marks may precede the address:
// it ends at the first one.
func early(n *node) bool {
	ok := true
	all := paths(n, maxPaths, func(l []*node) {
		free, seen := false, false
		for _, f := range l {
			if f.kind != nodeField {
				continue
			}
			switch {
			case f.cap == capAddr:
				seen = true
				ok = ok && !free
			case f.class.client():
				free = true
			}
		}
		if slices.ContainsFunc(l, func(f *node) bool { return f.class == classJSON || f.class == classLogfmt || f.once }) {
			ok = false
		}
		if ok = ok && seen; !ok { // also of an empty way, which checkSides refuses
			return
		}
		last := l[len(l)-1]
		ok = last.kind == nodeField && (last.class == classText || last.class == classTrusted)
	})
	return ok && all
}

// checkSides rejects templates that no order of matching makes safe: client text on both sides of the address, or the same capture twice on
// one way.
func checkSides(n *node) error {
	var bad error
	all := paths(n, maxPaths, func(l []*node) {
		var seen [nCaptures]int
		before, after, once := false, false, false
		for _, f := range l {
			if f.kind != nodeField {
				continue
			}
			if f.cap >= 0 {
				seen[f.cap]++
			}
			if f.class == classPeer {
				seen[capPort]++
			}
			once = once || f.once
			if f.class.client() {
				if seen[capAddr] > 0 {
					after = true
				} else {
					before = true
				}
			}
		}
		switch {
		case bad != nil:
		case len(l) == 0:
			bad = fmt.Errorf("may match the empty line")
		case seen[capAddr] > 1:
			bad = fmt.Errorf("has two <addr> on one way through it; write <ip> for the one that is not the client's")
		case seen[capUser] > 1 || seen[capID] > 1 || seen[capPort] > 1 || seen[capCount] > 1 || seen[capSource] > 1:
			bad = fmt.Errorf("captures the same thing twice on one way through it")
		case seen[capAddr] == 1 && before && after && !once:
			bad = fmt.Errorf("has text of the client's on both sides of <addr>: the daemon's address cannot be distinguished")
		}
	})
	if bad == nil && !all {
		bad = fmt.Errorf("has more than %d ways through its alternatives; write it as several texts", maxPaths)
	}
	return bad
}
