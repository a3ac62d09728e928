// Package blocklists blocks the prefixes of published block lists. There are many such prefixes, they do not expire, and they are never
// queried one by one. So the package is not a firewall.Backend: each list has its own sets in the table `inet bailiff-lists`, independent
// of the backend that holds the bans. Lists are not kept in memory: a list is read from its source into new sets, and one transaction then
// switches the rules from the old sets to the new ones. Start reading at Table.Apply; bulk.go adds elements.
//
// Each list has, for each family, a hash set of addresses and a set of intervals for wider prefixes, so a packet costs one hash look-up and
// one tree look-up. A prefix length with very many entries gets its own hash set. The allowed addresses are a list, too; its rule comes
// first and accepts their packets.
package blocklists

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"
	"bailiff/firewall/internal/sets"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What happens to packets of a list.
const (
	Drop   = "drop"
	Reject = "reject"
	Count  = nfrule.Count  // they pass
	Accept = nfrule.Accept // they pass, and no other list counts them
)

const (
	tableName = "bailiff-lists"

	// manyOfLength is how many prefixes of one length are enough for their own hash set. A tree of intervals takes eight times as long to
	// fill, but each additional set costs every packet a look-up.
	manyOfLength = 20_000
)

// List is a list that should be in effect.
type List struct {
	Name    string // at most 32 bytes of [a-z0-9-]
	Block   string // Drop, Reject, Count or Accept
	Ports   []firewall.Port
	Version string // version of the prefixes: a list is loaded when it changes

	// Places is set for the networks of countries or autonomous systems. Most of them are adjacent to others, so all go into sets of
	// intervals. For TCP, their rules match only packets that open a connection, so connections that are open or opened by this host are
	// not affected.
	Places bool

	// Each calls its argument with each prefix, in ascending order and without overlaps, until the argument returns an error. It is called
	// twice and must yield the same prefixes both times. It is not called if Version is already loaded.
	Each func(func(netip.Prefix) error) error
}

// Table is the table of all lists. Only one goroutine at a time may use it; Counters and Watch may run concurrently.
type Table struct {
	nft    *nftables.Table
	lists  []*list // in the order of their rules
	serial int     // serial number of the last set created
	ready  bool    // the table matches lists, unless somebody has changed it
	gen    uint32  // generation of nftables at which the table was last known to match lists
}

// list is a list in effect.
type list struct {
	List
	sets    []*nftables.Set
	entries int
}

// New returns the table of this network namespace. It changes nothing.
func New() *Table { return &Table{nft: nfrule.NewTable(unix.NFPROTO_INET, tableName)} }

// Name returns the table's name as nft writes it.
func (t *Table) Name() string { return nfrule.Name(t.nft) }

// Watch calls changed whenever the table may have been changed; see firewall.Backend.
func Watch(ctx context.Context, changed func()) error {
	return nfrule.Watch(ctx, tableName, []uint8{unix.NFPROTO_INET}, changed)
}

// Entries returns how many prefixes are in effect, by list.
func (t *Table) Entries() map[string]int {
	m := make(map[string]int)
	for _, l := range t.lists {
		m[l.Name] = l.entries
	}
	return m
}

// Apply puts lists into effect, in this order, and removes all others. A list that cannot be loaded keeps the version that is in effect;
// its error is in failed. err is an error of the whole table: the old rules, if any, then stay in effect.
func (t *Table) Apply(ctx context.Context, want []List) (failed map[string]error, err error) {
	if len(want) == 0 {
		_, err := t.Remove(ctx)
		return nil, err
	}
	found, err := nfrule.ReadTable(ctx, t.nft)
	if err != nil {
		return nil, err
	}
	switch {
	case found == nil || !t.ready || t.missing(found) != "":
		t.lists = nil // their sets may be anything
	case slices.EqualFunc(t.lists, want, func(l *list, w List) bool {
		return l.Name == w.Name && l.Block == w.Block && l.Places == w.Places && l.Version == w.Version && slices.Equal(l.Ports, w.Ports)
	}):
		return nil, nil
	}
	if found == nil || found.Broken() != "" {
		if err := t.transaction(ctx, func(c *nftables.Conn) { nfrule.Replace(c, t.nft) }); err != nil {
			return nil, err
		}
		found = &nfrule.Table{}
	}
	for _, s := range found.Sets {
		t.serial = max(t.serial, serialOf(s.Name))
	}
	failed = make(map[string]error)
	next := make([]*list, 0, len(want))
	err = nfrule.Quiet(func() error {
		for i := range want {
			l, err := t.load(ctx, &want[i])
			if err != nil {
				failed[want[i].Name] = err
			}
			if l != nil {
				next = append(next, l)
			}
		}
		return t.use(ctx, next, found)
	})
	if err != nil {
		t.ready = false
		return failed, err
	}
	t.lists, t.ready, t.gen = next, true, 0
	return failed, nil
}

// load returns a list to put into effect: with the sets in effect if they have the wanted version, else with new ones. After an error it
// returns the version in effect; nil if there is none.
func (t *Table) load(ctx context.Context, want *List) (*list, error) {
	var old *list
	if i := slices.IndexFunc(t.lists, func(l *list) bool { return l.Name == want.Name }); i >= 0 {
		old = &list{*want, t.lists[i].sets, t.lists[i].entries}
		if old.Version = t.lists[i].Version; old.Version == want.Version {
			return old, nil
		}
	}
	l, err := t.fill(ctx, want)
	if err != nil {
		return old, fmt.Errorf("table %s: list %s: %w", t.Name(), want.Name, err)
	}
	return l, nil
}

// kindOf is a family and a length of prefixes; length 0 stands for all that are in the set of intervals.
type kindOf struct {
	family uint8
	bits   int
}

// fill creates new sets with a list's prefixes. No rule refers to them yet. After an error they remain until use removes them.
func (t *Table) fill(ctx context.Context, want *List) (*list, error) {
	l := &list{List: *want}
	counts := make(map[kindOf]int)
	if err := want.Each(func(p netip.Prefix) error {
		if err := firewall.CheckPrefix(p); err != nil {
			return err
		}
		counts[kindOf{sets.Family(p), p.Bits()}]++
		l.entries++
		return nil
	}); err != nil {
		return nil, err
	}
	names := make(map[kindOf]string)
	for k, n := range counts {
		if want.Places || k.bits != 8*int(nfrule.KeyType(k.family).Bytes) && n < manyOfLength {
			k.bits = 0
		}
		if names[k] != "" {
			continue
		}
		t.serial++
		s := &nftables.Set{Table: t.nft, Name: fmt.Sprintf("%s-v%s-%d-%d", want.Name, sets.Digit(k.family), k.bits, t.serial), KeyType: nfrule.KeyType(k.family), KeyByteOrder: binaryutil.BigEndian}
		if k.bits == 0 {
			s.Interval = true
		} else {
			s.Size = uint32(n) // the kernel picks a hash that does not have to grow
		}
		names[k] = s.Name
		l.sets = append(l.sets, s)
	}
	slices.SortFunc(l.sets, func(a, b *nftables.Set) int { return cmp.Compare(a.Name, b.Name) })
	if err := t.transaction(ctx, func(c *nftables.Conn) {
		for _, s := range l.sets {
			c.AddSet(s, nil) // its errors are about anonymous and concatenated sets
		}
	}); err != nil {
		return nil, err
	}
	b := newBulk(ctx, tableName)
	defer b.close()
	err := want.Each(func(p netip.Prefix) error {
		k := kindOf{sets.Family(p), p.Bits()}
		if name := names[k]; name != "" {
			return b.add(name, p.Addr())
		}
		k.bits = 0
		if names[k] == "" {
			return errors.New("the list has changed while it was loaded")
		}
		return b.addPrefix(names[k], p)
	})
	if err == nil {
		err = b.finish()
	}
	return l, err
}

// use makes the rules refer to the sets of lists, and removes all other sets. Counters keep their values.
func (t *Table) use(ctx context.Context, lists []*list, found *nfrule.Table) error {
	now, err := nfrule.ReadTable(ctx, t.nft) // including the sets created since
	if err != nil {
		return err
	}
	if now == nil {
		return fmt.Errorf("table %s: is gone", t.Name())
	}
	counted := nfrule.Counters(found.Rules)
	return t.transaction(ctx, func(c *nftables.Conn) {
		chain := c.AddChain(nfrule.Chain(t.nft))
		c.FlushChain(chain)
		used := make(map[string]bool)
		for _, l := range lists {
			for _, s := range l.sets {
				used[s.Name] = true
			}
		}
		for _, s := range now.Sets {
			if s.Table = t.nft; !used[s.Name] {
				c.DelSet(s)
			}
		}
		for _, r := range rules(lists) {
			scope := r.Scope()
			if n, ok := counted[scope]; ok { // the first rule of the list takes over all
				*nfrule.CounterOf(r.Exprs) = n
				delete(counted, scope)
			}
			r.Add(c, chain)
		}
	})
}

// rules are the rules of lists in their order in the chain.
func rules(lists []*list) (all []nfrule.Rule) {
	for _, l := range lists {
		for _, s := range l.sets {
			family, bits := kind(s)
			if bits == 0 {
				bits = 8 * int(s.KeyType.Bytes) // an interval is looked up by the whole address
			}
			lookup := append(nfrule.Source(family, bits), &expr.Lookup{SourceRegister: 1, SetName: s.Name})
			scope := firewall.Scope{Name: l.Name, Ports: l.Ports}
			if l.Places {
				all = append(all, nfrule.Opening(scope, family, l.Block, nfrule.Family(family), lookup)...)
				continue
			}
			all = append(all, nfrule.Rules(scope, family, l.Block, nfrule.Family(family), lookup)...)
		}
	}
	return all
}

// kind reads the name of a set: NAME-v4-BITS-SERIAL.
func kind(s *nftables.Set) (family uint8, bits int) {
	parts := strings.Split(s.Name, "-")
	bits, _ = strconv.Atoi(parts[len(parts)-2])
	if s.KeyType.Bytes == 4 {
		return unix.NFPROTO_IPV4, bits
	}
	return unix.NFPROTO_IPV6, bits
}

// serialOf is the last number in the name of a set.
func serialOf(name string) int {
	n, _ := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
	return n
}

// Verify checks, as cheaply as it can, whether the table is as Apply left it. It does not read elements.
func (t *Table) Verify(ctx context.Context) error {
	if !t.ready {
		return firewall.ErrNotReady
	}
	if len(t.lists) == 0 {
		return nil
	}
	gen, err := nfrule.Generation(ctx)
	if err != nil || gen != 0 && gen == t.gen {
		return err
	}
	found, err := nfrule.ReadTable(ctx, t.nft)
	if err != nil {
		return err
	}
	if why := t.missing(found); why != "" {
		return fmt.Errorf("table %s: %s", t.Name(), why)
	}
	t.gen = gen
	return nil
}

// missing says how the table differs from what Apply has left; "" if it does not.
func (t *Table) missing(found *nfrule.Table) string {
	if why := found.Problem(rules(t.lists)); why != "" {
		return why
	}
	have := make(map[string]bool)
	for _, s := range found.Sets {
		have[s.Name] = true
	}
	for _, l := range t.lists {
		for _, s := range l.sets {
			if !have[s.Name] {
				return "set " + s.Name + " is gone"
			}
		}
	}
	return ""
}

// Counter is what the rules of a list have counted since the table was made.
type Counter struct{ Packets, Bytes uint64 }

// Counters reads the counters by list; it is empty if there is no table.
func Counters(ctx context.Context) (map[string]Counter, error) {
	t := nfrule.NewTable(unix.NFPROTO_INET, tableName)
	c, err := nfrule.Open(ctx, 0)
	if err != nil {
		return nil, err
	}
	rules, err := c.GetRules(t, nfrule.Chain(t))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("table %s: read counters: %w", nfrule.Name(t), err)
	}
	m := make(map[string]Counter)
	for name, n := range nfrule.Counters(rules) {
		m[name] = Counter{n.Packets, n.Bytes}
	}
	return m, nil
}

// Remove removes the table, and reports whether it existed. A table that is not ours is kept, and the error is a *firewall.ForeignError.
func (t *Table) Remove(ctx context.Context) (found bool, err error) {
	t.gen, t.lists, t.ready = 0, nil, true
	have, err := nfrule.ReadTable(ctx, t.nft)
	if err != nil || have == nil {
		return false, err
	}
	return true, nfrule.Delete(ctx, t.nft)
}

// RemoveForeign removes a table of our name, whatever it holds.
func (t *Table) RemoveForeign(ctx context.Context) error { return nfrule.Delete(ctx, t.nft) }

// transaction changes the table in one step.
func (t *Table) transaction(ctx context.Context, f func(*nftables.Conn)) error {
	c, err := nfrule.Open(ctx, 0)
	if err != nil {
		return err
	}
	f(c)
	switch err := c.Flush(); {
	case errors.Is(err, unix.EOPNOTSUPP):
		return nfrule.Unsupported(err)
	case err != nil:
		return fmt.Errorf("table %s: write: %w", t.Name(), err)
	}
	return nil
}
