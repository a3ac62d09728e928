package regex

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parser parses Python's syntax (docs.python.org/3/library/re.html).
type parser struct {
	s     string
	i     int
	depth int
	nodes int
	open  []string // F- tags that are not closed yet
}

const (
	maxRegexp   = 64 << 10
	maxNodes    = 20_000
	maxDepth    = 100
	maxRepeat   = 1000 // RE2's limit
	maxRegexOut = 2048 // the limit of a pattern in a filter file
)

// Parse parses one of fail2ban's expressions. An error is a predicate, to be appended to the name of the expression; it names
// what is not valid, or not supported by RE2.
func Parse(s string) (*Node, error) {
	if len(s) > maxRegexp {
		return nil, fmt.Errorf("has more than %d bytes", maxRegexp)
	}
	p := &parser{s: s}
	n, err := p.alt("")
	if err != nil {
		return nil, err
	}
	if p.i < len(p.s) {
		return nil, fmt.Errorf("is not a regular expression: unmatched %q", p.s[p.i:p.i+1])
	}
	return n, nil
}

var fTag = regexp.MustCompile(`^<(/?)([\w\-]+)(/?)>`)

// alt parses alternatives up to ) or, within a tag, up to its end.
func (p *parser) alt(tag string) (*Node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("is nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	var alts []*Node
	for {
		n, err := p.seq(tag)
		if err != nil {
			return nil, err
		}
		alts = append(alts, n)
		if p.i < len(p.s) && p.s[p.i] == '|' {
			p.i++
			continue
		}
		if len(alts) == 1 {
			return alts[0], nil
		}
		return &Node{kind: kindAlternatives, subs: alts}, nil
	}
}

func (p *parser) seq(tag string) (*Node, error) {
	n := &Node{kind: kindSequence}
	for p.i < len(p.s) {
		if c := p.s[p.i]; c == '|' || c == ')' {
			break
		}
		if tag != "" && strings.HasPrefix(p.s[p.i:], "</"+tag+">") {
			break
		}
		a, err := p.atom()
		if err != nil {
			return nil, err
		}
		if a == nil {
			continue
		}
		if a.kind == kindFlags && a.subs == nil { // (?i) holds from here on
			rest, err := p.alt(tag)
			if err != nil {
				return nil, err
			}
			a.subs = []*Node{rest}
			n.subs = append(n.subs, a)
			break
		}
		if a, err = p.repeat(a); err != nil {
			return nil, err
		}
		if p.nodes++; p.nodes > maxNodes {
			return nil, fmt.Errorf("has more than %d parts", maxNodes)
		}
		n.subs = append(n.subs, a)
	}
	return n, nil
}

var quantifier = regexp.MustCompile(`^\{(\d*)(,?)(\d*)\}`)

// repeat parses the quantifier of an atom, if there is one.
func (p *parser) repeat(a *Node) (*Node, error) {
	for p.i < len(p.s) {
		n := &Node{kind: kindRepeat, subs: []*Node{a}, max: -1}
		switch c := p.s[p.i]; c {
		case '*':
		case '+':
			n.min = 1
		case '?':
			n.max = 1
		case '{':
			m := quantifier.FindStringSubmatch(p.s[p.i:])
			if m == nil || m[1] == "" && m[2] == "" {
				return a, nil // the character itself
			}
			n.min, _ = strconv.Atoi(m[1])
			switch {
			case m[2] == "":
				n.max = n.min
			case m[3] != "":
				n.max, _ = strconv.Atoi(m[3])
			}
			if n.min > maxRepeat || n.max > maxRepeat {
				return nil, fmt.Errorf("has a repetition of more than %d, which RE2 does not support", maxRepeat)
			}
			p.i += len(m[0]) - 1
		default:
			return a, nil
		}
		p.i++
		if p.i < len(p.s) && p.s[p.i] == '?' {
			n.lazy = true
			p.i++
		} else if p.i < len(p.s) && p.s[p.i] == '+' {
			return nil, fmt.Errorf("has a possessive quantifier (%s), which RE2 does not support", p.s[max(0, p.i-4):p.i+1])
		}
		switch a.kind {
		case kindBegin, kindEnd, kindWordBoundary, kindLookaround:
			return nil, fmt.Errorf("repeats an anchor or a lookaround")
		}
		a = n
	}
	return a, nil
}

func (p *parser) atom() (*Node, error) {
	c, size := utf8.DecodeRuneInString(p.s[p.i:])
	switch c {
	case '(':
		return p.group()
	case '[':
		return p.class()
	case '.':
		p.i++
		return &Node{kind: kindAny}, nil
	case '^':
		p.i++
		return &Node{kind: kindBegin}, nil
	case '$':
		p.i++
		return &Node{kind: kindEnd}, nil
	case '\\':
		return p.escape()
	case '<':
		if m := fTag.FindStringSubmatch(p.s[p.i:]); m != nil {
			if n, ok, err := p.tag(m); ok || err != nil {
				return n, err
			}
		}
	case '*', '+', '?':
		return nil, fmt.Errorf("is not a regular expression: nothing to repeat before %q", string(c))
	case PrefixMark:
		p.i += size
		return &Node{kind: kindPrefix}, nil
	case utf8.RuneError:
		if size == 1 {
			return nil, fmt.Errorf("is not UTF-8")
		}
	}
	p.i += size
	return &Node{kind: kindLiteral, r: c}, nil
}

// tag parses fail2ban's tags: <HOST> and similar ones, <F-NAME>…</F-NAME>, <F-NAME/>, <SKIPLINES>.
func (p *parser) tag(m []string) (*Node, bool, error) {
	name := m[2]
	switch name {
	case "HOST", "ADDR", "IP4", "IP6":
		p.i += len(m[0])
		return &Node{kind: kindHost, name: name}, true, nil
	case "DNS", "F-DNS", "CIDR", "F-CIDR", "SUBNET", "F-SUBNET":
		if name[0] != 'F' || m[3] != "" {
			return nil, true, fmt.Errorf("matches a <%s>; only addresses can be banned, and names are never resolved", strings.TrimPrefix(name, "F-"))
		}
	case "SKIPLINES":
		return nil, true, fmt.Errorf("spans several lines (<SKIPLINES>): lines are matched one by one and correlated by process or ID")
	}
	up, ok := strings.CutPrefix(name, "F-")
	if !ok || strings.ToUpper(up) != up {
		return nil, false, nil
	}
	if m[3] != "" {
		switch up {
		case "IP4", "IP6", "ADDR":
			p.i += len(m[0])
			return &Node{kind: kindHost, name: up}, true, nil
		case "ID":
			return nil, true, fmt.Errorf("bans something other than an address (<F-ID/>)")
		case "PORT":
			p.i += len(m[0])
			word := &Node{kind: kindRepeat, min: 1, max: -1, subs: []*Node{{kind: kindClass, text: `\w`}}}
			return &Node{kind: kindGroup, name: "F-PORT", subs: []*Node{word}}, true, nil
		}
		return nil, false, nil
	}
	if m[1] != "" {
		if len(p.open) == 0 {
			return nil, false, nil // a tag that was not opened is literal text
		}
		return nil, true, fmt.Errorf("has </%s> where <%s> is open", name, p.open[len(p.open)-1])
	}
	p.i += len(m[0])
	p.open = append(p.open, name)
	sub, err := p.alt(name)
	if err != nil {
		return nil, true, err
	}
	if !strings.HasPrefix(p.s[p.i:], "</"+name+">") {
		return nil, true, fmt.Errorf("has a <%s> that is not closed", name)
	}
	p.i += len(name) + 3
	p.open = p.open[:len(p.open)-1]
	if up == "ID" {
		return nil, true, fmt.Errorf("bans something other than an address (<F-ID>)")
	}
	return &Node{kind: kindGroup, name: name, subs: []*Node{sub}}, true, nil
}

var groupHead = regexp.MustCompile(`^\(\?(?:P<(\w+)>|P=(\w+)\)|(:)|(=|!|<=|<!)|(#)|(>)|\((\w+)\)|([aiLmsux]*(?:-[imsx]+)?)([:)]))`)

func (p *parser) group() (*Node, error) {
	start := p.i
	n := &Node{kind: kindGroup}
	if !strings.HasPrefix(p.s[p.i:], "(?") {
		p.i++
	} else {
		m := groupHead.FindStringSubmatch(p.s[p.i:])
		if m == nil {
			return nil, fmt.Errorf("is not a regular expression: unknown syntax after (: %q", p.s[p.i:min(len(p.s), p.i+8)])
		}
		p.i += len(m[0])
		switch {
		case m[1] != "":
			n.name = m[1]
		case m[2] != "":
			return nil, fmt.Errorf("has a backreference ((?P=%s)), which RE2 does not support", m[2])
		case m[3] != "":
		case m[4] != "":
			n.kind, n.text = kindLookaround, m[4]
		case m[5] != "":
			end := strings.IndexByte(p.s[p.i:], ')')
			if end < 0 {
				return nil, fmt.Errorf("is not a regular expression: unclosed comment")
			}
			p.i += end + 1
			return nil, nil
		case m[6] != "":
			return nil, fmt.Errorf("has an atomic group, which RE2 does not support")
		case m[7] != "":
			return nil, fmt.Errorf("has a conditional group ((?(%s)…)), which RE2 does not support", m[7])
		default:
			if strings.Trim(m[8], "iaus") != "" {
				return nil, fmt.Errorf("has the flags %q, which are not supported", m[8])
			}
			flags := ""
			if strings.Contains(m[8], "i") {
				flags = "i"
			}
			n.kind, n.text = kindFlags, flags
			if m[9] == ")" {
				return n, nil // subs are what follows
			}
		}
	}
	sub, err := p.alt("")
	if err != nil {
		return nil, err
	}
	if p.i >= len(p.s) || p.s[p.i] != ')' {
		return nil, fmt.Errorf("is not a regular expression: ( at byte %d is not closed", start+1)
	}
	p.i++
	n.subs = []*Node{sub}
	if n.kind == kindGroup && n.name == "host" { // <HOST>, as filters before fail2ban 0.9 wrote it
		return &Node{kind: kindHost, name: "HOST"}, nil
	}
	return n, nil
}

func (p *parser) escape() (*Node, error) {
	if p.i+1 >= len(p.s) {
		return nil, fmt.Errorf(`is not a regular expression: it ends with \`)
	}
	c, size := utf8.DecodeRuneInString(p.s[p.i+1:])
	p.i += 1 + size
	switch c {
	case 'd', 'D', 's', 'S', 'w', 'W':
		return &Node{kind: kindClass, text: `\` + string(c)}, nil
	case 'b', 'B':
		return &Node{kind: kindWordBoundary, text: `\` + string(c)}, nil
	case 'A':
		return &Node{kind: kindBegin}, nil
	case 'Z':
		return &Node{kind: kindEnd}, nil
	case 'n', 't', 'r', 'f', 'v', 'a':
		return &Node{kind: kindLiteral, r: rune("\n\t\r\f\v\a"[strings.IndexRune("ntrfva", c)])}, nil
	case 'x', 'u':
		digits := 2
		if c == 'u' {
			digits = 4
		}
		if p.i+digits <= len(p.s) {
			if v, err := strconv.ParseUint(p.s[p.i:p.i+digits], 16, 32); err == nil {
				p.i += digits
				return &Node{kind: kindLiteral, r: rune(v)}, nil
			}
		}
		return nil, fmt.Errorf(`is not a regular expression: \%c without digits`, c)
	}
	switch {
	case c >= '1' && c <= '9':
		return nil, fmt.Errorf(`has a backreference (\%c), which RE2 does not support`, c)
	case c == '0' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
		return nil, fmt.Errorf(`has the unknown escape \%c`, c)
	}
	return &Node{kind: kindLiteral, r: c}, nil
}

// class parses a bracket expression and writes it in RE2's syntax.
func (p *parser) class() (*Node, error) {
	start := p.i
	var b strings.Builder
	b.WriteByte('[')
	p.i++
	if strings.HasPrefix(p.s[p.i:], "^") {
		b.WriteByte('^')
		p.i++
	}
	for first := true; ; first = false {
		if p.i >= len(p.s) {
			return nil, fmt.Errorf("is not a regular expression: [ at byte %d is not closed", start+1)
		}
		c, size := utf8.DecodeRuneInString(p.s[p.i:])
		switch {
		case c == ']' && !first:
			p.i++
			b.WriteByte(']')
			if _, err := regexp.Compile(b.String()); err != nil {
				return nil, fmt.Errorf("has the class %s, which RE2 does not support", p.s[start:p.i])
			}
			return &Node{kind: kindClass, text: b.String()}, nil
		case c == '\\':
			e, err := p.escape()
			if err != nil {
				return nil, err
			}
			switch e.kind {
			case kindClass:
				b.WriteString(e.text)
			case kindLiteral:
				b.WriteString(quoteRune(e.r))
			default:
				return nil, fmt.Errorf("has %s in brackets", e.text)
			}
			continue
		case c == '-':
			b.WriteByte('-')
		case c == '[' || c == ']' || c == '^':
			b.WriteString(`\` + string(c))
		default:
			b.WriteRune(c)
		}
		p.i += size
	}
}

// quoteRune escapes a character so that it is literal inside and outside of brackets.
func quoteRune(r rune) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\t':
		return `\t`
	case r < 0x20 || r == 0x7f:
		return fmt.Sprintf(`\x%02x`, r)
	case r == '-' || r == '/' || r == ' ' || r == '"' || r == '\'' || r == '@' || r == '#' || r == '%' || r == '&' || r == '~' || r == '=' || r == ':' || r == '<' || r == '>' || r == '!' || r == ',' || r == ';' || r == '`' || r == '_':
		if r == '-' {
			return `\-`
		}
		return string(r)
	case r < 0x80 && !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'):
		return `\` + string(r)
	}
	return string(r)
}
