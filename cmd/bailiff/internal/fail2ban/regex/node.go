// Package regex rewrites fail2ban's regular expressions (Python's syntax with tags such as <HOST>) as patterns of
// bailiff's filters: templates where possible, else regular expressions for RE2.
//
// What RE2 cannot express, or what would let an attacker choose the address, is an error that says why. The package
// matches no log lines; whether a pattern is safe is decided by the filter loader's tests.
//
// It parses by hand because Go's regexp/syntax rejects Python's lookarounds and fail2ban's tags, and a library that
// understands Python's syntax (regexp2) needs exponential time for some inputs. Start reading at Parse and NewVariants.
package regex

import (
	"fmt"
	"slices"
)

func (n *Node) quantifier() string {
	q := ""
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
	default:
		q = fmt.Sprintf("{%d,%d}", n.min, n.max)
	}
	if n.lazy {
		q += "?"
	}
	return q
}

func digits(n *Node) bool {
	for n.kind == kindSequence && len(n.subs) == 1 {
		n = n.subs[0]
	}
	return n.kind == kindRepeat && n.subs[0].kind == kindClass && (n.subs[0].text == `\d` || n.subs[0].text == `[0-9]`)
}

// PrefixMark replaces fail2ban's __prefix_line in an expression: date, host and identifier[pid], which the
// journal keeps in separate fields, so the message begins after it. It is a private-use character.
const PrefixMark = '\ue000'

type nodeKind uint8

const (
	kindLiteral      nodeKind = iota // one character: r
	kindAny                          // .
	kindClass                        // text: as RE2 writes it, with its brackets
	kindSequence                     // subs
	kindAlternatives                 // subs
	kindRepeat                       // subs[0], from min to max (-1: any number)
	kindGroup                        // subs[0]; name: of F-NAME tags and of (?P<name>…)
	kindBegin                        // ^ and \A
	kindEnd                          // $ and \Z
	kindWordBoundary                 // \b or \B: text
	kindHost                         // <HOST>, <ADDR>, <IP4>, <IP6>, …: name
	kindPrefix                       // prefixMark
	kindLookaround                   // (?=…), (?!…), (?<=…), (?<!…): text is =, !, <= or <!
	kindFlags                        // (?i:…): subs[0]; text: the flags
)

// Node is a node of a parsed expression: Python's syntax with fail2ban's tags.
type Node struct {
	kind     nodeKind
	r        rune
	text     string
	name     string
	subs     []*Node
	min, max int
	lazy     bool
}

// blank reports whether n is a repetition of white space.
func blank(n *Node) bool {
	return n.kind == kindRepeat && n.subs[0].kind == kindClass && n.subs[0].text == `\s`
}

// flatten returns the nodes of a sequence, with nested sequences and unnamed groups resolved.
func flatten(n *Node) []*Node {
	switch {
	case n.kind == kindSequence:
		var l []*Node
		for _, s := range n.subs {
			l = append(l, flatten(s)...)
		}
		return l
	case n.kind == kindGroup && n.name == "":
		if inner := flatten(n.subs[0]); len(inner) != 1 || inner[0].kind != kindAlternatives {
			return inner
		}
	}
	return []*Node{n}
}

// onlyPrefix reports whether n is the prefix and nothing else, as in <F-MLFID>%(__prefix_line)s</F-MLFID>.
func onlyPrefix(n *Node) bool {
	switch n.kind {
	case kindPrefix:
		return true
	case kindGroup, kindSequence, kindRepeat:
		return len(n.subs) == 1 && onlyPrefix(n.subs[0])
	}
	return false
}

func has(n *Node, kind nodeKind) bool {
	return n.kind == kind || slices.ContainsFunc(n.subs, func(s *Node) bool { return has(s, kind) })
}

func hasGroup(n *Node, name string) bool {
	return n.kind == kindGroup && n.name == name || slices.ContainsFunc(n.subs, func(s *Node) bool { return hasGroup(s, name) })
}

func anything(min int) *Node {
	return &Node{kind: kindRepeat, min: min, max: -1, subs: []*Node{{kind: kindAny}}}
}

func underAlt(n *Node, name string, below bool) bool {
	if n.kind == kindGroup && n.name == name {
		return below
	}
	below = below || n.kind == kindAlternatives
	return slices.ContainsFunc(n.subs, func(s *Node) bool { return underAlt(s, name, below) })
}

// isAnything reports whether n is .* or .+.
func isAnything(n *Node) bool {
	return n.kind == kindRepeat && n.max < 0 && n.min <= 1 && n.subs[0].kind == kindAny
}
