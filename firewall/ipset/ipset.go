// Package ipset bans with kernel ipsets and nftables rules that refer to them. It uses only netlink: it runs no program, and needs only
// CAP_NET_ADMIN and AF_NETLINK. For each family and scope there is a set of type hash:net, in which the kernel expires bans by itself, and
// in the tables `ip bailiff` and `ip6 bailiff` there are rules at prerouting, before connection tracking. It never touches anybody else's
// sets, tables or chains. Start reading at Backend; sets.go changes sets, kernel.go has the ipset protocol, rules.go the rules.
//
// The ipset protocol is implemented here, with the constants of vishvananda/netlink. That library sends one message for each element and
// waits for each answer (100,000 bans take seconds, not 0.15 s), cannot list sets without their elements or look up an index, and its ipset
// calls panic at an answer out of sequence. Elements are encoded by hand, since mdlayher/netlink's encoder allocates ten times for each.
package ipset

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
	"bailiff/firewall/internal/request"
	"bailiff/firewall/internal/sets"

	"golang.org/x/sys/unix"
)

// Options of a Backend.
type Options struct {
	Scopes []firewall.Scope
	Block  string // "drop", the default, or "reject"
}

// name is the name of our tables, and the beginning of the names of our sets.
const name = "bailiff"

// Backend is a firewall.Backend with kernel ipsets.
//
// A set with a name of ours counts as ours, and is adopted with its elements, if it is like those that we create: hash:net of
// any revision and the right family, with timeouts that default to "never", without counters or comments. Anything else is a
// *firewall.ForeignError. A table counts as ours if every rule in it has our comment.
//
// The kernel counts at most 24.8 days. Longer bans get that timeout, and Reconcile renews it once half of it has passed, so
// Reconcile must be called every few days. Bans that last forever have no timeout.
type Backend struct {
	scopes []firewall.Scope
	block  string

	kernel    kernel
	deadlines sets.Deadlines
	sets      []*set // by family, then scope
	ready     bool   // reconciled since New or Cleanup
	verified  verified
}

// set is a kernel set and what we know to be in it.
type set struct {
	name   string
	family uint8
	scope  string

	// elements is what we know; Verify compares its count. The kernel is authoritative: Reconcile reads the elements again.
	elements sets.Elements
}

// verified is the state that the last Verify found correct. Rules are unchanged as long as there was no nftables transaction, so they need
// not be read again; reading them is most of the work if there are few bans.
type verified struct {
	generation uint32            // 0: nothing
	index      map[string]uint16 // of the sets that rules refer to
	refs       map[string]uint32 // how many rules refer to each set
}

// New checks the options. It changes nothing in the kernel; Reconcile does.
func New(o Options) (*Backend, error) {
	b := &Backend{scopes: o.Scopes, block: cmp.Or(o.Block, "drop"), deadlines: sets.NewDeadlines(maxTimeout * time.Second)}
	if err := firewall.CheckOptions(b.scopes, b.block); err != nil {
		return nil, fmt.Errorf("ipset: %w", err)
	}
	for _, f := range nfrule.Families {
		for _, s := range b.scopes {
			b.sets = append(b.sets, &set{name: setName(f, s.Name), family: f, scope: s.Name})
		}
	}
	b.kernel.conn = request.New(unix.NETLINK_NETFILTER)
	return b, nil
}

// Name is "ipset".
func (b *Backend) Name() string { return "ipset" }

// Close closes the socket. Sets and rules stay.
func (b *Backend) Close() error {
	b.kernel.conn.Close()
	return nil
}

// setName is bailiff4, bailiff6-sshd and so on.
func setName(family uint8, scope string) string {
	if scope == "" {
		return name + sets.Digit(family)
	}
	return name + sets.Digit(family) + "-" + scope
}

// setOf returns the set of a ban.
func (b *Backend) setOf(k firewall.Key) (*set, error) {
	scope, err := firewall.ScopeIndex(b.scopes, k)
	if err != nil {
		return nil, fmt.Errorf("ipset: %w", err)
	}
	if k.Prefix.Addr().Is6() {
		scope += len(b.scopes)
	}
	return b.sets[scope], nil
}

// found is what the kernel holds under our names.
type found struct {
	headers map[string]*header       // of all sets of the network namespace
	tables  map[uint8]*nfrule.Table  // by family; nil where there is none
	foreign []*firewall.ForeignError // what is not ours
}

func (b *Backend) find(ctx context.Context) (*found, error) {
	headers, err := b.kernel.headers(ctx)
	if err != nil {
		return nil, err
	}
	f := &found{headers: headers, tables: make(map[uint8]*nfrule.Table)}
	for _, s := range b.sets {
		if h := headers[s.name]; h != nil {
			if why := h.foreign(s.family); why != "" {
				f.foreign = append(f.foreign, &firewall.ForeignError{Name: "set " + s.name, Why: why})
			}
		}
	}
	for _, family := range nfrule.Families {
		t, err := b.readTable(ctx, family)
		var foreign *firewall.ForeignError
		if errors.As(err, &foreign) {
			f.foreign = append(f.foreign, foreign)
		} else if err != nil {
			return nil, err
		}
		f.tables[family] = t
	}
	return f, nil
}

func (b *Backend) readTable(ctx context.Context, family uint8) (*nfrule.Table, error) {
	t, err := nfrule.ReadTable(ctx, b.table(family))
	if t != nil && len(t.Sets) > 0 {
		return nil, &firewall.ForeignError{Name: "table " + nfrule.Name(b.table(family)), Why: "holds set " + t.Sets[0].Name}
	}
	return t, err
}

// isForeign returns why an object is not ours; "" when it is, or does not exist.
func (f *found) isForeign(name string) string {
	for _, e := range f.foreign {
		if e.Name == name {
			return e.Why
		}
	}
	return ""
}

// none reports whether nothing of ours exists.
func (f *found) none(b *Backend) bool {
	return !slices.ContainsFunc(b.sets, func(s *set) bool { return f.headers[s.name] != nil }) &&
		!slices.ContainsFunc(nfrule.Families[:], func(family uint8) bool { return f.tables[family] != nil })
}

// Reconcile costs one dump of the sets, and one message for each 500 differences.
func (b *Backend) Reconcile(ctx context.Context, want []firewall.Ban) (ch firewall.Change, err error) {
	wanted, _, err := sets.Group(b.deadlines, want, b.setOf)
	if err != nil {
		return ch, err
	}
	f, err := b.find(ctx)
	if err != nil {
		return ch, err
	}
	if len(f.foreign) > 0 {
		return ch, f.foreign[0]
	}
	ch.Initial = !b.ready && f.none(b)
	repaired, err := b.ensureSets(ctx, f, wanted)
	// A ban that moves to another set is in both until the rules refer to the new one, so that no packets get through meanwhile.
	var unexpected map[*set][]sets.Element
	if err == nil {
		unexpected, err = b.fill(ctx, f, wanted, &ch)
	}
	if err == nil {
		var tables []string
		tables, err = b.ensureTables(ctx, f)
		repaired = append(repaired, tables...)
	}
	if !ch.Initial {
		ch.Repaired = repaired
	}
	for s, l := range unexpected {
		if err == nil {
			err = b.remove(ctx, s, l)
		}
	}
	if err != nil {
		return ch, err
	}
	b.ready = true
	return ch, b.removeUnused(ctx, f.headers)
}

// ensureTables repairs the rules, and names the tables that were not right.
func (b *Backend) ensureTables(ctx context.Context, f *found) (repaired []string, err error) {
	index, err := b.indexes(ctx, b.sets)
	if err != nil {
		return nil, err
	}
	for _, family := range nfrule.Families {
		rules, _ := b.rules(family, index)
		problem := f.tables[family].Problem(rules)
		if problem == "" {
			continue
		}
		if err := b.replaceTable(ctx, family, rules); err != nil {
			return repaired, err
		}
		repaired = append(repaired, "table "+nfrule.Name(b.table(family))+": "+problem)
	}
	return repaired, nil
}

func (b *Backend) indexes(ctx context.Context, of []*set) (map[string]uint16, error) {
	index := make(map[string]uint16, len(of))
	for _, s := range of {
		n, err := b.kernel.index(ctx, s.name)
		if err != nil {
			return nil, err
		}
		index[s.name] = n
	}
	return index, nil
}

// Add adds bans, 500 in one message.
func (b *Backend) Add(ctx context.Context, bans []firewall.Ban) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	live, over, err := sets.Group(b.deadlines, bans, b.setOf)
	if err != nil {
		return err
	}
	for s, want := range live {
		if err := b.add(ctx, s, slices.Collect(maps.Keys(want)), want); err != nil {
			return err
		}
	}
	for s, l := range over {
		if err := b.remove(ctx, s, slices.Collect(maps.Keys(l))); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes bans, 500 in one message.
func (b *Backend) Remove(ctx context.Context, keys []firewall.Key) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	remove := make(map[*set][]sets.Element)
	for _, k := range keys {
		s, err := b.setOf(k)
		if err != nil {
			return err
		}
		remove[s] = append(remove[s], sets.ElementOf(k.Prefix))
	}
	for s, list := range remove {
		if err := b.remove(ctx, s, list); err != nil {
			return err
		}
	}
	return nil
}

// Verify reads the headers of the sets, and our rules if there was an nftables transaction: do the sets exist, are they ours,
// do our rules refer to them, and do they hold as many elements as were added and have not expired? The kernel walks its sets
// to count them, which takes a millisecond or two for 100,000. The kernel does not report changes to ipsets, so Verify should
// be called every few seconds.
func (b *Backend) Verify(ctx context.Context) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	headers, err := b.kernel.headers(ctx)
	if err != nil {
		return err
	}
	for _, s := range b.sets {
		h := headers[s.name]
		if h == nil {
			return fmt.Errorf("set %s: is gone", s.name)
		}
		if why := h.foreign(s.family); why != "" {
			return &firewall.ForeignError{Name: "set " + s.name, Why: why}
		}
	}
	refs, err := b.verifyTables(ctx)
	if err != nil {
		return err
	}
	for _, s := range b.sets {
		h := headers[s.name]
		if h.refs < refs[s.name] {
			return fmt.Errorf("set %s: %d rules refer to it, want %d", s.name, h.refs, refs[s.name])
		}
		now := b.deadlines.Now(time.Now())
		s.elements.DropExpired(now)
		if least, most := s.elements.Alive(now), len(s.elements); int(h.count) < least || int(h.count) > most {
			return fmt.Errorf("set %s: holds %d elements, want %d", s.name, h.count, most)
		}
	}
	return nil
}

// verifyTables checks our rules and returns how many refer to each set.
func (b *Backend) verifyTables(ctx context.Context) (map[string]uint32, error) {
	gen, err := nfrule.Generation(ctx)
	if err != nil {
		return nil, err
	}
	index, err := b.indexes(ctx, b.sets)
	if err != nil {
		return nil, err
	}
	if gen != 0 && gen == b.verified.generation && maps.Equal(index, b.verified.index) {
		return b.verified.refs, nil
	}
	b.verified = verified{}
	refs := make(map[string]uint32)
	for _, family := range nfrule.Families {
		t, err := b.readTable(ctx, family)
		if err != nil {
			return nil, err
		}
		rules, n := b.rules(family, index)
		if problem := t.Problem(rules); problem != "" {
			return nil, fmt.Errorf("table %s: %s", nfrule.Name(b.table(family)), problem)
		}
		maps.Copy(refs, n)
	}
	b.verified = verified{gen, index, refs}
	return refs, nil
}

// List reads the elements from the kernel. Until is exact to the second, except for bans that are longer than the kernel's longest timeout:
// it is then the end of that timeout.
func (b *Backend) List(ctx context.Context) ([]firewall.Ban, error) {
	n := 0
	for _, s := range b.sets {
		n += len(s.elements)
	}
	list := make([]firewall.Ban, 0, n)
	for _, s := range b.sets {
		now := time.Now()
		err := b.kernel.dump(ctx, s.name, func(e sets.Element, left uint32) {
			list = append(list, firewall.Ban{Prefix: e.Prefix(), Scope: s.scope, Until: b.deadlines.Until(b.deadlines.FromKernel(left, now), now)})
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
	}
	return list, nil
}

// Empty is Cleanup.
func (b *Backend) Empty(ctx context.Context) error { return b.Cleanup(ctx) }

// Cleanup deletes our tables and then our sets, including those of former scopes.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.ready = false
	for _, s := range b.sets {
		s.elements = nil
	}
	f, err := b.find(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range f.foreign {
		errs = append(errs, e)
	}
	for _, family := range nfrule.Families {
		if f.tables[family] != nil {
			errs = append(errs, nfrule.Delete(ctx, b.table(family)))
		}
	}
	for _, s := range b.sets {
		if f.headers[s.name] != nil && f.isForeign("set "+s.name) == "" {
			errs = append(errs, b.destroy(ctx, s.name))
		}
	}
	return errors.Join(append(errs, b.removeUnused(ctx, f.headers))...)
}

var _ firewall.Backend = (*Backend)(nil)
