// Package filter decides what a log message means: a failure of an address, a success, or context for other messages of the connection. A
// filter is a YAML file for one daemon, with trusted sources, patterns, modes and test lines. The built-in filters are in builtin/;
// operators' own filters are read the same way. bailiff.filter(5) describes the format.
//
// It looks at one entry at a time and keeps no state: counting, and correlating the lines of one connection, is policy/jail's work. It
// never resolves a host name. A pattern must not find an address in text that a client chose; when a filter is loaded, a test tries to
// mislead its patterns (forgery.go). Matching takes time linear in the length of the line (vm.go).
//
// Templates are matched by a small virtual machine instead of regexp: five to ten times faster, without allocations, and it
// knows which parts of a line a client can choose, which the forgery test, explain and redaction need.
//
// Start reading at Matcher.Match in matcher.go. The template language is described in template.go.
package filter

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bailiff/policy/diag"
)

// Filter is a parsed filter file. It is read-only.
type Filter struct {
	Name           string
	Description    string   // one line
	Notes          string   // what counts as evidence and why
	Modes          []string // the first is the default
	File           string   // where it was read from
	ParallelLogins bool     // clients log in over several connections at once with one password
	Interactive    bool     // people type the passwords; programs use keys or tokens
	WrittenTwice   bool     // the daemon may write each line to two logs, which both end in the journal
	Guests         []string // accounts that need no password; failures on them do not count
	Off            bool     // no jail unless the configuration names it
	MaxRetry       int      // limit of jails that do not set their own, which then have no slow window; 0: the general default

	trust     Trust
	modes     map[string][]string // mode → itself and the modes that it includes
	maxLine   int                 // lines of this many bytes may have been cut
	byAddress bool                // lines of one attempt are correlated by address
	matchers  map[string]*Matcher // by mode
	rules     func() *rules
}

// rules are the part of a filter that matches lines. They take most of its memory, and most hosts run few of the services that have
// built-in filters, so a built-in filter reads its rules when they are first needed.
type rules struct {
	patterns []*Pattern
	prefixes []messagePrefix
	tests    []test
	success  bool // a pattern matches successful logins
}

// Pattern describes one kind of message.
type Pattern struct {
	Name   string
	Text   string // the template, or the regular expression
	Regexp bool
	Kind   Kind
	Weight int   // how much one line counts
	Stage  uint8 // position among the lines about one attempt; 0: each line is an attempt. See jail.Connections

	// MaxRetry: this many lines lead to a ban, whatever the jail's limit is; 0: the jail's limit.
	MaxRetry int
	// InvalidUser: the account does not exist; see config.Weights.
	InvalidUser bool
	// Provisional: the attempt may still succeed; other lines report its outcome.
	Provisional bool
	// ProvisionalWithoutUser: like Provisional, if the line names no account.
	ProvisionalWithoutUser bool
	// AfterFailure: the line counts only after another failure of its connection; without a stage, of its address.
	AfterFailure bool
	// Distinct: lines of this pattern count once for each address within find_time. A line that names an account counts only if the address
	// has no other failure on that account.
	Distinct bool

	Modes          []string // modes in which the pattern is used; empty: all
	RequireMessage bool     // only whole messages match
	File           string
	Line           int
	Col            int // column of its template or expression

	node  *node
	prog  *program
	re    *expr
	split func() *regexp.Regexp // of a regular expression: see Dissect
}

// Mode returns the matcher of a mode; "" is the default mode.
func (f *Filter) Mode(name string) (*Matcher, error) {
	if name == "" {
		name = f.Modes[0]
	}
	if m := f.matchers[name]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("filter %s has no mode %q: %s", f.Name, name, diag.DidYouMean(name, f.Modes, "it has "+strings.Join(f.Modes, ", ")))
}

// Patterns lists the filter's patterns in the order in which they are tried.
func (f *Filter) Patterns() []*Pattern { return f.rules().patterns }

// Trust returns whose entries the filter trusts.
func (f *Filter) Trust() Trust { return f.trust }

// Includes lists the modes whose patterns a mode uses, itself first.
func (f *Filter) Includes(mode string) []string { return slices.Clone(f.modes[mode]) }

// Prefixes lists the templates that may precede every message.
func (f *Filter) Prefixes() (l []string) {
	for _, p := range f.rules().prefixes {
		l = append(l, p.text)
	}
	return l
}

// HasSuccess reports whether a pattern matches successful logins.
func (f *Filter) HasSuccess() bool { return f.rules().success }

// CorrelatesByAddress reports whether lines of one attempt are correlated by address, not by process or id.
func (f *Filter) CorrelatesByAddress() bool { return f.byAddress }

// Failures returns the test lines of the file that are failures with an address in the default mode.
func (f *Filter) Failures() (lines []string) {
	m := f.matchers[f.Modes[0]]
	for _, t := range f.rules().tests {
		var h Hit
		if !t.miss && slices.Contains(t.modes, f.Modes[0]) && m.MatchMessage(t.line, &h) && h.Kind == Failure && h.Addr.IsValid() {
			lines = append(lines, string(t.line))
		}
	}
	return lines
}

// Tests returns the number of test lines in the file.
func (f *Filter) Tests() int { return len(f.rules().tests) }

// joinErrors is errors.Join for a list of one error type.
func joinErrors[E error](l []E) error {
	all := make([]error, len(l))
	for i, e := range l {
		all[i] = e
	}
	return errors.Join(all...)
}
