package report

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Text is a line as logs have it, in UTC: time, host, program, and a message of at most that many bytes. It is one line of
// valid UTF-8: what cannot be printed stands as \xNN.
func Text(l *Line, most int) string {
	var b strings.Builder
	b.WriteString(l.Time.UTC().Format(time.RFC3339))
	if l.Hostname != "" {
		b.WriteString(" " + Printable(l.Hostname, 255))
	}
	if l.Identifier != "" {
		b.WriteString(" " + Printable(l.Identifier, 64))
	}
	if l.PID != 0 {
		fmt.Fprintf(&b, "[%d]", l.PID)
	}
	return b.String() + ": " + Printable(string(l.Message), most)
}

// Printable makes a stranger's text one line of valid UTF-8 of at most that many bytes, in which what cannot be printed, or
// changes how other text is shown, stands as \xNN. A text that is cut ends in "…".
func Printable(s string, most int) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		piece := s[i : i+n]
		if r == utf8.RuneError && n == 1 || r != ' ' && !unicode.IsPrint(r) {
			piece = fmt.Sprintf("\\x%x", piece)
			if n > 1 {
				piece = fmt.Sprintf("\\u%04x", r)
			}
		}
		if b.Len()+len(piece) > most {
			cut := b.String()
			for len(cut) > 0 && len(cut)+len("…") > most {
				_, n := utf8.DecodeLastRuneInString(cut)
				cut = cut[:len(cut)-n]
			}
			if most < len("…") {
				return cut
			}
			return cut + "…"
		}
		b.WriteString(piece)
		i += n
	}
	return b.String()
}

// Newest returns at most n of the lines.
func Newest(lines []Line, n int) []Line { return lines[max(0, len(lines)-n):] }
