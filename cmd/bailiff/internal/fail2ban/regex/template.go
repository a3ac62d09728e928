package regex

import (
	"regexp"
	"slices"
	"strings"
)

// template writes an expression as a template: literals, alternatives, and fields that have a class. It returns "" if that is
// not possible.
func template(n *Node, f strictness) string {
	t := &templateWriter{strictness: f, names: names{}}
	s := t.write(n, 0)
	if t.failed || len(s) > maxRegexOut || t.texts > 8 {
		return ""
	}
	return s
}

type templateWriter struct {
	strictness
	names
	texts  int
	after  bool // the address is written
	failed bool // a template cannot say it
}

func (t *templateWriter) fail() string { t.failed = true; return "" }

// names are the captures that have been written: each may stand in a pattern once.
type names map[string]bool

// free reports whether a capture has not been used yet, and marks it as used.
func (m names) free(name string) bool {
	used := m[name]
	m[name] = true
	return !used
}

// field returns the template class for a repetition, "" if there is none, and whether the repetition may be empty. If the text
// before the address must be unique in the line, other fields may match more than the expression's, since they cannot move the
// address: [^']* becomes any text, \s+ a blank.
func (t *templateWriter) field(n *Node) (class string, empty bool) {
	if n.kind != kindRepeat {
		return "", false
	}
	s, empty := n.subs[0], n.min == 0
	if n.max < 0 && n.min <= 1 {
		switch {
		case s.kind == kindAny:
			return "text", false // includes the empty text
		case s.isClass(`\S`):
			return "word", empty
		case s.isClass(`\d`, "[0-9]"):
			return "num", empty
		case s.isClass(`\w`, `[\w\-]`, `[\w-]`):
			return "token", empty
		}
	}
	if !t.once || s.kind != kindClass || n.max == 0 || n.max == 1 && s.text != `\s` {
		return "", false
	}
	re := regexp.MustCompile(`\A(?:` + s.text + `)\z`)
	switch blank, letter := re.MatchString(" "), re.MatchString("a"); {
	case s.text == `\s`:
		return "blank", empty
	case blank && letter:
		return "text", false
	case !blank && !letter && re.MatchString("7"):
		return "num", empty
	case !blank && letter:
		return "word", empty
	}
	return "", false
}

// portAt returns how many nodes at the beginning of a sequence are a colon and a port. A fixed port counts as any port.
func portAt(subs []*Node) int {
	if len(subs) < 2 || !subs[0].isLiteral(":") {
		return 0
	}
	n := subs[1]
	if n.kind == kindGroup && (n.name == "" || n.name == "F-PORT") {
		n = n.subs[0]
	}
	if n.isDigits() {
		return 2
	}
	i := 1
	for i < len(subs) && subs[i].isLiteral("0123456789") {
		i++
	}
	if i == 1 {
		return 0
	}
	return i
}

func (t *templateWriter) write(n *Node, depth int) string {
	if depth > 14 || t.failed {
		return t.fail()
	}
	switch n.kind {
	case kindLiteral:
		return t.literal(n.r)
	case kindPrefix:
		return ""
	case kindHost:
		switch {
		case n.name == "other":
			return "<ip>"
		case n.name != "HOST" && n.name != "ADDR" || !t.free("addr"):
			return t.fail()
		}
		t.after = true
		switch {
		case t.peer:
			return "<once:peer>"
		case t.once:
			return "<once:addr>"
		}
		return "<addr>"
	case kindClass:
		if n.text == `\s` && t.once {
			return " "
		}
		return t.members(n.text)
	case kindWordBoundary:
		if t.once {
			return ""
		}
	case kindFlags:
		if n.text == "" {
			return t.write(n.subs[0], depth+1)
		}
	case kindSequence:
		return t.sequence(n, depth)
	case kindAlternatives:
		var l []string
		for _, s := range n.subs {
			l = append(l, t.write(s, depth+1))
		}
		return "{" + strings.Join(l, "|") + "}"
	case kindGroup:
		return t.group(n, depth)
	case kindRepeat:
		return t.repeat(n, depth)
	}
	return t.fail()
}

func (t *templateWriter) sequence(n *Node, depth int) string {
	var b strings.Builder
	for i := 0; i < len(n.subs); i++ {
		s := n.subs[i]
		text := t.write(s, depth+1)
		if s.kind == kindHost && s.name != "other" {
			if port := portAt(n.subs[i+1:]); t.once && port > 0 && t.free("port") {
				text = "<once:peer>" // 192.0.2.1:25 and [2001:db8::1]:25
				i += port
			} else if !t.once && !bracketed(n.subs, i) {
				text = `{[<addr>]|<addr>}` // fail2ban also accepts [192.0.2.1] as an address
			}
		}
		b.WriteString(text)
	}
	return b.String()
}

func (t *templateWriter) group(n *Node, depth int) string {
	inner := n.subs[0]
	switch capture(n.name) {
	case "id":
		if n.isPrefix() {
			return ""
		}
		return t.fail()
	case "port":
		if inner.isDigits() && inner.min > 0 && t.free("port") {
			return "<port>"
		}
		return t.fail()
	case "user":
		class, empty := t.field(inner)
		if inner.kind == kindAlternatives && slices.ContainsFunc(inner.subs, func(s *Node) bool { return s.isAnything() }) {
			class = "text" // \S+|.*? matches anything
		}
		if class == "" || class == "blank" || !t.free("user") {
			break
		}
		s := "<user:" + class + ">"
		if class == "text" && t.daemonTail && t.after {
			s = "<trusted>"
		} else if class == "text" {
			s = "<user>"
			t.texts++
		}
		return optional(s, empty)
	}
	return t.write(inner, depth)
}

func (t *templateWriter) repeat(n *Node, depth int) string {
	switch class, empty := t.field(n); class {
	case "":
	case "blank":
		return optional(" ", empty)
	case "text":
		t.texts++
		if t.daemonTail && t.after {
			return "<trusted>"
		}
		fallthrough
	default:
		return optional("<"+class+">", empty)
	}
	text := t.write(n.subs[0], depth+1)
	switch {
	case n.lazy && n.max != 1:
	case n.isOptional() && text == "":
		return ""
	case n.isOptional() && strings.HasPrefix(text, "{") && strings.IndexByte(text, '}') == len(text)-1 && !strings.Contains(text, `\`):
		return text + "?" // {a|b}? reads well; anything else needs its own braces
	case n.isOptional():
		return optional(text, true)
	case n.min == n.max && n.min <= 4 && n.subs[0].kind == kindLiteral:
		return strings.Repeat(text, n.min)
	}
	return t.fail()
}

// optional puts a part of a template into braces that say so, if it is.
func optional(s string, is bool) string {
	if is {
		return "{" + s + "}?"
	}
	return s
}

// bracketed reports whether the character next to an address rules out brackets around it.
func bracketed(subs []*Node, i int) bool {
	return i > 0 && subs[i-1].isLiteral("[('\"<=/") || i+1 < len(subs) && subs[i+1].isLiteral("])'\">")
}

func (t *templateWriter) literal(r rune) string {
	switch {
	case strings.ContainsRune(`<>{}|\?`, r):
		return `\` + string(r)
	case r == 0 || r == '\n' || r == '\r' || r == '\t':
		return t.fail()
	}
	return string(r)
}

// members lists the characters of a small class: [Ii], [45].
func (t *templateWriter) members(class string) string {
	inner, ok := strings.CutPrefix(class, "[")
	inner = strings.TrimSuffix(inner, "]")
	if !ok || len(inner) > 6 || strings.ContainsAny(inner, `^-\[]`) {
		return t.fail()
	}
	var l []string
	for _, r := range inner {
		l = append(l, t.literal(r))
	}
	if len(l) < 2 {
		return t.fail()
	}
	return "{" + strings.Join(l, "|") + "}"
}
