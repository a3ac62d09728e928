package regex

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Pattern is one pattern for a filter file.
type Pattern struct {
	Name    string
	Kind    string // failure, context or success
	Text    string // a template
	Regexp  string // or a regular expression
	Tests   []Test
	Changed string // how it differs from the expression
	Once    string // the text that must be unique in the line
}

// Test is a line that an expression must match, and the address it must find there.
type Test struct{ Line, Address string }

// strictness is one way to write an expression. No variant assumes that a line begins or ends where the expression leaves
// that open.
type strictness struct {
	daemonTail bool // the text after the address is the daemon's own: see addressFirst
	noTemplate bool // a regular expression, even if a template is possible
	ipv4Only   bool // IPv4 addresses only
	once       bool // the text before the address must be unique in the line
	peer       bool // with once: a port follows the address
}

// Variants are the ways to write one expression, the most faithful first. Each consists of the patterns that a filter
// needs for it, in order.
type Variants struct {
	Patterns [][]Pattern
	Open     bool   // the expression does not say where a line begins or ends
	NotOnce  string // why no variant relies on the text before the address being unique in the line
}

// NewVariants writes an expression for a filter. prefix is the filter's prefregex or nil; name is the first pattern's
// name, and the beginning of the others'.
//
// If free text may stand on both sides of the address, an attacker could place an address of their choice. Such a line
// counts only if there is no doubt which address the daemon wrote.
func NewVariants(n, pre *Node, name string) (*Variants, error) {
	n = allowDates(n)
	if spansLines(n) {
		return nil, errors.New("spans several lines (\\n): lines are matched one by one and correlated by process or ID")
	}
	single, err := splitHosts(splitAlternatives(n))
	if err != nil {
		return nil, err
	}
	var alternatives []alternative
	for _, alt := range single {
		w := stripEnds(alt)
		if pre != nil {
			whole, err := combine(pre, w)
			if err != nil {
				return nil, err
			}
			w = stripEnds(whole)
		}
		alternatives = append(alternatives, w.withoutHead(alt))
	}
	a := &Variants{Open: slices.ContainsFunc(alternatives, func(w alternative) bool { return !w.begins || !w.ends })}
	tried := make(map[string]bool)
	var first error // of the most faithful variant
	for _, f := range []strictness{{}, {daemonTail: true}, {noTemplate: true}, {noTemplate: true, ipv4Only: true}, {once: true}} {
		ps, err := variant(alternatives, name, f)
		if err != nil {
			if f.once {
				a.NotOnce = err.Error()
			} else if first == nil {
				first = err
			}
			continue
		}
		var key strings.Builder
		for _, p := range ps {
			key.WriteString(p.Kind + "\x00" + p.Text + "\x00" + p.Regexp + "\x00")
		}
		if !tried[key.String()] {
			tried[key.String()] = true
			a.Patterns = append(a.Patterns, ps)
		}
	}
	if len(a.Patterns) == 0 {
		return nil, first
	}
	return a, nil
}

// variant writes the alternatives of an expression in one way. The last pattern says how it differs from the expression.
func variant(alternatives []alternative, name string, f strictness) (ps []Pattern, err error) {
	var changes []string
	change := func(why string) {
		if !slices.Contains(changes, why) {
			changes = append(changes, why)
		}
	}
	if f.ipv4Only {
		change("it matches IPv4 addresses alone, since an IPv6 address could not be told from the text after it")
	}
	for i, w := range alternatives {
		id := name
		if len(alternatives) > 1 {
			id = fmt.Sprintf("%s-%d", name, i+1)
		}
		more, err := w.patterns(id, f)
		if err != nil {
			return nil, err
		}
		for _, p := range more {
			if p.Once != "" {
				change(fmt.Sprintf("a line in which %q stands more than once does not match, because it is unclear which address is the daemon's", p.Once))
			}
		}
		if f.once && strings.HasPrefix(more[0].Text, "<text>") {
			open := "since it has no ^"
			if w.begins {
				open = "since free text (.*) follows its ^"
			}
			change(open + ", anyone who can place its text in another message of this unit can choose the address: anchor it if possible")
		}
		ps = append(ps, more...)
	}
	ps[len(ps)-1].Changed = strings.Join(changes, "; ")
	if strings.HasPrefix(name, "ignoreregex") {
		for i := range ps {
			ps[i].Kind = "context"
		}
	}
	return ps, nil
}
