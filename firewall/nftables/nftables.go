// Package nftables bans with its own table, `inet bailiff`. For each scope, family and prefix length in use it has a hash set, in which the
// kernel expires bans by itself, and a rule with a counter at prerouting, before connection tracking. A single interval set instead would
// take fifteen times as long to fill with 100,000 elements, and twice as long for each packet. Any number of changes is one transaction, so
// a packet sees all of them or none. The package never touches anybody else's tables. Start reading at Backend; table.go reads what the
// kernel holds, tx.go changes it.
//
// Tables, rules and transactions are those of google/nftables. Elements are read without it (Backend.dump), since it uses mdlayher/netlink,
// which is slow and takes much memory for 100,000 elements; see package request.
package nftables

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"
	"bailiff/firewall/internal/sets"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Options of a Backend.
type Options struct {
	Scopes []firewall.Scope
	Block  string // "drop", the default, or "reject"
}

const (
	tableName = "bailiff"

	// longest is the longest timeout: a deadline is 32 bits of seconds. Reconcile renews longer bans once half of it has passed.
	longest = 20 * 365 * 24 * time.Hour

	// firstPiece is how many elements are changed at once if a single transaction cannot change all. It is halved until they fit.
	firstPiece = 4096

	// attempts is how often a transaction is tried if elements expire in the middle of it.
	attempts = 3
)

// Backend is a firewall.Backend with nftables.
//
// A table with our name counts as ours, and is adopted with its elements, if it holds nothing but sets as we create them and
// rules with our comment. Anything else is a *firewall.ForeignError.
type Backend struct {
	scopes []firewall.Scope
	block  string
	table  *nftables.Table

	deadlines sets.Deadlines
	sets      map[setKey]*set // sets in the kernel, as far as we know
	ready     bool            // reconciled since New or Cleanup
	gen       uint32          // generation of nftables up to which only we have changed anything; 0: others may have
	room      int             // bytes for one transaction, at most; tests set less than the kernel allows
}

// setKey says which bans a set holds.
type setKey struct {
	scope  int // index in scopes
	family uint8
	bits   uint8
}

// set is a kernel set and what we know to be in it.
type set struct {
	key      setKey
	nft      *nftables.Set
	elements sets.Elements
}

// New checks the options. It changes nothing in the kernel; Reconcile does.
func New(o Options) (*Backend, error) {
	b := &Backend{
		scopes: o.Scopes, block: cmp.Or(o.Block, "drop"), table: nfrule.NewTable(unix.NFPROTO_INET, tableName),
		deadlines: sets.NewDeadlines(longest), room: math.MaxInt32,
	}
	if err := firewall.CheckOptions(b.scopes, b.block); err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return b, nil
}

// Name is "nftables".
func (b *Backend) Name() string { return "nftables" }

// Close does nothing: each call opens its own socket. Table and bans stay.
func (b *Backend) Close() error { return nil }

// Watch calls changed whenever our table was changed, by us or others. Verify recognizes our own changes and is then cheap.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	return nfrule.Watch(ctx, tableName, []uint8{unix.NFPROTO_INET}, changed)
}

// setOf returns the set of a ban.
func (b *Backend) setOf(k firewall.Key) (setKey, error) {
	scope, err := firewall.ScopeIndex(b.scopes, k)
	if err != nil {
		return setKey{}, fmt.Errorf("nftables: %w", err)
	}
	return setKey{scope, sets.Family(k.Prefix), uint8(k.Prefix.Bits())}, nil
}

// Reconcile costs one dump of the sets and one transaction, or more if the kernel does not accept one that large.
func (b *Backend) Reconcile(ctx context.Context, want []firewall.Ban) (ch firewall.Change, err error) {
	wanted, err := b.wanted(want)
	if err != nil {
		return ch, err
	}
	limit := 0
	for attempt := 1; ; {
		step, whole, err := b.reconcile(ctx, wanted, limit)
		switch {
		case errors.Is(err, unix.EMSGSIZE) && limit != 1:
			if limit /= 2; limit == 0 {
				limit = firstPiece
			}
			continue
		case errors.Is(err, unix.ENOENT) && attempt < attempts:
			attempt++
			continue
		case err != nil:
			return ch, err
		}
		ch.Added += step.Added
		ch.Removed += step.Removed
		ch.Refreshed += step.Refreshed
		ch.Repaired = append(ch.Repaired, step.Repaired...)
		ch.Initial = ch.Initial || step.Initial
		if whole {
			return ch, nil
		}
	}
}

func (b *Backend) wanted(want []firewall.Ban) (map[setKey]sets.Elements, error) {
	wanted, _, err := sets.Group(b.deadlines, want, b.setOf)
	maps.DeleteFunc(wanted, func(_ setKey, l sets.Elements) bool { return len(l) == 0 })
	return wanted, err
}

// reconcile makes the table hold what is wanted, but changes at most limit elements unless limit is 0. whole reports whether nothing is
// left to do.
func (b *Backend) reconcile(ctx context.Context, wanted map[setKey]sets.Elements, limit int) (ch firewall.Change, whole bool, err error) {
	f, err := b.find(ctx)
	if err != nil {
		return ch, false, err
	}
	t, err := b.begin(ctx, wanted)
	if err != nil {
		return ch, false, err
	}
	ch.Initial = !b.ready && f.absent
	if f.problem != "" {
		if !ch.Initial {
			ch.Repaired = []string{"table " + b.name() + ": " + f.problem}
		}
		f.sets = nil
		t.replace()
	}
	whole = true
	limit = cmp.Or(limit, math.MaxInt)
	t.sets = maps.Clone(f.sets)
	now := time.Now()
	for k, want := range wanted {
		var have sets.Elements
		if s := f.sets[k]; s != nil {
			have = s.elements
		}
		diff := b.deadlines.Compare(want, have, now)
		whole = diff.Cut(&limit) && whole
		if have != nil || len(diff.Missing) > 0 {
			t.apply(t.set(k), diff, want)
			diff.Count(&ch)
		}
	}
	for k, s := range f.sets {
		if wanted[k] == nil {
			ch.Removed += len(s.elements)
			t.drop(s)
		}
	}
	t.rules(f)
	if err := t.commit(ctx, f.gen); err != nil {
		return firewall.Change{}, false, err
	}
	b.ready = true
	return ch, whole, nil
}

// Add adds bans in one transaction, or more if the kernel does not accept one that large.
func (b *Backend) Add(ctx context.Context, bans []firewall.Ban) error {
	return inPieces(bans, func(part []firewall.Ban) error {
		live, over, err := sets.Group(b.deadlines, part, b.setOf)
		if err != nil {
			return err
		}
		return b.change(ctx, live, over)
	})
}

// Remove removes bans in one transaction, or more if the kernel does not accept one that large.
func (b *Backend) Remove(ctx context.Context, keys []firewall.Key) error {
	return inPieces(keys, func(part []firewall.Key) error {
		remove := make(map[setKey]sets.Elements)
		for _, key := range part {
			k, err := b.setOf(key)
			if err != nil {
				return err
			}
			if remove[k] == nil {
				remove[k] = make(sets.Elements)
			}
			remove[k][sets.ElementOf(key.Prefix)] = 0
		}
		return b.change(ctx, nil, remove)
	})
}

// inPieces halves a list until each part fits into one transaction. A transaction is one datagram; without CAP_NET_ADMIN in the initial
// user namespace, as in an unprivileged container, net.core.wmem_max limits it to some thousands of elements.
func inPieces[T any](list []T, do func([]T) error) error {
	err := do(list)
	if n := len(list) / 2; errors.Is(err, unix.EMSGSIZE) && n > 0 {
		if err = inPieces(list[:n], do); err == nil {
			err = inPieces(list[n:], do)
		}
	}
	return err
}

// change adds and removes elements in one transaction.
func (b *Backend) change(ctx context.Context, add, remove map[setKey]sets.Elements) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	for attempt := 1; ; attempt++ {
		t, err := b.begin(ctx, add, remove)
		if err != nil {
			return err
		}
		for k, want := range add {
			if len(want) > 0 {
				s := t.set(k)
				var diff sets.Diff[sets.Element]
				for e := range want {
					if _, known := s.elements[e]; known {
						diff.WrongTimeout = append(diff.WrongTimeout, e)
					} else {
						diff.Missing = append(diff.Missing, e)
					}
				}
				t.apply(s, diff, want)
			}
		}
		for k, l := range remove {
			if s := t.sets[k]; s != nil {
				var diff sets.Diff[sets.Element]
				for e := range l {
					if _, known := s.elements[e]; known {
						diff.Unexpected = append(diff.Unexpected, e)
					}
				}
				t.apply(s, diff, nil)
			}
		}
		if t.moved { // a prefix length that was not in use before
			f, err := b.find(ctx)
			if err != nil {
				return err
			}
			if f.problem != "" {
				return fmt.Errorf("table %s: %s", b.name(), f.problem)
			}
			t.rules(f)
		}
		err = t.commit(ctx, 0)
		// An element may expire between its lookup and its removal. The next Reconcile finds a table or set that is gone.
		if !errors.Is(err, unix.ENOENT) || attempt == attempts {
			return err
		}
	}
}

// Verify reads the table, with its elements, only if somebody else has made an nftables transaction since the last time.
func (b *Backend) Verify(ctx context.Context) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	gen, err := nfrule.Generation(ctx)
	if err != nil {
		return err
	}
	if gen != 0 && gen == b.gen {
		return nil
	}
	f, err := b.find(ctx)
	if err != nil {
		return err
	}
	if f.problem != "" {
		return fmt.Errorf("table %s: %s", b.name(), f.problem)
	}
	now := b.deadlines.Now(time.Now())
	for k, s := range b.sets {
		have := f.sets[k]
		if have == nil {
			return fmt.Errorf("table %s: set %s is gone", b.name(), s.nft.Name)
		}
		for e, deadline := range s.elements {
			if _, ok := have.elements[e]; !ok && !sets.Expiring(deadline, now) {
				return fmt.Errorf("table %s: set %s: %v is gone", b.name(), s.nft.Name, e.Prefix())
			}
		}
		for e := range have.elements {
			if _, ok := s.elements[e]; !ok {
				return fmt.Errorf("table %s: set %s: %v was not added by bailiff", b.name(), s.nft.Name, e.Prefix())
			}
		}
	}
	for k, s := range f.sets {
		if b.sets[k] == nil {
			return fmt.Errorf("table %s: set %s was not added by bailiff", b.name(), s.nft.Name)
		}
	}
	b.gen = f.gen
	for _, s := range b.sets {
		s.elements.DropExpired(now)
	}
	return nil
}

// List reads the elements from the kernel.
func (b *Backend) List(ctx context.Context) ([]firewall.Ban, error) {
	f, err := b.find(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var list []firewall.Ban
	for k, s := range f.sets {
		for e, deadline := range s.elements {
			list = append(list, firewall.Ban{Prefix: e.Prefix(), Scope: b.scopes[k.scope].Name, Until: b.deadlines.Until(deadline, now)})
		}
	}
	return list, nil
}

// Empty is Cleanup.
func (b *Backend) Empty(ctx context.Context) error { return b.Cleanup(ctx) }

// Cleanup deletes our table.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.ready, b.sets, b.gen = false, nil, 0
	f, err := b.find(ctx)
	if err != nil || f.absent {
		return err
	}
	return nfrule.Delete(ctx, b.table)
}

// name is the table as nft writes it.
func (b *Backend) name() string { return nfrule.Name(b.table) }

var _ firewall.Backend = (*Backend)(nil)
