package filter

import (
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"bailiff/policy/diag"
	"bailiff/policy/yamldoc"
)

// Hints for mistakes in filter files. Most authors of a first filter know fail2ban's filters and regular expressions.

// meantField maps names that other programs use to our fields.
var meantField = map[string]string{
	"adr": "addr", "address": "addr", "host": "addr", "rhost": "addr", "rip": "addr", "ip4": "addr", "ip6": "addr", "ipv4": "addr", "ipv6": "addr", "remote": "addr", "client": "addr",
	"subnet": "addr", "cidr": "addr", "f-user": "user", "f-alt_user": "user", "username": "user", "login": "user", "name": "user", "f-id": "id", "f-mlfid": "id", "session": "id",
	"str": "text", "any": "text", "rest": "text", "skiplines": "text", "int": "num", "integer": "num", "number": "num", "digits": "num", "pid": "num", "hostname": "host", "domain": "host", "string": "text",
}

// fieldHint suggests a field for one that does not exist.
func fieldHint(name string, define fragments) string {
	low := strings.ToLower(name)
	switch to := meantField[low]; {
	case strings.HasPrefix(name, "/F-"), strings.HasPrefix(name, "F-") && to == "":
		return "fail2ban's tags mean nothing here: leave it out, and write <user>, <id> or <text> for what it holds"
	case strings.HasPrefix(name, "F-"):
		return fmt.Sprintf("did you mean <%s>? It stands for what fail2ban writes between <%s> and </%s>", to, name, name)
	case name == "HOST" || name == "ADDR" || name == "IP4" || name == "IP6" || name == "SUBNET" || name == "CIDR":
		return "did you mean <addr>? It takes what fail2ban's <" + name + "> does, but no host names"
	case to != "":
		return "did you mean <" + to + ">?"
	}
	names := slices.Sorted(maps.Keys(fields))
	if near := diag.Near(low, slices.Concat(names, slices.Sorted(maps.Keys(define)))); near != "" {
		return "did you mean <" + near + ">?"
	}
	return "fields are " + strings.Join(names, ", ") + `; write \< for the character itself`
}

// openHint suggests a repair for a < that is not closed.
func openHint(rest string) string {
	name := rest
	if end := strings.IndexFunc(rest, func(r rune) bool { return (r < 'a' || r > 'z') && r != ':' }); end >= 0 {
		name = rest[:end]
	}
	_, cl, two := strings.Cut(name, ":")
	if !two {
		cl = name
	}
	if _, ok := fields[cl]; ok {
		return "write <" + name + `>, or \< for the character itself`
	}
	return `write \< for the character itself`
}

// meantKey maps keys that other programs use to hints.
var meantKey = map[string]string{
	"failregex": "that is fail2ban's: here it is patterns, each with a name and a text (or regexp); bailiff import translates whole filters",
	"prefregex": "that is fail2ban's: here it is prefix, for what may stand before every pattern; bailiff import translates whole filters", "ignoreregex": "that is fail2ban's: here it is a pattern of kind context before the others, which takes the line away",
	"journalmatch": "that is fail2ban's: here it is trust, with units and uid", "logpath": "files are not read, the journal is: say in trust whose entries count", "datepattern": "the journal has the time: leave it out", "maxlines": "a pattern is one line: lines of one attempt are correlated by stage and correlate_by",
	"maxretry": "did you mean max_retry?", "findtime": "that belongs to the jail: jails: {NAME: {find_time: 10m}}", "bantime": "that belongs to the jail: jails: {NAME: {ban_time: 48h}}",
	"pattern": "did you mean patterns?", "template": "did you mean text?", "mode": "did you mean modes?", "user": "did you mean uid?", "unit": "did you mean units?", "test": "did you mean tests?", "match": "did you mean line?", "ip": "did you mean address?",
}

// keyHint suggests a key for one that does not exist.
func keyHint(key string, known []string) string {
	hint := meantKey[strings.ToLower(key)]
	if want, ok := strings.CutPrefix(hint, "did you mean "); ok && !contains(known, []byte(strings.TrimSuffix(want, "?"))) {
		hint = ""
	}
	if hint == "" {
		hint = "keys are " + strings.Join(known, ", ")
	}
	return diag.DidYouMean(key, known, hint)
}

// wordHint suggests one of a few words.
func wordHint(word string, known ...string) string {
	return diag.DidYouMean(word, known, "write "+strings.Join(known[:len(known)-1], ", ")+" or "+known[len(known)-1])
}

// likeRegexp finds text in a template that looks like a regular expression; nil if there is none.
func likeRegexp(s string) *templateError {
	found := func(at int, format string, args ...any) *templateError {
		return &templateError{at: at, text: fmt.Sprintf("%q looks like a regular expression", s[at:min(len(s), at+2)]), hint: fmt.Sprintf(format, args...)}
	}
	for i := 0; i < len(s); i++ {
		rest := s[i:]
		switch {
		case s[i] == '\\':
			i++
		case i == 0 && s[i] == '^', i == len(s)-1 && s[i] == '$':
			return found(i, `a template always takes the whole message: leave it out, or write \%c for the character itself`, s[i])
		case strings.HasPrefix(rest, ".*"), strings.HasPrefix(rest, ".+"),
			strings.HasPrefix(rest, "(?:"), strings.HasPrefix(rest, "(?P<"), strings.HasPrefix(rest, "(?!"), strings.HasPrefix(rest, "(?="):
			return found(i, `write <text> for any text, <word> for one without blanks, {a|b} for alternatives, or regexp: in place of text:; \%c for the character itself`, s[i])
		}
	}
	return nil
}

// escapeHint suggests a field for an escape of regular expressions.
func escapeHint(c byte) string {
	switch c {
	case 'S', 'w', 'W':
		return `a template is no regular expression: write <word> for \S+, or regexp: in place of text:`
	case 'd', 'D':
		return `a template is no regular expression: write <num> for \d+, or regexp: in place of text:`
	case 's':
		return `a template is no regular expression: write a blank for \s, or regexp: in place of text:`
	}
	return `write \\ for a backslash`
}

// compileHint suggests a repair for an error of compile or checkSides.
func compileHint(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "both sides"):
		return "write <trusted> for text that only the daemon can write, <word>, <host> or <string> for what cannot hold blanks or is quoted, or <once:addr>"
	case strings.Contains(text, "same thing twice"):
		return "write <text> or <word> for the one that is of no interest"
	case strings.Contains(text, "free text"):
		return "a prefix is what the daemon itself puts before its messages: 'error: ', '<id>: '"
	}
	return ""
}

// foreignTag matches the tags that fail2ban replaces in its expressions.
var foreignTag = regexp.MustCompile(`<(?:HOST|ADDR|IP[46]|SUBNET|CIDR|DNS|SKIPLINES|/?F-[A-Z_/]+)>`)

// exprHint suggests a repair for a regular expression.
func exprHint(s string) string {
	switch {
	case strings.Contains(s, "<HOST>"), strings.Contains(s, "<ADDR>"):
		return `write (?P<addr>\S+)`
	case strings.Contains(s, "<F-"):
		return `write (?P<user>…) for what fail2ban writes as <F-USER>…</F-USER>`
	case strings.Contains(s, "(?!"), strings.Contains(s, "(?="), strings.Contains(s, "(?<!"), strings.Contains(s, "(?<="):
		return "there is no looking around, which would cost more than linear time: a pattern of kind context before this one can take away what must not match"
	}
	if _, err := syntax.Parse(s, syntax.Perl); err == nil {
		if i := strings.Index(s, "(?P<"); i >= 0 {
			name, _, _ := strings.Cut(s[i+4:], ">")
			if to := meantField[strings.ToLower(name)]; to == "addr" || to == "user" || to == "id" {
				return "did you mean (?P<" + to + ">…)?"
			}
		}
	}
	return ""
}

// exprError returns the error in the expression as it was written, without what compileExpr adds.
func exprError(s string, err error) error {
	if _, own := syntax.Parse(s, syntax.Perl); own != nil {
		return fmt.Errorf("is not a regular expression: %s", strings.TrimPrefix(own.Error(), "error parsing regexp: "))
	}
	return err
}

// foreign recognizes files in fail2ban's format.
func foreign(file string, data []byte) *diag.Error {
	for i, l := range strings.Split(string(data[:min(len(data), 4096)]), "\n") {
		switch l = strings.TrimSpace(l); l {
		case "[Definition]", "[INCLUDES]", "[DEFAULT]", "[Init]":
			return (&diag.Error{File: file, Line: i + 1, Col: 1, Text: "is a filter of fail2ban's"}).WithHint("bailiff import translates it")
		}
	}
	return nil
}

// column returns the column of a byte of a value; false if the value is not written literally (it has escapes or several lines).
func (l *loader) column(n *yamldoc.Node, at int) (col int, ok bool) {
	if n.Line < 1 || n.Line > len(l.lines) || at > len(n.Value) {
		return 0, false
	}
	col, rest := n.Col, l.lines[n.Line-1]
	for range n.Col - 1 {
		_, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
	}
	if n.Quoted && rest != "" {
		col, rest = col+1, rest[1:]
	}
	if !strings.HasPrefix(rest, n.Value) {
		return 0, false
	}
	return col + utf8.RuneCountInString(n.Value[:at]), true
}

// missHint describes where the nearest pattern stopped in a test line that does not match.
func (m *Matcher) missHint(line []byte) string {
	x := m.Explain(line)
	var best *Try
	for i := range x.Tries {
		if t := &x.Tries[i]; t.InMode && !t.Matched && (best == nil || t.Near > best.Near) {
			best = t
		}
	}
	if best == nil {
		return ""
	}
	return fmt.Sprintf("%s (line %d) stopped after %q and expected %s; bailiff match --explain shows more", best.Pattern.Name, best.Pattern.Line, x.Text[best.From:best.At], best.Wanted)
}

// findsAddr reports whether a pattern can find an address.
func (p *Pattern) findsAddr() bool {
	if p.re != nil {
		return p.re.group[capAddr] >= 0
	}
	found := false
	paths(p.node, maxPaths, func(l []*node) {
		for _, n := range l {
			found = found || n.kind == nodeField && n.cap == capAddr
		}
	})
	return found
}
