package state

import (
	"iter"
	"slices"
	"strings"
)

// Covers reports whether a scope holds another one. A scope is one list of ports or several with a semicolon between them, as
// config.ScopeText writes them; "" is all traffic. A range holds the same range only.
func Covers(scope, other string) bool {
	if scope == "" || scope == other {
		return true
	}
	if other == "" {
		return false
	}
	have := slices.Collect(ports(scope))
	for p := range ports(other) {
		if !slices.Contains(have, p) {
			return false
		}
	}
	return true
}

// ports goes through the ports of a scope, and ranges of them.
func ports(scope string) iter.Seq[string] {
	return strings.FieldsFuncSeq(scope, func(c rune) bool { return c == ',' || c == ';' })
}

// JoinScopes is the scope that holds both.
func JoinScopes(a, b string) string {
	if a == "" || b == "" {
		return ""
	}
	all := append(strings.Split(a, ";"), strings.Split(b, ";")...)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ";")
}
