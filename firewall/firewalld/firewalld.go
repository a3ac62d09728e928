// Package firewalld bans through firewalld, using only D-Bus. Bans are entries of firewalld's own ipsets, which firewall-cmd shows; a
// policy object of ours (ANY to HOST, before the zones) drops or rejects their packets. It runs no program, needs no capability, and uses
// no direct rules. Start reading at Backend; sets.go spreads bans over sets, edit.go changes entries, setup.go creates sets and policy,
// watch.go listens for changes by others.
//
// What firewalld cannot do shapes this package. Its sets with timeouts can be neither listed nor emptied, so ours have none, and the
// backend removes bans that are over (Verify). An entry takes longer to add the more the set holds (3.5 ms when empty, 78 ms at 10,000, 536
// ms at 50,000), so bans are spread over several sets by a hash. A set refuses a prefix that lies in another one, so a ban within a wider
// ban is added only when the wider one ends. No call creates a set at run time, so sets go into the permanent configuration, with a reload
// if any was missing. Each reload loses the entries: Watch notices it, and Reconcile puts them back.
package firewalld

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/sets"
)

// Options of a Backend.
type Options struct {
	Scopes []firewall.Scope
	Block  string // "drop", the default, or "reject"

	// Method is how the sets take effect: "policy", the default: by a policy object; "zone": as sources of the zone drop;
	// "rich": by rich rules in Zones.
	Method string
	Zones  []string
}

// slack is how much Until may differ before a ban counts as refreshed.
const slack = 5 * time.Second

// Backend is a firewall.Backend with firewalld. If sets are missing, it makes firewalld reload. Like every reload, this drops changes that
// administrators have made only at run time.
type Backend struct {
	scopes []firewall.Scope
	block  string
	method string
	zones  []string
	bus    bus
	ready  bool                       // reconciled since New or Cleanup
	want   map[firewall.Key]time.Time // the bans, with Until, including those that a wider ban covers

	checkReason string // problem found by Inspect or in the kernel, which firewalld itself may not see
	unloaded    bool   // something was removed from the permanent configuration, and no reload has succeeded since
	backendType string // firewalld's own backend: nftables, iptables or unknown; "" when not asked yet
	gen         uint32 // generation of nftables at which the kernel still had firewalld's rules; 0: not read

	mu       sync.Mutex                       // of what Watch uses as well
	sets     map[setKey]map[netip.Prefix]bool // the entries of firewalld's sets, as far as we know
	dirty    bool                             // somebody may have changed something
	watching bool                             // Watch receives signals; while it does not, everything may have changed
	reloaded bool                             // firewalld was reloaded or started: its sets are empty
	recheck  string                           // another event that requires a Reconcile; "" for none
	ownLoads int                              // number of our own reloads whose signal has not arrived yet
}

var errReloaded = errors.New("firewalld: reloaded or started, its sets are empty")

// New checks the options. It changes nothing; Reconcile does.
func New(o Options) (*Backend, error) {
	o.Block, o.Method = cmp.Or(o.Block, "drop"), cmp.Or(o.Method, "policy")
	switch {
	case o.Method != "policy" && o.Method != "zone" && o.Method != "rich":
		return nil, fmt.Errorf("firewalld: method %q is not one of policy, zone, rich", o.Method)
	case o.Method == "rich" && len(o.Zones) == 0:
		return nil, errors.New("firewalld: method rich needs zones for its rich rules")
	case o.Method == "zone" && o.Block != "drop":
		return nil, errors.New("firewalld: the zone drop cannot reject; write block: drop, or method: policy")
	case o.Method == "zone" && slices.ContainsFunc(o.Scopes, func(s firewall.Scope) bool { return len(s.Ports) > 0 }):
		return nil, errors.New("firewalld: the zone drop blocks all ports; remove the ports from the jails, or write method: policy")
	}
	if err := firewall.CheckOptions(o.Scopes, o.Block); err != nil {
		return nil, fmt.Errorf("firewalld: %w", err)
	}
	return &Backend{scopes: o.Scopes, block: o.Block, method: o.Method, zones: o.Zones}, nil
}

// Name is "firewalld".
func (b *Backend) Name() string { return "firewalld" }

// Close closes the connection to the bus. Sets and bans stay.
func (b *Backend) Close() error {
	b.bus.close()
	return nil
}

// Reconcile creates sets and policy, permanent and at run time, and then makes the sets hold what they should.
func (b *Backend) Reconcile(ctx context.Context, bans []firewall.Ban) (ch firewall.Change, err error) {
	now := time.Now()
	want := make(map[firewall.Key]time.Time, len(bans))
	for _, w := range bans {
		if _, err := b.setOf(w.Key()); err != nil {
			return ch, err
		}
		if !w.Over(now) {
			want[w.Key()] = w.Until
		}
	}
	// Changes by others from here on are noticed, either below or by the next Verify.
	b.mu.Lock()
	b.dirty = false
	reloaded := b.reloaded && b.ready
	b.reloaded, b.recheck = false, ""
	b.mu.Unlock()
	if reloaded {
		ch.Added = b.refill(ctx, want)
	}
	late, err := b.ensure(ctx, &ch)
	if err != nil {
		return ch, b.failed(err)
	}
	if err := b.fillAll(ctx, want, &ch); err != nil {
		return ch, b.failed(err)
	}
	if b.ready {
		refreshed := sets.Compare(want, b.want, func(have, want time.Time) bool {
			return have.IsZero() != want.IsZero() || have.Sub(want).Abs() > slack
		})
		ch.Refreshed = len(refreshed.WrongTimeout)
	}
	b.want, b.ready = want, true
	if late != nil {
		return ch, b.failed(late)
	}
	return ch, nil
}

// failed notes that the sets may not hold what they should.
func (b *Backend) failed(err error) error {
	b.mu.Lock()
	b.dirty = true
	b.mu.Unlock()
	return err
}

// ensure repairs the sets and the rules that refer to them. It reloads firewalld if something was missing, or was removed. late is the error
// of a reload without which everything of ours is in effect, but also what was removed.
func (b *Backend) ensure(ctx context.Context, ch *firewall.Change) (late, err error) {
	why, err := b.checkRuntime(ctx)
	if err != nil {
		return nil, err
	}
	why = cmp.Or(why, b.checkReason)
	if why == "" && b.ready && !b.unloaded {
		return nil, nil
	}
	changed, err := b.ensurePermanent(ctx)
	if err != nil {
		return nil, err
	}
	if why != "" || len(changed) > 0 || b.unloaded {
		if err := b.reloadAndCheck(ctx); err != nil {
			if why == "" && b.unloaded {
				return err, nil
			}
			return nil, err
		}
	}
	switch {
	case !b.ready && why != "" && len(changed) > 0:
		ch.Initial = true
	case why != "":
		ch.Repaired = append(changed, why)
	default:
		ch.Repaired = changed
	}
	return nil, nil
}

// reloadAndCheck reloads firewalld, after which our sets and rules must exist.
func (b *Backend) reloadAndCheck(ctx context.Context) error {
	err := b.reload(ctx)
	if b.checkReason != "" && is(err, "COMMAND_FAILED") { // firewalld 1.3 fails once if somebody deleted its table
		err = b.reload(ctx)
	}
	if err != nil {
		return err
	}
	b.checkReason = ""
	missing, err := b.checkRuntime(ctx)
	if err == nil && missing == "" {
		if missing, err = b.flushed(ctx); missing != "" {
			missing = "table inet " + tableName + " " + missing
			b.backendType = "unknown" // this firewalld uses another table: reloading does not help
		}
	}
	if err == nil && missing != "" {
		err = fmt.Errorf("firewalld: after a reload: %s", missing)
	}
	return err
}

// reload makes firewalld load its permanent configuration. That empties our sets; the caller must fill them. The signal that firewalld
// sends must not count as somebody else's reload.
func (b *Backend) reload(ctx context.Context) error {
	b.mu.Lock()
	if b.watching {
		b.ownLoads++
	}
	b.mu.Unlock()
	err := b.bus.call(ctx, mainPath, busName+".reload", nil)
	if err != nil { // no signal will come; if one does, everything is checked again
		b.mu.Lock()
		b.ownLoads = max(0, b.ownLoads-1)
		b.mu.Unlock()
		return err
	}
	b.unloaded = false
	return nil
}

// Add adds bans.
func (b *Backend) Add(ctx context.Context, bans []firewall.Ban) error {
	now := time.Now()
	live, over := make(map[firewall.Key]time.Time), make(map[firewall.Key]time.Time)
	for _, w := range bans { // if two bans have the same key, the last one counts
		to, from := live, over
		if w.Over(now) {
			to, from = over, live
		}
		to[w.Key()] = w.Until
		delete(from, w.Key())
	}
	return b.change(ctx, live, over)
}

// Remove removes bans.
func (b *Backend) Remove(ctx context.Context, keys []firewall.Key) error {
	remove := make(map[firewall.Key]time.Time, len(keys))
	for _, k := range keys {
		remove[k] = time.Time{}
	}
	return b.change(ctx, nil, remove)
}

// change updates the wanted bans, and the entries of sets accordingly.
func (b *Backend) change(ctx context.Context, add, remove map[firewall.Key]time.Time) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	keys := slices.AppendSeq(slices.Collect(maps.Keys(add)), maps.Keys(remove))
	for _, k := range keys {
		if _, err := b.setOf(k); err != nil {
			return err
		}
	}
	maps.Copy(b.want, add)
	for k := range remove {
		delete(b.want, k)
	}
	if err := b.apply(ctx, keys); err != nil {
		return b.failed(err)
	}
	return nil
}

// expire removes bans that are over, since firewalld's sets cannot.
func (b *Backend) expire(ctx context.Context) error {
	if !b.ready {
		return nil
	}
	now := time.Now()
	var over []firewall.Key
	for k, until := range b.want {
		if (firewall.Ban{Until: until}).Over(now) {
			over = append(over, k)
		}
	}
	if len(over) == 0 {
		return nil
	}
	return b.Remove(ctx, over)
}

// Verify checks sets, policy and entries, unless Watch runs and has noticed nothing. It removes bans that are over. After a reload, the end
// of panic mode, or a change of the default zone, it returns an error without checking, so that the caller reconciles.
func (b *Backend) Verify(ctx context.Context) error {
	if !b.ready {
		return firewall.ErrNotReady
	}
	if err := b.expire(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	b.reloaded = b.reloaded && len(b.want) > 0 // otherwise there is nothing to put back
	check, reloaded, recheck := b.dirty || !b.watching, b.reloaded, b.recheck
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
	problem, err := b.flushed(ctx)
	if err == nil && problem != "" {
		// firewalld may be reloading. It answers when that is over.
		if _, err = b.checkRuntime(ctx); err == nil {
			problem, err = b.flushed(ctx)
		}
	}
	switch {
	case err == nil && problem != "":
		b.checkReason = "table inet " + tableName + " " + problem
		err = errors.New("firewalld: " + b.checkReason)
	case err == nil && check:
		err = b.verify(ctx)
	}
	if err != nil {
		return b.failed(err)
	}
	return nil
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
		diff := sets.Compare(b.sets[k], have, noTimeout)
		b.mu.Unlock()
		if len(diff.Unexpected) > 0 {
			return fmt.Errorf("firewalld: set %s: %s was not added by bailiff", b.setName(k), have[diff.Unexpected[0]])
		}
		if n := len(diff.Missing); n > 0 {
			return fmt.Errorf("firewalld: set %s: %d of %d entries are gone", b.setName(k), n, len(have)+n)
		}
	}
	return nil
}

// List returns the bans that firewalld holds, and those that a wider ban covers. It first removes bans that are over. Until is known for
// bans that this Backend has added; it is zero for others.
func (b *Backend) List(ctx context.Context) ([]firewall.Ban, error) {
	if err := b.expire(ctx); err != nil {
		return nil, err
	}
	names, err := b.names(ctx, mainPath, ipsetIface+"getIPSets")
	if err != nil {
		return nil, err
	}
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
		for p := range have {
			key := firewall.Key{Prefix: p, Scope: b.scopes[k.scope].Name}
			seen[key] = true
			list = append(list, firewall.Ban{Prefix: p, Scope: key.Scope, Until: b.want[key]})
		}
	}
	lengths := lengthsOf(b.want)
	for key, until := range b.want {
		if !seen[key] && covered(b.want, key, lengths) {
			list = append(list, firewall.Ban{Prefix: key.Prefix, Scope: key.Scope, Until: until})
		}
	}
	return list, nil
}

// DropCounters returns nil: firewalld's rules do not count.
func (b *Backend) DropCounters(context.Context) ([]firewall.DropCounter, error) { return nil, nil }

// Cleanup removes everything of ours from firewalld, the permanent configuration included, with one reload.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.ready, b.want = false, nil
	b.mu.Lock()
	b.sets, b.dirty = nil, true
	b.mu.Unlock()
	found, err := b.removeAll(ctx)
	if err == nil && !found { // unless an earlier reload has failed, nothing of ours is left at run time either
		var names []string
		names, err = b.names(ctx, mainPath, ipsetIface+"getIPSets")
		found = slices.ContainsFunc(names, ourName)
	}
	if found {
		err = errors.Join(err, b.reload(ctx))
	}
	return held(ctx, err)
}

// Empty removes all bans but keeps sets and policy: removing these, too, would cost a reload each time the daemon stops.
func (b *Backend) Empty(ctx context.Context) error {
	_, err := b.Reconcile(ctx, nil)
	return err
}

var _ firewall.Backend = (*Backend)(nil)
