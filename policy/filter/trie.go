package filter

import (
	"fmt"
	"slices"
)

// trie finds the patterns that a line can match, by the beginning of the line. Every pattern is entered under each literal that its lines
// can begin with. Patterns that begin with a field, and regular expressions, are entered under the empty text and tried on every line.
type trie struct {
	root *trieNode
}

// candidate is a pattern, and where matching continues after the text that the trie has compared.
type candidate struct {
	pattern *Pattern
	order   int // position of the pattern in its filter, then of the way through its alternatives
	pc      uint16
	skip    uint16
	head    uint16 // not 0: all candidates with this number continue with the same field and literal (see begin)
	field   *instr // of begin, if head is not 0
	lit     string
}

// begin returns the run or address with which a candidate continues, and the literal after it; nil if it continues with something else.
// Many patterns may begin with "<host>["; a line is checked for this once for all of them.
func (c *candidate) begin() (field, lit *instr) {
	ins := c.pattern.prog.ins
	a := &ins[c.pc]
	if a.op != opAddr && a.op != opPeer && (a.op != opRun || a.choice >= 0) || a.once {
		return nil, nil
	}
	next := int(c.pc) + 1
	for ins[next].op == opJump {
		next = int(ins[next].x)
	}
	if b := &ins[next]; b.op == opLit {
		return a, b
	}
	return nil, nil
}

type trieNode struct {
	label string // the text between the parent and this node, without the byte that selects the node
	lo    byte   // next[i] is for byte lo+i
	next  []*trieNode
	list  []candidate // all candidates for lines with the text up to this node, in the order of the file
}

// maxPrefix bounds how deep the trie goes, and maxStarts how many beginnings one pattern is entered under.
const (
	maxPrefix = 48
	maxStarts = 64
)

func newTrie(patterns []*Pattern) *trie {
	type entry struct {
		prefix string
		candidate
	}
	var all []entry
	for i, p := range patterns {
		if p.re != nil {
			all = append(all, entry{"", candidate{pattern: p, order: i * maxInstrs}})
			continue
		}
		for k, s := range starts(p.prog.ins) {
			all = append(all, entry{s.prefix, candidate{pattern: p, order: i*maxInstrs + k, pc: uint16(s.pc), skip: uint16(s.skip)}})
		}
	}
	heads := make(map[string]uint16)
	for i := range all {
		if c := &all[i].candidate; c.pattern.re == nil {
			if a, b := c.begin(); b != nil {
				k := fmt.Sprint(a.op, a.class, a.after, c.skip, b.lit)
				if heads[k] == 0 {
					heads[k] = uint16(len(heads) + 1)
				}
				c.head, c.field, c.lit = heads[k], a, b.lit
			}
		}
	}
	// First a plain trie of bytes …
	type byteNode struct {
		next map[byte]*byteNode
		own  []candidate
	}
	root := &byteNode{}
	for _, e := range all {
		n := root
		for i := range len(e.prefix) {
			c := e.prefix[i]
			if n.next[c] == nil {
				if n.next == nil {
					n.next = make(map[byte]*byteNode)
				}
				n.next[c] = &byteNode{}
			}
			n = n.next[c]
		}
		n.own = append(n.own, e.candidate)
	}
	// … then chains of nodes are merged, and each node gets the candidates of those above it.
	var build func(n *byteNode, label []byte, inherited []candidate) *trieNode
	build = func(n *byteNode, label []byte, inherited []candidate) *trieNode {
		for len(n.own) == 0 && len(n.next) == 1 {
			for c, child := range n.next {
				label, n = append(label, c), child
			}
		}
		list := append(slices.Clone(inherited), n.own...)
		slices.SortFunc(list, func(a, b candidate) int { return a.order - b.order })
		t := &trieNode{label: string(label), list: list}
		if len(n.next) == 0 {
			return t
		}
		lo, hi := byte(255), byte(0)
		for c := range n.next {
			lo, hi = min(lo, c), max(hi, c)
		}
		t.lo, t.next = lo, make([]*trieNode, int(hi)-int(lo)+1)
		for c, child := range n.next {
			t.next[c-lo] = build(child, nil, list)
		}
		return t
	}
	// The root is not merged, whatever the patterns have in common.
	r := &trieNode{list: slices.Clone(root.own)}
	slices.SortFunc(r.list, func(a, b candidate) int { return a.order - b.order })
	r.next = make([]*trieNode, 256)
	for c, child := range root.next {
		r.next[c] = build(child, nil, r.list)
	}
	return &trie{r}
}

// find returns the patterns that a line with this beginning can match.
func (t *trie) find(line []byte) []candidate {
	n := t.root
	for i := 0; i < len(line); {
		k := int(line[i]) - int(n.lo)
		if k < 0 || k >= len(n.next) || n.next[k] == nil {
			break
		}
		c := n.next[k]
		i++
		if len(line)-i < len(c.label) || string(line[i:i+len(c.label)]) != c.label {
			break
		}
		i += len(c.label)
		n = c
	}
	return n.list
}

type start struct {
	prefix string
	pc     int
	skip   int
}

// starts returns the literal texts that a program's lines begin with, in the order in which the program tries them.
func starts(ins []instr) []start {
	var l []start
	var walk func(pc int, prefix string) bool
	walk = func(pc int, prefix string) bool {
		for {
			in := &ins[pc]
			if in.op == opLit && len(prefix)+len(in.lit) <= maxPrefix {
				prefix += in.lit
				pc++
				continue
			}
			switch in.op {
			case opJump:
				pc = int(in.x)
				continue
			case opSplit:
				if !walk(int(in.x), prefix) {
					return false
				}
				pc = int(in.y)
				continue
			}
			if len(l) == maxStarts {
				return false
			}
			skip := len(prefix)
			if in.op == opLit { // only a part of a long literal was used, so it is compared again
				prefix += in.lit[:maxPrefix-len(prefix)]
			}
			l = append(l, start{prefix, pc, skip})
			return true
		}
	}
	if !walk(0, "") {
		return []start{{}}
	}
	return l
}
