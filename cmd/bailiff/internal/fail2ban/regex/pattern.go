package regex

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// joined reports whether an expression belongs to a connection, whose address other lines may contain.
func (w alternative) joined() bool {
	return hasGroup(w.node, "F-MLFID") || hasGroup(w.node, "F-MLFFORGET")
}

// cutLook finds the first (?!…) outside of repetitions. guard matches lines that contain what the lookahead forbids, rest
// is the expression without it. RE2 has no lookahead, but a pattern of kind context before the other one has the same
// effect.
func cutLook(n *Node) (guard, rest *Node) {
	switch n.kind {
	case kindLookaround:
		if n.text == "!" {
			return n.subs[0], &Node{kind: kindSequence}
		}
	case kindSequence, kindAlternatives, kindGroup, kindFlags:
		for i, s := range n.subs {
			g, r := cutLook(s)
			if g == nil {
				continue
			}
			c, d := *n, *n
			d.subs = slices.Clone(n.subs)
			d.subs[i] = r
			switch n.kind {
			case kindSequence:
				c.subs = append(slices.Clone(n.subs[:i]), g)
			case kindAlternatives:
				return g, &d
			default:
				c.subs = []*Node{g}
			}
			return &c, &d
		}
	}
	return nil, nil
}

// pattern writes one pattern.
func (w alternative) pattern(name, kind string, f strictness) (Pattern, error) {
	p := Pattern{Name: name, Kind: kind}
	subs := flatten(w.node)
	if !w.begins && !(len(subs) > 0 && isAnything(subs[0])) {
		subs = append([]*Node{anything(0)}, subs...)
	}
	if !w.ends && !(len(subs) > 0 && isAnything(subs[len(subs)-1])) {
		rest := anything(0)
		if len(subs) > 0 && subs[len(subs)-1].kind == kindHost {
			rest = afterAddress(f)
		}
		subs = append(subs, rest)
	}
	for i := 0; i+2 < len(subs); i++ {
		if subs[i].kind == kindHost && isAnything(subs[i+1]) && subs[i+1].min == 0 {
			subs = slices.Clone(subs)
			subs[i+1] = afterAddress(f)
		}
	}
	n := &Node{kind: kindSequence, subs: subs}
	switch {
	case f.ipv4Only:
		if !has(n, kindHost) {
			return p, fmt.Errorf("takes no address")
		}
		n = narrow(n)
	case f.daemonTail && !addressFirst(n):
		return p, fmt.Errorf("has free text before the address")
	case f.once && !has(n, kindHost):
		return p, fmt.Errorf("takes no address")
	case f.once && kind != "failure":
		return p, fmt.Errorf("is not a failure")
	}
	if text, ok := template(n, f); ok && !f.noTemplate {
		if f.once {
			if p.Once = beforeAddress(text); !distinct(p.Once) {
				if p.Once == "" {
					return p, fmt.Errorf("no fixed text stands just before the address to tell it from others in the line")
				}
				return p, fmt.Errorf("the text just before the address (%q) is too common to tell it from others in the line", p.Once)
			}
		}
		p.Text = text
		p.Tests = sampleLines(n, 1)
		return p, nil
	}
	if f.once || f.daemonTail {
		return p, fmt.Errorf("it is too complex for a template, which could require that the text before the address is unique in the line")
	}
	e := &regexpWriter{}
	re, err := e.write(n)
	if err != nil {
		return p, err
	}
	if len(re) > maxRegexOut {
		return p, fmt.Errorf("is longer than the %d bytes that a pattern may have", maxRegexOut)
	}
	p.Regexp = re
	compiled, err := regexp.Compile(`(?s)\A(?:` + re + `)\s*\z`)
	if err != nil {
		return p, fmt.Errorf("is not valid for RE2: %w", err)
	}
	for _, s := range sampleLines(n, 24) {
		m := compiled.FindStringSubmatch(s.Line)
		if m == nil {
			continue
		}
		if i := compiled.SubexpIndex("addr"); i >= 0 && m[i] == "" {
			continue
		}
		p.Tests = append(p.Tests, s)
		if len(p.Tests) == 8 {
			break
		}
	}
	if len(p.Tests) == 0 {
		return p, fmt.Errorf("no test line could be generated for it")
	}
	return p, nil
}

// afterAddress matches what may follow an address at the end of an expression: nothing, or text that cannot be part of it.
func afterAddress(f strictness) *Node {
	edge := &Node{kind: kindClass, text: "[^0-9A-Za-z]"}
	if f.once || f.daemonTail { // templates have no such class, and their tests read ":alice" as part of an IPv6 address
		edge = &Node{kind: kindAlternatives}
		for _, s := range []string{" ", ",", ": ", ";", ")", "]", "}", ">", "\"", "'", "/", "|", "&", ". "} {
			seq := &Node{kind: kindSequence}
			for _, r := range s {
				seq.subs = append(seq.subs, &Node{kind: kindLiteral, r: r})
			}
			edge.subs = append(edge.subs, seq)
		}
	}
	return &Node{kind: kindRepeat, max: 1, subs: []*Node{{kind: kindSequence, subs: []*Node{edge, anything(0)}}}}
}

// optionalPort reports whether n is (?::\d+)?.
func optionalPort(n *Node) bool {
	if n.kind != kindRepeat || n.min != 0 || n.max != 1 {
		return false
	}
	subs := flatten(n.subs[0])
	return len(subs) > 0 && portAt(subs) == len(subs)
}

// addressFirst reports whether there is no free text before the address, so that nothing after it can be mistaken for it.
func addressFirst(n *Node) bool {
	free, ok := false, false
	var walk func(n *Node)
	walk = func(n *Node) {
		switch {
		case ok:
		case n.kind == kindHost && n.name != "other":
			ok = !free
			free = true
		case n.kind == kindAny || n.kind == kindClass && n.text == `\S`:
			free = true
		}
		for _, s := range n.subs {
			walk(s)
		}
	}
	walk(n)
	return ok
}

// beforeAddress returns the literal text before <once:addr> or <once:peer> in a template.
func beforeAddress(text string) string {
	var lit strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			lit.WriteByte(text[i])
		case strings.HasPrefix(text[i:], "<once:"):
			return lit.String()
		case strings.ContainsRune("<>{}|", rune(c)) || c == '?' && text[i-1] == '}':
			lit.Reset()
			if c == '<' {
				i += strings.IndexByte(text[i:], '>')
			}
		default:
			lit.WriteByte(c)
		}
	}
	return ""
}

// distinct reports whether a text can mark the place of an address. Brackets and blanks are too common.
func distinct(s string) bool {
	n := 0
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			n++
		}
	}
	return n >= 2
}

// narrow restricts the addresses of an expression to IPv4.
func narrow(n *Node) *Node {
	c := *n
	if n.kind == kindHost && n.name != "other" {
		c.name = "IP4"
	}
	c.subs = nil
	for _, s := range n.subs {
		c.subs = append(c.subs, narrow(s))
	}
	return &c
}
