package nftables

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"
	"bailiff/firewall/internal/sets"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Inspect compares our table, its rules, sets and elements with what Reconcile(want) would leave.
func (b *Backend) Inspect(ctx context.Context, want []firewall.Ban) (*firewall.Inspection, error) {
	wanted, err := b.wanted(want)
	if err != nil {
		return nil, err
	}
	table := firewall.Object{Name: "table " + b.name(), Want: nfrule.TableWant + ", with rules for each set"}
	f, err := b.find(ctx)
	var foreign *firewall.ForeignError
	if errors.As(err, &foreign) {
		table.MarkForeign(foreign.Why)
		return &firewall.Inspection{Objects: []firewall.Object{table}}, nil // it is not known whose sets these are
	} else if err != nil {
		return nil, err
	}
	table.Present, table.Problem = !f.absent, f.problem
	in := &firewall.Inspection{Objects: []firewall.Object{table}}
	keys := slices.Collect(maps.Keys(wanted))
	for k := range f.sets {
		if wanted[k] == nil {
			keys = append(keys, k)
		}
	}
	sortKeys(keys)
	for _, k := range keys {
		in.Sets = append(in.Sets, b.inspectSet(k, f, wanted[k]))
	}
	in.Sort()
	return in, nil
}

func (b *Backend) inspectSet(k setKey, f *found, want sets.Elements) firewall.Set {
	s := firewall.Set{Object: firewall.Object{Name: b.setName(k), Want: "set of our table"}, Scope: b.scopes[k.scope].Name}
	var have sets.Elements
	switch held := f.sets[k]; {
	case held == nil:
		s.Problem = "is gone"
	case want == nil && b.ready && b.sets[k] == nil:
		s.Problem = "is no longer used"
		fallthrough
	default:
		s.Present, have = true, held.elements
	}
	b.deadlines.Inspect(&s, want, have, time.Now())
	for _, c := range f.counters[k] {
		s.Counted = true
		s.Packets += c.Packets
		s.Bytes += c.Bytes
	}
	return s
}

// RemoveForeign deletes a table of our name that is not ours.
func (b *Backend) RemoveForeign(ctx context.Context) ([]string, error) {
	_, err := b.find(ctx)
	var foreign *firewall.ForeignError
	if !errors.As(err, &foreign) {
		return nil, err
	}
	if err := nfrule.Delete(ctx, b.table); err != nil {
		return nil, err
	}
	return []string{foreign.Name}, nil
}

// DropCounters reads the counters of our rules. They keep their values when rules are rewritten, but not when the table is replaced.
func (b *Backend) DropCounters(ctx context.Context) ([]firewall.DropCounter, error) {
	list := []firewall.DropCounter{}
	c, err := nfrule.Open(ctx, 0)
	if err != nil {
		return list, err
	}
	rules, err := c.GetRules(b.table, nfrule.Chain(b.table))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return list, fmt.Errorf("table %s: read counters: %w", b.name(), err)
	}
	sums := make(map[setKey]firewall.DropCounter)
	for _, r := range rules {
		for _, e := range r.Exprs {
			lookup, ok := e.(*expr.Lookup)
			if !ok {
				continue
			}
			k, known, _ := b.parseName(lookup.SetName)
			if n := nfrule.CounterOf(r.Exprs); known && n != nil {
				s := sums[k]
				sums[k] = firewall.DropCounter{Set: b.setName(k), Scope: b.scopes[k.scope].Name, Packets: s.Packets + n.Packets, Bytes: s.Bytes + n.Bytes}
			}
		}
	}
	bySet := func(x, y firewall.DropCounter) int { return cmp.Compare(x.Set, y.Set) }
	return append(list, slices.SortedFunc(maps.Values(sums), bySet)...), nil
}
