package whois

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of texts for people.
const (
	MaxLines = 120 // the longest answer of a regional registry about one network, without its comments, has about 80
	MaxLine  = 300 // runes
	MaxText  = 16 << 10
)

// Clean makes a stranger's text fit to stand in a mail or on a terminal: UTF-8 (what is none is read as Latin-1, which
// old registries speak), without control characters, characters that turn the direction of writing and blanks at the ends of
// lines, and with at most MaxLines lines of MaxLine runes, MaxText bytes together. Every line ends with a newline.
func Clean(text string) string {
	if !utf8.ValidString(text) {
		text = latin1(text)
	}
	var b strings.Builder
	lines, blank := 0, false
	for line := range strings.Lines(text) {
		line = CleanLine(line, MaxLine)
		if line == "" {
			blank = b.Len() > 0
			continue
		}
		if blank {
			line = "\n" + line
		}
		if lines++; lines > MaxLines || b.Len()+len(line)+len("…\n") > MaxText {
			b.WriteString("…\n")
			break
		}
		blank = false
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}

// CleanLine is Clean for one line of at most most runes: newlines are control characters, too, and become blanks.
func CleanLine(s string, most int) string {
	if !utf8.ValidString(s) {
		s = latin1(s)
	}
	var b strings.Builder
	n := 0
	for _, r := range strings.TrimSpace(s) {
		switch {
		case r == '\t', r == '\n', r == '\u2028', r == '\u2029':
			r = ' '
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Cs, unicode.Co), r == utf8.RuneError:
			continue
		}
		if n++; n > most {
			b.WriteRune('…')
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}
