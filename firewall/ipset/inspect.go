package ipset

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Inspect compares our tables, their rules, our sets and their elements with what Reconcile(want) would leave.
func (b *Backend) Inspect(ctx context.Context, want []firewall.Ban) (*firewall.Inspection, error) {
	now := time.Now()
	wanted, over := make(map[*set]map[element]uint32, len(b.sets)), make(map[*set]map[element]bool)
	for _, s := range b.sets {
		wanted[s], over[s] = make(map[element]uint32), make(map[element]bool)
	}
	for _, w := range want {
		s, err := b.setOf(w.Key())
		if err != nil {
			return nil, err
		}
		if end, ok := b.end(w.Until, now); ok {
			wanted[s][elementOf(w.Prefix)] = end
		} else {
			over[s][elementOf(w.Prefix)] = true // the kernel may be about to let it go
		}
	}
	heads, err := b.conn.headers(ctx)
	if err != nil {
		return nil, err
	}
	index := make(map[string]uint16)
	for _, s := range b.sets {
		if heads[s.name] == nil {
			continue
		}
		if index[s.name], err = b.conn.index(ctx, s.name); err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
	}
	in := &firewall.Inspection{}
	refs := make(map[string]uint32)
	sums := make(map[string]firewall.Stopped)
	for _, f := range nfrule.Families {
		rules, n := b.rulesOf(f, index)
		p := firewall.Part{Name: "table " + tableName(f, b.prefix), Want: fmt.Sprintf("chain %s at prerouting, priority raw, %d rules", nfrule.Chain, len(rules)), Present: true}
		state, why, err := b.table(ctx, f, rules)
		var foreign *firewall.ForeignError
		switch {
		case errors.As(err, &foreign):
			p.Harm, p.Foreign = "is not ours: "+foreign.Why, true
		case err != nil:
			return nil, err
		default:
			p.Present, p.Harm = state != absent, why
		}
		if state == intact {
			for name, n := range n {
				refs[name] = n
			}
			if err := b.counters(ctx, f, sums); err != nil {
				return nil, err
			}
		}
		in.Parts = append(in.Parts, p)
	}
	for name, h := range heads {
		if b.stray(name) && h.foreign(h.family) == "" {
			in.Parts = append(in.Parts, firewall.Part{Name: "set " + name, Harm: "is of no use", Present: true})
		}
	}
	for _, s := range b.sets {
		x, err := b.inspect(ctx, s, heads[s.name], refs[s.name], wanted[s], over[s], now)
		if err != nil {
			return nil, err
		}
		if n, ok := sums[s.name]; ok {
			x.Counted, x.Packets, x.Bytes = true, n.Packets, n.Bytes
		}
		in.Sets = append(in.Sets, x)
	}
	in.Order()
	return in, nil
}

func (b *Backend) inspect(ctx context.Context, s *set, h *header, refs uint32, want map[element]uint32, over map[element]bool, now time.Time) (firewall.Set, error) {
	x := firewall.Set{Part: firewall.Part{Name: s.name, Want: setType, Present: h != nil}, Scope: s.scope, Want: len(want)}
	switch {
	case h == nil:
		x.Harm = "is gone"
	case h.foreign(s.family) != "":
		x.Harm, x.Foreign = "is not ours: "+h.foreign(s.family), true
		return x, nil // what is in it is nobody's ban
	case h.refs < refs:
		x.Harm = fmt.Sprintf("%d rules refer to it, want %d", h.refs, refs)
	}
	at := b.ends.Now(now)
	have := make(map[element]bool, len(want))
	if h != nil {
		err := b.conn.dump(ctx, s.name, func(e element, left uint32) {
			if have[e] { // a dump may show an element twice
				return
			}
			have[e] = true
			x.Have++
			if left == 0 {
				x.End(time.Time{})
			} else {
				x.End(now.Add(time.Duration(left) * time.Second).Round(0))
			}
			end, ok := want[e]
			switch {
			case ok && stale(left, b.timeout(end, now), end == 0):
				x.Late.Add(e.prefix(s.family))
			case !ok && !over[e] && (left == 0 || left > 2):
				x.Strange.Add(e.prefix(s.family))
			}
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return x, err
		}
	}
	for e, end := range want {
		if !have[e] && (end == 0 || end > at+2) {
			x.Missing.Add(e.prefix(s.family))
		}
	}
	return x, nil
}

// Evict takes away tables and sets of our names that are not ours. A set that rules of others refer to cannot be
// destroyed.
func (b *Backend) Evict(ctx context.Context) (gone []string, err error) {
	heads, err := b.conn.headers(ctx)
	if err != nil {
		return nil, err
	}
	var sets []string
	for _, s := range b.sets {
		if h := heads[s.name]; h != nil && h.foreign(s.family) != "" {
			sets = append(sets, s.name)
		}
	}
	for _, f := range nfrule.Families {
		_, _, err := b.table(ctx, f, nil)
		var foreign *firewall.ForeignError
		switch {
		case errors.As(err, &foreign):
			gone = append(gone, foreign.Name)
		case err != nil:
			return gone, err
		case len(sets) == 0:
			continue
		} // our own rules may refer to a set that goes
		if err := b.dropTable(ctx, f); err != nil {
			return gone, err
		}
	}
	for _, name := range sets {
		if err := b.destroy(ctx, name); err != nil {
			return gone, err
		}
		gone = append(gone, "set "+name)
	}
	return gone, nil
}

// Stopped reads the counters of our rules. They begin anew when the rules are made anew.
func (b *Backend) Stopped(ctx context.Context) ([]firewall.Stopped, error) {
	sums := make(map[string]firewall.Stopped)
	for _, f := range nfrule.Families {
		if err := b.counters(ctx, f, sums); err != nil {
			return nil, err
		}
	}
	var list []firewall.Stopped
	for _, s := range b.sets { // the names alone, which nobody changes
		if n, ok := sums[s.name]; ok {
			list = append(list, n)
		}
	}
	return list, nil
}

// counters adds up what the rules of a family have counted, by set.
func (b *Backend) counters(ctx context.Context, family uint8, sums map[string]firewall.Stopped) error {
	c, err := nfrule.Open(ctx, 0)
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: b.prefix, Family: nftables.TableFamily(family)}
	rules, err := c.GetRules(t, &nftables.Chain{Name: nfrule.Chain, Table: t})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("table %s: read counters: %w", tableName(family, b.prefix), err)
	}
	for _, r := range rules {
		scope, ok := nfrule.ScopeOf(r)
		if !ok {
			continue
		}
		for _, e := range r.Exprs {
			if n, ok := e.(*expr.Counter); ok {
				s := sums[b.setName(family, scope)]
				s.Set, s.Scope = b.setName(family, scope), scope
				s.Packets += n.Packets
				s.Bytes += n.Bytes
				sums[s.Set] = s
			}
		}
	}
	return nil
}
