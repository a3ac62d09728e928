// Package diag defines the error that every check of an operator's input returns: it has a place in a file and a hint at what to do.
// Configuration, filters, address lists and JSON use it; the commands print it.
//
// It never reads a file. Start reading at Error.
package diag

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// Error is a mistake at a place in a file. What the operator can do about it is in Hint, not in Text.
type Error struct {
	File      string // empty: the text is not from a file
	Line, Col int    // from 1; Col counts characters. 0: the file as a whole
	Path      string // the value as an operator names it (jails.sshd.ban_time); may be empty
	Text      string
	Hint      string
}

// Errorf returns an error without a place.
func Errorf(format string, args ...any) *Error {
	return &Error{Text: fmt.Sprintf(format, args...)}
}

// WithHint sets the hint and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Error returns place, path and text. It leaves out the hint, which Print writes.
func (e *Error) Error() string {
	s := e.File
	if e.Line > 0 {
		s += ":" + strconv.Itoa(e.Line) + ":" + strconv.Itoa(e.Col)
	}
	for _, part := range []string{e.Path, e.Text} {
		if s != "" && part != "" {
			s += ": "
		}
		s += part
	}
	return s
}

// Errors takes joined errors apart, in order. An error that is not an *Error becomes one without a place; if it wraps an
// *Error, it keeps that one's hint.
func Errors(err error) []*Error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		return []*Error{e}
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Error
		for _, e := range many.Unwrap() {
			all = append(all, Errors(e)...)
		}
		return all
	}
	wrapper := &Error{Text: err.Error()}
	if e := (*Error)(nil); errors.As(err, &e) {
		wrapper.Hint = e.Hint
	}
	return []*Error{wrapper}
}

// Print writes an error the way all commands do: each of several joined errors in its own line after the program's name,
// its hint in the next line.
func Print(w io.Writer, program string, err error) {
	for _, e := range Errors(err) {
		fmt.Fprintf(w, "%s: %v\n", program, e)
		if e.Hint != "" {
			fmt.Fprintf(w, "hint: %s\n", e.Hint)
		}
	}
}

// Clip shortens a bad value for an error's text, to 64 bytes.
func Clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Line turns untrusted text into one line of at most limit bytes: control characters, which could begin another line, become spaces. A text
// that was cut ends in "…".
func Line(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// Number is any integer that is counted.
type Number interface {
	~int | ~int64 | ~uint | ~uint32 | ~uint64
}

// Count is "1 prefix", "2 prefixes", "1 entry", "2 entries". A noun may have words before it: "test line".
func Count[N Number](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %s", n, plural(noun))
}

func plural(noun string) string {
	switch {
	case strings.HasSuffix(noun, "y") && len(noun) > 1 && !strings.ContainsRune("aeiou", rune(noun[len(noun)-2])):
		return noun[:len(noun)-1] + "ies"
	case strings.HasSuffix(noun, "s"), strings.HasSuffix(noun, "x"), strings.HasSuffix(noun, "ch"):
		return noun + "es"
	}
	return noun + "s"
}

// Near returns the known word that a mistyped one most probably means, or "". Case, hyphens and underscores are ignored.
func Near(word string, known []string) string {
	best, least := "", 1+min(2, len(word)/3)
	w := plain(word)
	for _, k := range known {
		if d := distance(w, plain(k), least); d < least {
			best, least = k, d
		}
	}
	return best
}

// DidYouMean is the hint for a word that is not known: the one that it most probably means, or otherwise.
func DidYouMean(word string, known []string, otherwise string) string {
	if near := Near(word, known); near != "" {
		return "did you mean " + near + "?"
	}
	return otherwise
}

func plain(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// distance is the number of letters to insert, delete, change or swap with the next one, at most limit. It is written out
// because no library in use has it and 25 lines are less than a dependency.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 64 {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}
