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
	err   error    // the first error
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
	n := p.alt("")
	if p.i < len(p.s) {
		p.fail("is not a regular expression: unmatched %q", p.s[p.i:p.i+1])
	}
	return n, p.err
}

// fail ends the parsing: nothing is left to read. The node that it returns has no meaning.
func (p *parser) fail(format string, args ...any) *Node {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
	p.i = len(p.s)
	return &Node{}
}

// skip passes over a text if it is next.
func (p *parser) skip(text string) bool {
	ok := strings.HasPrefix(p.s[p.i:], text)
	if ok {
		p.i += len(text)
	}
	return ok
}

var fTag = regexp.MustCompile(`^<(/?)([\w\-]+)(/?)>`)

// alt parses alternatives up to ) or, within a tag, up to its end.
func (p *parser) alt(tag string) *Node {
	if p.depth++; p.depth > maxDepth {
		return p.fail("is nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	n := &Node{kind: kindAlternatives}
	for {
		if n.subs = append(n.subs, p.seq(tag)); !p.skip("|") {
			return n.single()
		}
	}
}

func (p *parser) seq(tag string) *Node {
	n := &Node{kind: kindSequence}
	for p.i < len(p.s) && p.s[p.i] != '|' && p.s[p.i] != ')' && (tag == "" || !strings.HasPrefix(p.s[p.i:], "</"+tag+">")) {
		a := p.atom()
		switch {
		case a == nil: // a comment
			continue
		case a.kind == kindFlags && a.subs == nil: // (?i) holds from here on
			a.subs = []*Node{p.alt(tag)}
		default:
			a = p.repeat(a)
			if p.nodes++; p.nodes > maxNodes {
				p.fail("has more than %d parts", maxNodes)
			}
		}
		n.subs = append(n.subs, a)
	}
	return n.single()
}

var quantifier = regexp.MustCompile(`^(?:[*+?]|\{\d+\}|\{\d*,\d*\})`)

// repeat parses the quantifiers of an atom, if there are any.
func (p *parser) repeat(a *Node) *Node {
	for {
		q := quantifier.FindString(p.s[p.i:])
		if q == "" {
			return a
		}
		n := &Node{kind: kindRepeat, subs: []*Node{a}, max: -1}
		switch q[0] {
		case '+':
			n.min = 1
		case '?':
			n.max = 1
		case '{':
			least, most, open := strings.Cut(q[1:len(q)-1], ",")
			n.min, _ = strconv.Atoi(least)
			if most != "" {
				n.max, _ = strconv.Atoi(most)
			} else if !open {
				n.max = n.min
			}
			if n.min > maxRepeat || n.max > maxRepeat {
				return p.fail("has a repetition of more than %d, which RE2 does not support", maxRepeat)
			}
		}
		p.i += len(q)
		if n.lazy = p.skip("?"); !n.lazy && p.skip("+") {
			return p.fail("has a possessive quantifier (%s), which RE2 does not support", p.s[max(0, p.i-5):p.i])
		}
		switch a.kind {
		case kindBegin, kindEnd, kindWordBoundary, kindLookaround:
			return p.fail("repeats an anchor or a lookaround")
		}
		a = n
	}
}

func (p *parser) atom() *Node {
	c, size := utf8.DecodeRuneInString(p.s[p.i:])
	switch c {
	case '(':
		return p.group()
	case '[':
		return p.class()
	case '\\':
		return p.escape()
	case '<':
		if m := fTag.FindStringSubmatch(p.s[p.i:]); m != nil {
			if n := p.tag(m); n != nil {
				return n
			}
		}
	case '*', '+', '?':
		return p.fail("is not a regular expression: nothing to repeat before %q", string(c))
	case utf8.RuneError:
		if size == 1 {
			return p.fail("is not UTF-8")
		}
	}
	p.i += size
	switch c {
	case '.':
		return &Node{kind: kindAny}
	case '^':
		return &Node{kind: kindBegin}
	case '$':
		return &Node{kind: kindEnd}
	case PrefixMark:
		return &Node{kind: kindPrefix}
	}
	return literal(c)
}

// tag parses fail2ban's tags: <HOST> and similar ones, <F-NAME>…</F-NAME>, <F-NAME/>, <SKIPLINES>. It returns nil for a text
// that only looks like one.
func (p *parser) tag(m []string) *Node {
	name, empty := m[2], m[3] != ""
	switch name {
	case "HOST", "ADDR", "IP4", "IP6":
		p.i += len(m[0])
		return &Node{kind: kindHost, name: name}
	case "DNS", "F-DNS", "CIDR", "F-CIDR", "SUBNET", "F-SUBNET":
		if name[0] != 'F' || empty {
			return p.fail("matches a <%s>; only addresses can be banned, and names are never resolved", strings.TrimPrefix(name, "F-"))
		}
	case "SKIPLINES":
		return p.fail("spans several lines (<SKIPLINES>): lines are matched one by one and correlated by process or ID")
	}
	up, ok := strings.CutPrefix(name, "F-")
	switch {
	case !ok || strings.ToUpper(up) != up:
		return nil
	case empty:
		switch up {
		case "IP4", "IP6", "ADDR":
			p.i += len(m[0])
			return &Node{kind: kindHost, name: up}
		case "ID":
			return p.fail("bans something other than an address (<F-ID/>)")
		case "PORT":
			p.i += len(m[0])
			return &Node{kind: kindGroup, name: "F-PORT", subs: []*Node{{kind: kindRepeat, min: 1, max: -1, subs: []*Node{{kind: kindClass, text: `\w`}}}}}
		}
		return nil
	case m[1] != "" && len(p.open) == 0:
		return nil // a tag that was not opened is literal text
	case m[1] != "":
		return p.fail("has </%s> where <%s> is open", name, p.open[len(p.open)-1])
	}
	p.i += len(m[0])
	p.open = append(p.open, name)
	sub := p.alt(name)
	if !p.skip("</" + name + ">") {
		return p.fail("has a <%s> that is not closed", name)
	}
	p.open = p.open[:len(p.open)-1]
	if up == "ID" {
		return p.fail("bans something other than an address (<F-ID>)")
	}
	return &Node{kind: kindGroup, name: name, subs: []*Node{sub}}
}

var groupHead = regexp.MustCompile(`^\(\?(?:P<(\w+)>|P=(\w+)\)|(:)|(=|!|<=|<!)|(#)|(>)|\((\w+)\)|([aiLmsux]*(?:-[imsx]+)?)([:)]))`)

func (p *parser) group() *Node {
	start := p.i
	n := &Node{kind: kindGroup}
	if !strings.HasPrefix(p.s[p.i:], "(?") {
		p.i++
	} else {
		m := groupHead.FindStringSubmatch(p.s[p.i:])
		if m == nil {
			return p.fail("is not a regular expression: unknown syntax after (: %q", p.s[p.i:min(len(p.s), p.i+8)])
		}
		p.i += len(m[0])
		switch {
		case m[1] != "":
			n.name = m[1]
		case m[2] != "":
			return p.fail("has a backreference ((?P=%s)), which RE2 does not support", m[2])
		case m[3] != "":
		case m[4] != "":
			n.kind, n.text = kindLookaround, m[4]
		case m[5] != "":
			end := strings.IndexByte(p.s[p.i:], ')')
			if end < 0 {
				return p.fail("is not a regular expression: unclosed comment")
			}
			p.i += end + 1
			return nil
		case m[6] != "":
			return p.fail("has an atomic group, which RE2 does not support")
		case m[7] != "":
			return p.fail("has a conditional group ((?(%s)…)), which RE2 does not support", m[7])
		case strings.Trim(m[8], "iaus") != "":
			return p.fail("has the flags %q, which are not supported", m[8])
		default:
			n.kind = kindFlags
			if strings.Contains(m[8], "i") {
				n.text = "i"
			}
			if m[9] == ")" {
				return n // subs are what follows
			}
		}
	}
	n.subs = []*Node{p.alt("")}
	if !p.skip(")") {
		return p.fail("is not a regular expression: ( at byte %d is not closed", start+1)
	}
	if n.kind == kindGroup && n.name == "host" { // <HOST>, as filters before fail2ban 0.9 wrote it
		return &Node{kind: kindHost, name: "HOST"}
	}
	return n
}

func (p *parser) escape() *Node {
	if p.i+1 >= len(p.s) {
		return p.fail(`is not a regular expression: it ends with \`)
	}
	c, size := utf8.DecodeRuneInString(p.s[p.i+1:])
	p.i += 1 + size
	switch c {
	case 'd', 'D', 's', 'S', 'w', 'W':
		return &Node{kind: kindClass, text: `\` + string(c)}
	case 'b', 'B':
		return &Node{kind: kindWordBoundary, text: `\` + string(c)}
	case 'A':
		return &Node{kind: kindBegin}
	case 'Z':
		return &Node{kind: kindEnd}
	case 'n', 't', 'r', 'f', 'v', 'a':
		return literal(rune("\n\t\r\f\v\a"[strings.IndexRune("ntrfva", c)]))
	case 'x', 'u':
		end := p.i + map[rune]int{'x': 2, 'u': 4}[c]
		v, err := strconv.ParseUint(p.s[p.i:min(end, len(p.s))], 16, 32)
		if err != nil || end > len(p.s) {
			return p.fail(`is not a regular expression: \%c without digits`, c)
		}
		p.i = end
		return literal(rune(v))
	}
	switch {
	case c >= '1' && c <= '9':
		return p.fail(`has a backreference (\%c), which RE2 does not support`, c)
	case c == '0' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
		return p.fail(`has the unknown escape \%c`, c)
	}
	return literal(c)
}

// class parses a bracket expression and writes it in RE2's syntax.
func (p *parser) class() *Node {
	start := p.i
	var b strings.Builder
	b.WriteByte('[')
	p.i++
	if p.skip("^") {
		b.WriteByte('^')
	}
	for first := true; p.i < len(p.s); first = false {
		c, size := utf8.DecodeRuneInString(p.s[p.i:])
		switch {
		case c == ']' && !first:
			p.i++
			b.WriteByte(']')
			if _, err := regexp.Compile(b.String()); err != nil {
				return p.fail("has the class %s, which RE2 does not support", p.s[start:p.i])
			}
			return &Node{kind: kindClass, text: b.String()}
		case c == '\\':
			switch e := p.escape(); e.kind {
			case kindClass:
				b.WriteString(e.text)
			case kindLiteral:
				b.WriteString(quoteRune(e.r))
			default:
				return p.fail("has %s in brackets", e.text)
			}
			continue
		case c == '[' || c == ']' || c == '^':
			b.WriteString(`\` + string(c))
		default:
			b.WriteRune(c)
		}
		p.i += size
	}
	return p.fail("is not a regular expression: [ at byte %d is not closed", start+1)
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
	case r == '-':
		return `\-`
	}
	return regexp.QuoteMeta(string(r))
}
