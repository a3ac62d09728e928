// Package dryrun is a backend that holds bans in memory and touches nothing: the firewall of `bailiff replay`, and the
// fake of tests. It never looks at a clock of its own. Start reading at Backend.
package dryrun

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"bailiff/firewall"
)

// Backend fulfils firewall.Backend in memory. It is for one goroutine at a time, as the contract says.
type Backend struct {
	now    func() time.Time
	scopes map[string][]firewall.Port
	bans   map[firewall.Key]time.Time // to Until, zero for ever
	ready  bool                       // reconciled since New or Cleanup
}

var errNotReady = errors.New("dryrun: not reconciled yet")

// New returns an empty backend for scopes. now is asked for the time when a ban's Until matters.
func New(scopes []firewall.Scope, now func() time.Time) (*Backend, error) {
	if err := firewall.CheckScopes(scopes); err != nil {
		return nil, fmt.Errorf("dryrun: %w", err)
	}
	b := &Backend{now: now, scopes: make(map[string][]firewall.Port, len(scopes)), bans: make(map[firewall.Key]time.Time)}
	for _, s := range scopes {
		b.scopes[s.Name] = s.Ports
	}
	return b, nil
}

// Name is "dryrun".
func (b *Backend) Name() string { return "dryrun" }

func (b *Backend) check(k firewall.Key) error {
	if err := firewall.CheckPrefix(k.Prefix); err != nil {
		return fmt.Errorf("dryrun: %w", err)
	}
	if _, ok := b.scopes[k.Scope]; !ok {
		return fmt.Errorf("dryrun: ban of %v: no scope %q", k.Prefix, k.Scope)
	}
	return nil
}

// expire forgets what is over. It costs a walk, so only calls that walk anyway ask for it.
func (b *Backend) expire(now time.Time) {
	for k, until := range b.bans {
		if over(until, now) {
			delete(b.bans, k)
		}
	}
}

func over(until, now time.Time) bool { return !until.IsZero() && !until.After(now) }

// Reconcile replaces all bans by want. First is true once after New or Cleanup.
func (b *Backend) Reconcile(ctx context.Context, want []firewall.Ban) (firewall.Change, error) {
	if err := ctx.Err(); err != nil {
		return firewall.Change{}, err
	}
	now := b.now()
	next := make(map[firewall.Key]time.Time, len(want))
	for _, w := range want {
		if err := b.check(w.Key()); err != nil {
			return firewall.Change{}, err
		}
		if !over(w.Until, now) {
			next[w.Key()] = w.Until
		}
	}
	ch := firewall.Change{First: !b.ready}
	b.expire(now)
	for k, until := range next {
		switch had, ok := b.bans[k]; {
		case !ok:
			ch.Added++
		case !had.Equal(until):
			ch.Refreshed++
		}
	}
	for k := range b.bans {
		if _, ok := next[k]; !ok {
			ch.Removed++
		}
	}
	b.bans, b.ready = next, true
	return ch, nil
}

// Add puts bans in. One that is over already is not kept.
func (b *Backend) Add(ctx context.Context, bans []firewall.Ban) error {
	if err := b.may(ctx); err != nil {
		return err
	}
	for _, w := range bans {
		if err := b.check(w.Key()); err != nil {
			return err
		}
	}
	now := b.now()
	for _, w := range bans {
		if over(w.Until, now) {
			delete(b.bans, w.Key())
			continue
		}
		b.bans[w.Key()] = w.Until
	}
	return nil
}

// Remove takes bans out.
func (b *Backend) Remove(ctx context.Context, keys []firewall.Key) error {
	if err := b.may(ctx); err != nil {
		return err
	}
	for _, k := range keys {
		if err := b.check(k); err != nil {
			return err
		}
	}
	for _, k := range keys {
		delete(b.bans, k)
	}
	return nil
}

func (b *Backend) may(ctx context.Context) error {
	if !b.ready {
		return errNotReady
	}
	return ctx.Err()
}

// Verify fails only before the first Reconcile: nobody else can be at a map of ours.
func (b *Backend) Verify(ctx context.Context) error { return b.may(ctx) }

// Inspect compares what is in force now with want.
func (b *Backend) Inspect(ctx context.Context, want []firewall.Ban) (*firewall.Inspection, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := b.now()
	b.expire(now)
	wanted := make(map[firewall.Key]time.Time, len(want))
	for _, w := range want {
		if err := b.check(w.Key()); err != nil {
			return nil, err
		}
		if !over(w.Until, now) {
			wanted[w.Key()] = w.Until
		}
	}
	in := &firewall.Inspection{}
	for _, name := range slices.Sorted(maps.Keys(b.scopes)) {
		s := firewall.Set{Scope: name, Part: firewall.Part{Name: "memory", Present: b.ready}}
		if name != "" {
			s.Name += "-" + name
		}
		if !b.ready {
			s.Harm = "is empty: nothing was reconciled yet"
		}
		for k, until := range wanted {
			if k.Scope != name {
				continue
			}
			s.Want++
			if had, ok := b.bans[k]; !ok {
				s.Missing.Add(k.Prefix)
			} else if !had.Equal(until) {
				s.Late.Add(k.Prefix)
			}
		}
		for k, until := range b.bans {
			if k.Scope != name {
				continue
			}
			s.Have++
			s.End(until)
			if _, ok := wanted[k]; !ok {
				s.Strange.Add(k.Prefix)
			}
		}
		in.Sets = append(in.Sets, s)
	}
	in.Order()
	return in, nil
}

// Evict has nothing to do: nobody else is at a map of ours.
func (b *Backend) Evict(context.Context) ([]string, error) { return nil, nil }

// List returns what is in force now.
func (b *Backend) List(ctx context.Context) ([]firewall.Ban, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.expire(b.now())
	list := make([]firewall.Ban, 0, len(b.bans))
	for k, until := range b.bans {
		list = append(list, firewall.Ban{Prefix: k.Prefix, Scope: k.Scope, Until: until})
	}
	return list, nil
}

// Blocked tells whether a packet from addr to a port would be stopped: what a packet is to the other backends.
func (b *Backend) Blocked(addr netip.Addr, proto string, port uint16) bool {
	now := b.now()
	for k, until := range b.bans {
		if over(until, now) || !k.Prefix.Contains(addr) {
			continue
		}
		ports := b.scopes[k.Scope]
		if len(ports) == 0 {
			return true
		}
		for _, p := range ports {
			if p.Proto == proto && p.From <= port && port <= p.To {
				return true
			}
		}
	}
	return false
}

// Cleanup forgets everything.
func (b *Backend) Cleanup(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	clear(b.bans)
	b.ready = false
	return nil
}

// Close does nothing: there is nothing to give up.
func (b *Backend) Close() error { return nil }

var _ firewall.Backend = (*Backend)(nil)
