package regex

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// pattern writes one pattern.
func (w alternative) pattern(name, kind string, f strictness) (Pattern, error) {
	p := Pattern{Name: name, Kind: kind}
	subs := w.node.flatten()
	if !w.begins && (len(subs) == 0 || !subs[0].isAnything()) {
		subs = append([]*Node{anything()}, subs...)
	}
	if last := len(subs) - 1; !w.ends && (last < 0 || !subs[last].isAnything()) {
		rest := anything()
		if last >= 0 && subs[last].kind == kindHost {
			rest = afterAddress(f)
		}
		subs = append(subs, rest)
	}
	for i := 0; i+2 < len(subs); i++ {
		if subs[i].kind == kindHost && subs[i+1].isAnything() && subs[i+1].min == 0 {
			subs = slices.Clone(subs)
			subs[i+1] = afterAddress(f)
		}
	}
	n := sequence(subs...)
	switch {
	case (f.ipv4Only || f.once) && !n.has(kindHost):
		return p, errors.New("takes no address")
	case f.ipv4Only:
		n = n.rewrite(func(c *Node) *Node {
			if c.kind == kindHost && c.name != "other" {
				c.name = "IP4"
			}
			return nil
		})
	case f.daemonTail && !addressFirst(n):
		return p, errors.New("has free text before the address")
	case f.once && kind != "failure":
		return p, errors.New("is not a failure")
	}
	if p.Text = template(n, f); p.Text != "" && !f.noTemplate {
		p.Tests = sampleLines(n, 1)
		if !f.once {
			return p, nil
		}
		switch p.Once = beforeAddress(p.Text); {
		case p.Once == "":
			return p, errors.New("no fixed text stands just before the address to tell it from others in the line")
		case !distinct(p.Once):
			return p, fmt.Errorf("the text just before the address (%q) is too common to tell it from others in the line", p.Once)
		}
		return p, nil
	}
	if f.once || f.daemonTail {
		return p, errors.New("it is too complex for a template, which could require that the text before the address is unique in the line")
	}
	var err error
	p.Text = ""
	if p.Regexp, err = writeRegexp(n); err != nil {
		return p, err
	}
	if len(p.Regexp) > maxRegexOut {
		return p, fmt.Errorf("is longer than the %d bytes that a pattern may have", maxRegexOut)
	}
	compiled, err := regexp.Compile(`(?s)\A(?:` + p.Regexp + `)\s*\z`)
	if err != nil {
		return p, fmt.Errorf("is not valid for RE2: %w", err)
	}
	for _, s := range sampleLines(n, 24) {
		m := compiled.FindStringSubmatch(s.Line)
		if i := compiled.SubexpIndex("addr"); m != nil && (i < 0 || m[i] != "") && len(p.Tests) < 8 {
			p.Tests = append(p.Tests, s)
		}
	}
	if len(p.Tests) == 0 {
		return p, errors.New("no test line could be generated for it")
	}
	return p, nil
}

// afterAddress matches what may follow an address at the end of an expression: nothing, or text that cannot be part of it.
func afterAddress(f strictness) *Node {
	edge := &Node{kind: kindClass, text: "[^0-9A-Za-z]"}
	if f.once || f.daemonTail { // templates have no such class, and their tests read ":alice" as part of an IPv6 address
		edge = &Node{kind: kindAlternatives}
		for _, s := range []string{" ", ",", ": ", ";", ")", "]", "}", ">", "\"", "'", "/", "|", "&", ". "} {
			text := sequence()
			for _, r := range s {
				text.subs = append(text.subs, literal(r))
			}
			edge.subs = append(edge.subs, text)
		}
	}
	return maybe(edge, anything())
}

// optionalPort reports whether n is (?::\d+)?.
func optionalPort(n *Node) bool {
	if !n.isOptional() {
		return false
	}
	subs := n.subs[0].flatten()
	return len(subs) > 0 && portAt(subs) == len(subs)
}

// addressFirst reports whether there is no free text before the address, so that nothing after it can be mistaken for it.
func addressFirst(n *Node) (first bool) {
	n.any(func(n *Node) bool {
		first = n.kind == kindHost && n.name != "other"
		return first || n.kind == kindAny || n.isClass(`\S`)
	})
	return first
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
