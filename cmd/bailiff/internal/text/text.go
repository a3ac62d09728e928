// Package text writes what people read on a terminal: tables, counts, times and durations, and foreign text made
// harmless. Every command uses it, so the same thing looks the same everywhere. It never writes JSON.
package text

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"bailiff/policy/config"
	"bailiff/policy/diag"
)

// Clean makes text of unknown origin fit for a terminal: what an attacker wrote must not move the cursor, change
// colours or begin a new line. Control characters, characters that nobody sees and invalid UTF-8 become \xNN.
func Clean(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || unprintable(r) {
			for k := range n {
				fmt.Fprintf(&b, `\x%02x`, s[i+k])
			}
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// With is a part of a sentence: what comes before foreign text and the text, cleaned; "" if there is no text.
func With(before, s string) string {
	if s == "" {
		return ""
	}
	return before + Clean(s)
}

// unprintable reports control characters (C0, C1, DEL), and characters that change the direction of text, end a line or show nothing: a
// name with one of these would look like another name.
func unprintable(r rune) bool {
	return r < 0x20 || r >= 0x7f && (r < 0xa0 || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point))
}

// Table writes rows with aligned columns. Cells must be clean.
func Table(w io.Writer, rows [][]string) {
	var width []int
	for _, r := range rows {
		for i, c := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for _, r := range rows {
		var b strings.Builder
		for i, c := range r {
			b.WriteString(c)
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// Times is "once", "twice", "3 times".
func Times[N diag.Number](n N) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// Time is a moment in local time: "2026-11-28 13:37:24".
func Time(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// Micro is Time of microseconds since 1970.
func Micro(us int64) string { return Time(time.UnixMicro(us)) }

// RFC3339 is a moment for machines, in UTC with six digits of a second, so that texts sort as times do.
func RFC3339(us int64) string {
	return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000000Z07:00")
}

// Duration is a span of time in its two largest units: "2d", "1d12h", "1h30m", "10m", "9m30s", "5s".
func Duration(d time.Duration) string {
	const day = 24 * time.Hour
	if d < 0 {
		d = 0
	}
	switch {
	case d.Round(time.Hour) >= day:
		d = d.Round(time.Hour)
	case d.Round(time.Minute) >= time.Hour:
		d = d.Round(time.Minute)
	default:
		d = d.Round(time.Second)
	}
	if d >= day {
		return pair(d, day, "d", time.Hour, "h")
	}
	if d >= time.Hour {
		return pair(d, time.Hour, "h", time.Minute, "m")
	}
	return config.FormatDuration(d)
}

func pair(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	s := fmt.Sprintf("%d%s", d/large, largeName)
	if rest := d % large / small; rest > 0 {
		s += fmt.Sprintf("%d%s", rest, smallName)
	}
	return s
}

// Until is the end of a ban or an entry; nil is one without an end: "until 2026-11-30 13:37:24 (2d left)".
func Until(t *time.Time) string {
	if t == nil {
		return "forever"
	}
	return fmt.Sprintf("until %s (%s left)", Time(*t), Duration(time.Until(*t)))
}

// End is the end of a ban in a table: a time, or "forever".
func End(t *time.Time) string { return TimeOr(t, "forever") }

// TimeOr is a time, or a word where there is none.
func TimeOr(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return Time(*t)
}

// Ago is how long ago something was, in one unit: "3m ago".
func Ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd ago", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%dh ago", d/time.Hour)
	case d >= time.Minute:
		return fmt.Sprintf("%dm ago", d/time.Minute)
	}
	return fmt.Sprintf("%ds ago", d/time.Second)
}

// Milliseconds is how long something took, in seconds given: "12.3 ms".
func Milliseconds(seconds float64) string { return fmt.Sprintf("%.1f ms", seconds*1e3) }

// Bytes is an amount of data: "512 bytes", "1.5 KiB", "12.0 MiB".
func Bytes(n uint64) string {
	if n < 1<<10 {
		return diag.Count(n, "byte")
	}
	size, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if size /= 1 << 10; size < 1<<10 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}

// Address is a prefix as people write it: without its length where it is a single address.
func Address(prefix string) string {
	if p, ok := strings.CutSuffix(prefix, "/32"); ok && strings.Contains(p, ".") {
		return p
	}
	return strings.TrimSuffix(prefix, "/128")
}

// Clip shortens clean text to a number of columns; "~" marks what was cut.
func Clip(s string, columns int) string {
	if utf8.RuneCountInString(s) <= columns {
		return s
	}
	return string([]rune(s)[:max(0, columns-1)]) + "~"
}

// Some is the first words of a list, and the number of the others: "a b c and 4 more".
func Some(list []string, limit int) string {
	if len(list) > limit+1 {
		return Clean(strings.Join(list[:limit], " ")) + fmt.Sprintf(" and %d more", len(list)-limit)
	}
	return Clean(strings.Join(list, " "))
}

// Bar is a horizontal bar for n of most, width columns at full length. Anything but zero is visible. plain: ASCII only.
func Bar(n, most uint64, width int, plain bool) string {
	if n == 0 || most == 0 {
		return ""
	}
	if plain {
		return strings.Repeat("#", max(1, int(float64(n)/float64(most)*float64(width))))
	}
	const eighths = "▏▎▍▌▋▊▉█"
	size := max(1, int(float64(n)/float64(most)*float64(width)*8+0.5))
	s := strings.Repeat("█", size/8)
	if rest := size % 8; rest > 0 {
		s += string([]rune(eighths)[rest-1])
	}
	return s
}

// Wrap breaks text into lines of at most width columns.
func Wrap(s string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
