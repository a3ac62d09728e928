// Package safetext makes untrusted text safe to show: log lines, answers of servers and registries. Its results are valid UTF-8 without
// control characters and without characters that hide text or change its direction.
//
// Line makes one line, Block several; Escape is for log lines, in which every byte must stay recognizable.
package safetext

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a Block.
const (
	maxLines = 120 // the longest answer of a regional registry about one network, without its comments, has about 80
	maxLine  = 900 // bytes
	maxBlock = 16 << 10
)

// visible reports whether a rune may be shown as it is. The tab may.
func visible(r rune) bool {
	return r == '\t' || r != utf8.RuneError && !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Cs, unicode.Co, unicode.Zl, unicode.Zp)
}

// Line returns a text as one line of at most limit bytes. Unsafe characters become spaces, and several spaces one. A line that was cut
// ends in "…".
func Line(s string, limit int) string {
	s = s[:min(len(s), 4*limit)]
	words := strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool { return unicode.IsSpace(r) || !visible(r) })
	return cut(strings.Join(words, " "), limit, "…")
}

// Block returns a text as lines that end with newlines. Spaces at both ends of lines and superfluous empty lines are removed. A text that
// was cut ends in a line "…".
func Block(s string) string {
	var b strings.Builder
	lines, blank := 0, false
	for line := range strings.Lines(strings.ToValidUTF8(s, "?")) {
		line = strings.TrimSpace(strings.Map(func(r rune) rune {
			switch {
			case r == '\t', r == '\u2028', r == '\u2029':
				return ' '
			case !visible(r):
				return -1
			}
			return r
		}, line))
		if line == "" {
			blank = b.Len() > 0
			continue
		}
		if line = cut(line, maxLine, "…"); blank {
			line = "\n" + line
		}
		if lines++; lines > maxLines || b.Len()+len(line)+len("…\n") > maxBlock {
			b.WriteString("…\n")
			break
		}
		blank = false
		b.WriteString(line + "\n")
	}
	return b.String()
}

// Escape returns a log line in at most limit bytes, and whether it is unchanged. Unsafe bytes and characters are written as codes (\x1b,
// \n, \u202e); in a line with codes, \ is written as \\. A line that was cut ends in " […]".
func Escape(line []byte, limit int) (s string, same bool) {
	line, whole := line[:min(len(line), limit+1)], len(line)
	if utf8.Valid(line) && !strings.ContainsFunc(string(line), func(r rune) bool { return !visible(r) }) {
		s = cut(string(line), limit, " […]")
		return s, len(s) == whole
	}
	var b strings.Builder
	for len(line) > 0 && b.Len() <= limit {
		r, n := utf8.DecodeRune(line)
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == utf8.RuneError || r < 0x80 && !visible(r):
			for _, c := range line[:n] {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		case !visible(r) && r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		case !visible(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		line = line[n:]
	}
	return cut(b.String(), limit, " […]"), false
}

// cut bounds a text to limit bytes, with the mark at its end if it is cut.
func cut(s string, limit int, mark string) string {
	if len(s) <= limit {
		return s
	}
	n := max(0, limit-len(mark))
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + mark
}
