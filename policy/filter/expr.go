package filter

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// expr is a regular expression. RE2 guarantees linear time. Like a template, it is anchored at both ends. It is tried only on
// lines that contain its longest literal.
type expr struct {
	re      *regexp.Regexp
	literal []byte // every line that matches contains it
	group   [nCaptures]int
}

const maxExpr = 2048 // bytes, as maxTemplate

// compileExpr compiles a regular expression. Groups named addr, port, user, id, source and count are its captures.
func compileExpr(s string) (*expr, error) {
	if len(s) > maxExpr {
		return nil, fmt.Errorf("is longer than %d bytes", maxExpr)
	}
	s = `(?s)\A(?:` + s + `)\s*\z`
	tree, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("is not a regular expression: %w", err)
	}
	e := &expr{}
	for i := range e.group {
		e.group[i] = -1
	}
	e.literal = longest(tree.Simplify())
	if e.re, err = regexp.Compile(s); err != nil {
		return nil, fmt.Errorf("is not a regular expression: %w", err)
	}
	for i, name := range e.re.SubexpNames() {
		if name == "" {
			continue
		}
		c := slices.Index(captureNames[:], name)
		if c < 0 {
			return nil, fmt.Errorf("has a group named %q; groups are addr, port, user, id, source and count", name)
		}
		if e.group[c] >= 0 {
			return nil, fmt.Errorf("has two groups named %q", name)
		}
		e.group[c] = i
	}
	return e, nil
}

// match reports whether the line matches, and fills h and addrText, the address as written. A match costs one allocation, in regexp, and a
// mismatch none.
func (e *expr) match(line []byte, h *Hit, addrText *[]byte) bool {
	if !bytes.Contains(line, e.literal) {
		return false
	}
	loc := e.re.FindSubmatchIndex(line)
	if loc == nil {
		return false
	}
	text := func(c capture) []byte {
		g := e.group[c]
		if g < 0 || loc[2*g] < 0 {
			return nil
		}
		return line[loc[2*g]:loc[2*g+1]:loc[2*g+1]]
	}
	var addr netip.Addr
	if e.group[capAddr] >= 0 {
		b := text(capAddr)
		a, n := scanAddr(b, 0)
		if n == 0 || n != len(b) {
			return false
		}
		addr, *addrText = a, b
	}
	h.Addr, h.User, h.ID, h.Source = addr, text(capUser), text(capID), text(capSource)
	h.Port = uint16(number(text(capPort), 65535))
	h.Repeat = max(1, number(text(capCount), maxRepeat))
	return true
}

// clientText returns a function that finds text in a matching line that a client may have chosen.
func (e *expr) clientText() (func(line []byte) []hole, error) {
	tree, err := syntax.Parse(e.re.String(), syntax.Perl)
	if err != nil {
		return nil, err
	}
	n := tree.MaxCap()
	wrapFree(tree, &n)
	re, err := regexp.Compile(tree.String())
	if err != nil {
		return nil, err
	}
	return func(line []byte) (l []hole) {
		loc := re.FindSubmatchIndex(line)
		for i, name := range re.SubexpNames() {
			if loc == nil || !strings.HasPrefix(name, freeGroup) || loc[2*i] < 0 {
				continue
			}
			class := classText
			if strings.HasPrefix(name, quotedGroup) {
				class = classString
			}
			l = append(l, hole{loc[2*i], loc[2*i+1], class, true})
		}
		return l
	}, nil
}

// freeGroup begins the names of the groups that wrapFree adds; quotedGroup those in quoted text, where the daemon escapes quotes.
const (
	freeGroup   = "client_text"
	quotedGroup = freeGroup + "_quoted"
)

// shortText is the length up to which text is too short for a forged address with the text around it.
const shortText = 6

// wrapFree puts a group around every repetition that can match letters, however it is written: [^"]*, (?:[^"\\]|\\.)*,
// (?:\w+ )+. Such text can contain an address, so the forgery test puts its forgeries there.
func wrapFree(t *syntax.Regexp, n *int) {
	if t.Op == syntax.OpCapture && slices.Contains(checked, t.Name) {
		return
	}
	if (t.Op == syntax.OpStar || t.Op == syntax.OpPlus || t.Op == syntax.OpRepeat) && length(t) > shortText && takesLetters(t) && !finds(t) {
		name := freeGroup
		if escapesQuotes(t.Sub[0]) {
			name = quotedGroup
		}
		group(t, n, name)
		return
	}
	for _, s := range t.Sub {
		wrapFree(s, n)
	}
}

// group puts a capture group around t. Its name ends with its number, which is one above n.
func group(t *syntax.Regexp, n *int, name string) {
	c := *t
	c.Sub, c.Rune = slices.Clone(t.Sub), slices.Clone(t.Rune) // their arrays may be in t itself
	*n++
	*t = syntax.Regexp{Op: syntax.OpCapture, Cap: *n, Name: fmt.Sprintf("%s%d", name, *n), Sub: []*syntax.Regexp{&c}}
}

// checked lists the groups whose text must be an address or a number.
var checked = []string{"addr", "port", "count"}

// finds reports whether t contains a group in checked.
func finds(t *syntax.Regexp) bool {
	return t.Op == syntax.OpCapture && slices.Contains(checked, t.Name) || slices.ContainsFunc(t.Sub, finds)
}

// length returns the maximal length of a match of t in characters, or some number above shortText.
func length(t *syntax.Regexp) (n int) {
	switch t.Op {
	case syntax.OpStar, syntax.OpPlus:
		return shortText + 1
	case syntax.OpRepeat:
		if t.Max < 0 {
			return shortText + 1
		}
		return t.Max * length(t.Sub[0])
	case syntax.OpLiteral:
		return len(t.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpCharClass:
		return 1
	case syntax.OpAlternate:
		for _, s := range t.Sub {
			n = max(n, length(s))
		}
		return n
	}
	for _, s := range t.Sub {
		n += length(s)
	}
	return n
}

// takesLetters reports whether a match of t can contain any letter.
func takesLetters(t *syntax.Regexp) bool {
	switch t.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return true
	case syntax.OpCharClass:
		return hasLetters(t.Rune)
	}
	return slices.ContainsFunc(t.Sub, takesLetters)
}

// escapesQuotes reports whether t, which is repeated, matches a quote only after a backslash.
func escapesQuotes(t *syntax.Regexp) bool {
	re, err := regexp.Compile(`(?s)\A(?:` + t.String() + `)\z`)
	return err == nil && re.MatchString(`\"`) && !re.MatchString(`"`) && !re.MatchString(`\`)
}

func hasLetters(ranges []rune) bool {
	for i := 0; i+1 < len(ranges); i += 2 {
		if ranges[i] <= 'g' && ranges[i+1] >= 'z' {
			return true
		}
	}
	return false
}

// longest returns the longest text that every match of t contains, as far as that can be told.
func longest(t *syntax.Regexp) (best []byte) {
	switch t.Op {
	case syntax.OpLiteral:
		if t.Flags&syntax.FoldCase == 0 {
			return []byte(string(t.Rune))
		}
	case syntax.OpCapture, syntax.OpPlus:
		return longest(t.Sub[0])
	case syntax.OpConcat:
		for _, s := range t.Sub {
			if l := longest(s); len(l) > len(best) {
				best = l
			}
		}
	}
	return best
}
