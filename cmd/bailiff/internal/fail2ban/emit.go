package fail2ban

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Addresses as RE2 expressions. What they take is looked at again by the matcher: they only need to find where an address
// ends.
const (
	ip4 = `(?:[0-9]{1,3}\.){3}[0-9]{1,3}`
	ip6 = `(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{1,4}|:)?(?:%[0-9A-Za-z]+)?`
)

// emitter writes an expression for RE2 with our names for captures.
type emitter struct {
	names map[string]bool
}

// captures are the tags whose text we take, by our name.
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

func (e *emitter) name(n string) string {
	if n == "" || e.names[n] {
		return ""
	}
	if e.names == nil {
		e.names = make(map[string]bool)
	}
	e.names[n] = true
	return n
}

func (e *emitter) regexp(n *reNode) (string, error) {
	switch n.kind {
	case reLit:
		return quoteRune(n.r), nil
	case reAny:
		return ".", nil
	case reClass, reEdge:
		return n.text, nil
	case reBegin:
		return "", fmt.Errorf("has a ^ that is not at its beginning")
	case reEnd:
		return `\s*$`, nil
	case rePrefix:
		return "", nil
	case reHost:
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
	case reLook:
		return "", fmt.Errorf("looks ahead or behind ((?!…), (?=…)) in a way that RE2 cannot")
	case reSeq:
		var b strings.Builder
		for _, s := range n.subs {
			text, err := e.regexp(s)
			if err != nil {
				return "", err
			}
			if s.kind == reAlt && len(n.subs) > 1 {
				text = "(?:" + text + ")"
			}
			b.WriteString(text)
		}
		return b.String(), nil
	case reAlt:
		var alts []string
		for _, s := range n.subs {
			text, err := e.regexp(s)
			if err != nil {
				return "", err
			}
			alts = append(alts, text)
		}
		return strings.Join(alts, "|"), nil
	case reFlags:
		text, err := e.regexp(n.subs[0])
		return "(?" + n.text + ":" + text + ")", err
	case reGroup:
		name := e.name(capture(n.name))
		if name == "id" && onlyPrefix(n) {
			name = ""
		}
		if name == "port" && !digits(n.subs[0]) {
			name = ""
		}
		text, err := e.regexp(n.subs[0])
		if err != nil {
			return "", err
		}
		if name != "" {
			return "(?P<" + name + ">" + text + ")", nil
		}
		return "(?:" + text + ")", nil
	case reRep:
		text, err := e.regexp(n.subs[0])
		if err != nil || text == "" {
			return "", err
		}
		if has(n.subs[0], reHost) && n.max != 1 {
			return "", fmt.Errorf("may take more than one address")
		}
		switch s := n.subs[0]; s.kind {
		case reLit, reAny, reClass, reFlags:
		case reGroup:
			if text[0] != '(' {
				text = "(?:" + text + ")"
			}
		default:
			text = "(?:" + text + ")"
		}
		return text + n.quantifier(), nil
	}
	return "", fmt.Errorf("has a part that is not known")
}

// compileRegexps compiles the alternatives of one of fail2ban's expressions for Go. Those that RE2 cannot express are left out.
func compileRegexps(expr string) (list []*regexp.Regexp) {
	n, err := parseRegexp(expr)
	if err != nil {
		return nil
	}
	for _, alt := range alternatives(n) {
		w := stripEnds(alt)
		if cut, ok := cutHead(w.node); ok && !has(alt, rePrefix) {
			w.node, w.begins = cut, true
		}
		text, err := (&emitter{}).regexp(w.node)
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

func (n *reNode) quantifier() string {
	q := ""
	switch {
	case n.min == 0 && n.max < 0:
		q = "*"
	case n.min == 1 && n.max < 0:
		q = "+"
	case n.min == 0 && n.max == 1:
		q = "?"
	case n.max < 0:
		q = fmt.Sprintf("{%d,}", n.min)
	case n.min == n.max:
		q = fmt.Sprintf("{%d}", n.min)
	default:
		q = fmt.Sprintf("{%d,%d}", n.min, n.max)
	}
	if n.lazy {
		q += "?"
	}
	return q
}

func digits(n *reNode) bool {
	for n.kind == reSeq && len(n.subs) == 1 {
		n = n.subs[0]
	}
	return n.kind == reRep && n.subs[0].kind == reClass && (n.subs[0].text == `\d` || n.subs[0].text == `[0-9]`)
}

// template writes an expression as a template, if a template says the same: literals, alternatives, and fields whose
// class we have.
func template(n *reNode, f form) (string, bool) {
	t := &templater{form: f}
	s, ok := t.write(n, 0)
	if !ok || s == "" || len(s) > maxRegexOut || t.texts > 8 {
		return "", false
	}
	return s, true
}

type templater struct {
	form
	names map[string]bool
	texts int
	after bool // the address is written
}

// free says whether a capture is not taken yet, and takes it.
func (t *templater) free(name string) bool {
	if t.names[name] {
		return false
	}
	if t.names == nil {
		t.names = make(map[string]bool)
	}
	t.names[name] = true
	return true
}

// field is the class for a repetition, and whether it may also take nothing.
func field(n *reNode) (class string, empty, ok bool) {
	if n.kind != reRep || n.max >= 0 || n.min > 1 {
		return "", false, false
	}
	switch s := n.subs[0]; {
	case s.kind == reAny:
		return "text", false, true // it takes nothing, too
	case s.kind != reClass:
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

// field is the class for a repetition. Where the text before the address stands only once in the line, other fields may
// take more than the expression's, since no such text can move the address: [^']* is any text then, \s+ a blank.
func (t *templater) field(n *reNode) (class string, empty, ok bool) {
	if class, empty, ok = field(n); ok || !t.once || n.kind != reRep || n.subs[0].kind != reClass {
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

// portAt says how many parts of a sequence are a colon and a port; a certain port is any for us.
func portAt(subs []*reNode) int {
	if len(subs) < 2 || subs[0].kind != reLit || subs[0].r != ':' {
		return 0
	}
	n := subs[1]
	if n.kind == reGroup && (n.name == "" || n.name == "F-PORT") {
		n = n.subs[0]
	}
	if digits(n) {
		return 2
	}
	i := 1
	for i < len(subs) && subs[i].kind == reLit && subs[i].r >= '0' && subs[i].r <= '9' {
		i++
	}
	if i == 1 {
		return 0
	}
	return i
}

func (t *templater) write(n *reNode, depth int) (string, bool) {
	if depth > 14 {
		return "", false
	}
	switch n.kind {
	case reLit:
		return escapeTemplate(n.r)
	case rePrefix:
		return "", true
	case reHost:
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
	case reClass:
		if n.text == `\s` && t.once {
			return " ", true
		}
		if l, ok := members(n.text); ok {
			return "{" + strings.Join(l, "|") + "}", true
		}
		return "", false
	case reEdge:
		return "", t.once
	case reFlags:
		if n.text == "" {
			return t.write(n.subs[0], depth+1)
		}
		return "", false
	case reSeq:
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
			if port := portAt(n.subs[i+1:]); s.kind == reHost && t.once && text != "<ip>" && port > 0 && t.free("port") {
				b.WriteString("<once:peer>") // 192.0.2.1:25 and [2001:db8::1]:25
				skip = port
				continue
			}
			// fail2ban takes [192.0.2.1] for an address, too
			if s.kind == reHost && !t.once && s.name != "other" && !bracketed(n.subs, i) {
				text = `{[<addr>]|<addr>}`
			}
			b.WriteString(text)
		}
		return b.String(), true
	case reAlt:
		var l []string
		for _, s := range n.subs {
			text, ok := t.write(s, depth+1)
			if !ok {
				return "", false
			}
			l = append(l, text)
		}
		return "{" + strings.Join(l, "|") + "}", true
	case reGroup:
		inner := n.subs[0]
		for inner.kind == reSeq && len(inner.subs) == 1 {
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
			if !ok { // \S+|.*? says: anything
				if inner.kind != reAlt || !slices.ContainsFunc(inner.subs, func(s *reNode) bool {
					for s.kind == reSeq && len(s.subs) == 1 {
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
			if class == "text" && t.own && t.after {
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
	case reRep:
		if class, empty, ok := t.field(n); ok {
			if class == "text" {
				t.texts++
				if t.own && t.after {
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
			// {a|b}? reads well; anything else needs braces of its own
			if n.subs[0].kind == reAlt && len(n.subs) == 1 || strings.HasPrefix(text, "{") && strings.IndexByte(text, '}') == len(text)-1 && !strings.Contains(text, `\`) {
				return text + "?", true
			}
			return "{" + text + "}?", true
		case n.min == n.max && n.min <= 4 && n.subs[0].kind == reLit:
			return strings.Repeat(text, n.min), true
		}
	}
	return "", false
}

// bracketed says whether what stands beside an address leaves no room for brackets around it.
func bracketed(subs []*reNode, i int) bool {
	if i > 0 && subs[i-1].kind == reLit && strings.ContainsRune("[('\"<=/", subs[i-1].r) {
		return true
	}
	return i+1 < len(subs) && subs[i+1].kind == reLit && strings.ContainsRune("])'\">", subs[i+1].r)
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

// members lists what a small class takes: [Ii], [45]. `\s` is a blank in a daemon's own text.
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

// samples makes up to n different lines that an expression should take, on which it is proved. They are made from it alone,
// the same each time: every alternative is taken in one of them, what may be missing is missing in some.
func samples(n *reNode, most int) []test {
	var out []test
	seen := make(map[string]bool)
	for seed := range 3 * most {
		g := &generator{seed: seed, step: seed}
		g.write(n)
		line := g.b.String()
		if seen[line] || len(line) > 1000 || strings.TrimSpace(line) == "" {
			continue
		}
		seen[line] = true
		out = append(out, test{line, g.addr})
		if len(out) == most {
			break
		}
	}
	return out
}

type generator struct {
	b          strings.Builder
	seed, step int
	addr       string
}

// pick chooses one of n: in the first lines all the same, then by turns.
func (g *generator) pick(n int) int {
	if g.seed < 3 {
		return g.seed % n
	}
	g.step = (g.step*1103515245 + 12345) & 0x7fffffff
	return (g.step >> 8) % n
}

func (g *generator) write(n *reNode) {
	switch n.kind {
	case reLit:
		g.b.WriteRune(n.r)
	case reAny:
		g.b.WriteByte('x')
	case reClass:
		g.b.WriteString(memberOf(n.text))
	case reHost:
		addr := "192.0.2.55"
		if n.name == "IP6" || n.name != "IP4" && g.seed%3 == 2 {
			addr = "2001:db8:5::55"
		}
		if n.name == "other" || g.addr != "" {
			addr = "198.51.100.200"
		} else {
			g.addr = addr
		}
		g.b.WriteString(addr)
	case reAlt:
		g.write(n.subs[g.pick(len(n.subs))])
	case reSeq, reGroup, reFlags:
		for _, s := range n.subs {
			g.write(s)
		}
	case reRep:
		times := n.min
		if s := n.subs[0]; s.kind == reAny && n.max < 0 {
			// the proof plants its forgeries into such text; it must be there
			g.b.WriteString([]string{"some text", " text ", ", text"}[g.pick(3)])
			return
		} else if s.kind == reClass && s.text == `\s` {
			times = max(times, min(1, n.max&1)) // one blank, as daemons write
		} else if s.kind == reClass && n.max < 0 {
			times = max(times, 3)
		} else if n.max != n.min && (n.max < 0 || n.max > n.min) {
			times += 1 - g.pick(2)
		}
		for range min(times, 40) {
			g.write(n.subs[0])
		}
	}
}

// memberOf returns a character that a class takes.
func memberOf(class string) string {
	re, err := regexp.Compile(`\A(?:` + class + `)\z`)
	if err != nil {
		return "a"
	}
	for _, c := range "a7A .-_:/=+,;@#%'\"()<>{}[]!?*&^$~`|\\\t" {
		if re.MatchString(string(c)) {
			return string(c)
		}
	}
	for c := rune(1); c < 0x3000; c++ {
		if re.MatchString(string(c)) {
			return string(c)
		}
	}
	return "a"
}
