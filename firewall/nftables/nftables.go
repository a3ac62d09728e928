// Package nftables bans through a table of our own, `inet bailiff`: for each scope, family and length of prefix in use
// there is a hash set, where the kernel lets bans run out by itself, and a rule with a counter at prerouting, before
// connection tracking. Hash sets and not one interval set, since at 100,000 elements that costs fifteen times as much to
// fill and twice as much a packet. Any number of changes is one transaction: a packet meets all of it or nothing. It touches
// no table of others. Start reading at Backend; table.go looks at what stands in the kernel.
package nftables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Options say what to stop and how. Only Scopes has no default.
type Options struct {
	Scopes []firewall.Scope
	Block  string // "drop", the default, or "reject"
	Table  string // name of the table, "bailiff" by default
}

const (
	defaultTable = "bailiff"

	// longest is the longest time that is counted: an end is 32 bits of seconds. What lasts longer is put in anew by
	// Reconcile once half of it is over.
	longest = 20 * 365 * 24 * time.Hour

	// slack is by how many seconds a kernel timeout may differ from what is wanted before it is set anew: the clocks of
	// the wall and of the kernel drift apart.
	slack = 5

	// perMessage is how many elements go into one message: an attribute is at most 65,535 bytes, an element at most 48.
	perMessage = 1000

	// elementRoom and messageRoom are what the kernel books for a transaction, generously.
	elementRoom = 64
	messageRoom = 1 << 20

	// firstPiece is how many elements are changed at once where not all can be. It is halved until they fit.
	firstPiece = 4096

	// attempts bounds how often a transaction is made anew, where an element ran out in the middle of it.
	attempts = 3
)

// Backend fulfils firewall.Backend with nftables.
//
// A table of our name is taken for ours, and taken over with what is in it, if it holds nothing but sets as we make them
// and rules with our comment. Anything else is a *firewall.ForeignError.
type Backend struct {
	scopes []firewall.Scope
	block  string
	table  *nftables.Table

	ends  firewall.Ends
	sets  map[setKey]*set // that stand in the kernel, as far as we know
	ready bool            // reconciled since New or Cleanup
	gen   uint32          // up to which nobody but us has changed anything; 0: somebody may have
	room  int             // for a transaction, at most, in bytes; tests make it less than the kernel allows
}

// setKey says which bans a set holds.
type setKey struct {
	scope  int // index in scopes
	family uint8
	bits   uint8
}

// set is a kernel set and what we know to be in it.
type set struct {
	key  setKey
	nft  *nftables.Set
	ends map[element]uint32 // seconds of Backend.ends, 0 never
}

// element is an address, IPv4 in the first four bytes; how many bits of it count says its set.
type element [16]byte

var errNotReady = errors.New("nftables: not reconciled yet")

// New checks the options. It changes nothing in the kernel; Reconcile does.
func New(o Options) (*Backend, error) {
	if o.Block == "" {
		o.Block = "drop"
	}
	if o.Table == "" {
		o.Table = defaultTable
	}
	if o.Block != "drop" && o.Block != "reject" {
		return nil, fmt.Errorf("nftables: block %q is neither drop nor reject", o.Block)
	}
	if strings.Trim(o.Table, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(o.Table) > unix.NFT_NAME_MAXLEN-1 {
		return nil, fmt.Errorf("nftables: table %q: want a-z, 0-9 and -", o.Table)
	}
	if err := firewall.CheckScopes(o.Scopes); err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return &Backend{
		scopes: o.Scopes, block: o.Block, table: &nftables.Table{Name: o.Table, Family: nftables.TableFamilyINet}, ends: firewall.NewEnds(), room: math.MaxInt32,
	}, nil
}

// Name is "nftables".
func (b *Backend) Name() string { return "nftables" }

// Close has nothing to give up: a socket lives no longer than a call. Table and bans stay.
func (b *Backend) Close() error { return nil }

// Watch calls changed whenever somebody, we included, has changed our table; what to do then is Verify, which knows our own
// changes and costs little. It may run beside all other methods, and returns when ctx is done, or with an error.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	return nfrule.Watch(ctx, b.table.Name, []uint8{unix.NFPROTO_INET}, changed)
}

// locate finds where a ban belongs.
func (b *Backend) locate(k firewall.Key) (setKey, element, error) {
	var e element
	if err := firewall.CheckPrefix(k.Prefix); err != nil {
		return setKey{}, e, fmt.Errorf("nftables: %w", err)
	}
	i := slices.IndexFunc(b.scopes, func(s firewall.Scope) bool { return s.Name == k.Scope })
	if i < 0 {
		return setKey{}, e, fmt.Errorf("nftables: ban of %v: no scope %q", k.Prefix, k.Scope)
	}
	at := setKey{i, unix.NFPROTO_IPV6, uint8(k.Prefix.Bits())}
	if a := k.Prefix.Addr(); a.Is4() {
		at.family = unix.NFPROTO_IPV4
		four := a.As4()
		copy(e[:], four[:])
	} else {
		e = a.As16()
	}
	return at, e, nil
}

func (k setKey) prefix(e element) netip.Prefix {
	a := netip.AddrFrom16(e)
	if k.family == unix.NFPROTO_IPV4 {
		a = netip.AddrFrom4([4]byte(e[:4]))
	}
	return netip.PrefixFrom(a, int(k.bits))
}

// width is how long a key of the set is, in bytes.
func (k setKey) width() int {
	if k.family == unix.NFPROTO_IPV4 {
		return 4
	}
	return 16
}

// Reconcile does what the contract says, in one transaction where the kernel takes one that large. It costs one dump of the
// sets.
func (b *Backend) Reconcile(ctx context.Context, want []firewall.Ban) (firewall.Change, error) {
	var ch firewall.Change
	now := time.Now()
	wanted := make(map[setKey]map[element]uint32)
	for _, w := range want {
		k, e, err := b.locate(w.Key())
		if err != nil {
			return ch, err
		}
		if wanted[k] == nil {
			wanted[k] = make(map[element]uint32)
		}
		if end, ok := b.ends.End(w.Until, now, longest); ok {
			wanted[k][e] = end
		}
	}
	maps.DeleteFunc(wanted, func(_ setKey, l map[element]uint32) bool { return len(l) == 0 })

	limit := 0
	for attempt := 1; ; {
		step, whole, err := b.reconcile(ctx, wanted, limit)
		switch {
		case errors.Is(err, unix.EMSGSIZE) && limit != 1:
			if limit = limit / 2; limit == 0 {
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
		ch.First = ch.First || step.First
		if whole {
			return ch, nil
		}
	}
}

// reconcile makes the table hold what is wanted, or, with a limit, goes that many elements towards it. whole says that
// nothing is left to do.
func (b *Backend) reconcile(ctx context.Context, wanted map[setKey]map[element]uint32, limit int) (ch firewall.Change, whole bool, err error) {
	have, err := b.look(ctx)
	if err != nil {
		return ch, false, err
	}
	ch.First = !b.ready && have.absent
	if have.harm != "" && !ch.First {
		ch.Repaired = []string{"table " + b.name() + ": " + have.harm}
	}
	if have.harm != "" {
		have.sets = nil
	}
	whole = true
	if limit > 0 {
		wanted, whole = b.towards(have, wanted, limit)
	}
	t, err := b.begin(ctx, wanted)
	if err != nil {
		return firewall.Change{}, false, err
	}
	if have.harm != "" {
		t.anew()
	}
	for k, l := range wanted {
		t.want(k, have.sets[k], l, &ch)
	}
	for k, s := range have.sets {
		if wanted[k] == nil {
			ch.Removed += len(s.ends)
			t.drop(s)
		}
	}
	t.rules(have)
	if err := t.commit(ctx, have.gen); err != nil {
		return firewall.Change{}, false, err
	}
	b.ready = true
	return ch, whole, nil
}

// towards is what lies at most limit elements from what the table holds towards what is wanted. Sets of which nothing is
// wanted go at once: that costs nothing.
func (b *Backend) towards(have *standing, wanted map[setKey]map[element]uint32, limit int) (step map[setKey]map[element]uint32, whole bool) {
	now := b.ends.Now(time.Now())
	step = make(map[setKey]map[element]uint32)
	for k, l := range wanted {
		held := make(map[element]uint32)
		if s := have.sets[k]; s != nil {
			held = maps.Clone(s.ends)
		}
		for e, end := range l {
			if had, ok := held[e]; ok && !outdated(had, end, now) {
				held[e] = end
			} else if limit > 0 {
				held[e] = end
				limit--
			}
		}
		for e := range held {
			if _, ok := l[e]; !ok && limit > 0 {
				delete(held, e)
				limit--
			}
		}
		if len(held) > 0 {
			step[k] = held
		}
	}
	return step, limit > 0
}

// Add puts bans in. One that is over already is taken out.
func (b *Backend) Add(ctx context.Context, bans []firewall.Ban) error {
	return inPieces(bans, func(part []firewall.Ban) error { return b.addAll(ctx, part) })
}

// inPieces halves a list that is too much for one transaction. A transaction is one datagram; without CAP_NET_ADMIN in the
// first user namespace, as in an unprivileged container, net.core.wmem_max bounds it to some thousands of elements.
func inPieces[T any](list []T, do func([]T) error) error {
	err := do(list)
	if n := len(list) / 2; errors.Is(err, unix.EMSGSIZE) && n > 0 {
		if err = inPieces(list[:n], do); err == nil {
			err = inPieces(list[n:], do)
		}
	}
	return err
}

func (b *Backend) addAll(ctx context.Context, bans []firewall.Ban) error {
	now := time.Now()
	add, del := make(map[setKey]map[element]uint32), make(map[setKey]map[element]uint32)
	for _, w := range bans {
		k, e, err := b.locate(w.Key())
		if err != nil {
			return err
		}
		end, ok := b.ends.End(w.Until, now, longest)
		to, from := add, del
		if !ok {
			to, from = del, add
		}
		if to[k] == nil {
			to[k] = make(map[element]uint32)
		}
		to[k][e] = end
		delete(from[k], e) // the last word counts
	}
	return b.change(ctx, add, del)
}

// Remove takes bans out.
func (b *Backend) Remove(ctx context.Context, keys []firewall.Key) error {
	return inPieces(keys, func(part []firewall.Key) error { return b.removeAll(ctx, part) })
}

func (b *Backend) removeAll(ctx context.Context, keys []firewall.Key) error {
	del := make(map[setKey]map[element]uint32)
	for _, w := range keys {
		k, e, err := b.locate(w)
		if err != nil {
			return err
		}
		if del[k] == nil {
			del[k] = make(map[element]uint32)
		}
		del[k][e] = 0
	}
	return b.change(ctx, nil, del)
}

// change puts elements in and takes elements out, in one transaction.
func (b *Backend) change(ctx context.Context, add, del map[setKey]map[element]uint32) error {
	if !b.ready {
		return errNotReady
	}
	for attempt := 1; ; attempt++ {
		t, err := b.begin(ctx, add, del)
		if err != nil {
			return err
		}
		fresh := false
		for k, l := range add {
			if len(l) > 0 {
				fresh = t.put(k, l) || fresh
			}
		}
		for k, l := range del {
			t.take(k, l)
		}
		if fresh { // a length of prefix that was not in use before
			have, err := b.look(ctx)
			if err != nil {
				return err
			}
			if have.harm != "" {
				return fmt.Errorf("table %s: %s", b.name(), have.harm)
			}
			t.rules(have)
		}
		err = t.commit(ctx, 0)
		// An element may run out between its look-up and its removal; a table or set that is gone for good is found by
		// the next Reconcile.
		if !errors.Is(err, unix.ENOENT) || attempt == attempts {
			return err
		}
	}
}

// Verify asks whether anybody but us made an nftables transaction since it last looked, and only then looks at the table,
// its chain, rules, sets and elements.
func (b *Backend) Verify(ctx context.Context) error {
	if !b.ready {
		return errNotReady
	}
	gen, err := nfrule.Generation(ctx)
	if err != nil {
		return err
	}
	if gen != 0 && gen == b.gen {
		return nil
	}
	have, err := b.look(ctx)
	if err != nil {
		return err
	}
	if have.harm != "" {
		return fmt.Errorf("table %s: %s", b.name(), have.harm)
	}
	now := b.ends.Now(time.Now())
	for k, s := range b.sets {
		h := have.sets[k]
		if h == nil {
			return fmt.Errorf("table %s: set %s is gone", b.name(), s.nft.Name)
		}
		for e, end := range s.ends {
			if _, ok := h.ends[e]; !ok && (end == 0 || end > now+2) {
				return fmt.Errorf("table %s: set %s: %v is gone", b.name(), s.nft.Name, k.prefix(e))
			}
		}
		for e := range h.ends {
			if _, ok := s.ends[e]; !ok {
				return fmt.Errorf("table %s: set %s: %v is not ours", b.name(), s.nft.Name, k.prefix(e))
			}
		}
	}
	for k, h := range have.sets {
		if b.sets[k] == nil {
			return fmt.Errorf("table %s: set %s is not ours", b.name(), h.nft.Name)
		}
	}
	b.gen = have.gen
	b.forget(now)
	return nil
}

// forget lets go of what ran out.
func (b *Backend) forget(now uint32) {
	for _, s := range b.sets {
		for e, end := range s.ends {
			if end != 0 && end+2 < now {
				delete(s.ends, e)
			}
		}
	}
}

// List reads the elements back from the kernel.
func (b *Backend) List(ctx context.Context) ([]firewall.Ban, error) {
	have, err := b.look(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var list []firewall.Ban
	for k, s := range have.sets {
		for e, end := range s.ends {
			ban := firewall.Ban{Prefix: k.prefix(e), Scope: b.scopes[k.scope].Name}
			if left := b.ends.Left(end, now); left != 0 {
				ban.Until = now.Round(0).Add(time.Duration(left) * time.Second)
			}
			list = append(list, ban)
		}
	}
	return list, nil
}

// Cleanup deletes our table. One that is foreign it leaves, and says so.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.ready, b.sets, b.gen = false, nil, 0
	have, err := b.look(ctx)
	if err != nil || have.absent {
		return err
	}
	return b.drop(ctx)
}

func (b *Backend) drop(ctx context.Context) error {
	c, err := nfrule.Open(ctx, 0)
	if err == nil {
		c.DelTable(b.table)
		err = c.Flush()
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("table %s: delete: %w", b.name(), err)
	}
	return nil
}

func (b *Backend) name() string { return "inet " + b.table.Name }

var (
	_ firewall.Backend = (*Backend)(nil)
	_ firewall.Counter = (*Backend)(nil)
)
