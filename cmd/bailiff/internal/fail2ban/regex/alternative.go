package regex

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// dates and datesInBrackets match dates that fail2ban removes from a line before matching, so that expressions begin
// with the blank after the date or contain []. In the journal's message the date is still there.
var (
	dates           = mustParse(`(?:\d+/\d+/\d+ \d+:\d+:\d+|\d+-\d+-\d+T\d+:\S+|\d+-\d+-\d+ \d+:\S+|\[\d+-\d+-\d+ \d+:\S+\])`)
	datesInBrackets = mustParse(`(?:\d+/\w+/\d+:\d+:\d+:\d+ [+-]\d+|\w+ \w+ \d+ \d+:\d+:\d+(?:\.\d+)? \d+|\d+-\d+-\d+[T ]\d+:\d+:\d+(?:[.,]\d+)?Z?)`)
)

func mustParse(s string) *Node {
	n, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return n
}

// allowDates makes an expression match lines with the date, too.
func allowDates(n *Node) *Node {
	var subs []*Node
	for i, s := range n.subs {
		if n.kind == kindSequence && i > 0 {
			switch last := n.subs[i-1]; {
			case last.kind == kindBegin && (s.isBlank() || s.isLiteral(" ") || s.isClass(`\s`)):
				subs = append(subs, maybe(dates, literal(' ')))
				continue
			case last.isLiteral("[") && s.isLiteral("]"):
				subs = append(subs, maybe(datesInBrackets))
			}
		}
		subs = append(subs, allowDates(s))
	}
	return n.with(subs...)
}

// spansLines reports whether an expression matches only texts with a newline.
func spansLines(n *Node) bool {
	switch n.kind {
	case kindLiteral:
		return n.r == '\n'
	case kindClass:
		return n.text == `\n`
	case kindRepeat:
		return n.min > 0 && spansLines(n.subs[0])
	case kindAlternatives:
		return !slices.ContainsFunc(n.subs, func(s *Node) bool { return !spansLines(s) })
	case kindSequence, kindGroup, kindFlags:
		return slices.ContainsFunc(n.subs, spansLines)
	}
	return false
}

// alternative is one alternative of an expression without its anchors; begins and ends tell whether it had them.
type alternative struct {
	node         *Node
	begins, ends bool
}

// splitAlternatives returns the alternatives of an expression that consists of nothing else.
func splitAlternatives(n *Node) []*Node {
	if n.kind == kindAlternatives {
		return n.subs
	}
	return []*Node{n}
}

// stripEnds removes ^, the prefix and $.
func stripEnds(n *Node) alternative {
	w := alternative{}
	subs := n.flatten()
	// Behind them may be white space, which the journal's messages do not begin with.
	for len(subs) > 0 && (subs[0].kind == kindBegin || subs[0].isPrefix() || w.begins && subs[0].isBlank() && subs[0].min == 0) {
		w.begins, subs = true, subs[1:]
	}
	for len(subs) > 0 && subs[len(subs)-1].kind == kindEnd {
		w.ends, subs = true, subs[:len(subs)-1]
	}
	// (?i) at the beginning applies to all that follows, including the anchors.
	if len(subs) == 1 && subs[0].kind == kindFlags && !w.ends {
		inner := stripEnds(subs[0].subs[0])
		return alternative{sequence(subs[0].with(inner.node)), w.begins || inner.begins, inner.ends}
	}
	last := len(subs) - 1
	switch {
	case last > 0 && !w.ends && subs[last-1].kind == kindHost && orEnd(subs[last]):
		subs = subs[:last] // <HOST>(?:\s|$) only means that the address has ended
	case last >= 0 && w.ends && subs[last].isBlank() && subs[last].min == 0:
		subs = subs[:last] // it is allowed anyway
	}
	w.node = sequence(subs...)
	return w
}

// withoutHead removes a spelled-out head of the line. expr is the expression that w was made of: if it has the prefix, there is
// no such head.
func (w alternative) withoutHead(expr *Node) alternative {
	if rest := cutHead(w.node); rest != nil && !expr.has(kindPrefix) {
		w.node, w.begins = rest, true
	}
	return w
}

// orEnd reports whether n is the line's end or a single character.
func orEnd(n *Node) bool {
	for n.kind == kindGroup && n.name == "" {
		n = n.subs[0]
	}
	ends := false
	for _, s := range n.subs {
		for s.kind == kindGroup {
			s = s.subs[0]
		}
		switch s.kind {
		case kindEnd:
			ends = true
		case kindLiteral, kindClass, kindWordBoundary:
		default:
			return false
		}
	}
	return ends && n.kind == kindAlternatives
}

// splitHosts splits alternatives that contain addresses in different places, as in IPv6:<IP6>|<IP4>: a pattern has only one.
func splitHosts(list []*Node) (out []*Node, err error) {
	for len(list) > 0 {
		if len(out)+len(list) > 16 {
			return nil, errors.New("has addresses in too many alternatives")
		}
		if alternatives := splitHost(list[0]); alternatives != nil {
			list = slices.Concat(alternatives, list[1:])
		} else {
			out, list = append(out, list[0]), list[1:]
		}
	}
	return out, nil
}

// splitHost splits the first alternatives of which more than one contains an address. It returns nil if there are none.
func splitHost(n *Node) (out []*Node) {
	if n.kind == kindAlternatives {
		if bare := slices.DeleteFunc(slices.Clone(n.subs), func(s *Node) bool { return s.has(kindHost) }); len(bare)+1 < len(n.subs) {
			return n.subs
		}
	}
	for i, s := range n.subs {
		for _, a := range splitHost(s) {
			out = append(out, n.replacing(i, a))
		}
		if out != nil {
			return out
		}
	}
	return nil
}

// cutHead removes the expression for host and identifier[pid] if it is spelled out instead of using __prefix_line: everything
// up to "[digits]: ", also at the beginning of an optional group. It returns nil if there is none.
func cutHead(n *Node) *Node {
	subs := n.flatten()
	if len(subs) > 0 && (subs[0].kind == kindGroup || subs[0].isOptional()) && !subs[0].has(kindHost) {
		if inner := cutHead(subs[0].subs[0]); inner != nil {
			return loosen(sequence(append([]*Node{inner}, subs[1:]...)...))
		}
	}
	for i := range min(len(subs)-3, 40) {
		if !subs[i].isLiteral("[") || !subs[i+1].isDigits() || !subs[i+2].isLiteral("]") || !subs[i+3].isLiteral(":") {
			continue
		}
		i += 4
		if i < len(subs) && (subs[i].isLiteral(" ") || subs[i].isBlank() || subs[i].isClass(`\s`)) {
			i++
		}
		if slices.ContainsFunc(subs[:i], func(s *Node) bool { return s.has(kindHost) }) {
			return nil
		}
		return loosen(sequence(subs[i:]...))
	}
	return nil
}

// loosen makes white space at the beginning optional, which separated the head from the message.
func loosen(n *Node) *Node {
	switch {
	case n.isBlank():
		c := *n
		c.min = 0
		return &c
	case n.kind == kindGroup || n.kind == kindRepeat:
		return n.with(loosen(n.subs[0]))
	case n.kind == kindSequence:
		for i, s := range n.subs {
			n = n.replacing(i, loosen(s))
			if s.kind != kindRepeat || s.min > 0 && !s.isBlank() {
				break
			}
		}
	}
	return n
}

// combine replaces <F-CONTENT> in a prefregex with a failregex.
func combine(pre *Node, w alternative) (*Node, error) {
	content := sequence(w.node)
	if !w.begins {
		content.subs = append([]*Node{anything()}, content.subs...)
	}
	if !w.ends {
		content.subs = append(content.subs, anything())
	}
	found := 0
	host := w.node.has(kindHost)
	n := pre.rewrite(func(c *Node) *Node {
		switch {
		case c.kind == kindGroup && c.name == "F-CONTENT":
			found++
			return content
		case c.kind == kindHost && host: // the failregex's address has precedence
			c.name = "other"
		}
		return nil
	})
	if found != 1 {
		return nil, errors.New("is combined with a prefregex that does not have exactly one <F-CONTENT>")
	}
	return n, nil
}

var errLookaround = errors.New("has a lookahead or lookbehind ((?!…), (?=…)), which RE2 does not support")

// patterns writes an alternative as patterns: exceptions for each (?!…), then the pattern itself.
func (w alternative) patterns(name string, f strictness) (out []Pattern, err error) {
	kind := "failure"
	switch {
	case w.node.hasGroup("F-NOFAIL"):
		kind = "context"
		if w.node.any(func(n *Node) bool { return n.kind == kindAlternatives && n.hasGroup("F-NOFAIL") }) {
			return nil, errors.New("is a failure only in some of its alternatives (<F-NOFAIL>)")
		}
	case w.node.hasGroup("F-MLFGAINED"):
		kind = "success"
	}
	// The lines of a connection need no address: others may contain it.
	joined := w.node.hasGroup("F-MLFID") || w.node.hasGroup("F-MLFFORGET")
	if !w.node.has(kindHost) && !strings.HasPrefix(name, "ignoreregex") && kind == "failure" && !joined {
		return nil, errors.New("takes no address: it has neither <HOST> nor <ADDR>")
	}
	if f.daemonTail && !w.node.has(kindLookaround) {
		return nil, errors.New("has no lookahead")
	}
	n := w.node
	for i := 1; ; i++ {
		guard, rest := cutLook(n)
		if guard == nil {
			break
		}
		if guard.has(kindLookaround) || i > 8 {
			return nil, errLookaround
		}
		if kind != "failure" {
			return nil, errors.New("has a lookahead ((?!…)) in a line that is not a failure")
		}
		exception := f
		exception.once = false
		g, err := alternative{guard, w.begins, false}.pattern(fmt.Sprintf("%s-except-%d", name, i), "context", exception)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
		n = rest
	}
	if n.has(kindLookaround) {
		return nil, errLookaround
	}
	subs := n.flatten()
	for f.once && len(subs) > 0 && subs[len(subs)-1].kind == kindWordBoundary { // an address ends there anyway
		subs = subs[:len(subs)-1]
	}
	if last := len(subs) - 1; last > 0 && subs[last].isAnything() && subs[last-1].kind == kindHost {
		subs, w.ends = subs[:last], false
	}
	port := false
	if i := slices.IndexFunc(subs, func(s *Node) bool { return s.kind == kindHost }); f.once && i >= 0 && i+1 < len(subs) && optionalPort(subs[i+1]) {
		subs = slices.Delete(slices.Clone(subs), i+1, i+2) // another pattern matches it with a port
		port = true
	}
	w.node = sequence(subs...)
	p, err := w.pattern(name, kind, f)
	if err != nil {
		return nil, err
	}
	out = append(out, p)
	if f.once && (port || !w.ends && len(subs) > 0 && subs[len(subs)-1].kind == kindHost) { // 192.0.2.1:25 and [2001:db8::1]:25
		f.peer = true
		if p, err = w.pattern(name+"-port", kind, f); err == nil {
			out = append(out, p)
		}
	}
	return out, nil
}

// cutLook finds the first (?!…) outside of repetitions. guard matches lines that contain what the lookahead forbids, rest
// is the expression without it. RE2 has no lookahead, but a pattern of kind context before the other one has the same
// effect.
func cutLook(n *Node) (guard, rest *Node) {
	switch n.kind {
	case kindLookaround:
		if n.text == "!" {
			return n.subs[0], sequence()
		}
	case kindSequence, kindAlternatives, kindGroup, kindFlags:
		for i, s := range n.subs {
			g, r := cutLook(s)
			if g == nil {
				continue
			}
			switch n.kind {
			case kindSequence:
				g = n.with(append(slices.Clone(n.subs[:i]), g)...)
			case kindGroup, kindFlags:
				g = n.with(g)
			}
			return g, n.replacing(i, r)
		}
	}
	return nil, nil
}
