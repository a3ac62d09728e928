// Package ipset bans through the kernel's ipsets and rules of our own that refer to them, all over netlink: no program is
// run, and CAP_NET_ADMIN with AF_NETLINK is all it takes. For each family and scope there is a set hash:net, where the
// kernel lets bans run out by itself, and in the tables `ip bailiff` and `ip6 bailiff` the rules at prerouting, before
// connection tracking. It touches no set, table or chain of others. Start reading at Backend; wire.go speaks with ipset,
// rule.go with nftables.
package ipset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"

	"golang.org/x/sys/unix"
)

// Options say what to stop and how. Only Scopes has no default.
type Options struct {
	Scopes []firewall.Scope
	Block  string // "drop", the default, or "reject"

	// Prefix begins the names of sets and is the name of the tables: at most 12 bytes of [a-z0-9-], "bailiff" by default.
	Prefix string

	// MaxElem is how many elements a new set takes, 131,072 by default; it doubles when they run short, up to Limit,
	// 16,777,216 by default. A kernel set costs memory only for what is in it.
	MaxElem, Limit int
}

const (
	defaultPrefix  = "bailiff"
	maxPrefix      = 12
	defaultMaxElem = 1 << 17
	defaultLimit   = 1 << 24

	// tempMark ends the name of the set that takes over when one grows. Scope names cannot hold it.
	tempMark = "~"

	// slack is by how many seconds a kernel timeout may differ from what is wanted before it is set anew: timeouts are
	// whole seconds, and the clocks of the wall and of the kernel drift apart.
	slack = 5

	// releaseLimit is how long we wait for the kernel to let go of a set after the last rule is gone; it does so in
	// the background (nf_tables_trans_destroy_work), after an RCU grace period.
	releaseLimit = 2 * time.Second
	releaseTick  = 5 * time.Millisecond
)

// Backend fulfils firewall.Backend with kernel ipsets.
//
// A set of our name is taken for ours, and taken over with what is in it, if it is what we would have made: hash:net of any
// revision and its family, timeouts on, with "never" as the default, no counters or comments. Anything else is a
// *firewall.ForeignError. A table is ours if it holds nothing but rules with our comment.
//
// The kernel counts at most 24.8 days. Bans that last longer are put in with that, and Reconcile sets them anew once half
// of it is over: so it must be called now and then, and once a day is plenty. Bans for ever have no timeout.
type Backend struct {
	scopes  []firewall.Scope
	block   string
	prefix  string
	maxelem uint32
	limit   uint32

	conn  *conn
	sets  []*set        // by family, then scope
	ends  firewall.Ends // of elements
	ready bool          // reconciled since New or Cleanup
	last  verified
}

// set is a kernel set and what we know to be in it.
type set struct {
	name   string
	family uint8
	scope  string

	maxelem uint32

	// elems holds when each element ends: seconds of Backend.ends, 0 never. Growing copies from it and Verify counts
	// by it. The kernel is the truth: Reconcile fills it anew.
	elems map[element]uint32
}

var errNotReady = errors.New("ipset: not reconciled yet")

// New opens the netlink socket. It changes nothing in the kernel; Reconcile does.
func New(o Options) (*Backend, error) {
	b := &Backend{scopes: o.Scopes, block: o.Block, prefix: o.Prefix, ends: firewall.NewEnds()}
	if b.block == "" {
		b.block = "drop"
	}
	if b.prefix == "" {
		b.prefix = defaultPrefix
	}
	if o.MaxElem == 0 {
		o.MaxElem = defaultMaxElem
	}
	if o.Limit == 0 {
		o.Limit = max(defaultLimit, o.MaxElem)
	}
	if b.block != "drop" && b.block != "reject" {
		return nil, fmt.Errorf("ipset: block %q is neither drop nor reject", b.block)
	}
	if len(b.prefix) > maxPrefix || strings.Trim(b.prefix, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return nil, fmt.Errorf("ipset: prefix %q: want at most %d of a-z, 0-9 and -", b.prefix, maxPrefix)
	}
	if o.MaxElem < 1 || o.Limit < o.MaxElem || o.Limit > 1<<30 {
		return nil, fmt.Errorf("ipset: sets of %d growing to %d elements: want 1 ≤ first ≤ second ≤ %d", o.MaxElem, o.Limit, 1<<30)
	}
	b.maxelem, b.limit = uint32(o.MaxElem), uint32(o.Limit)
	if err := firewall.CheckScopes(b.scopes); err != nil {
		return nil, fmt.Errorf("ipset: %w", err)
	}
	for _, f := range nfrule.Families {
		for _, s := range b.scopes {
			b.sets = append(b.sets, &set{name: b.setName(f, s.Name), family: f, scope: s.Name})
		}
	}
	var err error
	if b.conn, err = dial(); err != nil {
		return nil, err
	}
	return b, nil
}

// Name is "ipset".
func (b *Backend) Name() string { return "ipset" }

// Close closes the socket. Sets and rules stay.
func (b *Backend) Close() error {
	b.conn.close()
	return nil
}

func digit(family uint8) string {
	if family == unix.NFPROTO_IPV4 {
		return "4"
	}
	return "6"
}

// setName is bailiff4, bailiff6-sshd and so on: at most 12+1+1+16 bytes, and one more while it grows.
func (b *Backend) setName(family uint8, scope string) string {
	if scope == "" {
		return b.prefix + digit(family)
	}
	return b.prefix + digit(family) + "-" + scope
}

// setOf finds the set that a ban belongs to.
func (b *Backend) setOf(k firewall.Key) (*set, error) {
	if err := firewall.CheckPrefix(k.Prefix); err != nil {
		return nil, fmt.Errorf("ipset: %w", err)
	}
	family := nfrule.Families[0]
	if k.Prefix.Addr().Is6() {
		family = nfrule.Families[1]
	}
	for _, s := range b.sets {
		if s.family == family && s.scope == k.Scope {
			return s, nil
		}
	}
	return nil, fmt.Errorf("ipset: ban of %v: no scope %q", k.Prefix, k.Scope)
}

// end and timeout keep to what the kernel's ipset can count.
func (b *Backend) end(until, now time.Time) (uint32, bool) {
	return b.ends.End(until, now, maxTimeout*time.Second)
}

func (b *Backend) timeout(end uint32, now time.Time) uint32 {
	return min(b.ends.Left(end, now), maxTimeout)
}

// seen marks an element in a map of wanted ones that the kernel has. Ends stay below it for 68 years.
const seen = 1 << 31

// Reconcile does what the contract says. It costs one dump of the sets and one message for each 500 differences.
func (b *Backend) Reconcile(ctx context.Context, want []firewall.Ban) (firewall.Change, error) {
	var ch firewall.Change
	now := time.Now()
	wanted := make(map[*set]map[element]uint32, len(b.sets))
	counts := make(map[*set]int, len(b.sets))
	for _, w := range want {
		s, err := b.setOf(w.Key())
		if err != nil {
			return ch, err
		}
		counts[s]++
	}
	for _, s := range b.sets {
		wanted[s] = make(map[element]uint32, counts[s])
	}
	for _, w := range want {
		s, _ := b.setOf(w.Key())
		if end, ok := b.end(w.Until, now); ok {
			wanted[s][elementOf(w.Prefix)] = end
		}
	}

	heads, err := b.conn.headers(ctx)
	if err != nil {
		return ch, err
	}
	ch.First = !b.ready
	for _, s := range b.sets {
		if h := heads[s.name]; h != nil {
			ch.First = false
			if why := h.foreign(s.family); why != "" {
				return ch, &firewall.ForeignError{Name: "set " + s.name, Why: why}
			}
		}
	}
	for _, f := range nfrule.Families {
		state, _, err := b.table(ctx, f, nil)
		if err != nil {
			return ch, err
		}
		ch.First = ch.First && state == absent
	}

	for _, s := range b.sets {
		if h := heads[s.name]; h != nil {
			s.maxelem = h.maxelem
			continue
		}
		n := uint32(min(len(wanted[s]), int(b.limit)))
		s.maxelem = b.roomFor(b.maxelem, n)
		if err := b.conn.create(ctx, s.name, s.family, s.maxelem, hashSize(n)); err != nil {
			return ch, err
		}
		s.elems = make(map[element]uint32)
		if !ch.First {
			ch.Repaired = append(ch.Repaired, "set "+s.name)
		}
	}
	repaired, err := b.mendTables(ctx)
	if err != nil {
		return ch, err
	}
	if !ch.First {
		ch.Repaired = append(ch.Repaired, repaired...)
	}
	for _, s := range b.sets {
		if err := b.fill(ctx, s, heads[s.name] != nil, wanted[s], &ch); err != nil {
			return ch, err
		}
	}
	b.ready = true
	return ch, b.sweep(ctx, heads)
}

// mendTables makes the rules right, and names the tables where they were not.
func (b *Backend) mendTables(ctx context.Context) (repaired []string, err error) {
	index, err := b.indexes(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range nfrule.Families {
		rules, _ := b.rulesOf(f, index)
		state, why, err := b.table(ctx, f, rules)
		if err != nil {
			return repaired, err
		}
		if state == intact {
			continue
		}
		if err := b.setTable(ctx, f, rules); err != nil {
			return repaired, err
		}
		repaired = append(repaired, "table "+tableName(f, b.prefix)+": "+why)
	}
	return repaired, nil
}

func (b *Backend) indexes(ctx context.Context) (map[string]uint16, error) {
	index := make(map[string]uint16, len(b.sets))
	for _, s := range b.sets {
		n, err := b.conn.index(ctx, s.name)
		if err != nil {
			return nil, err
		}
		index[s.name] = n
	}
	return index, nil
}

// fill makes the elements of s what want says. What stays is not touched. New ones go in before old ones go out, so that a
// prefix which takes over from another leaves no gap.
func (b *Backend) fill(ctx context.Context, s *set, dump bool, want map[element]uint32, ch *firewall.Change) error {
	now := time.Now()
	var add, del []change
	have := make(map[element]uint32, len(want))
	refreshed := 0
	if dump {
		err := b.conn.dump(ctx, s.name, func(e element, left uint32) {
			end := uint32(0)
			if left != 0 {
				end = b.ends.Now(now) + left
			}
			target, ok := want[e]
			switch {
			case target&seen != 0: // a dump may show an element twice
			case !ok:
				del = append(del, change{e: e})
				have[e] = end
			default:
				want[e] = target | seen
				have[e] = end
				if stale(left, b.timeout(target, now), target == 0) {
					refreshed++
					add = append(add, change{e, b.timeout(target, now)})
				}
			}
		})
		if err != nil {
			return err
		}
	}
	s.elems = have
	add = slices.Grow(add, len(want)+len(del)-len(have)) // all wanted ones less those that the kernel has
	for e, end := range want {
		if end&seen == 0 {
			add = append(add, change{e, b.timeout(end, now)})
		}
	}
	steps := []func() error{
		func() error { return b.add(ctx, s, add) },
		func() error { return b.del(ctx, s, del) },
	}
	if len(want)+len(del) > int(b.limit) {
		slices.Reverse(steps) // there is no room for both
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	ch.Refreshed += refreshed
	ch.Added += len(add) - refreshed
	ch.Removed += len(del)
	return nil
}

// stale tells whether the kernel's timeout is to be set anew. One that is cut to the kernel's maximum is left until half
// of it is over, or every Reconcile would set it.
func stale(left, want uint32, forever bool) bool {
	switch {
	case forever || left == 0:
		return forever != (left == 0)
	case want == maxTimeout:
		return left < maxTimeout/2
	}
	return max(left, want)-min(left, want) > slack
}

// add puts elements in. It makes room before, and again if the kernel says that the set is full nevertheless (somebody
// else put something in, or expired ones still lie there).
func (b *Backend) add(ctx context.Context, s *set, list []change) error {
	if len(list) == 0 {
		return nil
	}
	fresh := 0
	for _, x := range list {
		if _, ok := s.elems[x.e]; !ok {
			fresh++
		}
	}
	if err := b.room(ctx, s, uint32(len(s.elems)+fresh)); err != nil {
		return err
	}
	for {
		done := 0
		err := b.conn.put(ctx, s.name, s.family, list, func(n int) { b.note(s, list[done:n]); done = n })
		if !errors.Is(err, errFull) {
			return err
		}
		list = list[done:]
		if err := b.room(ctx, s, s.maxelem+1); err != nil {
			return err
		}
	}
}

func (b *Backend) note(s *set, list []change) {
	now := b.ends.Now(time.Now())
	for _, x := range list {
		end := uint32(0)
		if x.timeout != 0 {
			end = now + x.timeout
		}
		s.elems[x.e] = end
	}
}

func (b *Backend) del(ctx context.Context, s *set, list []change) error {
	done := 0
	return b.conn.take(ctx, s.name, s.family, list, func(n int) {
		for _, x := range list[done:n] {
			delete(s.elems, x.e)
		}
		done = n
	})
}

// roomFor doubles have until n elements and an eighth fit, within the limit.
func (b *Backend) roomFor(have, n uint32) uint32 {
	for have < b.limit && uint64(have) < uint64(n)+uint64(n)/8 {
		have = uint32(min(2*uint64(have), uint64(b.limit)))
	}
	return have
}

// hashSize is how many buckets a set is created with so that n elements need no resizing: a power of two, 64 at least.
// The kernel's buckets hold up to twelve, and grow into one another's place beyond.
func hashSize(n uint32) uint32 {
	size := uint32(64)
	for size < n/4 {
		size *= 2
	}
	return size
}

// room makes s large enough for n elements. A kernel set cannot be made larger, so a larger one is filled and takes over
// its place by a swap, which is atomic: every packet meets a full set, and rules keep pointing at the name.
func (b *Backend) room(ctx context.Context, s *set, n uint32) error {
	if n <= s.maxelem {
		return nil
	}
	b.expire(s)
	if uint64(len(s.elems)) < uint64(n) && n > b.limit {
		return fmt.Errorf("set %s: %d elements: more than the limit of %d: %w", s.name, n, b.limit, kernelError{errFull})
	}
	size := b.roomFor(s.maxelem, n)
	if size <= s.maxelem {
		return fmt.Errorf("set %s: %d elements: more than the limit of %d: %w", s.name, n, b.limit, kernelError{errFull})
	}
	temp := s.name + tempMark
	if err := b.conn.destroy(ctx, temp); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := b.conn.create(ctx, temp, s.family, size, hashSize(n)); err != nil {
		return err
	}
	now := time.Now()
	list := make([]change, 0, len(s.elems))
	for e, end := range s.elems {
		list = append(list, change{e, b.timeout(end, now)})
	}
	err := b.conn.put(ctx, temp, s.family, list, func(int) {})
	if err == nil {
		err = b.conn.swap(ctx, s.name, temp)
	}
	if err == nil {
		s.maxelem = size
	}
	return errors.Join(err, b.conn.destroy(ctx, temp))
}

// expire forgets elements that the kernel has let go.
func (b *Backend) expire(s *set) {
	now := b.ends.Now(time.Now())
	for e, end := range s.elems {
		if end != 0 && end+2 < now {
			delete(s.elems, e)
		}
	}
}

// sweep takes away sets of ours that are no longer of use: of scopes that are gone, and of a growth that was cut short. A
// set that somebody's rule refers to cannot be destroyed: it is emptied, so that it bans nobody.
func (b *Backend) sweep(ctx context.Context, heads map[string]*header) error {
	for name, h := range heads {
		if !b.stray(name) || h.foreign(h.family) != "" {
			continue
		}
		if err := b.conn.flush(ctx, name); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		if err := b.destroy(ctx, name); err != nil && !errors.Is(err, errBusy) {
			return err
		}
	}
	return nil
}

// stray tells whether a set's name can only be ours, and is none that we use now.
func (b *Backend) stray(name string) bool {
	for _, f := range nfrule.Families {
		own := b.prefix + digit(f)
		if name != own && name != own+tempMark && !strings.HasPrefix(name, own+"-") {
			continue
		}
		for _, s := range b.sets {
			if s.name == name {
				return false
			}
		}
		return true
	}
	return false
}

// destroy removes a set, waiting for rules that were deleted a moment ago to let it go.
func (b *Backend) destroy(ctx context.Context, name string) error {
	tick := time.NewTicker(releaseTick)
	defer tick.Stop()
	for end := time.Now().Add(releaseLimit); ; {
		err := b.conn.destroy(ctx, name)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, errBusy) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Add puts bans in. One that is over already is taken out.
func (b *Backend) Add(ctx context.Context, bans []firewall.Ban) error {
	if !b.ready {
		return errNotReady
	}
	now := time.Now()
	add, del := make(map[*set][]change), make(map[*set][]change)
	for _, w := range bans {
		s, err := b.setOf(w.Key())
		if err != nil {
			return err
		}
		if end, ok := b.end(w.Until, now); ok {
			add[s] = append(add[s], change{elementOf(w.Prefix), b.timeout(end, now)})
		} else {
			del[s] = append(del[s], change{e: elementOf(w.Prefix)})
		}
	}
	for _, s := range b.sets {
		if err := b.add(ctx, s, add[s]); err != nil {
			return err
		}
		if err := b.del(ctx, s, del[s]); err != nil {
			return err
		}
	}
	return nil
}

// Remove takes bans out.
func (b *Backend) Remove(ctx context.Context, keys []firewall.Key) error {
	if !b.ready {
		return errNotReady
	}
	del := make(map[*set][]change)
	for _, k := range keys {
		s, err := b.setOf(k)
		if err != nil {
			return err
		}
		del[s] = append(del[s], change{e: elementOf(k.Prefix)})
	}
	for _, s := range b.sets {
		if err := b.del(ctx, s, del[s]); err != nil {
			return err
		}
	}
	return nil
}

// Verify asks for the sets' headers and for our rules: do the sets stand, are they ours, do our rules refer to them at
// prerouting, and are there as many elements as we put in, less those that ran out? The kernel walks its sets to count
// them, a millisecond or two for 100,000. ipset tells nobody of changes, so this wants to be called every few seconds;
// for the rules there is Watch.
func (b *Backend) Verify(ctx context.Context) error {
	if !b.ready {
		return errNotReady
	}
	heads, err := b.conn.headers(ctx)
	if err != nil {
		return err
	}
	for _, s := range b.sets {
		h := heads[s.name]
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
		h := heads[s.name]
		if h.refs < refs[s.name] {
			return fmt.Errorf("set %s: %d rules refer to it, want %d", s.name, h.refs, refs[s.name])
		}
		b.expire(s)
		if least, most := b.expect(s); h.count < least || h.count > most {
			return fmt.Errorf("set %s: holds %d elements, want %d", s.name, h.count, most)
		}
	}
	return nil
}

// verified is what Verify found right the last time. Rules are the same as long as no nftables transaction was made, so
// they need not be read again: that is most of the work where little is banned.
type verified struct {
	generation uint32            // 0: nothing
	index      map[string]uint16 // of the sets that rules refer to
	refs       map[string]uint32 // how often they do
}

// verifyTables checks our rules and returns how many refer to each set.
func (b *Backend) verifyTables(ctx context.Context) (map[string]uint32, error) {
	gen, err := nfrule.Generation(ctx)
	if err != nil {
		return nil, err
	}
	index, err := b.indexes(ctx)
	if err != nil {
		return nil, err
	}
	if gen != 0 && gen == b.last.generation && maps.Equal(index, b.last.index) {
		return b.last.refs, nil
	}
	b.last = verified{}
	refs := make(map[string]uint32)
	for _, f := range nfrule.Families {
		rules, n := b.rulesOf(f, index)
		state, why, err := b.table(ctx, f, rules)
		if err != nil {
			return nil, err
		}
		if state != intact {
			return nil, fmt.Errorf("table %s: %s", tableName(f, b.prefix), why)
		}
		maps.Copy(refs, n)
	}
	b.last = verified{gen, index, refs}
	return refs, nil
}

// expect is how many elements the kernel may count: those that end about now may be there or not.
func (b *Backend) expect(s *set) (least, most uint32) {
	now := b.ends.Now(time.Now())
	for _, end := range s.elems {
		if end == 0 || end > now+2 {
			least++
		}
	}
	return least, uint32(len(s.elems))
}

// List reads the elements back from the kernel. Until is right to the second; of a ban that is longer than the kernel can
// count it is what the kernel counts.
func (b *Backend) List(ctx context.Context) ([]firewall.Ban, error) {
	n := 0
	for _, s := range b.sets {
		n += len(s.elems)
	}
	list := make([]firewall.Ban, 0, n)
	for _, s := range b.sets {
		now := time.Now().Round(0)
		err := b.conn.dump(ctx, s.name, func(e element, left uint32) {
			ban := firewall.Ban{Prefix: e.prefix(s.family), Scope: s.scope}
			if left != 0 {
				ban.Until = now.Add(time.Duration(left) * time.Second)
			}
			list = append(list, ban)
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
	}
	return list, nil
}

// Cleanup deletes our tables and then our sets, of scopes long gone too. What is foreign it leaves, and says so.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.ready = false
	var errs []error
	for _, f := range nfrule.Families {
		state, _, err := b.table(ctx, f, nil)
		if err == nil && state != absent {
			err = b.dropTable(ctx, f)
		}
		errs = append(errs, err)
	}
	heads, err := b.conn.headers(ctx)
	errs = append(errs, err)
	for _, s := range b.sets {
		s.elems = nil
		h := heads[s.name]
		if h == nil {
			continue
		}
		if why := h.foreign(s.family); why != "" {
			errs = append(errs, &firewall.ForeignError{Name: "set " + s.name, Why: why})
			continue
		}
		errs = append(errs, b.destroy(ctx, s.name))
	}
	errs = append(errs, b.sweep(ctx, heads))
	return errors.Join(errs...)
}

var (
	_ firewall.Backend = (*Backend)(nil)
	_ firewall.Counter = (*Backend)(nil)
)
