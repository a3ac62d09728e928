package journal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Match selects entries in which Field has exactly this Value.
type Match struct{ Field, Value string }

// Group selects entries that match in every field of the group. If it has several values for a field, any of them matches.
type Group []Match

// Matches selects entries that at least one of its groups selects. Empty Matches select every entry.
type Matches []Group

// String returns journalctl's arguments, joined by spaces. It is for people: values are not quoted.
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

// check returns an error for matches that are a mistake.
func (ms Matches) check() error {
	for _, g := range ms {
		if len(g) == 0 {
			return errors.New("empty group of matches: omit it, or use no groups at all to select every entry")
		}
		for _, m := range g {
			if err := checkField(m.Field); err != nil {
				return err
			}
		}
	}
	return nil
}

// byField splits a group by field, in the order in which the fields first occur. For each field, one of its matches must hold.
func (g Group) byField() [][]Match {
	var fields [][]Match
	for _, m := range g {
		i := slices.IndexFunc(fields, func(f []Match) bool { return f[0].Field == m.Field })
		if i < 0 {
			i, fields = len(fields), append(fields, nil)
		}
		fields[i] = append(fields[i], m)
	}
	return fields
}

// checkField returns an error for a name that journald does not accept as a field.
func checkField(name string) error {
	if !validField(name) {
		return fmt.Errorf("%q is not a field name: expected at most 64 of A-Z, 0-9 and _, no digit first", clip(name))
	}
	return nil
}

// validField is journald's rule (journal_field_valid): at most 64 of A-Z, 0-9 and _, not beginning with a digit.
func validField(s string) bool {
	if len(s) == 0 || len(s) > 64 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !nameByte(s[i]) {
			return false
		}
	}
	return true
}

func nameByte(c byte) bool { return c == '_' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
