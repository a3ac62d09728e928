package journal

import (
	"errors"
	"fmt"
	"strings"
)

// Match asks for entries that hold Field with exactly Value.
type Match struct{ Field, Value string }

// Group asks for entries that satisfy all its fields; of several values of one field, any will do.
type Group []Match

// Matches asks for entries that satisfy at least one of its groups. Empty Matches ask for every entry.
type Matches []Group

// String gives journalctl's arguments, joined by spaces. It is for people: values are not quoted.
func (ms Matches) String() string {
	var b strings.Builder
	for i, g := range ms {
		if i > 0 {
			b.WriteString(" + ")
		}
		for j, m := range g {
			if j > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(m.Field + "=" + m.Value)
		}
	}
	return b.String()
}

// check refuses matches that could never be meant, before any file is read.
func (ms Matches) check() error {
	for _, g := range ms {
		if len(g) == 0 {
			return errors.New("an empty group of matches: leave it out, or ask for every entry with no group at all")
		}
		for _, m := range g {
			if !validField(m.Field) {
				return fmt.Errorf("%q is not a field name: want A-Z, 0-9 and _, at most 64", clip(m.Field))
			}
		}
	}
	return nil
}

// validField is journald's own rule (journal_field_valid): at most 64 of A-Z, 0-9 and _, not beginning with a digit.
func validField(s string) bool {
	if len(s) == 0 || len(s) > 64 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '_' && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
