package fail2ban

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
)

// What becomes of a setting of fail2ban's.
const (
	Carried   = "carried"    // it stands in the files written; To says where
	Changed   = "changed"    // carried over, but it means something else now; Why says what
	Lost      = "lost"       // it could not be carried over; Why says why
	NotNeeded = "not_needed" // bailiff has no need of it; Why says why
	Replaced  = "replaced"   // a later file sets it anew
	Part      = "part"       // its text is a part of others' values
	Unused    = "unused"     // no enabled jail makes use of it
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
	Admin   bool   `json:"own"` // of the administrator: not in a file that fail2ban's package ships
}

// JailReport is what became of an enabled jail.
type JailReport struct {
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
	From     string       `json:"from"`
	Jails    []JailReport `json:"jails"`
	Settings []Setting    `json:"settings"`
	Notes    []string     `json:"notes"`
}

// outcome is a part of the account of one option.
type outcome struct {
	kind, to, why, hint string
	line                int // not 0: within a value of several lines
}

// importLog notes what becomes of options.
type importLog struct {
	outcomes  map[*ini.Option][]outcome
	settings  []Setting
	notes     []string
	adminFile func(file string) bool
}

// add records an outcome of an option. Without an option there is nothing to record.
func (a *importLog) add(o *ini.Option, out outcome) {
	if o == nil || slices.Contains(a.outcomes[o], out) {
		return
	}
	if a.outcomes == nil {
		a.outcomes = make(map[*ini.Option][]outcome)
	}
	a.outcomes[o] = append(a.outcomes[o], out)
}

func (a *importLog) carried(o *ini.Option, to string) { a.add(o, outcome{kind: Carried, to: to}) }

func (a *importLog) changed(o *ini.Option, to, why string) {
	a.add(o, outcome{kind: Changed, to: to, why: why})
}

func (a *importLog) notNeeded(o *ini.Option, why string) {
	a.add(o, outcome{kind: NotNeeded, why: why})
}

func (a *importLog) lost(o *ini.Option, why, hint string) {
	a.add(o, outcome{kind: Lost, why: why, hint: hint})
}

// addWord records what becomes of one word of a value.
func (a *importLog) addWord(o *ini.Option, word string, out outcome) {
	if o != nil {
		out.line = o.LineOf(word)
		a.add(o, out)
	}
}

func (a *importLog) note(format string, args ...any) {
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

// closeOption writes an option's account.
func (a *importLog) closeOption(o *ini.Option) {
	hide := mask
	if slices.Contains(filterOptions, o.Name) || filepath.Base(filepath.Dir(o.File)) == "filter.d" { // expressions hold no keys
		hide = func(_, s string) string { return s }
	}
	s := Setting{File: o.File, Line: o.Line, Section: o.Section, Option: o.Name, Value: hide(o.Name, o.Value), Admin: a.adminFile(o.File)}
	outcomes := a.outcomes[o]
	if len(outcomes) == 0 {
		switch {
		case len(o.UsedBy) > 0:
			var by []string
			for name := range o.UsedBy {
				by = append(by, name)
			}
			slices.Sort(by)
			outcomes = []outcome{{kind: Part, to: strings.Join(by, ", ")}}
		case o.ReplacedBy != nil:
			outcomes = []outcome{{kind: Replaced, to: o.ReplacedBy.Position()}}
		default:
			outcomes = []outcome{{kind: Unused, why: "nothing that is enabled uses it"}}
		}
	}
	for _, out := range outcomes {
		s.Outcome, s.To, s.Why, s.Hint = out.kind, out.to, hide("", out.why), out.hint
		if s.Line = o.Line; out.line > 0 {
			s.Line = out.line
		}
		a.settings = append(a.settings, s)
	}
}

func (a *importLog) sorted() []Setting {
	slices.SortStableFunc(a.settings, func(x, y Setting) int {
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line))
	})
	return a.settings
}
