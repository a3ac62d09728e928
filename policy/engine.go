// Package policy decides who is banned. Entries, addresses and time come in as values; decisions go out as values: it
// reads no clock, no file and no socket, starts no goroutine and holds no lock, so the daemon and a replay of last
// week's journal decide the same.
//
// Start reading at Engine.Entry, which leads through the files in this order: attribute.go says which attempt a line is
// part of, detect.go counts attempts in every window, decide.go bans. state.go saves and restores, query.go answers
// questions. What a line means stands in filter/, counting in jail/, bans in force and the history that escalation needs in
// ledger/, addresses that are never banned in allow/, settings in config/.
package policy

import (
	"hash/maphash"
	"net/netip"
	"sort"

	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// Engine holds the policy's whole state. One goroutine uses it.
type Engine struct {
	led    *state.State
	allow  *allow.List
	esc    config.Escalate
	lines  int // of evidence kept of one ban
	budget *jail.Budget
	jails  []*cell          // sorted by name
	byName map[string]*cell //
	names  []string         // of jails, by the number that accounts know them by
	byUnit,
	bySlice map[string][]*cell
	byNone      []*cell // cells that take entries without a unit
	byContainer []*cell // cells that take lines of containers

	attempts          // of connections that go on
	restored bool     // what is counted came with the ledger
	aside    attempts // those that came with it, while entries are read again
	accounts *jail.Accounts
	logins   *jail.Logins
	bursts   jail.Bursts
	attacked config.Accounts
	around   config.Networks
	nets     []*jail.Networks

	// observed holds what would be banned by jails that only observe.
	observed *state.State

	// lapsed holds bans that are over by the clock, but not yet at the moment up to which the journal has been read: what
	// the entries to come say is judged as it would have been then.
	lapsed *state.State

	seed    uint64 // of all hashes; it is saved with what they were made for
	hit     filter.Hit
	out     Outcome
	rebuild bool
	lost    error

	Allowed uint64 // failures passed over because their address is allowed
}

// attempts are what the lines of connections have told so far.
type attempts struct {
	conns   *jail.Connections
	pending *jail.Pending
}

func newAttempts(seed uint64) attempts {
	return attempts{jail.NewConnections(seed), jail.NewPending()}
}

// cell is a jail at work.
type cell struct {
	conf     config.Jail
	matcher  *filter.Matcher
	counter  *jail.Counter
	scope    string // of its bans, as state.Ban has it
	number   uint16 // in Engine.names
	failures uint64
	last     int64
	refused  Refused
}

// Failure is one attempt that counts against an address.
type Failure struct {
	Time     int64 // microseconds since 1970
	Jail     string
	Pattern  string
	Addr     netip.Addr
	Prefix   netip.Prefix // what is counted
	Port     uint16
	User     []byte // as logged, cut to jail.MaxName bytes: an attacker's text; borrowed from the entry
	Attempts int    // how many attempts it stands for: more than one for "message repeated N times"
	Count    int    // what the prefix has in its window now, each failure with its weight
	Excused  bool   // not counted: somebody logged in to that account from there lately, or another connection tried the same just before
	Ref      jail.Ref
}

// Ban is a decision: keep Prefix out.
type Ban struct {
	state.Ban
	Addr     netip.Addr // whose failure was the one too many
	Evidence []jail.Failure
	Wide     bool           // a neighbourhood of addresses, because many of them attacked at once
	Parts    []netip.Prefix // of a ban of neighbours: those that attacked, as far as they are known
	Extended bool           // a ban that was there stops more ports now: another jail saw the same attack
	Observed bool           // the jail only observes: nothing is blocked
}

// Addresses are those of Parts, but for Addr.
func (b *Ban) Addresses() (l []netip.Addr) {
	for _, p := range b.Parts {
		if a := p.Addr(); a != b.Addr {
			l = append(l, a)
		}
	}
	return l
}

// Windows in which failures count, as Counted names them.
const (
	WindowNormal  = "normal"  // find_time of a jail
	WindowSlow    = "slow"    // slow.find_time of a jail
	WindowAccount = "account" // accounts.find_time: on one account that many addresses attack
	WindowNetwork = "network" // networks.find_time: of a network
)

// Login is a login that went well, or a mail that was accepted (Delivery).
type Login struct {
	Time     int64
	Jail     string
	Addr     netip.Addr
	User     []byte // borrowed from the entry
	Delivery bool
}

// Outcome is what one entry, or the passing of time, led to. It is valid until the next call of Entry or Settle.
type Outcome struct {
	Hits     int // jails whose filter knew the line
	Failures []Failure
	Logins   []Login
	Bans     []Ban
}

// New makes an engine over a ledger, which it then owns. Its hashes are keyed at random: nobody outside can choose names that
// are taken for one another.
func New(c *config.Config, led *state.State) (*Engine, error) {
	return NewSeeded(c, led, maphash.String(maphash.MakeSeed(), ""))
}

// NewSeeded is New with hashes of a known key: the same entries always lead to the same decisions.
func NewSeeded(c *config.Config, led *state.State, seed uint64) (*Engine, error) {
	g := &Engine{
		led: led, lapsed: state.New(), observed: state.New(), allow: &allow.List{}, seed: seed,
		budget: jail.NewBudget(c.Limits.MaxTracked),
	}
	g.attempts = newAttempts(g.seed)
	saved := led.TakeCounts()
	if err := g.Configure(c); err != nil {
		return nil, err
	}
	if len(saved) > 0 {
		g.lost = g.restore(saved, c)
	}
	return g, nil
}

// Lost says why what was counted before could not be taken over with the ledger; nil when it could, or there was nothing.
func (g *Engine) Lost() error { return g.lost }

// Configure takes a new configuration. Jails that stay keep what they have counted. On an error nothing changes. Bans of
// jails that are gone stay until TakeOrphans.
func (g *Engine) Configure(c *config.Config) error {
	var cells []*cell
	byName := make(map[string]*cell)
	for _, jc := range c.Jails {
		if !jc.Enabled {
			continue
		}
		m, err := jc.Filter.Mode(jc.Mode)
		if err != nil {
			return err
		}
		n := &cell{conf: jc, matcher: m, scope: config.ScopeText(jc.Ports)}
		if old := g.byName[jc.Name]; old != nil {
			n.counter, n.number, n.failures, n.last, n.refused = old.counter, old.number, old.failures, old.last, old.refused
		} else {
			n.number = g.number(jc.Name)
		}
		cells = append(cells, n)
		byName[jc.Name] = n
	}
	sort.Slice(cells, func(i, j int) bool { return cells[i].conf.Name < cells[j].conf.Name })
	g.budget.SetLimit(c.Limits.MaxTracked)
	for name, old := range g.byName {
		if byName[name] == nil {
			old.counter.Close()
		}
	}
	for _, n := range cells {
		if o := g.counterOptions(&n.conf); n.counter == nil {
			n.counter = jail.NewCounter(o)
		} else {
			n.counter.Configure(o)
		}
	}
	g.configureDetectors(c)
	g.jails, g.byName, g.esc, g.lines = cells, byName, c.Escalate, c.Limits.MaxEvidence
	g.listen(cells)
	return nil
}

// Entry judges one journal entry. ref is kept as evidence when the entry counts.
func (g *Engine) Entry(e *filter.Entry, ref jail.Ref) *Outcome {
	g.out.reset()
	if g.pending.Due(e.Realtime) {
		g.settle(e.Realtime)
	}
	g.dispatch(e, ref)
	return &g.out
}

func (o *Outcome) reset() {
	o.Hits, o.Failures, o.Logins, o.Bans = 0, o.Failures[:0], o.Logins[:0], o.Bans[:0]
}

// SetAllow takes a new allow list and lifts the bans that it forbids: those of an allowed address, and those of a
// prefix that holds one.
func (g *Engine) SetAllow(l *allow.List, now int64) (lifted []state.Ban) {
	g.allow = l
	for _, led := range []*state.State{g.led, g.observed} {
		gone := led.RemoveFunc(func(b *state.Ban) bool { return l.Overlaps(b.Prefix, now) })
		if led == g.led {
			lifted = gone
		}
	}
	return lifted
}

// TakeOrphans takes out the bans of jails that are not enabled any more, or only observe now, and returns them. Bans by hand
// and those recovered from elsewhere stay.
func (g *Engine) TakeOrphans(known func(jail string) bool) []state.Ban {
	g.observed.RemoveFunc(func(b *state.Ban) bool { c := g.byName[b.Jail]; return c == nil || !c.conf.Observe })
	return g.led.RemoveFunc(func(b *state.Ban) bool {
		c := g.byName[b.Jail]
		return b.By == "" && !known(b.Jail) && (c == nil || c.conf.Observe)
	})
}

// Rebuild says whether entries are only read again so that it is known in which of them what counts stands: what they led to
// was counted and decided before. Where the ledger came without what was counted (it is an old one), the windows and the
// connections that go on are filled from them, too.
func (g *Engine) Rebuild(on bool) {
	if on == g.rebuild {
		return
	}
	if !g.restored {
		g.rebuild = on
		return
	}
	if on {
		g.aside, g.attempts = g.attempts, newAttempts(g.seed)
		g.rebuild = true
		return
	}
	again := g.attempts
	g.attempts, g.aside = g.aside, attempts{}
	g.conns.Recall(again.conns)
	for _, p := range g.pending.Recall(again.pending) { // counted before: time had passed
		if c := g.byName[g.names[p.Jail]]; c != nil {
			g.failure(c, p.Addr, &p.Attempt)
		}
	}
	g.rebuild = false
}

// Expire takes out bans that are over at now, for the firewall and the audit, and gives memory back. read is up to when
// the journal has been read: while reading is behind, what is over by the clock still counts for the entries to come.
// 0: that is not known yet.
func (g *Engine) Expire(now, read int64) []state.Ban {
	if read != 0 {
		read = g.pending.Oldest(read) // it is judged by what was in force then
		for _, c := range g.jails {
			c.counter.Expire(read, 4096)
		}
		g.conns.Expire(read)
		for _, n := range g.nets {
			n.Expire(read, 1024)
		}
		g.accounts.Expire(read, 256)
		g.lapsed.Expire(read, read)
		g.observed.Expire(read, read)
	}
	over := g.led.Expire(now, read)
	for _, b := range over {
		if b.Until > read {
			g.lapsed.Add(b)
		}
	}
	return over
}

// Lapse takes out a ban that was over by the clock when it was decided: it was missed while nobody read the journal.
func (g *Engine) Lapse(b state.Ban) {
	if g.led.Remove(b.Prefix, b.Jail) {
		g.lapsed.Add(b)
	}
}

// Pardon forgets what all jails have against a prefix, and takes care that it stays forgotten when the journal is
// read again after a restart.
func (g *Engine) Pardon(prefix netip.Prefix, now int64) {
	for _, c := range g.jails {
		c.counter.Forget(prefix)
	}
	for _, n := range g.nets {
		if n.Holds(prefix.Addr()) {
			n.ForgetAll(prefix)
		}
	}
	g.pending.Forget(prefix)
	if g.aside.pending != nil {
		g.aside.pending.Forget(prefix)
	}
	g.observed.RemoveFunc(func(b *state.Ban) bool { return b.Prefix.Overlaps(prefix) })
	g.led.Pardon(prefix, now)
}
