package report

import (
	"fmt"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/safetext"
)

// LogLine writes a line as logs do, in UTC: time, host, program, and at most limit bytes of the message. See safetext.Escape.
func LogLine(l *Line, limit int) string {
	var b strings.Builder
	b.WriteString(l.Time.UTC().Format(time.RFC3339))
	if l.Hostname != "" {
		b.WriteString(" " + safetext.Line(l.Hostname, 255))
	}
	if l.Identifier != "" {
		b.WriteString(" " + safetext.Line(l.Identifier, 64))
	}
	if l.PID != 0 {
		fmt.Fprintf(&b, "[%d]", l.PID)
	}
	message, _ := safetext.Escape(l.Message, limit)
	return b.String() + ": " + message
}

// Newest returns at most n of the lines.
func Newest(lines []Line, n int) []Line { return lines[max(0, len(lines)-n):] }
