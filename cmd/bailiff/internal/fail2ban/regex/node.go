// Package regex rewrites fail2ban's regular expressions (Python's syntax with tags such as <HOST>) as patterns of
// bailiff's filters: templates where possible, else regular expressions for RE2.
//
// What RE2 cannot express, or what would let an attacker choose the address, is an error that says why. The package
// matches no log lines; whether a pattern is safe is decided by the filter loader's tests.
//
// It parses by hand because Go's regexp/syntax rejects Python's lookarounds and fail2ban's tags, and rewrites alternatives so
// that people would not recognise them; a library that understands Python's syntax (regexp2) needs exponential time for some
// inputs. Start reading at Parse and NewVariants.
package regex

import (
	"fmt"
	"slices"
)

// PrefixMark replaces fail2ban's __prefix_line in an expression: date, host and identifier[pid], which the
// journal keeps in separate fields, so the message begins after it. It is a private-use character.
const PrefixMark = '\ue000'

type nodeKind uint8

const (
	kindLiteral      nodeKind = iota // one character: r
	kindAny                          // .
	kindClass                        // text: as RE2 writes it, with its brackets
	kindSequence                     // subs: none or several
	kindAlternatives                 // subs
	kindRepeat                       // subs[0], from min to max (-1: any number)
	kindGroup                        // subs[0]; name: of F-NAME tags and of (?P<name>…)
	kindBegin                        // ^ and \A
	kindEnd                          // $ and \Z
	kindWordBoundary                 // \b or \B: text
	kindHost                         // <HOST>, <ADDR>, <IP4>, <IP6>, …: name
	kindPrefix                       // PrefixMark
	kindLookaround                   // (?=…), (?!…), (?<=…), (?<!…): text is =, !, <= or <!
	kindFlags                        // (?i:…): subs[0]; text: the flags
)

// Node is a node of a parsed expression: Python's syntax with fail2ban's tags. Nodes are not changed once they are made.
type Node struct {
	kind     nodeKind
	r        rune
	text     string
	name     string
	subs     []*Node
	min, max int
	lazy     bool
}

func literal(r rune) *Node { return &Node{kind: kindLiteral, r: r} }

func sequence(subs ...*Node) *Node { return &Node{kind: kindSequence, subs: subs} }

func anything() *Node { return &Node{kind: kindRepeat, max: -1, subs: []*Node{{kind: kindAny}}} }

// maybe is an optional sequence.
func maybe(subs ...*Node) *Node {
	return &Node{kind: kindRepeat, max: 1, subs: []*Node{sequence(subs...)}}
}

// single returns the only sub, or n if it has none or several.
func (n *Node) single() *Node {
	if len(n.subs) == 1 {
		return n.subs[0]
	}
	return n
}

// with returns a copy that has other subs.
func (n *Node) with(subs ...*Node) *Node {
	c := *n
	c.subs = subs
	return &c
}

// replacing returns a copy in which one sub is another.
func (n *Node) replacing(i int, sub *Node) *Node {
	subs := slices.Clone(n.subs)
	subs[i] = sub
	return n.with(subs...)
}

// rewrite returns a copy of the tree in which f has changed the nodes. f returns a node of its own for a whole branch, or nil
// after it has changed the copy that it gets.
func (n *Node) rewrite(f func(c *Node) *Node) *Node {
	c := *n
	if own := f(&c); own != nil {
		return own
	}
	c.subs = make([]*Node, len(n.subs))
	for i, s := range n.subs {
		c.subs[i] = s.rewrite(f)
	}
	return &c
}

// any reports whether f is true for a node of the tree.
func (n *Node) any(f func(*Node) bool) bool {
	return f(n) || slices.ContainsFunc(n.subs, func(s *Node) bool { return s.any(f) })
}

func (n *Node) has(kind nodeKind) bool {
	return n.any(func(n *Node) bool { return n.kind == kind })
}

func (n *Node) hasGroup(name string) bool {
	return n.any(func(n *Node) bool { return n.kind == kindGroup && n.name == name })
}

// isLiteral reports whether n is one of some characters.
func (n *Node) isLiteral(chars string) bool {
	return n.kind == kindLiteral && slices.Contains([]rune(chars), n.r)
}

// isClass reports whether n is a class, written in one of several ways.
func (n *Node) isClass(texts ...string) bool {
	return n.kind == kindClass && slices.Contains(texts, n.text)
}

// isBlank reports whether n is a repetition of white space.
func (n *Node) isBlank() bool { return n.kind == kindRepeat && n.subs[0].isClass(`\s`) }

// isDigits reports whether n is a repetition of digits.
func (n *Node) isDigits() bool { return n.kind == kindRepeat && n.subs[0].isClass(`\d`, "[0-9]") }

// isAnything reports whether n is .* or .+.
func (n *Node) isAnything() bool {
	return n.kind == kindRepeat && n.max < 0 && n.min <= 1 && n.subs[0].kind == kindAny
}

// isOptional reports whether n is (…)?.
func (n *Node) isOptional() bool { return n.kind == kindRepeat && n.min == 0 && n.max == 1 }

// isPrefix reports whether n is the prefix and nothing else, as in <F-MLFID>%(__prefix_line)s</F-MLFID>.
func (n *Node) isPrefix() bool {
	return n.kind == kindPrefix || (n.kind == kindGroup || n.kind == kindSequence || n.kind == kindRepeat) && len(n.subs) == 1 && n.subs[0].isPrefix()
}

// flatten returns the nodes of a sequence, with nested sequences and unnamed groups resolved.
func (n *Node) flatten() []*Node {
	switch {
	case n.kind == kindSequence:
		var l []*Node
		for _, s := range n.subs {
			l = append(l, s.flatten()...)
		}
		return l
	case n.kind == kindGroup && n.name == "":
		if inner := n.subs[0].flatten(); len(inner) != 1 || inner[0].kind != kindAlternatives {
			return inner
		}
	}
	return []*Node{n}
}

// quantifier writes how often a repetition repeats.
func (n *Node) quantifier() string {
	q := fmt.Sprintf("{%d,%d}", n.min, n.max)
	switch {
	case n.min == 0 && n.max < 0:
		q = "*"
	case n.min == 1 && n.max < 0:
		q = "+"
	case n.min == 0 && n.max == 1:
		q = "?"
	case n.max < 0:
		q = fmt.Sprintf("{%d,}", n.min)
	case n.min == n.max:
		q = fmt.Sprintf("{%d}", n.min)
	}
	if n.lazy {
		q += "?"
	}
	return q
}
