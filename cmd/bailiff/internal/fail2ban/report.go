package fail2ban

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// What becomes of a setting of fail2ban's.
const (
	Carried  = "carried"  // it stands in the files written; To says where
	Changed  = "changed"  // carried over, but it means something else now; Why says what
	Lost     = "lost"     // it could not be carried over; Why says why
	Moot     = "moot"     // bailiff has no need of it; Why says why
	Replaced = "replaced" // a later file sets it anew
	Part     = "part"     // its text is a part of others' values
	Unused   = "unused"   // no enabled jail makes use of it
)

// Setting is one assignment of fail2ban's configuration and what became of it: one thing or, where jails differ, several,
// each a Setting of its own.
type Setting struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // 0: the file as a whole
	Section string `json:"section,omitempty"`
	Option  string `json:"option,omitempty"`
	Value   string `json:"value"`
	Outcome string `json:"outcome"`
	To      string `json:"to,omitempty"`
	Why     string `json:"why,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Own     bool   `json:"own"` // of the administrator: not in a file that fail2ban's package ships
}

// Jail is what became of an enabled jail.
type Jail struct {
	Name       string `json:"name"`
	As         string `json:"as"`         // the jail in bailiff; empty: none
	Filter     string `json:"filter"`     // of bailiff
	Mode       string `json:"mode"`       // empty: the filter's default
	Translated bool   `json:"translated"` // the filter was written anew from fail2ban's expressions
	Taken      int    `json:"taken"`      // expressions that were translated …
	Of         int    `json:"of"`         // … out of so many
	Why        string `json:"why,omitempty"`
}

// Report is the account of an import.
type Report struct {
	From     string    `json:"from"`
	Jails    []Jail    `json:"jails"`
	Settings []Setting `json:"settings"`
	Notes    []string  `json:"notes"`
}

// outcome is a part of the account of one option.
type outcome struct {
	kind, to, why, hint string
	line                int // not 0: within a value of several lines
}

// accountant notes what becomes of options.
type accountant struct {
	outcomes map[*option][]outcome
	settings []Setting
	notes    []string
	own      func(file string) bool
}

// add records an outcome of an option. Without an option there is nothing to record.
func (a *accountant) add(o *option, out outcome) {
	if o == nil || slices.Contains(a.outcomes[o], out) {
		return
	}
	if a.outcomes == nil {
		a.outcomes = make(map[*option][]outcome)
	}
	a.outcomes[o] = append(a.outcomes[o], out)
}

func (a *accountant) carried(o *option, to string) { a.add(o, outcome{kind: Carried, to: to}) }
func (a *accountant) changed(o *option, to, why string) {
	a.add(o, outcome{kind: Changed, to: to, why: why})
}
func (a *accountant) moot(o *option, why string) { a.add(o, outcome{kind: Moot, why: why}) }
func (a *accountant) lost(o *option, why, hint string) {
	a.add(o, outcome{kind: Lost, why: why, hint: hint})
}

// within records what becomes of one word of a value.
func (a *accountant) within(o *option, word string, out outcome) {
	if o != nil {
		out.line = o.lineOf(word)
		a.add(o, out)
	}
}

func (a *accountant) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	if !slices.Contains(a.notes, n) {
		a.notes = append(a.notes, n)
	}
}

const masked = "…(hidden)"

var (
	secretName = regexp.MustCompile(`(?i)(?:key|token|secret|password|passwd|[_.-]pass|^pass)$`)
	secretArg  = regexp.MustCompile(`(?i)([\w.-]*(?:key|token|secret|password|passwd|[_.-]pass)\s*=\s*)("[^"]*"|'[^']*'|[^\s,\]"']+)`)
	secretURL  = regexp.MustCompile(`(https?://)(?:[^\s/@"',\]]*@)?([^\s/"',\]]+)/[^\s"',\]]+`)
)

// mask keeps what opens other services out of a report, which is shown to others: keys, passwords, and the path of a web
// address, which often is the key.
func mask(name, value string) string {
	if secretName.MatchString(name) && strings.TrimSpace(value) != "" {
		return masked
	}
	value = secretArg.ReplaceAllString(value, "${1}"+masked)
	return secretURL.ReplaceAllString(value, "${1}${2}/"+masked)
}

// close writes an option's account.
func (a *accountant) close(o *option) {
	hide := mask
	if slices.Contains(filterOptions, o.name) || filepath.Base(filepath.Dir(o.file)) == "filter.d" { // expressions hold no keys
		hide = func(_, s string) string { return s }
	}
	s := Setting{File: o.file, Line: o.line, Section: o.section, Option: o.name, Value: hide(o.name, o.value), Own: a.own(o.file)}
	outcomes := a.outcomes[o]
	if len(outcomes) == 0 {
		switch {
		case len(o.usedBy) > 0:
			var by []string
			for name := range o.usedBy {
				by = append(by, name)
			}
			slices.Sort(by)
			outcomes = []outcome{{kind: Part, to: strings.Join(by, ", ")}}
		case o.by != nil:
			outcomes = []outcome{{kind: Replaced, to: o.by.at()}}
		default:
			outcomes = []outcome{{kind: Unused, why: "nothing that is enabled uses it"}}
		}
	}
	for _, out := range outcomes {
		s.Outcome, s.To, s.Why, s.Hint = out.kind, out.to, hide("", out.why), out.hint
		if s.Line = o.line; out.line > 0 {
			s.Line = out.line
		}
		a.settings = append(a.settings, s)
	}
}

func (a *accountant) sorted() []Setting {
	slices.SortStableFunc(a.settings, func(x, y Setting) int {
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line))
	})
	return a.settings
}
