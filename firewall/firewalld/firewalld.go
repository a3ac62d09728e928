// Package firewalld bans through firewalld, over D-Bus alone: in ipsets of firewalld's own, which firewall-cmd shows, and
// which a policy object of ours (ANY to HOST, before the zones) drops. It forks nothing, needs no capability, and uses no
// direct rules. Start reading at Backend; setup.go makes sets and policy, watch.go hears of what others do.
//
// What firewalld cannot do shapes this package. Its sets with timeouts can be neither listed nor emptied, so ours have
// none, and whoever calls takes out what is over. Adding an entry takes it longer the more the set holds (3.5 ms when empty,
// 78 ms at 10,000, 536 ms at 50,000), so bans are spread over several sets by a hash. A prefix over another in one set is
// refused, so a ban within a wider one waits until the wider one ends. There is no call that makes a set, so sets go into
// the permanent configuration, with one reload when one was missing. Entries are lost at each reload: Watch hears of it,
// and Reconcile puts them back.
package firewalld

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/firewall"
)

// Options say what to stop and how. Only Scopes has no default.
type Options struct {
	Scopes []firewall.Scope
	Block  string // "drop", the default, or "reject"

	// Method is how the sets take effect: "policy", the default: by a policy object; "zone": by sources of the zone drop;
	// "rich": by rich rules in Zones.
	Method string
	Zones  []string
}

const (
	// Sets of one family and scope. Each costs a rule, and reloads get slower with rules.
	allSets  = 8 // of the scope of everything
	portSets = 4 // of a scope with ports

	// perSet is how many bans a set shall hold before more of the sets are used. firewalld compares an entry with each of its
	// set: at 1,000 bans it takes 10 ms to add one to a single set and 4 ms to one of eight (2.3; 14 and 7 ms with 1.3). For
	// that, all of them are back 16 to 29 ms later after a reload, since each set costs some milliseconds, however few it holds.
	perSet = 100

	// longest is how long a batch may take before its sets are written as a whole, whoever comes through meanwhile: calls have
	// their time limits.
	longest = 10 * time.Second

	// few is how many changes are made one by one in any case: firewalld 2.5 answers setEntries before the entries are in the
	// kernel, and puts them there when it has nothing else to do.
	few = 4

	// slack is how much Until may differ before it counts as refreshed.
	slack = 5 * time.Second
)

// Backend fulfils firewall.Backend with firewalld. Reloads that it asks for, when sets are missing, drop what admins have
// changed at run time only, as every reload does.
type Backend struct {
	scopes []firewall.Scope
	block  string
	via    string
	zones  []string
	bus    bus
	ready  bool             // reconciled since New or Cleanup
	used   map[group]uint32 // how many of the sets hold bans: 1 where it says nothing

	checkReason string // what Inspect or a look at the kernel found wrong, where firewalld itself may find nothing
	backendType string // firewalld's own backend: nftables, iptables or unknown; "" when not asked yet
	gen         uint32 // of nftables, at which the kernel held what firewalld put there; 0: not looked

	mu   sync.Mutex // of what Watch looks at, too
	want map[firewall.Key]time.Time
	sets map[setKey]map[netip.Prefix]bool // what firewalld holds, as far as we know

	dirty    bool   // somebody may have changed something
	watching bool   // Watch receives signals; while it does not, everything may have changed
	reloaded bool   // firewalld was reloaded or started: its sets are empty
	recheck  string // what else happened that requires a Reconcile; "" for nothing
	ownLoads int    // reloads of ours whose signal is still to come
}

// setKey names one of our sets.
type setKey struct {
	scope  int   // index in scopes
	family uint8 // 4 or 6
	n      uint8
}

// group is the sets that share bans.
type group struct {
	scope  int
	family uint8
}

var errReloaded = errors.New("firewalld: reloaded or started, its sets are empty")

// New checks the options. It changes nothing; Reconcile does.
func New(o Options) (*Backend, error) {
	o.Block, o.Method = cmp.Or(o.Block, "drop"), cmp.Or(o.Method, "policy")
	switch {
	case o.Method != "policy" && o.Method != "zone" && o.Method != "rich":
		return nil, fmt.Errorf("firewalld: method %q is not one of policy, zone, rich", o.Method)
	case o.Method == "rich" && len(o.Zones) == 0:
		return nil, errors.New("firewalld: rich rules want the zones that they go into")
	case o.Method == "zone" && o.Block != "drop":
		return nil, errors.New("firewalld: the zone drop drops; write block: drop, or method: policy")
	case o.Method == "zone" && slices.ContainsFunc(o.Scopes, func(s firewall.Scope) bool { return len(s.Ports) > 0 }):
		return nil, errors.New("firewalld: the zone drop stops all ports; take the ports out of the jails, or write method: policy")
	}
	if err := firewall.CheckOptions(o.Scopes, o.Block); err != nil {
		return nil, fmt.Errorf("firewalld: %w", err)
	}
	return &Backend{scopes: o.Scopes, block: o.Block, via: o.Method, zones: o.Zones}, nil
}

// Name is "firewalld".
func (b *Backend) Name() string { return "firewalld" }

// Close ends the connection to the bus. Sets and bans stay.
func (b *Backend) Close() error {
	b.bus.close()
	return nil
}

// setName is bailiff4-0, bailiff6-sshd-3 and so on: at most 8+1+16+2 bytes of firewalld's 31.
func (b *Backend) setName(k setKey) string {
	name := fmt.Sprintf("bailiff%d-", k.family)
	if s := b.scopes[k.scope].Name; s != "" {
		name += s + "-"
	}
	return fmt.Sprintf("%s%d", name, k.n)
}

// ourName tells whether a set may be ours, of whatever scope.
func ourName(name string) bool {
	return strings.HasPrefix(name, "bailiff4-") || strings.HasPrefix(name, "bailiff6-")
}

// keys are all our sets.
func (b *Backend) keys() (l []setKey) {
	for i, s := range b.scopes {
		for _, f := range []uint8{4, 6} {
			for n := range setsOf(s) {
				l = append(l, setKey{i, f, n})
			}
		}
	}
	return l
}

func setsOf(s firewall.Scope) uint8 {
	if len(s.Ports) > 0 {
		return portSets
	}
	return allSets
}

// locate finds the set of a ban.
func (b *Backend) locate(k firewall.Key) (setKey, error) {
	i, err := firewall.ScopeIndex(b.scopes, k)
	if err != nil {
		return setKey{}, fmt.Errorf("firewalld: %w", err)
	}
	h := fnv.New32a()
	raw := k.Prefix.Addr().As16()
	h.Write(raw[:])
	at := setKey{i, 6, 0}
	if k.Prefix.Addr().Is4() {
		at.family = 4
	}
	at.n = uint8(h.Sum32() % max(b.used[group{i, at.family}], 1))
	return at, nil
}

// spread decides how many sets are used, and tells whether that changes: more where they hold too much, fewer only in a
// Reconcile.
func (b *Backend) spread(want map[firewall.Key]time.Time, fewer bool) bool {
	n := make(map[group]int)
	for k := range want {
		at, _ := b.locate(k)
		n[group{at.scope, at.family}]++
	}
	changed := false
	for g, n := range n {
		sets := uint32(1)
		for most := uint32(setsOf(b.scopes[g.scope])); sets < most && n > perSet*int(sets); {
			sets *= 2
		}
		if have := max(b.used[g], 1); sets > have && (fewer || n > 2*perSet*int(have)) || sets < have && fewer {
			if b.used == nil {
				b.used = make(map[group]uint32)
			}
			b.used[g], changed = sets, true
		}
	}
	return changed
}

// entry is how firewalld writes a prefix: addresses stand alone.
func entry(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func parseEntry(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

// covered tells whether a wider ban of the same scope is wanted.
func covered(want map[firewall.Key]time.Time, k firewall.Key, lengths map[int]bool) bool {
	for bits := range lengths {
		if bits >= k.Prefix.Bits() {
			continue
		}
		p, err := k.Prefix.Addr().Prefix(bits)
		if err != nil {
			continue
		}
		if _, ok := want[firewall.Key{Prefix: p, Scope: k.Scope}]; ok {
			return true
		}
	}
	return false
}

func lengths(want map[firewall.Key]time.Time) map[int]bool {
	m := make(map[int]bool)
	for k := range want {
		m[k.Prefix.Bits()] = true
	}
	return m
}

// target is what each set should hold: all that is wanted, less what a wider ban covers.
func (b *Backend) target(want map[firewall.Key]time.Time) map[setKey]map[netip.Prefix]bool {
	m := make(map[setKey]map[netip.Prefix]bool)
	for _, k := range b.keys() {
		m[k] = make(map[netip.Prefix]bool)
	}
	l := lengths(want)
	for k := range want {
		if !covered(want, k, l) {
			at, _ := b.locate(k) // was located before
			m[at][k.Prefix] = true
		}
	}
	return m
}

// Reconcile does what the contract says: sets and policy, permanent and at run time, then the entries.
func (b *Backend) Reconcile(ctx context.Context, bans []firewall.Ban) (firewall.Change, error) {
	var ch firewall.Change
	now := time.Now()
	want := make(map[firewall.Key]time.Time, len(bans))
	for _, w := range bans {
		if _, err := b.locate(w.Key()); err != nil {
			return ch, err
		}
		if w.Until.IsZero() || w.Until.After(now) {
			want[w.Key()] = w.Until
		}
	}
	// What happens from here on is seen: either below, or by the next Verify.
	b.mu.Lock()
	b.dirty = false
	reloaded := b.reloaded && b.ready
	b.reloaded, b.recheck = false, ""
	old := b.want
	b.mu.Unlock()
	b.spread(want, true)
	n := 0
	if reloaded {
		n = b.refill(ctx, want)
	}
	ch, err := b.reconcile(ctx, want)
	ch.Added += n
	if err != nil {
		b.mu.Lock()
		b.dirty = true
		b.mu.Unlock()
		return ch, err
	}
	for k, until := range want {
		if had, ok := old[k]; ok && b.ready && (had.IsZero() != until.IsZero() || had.Sub(until).Abs() > slack) {
			ch.Refreshed++
		}
	}
	b.ready = true
	return ch, nil
}

// refill puts bans back into sets that are empty, before anything is looked at: until then attackers come through. What
// fails is for reconcile to find.
func (b *Backend) refill(ctx context.Context, want map[firewall.Key]time.Time) (n int) {
	for k, list := range b.target(want) {
		if len(list) == 0 {
			continue
		}
		if added, _, err := b.fill(ctx, k, nil, list, want, nil); err == nil {
			n += added
		}
	}
	return n
}

func (b *Backend) reconcile(ctx context.Context, want map[firewall.Key]time.Time) (ch firewall.Change, err error) {
	why, err := b.checkRuntime(ctx)
	if err != nil {
		return ch, err
	}
	why = cmp.Or(why, b.checkReason)
	if why != "" || !b.ready {
		changed, err := b.ensurePermanent(ctx)
		if err != nil {
			return ch, err
		}
		first := !b.ready && why != "" && len(changed) > 0
		if why != "" || len(changed) > 0 {
			err := b.reload(ctx)
			if b.checkReason != "" && is(err, "COMMAND_FAILED") { // firewalld 1.3 fails once at a table that somebody took away
				err = b.reload(ctx)
			}
			if err != nil {
				return ch, err
			}
			b.checkReason = ""
			again, err := b.checkRuntime(ctx)
			if err == nil && again == "" {
				if again, err = b.flushed(ctx); again != "" {
					again = "table inet " + tableName + " " + again
					b.backendType = "unknown" // this firewalld puts it elsewhere: reloads will not help
				}
			}
			if err != nil || again != "" {
				return ch, cmp.Or(err, fmt.Errorf("firewalld: after a reload: %s", again))
			}
		}
		switch {
		case first:
			ch.Initial = true
		case why != "":
			ch.Repaired = append(changed, why)
		default:
			ch.Repaired = changed
		}
	}
	target := b.target(want)
	have := make(map[setKey]map[string]netip.Prefix)
	there := make(map[firewall.Key]bool)
	for _, k := range b.keys() {
		if have[k], err = b.entries(ctx, k); err != nil {
			return ch, err
		}
		for _, p := range have[k] {
			there[firewall.Key{Prefix: p, Scope: b.scopes[k.scope].Name}] = true
		}
	}
	// Sets that gain come before those that lose: what moves from one to another is in both for a moment.
	keys := b.keys()
	slices.SortStableFunc(keys, func(x, y setKey) int {
		return cmp.Compare(len(have[x])-len(target[x]), len(have[y])-len(target[y]))
	})
	for _, k := range keys {
		added, removed, err := b.fill(ctx, k, have[k], target[k], want, there)
		ch.Added += added
		ch.Removed += removed
		if err != nil {
			return ch, err
		}
	}
	b.mu.Lock()
	b.want = want
	b.mu.Unlock()
	return ch, nil
}

// reload has firewalld load its permanent configuration, which empties our sets. The signal that tells of it is no news to us:
// who calls this fills them.
func (b *Backend) reload(ctx context.Context) error {
	b.mu.Lock()
	if b.watching {
		b.ownLoads++
	}
	b.mu.Unlock()
	err := b.bus.call(ctx, mainPath, busName+".reload", nil)
	if err != nil { // then there is no signal, or there is one and all is looked at again
		b.mu.Lock()
		b.ownLoads = max(0, b.ownLoads-1)
		b.mu.Unlock()
	}
	return err
}

// entries reads what a set holds.
func (b *Backend) entries(ctx context.Context, k setKey) (map[string]netip.Prefix, error) {
	var l []string
	if err := b.bus.call(ctx, mainPath, ipsetIface+"getEntries", []any{&l}, b.setName(k)); err != nil {
		return nil, fmt.Errorf("set %s: %w", b.setName(k), err)
	}
	m := make(map[string]netip.Prefix, len(l))
	for _, s := range l {
		p, ok := parseEntry(s)
		if !ok {
			return nil, &firewall.ForeignError{Name: "set " + b.setName(k), Why: fmt.Sprintf("it holds %q", s)}
		}
		m[s] = p
	}
	return m, nil
}

// fill makes a set hold what it should. What is taken out because a wider ban covers it, or because it moves to another set,
// is no removal: want says; and what was in another set is no addition: there says.
func (b *Backend) fill(ctx context.Context, k setKey, have map[string]netip.Prefix, target map[netip.Prefix]bool, want map[firewall.Key]time.Time, there map[firewall.Key]bool) (added, removed int, err error) {
	e := edit{key: k, had: len(have)}
	held := make(map[netip.Prefix]bool, len(have))
	for s, p := range have {
		held[p] = true
		if !target[p] {
			e.del = append(e.del, s)
			if _, ok := want[firewall.Key{Prefix: p, Scope: b.scopes[k.scope].Name}]; !ok {
				removed++
			}
		}
	}
	for p := range target {
		if !held[p] {
			e.add = append(e.add, entry(p))
			if !there[firewall.Key{Prefix: p, Scope: b.scopes[k.scope].Name}] {
				added++
			}
		}
	}
	b.mu.Lock()
	if b.sets == nil {
		b.sets = make(map[setKey]map[netip.Prefix]bool)
	}
	b.sets[k] = target // before it is so: what Watch hears of our own changes is no news
	total := 0
	for _, set := range b.sets {
		total += len(set)
	}
	b.mu.Unlock()
	return added, removed, b.edit(ctx, e, rewrite(total, e))
}

// put changes a set. What is so already is no error.
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

// Add puts bans in. One that is over already is taken out.
func (b *Backend) Add(ctx context.Context, bans []firewall.Ban) error {
	now := time.Now()
	return b.change(ctx, func(want map[firewall.Key]time.Time) error {
		for _, w := range bans {
			if _, err := b.locate(w.Key()); err != nil {
				return err
			}
		}
		for _, w := range bans {
			if w.Until.IsZero() || w.Until.After(now) {
				want[w.Key()] = w.Until
			} else {
				delete(want, w.Key())
			}
		}
		return nil
	}, len(bans), func(i int) firewall.Key { return bans[i].Key() })
}

// Remove takes bans out.
func (b *Backend) Remove(ctx context.Context, keys []firewall.Key) error {
	return b.change(ctx, func(want map[firewall.Key]time.Time) error {
		for _, k := range keys {
			if _, err := b.locate(k); err != nil {
				return err
			}
		}
		for _, k := range keys {
			delete(want, k)
		}
		return nil
	}, len(keys), func(i int) firewall.Key { return keys[i] })
}

// change alters what is wanted and carries out what follows from it. key names what was altered, n of them; what they cover
// or stop covering follows as well.
func (b *Backend) change(ctx context.Context, alter func(map[firewall.Key]time.Time) error, n int, key func(int) firewall.Key) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	err := alter(b.want)
	want := b.want
	b.mu.Unlock()
	if err != nil {
		return err
	}
	if len(want) > 2*perSet && b.spread(want, false) {
		_, err := b.reconcile(ctx, maps.Clone(want))
		return err
	}
	l := lengths(want)
	touched := make(map[setKey]map[netip.Prefix]bool) // true: shall be in
	note := func(k firewall.Key) {
		at, _ := b.locate(k)
		if touched[at] == nil {
			touched[at] = make(map[netip.Prefix]bool)
		}
		_, wanted := want[k]
		touched[at][k.Prefix] = wanted && !covered(want, k, l)
	}
	for i := range n {
		k := key(i)
		note(k)
		if k.Prefix.IsSingleIP() || len(l) < 2 {
			continue
		}
		for w := range want { // a wide ban comes or goes: those within step back or come forward
			if w.Scope == k.Scope && w.Prefix.Bits() > k.Prefix.Bits() && k.Prefix.Contains(w.Prefix.Addr()) {
				note(w)
			}
		}
	}
	if err := b.apply(ctx, touched); err != nil {
		b.mu.Lock()
		b.dirty = true
		b.mu.Unlock()
		return err
	}
	return nil
}

// edit is what one set gains and loses.
type edit struct {
	key      setKey
	had      int // entries, before
	add, del []string
}

// apply changes sets: true shall be in.
func (b *Backend) apply(ctx context.Context, touched map[setKey]map[netip.Prefix]bool) error {
	var edits []edit
	total := 0
	b.mu.Lock()
	for _, set := range b.sets {
		total += len(set)
	}
	for k, list := range touched {
		set := b.sets[k]
		e := edit{key: k, had: len(set)}
		for p, in := range list {
			switch {
			case in && !set[p]:
				e.add = append(e.add, entry(p))
				set[p] = true
			case !in && set[p]:
				e.del = append(e.del, entry(p))
				delete(set, p)
			}
		}
		edits = append(edits, e)
	}
	b.mu.Unlock()
	whole := rewrite(total, edits...)
	for _, e := range edits {
		if err := b.edit(ctx, e, whole); err != nil {
			return err
		}
	}
	return nil
}

// edit carries out what was decided of one set; b.sets is so already.
func (b *Backend) edit(ctx context.Context, e edit, whole bool) error {
	if len(e.add)+len(e.del) == 0 {
		return nil
	}
	if whole {
		all := []string{}
		b.mu.Lock()
		for p := range b.sets[e.key] {
			all = append(all, entry(p))
		}
		b.mu.Unlock()
		return b.put(ctx, e.key, "setEntries", all)
	}
	// Removals first: what is removed may cover what comes, or be covered by it.
	for _, s := range e.del {
		if err := b.put(ctx, e.key, "removeEntry", s); err != nil {
			return err
		}
	}
	for _, s := range e.add {
		if err := b.put(ctx, e.key, "addEntry", s); err != nil {
			return err
		}
	}
	return nil
}

// rewrite tells whether sets are to be written as a whole, for which firewalld empties them first, and not entry by entry, for
// which the last one waits for all others: whichever has fewer addresses come through for less time. total is how many entries
// all our sets hold.
func rewrite(total int, edits ...edit) bool {
	// What firewalld 2.3 takes on two cores; 1.3 takes a fifth more. It goes through all entries of all sets for each call, and
	// for each thousand entries that it is given.
	one := 2500*time.Microsecond + time.Duration(total)*3500*time.Nanosecond
	var add, del int
	var all, open time.Duration
	for _, e := range edits {
		n := e.had + len(e.add) - len(e.del)
		if len(e.add)+len(e.del) == 0 {
			continue
		}
		d := one*time.Duration(1+n/1000) + time.Duration(n)*35*time.Microsecond
		all += d
		open += time.Duration(e.had-len(e.del)) * d
		add, del = add+len(e.add), del+len(e.del)
	}
	if add+del <= few {
		return false
	}
	if each := time.Duration(add+del) * one; open == 0 || each > longest {
		return all < each
	}
	return time.Duration(add)*time.Duration(add)*one/2 > open+time.Duration(add)*all/2
}

// expire takes out what is over. firewalld's sets cannot do that.
func (b *Backend) expire(ctx context.Context) error {
	if !b.ready {
		return nil
	}
	var over []firewall.Key
	now := time.Now()
	b.mu.Lock()
	for k, until := range b.want {
		if !until.IsZero() && !until.After(now) {
			over = append(over, k)
		}
	}
	b.mu.Unlock()
	if len(over) == 0 {
		return nil
	}
	return b.Remove(ctx, over)
}

// Verify looks whether sets, policy and entries stand, unless Watch runs and has heard of nothing. What is over it takes
// out. After a reload, a panic mode, or a change of the default zone it asks for a Reconcile without a look.
func (b *Backend) Verify(ctx context.Context) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	if err := b.expire(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	b.reloaded = b.reloaded && len(b.want) > 0 // else there is nothing to put back
	look, reloaded, recheck := b.dirty || !b.watching, b.reloaded, b.recheck
	b.dirty = reloaded || recheck != ""
	b.mu.Unlock()
	switch {
	case reloaded:
		return errReloaded
	case recheck != "":
		return fmt.Errorf("firewalld: %s", recheck)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	harm, err := b.flushed(ctx)
	if err == nil && harm != "" {
		// It may be in the middle of a reload. It answers when that is over.
		if _, err = b.checkRuntime(ctx); err == nil {
			harm, err = b.flushed(ctx)
		}
	}
	switch {
	case err == nil && harm != "":
		b.checkReason = "table inet " + tableName + " " + harm
		err = errors.New("firewalld: " + b.checkReason)
	case err == nil && !look:
		return nil
	case err == nil:
		err = b.verify(ctx)
	}
	if err != nil {
		b.mu.Lock()
		b.dirty = true
		b.mu.Unlock()
	}
	return err
}

func (b *Backend) verify(ctx context.Context) error {
	why, err := b.checkRuntime(ctx)
	if err != nil {
		return err
	}
	if why != "" {
		return fmt.Errorf("firewalld: %s", why)
	}
	for _, k := range b.keys() {
		have, err := b.entries(ctx, k)
		if err != nil {
			return err
		}
		b.mu.Lock()
		set := b.sets[k]
		left := len(set)
		for s, p := range have {
			if !set[p] {
				err = fmt.Errorf("firewalld: set %s: %s is not ours", b.setName(k), s)
				break
			}
			left--
		}
		b.mu.Unlock()
		if err != nil {
			return err
		}
		if left > 0 {
			return fmt.Errorf("firewalld: set %s: %d of %d entries are gone", b.setName(k), left, len(have)+left)
		}
	}
	return nil
}

// List returns what firewalld holds, and what waits behind a wider ban; what is over it takes out before. When it ends is known of what this Backend was
// given; of the rest Until is zero.
func (b *Backend) List(ctx context.Context) ([]firewall.Ban, error) {
	if err := b.expire(ctx); err != nil {
		return nil, err
	}
	var names []string
	if err := b.bus.call(ctx, mainPath, ipsetIface+"getIPSets", []any{&names}); err != nil {
		return nil, err
	}
	b.mu.Lock()
	want := b.want
	b.mu.Unlock()
	var list []firewall.Ban
	seen := make(map[firewall.Key]bool)
	for _, k := range b.keys() {
		if !slices.Contains(names, b.setName(k)) {
			continue
		}
		have, err := b.entries(ctx, k)
		if err != nil {
			return nil, err
		}
		for _, p := range have {
			key := firewall.Key{Prefix: p, Scope: b.scopes[k.scope].Name}
			seen[key] = true
			list = append(list, firewall.Ban{Prefix: p, Scope: key.Scope, Until: want[key]})
		}
	}
	for key, until := range want {
		if !seen[key] && covered(want, key, lengths(want)) {
			list = append(list, firewall.Ban{Prefix: key.Prefix, Scope: key.Scope, Until: until})
		}
	}
	return list, nil
}

// Cleanup takes all of ours out of firewalld, the permanent configuration included, with one reload.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.ready = false
	b.mu.Lock()
	b.want, b.sets, b.dirty = nil, nil, true
	b.mu.Unlock()
	found, err := b.removeAll(ctx)
	if found {
		err = errors.Join(err, b.reload(ctx))
	}
	return err
}

// Empty takes all bans out and leaves sets and policy, for a daemon that stops: taking those away, too, would cost a reload
// at each stop.
func (b *Backend) Empty(ctx context.Context) error {
	_, err := b.Reconcile(ctx, nil)
	return err
}

// DropCounters returns nil: firewalld's rules do not count.
func (b *Backend) DropCounters(context.Context) ([]firewall.DropCounter, error) { return nil, nil }

var _ firewall.Backend = (*Backend)(nil)
