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

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Inspect compares our table, its chain, rules, sets and elements with what Reconcile(want) would leave.
func (b *Backend) Inspect(ctx context.Context, want []firewall.Ban) (*firewall.Inspection, error) {
	now := time.Now()
	wanted, over := make(map[setKey]map[element]uint32), make(map[setKey]map[element]bool)
	for _, w := range want {
		k, e, err := b.locate(w.Key())
		if err != nil {
			return nil, err
		}
		if wanted[k] == nil {
			wanted[k], over[k] = make(map[element]uint32), make(map[element]bool)
		}
		if end, ok := b.ends.End(w.Until, now, longest); ok {
			wanted[k][e] = end
		} else {
			over[k][e] = true // the kernel may be about to let it go
		}
	}
	maps.DeleteFunc(wanted, func(_ setKey, l map[element]uint32) bool { return len(l) == 0 })

	in := &firewall.Inspection{Parts: []firewall.Part{{Name: "table " + b.name(), Want: "chain " + nfrule.Chain + " at prerouting, priority raw, with rules for each set", Present: true}}}
	table := &in.Parts[0]
	have, err := b.look(ctx)
	var foreign *firewall.ForeignError
	switch {
	case errors.As(err, &foreign):
		table.Harm, table.Foreign = "is not ours: "+foreign.Why, true
		return in, nil // whose the sets in it are nobody knows
	case err != nil:
		return nil, err
	}
	table.Present, table.Harm = !have.absent, have.harm
	keys := slices.Collect(maps.Keys(wanted))
	for k := range have.sets {
		if wanted[k] == nil {
			keys = append(keys, k)
		}
	}
	b.rulesOf(keys) // which sorts them
	for _, k := range keys {
		in.Sets = append(in.Sets, b.inspect(k, have, wanted[k], over[k], now))
	}
	in.Order()
	return in, nil
}

func (b *Backend) inspect(k setKey, have *standing, want map[element]uint32, over map[element]bool, now time.Time) firewall.Set {
	s := firewall.Set{Part: firewall.Part{Name: b.setName(k), Want: "set of our table"}, Scope: b.scopes[k.scope].Name, Want: len(want)}
	at := b.ends.Now(now)
	held := have.sets[k]
	switch {
	case held != nil:
		s.Present, s.Have = true, len(held.ends)
	case len(want) > 0:
		s.Harm, held = "is gone", &set{}
	}
	if want == nil && b.ready && b.sets[k] == nil {
		s.Harm = "is of no use"
	}
	for e, end := range held.ends {
		if end == 0 {
			s.End(time.Time{})
		} else {
			s.End(now.Add(time.Duration(b.ends.Left(end, now)) * time.Second).Round(0))
		}
		wantEnd, ok := want[e]
		switch {
		case ok && outdated(end, wantEnd, at):
			s.Late.Add(k.prefix(e))
		case !ok && !over[e] && (end == 0 || end > at+2):
			s.Strange.Add(k.prefix(e))
		}
	}
	for e, end := range want {
		if _, ok := held.ends[e]; !ok && (end == 0 || end > at+2) {
			s.Missing.Add(k.prefix(e))
		}
	}
	for _, c := range have.counters[k] {
		s.Counted = true
		s.Packets += c.Packets
		s.Bytes += c.Bytes
	}
	return s
}

// Evict deletes a table of our name that is not ours.
func (b *Backend) Evict(ctx context.Context) ([]string, error) {
	_, err := b.look(ctx)
	var foreign *firewall.ForeignError
	if !errors.As(err, &foreign) {
		return nil, err
	}
	if err := b.drop(ctx); err != nil {
		return nil, err
	}
	return []string{foreign.Name}, nil
}

// Stopped reads the counters of our rules. They go on when rules are made anew, but not when the table is.
func (b *Backend) Stopped(ctx context.Context) ([]firewall.Stopped, error) {
	c, err := nfrule.Open(ctx, 0)
	if err != nil {
		return nil, err
	}
	rules, err := c.GetRules(b.table, &nftables.Chain{Name: nfrule.Chain, Table: b.table})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("table %s: read counters: %w", b.name(), err)
	}
	sums := make(map[setKey]firewall.Stopped)
	for _, r := range rules {
		var k setKey
		known := false
		var n expr.Counter
		for _, e := range r.Exprs {
			switch x := e.(type) {
			case *expr.Lookup:
				k, known, _ = b.parseName(x.SetName)
			case *expr.Counter:
				n = *x
			}
		}
		if known {
			s := sums[k]
			s.Set, s.Scope = b.setName(k), b.scopes[k.scope].Name
			s.Packets += n.Packets
			s.Bytes += n.Bytes
			sums[k] = s
		}
	}
	return slices.SortedFunc(maps.Values(sums), func(x, y firewall.Stopped) int { return cmp.Compare(x.Set, y.Set) }), nil
}
