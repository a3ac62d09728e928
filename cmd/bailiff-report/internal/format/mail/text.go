package mail

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shown says whether a rune may be shown as it is: no control character but the tab, nothing that reorders or hides text
// (bidirectional marks, zero-width blanks), no line separator but \n.
func shown(r rune) bool {
	return r == '\t' || r != utf8.RuneError && !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Cs, unicode.Co, unicode.Zl, unicode.Zp)
}

// escape returns the text of a log line as people may see it, and whether that is its bytes unchanged. Else every byte and
// rune that is not shown is written as a code (\x1b, \n, \u202e), and \ as \\.
func escape(line []byte) (string, bool) {
	same := true
	for rest := line; len(rest) > 0 && same; {
		r, n := utf8.DecodeRune(rest)
		same = shown(r)
		rest = rest[n:]
	}
	if same {
		return string(line), true
	}
	var b strings.Builder
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == utf8.RuneError || r < 0x80 && !shown(r):
			for _, c := range line[:n] {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		case !shown(r) && r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		case !shown(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		line = line[n:]
	}
	return b.String(), false
}

// block makes a registry's text fit to stand in a mail: lines of UTF-8 without control characters.
func block(s string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.ToValidUTF8(s, "\uFFFD")) {
		b.WriteString(strings.TrimRight(strings.Map(func(r rune) rune {
			if !shown(r) {
				return -1
			}
			return r
		}, line), " \t"))
		b.WriteByte('\n')
	}
	return strings.TrimRight(b.String(), "\n")
}
