package nftables

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"bailiff/firewall/internal/nfrule"
	"bailiff/firewall/internal/sets"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

const (
	// perMessage is how many elements go into one message: an attribute is at most 65,535 bytes, an element at most 48.
	perMessage = 1000

	// elementRoom and messageRoom are generous estimates of the bytes that a transaction needs for each element, and for the rest.
	elementRoom = 64
	messageRoom = 1 << 20
)

// tx is one transaction, and the changes to our view of the sets when it is committed.
type tx struct {
	b     *Backend
	conn  *nftables.Conn
	busy  bool            // it has at least one message
	sets  map[setKey]*set // after the commit
	moved bool            // sets were added or removed, so the rules must be rewritten
	gone  []*set
	done  []func() // after the commit
}

// begin starts a transaction that adds or removes elements of these lists.
func (b *Backend) begin(ctx context.Context, lists ...map[setKey]sets.Elements) (*tx, error) {
	n := 0
	for _, l := range lists {
		for _, s := range l {
			n += len(s)
		}
	}
	for _, s := range b.sets {
		n += len(s.elements) // may have to be removed
	}
	c, err := nfrule.Open(ctx, min(messageRoom+3*n*elementRoom, b.room))
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", b.name(), err)
	}
	return &tx{b: b, conn: c, sets: maps.Clone(b.sets)}, nil
}

// replace makes the transaction begin with an empty table.
func (t *tx) replace() {
	nfrule.Replace(t.conn, t.b.table)
	t.sets = nil
	t.busy, t.moved = true, true
}

// set returns a set, and creates it if it does not exist.
func (t *tx) set(k setKey) *set {
	if s := t.sets[k]; s != nil {
		return s
	}
	s := &set{key: k, nft: t.b.newSet(k), elements: make(sets.Elements)}
	t.conn.AddSet(s.nft, nil) // its errors are about anonymous and concatenated sets
	if t.sets == nil {
		t.sets = make(map[setKey]*set)
	}
	t.sets[k] = s
	t.busy, t.moved = true, true
	return s
}

// apply changes the elements of a set; want has their deadlines.
func (t *tx) apply(s *set, diff sets.Diff[sets.Element], want sets.Elements) {
	t.add(s, diff.Missing, want)
	t.remove(s, diff.Unexpected)
	t.remove(s, diff.WrongTimeout) // before Linux 6.12 an element that is added again keeps its timeout
	t.add(s, diff.WrongTimeout, want)
	t.done = append(t.done, func() {
		for _, e := range slices.Concat(diff.Missing, diff.WrongTimeout) {
			s.elements[e] = want[e]
		}
		for _, e := range diff.Unexpected {
			delete(s.elements, e)
		}
	})
}

// drop removes a whole set.
func (t *tx) drop(s *set) {
	delete(t.sets, s.key)
	t.gone = append(t.gone, s)
	t.moved = true
}

func (t *tx) add(s *set, l []sets.Element, want sets.Elements) {
	now := time.Now()
	t.each(s, l, t.conn.SetAddElements, func(e sets.Element) time.Duration {
		return time.Duration(t.b.deadlines.Remaining(want[e], now)) * time.Second
	})
}

// remove removes elements that are in the set or have just expired. Removing an expired element would make the whole transaction fail, so
// each element is added first. No packet sees that.
func (t *tx) remove(s *set, l []sets.Element) {
	never := func(sets.Element) time.Duration { return 0 }
	t.each(s, l, t.conn.SetAddElements, never)
	t.each(s, l, t.conn.SetDeleteElements, never)
}

func (t *tx) each(s *set, l []sets.Element, do func(*nftables.Set, []nftables.SetElement) error, timeout func(sets.Element) time.Duration) {
	for part := range slices.Chunk(l, perMessage) {
		batch := make([]nftables.SetElement, len(part))
		for i := range part {
			batch[i] = nftables.SetElement{Key: part[i].Addr(), Timeout: timeout(part[i])}
		}
		do(s.nft, batch) // its errors are about anonymous sets and odd keys
		t.busy = true
	}
}

// rules rewrites the rules if sets were added or removed. Counters keep their values.
func (t *tx) rules(f *found) {
	if !t.moved {
		return
	}
	t.busy = true
	chain := nfrule.Chain(t.b.table)
	t.conn.FlushChain(chain)
	for _, s := range t.gone {
		t.conn.DelSet(s.nft)
	}
	rules, of := t.b.rules(slices.Collect(maps.Keys(t.sets)))
	counters := maps.Clone(f.counters)
	for i, r := range rules {
		if old := counters[of[i]]; len(old) > 0 {
			*nfrule.CounterOf(r.Exprs), counters[of[i]] = old[0], old[1:]
		}
		r.Add(t.conn, chain)
	}
}

// commit sends the transaction and finds out whether anybody else has made one since. base is the generation at which the kernel was read;
// 0 stands for the last known one.
func (t *tx) commit(ctx context.Context, base uint32) error {
	b := t.b
	base = cmp.Or(base, b.gen)
	if err := ctx.Err(); err != nil {
		return err
	}
	err := t.conn.Flush()
	switch {
	case errors.Is(err, unix.EOPNOTSUPP) && b.block == "reject":
		return nfrule.RejectUnsupported(err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return nfrule.Unsupported(err)
	case err != nil:
		return fmt.Errorf("table %s: write: %w", b.name(), err)
	}
	for _, f := range t.done {
		f()
	}
	b.sets = t.sets
	if t.busy && base != 0 {
		base++
	}
	b.gen = 0
	gen, err := nfrule.Generation(ctx)
	if err == nil && gen == base {
		b.gen = gen
	}
	return err
}
