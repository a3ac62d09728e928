package filters

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
)

// explained is the key "explain" of `bailiff match --json`. bailiff(1) documents its keys, which do not change.
type explained struct {
	Filter    string         `json:"filter"`
	Mode      string         `json:"mode"`
	Trust     string         `json:"trust"` // why the entry counts or not; for a bare line, whose entries would
	Repeat    int            `json:"repeat"`
	Truncated bool           `json:"truncated"`
	Refused   string         `json:"refused,omitempty"`
	Prefix    *string        `json:"prefix"`
	Modes     []string       `json:"modes"` // in which the line matches
	Text      string         `json:"text"`  // that the patterns were tried on
	Patterns  []explainedTry `json:"patterns"`
}

type explainedTry struct {
	Name      string  `json:"name"`
	Template  string  `json:"template"`
	Line      int     `json:"line"` // of the filter's file
	InMode    bool    `json:"in_mode"`
	Prefilter bool    `json:"prefilter"`
	Matched   bool    `json:"matched"`
	From      int     `json:"from"` // bytes of text
	At        int     `json:"at"`
	Wanted    *string `json:"wanted"`
}

// trustText says why an entry counts or not.
func trustText(m *filter.Matcher, x *filter.Explanation, fe *filter.Entry, known bool) string {
	if !known {
		return "a bare line does not say who wrote it; the filter trusts " + m.Trust().Text()
	}
	if x.Hit != nil && x.Hit.Pattern.RequireMessage && !fe.WholeMessage {
		return "no, so it is no evidence: pattern " + x.Hit.Pattern.Name + " matches whole messages only, and this is a line of a stream"
	}
	if m.Trusts(fe) {
		return "yes: " + m.Why(fe)
	}
	return "no, so it is no evidence: " + m.Why(fe)
}

func newExplained(m *filter.Matcher, x *filter.Explanation, trust string) *explained {
	o := &explained{Filter: m.Filter.Name, Mode: m.Mode, Trust: trust, Repeat: x.Repeat, Truncated: x.Truncated, Refused: x.Refused, Modes: orEmpty(x.Modes), Text: strings.ToValidUTF8(string(x.Text), "\uFFFD"), Patterns: []explainedTry{}}
	if x.Prefix != "" {
		o.Prefix = &x.Prefix
	}
	for i := range x.Tries {
		t := &x.Tries[i]
		e := explainedTry{Name: t.Pattern.Name, Template: t.Pattern.Text, Line: t.Pattern.Line, InMode: t.InMode, Prefilter: t.Prefilter, Matched: t.Matched, From: t.From, At: t.At}
		if !t.Matched {
			e.Wanted = &t.Wanted
		}
		o.Patterns = append(o.Patterns, e)
	}
	return o
}

// nearMisses is the number of patterns shown, of those that the prefilter left out, if nothing matched.
const nearMisses = 3

// nearEnough is the number of bytes that such a pattern must have in common with the line.
const nearEnough = 10

// printExplanation shows how a line was matched.
func printExplanation(e *cli.Env, m *filter.Matcher, x *filter.Explanation, trust string) {
	item := func(name, format string, args ...any) {
		e.Printf("    %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	item("filter", "%s, mode %s (%s)", m.Filter.Name, m.Mode, text.Clean(m.Filter.File))
	item("trusted", "%s", text.Clean(trust))
	if x.Repeat > 1 {
		item("folded", "stands for %d lines", x.Repeat)
	}
	if x.Truncated {
		item("truncated", "its end may be missing: only patterns that do not need it, and have the address before any client's text, may match")
	}
	if x.Refused != "" {
		item("refused", "%s", x.Refused)
		return
	}
	if x.Prefix != "" {
		item("prefix", "%s is removed first", text.Clean(x.Prefix))
	}
	// In the matcher's order: what the prefilter lets through, up to the first pattern that matches.
	var tried []*filter.Try
	passed, all := 0, 0
	done := false
	for i := range x.Tries {
		t := &x.Tries[i]
		if !t.InMode {
			continue
		}
		all++
		if t.Prefilter {
			passed++
			if !done {
				tried = append(tried, t)
			}
			done = done || t.Matched
		}
	}
	item("prefilter", "%d of %s of this mode can begin like this line", passed, diag.Count(all, "template"))
	for _, t := range tried {
		printTry(e, x, t)
	}
	if x.Hit == nil {
		if len(tried) == 0 {
			for _, n := range nearest(missesOf(m.Filter, x)) {
				printTry(e, x, n.t)
			}
		}
		switch {
		case len(x.Modes) > 0:
			item("modes", "it matches in %s", strings.Join(x.Modes, ", "))
		case len(m.Filter.Modes) > 1:
			item("modes", "it matches in no other mode either")
		}
		return
	}
	item("captured", "%s", captured(x.Hit))
	if len(m.Filter.Modes) > 1 {
		item("modes", "it matches in %s", strings.Join(x.Modes, ", "))
	}
}

// miss is a pattern that did not match in the mode, or was not tried.
type miss struct {
	x *filter.Explanation
	t *filter.Try
	f *filter.Filter
}

func missesOf(f *filter.Filter, x *filter.Explanation) (l []*miss) {
	for i := range x.Tries {
		l = append(l, &miss{x, &x.Tries[i], f})
	}
	return l
}

// nearest are the misses nearest to a match: those that match in another mode, else those that have enough in common with the line.
func nearest(misses []*miss) []*miss {
	misses = slices.DeleteFunc(misses, func(m *miss) bool { return !m.t.Matched && (len(m.x.Modes) > 0 || m.t.Near < nearEnough) })
	slices.SortStableFunc(misses, func(a, b *miss) int { return closer(a.t, b.t) })
	return misses[:min(len(misses), nearMisses)]
}

// closer compares tries: the one nearest to a match is first.
func closer(a, b *filter.Try) int {
	switch {
	case a.Matched == b.Matched:
		return b.Near - a.Near
	case a.Matched:
		return -1
	}
	return 1
}

// printTry shows a pattern, and where it stopped.
func printTry(e *cli.Env, x *filter.Explanation, t *filter.Try) {
	p := t.Pattern
	what := e.Paint(cli.Faint, "no ")
	if t.Matched {
		what = e.Paint(cli.Green, "yes")
	}
	note := ""
	if !t.InMode {
		note = ", in modes " + strings.Join(p.Modes, " ")
	}
	e.Printf("      %s  %s (%s, line %d%s)\n           %s\n", what, p.Name, p.Kind, p.Line, note, text.Clean(p.Text))
	if t.Matched {
		return
	}
	// The line around the place, with a mark below it.
	const before, after = 48, 24
	begin, end := max(0, t.At-before), min(len(x.Text), t.At+after)
	left, right := text.Clean(strings.ToValidUTF8(string(x.Text[begin:t.At]), "?")), text.Clean(strings.ToValidUTF8(string(x.Text[t.At:end]), "?"))
	if begin > 0 {
		left = "…" + left
	}
	if end < len(x.Text) {
		right += "…"
	}
	e.Printf("           %s%s\n           %s^ expected %s\n", left, right, strings.Repeat(" ", utf8.RuneCountInString(left)), text.Clean(t.Wanted))
}

// captured lists what a pattern captured.
func captured(h *filter.Hit) string {
	var l []string
	if h.Addr.IsValid() {
		l = append(l, "address "+h.Addr.String())
	}
	if h.Port != 0 {
		l = append(l, fmt.Sprintf("port %d", h.Port))
	}
	if h.User != nil {
		l = append(l, fmt.Sprintf("user %q", text.Clean(string(h.User))))
	}
	if h.ID != nil {
		l = append(l, fmt.Sprintf("id %q", text.Clean(string(h.ID))))
	}
	if h.Repeat > 1 {
		l = append(l, fmt.Sprintf("%d times", h.Repeat))
	}
	if p := h.Pattern; p.Weight > 1 {
		l = append(l, fmt.Sprintf("weight %d", p.Weight))
	}
	return cmp.Or(strings.Join(l, ", "), "nothing")
}

// explainEverywhere explains a line by every filter that matches it; if none does, by the nearest patterns.
func explainEverywhere(e *cli.Env, conf string, fe *filter.Entry, known bool) error {
	all, err := files(conf)
	if err != nil {
		return err
	}
	added := additions(e, conf)
	var misses []*miss
	found := 0
	for i := range all {
		f := all[i].Filter
		if f == nil {
			e.Notef("filter %s has errors: bailiff filter test %s", all[i].Name, all[i].Name)
			continue
		}
		f = f.With(added[f.Name])
		m, err := f.Mode("")
		if err != nil {
			return err
		}
		x := m.Explain(fe.Message)
		if len(x.Modes) == 0 {
			misses = append(misses, missesOf(f, x)...)
			continue
		}
		if x.Hit == nil { // in the mode that knows it
			if m, err = f.Mode(x.Modes[0]); err != nil {
				return err
			}
			x = m.Explain(fe.Message)
		}
		found++
		trust := trustText(m, x, fe, known)
		if e.JSON {
			if err := cli.WriteJSON(e.Out, newExplained(m, x, trust)); err != nil {
				return err
			}
			continue
		}
		e.Printf("%s %s\n", e.Paint(cli.Bold, x.Hit.Kind.String()), x.Hit.Pattern.Name)
		printExplanation(e, m, x, trust)
	}
	if found > 0 || e.JSON {
		return nil
	}
	e.Printf("none of %s matches this line\n", diag.Count(len(all), "filter"))
	for i, n := range nearest(misses) {
		if i == 0 {
			e.Printf("nearest patterns:\n")
		}
		e.Printf("    %s\n", n.f.Name)
		printTry(e, n.x, n.t)
	}
	return nil
}

// entryAt reads one entry of a journal by its cursor.
func entryAt(paths []string, cursor string) (*filter.Entry, error) {
	c, err := journal.ParseCursor(cursor)
	if err != nil {
		return nil, err
	}
	src, err := journal.Paths(paths...)
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(src, journal.Options{Fields: evidence.Fields, MaxValue: evidence.MaxValue})
	if err != nil {
		return nil, err
	}
	defer j.Close()
	ent, ok := j.At(c)
	if p := j.Problems(); !ok && len(p) > 0 {
		return nil, fmt.Errorf("the journal has no entry %s, but part of it could not be read: %w", cursor, p[0])
	}
	if !ok {
		return nil, fmt.Errorf("the journal has no entry %s; it may have been deleted", cursor)
	}
	var fe filter.Entry
	evidence.Convert(ent, &fe)
	fe.Message, fe.Unit, fe.Slice, fe.Identifier = slices.Clone(fe.Message), slices.Clone(fe.Unit), slices.Clone(fe.Slice), slices.Clone(fe.Identifier)
	return &fe, nil
}
