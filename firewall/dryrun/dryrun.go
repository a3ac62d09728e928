// Package dryrun is a backend that holds bans in memory and changes nothing on the host: the firewall of trial runs
// (bailiffd --firewall dryrun), and a fake for tests. Start reading at Backend.
package dryrun

import (
	"context"
	"fmt"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/sets"
)

// Backend is a firewall.Backend in memory.
type Backend struct {
	now    func() time.Time
	scopes []firewall.Scope
	bans   map[firewall.Key]time.Time // Until, zero for forever
	ready  bool                       // reconciled since New or Cleanup
}

// New returns an empty backend for scopes. now is the clock with which Until is compared.
func New(scopes []firewall.Scope, now func() time.Time) (*Backend, error) {
	if err := firewall.CheckOptions(scopes, "drop"); err != nil {
		return nil, fmt.Errorf("dryrun: %w", err)
	}
	return &Backend{now: now, scopes: scopes, bans: make(map[firewall.Key]time.Time)}, nil
}

// Name is "dryrun".
func (b *Backend) Name() string { return "dryrun" }

func (b *Backend) check(ctx context.Context, k firewall.Key) error {
	if _, err := firewall.ScopeIndex(b.scopes, k); err != nil {
		return fmt.Errorf("dryrun: %w", err)
	}
	return ctx.Err()
}

// compare returns the wanted bans that are not over, and how the bans held differ from them.
func (b *Backend) compare(ctx context.Context, want []firewall.Ban) (map[firewall.Key]time.Time, sets.Diff[firewall.Key], error) {
	now := b.now()
	b.expire(now)
	wanted := make(map[firewall.Key]time.Time, len(want))
	for _, w := range want {
		if err := b.check(ctx, w.Key()); err != nil {
			return nil, sets.Diff[firewall.Key]{}, err
		}
		if !w.Over(now) {
			wanted[w.Key()] = w.Until
		}
	}
	return wanted, sets.Compare(wanted, b.bans, func(have, want time.Time) bool { return !have.Equal(want) }), ctx.Err()
}

// expire removes what is over.
func (b *Backend) expire(now time.Time) {
	for k, until := range b.bans {
		if (firewall.Ban{Until: until}).Over(now) {
			delete(b.bans, k)
		}
	}
}

// Reconcile replaces all bans by want.
func (b *Backend) Reconcile(ctx context.Context, want []firewall.Ban) (firewall.Change, error) {
	wanted, diff, err := b.compare(ctx, want)
	if err != nil {
		return firewall.Change{}, err
	}
	ch := firewall.Change{Initial: !b.ready}
	diff.Count(&ch)
	b.bans, b.ready = wanted, true
	return ch, nil
}

// Add adds bans.
func (b *Backend) Add(ctx context.Context, bans []firewall.Ban) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	for _, w := range bans {
		if err := b.check(ctx, w.Key()); err != nil {
			return err
		}
	}
	now := b.now()
	for _, w := range bans {
		if w.Over(now) {
			delete(b.bans, w.Key())
		} else {
			b.bans[w.Key()] = w.Until
		}
	}
	return ctx.Err()
}

// Remove removes bans.
func (b *Backend) Remove(ctx context.Context, keys []firewall.Key) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	for _, k := range keys {
		if err := b.check(ctx, k); err != nil {
			return err
		}
	}
	for _, k := range keys {
		delete(b.bans, k)
	}
	return ctx.Err()
}

// Verify fails only before the first Reconcile: nobody else can change the map.
func (b *Backend) Verify(ctx context.Context) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	return ctx.Err()
}

// Inspect compares the bans that are held with want.
func (b *Backend) Inspect(ctx context.Context, want []firewall.Ban) (*firewall.Inspection, error) {
	wanted, diff, err := b.compare(ctx, want)
	if err != nil {
		return nil, err
	}
	in := &firewall.Inspection{}
	index := make(map[string]int, len(b.scopes))
	for i, scope := range b.scopes {
		s := firewall.Set{Scope: scope.Name, Object: firewall.Object{Name: "memory", Present: b.ready}}
		if scope.Name != "" {
			s.Name += "-" + scope.Name
		}
		if !b.ready {
			s.Problem = "is empty: nothing was reconciled yet"
		}
		index[scope.Name] = i
		in.Sets = append(in.Sets, s)
	}
	set := func(k firewall.Key) *firewall.Set { return &in.Sets[index[k.Scope]] }
	for k := range wanted {
		set(k).Want++
	}
	for k, until := range b.bans {
		set(k).Have++
		set(k).NoteEnd(until)
	}
	for _, k := range diff.Missing {
		set(k).Missing.Add(k.Prefix)
	}
	for _, k := range diff.Unexpected {
		set(k).Unexpected.Add(k.Prefix)
	}
	for _, k := range diff.WrongTimeout {
		set(k).WrongTimeout.Add(k.Prefix)
	}
	in.Sort()
	return in, nil
}

// RemoveForeign has nothing to do: nobody else has access to the map.
func (b *Backend) RemoveForeign(context.Context) ([]string, error) { return nil, nil }

// List returns the bans that are not over.
func (b *Backend) List(ctx context.Context) ([]firewall.Ban, error) {
	b.expire(b.now())
	list := make([]firewall.Ban, 0, len(b.bans))
	for k, until := range b.bans {
		list = append(list, firewall.Ban{Prefix: k.Prefix, Scope: k.Scope, Until: until})
	}
	return list, ctx.Err()
}

// Watch has nothing to report.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	<-ctx.Done()
	return ctx.Err()
}

// DropCounters returns nil: nothing is blocked.
func (b *Backend) DropCounters(context.Context) ([]firewall.DropCounter, error) { return nil, nil }

// Empty is Cleanup.
func (b *Backend) Empty(ctx context.Context) error { return b.Cleanup(ctx) }

// Cleanup removes all bans.
func (b *Backend) Cleanup(ctx context.Context) error {
	clear(b.bans)
	b.ready = false
	return ctx.Err()
}

// Close does nothing.
func (b *Backend) Close() error { return nil }

var _ firewall.Backend = (*Backend)(nil)
