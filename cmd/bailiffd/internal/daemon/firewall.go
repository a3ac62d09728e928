package daemon

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bailiff/firewall"
	"bailiff/journal/audit"
	"bailiff/policy/config"
	"bailiff/policy/state"
	"bailiff/units/control"
)

const (
	// tick is how often the owner looks at the time when nothing else happens: for bans that have ended, the watchdog, the
	// firewall and the state file. It bounds how long a flushed set lasts where the kernel does not report it.
	tick = 5 * time.Second

	// refreshTime is how often the complete set of bans is applied although nothing seems wrong. The kernel's timeouts end after
	// 24 days at most, so longer bans have to be refreshed before.
	refreshTime = 24 * time.Hour
)

// firewallControl is the owner's side of the firewall: it chooses the backend, tells the worker what to hold, and keeps what the
// worker reported. It belongs to the owner's goroutine.
type firewallControl struct {
	worker *firewallWorker
	events chan firewallEvent
	closer *connCloser

	conf      config.Firewall
	override  string // backend that the command line asks for
	host      hostFacts
	presence  chan bool          // whether firewalld runs, sent at each change
	stopWatch context.CancelFunc // ends the Watch of the present backend
	backend   firewall.Backend   // the last that was chosen; its counters may be read at any time
	chosen    string             // the backend that should be in use, and why; status has the one that is
	why       string
	scopes    scopes
	carried   []firewall.Ban // prefixes of block lists, where the backend has to hold them
	newRules  bool           // a reload asked for other rules and sets: changes by the next reconcile are no repairs
	starting  bool           // the first reconcile is still to come
	announced bool           // the audit trail says that bans are not in effect
	refreshed time.Time
	status    control.FirewallStatus

	inspecting chan struct{} // holds one while the firewall is inspected

	bans     *state.State
	others   *otherHosts
	clock    *clockGuard
	memory   *memory
	aud      *audit.Writer
	problems *problemLog
	helper   func() error // why the netlink helper does not answer; nil if it does or is not needed
}

// open chooses and makes the backend for the start.
func (f *firewallControl) open(c *config.Config, bans *state.State) (be firewall.Backend, err error) {
	f.conf, f.bans, f.scopes = c.Firewall, bans, newScopes(c, bans, f.host.confined)
	if be, f.why, err = f.host.open(f.conf, f.override, f.scopes); err != nil {
		return nil, err
	}
	f.chosen = be.Name()
	f.status = control.FirewallStatus{Backend: f.chosen, Why: f.why}
	return be, nil
}

// trial reports whether this is a trial run beside a daemon whose rules must stay as they are.
func (f *firewallControl) trial() bool { return f.override == "dryrun" }

// reconcile makes the firewall hold exactly the bans of the state.
func (f *firewallControl) reconcile() { f.worker.reconcile(f.wanted()) }

// tick looks at the firewall, and refreshes it when it is time.
func (f *firewallControl) tick(now time.Time) {
	if now.Sub(f.refreshed) > refreshTime {
		f.refreshed = now
		f.reconcile()
		return
	}
	f.worker.check()
}

// elements are what the firewall should hold for a ban: one element for each scope.
func (f *firewallControl) elements(b *state.Ban) (l []firewall.Ban) {
	for _, scope := range f.scopes.of(b.Scope) {
		if e, ok := f.element(firewall.Key{Prefix: b.Prefix, Scope: scope}); ok {
			l = append(l, e)
		}
	}
	return l
}

// additions appends to adds what the firewall should hold for a ban. entry is the time of the journal entry that led to the ban, µs since
// 1970; 0: its latency, until the last element is in place, is not measured.
func (f *firewallControl) additions(adds []change, b *state.Ban, entry int64) []change {
	l := f.elements(b)
	for i := range l {
		c := change{ban: l[i]}
		if i == len(l)-1 {
			c.entry = entry
		}
		adds = append(adds, c)
	}
	return adds
}

// element is what the firewall should hold for a prefix in a scope: the longest of the bans that share it. ok is false if no ban
// asks for it any more.
func (f *firewallControl) element(k firewall.Key) (e firewall.Ban, ok bool) {
	e = firewall.Ban{Prefix: k.Prefix, Scope: k.Scope}
	for b := range f.bans.Of(k.Prefix) {
		if slices.Contains(f.scopes.of(b.Scope), k.Scope) {
			until := f.clock.end(timeOf(b.Until))
			if !ok || longer(until, e.Until) {
				e.Until = until
			}
			ok = true
		}
	}
	return e, ok
}

// longer reports whether a ban until a outlasts one until b. The zero time means forever.
func longer(a, b time.Time) bool { return !b.IsZero() && (a.IsZero() || a.After(b)) }

// wanted is everything that the firewall should hold.
func (f *firewallControl) wanted() []firewall.Ban {
	f.memory.noteAlloc()
	want := make([]firewall.Ban, 0, f.bans.Len())
	first := 0                    // of the elements with the same prefix
	for b := range f.bans.All() { // sorted by prefix
		if first < len(want) && want[first].Prefix != b.Prefix {
			first = len(want)
		}
		for _, scope := range f.scopes.of(b.Scope) {
			e := firewall.Ban{Prefix: b.Prefix, Scope: scope, Until: f.clock.end(timeOf(b.Until))}
			i := slices.IndexFunc(want[first:], func(w firewall.Ban) bool { return w.Scope == scope })
			switch {
			case i < 0:
				want = append(want, e)
			case longer(e.Until, want[first+i].Until):
				want[first+i].Until = e.Until
			}
		}
	}
	for c := range f.others.bans.Effects(f.clock.over(time.Now()).UnixMicro()) {
		if c.Banned {
			want = append(want, f.fleetBan(c))
		}
	}
	return append(want, f.carriedNow()...)
}

// release removes from the firewall a ban that has left the state. Elements of other bans stay, until those end.
func (f *firewallControl) release(b *state.Ban) {
	var changes []change
	for _, scope := range f.scopes.of(b.Scope) {
		e, ok := f.element(firewall.Key{Prefix: b.Prefix, Scope: scope})
		changes = append(changes, change{remove: !ok, ban: e})
	}
	f.worker.put(changes)
}

// configure applies a loaded configuration. be is the new backend from open; nil: the present one serves it.
func (f *firewallControl) configure(c config.Firewall, be firewall.Backend, why string, s scopes) {
	f.conf = c
	f.closer.enable(c.Close)
	if be != nil {
		f.scopes = s
		f.use(be, why, false)
	}
}

// chooseAgain switches to another backend if the facts that auto goes by have changed.
func (f *firewallControl) chooseAgain() bool {
	name, _ := f.host.choose(f.conf, f.override)
	if name == f.chosen {
		return false
	}
	be, why, err := f.host.open(f.conf, f.override, f.scopes)
	if err != nil {
		f.aud.Event(audit.KindFirewallError, err.Error(), audit.Field{Name: audit.FieldBackend, Value: f.status.Backend})
		return false
	}
	// If firewalld has stopped, its rules are gone. When it returns, it should find its configuration unchanged.
	f.use(be, why, f.chosen == "firewalld" && !f.host.fwd)
	f.reconcile()
	return true
}

// use switches to a backend; a reconcile has to follow. keep leaves the rules of the present one alone.
func (f *firewallControl) use(be firewall.Backend, why string, keep bool) {
	f.worker.switchBackend(be, keep)
	f.chosen, f.why, f.newRules = be.Name(), why, true
	f.watch(be)
}

// watch lets a backend report at once when somebody else changes our rules.
func (f *firewallControl) watch(be firewall.Backend) {
	f.unwatch()
	f.problems.end("firewall watch")
	f.backend = be
	var ctx context.Context
	ctx, f.stopWatch = context.WithCancel(context.Background())
	go func() {
		if err := be.Watch(ctx, f.worker.changed); err != nil && ctx.Err() == nil {
			f.events <- firewallEvent{source: "firewall watch", notice: fmt.Errorf("changes that others make to our rules are noticed every %s only: %w", tick, err)}
		}
	}()
}

func (f *firewallControl) unwatch() {
	if f.stopWatch != nil {
		f.stopWatch()
		f.stopWatch = nil
	}
}
