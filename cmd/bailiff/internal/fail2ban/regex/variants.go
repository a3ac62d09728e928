package regex

import (
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
	port       bool // with once: a port may follow the address
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
		return nil, fmt.Errorf("spans several lines (\\n): lines are matched one by one and correlated by process or ID")
	}
	var alternatives []alternative
	single, err := splitHosts(splitAlternatives(n))
	if err != nil {
		return nil, err
	}
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
	var last error
	for _, f := range []strictness{{}, {daemonTail: true}, {noTemplate: true}, {noTemplate: true, ipv4Only: true}, {once: true}} {
		var ps []Pattern
		var key strings.Builder
		var changes []string
		if f.ipv4Only {
			changes = append(changes, "it matches IPv4 addresses alone, since an IPv6 address could not be told from the text after it")
		}
		for i, w := range alternatives {
			id := name
			if len(alternatives) > 1 {
				id = fmt.Sprintf("%s-%d", name, i+1)
			}
			more, err := w.patterns(id, f)
			if err != nil {
				if f.once {
					a.NotOnce = err.Error()
				} else if last == nil { // of the most faithful variant
					last = err
				}
				ps = nil
				break
			}
			for _, p := range more {
				key.WriteString(p.Kind + "\x00" + p.Text + "\x00" + p.Regexp + "\x00")
				if why := fmt.Sprintf("a line in which %q stands more than once does not match, because it is unclear which address is the daemon's", p.Once); p.Once != "" && !slices.Contains(changes, why) {
					changes = append(changes, why)
				}
			}
			open := "since it has no ^"
			if w.begins {
				open = "since free text (.*) follows its ^"
			}
			if why := open + ", anyone who can place its text in another message of this unit can choose the address: anchor it if possible"; f.once && strings.HasPrefix(more[0].Text, "<text>") && !slices.Contains(changes, why) {
				changes = append(changes, why)
			}
			ps = append(ps, more...)
		}
		if ps == nil || tried[key.String()] {
			continue
		}
		tried[key.String()] = true
		ps[len(ps)-1].Changed = strings.Join(changes, "; ")
		if strings.HasPrefix(name, "ignoreregex") {
			for i := range ps {
				ps[i].Kind = "context"
			}
		}
		a.Patterns = append(a.Patterns, ps)
	}
	if len(a.Patterns) == 0 {
		return nil, last
	}
	return a, nil
}
