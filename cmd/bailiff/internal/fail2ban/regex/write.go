package regex

import (
	"errors"
	"regexp"
	"strings"
)

// Addresses as RE2 expressions. They only need to find where an address ends: the matcher parses the address
// again.
const (
	ip4 = `(?:[0-9]{1,3}\.){3}[0-9]{1,3}`
	ip6 = `(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{1,4}|:)?(?:%[0-9A-Za-z]+)?`
)

// writeRegexp writes an expression in RE2's syntax, with the capture names of bailiff's filters.
func writeRegexp(n *Node) (string, error) {
	e := &regexpWriter{names: names{}}
	s := e.write(n)
	return s, e.err
}

type regexpWriter struct {
	names
	err error // the first error
}

func (e *regexpWriter) fail(err error) string {
	if e.err == nil {
		e.err = err
	}
	return ""
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

func (e *regexpWriter) write(n *Node) string {
	switch n.kind {
	case kindLiteral:
		return quoteRune(n.r)
	case kindAny:
		return "."
	case kindClass, kindWordBoundary:
		return n.text
	case kindBegin:
		return e.fail(errors.New("has a ^ that is not at the beginning"))
	case kindEnd:
		return `\s*$`
	case kindPrefix:
		return ""
	case kindHost:
		return e.host(n)
	case kindLookaround:
		return e.fail(errLookaround)
	case kindSequence:
		var b strings.Builder
		for _, s := range n.subs {
			text := e.write(s)
			if s.kind == kindAlternatives && len(n.subs) > 1 {
				text = "(?:" + text + ")"
			}
			b.WriteString(text)
		}
		return b.String()
	case kindAlternatives:
		var alts []string
		for _, s := range n.subs {
			alts = append(alts, e.write(s))
		}
		return strings.Join(alts, "|")
	case kindFlags:
		return "(?" + n.text + ":" + e.write(n.subs[0]) + ")"
	case kindGroup:
		head := "(?:"
		if name := capture(n.name); name != "" && e.free(name) && !(name == "id" && n.isPrefix()) && !(name == "port" && !n.subs[0].isDigits()) {
			head = "(?P<" + name + ">"
		}
		return head + e.write(n.subs[0]) + ")"
	case kindRepeat:
		s := n.subs[0]
		text := e.write(s)
		if text == "" {
			return ""
		}
		if s.has(kindHost) && n.max != 1 {
			return e.fail(errors.New("may match more than one address"))
		}
		switch s.kind {
		case kindLiteral, kindAny, kindClass, kindFlags, kindGroup:
		default:
			text = "(?:" + text + ")"
		}
		return text + n.quantifier()
	}
	return e.fail(errors.New("has an unknown part"))
}

func (e *regexpWriter) host(n *Node) string {
	text := ip4 + "|" + ip6
	switch n.name {
	case "IP4":
		text = ip4
	case "IP6":
		text = ip6
	}
	switch {
	case n.name == "other" || !e.free("addr"):
		return `\[?(?:` + text + `)\]?`
	case n.name == "IP4" || n.name == "IP6":
		return "(?P<addr>" + text + ")"
	}
	return `\[?(?P<addr>` + text + `)\]?`
}

// Compile compiles the alternatives of one of fail2ban's expressions for Go. Those that RE2 cannot express are left out.
func Compile(expr string) (list []*regexp.Regexp) {
	n, err := Parse(expr)
	if err != nil {
		return nil
	}
	for _, alt := range splitAlternatives(n) {
		w := stripEnds(alt).withoutHead(alt)
		text, err := writeRegexp(w.node)
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
