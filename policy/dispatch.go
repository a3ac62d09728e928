package policy

import (
	"slices"
	"strings"

	"bailiff/policy/filter"
	"bailiff/policy/jail"
)

// Refused counts the entries of a jail that one of its patterns takes, and that are no evidence only for who wrote them in a
// trusted unit.
type Refused struct {
	Entries uint64
	Why     filter.Refusal // of the last one
	Last    int64          // when it was written, microseconds since 1970
}

// listen notes which entries the jails want to see.
func (g *Engine) listen(cells []*cell) {
	g.byUnit, g.bySlice, g.byNone, g.byContainer = make(map[string][]*cell), make(map[string][]*cell), nil, nil
	for _, n := range cells {
		t := n.matcher.Trust()
		add := func(m map[string][]*cell, name string) {
			if !slices.Contains(m[name], n) {
				m[name] = append(m[name], n)
			}
		}
		for _, u := range t.Names() {
			if strings.HasSuffix(u, ".slice") {
				add(g.bySlice, u)
			} else {
				add(g.byUnit, u)
			}
		}
		for _, u := range t.UserUnits {
			add(g.byUnit, u.Manager())
		}
		if len(t.Containers) > 0 {
			g.byContainer = append(g.byContainer, n)
		}
		if len(t.Identifiers) > 0 {
			g.byNone = append(g.byNone, n)
		}
	}
}

// dispatch shows an entry to each jail that may want to see it, once.
func (g *Engine) dispatch(e *filter.Entry, ref jail.Ref) {
	if len(e.Unit) == 0 {
		for _, c := range g.byNone {
			g.judge(c, e, ref)
		}
		return
	}
	units, templates := g.byUnit[string(e.Unit)], g.bySlice[string(e.Slice)]
	for _, c := range units {
		g.show(c, e, ref)
	}
	for _, c := range templates {
		if !slices.Contains(units, c) {
			g.show(c, e, ref)
		}
	}
	if e.Relay != filter.Vouched {
		return
	}
	for _, c := range g.byContainer {
		if !slices.Contains(units, c) && !slices.Contains(templates, c) {
			g.judge(c, e, ref)
		}
	}
}

// show has a jail judge an entry of one of its units, and notes when the jail refuses it.
func (g *Engine) show(c *cell, e *filter.Entry, ref jail.Ref) {
	if g.judge(c, e, ref) || g.rebuild {
		return
	}
	if why, ok := c.matcher.Refuses(e); ok {
		c.refused = Refused{c.refused.Entries + 1, why, e.Realtime}
	}
}
