package firewalld

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/sets"
)

const (
	// few is the number of changes up to which they are always made one by one: firewalld 2.5 answers setEntries before the entries are in
	// the kernel, and adds them there only when it is idle.
	few = 4

	// many is the number of changes above which they are never made one by one: each takes firewalld 6 ms at 1,000 bans, and 180 ms at
	// 50,000.
	many = 100
)

// atOnce reports whether sets with held entries are rewritten as a whole for this many changes. firewalld then empties a set for some
// milliseconds before it fills it; one by one, the last change waits for all others.
func atOnce(held, changes int) bool { return changes > few && changes > min(many, held/8) }

// refill puts bans back into empty sets before anything is checked, because until then attackers get through. It ignores errors: the checks
// that follow find them.
func (b *Backend) refill(ctx context.Context, want map[firewall.Key]time.Time) (added int) {
	for k, target := range b.target(want) {
		if b.fill(ctx, k, nil, target) == nil {
			added += len(target)
		}
	}
	return added
}

// fillAll makes all sets hold what they should.
func (b *Backend) fillAll(ctx context.Context, want map[firewall.Key]time.Time, ch *firewall.Change) error {
	target := b.target(want)
	for _, k := range b.keys() {
		have, err := b.entries(ctx, k)
		if err != nil {
			return err
		}
		diff := sets.Compare(target[k], have, noTimeout)
		if err := b.fill(ctx, k, have, target[k]); err != nil {
			return err
		}
		ch.Added += len(diff.Missing)
		for _, p := range diff.Unexpected {
			if _, ok := want[firewall.Key{Prefix: p, Scope: b.scopes[k.scope].Name}]; !ok { // otherwise a wider ban covers it
				ch.Removed++
			}
		}
	}
	return nil
}

// fill changes a set's entries from have to target.
func (b *Backend) fill(ctx context.Context, k setKey, have map[netip.Prefix]string, target map[netip.Prefix]bool) error {
	diff := sets.Compare(target, have, noTimeout)
	e := edit{set: k}
	for _, p := range diff.Missing {
		e.add = append(e.add, entry(p))
	}
	for _, p := range diff.Unexpected {
		e.remove = append(e.remove, have[p])
	}
	b.mu.Lock()
	if b.sets == nil {
		b.sets = make(map[setKey]map[netip.Prefix]bool)
	}
	b.sets[k] = target // set before the change, so that Watch recognizes our own changes
	b.mu.Unlock()
	return b.edit(ctx, e, atOnce(len(have), e.changes()))
}

// edit is what one set gains and loses.
type edit struct {
	set         setKey
	add, remove []string
}

func (e *edit) changes() int { return len(e.add) + len(e.remove) }

// apply updates the entries of sets after b.want has changed for keys.
func (b *Backend) apply(ctx context.Context, keys []firewall.Key) error {
	var edits []edit
	held, changes := 0, 0
	b.mu.Lock()
	for k, list := range b.affected(keys) {
		set := b.sets[k]
		held += len(set)
		e := edit{set: k}
		for p, in := range list {
			switch {
			case in && !set[p]:
				e.add = append(e.add, entry(p))
				set[p] = true
			case !in && set[p]:
				e.remove = append(e.remove, entry(p))
				delete(set, p)
			}
		}
		changes += e.changes()
		edits = append(edits, e)
	}
	b.mu.Unlock()
	for _, e := range edits {
		if err := b.edit(ctx, e, atOnce(held, changes)); err != nil {
			return err
		}
	}
	return nil
}

// affected returns the entries that changes at keys may affect, by set, and whether they should exist. If a wide ban begins or ends, that
// includes the bans within it.
func (b *Backend) affected(keys []firewall.Key) map[setKey]map[netip.Prefix]bool {
	lengths := lengthsOf(b.want)
	affected := make(map[setKey]map[netip.Prefix]bool)
	note := func(k firewall.Key) {
		set, _ := b.setOf(k) // succeeded before
		if affected[set] == nil {
			affected[set] = make(map[netip.Prefix]bool)
		}
		_, wanted := b.want[k]
		affected[set][k.Prefix] = wanted && !covered(b.want, k, lengths)
	}
	for _, k := range keys {
		note(k)
		if k.Prefix.IsSingleIP() || len(lengths) < 2 {
			continue
		}
		for w := range b.want {
			if w.Scope == k.Scope && w.Prefix.Bits() > k.Prefix.Bits() && k.Prefix.Contains(w.Prefix.Addr()) {
				note(w)
			}
		}
	}
	return affected
}

// edit changes a set in firewalld; b.sets already has the new entries.
func (b *Backend) edit(ctx context.Context, e edit, atOnce bool) error {
	if e.changes() == 0 {
		return nil
	}
	if atOnce {
		all := []string{}
		b.mu.Lock()
		for p := range b.sets[e.set] {
			all = append(all, entry(p))
		}
		b.mu.Unlock()
		return b.put(ctx, e.set, "setEntries", all)
	}
	// Removals first: a removed prefix may contain an added one, or lie in it.
	for _, s := range e.remove {
		if err := b.put(ctx, e.set, "removeEntry", s); err != nil {
			return err
		}
	}
	for _, s := range e.add {
		if err := b.put(ctx, e.set, "addEntry", s); err != nil {
			return err
		}
	}
	return nil
}

// put calls a method that changes a set. It is not an error if nothing had to be changed.
func (b *Backend) put(ctx context.Context, k setKey, method string, arg any) error {
	err := b.bus.call(ctx, mainPath, ipsetIface+method, nil, b.setName(k), arg)
	if err == nil || is(err, "ALREADY_ENABLED", "NOT_ENABLED") {
		return nil
	}
	if s, ok := arg.(string); ok {
		return fmt.Errorf("set %s: %s: %w", b.setName(k), s, err)
	}
	return fmt.Errorf("set %s: %w", b.setName(k), err)
}
