package daemon

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/units/control"
)

// nearTries is how many of the patterns that were tried an answer shows: those that came nearest.
const nearTries = 3

// jails returns the jails of the configuration, enabled or not. Their filters are read-only.
func (a *controlAPI) jails(ctx context.Context) ([]config.Jail, error) {
	return ask(ctx, a, func(d *daemon) []config.Jail { return slices.Clone(d.conf.Jails) })
}

// usedFilter is a filter of the configuration with the jails that use it.
type usedFilter struct {
	*filter.Filter
	jails []control.FilterUse
}

// filtersOf lists the filters of jails by name, each once.
func filtersOf(jails []config.Jail) []usedFilter {
	var l []usedFilter
	for i := range jails {
		j := &jails[i]
		k := slices.IndexFunc(l, func(u usedFilter) bool { return u.Name == j.Filter.Name })
		if k < 0 {
			k = len(l)
			l = append(l, usedFilter{Filter: j.Filter})
		}
		l[k].jails = append(l[k].jails, control.FilterUse{Jail: j.Name, Mode: j.Mode, Enabled: j.Enabled})
	}
	slices.SortFunc(l, func(a, b usedFilter) int { return strings.Compare(a.Name, b.Name) })
	return l
}

// mode is the mode of the first enabled jail that uses the filter; "", the default, if there is none.
func (u *usedFilter) mode() string {
	for _, j := range u.jails {
		if j.Enabled {
			return j.Mode
		}
	}
	return ""
}

func (a *controlAPI) Filters(ctx context.Context) ([]control.FilterInfo, error) {
	jails, err := a.jails(ctx)
	if err != nil {
		return nil, err
	}
	var l []control.FilterInfo
	for _, u := range filtersOf(jails) {
		t := u.Trust()
		f := control.FilterInfo{Name: u.Name, Description: u.Description, Notes: u.Notes, File: u.File, Modes: u.Modes, Jails: u.jails, Trust: t.Text()}
		for _, p := range u.Patterns() {
			f.Patterns = append(f.Patterns, control.FilterPattern{Name: p.Name, Kind: p.Kind.String(), Text: p.Text, Modes: p.Modes, Line: p.Line})
		}
		l = append(l, f)
	}
	return l, nil
}

// Match tries a line on one filter, or on all of the configuration. One call is worked on at a time.
func (a *controlAPI) Match(ctx context.Context, q control.MatchQuery) ([]control.Match, error) {
	free, err := slot(ctx, a.matches)
	if err != nil {
		return nil, err
	}
	defer free()
	jails, err := a.jails(ctx)
	if err != nil {
		return nil, err
	}
	var l []control.Match
	known := false
	for _, u := range filtersOf(jails) {
		if q.Filter != "" && u.Name != q.Filter {
			continue
		}
		known = true
		mode := q.Mode
		if mode == "" {
			mode = u.mode()
		}
		m, err := u.Mode(mode)
		if err != nil {
			return nil, control.BadRequest("modes are "+strings.Join(u.Modes, ", "), "mode: filter %s has no mode %.50q", u.Name, mode)
		}
		if ctx.Err() != nil {
			return nil, errBusy
		}
		x := m.Explain([]byte(q.Line))
		if q.Filter == "" && len(x.Modes) == 0 {
			continue
		}
		l = append(l, newMatch(m, x))
	}
	if !known && q.Filter != "" {
		return nil, &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("no jail of the configuration uses a filter %.50q", q.Filter), Hint: "bailiff filter list"}
	}
	return l, nil
}

func newMatch(m *filter.Matcher, x *filter.Explanation) control.Match {
	valid := func(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }
	t := m.Trust()
	o := control.Match{Filter: m.Filter.Name, Mode: m.Mode, Kind: "none", Repeat: x.Repeat, Modes: x.Modes, Trust: t.Text(), Refused: x.Refused}
	if h := x.Hit; h != nil {
		o.Kind, o.Pattern, o.Port, o.User = h.Kind.String(), h.Pattern.Name, h.Port, valid(h.User)
		if h.Addr.IsValid() {
			o.Address = h.Addr.String()
		}
	}
	var tries []*filter.Try
	for i := range x.Tries {
		if t := &x.Tries[i]; t.Matched || x.Hit == nil && t.Near > 0 {
			tries = append(tries, t)
		}
	}
	near := func(t *filter.Try) int {
		if t.Matched {
			return math.MaxInt
		}
		return t.Near
	}
	slices.SortStableFunc(tries, func(a, b *filter.Try) int { return cmp.Compare(near(b), near(a)) })
	for _, t := range tries[:min(len(tries), nearTries)] {
		y := control.MatchTry{Pattern: t.Pattern.Name, Text: t.Pattern.Text, InMode: t.InMode, Matched: t.Matched, Wanted: t.Wanted}
		if !t.Matched {
			y.Begin, y.Rest = valid(x.Text[:t.At]), valid(x.Text[t.At:])
		}
		o.Tries = append(o.Tries, y)
	}
	return o
}
