package filter

import (
	"fmt"
	"strings"
)

// The template language. A template is the daemon's message with its variables in angle brackets:
//
//	Failed <word> for {invalid user }?<user> from <addr>{ port <port>}?{ ssh2}?
//
// It matches whole messages. Everything but < { } | and \ stands for itself.
//
//	{a|b}        one of the alternatives, tried in this order; they may contain anything or be empty
//	{a}?         a, or nothing
//	\x           x itself, for x one of < > { } | \ ? (> and ? are special only after < and }), ^ $ . (
//	<class>      text of that class
//	<what:class> the same, captured as the user, id or count of the line
//	<trusted:class>  the same, but chosen by the daemon: no client can influence it
//	<source>     a token that the daemon chose: the module or database that wrote the line
//	<once:addr>  an address (or <once:peer>); the text before it must occur only once in the line
//	<name>       a fragment: a template named by define: in the file, or in fragments.yaml for all files
//
// Always captured are <addr>, <addr4>, <peer> (address and port), <port>, <user> (text), <account> and <login> (a
// user), <id> (token) and <count> (num).
//
// <text> is text that a client may have chosen. It takes as much as it can, so the text after it is found from the end of
// the line, which the daemon writes and the client cannot reach: in "Failed password for x from 192.0.2.1 from 198.51.100.9
// port 22 ssh2" the address is the last one. This only works if no client text follows, so a template with client text on
// both sides of <addr> is rejected. <trusted> is text that the daemon chose (a library's error message, for example) and may
// follow.
//
// Some daemons put the address in the middle. If they quote client text and escape quotes in it, <string> matches such text, and <json> and
// <logfmt> skip whole members up to the text that follows, which is never found inside quotes. If they do not (nginx), <once:addr> matches
// only unambiguous lines. A client that sends a copy of the text before the address is not recognized by that line, but cannot get anybody
// else banned either. This holds only if the daemon always writes that text: where it gives another reason, or cuts the line before it, the
// client's copy is the only one.

// class is the kind of text that a field matches.
type class uint8

const (
	classText    class = iota // anything, or nothing: a client's words
	classTrusted              // anything, or nothing: the daemon's words
	classWord                 // 1 to 256 bytes without spaces and control characters
	classHost                 // a host name: letters, digits, - _ and dots; never resolved
	classToken                // letters, digits, - and _
	classAccount              // a user name that the daemon has checked: letters, digits, @ . _ + % - and what is not ASCII
	classLogin                // a user name of HTTP basic authentication: anything but a colon (RFC 7617, section 2)
	classMailbox              // no spaces and no quoting characters: what a mail server accepts as an address or a HELO
	classQuoted               // up to the next ", if the daemon does not escape quotes (nginx)
	classString               // up to the next " without a \ before it, if the daemon escapes quotes (JSON, Go, Apache)
	classNum                  // up to 20 digits
	classAddr                 // an IPv4 or IPv6 address, also v4-mapped, also with a zone
	classAddr4                // an IPv4 address, also v4-mapped
	classIP                   // the same as classAddr, but not the client's
	classPort                 // 0 to 65535
	classJSON                 // JSON, up to the text that follows, at the same depth of brackets and outside of quotes
	classLogfmt               // key=value pairs with values in quotes where they need it, up to the text that follows
	classPeer                 // an address and a port: 192.0.2.1:25, [2001:db8::1]:25 and 2001:db8::1:25
)

// capture is what a field is captured as.
type capture int8

const (
	capNone capture = iota - 1
	capUser
	capID
	capCount
	capAddr
	capPort
	capSource
	nCaptures
)

var captureNames = [nCaptures]string{"user", "id", "count", "addr", "port", "source"}

var fields = map[string]struct {
	class class
	cap   capture
}{
	"addr":    {classAddr, capAddr},
	"addr4":   {classAddr4, capAddr},
	"port":    {classPort, capPort},
	"user":    {classText, capUser},
	"id":      {classToken, capID},
	"source":  {classToken, capSource},
	"count":   {classNum, capCount},
	"text":    {classText, capNone},
	"trusted": {classTrusted, capNone},
	"word":    {classWord, capNone},
	"host":    {classHost, capNone},
	"token":   {classToken, capNone},
	"account": {classAccount, capUser},
	"login":   {classLogin, capUser},
	"mailbox": {classMailbox, capNone},
	"quoted":  {classQuoted, capNone},
	"string":  {classString, capNone},
	"num":     {classNum, capNone},
	"ip":      {classIP, capNone},
	"json":    {classJSON, capNone},
	"logfmt":  {classLogfmt, capNone},
	"peer":    {classPeer, capAddr},
}

// client reports whether text of this class can contain a forged part of a message.
func (c class) client() bool { return c == classText }

// narrow reports whether a client can choose text of this class, but only from characters that exclude the text that follows.
func (c class) narrow() bool {
	return c == classWord || c == classHost || c == classToken || c == classAccount || c == classLogin || c == classMailbox || c == classQuoted || c == classString
}

// in reports whether a field of class c matches s.
func (c class) in(s string) bool {
	switch c {
	case classText, classTrusted:
		return true
	case classWord, classHost, classToken, classAccount, classLogin, classMailbox, classNum:
		r := &runs[c]
		if len(s) == 0 || len(s) > r.max || runLength(r, []byte(s)) != len(s) {
			return false
		}
		// No daemon accepts a name from the DNS that looks like an address (sshd: "Nasty PTR record").
		_, n := scanAddr([]byte(s), 0)
		return c != classHost || n == 0
	case classQuoted:
		return !strings.Contains(s, `"`)
	case classString:
		return stringLength([]byte(s)) == len(s)
	}
	return false
}

type nodeKind uint8

const (
	nodeLit nodeKind = iota
	nodeField
	nodeSeq
	nodeAlt
)

// node is a part of a parsed template.
type node struct {
	kind    nodeKind
	lit     string
	class   class
	cap     capture
	trusted bool // chosen by the daemon, although clients can choose text of this class
	once    bool // the literal before it must stand only once in the line
	subs    []*node
}

// clone makes a deep copy of a node: the forgery test distinguishes nodes by their addresses.
func (n *node) clone() *node {
	c := *n
	c.subs = make([]*node, len(n.subs))
	for i, s := range n.subs {
		c.subs[i] = s.clone()
	}
	return &c
}

// Limits of a template, so that a mistake in a file costs neither much memory nor much time. The largest built-in template uses a tenth of
// them.
const (
	maxTemplate = 2048 // bytes
	maxInstrs   = 512
	maxChoices  = 16 // fields with more than one possible end
	maxDepth    = 16 // of braces
)

type templateError struct {
	at   int // byte offset
	text string
	hint string
}

func (e *templateError) Error() string { return fmt.Sprintf("at byte %d: %s", e.at+1, e.text) }

// fragments are named templates, which other templates include as <name>.
type fragments map[string]fragment

type fragment struct {
	node *node
	size int // bytes, with the fragments that it contains
}

type templateParser struct {
	s      string
	i      int
	depth  int
	size   int // of the fragments
	define fragments
}

// parseTemplate reads a template. size is its length in bytes with the fragments written out.
func parseTemplate(s string, define fragments) (n *node, size int, err *templateError) {
	p := &templateParser{s: s, define: define}
	if len(s) > maxTemplate {
		return nil, 0, p.errorf("is longer than %d bytes", maxTemplate)
	}
	if s == "" {
		return nil, 0, p.errorf("is empty")
	}
	n, err = p.seq()
	if err == nil && p.i < len(s) {
		err = p.errorf("%q closes nothing", s[p.i:p.i+1])
		err.hint = `write \` + s[p.i:p.i+1] + ` for the character itself`
	}
	return n, len(s) + p.size, err
}

func (p *templateParser) errorf(format string, args ...any) *templateError {
	return &templateError{at: p.i, text: fmt.Sprintf(format, args...)}
}

// seq reads up to the end, a | or a }.
func (p *templateParser) seq() (*node, *templateError) {
	n := &node{kind: nodeSeq}
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			n.subs = append(n.subs, &node{kind: nodeLit, lit: lit.String()})
			lit.Reset()
		}
	}
	for p.i < len(p.s) {
		switch c := p.s[p.i]; c {
		case '\\':
			if p.i+1 >= len(p.s) || !strings.ContainsRune(`<>{}|\?^$.(`, rune(p.s[p.i+1])) {
				err := p.errorf(`a \ must stand before one of < > { } | \ ?`)
				err.hint = `write \\ for a backslash`
				if p.i+1 < len(p.s) {
					err.hint = escapeHint(p.s[p.i+1])
				}
				return nil, err
			}
			lit.WriteByte(p.s[p.i+1])
			p.i += 2
		case '<':
			f, err := p.field()
			if err != nil {
				return nil, err
			}
			for _, sub := range f {
				if sub.kind == nodeLit {
					lit.WriteString(sub.lit)
					continue
				}
				flush()
				n.subs = append(n.subs, sub)
			}
		case '{':
			flush()
			a, err := p.group()
			if err != nil {
				return nil, err
			}
			n.subs = append(n.subs, a)
		case '|':
			if p.depth == 0 {
				err := p.errorf("| stands outside of braces")
				err.hint = `write {a|b} for alternatives, \| for the character itself`
				return nil, err
			}
			flush()
			return n, nil
		case '}':
			flush()
			return n, nil
		default:
			lit.WriteByte(c)
			p.i++
		}
	}
	flush()
	return n, nil
}

func (p *templateParser) group() (*node, *templateError) {
	open := p.i
	if p.depth++; p.depth > maxDepth {
		return nil, p.errorf("braces are nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	a := &node{kind: nodeAlt}
	for {
		p.i++ // { or |
		s, err := p.seq()
		if err != nil {
			return nil, err
		}
		a.subs = append(a.subs, s)
		if p.i >= len(p.s) {
			p.i = open
			err := p.errorf("{ is never closed")
			err.hint = `write \{ for the character itself`
			return nil, err
		}
		if p.s[p.i] == '}' {
			break
		}
	}
	p.i++
	if p.i < len(p.s) && p.s[p.i] == '?' {
		p.i++
		a.subs = append(a.subs, &node{kind: nodeSeq})
	} else if len(a.subs) == 1 {
		p.i = open
		err := p.errorf("{ } with one alternative")
		err.hint = `write {…}? for what may be missing, \{ for the character itself`
		return nil, err
	}
	return a, nil
}

// field reads <class>, <what:class> or <fragment>. Only a fragment has more than one part.
func (p *templateParser) field() ([]*node, *templateError) {
	end := strings.IndexByte(p.s[p.i:], '>')
	if end < 0 {
		err := p.errorf("< is never closed")
		err.hint = openHint(p.s[p.i+1:])
		return nil, err
	}
	name := p.s[p.i+1 : p.i+end]
	what, cl, two := strings.Cut(name, ":")
	if !two {
		cl = what
	}
	f, ok := fields[cl]
	if part, ok := p.define[name]; ok {
		if p.size += part.size; len(p.s)+p.size > maxTemplate {
			return nil, p.errorf("is longer than %d bytes when its fragments are written out", maxTemplate)
		}
		p.i += end + 1
		return part.node.clone().subs, nil
	}
	if what == "own" {
		err := p.errorf("the field <%s> is now called <%s>", name, strings.Replace(name, "own", "trusted", 1))
		err.hint = "write <" + strings.Replace(name, "own", "trusted", 1) + ">"
		return nil, err
	}
	if !ok {
		err := p.errorf("there is no field <%s>", name)
		err.hint = fieldHint(name, p.define)
		return nil, err
	}
	n := &node{kind: nodeField, class: f.class, cap: f.cap, trusted: f.cap == capSource}
	switch {
	case two && what == "trusted" && f.class.narrow() && f.cap == capNone:
		n.trusted = true
	case two && what == "once" && f.cap == capAddr:
		n.once = true
	case two:
		w, ok := fields[what]
		if !ok || w.cap == capNone || w.cap == capAddr || w.cap == capPort || w.cap == capSource || f.cap != capNone || w.cap == capCount && f.class != classNum || f.class == classIP || f.class == classJSON || f.class == classLogfmt {
			err := p.errorf("<%s> captures nothing that can be captured", name)
			err.hint = "write <user:word>, <id:word>, <count:num> or <trusted:word>"
			return nil, err
		}
		n.cap = w.cap
	}
	p.i += end + 1
	return []*node{n}, nil
}

func (c class) String() string {
	for name, f := range fields {
		if f.class == c && f.cap == capNone {
			return name
		}
	}
	return "field"
}
