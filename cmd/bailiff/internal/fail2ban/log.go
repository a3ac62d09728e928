package fail2ban

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
)

// outcome is one outcome of one option.
type outcome struct {
	kind, to, why, hint string
	line                int // line within the value; 0: the option's line
}

// add records an outcome of an option. Without an option there is nothing to record.
func (im *importer) add(o *ini.Option, out outcome) {
	if o == nil || slices.Contains(im.outcomes[o], out) {
		return
	}
	im.outcomes[o] = append(im.outcomes[o], out)
}

func (im *importer) carried(o *ini.Option, to string) { im.add(o, outcome{kind: Carried, to: to}) }

func (im *importer) changed(o *ini.Option, to, why string) {
	im.add(o, outcome{kind: Changed, to: to, why: why})
}

func (im *importer) notNeeded(o *ini.Option, why string) {
	im.add(o, outcome{kind: NotNeeded, why: why})
}

func (im *importer) lost(o *ini.Option, why, hint string) {
	im.add(o, outcome{kind: Lost, why: why, hint: hint})
}

// addWord records what becomes of one word of a value.
func (im *importer) addWord(o *ini.Option, word string, out outcome) {
	if o != nil {
		out.line = o.LineOf(word)
		im.add(o, out)
	}
}

func (im *importer) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	if !slices.Contains(im.notes, n) {
		im.notes = append(im.notes, n)
	}
}

const masked = "…(hidden)"

var (
	secretName = regexp.MustCompile(`(?i)(?:key|token|secret|password|passwd|[_.-]pass|^pass)$`)
	secretArg  = regexp.MustCompile(`(?i)([\w.-]*(?:key|token|secret|password|passwd|[_.-]pass)\s*=\s*)(\\?"[^"]*"?|'[^']*'?|[^\s,\]"']+)`) // \" in errors that quote a value
	secretURL  = regexp.MustCompile(`(https?://)(?:[^\s/@"',\]]*@)?([^\s/"',\]]+)/[^\s"',\]]+`)
)

// mask hides secrets, since reports are shown to others: keys, passwords, and the path of a URL, which often contains a
// token.
func mask(name, value string) string {
	if secretName.MatchString(name) && strings.TrimSpace(value) != "" {
		return masked
	}
	value = secretArg.ReplaceAllString(value, "${1}"+masked)
	return secretURL.ReplaceAllString(value, "${1}${2}/"+masked)
}

// closeOption adds an option, with its outcomes, to the list of settings.
func (im *importer) closeOption(o *ini.Option) {
	hide := mask
	if slices.Contains(filterOptions, o.Name) || filepath.Base(filepath.Dir(o.File)) == "filter.d" { // expressions contain no keys
		hide = func(_, s string) string { return s }
	}
	s := Setting{File: o.File, Line: o.Line, Section: o.Section, Option: o.Name, Value: hide(o.Name, o.Value), Admin: im.adminFile(o.File)}
	outcomes := im.outcomes[o]
	if len(outcomes) == 0 {
		out := outcome{kind: Unused, why: "nothing that is enabled uses it"}
		if len(o.UsedBy) > 0 {
			out = outcome{kind: Part, to: strings.Join(slices.Sorted(maps.Keys(o.UsedBy)), ", ")}
		} else if o.ReplacedBy != nil {
			out = outcome{kind: Replaced, to: o.ReplacedBy.Position()}
		}
		outcomes = []outcome{out}
	}
	for _, out := range outcomes {
		one := s
		one.Outcome, one.To, one.Why, one.Hint = out.kind, out.to, hide("", out.why), out.hint
		if out.line > 0 {
			one.Line = out.line
		}
		im.settings = append(im.settings, &one)
	}
}
