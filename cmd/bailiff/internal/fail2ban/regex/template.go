package regex

import (
	"regexp"
	"slices"
	"strings"
)

// template writes an expression as a template if that is possible: literals, alternatives, and fields that have a
// class.
func template(n *Node, f strictness) (string, bool) {
	t := &templateWriter{strictness: f}
	s, ok := t.write(n, 0)
	if !ok || s == "" || len(s) > maxRegexOut || t.texts > 8 {
		return "", false
	}
	return s, true
}

type templateWriter struct {
	strictness
	names map[string]bool
	texts int
	after bool // the address is written
}

// free reports whether a capture has not been used yet, and marks it as used.
func (t *templateWriter) free(name string) bool {
	if t.names[name] {
		return false
	}
	if t.names == nil {
		t.names = make(map[string]bool)
	}
	t.names[name] = true
	return true
}

// field returns the template class for a repetition, and whether the repetition may be empty.
func field(n *Node) (class string, empty, ok bool) {
	if n.kind != kindRepeat || n.max >= 0 || n.min > 1 {
		return "", false, false
	}
	switch s := n.subs[0]; {
	case s.kind == kindAny:
		return "text", false, true // includes the empty text
	case s.kind != kindClass:
	case s.text == `\S`:
		return "word", n.min == 0, true
	case s.text == `\d` || s.text == "[0-9]":
		return "num", n.min == 0, true
	case s.text == `\w`:
		return "token", n.min == 0, true
	case s.text == `[\w\-]` || s.text == `[\w-]`:
		return "token", n.min == 0, true
	}
	return "", false, false
}

// field returns the template class for a repetition. If the text before the address must be unique in the line, other
// fields may match more than the expression's, since they cannot move the address: [^']* becomes any text, \s+ a blank.
func (t *templateWriter) field(n *Node) (class string, empty, ok bool) {
	if class, empty, ok = field(n); ok || !t.once || n.kind != kindRepeat || n.subs[0].kind != kindClass {
		return class, empty, ok
	}
	re, err := regexp.Compile(`\A(?:` + n.subs[0].text + `)\z`)
	switch {
	case err != nil:
	case n.subs[0].text == `\s`:
		return "blank", n.min == 0, n.max != 0
	case n.max >= 0 && n.max < 2:
	case re.MatchString(" ") && re.MatchString("a"):
		return "text", false, true
	case !re.MatchString(" ") && !re.MatchString("a") && re.MatchString("7"):
		return "num", n.min == 0, true
	case !re.MatchString(" ") && re.MatchString("a"):
		return "word", n.min == 0, true
	}
	return "", false, false
}

// portAt returns how many nodes at the beginning of a sequence are a colon and a port. A fixed port counts as any port.
func portAt(subs []*Node) int {
	if len(subs) < 2 || subs[0].kind != kindLiteral || subs[0].r != ':' {
		return 0
	}
	n := subs[1]
	if n.kind == kindGroup && (n.name == "" || n.name == "F-PORT") {
		n = n.subs[0]
	}
	if digits(n) {
		return 2
	}
	i := 1
	for i < len(subs) && subs[i].kind == kindLiteral && subs[i].r >= '0' && subs[i].r <= '9' {
		i++
	}
	if i == 1 {
		return 0
	}
	return i
}

func (t *templateWriter) write(n *Node, depth int) (string, bool) {
	if depth > 14 {
		return "", false
	}
	switch n.kind {
	case kindLiteral:
		return escapeTemplate(n.r)
	case kindPrefix:
		return "", true
	case kindHost:
		if n.name == "other" {
			return "<ip>", true
		}
		if n.name != "HOST" && n.name != "ADDR" || !t.free("addr") {
			return "", false
		}
		t.after = true
		if t.peer {
			return "<once:peer>", true
		}
		if t.once {
			return "<once:addr>", true
		}
		return "<addr>", true
	case kindClass:
		if n.text == `\s` && t.once {
			return " ", true
		}
		if l, ok := members(n.text); ok {
			return "{" + strings.Join(l, "|") + "}", true
		}
		return "", false
	case kindWordBoundary:
		return "", t.once
	case kindFlags:
		if n.text == "" {
			return t.write(n.subs[0], depth+1)
		}
		return "", false
	case kindSequence:
		var b strings.Builder
		skip := 0
		for i, s := range n.subs {
			if skip > 0 {
				skip--
				continue
			}
			text, ok := t.write(s, depth+1)
			if !ok {
				return "", false
			}
			if port := portAt(n.subs[i+1:]); s.kind == kindHost && t.once && text != "<ip>" && port > 0 && t.free("port") {
				b.WriteString("<once:peer>") // 192.0.2.1:25 and [2001:db8::1]:25
				skip = port
				continue
			}
			// fail2ban also accepts [192.0.2.1] as an address
			if s.kind == kindHost && !t.once && s.name != "other" && !bracketed(n.subs, i) {
				text = `{[<addr>]|<addr>}`
			}
			b.WriteString(text)
		}
		return b.String(), true
	case kindAlternatives:
		var l []string
		for _, s := range n.subs {
			text, ok := t.write(s, depth+1)
			if !ok {
				return "", false
			}
			l = append(l, text)
		}
		return "{" + strings.Join(l, "|") + "}", true
	case kindGroup:
		inner := n.subs[0]
		for inner.kind == kindSequence && len(inner.subs) == 1 {
			inner = inner.subs[0]
		}
		switch c := capture(n.name); c {
		case "":
			return t.write(n.subs[0], depth)
		case "id":
			if onlyPrefix(n) {
				return "", true
			}
			return "", false
		case "port":
			if digits(inner) && inner.min > 0 && t.free("port") {
				return "<port>", true
			}
			return "", false
		case "user":
			class, empty, ok := t.field(inner)
			if class == "blank" {
				ok = false
			}
			if !ok { // \S+|.*? matches anything
				if inner.kind != kindAlternatives || !slices.ContainsFunc(inner.subs, func(s *Node) bool {
					for s.kind == kindSequence && len(s.subs) == 1 {
						s = s.subs[0]
					}
					c, _, ok := field(s)
					return ok && c == "text"
				}) {
					return t.write(n.subs[0], depth)
				}
				class = "text"
			}
			if !t.free("user") {
				return t.write(n.subs[0], depth)
			}
			s := "<user:" + class + ">"
			if class == "text" && t.daemonTail && t.after {
				s = "<trusted>"
			} else if class == "text" {
				s = "<user>"
				t.texts++
			}
			if empty {
				s = "{" + s + "}?"
			}
			return s, true
		}
	case kindRepeat:
		if class, empty, ok := t.field(n); ok {
			if class == "text" {
				t.texts++
				if t.daemonTail && t.after {
					class = "trusted"
				}
			}
			if class == "blank" {
				if empty {
					return "{ }?", true
				}
				return " ", true
			}
			if empty {
				return "{<" + class + ">}?", true
			}
			return "<" + class + ">", true
		}
		text, ok := t.write(n.subs[0], depth+1)
		switch {
		case !ok || n.lazy && n.max != 1:
		case n.min == 0 && n.max == 1:
			if text == "" {
				return "", true
			}
			// {a|b}? reads well; anything else needs its own braces
			if n.subs[0].kind == kindAlternatives && len(n.subs) == 1 || strings.HasPrefix(text, "{") && strings.IndexByte(text, '}') == len(text)-1 && !strings.Contains(text, `\`) {
				return text + "?", true
			}
			return "{" + text + "}?", true
		case n.min == n.max && n.min <= 4 && n.subs[0].kind == kindLiteral:
			return strings.Repeat(text, n.min), true
		}
	}
	return "", false
}

// bracketed reports whether the character next to an address rules out brackets around it.
func bracketed(subs []*Node, i int) bool {
	if i > 0 && subs[i-1].kind == kindLiteral && strings.ContainsRune("[('\"<=/", subs[i-1].r) {
		return true
	}
	return i+1 < len(subs) && subs[i+1].kind == kindLiteral && strings.ContainsRune("])'\">", subs[i+1].r)
}

func escapeTemplate(r rune) (string, bool) {
	switch {
	case strings.ContainsRune(`<>{}|\`, r):
		return `\` + string(r), true
	case r == '?':
		return `\?`, true
	case r == 0 || r == '\n' || r == '\r' || r == '\t':
		return "", false
	}
	return string(r), true
}

// members lists the characters of a small class: [Ii], [45].
func members(class string) ([]string, bool) {
	inner, ok := strings.CutPrefix(class, "[")
	if !ok || strings.HasPrefix(inner, "^") {
		return nil, false
	}
	inner = strings.TrimSuffix(inner, "]")
	if len(inner) < 1 || len(inner) > 6 || strings.ContainsAny(inner, `-\[]`) {
		return nil, false
	}
	var l []string
	for _, r := range inner {
		s, ok := escapeTemplate(r)
		if !ok {
			return nil, false
		}
		l = append(l, s)
	}
	return l, len(l) > 1
}
