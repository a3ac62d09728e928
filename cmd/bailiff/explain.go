package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy/config"
	"bailiff/policy/filter"
)

// explained is the key "explain" of `bailiff match --json`; its keys are documented in bailiff(1) and stay.
type explained struct {
	Filter    string         `json:"filter"`
	Mode      string         `json:"mode"`
	Trust     string         `json:"trust"` // why the entry counts or not; of a bare line: whose would
	Repeat    int            `json:"repeat"`
	Truncated bool           `json:"truncated"`
	Refused   string         `json:"refused,omitempty"`
	Prefix    *string        `json:"prefix"`
	Modes     []string       `json:"modes"` // in which the line matches
	Text      string         `json:"text"`  // what the patterns saw
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
		return "a bare line does not say who wrote it; the filter takes what comes from " + m.Trust().Text()
	}
	if x.Hit != nil && x.Hit.Pattern.RequireMessage && !fe.WholeMessage {
		return "no, so it is no evidence: pattern " + x.Hit.Pattern.Name + " takes whole messages only, and this is a line of a stream"
	}
	if m.Trusts(fe) {
		return "yes: " + m.Why(fe)
	}
	return "no, so it is no evidence: " + m.Why(fe)
}

func explainJSON(m *filter.Matcher, x *filter.Explanation, trust string) *explained {
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

// nearMisses is how many patterns are shown of those that the prefilter left out, when nothing matched.
const nearMisses = 3

// nearEnough is how many bytes such a pattern must have in common with the line.
const nearEnough = 10

// explain writes for people how a line went through a filter.
func (e *env) explain(w io.Writer, m *filter.Matcher, x *filter.Explanation, trust string) {
	item := func(name, format string, args ...any) {
		fmt.Fprintf(w, "    %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	item("filter", "%s, mode %s (%s)", m.Filter.Name, m.Mode, clean(m.Filter.File))
	item("trusted", "%s", clean(trust))
	if x.Repeat > 1 {
		item("folded", "stands for %d lines", x.Repeat)
	}
	if x.Truncated {
		item("truncated", "it may have lost its end: only patterns that need none, and have the address before any client's text, may take it")
	}
	if x.Refused != "" {
		item("refused", "%s", x.Refused)
		return
	}
	if x.Prefix != "" {
		item("prefix", "%s is removed first", clean(x.Prefix))
	}
	// In the order in which the matcher goes: what the prefilter lets through, up to the first that takes the line.
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
	item("prefilter", "%d of %s of this mode can begin like this line", passed, plural(all, "template"))
	for _, t := range tried {
		e.try(w, x, t)
	}
	if x.Hit == nil {
		if len(tried) == 0 {
			e.nearest(w, x)
		}
		switch {
		case len(x.Modes) > 0:
			item("modes", "it matches in %s", strings.Join(x.Modes, ", "))
		case len(m.Filter.Modes) > 1:
			item("modes", "it matches in no other mode either")
		}
		return
	}
	h := x.Hit
	item("captured", "%s", captured(h))
	if len(m.Filter.Modes) > 1 {
		item("modes", "it matches in %s", strings.Join(x.Modes, ", "))
	}
}

// nearest shows the patterns that come nearest though the matcher does not look at them.
func (e *env) nearest(w io.Writer, x *filter.Explanation) {
	near := []*filter.Try{}
	for i := range x.Tries {
		if t := &x.Tries[i]; t.Matched || len(x.Modes) == 0 && t.Near >= nearEnough {
			near = append(near, t)
		}
	}
	slices.SortStableFunc(near, func(a, b *filter.Try) int { return closer(a, b) })
	for _, t := range near[:min(len(near), nearMisses)] {
		e.try(w, x, t)
	}
}

// closer orders tries: the one that comes nearest first.
func closer(a, b *filter.Try) int {
	switch {
	case a.Matched != b.Matched:
		if a.Matched {
			return -1
		}
		return 1
	}
	return b.Near - a.Near
}

func (e *env) try(w io.Writer, x *filter.Explanation, t *filter.Try) {
	p := t.Pattern
	what := e.paint(faint, "no ")
	if t.Matched {
		what = e.paint(green, "yes")
	}
	note := ""
	if !t.InMode {
		note = ", in modes " + strings.Join(p.Modes, " ")
	}
	fmt.Fprintf(w, "      %s  %s (%s, line %d%s)\n           %s\n", what, p.Name, p.Kind, p.Line, note, clean(p.Text))
	if t.Matched {
		return
	}
	// The line around the place, with a mark below it.
	const before, after = 48, 24
	begin, end := max(0, t.At-before), min(len(x.Text), t.At+after)
	left, right := clean(strings.ToValidUTF8(string(x.Text[begin:t.At]), "?")), clean(strings.ToValidUTF8(string(x.Text[t.At:end]), "?"))
	if begin > 0 {
		left = "…" + left
	}
	if end < len(x.Text) {
		right += "…"
	}
	fmt.Fprintf(w, "           %s%s\n           %s^ wanted %s\n", left, right, strings.Repeat(" ", utf8.RuneCountInString(left)), clean(t.Wanted))
}

func captured(h *filter.Hit) string {
	var l []string
	if h.Addr.IsValid() {
		l = append(l, "address "+h.Addr.String())
	}
	if h.Port != 0 {
		l = append(l, fmt.Sprintf("port %d", h.Port))
	}
	if h.User != nil {
		l = append(l, fmt.Sprintf("user %q", clean(string(h.User))))
	}
	if h.ID != nil {
		l = append(l, fmt.Sprintf("id %q", clean(string(h.ID))))
	}
	if h.Repeat > 1 {
		l = append(l, fmt.Sprintf("%d times", h.Repeat))
	}
	if p := h.Pattern; p.Weight > 1 {
		l = append(l, fmt.Sprintf("weight %d", p.Weight))
	}
	if len(l) == 0 {
		return "nothing"
	}
	return strings.Join(l, ", ")
}

// explainEverywhere explains a line by every filter that knows it; if none does, by the patterns that came nearest.
func (e *env) explainEverywhere(conf string, fe *filter.Entry, known, asJSON bool) error {
	var l config.Loader
	all, err := l.FilterFiles(conf)
	if err != nil {
		return err
	}
	added := e.trusted(conf)
	type near struct {
		x *filter.Explanation
		t *filter.Try
		f *filter.Filter
	}
	var misses []near
	found := 0
	for i := range all {
		f := all[i].Filter
		if f == nil {
			fmt.Fprintf(e.err, "note: filter %s is refused: bailiff filter test %s\n", all[i].Name, all[i].Name)
			continue
		}
		f = f.With(added[f.Name])
		m, err := f.Mode("")
		if err != nil {
			return err
		}
		x := m.Explain(fe.Message)
		if len(x.Modes) == 0 {
			for k := range x.Tries {
				misses = append(misses, near{x, &x.Tries[k], f})
			}
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
		if asJSON {
			if err := printJSON(e.out, explainJSON(m, x, trust)); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(e.out, "%s %s\n", e.paint(bold, x.Hit.Kind.String()), x.Hit.Pattern.Name)
		e.explain(e.out, m, x, trust)
	}
	if found > 0 || asJSON {
		return nil
	}
	fmt.Fprintf(e.out, "none of %s knows this line\n", plural(len(all), "filter"))
	slices.SortStableFunc(misses, func(a, b near) int { return closer(a.t, b.t) })
	if len(misses) > 0 && misses[0].t.Near >= nearEnough {
		fmt.Fprintln(e.out, "the nearest patterns:")
	}
	for _, n := range misses[:min(len(misses), nearMisses)] {
		if n.t.Near >= nearEnough {
			fmt.Fprintf(e.out, "    %s\n", n.f.Name)
			e.try(e.out, n.x, n.t)
		}
	}
	return nil
}

// entryAt reads one entry of a journal by its cursor.
func entryAt(paths []string, text string) (*filter.Entry, error) {
	c, err := journal.ParseCursor(text)
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
		return nil, fmt.Errorf("the journal has no entry %s, but part of it could not be read: %w", text, p[0])
	}
	if !ok {
		return nil, fmt.Errorf("the journal has no entry %s (any more)", text)
	}
	var fe filter.Entry
	evidence.Convert(ent, &fe)
	fe.Message, fe.Unit, fe.Slice, fe.Identifier = slices.Clone(fe.Message), slices.Clone(fe.Unit), slices.Clone(fe.Slice), slices.Clone(fe.Identifier)
	return &fe, nil
}
