package regex

import (
	"fmt"
	"regexp"
	"strings"
)

// Addresses as RE2 expressions. They only need to find where an address ends: the matcher parses the address
// again.
const (
	ip4 = `(?:[0-9]{1,3}\.){3}[0-9]{1,3}`
	ip6 = `(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{1,4}|:)?(?:%[0-9A-Za-z]+)?`
)

// regexpWriter writes an expression in RE2's syntax, with the capture names of bailiff's filters.
type regexpWriter struct {
	names map[string]bool
}

// capture returns bailiff's name of the capture for a tag, "" if the tag's text is not needed.
func capture(tag string) string {
	switch {
	case tag == "F-USER" || strings.HasPrefix(tag, "F-ALT_USER") || strings.HasPrefix(tag, "F-TUPLE_USER"):
		return "user"
	case tag == "F-MLFID":
		return "id"
	case tag == "F-PORT":
		return "port"
	}
	return ""
}

func (e *regexpWriter) name(n string) string {
	if n == "" || e.names[n] {
		return ""
	}
	if e.names == nil {
		e.names = make(map[string]bool)
	}
	e.names[n] = true
	return n
}

func (e *regexpWriter) write(n *Node) (string, error) {
	switch n.kind {
	case kindLiteral:
		return quoteRune(n.r), nil
	case kindAny:
		return ".", nil
	case kindClass, kindWordBoundary:
		return n.text, nil
	case kindBegin:
		return "", fmt.Errorf("has a ^ that is not at the beginning")
	case kindEnd:
		return `\s*$`, nil
	case kindPrefix:
		return "", nil
	case kindHost:
		text := ip4 + "|" + ip6
		switch n.name {
		case "IP4":
			text = ip4
		case "IP6":
			text = ip6
		}
		if n.name == "other" || e.name("addr") == "" {
			return `\[?(?:` + text + `)\]?`, nil
		}
		if n.name == "IP4" || n.name == "IP6" {
			return "(?P<addr>" + text + ")", nil
		}
		return `\[?(?P<addr>` + text + `)\]?`, nil
	case kindLookaround:
		return "", errLookaround
	case kindSequence:
		var b strings.Builder
		for _, s := range n.subs {
			text, err := e.write(s)
			if err != nil {
				return "", err
			}
			if s.kind == kindAlternatives && len(n.subs) > 1 {
				text = "(?:" + text + ")"
			}
			b.WriteString(text)
		}
		return b.String(), nil
	case kindAlternatives:
		var alts []string
		for _, s := range n.subs {
			text, err := e.write(s)
			if err != nil {
				return "", err
			}
			alts = append(alts, text)
		}
		return strings.Join(alts, "|"), nil
	case kindFlags:
		text, err := e.write(n.subs[0])
		return "(?" + n.text + ":" + text + ")", err
	case kindGroup:
		name := e.name(capture(n.name))
		if name == "id" && onlyPrefix(n) {
			name = ""
		}
		if name == "port" && !digits(n.subs[0]) {
			name = ""
		}
		text, err := e.write(n.subs[0])
		if err != nil {
			return "", err
		}
		if name != "" {
			return "(?P<" + name + ">" + text + ")", nil
		}
		return "(?:" + text + ")", nil
	case kindRepeat:
		text, err := e.write(n.subs[0])
		if err != nil || text == "" {
			return "", err
		}
		if has(n.subs[0], kindHost) && n.max != 1 {
			return "", fmt.Errorf("may match more than one address")
		}
		switch s := n.subs[0]; s.kind {
		case kindLiteral, kindAny, kindClass, kindFlags:
		case kindGroup:
			if text[0] != '(' {
				text = "(?:" + text + ")"
			}
		default:
			text = "(?:" + text + ")"
		}
		return text + n.quantifier(), nil
	}
	return "", fmt.Errorf("has an unknown part")
}

// Compile compiles the alternatives of one of fail2ban's expressions for Go. Those that RE2 cannot express are left out.
func Compile(expr string) (list []*regexp.Regexp) {
	n, err := Parse(expr)
	if err != nil {
		return nil
	}
	for _, alt := range splitAlternatives(n) {
		w := stripEnds(alt).withoutHead(alt)
		text, err := (&regexpWriter{}).write(w.node)
		if err != nil {
			continue
		}
		if w.begins {
			text = `^(?:` + text + `)`
		}
		if w.ends {
			text = `(?:` + text + `)\s*$`
		}
		if re, err := regexp.Compile(text); err == nil {
			list = append(list, re)
		}
	}
	return list
}
