package ipset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"
	"bailiff/firewall/internal/sets"

	"golang.org/x/sys/unix"
)

// Inspect compares our tables, rules, sets and elements with what Reconcile(want) would leave.
func (b *Backend) Inspect(ctx context.Context, want []firewall.Ban) (*firewall.Inspection, error) {
	wanted, _, err := sets.Group(b.deadlines, want, b.setOf)
	if err != nil {
		return nil, err
	}
	f, err := b.find(ctx)
	if err != nil {
		return nil, err
	}
	index, err := b.indexes(ctx, slices.DeleteFunc(slices.Clone(b.sets), func(s *set) bool { return f.headers[s.name] == nil }))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	in := &firewall.Inspection{}
	for name, h := range f.headers {
		if b.unused(name) && h.foreign(h.family) == "" {
			in.Objects = append(in.Objects, firewall.Object{Name: "set " + name, Problem: "is no longer used", Present: true})
		}
	}
	for _, family := range nfrule.Families {
		name, t := "table "+nfrule.Name(b.table(family)), f.tables[family]
		rules, refs := b.rules(family, index)
		o := firewall.Object{Name: name, Want: fmt.Sprintf("%s, %d rules", nfrule.TableWant, len(rules)), Present: t != nil, Problem: t.Problem(rules)}
		if why := f.isForeign(name); why != "" {
			o.MarkForeign(why)
		}
		in.Objects = append(in.Objects, o)
		for _, s := range b.sets {
			if s.family != family {
				continue
			}
			x, err := b.inspectSet(ctx, s, f, wanted[s])
			if err != nil {
				return nil, err
			}
			if o.Problem == "" {
				n := nfrule.Counters(t.Rules)[s.scope]
				x.Counted, x.Packets, x.Bytes = true, n.Packets, n.Bytes
				if h := f.headers[s.name]; x.Problem == "" && h.refs < refs[s.name] {
					x.Problem = fmt.Sprintf("%d rules refer to it, want %d", h.refs, refs[s.name])
				}
			}
			in.Sets = append(in.Sets, x)
		}
	}
	in.Sort()
	return in, nil
}

func (b *Backend) inspectSet(ctx context.Context, s *set, f *found, want sets.Elements) (firewall.Set, error) {
	h := f.headers[s.name]
	x := firewall.Set{Object: firewall.Object{Name: s.name, Want: setType, Present: h != nil}, Scope: s.scope, Want: len(want)}
	now := time.Now()
	var have sets.Elements
	if h == nil {
		x.Problem = "is gone"
	} else if why := f.isForeign("set " + s.name); why != "" {
		x.MarkForeign(why)
		return x, nil // its elements are not bans
	} else {
		var err error
		if have, err = b.elements(ctx, s, len(want), now); err != nil && !errors.Is(err, unix.ENOENT) {
			return x, err
		}
	}
	b.deadlines.Inspect(&x, want, have, now)
	return x, nil
}

// RemoveForeign removes tables and sets of our names that are not ours. A set that rules of others refer to cannot be
// destroyed.
func (b *Backend) RemoveForeign(ctx context.Context) (gone []string, err error) {
	f, err := b.find(ctx)
	if err != nil {
		return nil, err
	}
	foreignSet := func(s *set) bool { return f.isForeign("set "+s.name) != "" }
	anySet := slices.ContainsFunc(b.sets, foreignSet)
	for _, family := range nfrule.Families {
		name := "table " + nfrule.Name(b.table(family))
		foreign := f.isForeign(name) != ""
		if !foreign && !anySet { // our own rules may refer to a set that is removed
			continue
		}
		if err := nfrule.Delete(ctx, b.table(family)); err != nil {
			return gone, err
		}
		if foreign {
			gone = append(gone, name)
		}
	}
	for _, s := range b.sets {
		if !foreignSet(s) {
			continue
		}
		if err := b.destroy(ctx, s.name); err != nil {
			return gone, err
		}
		gone = append(gone, "set "+s.name)
	}
	return gone, nil
}
