// Package filter says what a line of a daemon's log means: a failure of an address, a success, or something that tells
// more about a connection. What it knows of a daemon stands in one YAML file (builtin/ holds ours, an operator's own are
// read the same way): whose entries count as evidence, patterns, modes, and the file's own test lines.
//
// It looks at one entry at a time and keeps nothing: counting, and joining the lines of one connection, is for
// policy/jail. It never resolves a name. Patterns must not take an address out of text that a client chose, which a test at
// load tries to make them do (forgery.go). Its time is linear in the length of the line (match.go).
//
// Start reading at Matcher.Match; the template language stands in template.go, the file format in load.go.
package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"bailiff/policy/diag"
)

// Filter is what one file says.
type Filter struct {
	Name           string
	Description    string   // one line
	Notes          string   // what it takes as evidence and why
	Modes          []string // the first is the default
	File           string   // where it was read from
	ParallelLogins bool     // programs log in over several connections at once with one password
	HasSuccess     bool     // one of its patterns is of a login that went well
	Guests         []string // names that stand for nobody: no password belongs to them, and failures on them are no evidence
	Off            bool     // no jail until the configuration names it: its lines come from harmless clients or forged senders, too

	trust     Trust
	modes     map[string][]string // mode → itself and the modes that it includes
	patterns  []*Pattern
	prefixes  []messagePrefix
	maxLine   int  // lines of so many bytes may have lost their end
	byAddress bool // lines of one attempt are joined by address
	tests     []test
	matchers  map[string]func() *Matcher // each made when it is first asked for
}

// Pattern is one shape of line.
type Pattern struct {
	Name   string
	Text   string // the template, or the regular expression
	Regexp bool
	Kind   Kind
	Weight int   // how much one such line counts; 1 unless the file says otherwise
	Stage  uint8 // which of the lines about one attempt it is; 0: it stands for itself. See jail.Connections

	// MaxRetry is how many such lines are too many, whatever the jail says; 0: as the jail says. 1: one line is enough.
	MaxRetry int
	// InvalidUser says that such a line is about an account that does not exist: see config.Weights.
	InvalidUser bool
	// Provisional says that such a line is about one step of an attempt to log in that may still succeed: other lines tell
	// how it ended.
	Provisional bool
	// ProvisionalWithoutUser says that such a line is provisional where it names no account.
	ProvisionalWithoutUser bool
	// AfterFailure says that such a line is no evidence by itself, only where its address has failed before.
	AfterFailure bool

	Modes          []string // the modes it is for; empty: all
	RequireMessage bool     // of whole messages alone, as Trust.Whole says of all patterns
	File           string
	Line           int
	Col            int // of its template or expression

	node  *node
	prog  *program
	re    *expr
	blind func() *blind // of a regular expression: see Dissect
}

// Mode returns the matcher of a mode, "" meaning the default.
func (f *Filter) Mode(name string) (*Matcher, error) {
	if name == "" {
		name = f.Modes[0]
	}
	if m := f.matchers[name]; m != nil {
		return m(), nil
	}
	err := fmt.Errorf("filter %s has no mode %q", f.Name, name)
	if near := diag.Near(name, f.Modes); near != "" {
		return nil, fmt.Errorf("%w: did you mean %s?", err, near)
	}
	return nil, fmt.Errorf("%w: it has %s", err, strings.Join(f.Modes, ", "))
}

// Patterns lists the filter's patterns in the order in which they are tried.
func (f *Filter) Patterns() []*Pattern { return f.patterns }

// Trust says whose entries the filter looks at.
func (f *Filter) Trust() Trust { return f.trust }

// Includes lists the modes whose patterns a mode has, itself first.
func (f *Filter) Includes(mode string) []string { return slices.Clone(f.modes[mode]) }

// Prefixes lists the templates of what may stand before every message.
func (f *Filter) Prefixes() (l []string) {
	for i := range f.prefixes {
		l = append(l, f.prefixes[i].text)
	}
	return l
}

// CorrelatesByAddress says that lines of one attempt are joined by address, not by process or id.
func (f *Filter) CorrelatesByAddress() bool { return f.byAddress }

// Failures are the file's test lines that are failures with an address, in its default mode.
func (f *Filter) Failures() (lines []string) {
	m := f.matchers[f.Modes[0]]()
	for i := range f.tests {
		var h Hit
		if t := &f.tests[i]; !t.miss && slices.Contains(t.modes, f.Modes[0]) && m.MatchMessage(t.line, &h) && h.Kind == Failure && h.Addr.IsValid() {
			lines = append(lines, string(t.line))
		}
	}
	return lines
}

// Tests is how many test lines the file has.
func (f *Filter) Tests() int { return len(f.tests) }

// joinErrors is errors.Join over a list whose type is known.
func joinErrors[E error](l []E) error {
	all := make([]error, len(l))
	for i, e := range l {
		all[i] = e
	}
	return errors.Join(all...)
}
