package regex

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// dates and datesInBrackets match dates that fail2ban removes from a line before matching, so that expressions begin
// with the blank after the date or contain []. In the journal's message the date is still there.
var dates = func() *Node {
	n, err := Parse(`(?:\d+/\d+/\d+ \d+:\d+:\d+|\d+-\d+-\d+T\d+:\S+|\d+-\d+-\d+ \d+:\S+|\[\d+-\d+-\d+ \d+:\S+\])`)
	if err != nil {
		panic(err)
	}
	return n
}()

var datesInBrackets = func() *Node {
	n, err := Parse(`(?:\d+/\w+/\d+:\d+:\d+:\d+ [+-]\d+|\w+ \w+ \d+ \d+:\d+:\d+(?:\.\d+)? \d+|\d+-\d+-\d+[T ]\d+:\d+:\d+(?:[.,]\d+)?Z?)`)
	if err != nil {
		panic(err)
	}
	return n
}()

// allowDates makes an expression match lines with the date, too.
func allowDates(n *Node) *Node {
	if len(n.subs) == 0 {
		return n
	}
	c := *n
	c.subs = nil
	maybe := func(subs ...*Node) *Node {
		return &Node{kind: kindRepeat, min: 0, max: 1, subs: []*Node{{kind: kindGroup, subs: []*Node{{kind: kindSequence, subs: subs}}}}}
	}
	for i := 0; i < len(n.subs); i++ {
		s := n.subs[i]
		c.subs = append(c.subs, allowDates(s))
		if n.kind != kindSequence || i+1 == len(n.subs) {
			continue
		}
		next := n.subs[i+1]
		switch {
		case s.kind == kindBegin && (blank(next) || next.kind == kindLiteral && next.r == ' ' || next.kind == kindClass && next.text == `\s`):
			c.subs = append(c.subs, maybe(dates, &Node{kind: kindLiteral, r: ' '}))
			i++
		case s.kind == kindLiteral && s.r == '[' && next.kind == kindLiteral && next.r == ']':
			c.subs = append(c.subs, maybe(datesInBrackets))
		}
	}
	return &c
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
		return len(n.subs) > 0 && !slices.ContainsFunc(n.subs, func(s *Node) bool { return !spansLines(s) })
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
	switch {
	case n.kind == kindAlternatives:
		var l []*Node
		for _, s := range n.subs {
			l = append(l, splitAlternatives(s)...)
		}
		return l
	case n.kind == kindSequence && len(n.subs) == 1 && n.subs[0].kind == kindAlternatives:
		return splitAlternatives(n.subs[0])
	}
	return []*Node{n}
}

// stripEnds removes ^, the prefix and $.
func stripEnds(n *Node) alternative {
	w := alternative{}
	subs := flatten(n)
	for len(subs) > 0 {
		if s := subs[0]; s.kind == kindBegin || onlyPrefix(s) {
			w.begins = true
		} else if w.begins && blank(s) && s.min == 0 {
			// white space before the message, which the journal's messages do not have
		} else {
			break
		}
		subs = subs[1:]
	}
	for len(subs) > 0 && subs[len(subs)-1].kind == kindEnd {
		w.ends, subs = true, subs[:len(subs)-1]
	}
	// (?i) at the beginning applies to all that follows, including the anchors.
	if len(subs) == 1 && subs[0].kind == kindFlags && !w.ends && len(subs[0].subs) == 1 {
		inner := stripEnds(subs[0].subs[0])
		flags := *subs[0]
		flags.subs = []*Node{inner.node}
		return alternative{&Node{kind: kindSequence, subs: []*Node{&flags}}, w.begins || inner.begins, inner.ends}
	}
	// <HOST>(?:\s|$) only means that the address has ended.
	if last := len(subs) - 1; last > 0 && !w.ends && subs[last-1].kind == kindHost && orEnd(subs[last]) {
		subs = subs[:last]
	}
	if w.ends && len(subs) > 0 {
		if s := subs[len(subs)-1]; blank(s) && s.min == 0 {
			subs = subs[:len(subs)-1] // it is allowed anyway
		}
	}
	w.node = &Node{kind: kindSequence, subs: subs}
	return w
}

// withoutHead removes a spelled-out head of the line. expr is the expression that w was made of: if it has the prefix, there is
// no such head.
func (w alternative) withoutHead(expr *Node) alternative {
	if rest, ok := cutHead(w.node); ok && !has(expr, kindPrefix) {
		w.node, w.begins = rest, true
	}
	return w
}

// orEnd reports whether n is the line's end or a single character.
func orEnd(n *Node) bool {
	for (n.kind == kindGroup && n.name == "" || n.kind == kindSequence) && len(n.subs) == 1 {
		n = n.subs[0]
	}
	if n.kind != kindAlternatives {
		return false
	}
	ends := false
	for _, s := range n.subs {
		for (s.kind == kindGroup || s.kind == kindSequence) && len(s.subs) == 1 {
			s = s.subs[0]
		}
		if ends = ends || s.kind == kindEnd; s.kind != kindEnd && s.kind != kindLiteral && s.kind != kindClass && s.kind != kindWordBoundary {
			return false
		}
	}
	return ends
}

// splitHosts splits alternatives that contain addresses in different places, as in IPv6:<IP6>|<IP4>: a pattern has only one.
func splitHosts(list []*Node) ([]*Node, error) {
	var out []*Node
	for len(list) > 0 {
		if len(out)+len(list) > 16 {
			return nil, fmt.Errorf("has addresses in too many alternatives")
		}
		n := list[0]
		list = list[1:]
		if alternatives := splitHost(n); alternatives != nil {
			list = append(alternatives, list...)
			continue
		}
		out = append(out, n)
	}
	return out, nil
}

// splitHost splits the first alternatives of which more than one contains an address. It returns nil if there are none.
func splitHost(n *Node) []*Node {
	if n.kind == kindAlternatives {
		hosts := 0
		for _, s := range n.subs {
			if has(s, kindHost) {
				hosts++
			}
		}
		if hosts > 1 {
			return n.subs
		}
	}
	for i, s := range n.subs {
		alternatives := splitHost(s)
		if alternatives == nil {
			continue
		}
		var out []*Node
		for _, w := range alternatives {
			c := *n
			c.subs = slices.Clone(n.subs)
			c.subs[i] = w
			out = append(out, &c)
		}
		return out
	}
	return nil
}

// cutHead removes the expression for host and identifier[pid] if it is spelled out instead of using
// __prefix_line: everything up to "[digits]: ", also at the beginning of an optional group.
func cutHead(n *Node) (*Node, bool) {
	subs := flatten(n)
	if len(subs) > 0 && (subs[0].kind == kindGroup || subs[0].kind == kindRepeat && subs[0].min == 0 && subs[0].max == 1) && !has(subs[0], kindHost) {
		if inner, ok := cutHead(subs[0].subs[0]); ok {
			return loosen(&Node{kind: kindSequence, subs: append([]*Node{inner}, subs[1:]...)}), true
		}
	}
	lit := func(i int, r rune) bool { return i < len(subs) && subs[i].kind == kindLiteral && subs[i].r == r }
	for i := range min(len(subs), 40) {
		if !lit(i, '[') || i+1 >= len(subs) || subs[i+1].kind != kindRepeat || subs[i+1].subs[0].text != `\d` && subs[i+1].subs[0].text != "[0-9]" || !lit(i+2, ']') || !lit(i+3, ':') {
			continue
		}
		i += 4
		if lit(i, ' ') || i < len(subs) && (blank(subs[i]) || subs[i].text == `\s`) {
			i++
		}
		if slices.ContainsFunc(subs[:i], func(s *Node) bool { return has(s, kindHost) }) {
			return nil, false
		}
		return loosen(&Node{kind: kindSequence, subs: subs[i:]}), true
	}
	return nil, false
}

// loosen makes white space at the beginning optional, which separated the head from the message.
func loosen(n *Node) *Node {
	switch {
	case blank(n):
		c := *n
		c.min = 0
		return &c
	case n.kind == kindSequence:
		c := *n
		c.subs = slices.Clone(n.subs)
		for i, s := range c.subs {
			c.subs[i] = loosen(s)
			if s.kind != kindRepeat || s.min > 0 && !blank(s) {
				break
			}
		}
		return &c
	case n.kind == kindGroup || n.kind == kindRepeat:
		c := *n
		c.subs = []*Node{loosen(n.subs[0])}
		return &c
	}
	return n
}

// combine replaces <F-CONTENT> in a prefregex with a failregex.
func combine(pre *Node, w alternative) (*Node, error) {
	var subs []*Node
	if !w.begins {
		subs = append(subs, anything(0))
	}
	subs = append(subs, w.node)
	if !w.ends {
		subs = append(subs, anything(0))
	}
	content := &Node{kind: kindSequence, subs: subs}
	found := 0
	host := has(w.node, kindHost)
	var replace func(n *Node) *Node
	replace = func(n *Node) *Node {
		if n.kind == kindGroup && n.name == "F-CONTENT" {
			found++
			return content
		}
		c := *n
		if n.kind == kindHost && host { // the failregex's address has precedence
			c.name = "other"
		}
		c.subs = nil
		for _, s := range n.subs {
			c.subs = append(c.subs, replace(s))
		}
		return &c
	}
	n := replace(pre)
	if found != 1 {
		return nil, fmt.Errorf("is combined with a prefregex that does not have exactly one <F-CONTENT>")
	}
	return n, nil
}

var errLookaround = errors.New("has a lookahead or lookbehind ((?!…), (?=…)), which RE2 does not support")

// patterns writes an alternative as patterns: exceptions for each (?!…), then the pattern itself.
func (w alternative) patterns(name string, f strictness) ([]Pattern, error) {
	kind := "failure"
	switch {
	case hasGroup(w.node, "F-NOFAIL"):
		kind = "context"
		if underAlt(w.node, "F-NOFAIL", false) {
			return nil, fmt.Errorf("is a failure only in some of its alternatives (<F-NOFAIL>)")
		}
	case hasGroup(w.node, "F-MLFGAINED"):
		kind = "success"
	}
	if !has(w.node, kindHost) && !strings.HasPrefix(name, "ignoreregex") && kind == "failure" && !w.joined() {
		return nil, fmt.Errorf("takes no address: it has neither <HOST> nor <ADDR>")
	}
	if f.daemonTail && !has(w.node, kindLookaround) {
		return nil, fmt.Errorf("has no lookahead")
	}
	var out []Pattern
	n := w.node
	for i := 1; ; i++ {
		guard, rest := cutLook(n)
		if guard == nil {
			break
		}
		if has(guard, kindLookaround) || i > 8 {
			return nil, errLookaround
		}
		if kind == "context" || kind == "success" {
			return nil, fmt.Errorf("has a lookahead ((?!…)) in a line that is not a failure")
		}
		g, err := alternative{guard, w.begins, false}.pattern(fmt.Sprintf("%s-except-%d", name, i), "context", strictness{daemonTail: f.daemonTail, noTemplate: f.noTemplate, ipv4Only: f.ipv4Only})
		if err != nil {
			return nil, err
		}
		out = append(out, g)
		n = rest
	}
	if has(n, kindLookaround) {
		return nil, errLookaround
	}
	subs := flatten(n)
	for f.once && len(subs) > 0 && subs[len(subs)-1].kind == kindWordBoundary { // an address ends there anyway
		subs = subs[:len(subs)-1]
	}
	if last := len(subs) - 1; last > 0 && isAnything(subs[last]) && subs[last-1].kind == kindHost {
		subs, w.ends = subs[:last], false
	}
	if i := slices.IndexFunc(subs, func(s *Node) bool { return s.kind == kindHost }); f.once && i >= 0 && i+1 < len(subs) && optionalPort(subs[i+1]) {
		subs = slices.Delete(slices.Clone(subs), i+1, i+2) // another pattern matches it with a port
		f.port = true
	}
	n = &Node{kind: kindSequence, subs: subs}
	p, err := alternative{n, w.begins, w.ends}.pattern(name, kind, f)
	if err != nil {
		return nil, err
	}
	out = append(out, p)
	if f.once && (f.port || !w.ends && len(subs) > 0 && subs[len(subs)-1].kind == kindHost) { // 192.0.2.1:25 and [2001:db8::1]:25
		f.peer = true
		if p, err = (alternative{n, w.begins, w.ends}).pattern(name+"-port", kind, f); err == nil {
			out = append(out, p)
		}
	}
	return out, nil
}
