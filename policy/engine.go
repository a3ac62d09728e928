// Package policy decides who is banned. Entries, addresses and time come in as values; decisions go out as values: it reads no clock, no
// file and no socket, starts no goroutine and holds no lock. So the daemon and a replay of last week's journal make the same decisions.
//
// Start reading at Engine.Entry in entry.go, which takes a line through five steps: entry.go matches it and attributes it to an attempt;
// judge.go weighs the attempt, passes it to the detectors, and decides. services.go is the detector for several services. counted.go holds
// and saves what is counted over all jails, success.go takes back failures that a login disproves, engine.go configures the engine and
// expires its state, and query.go answers questions. filter/ determines what a line means, jail/ counts, state/ holds bans in force and the
// history that escalation needs, allow/ holds the addresses that are never banned, and config/ the settings.
package policy

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/prefix"
	"bailiff/policy/state"
)

// Engine holds the policy's whole state. One goroutine uses it.
type Engine struct {
	state       *state.State // bans in force, history, pardons
	allow       *allow.List
	double      []Double
	escalate    config.Escalate
	maxEvidence int           // failures kept of one ban
	window      time.Duration // see Window

	jails  []*runningJail // sorted by name
	byName map[string]*runningJail
	listenerIndex

	budget       *jail.Budget
	accountsConf config.Accounts
	networksConf config.Networks
	counted

	rereading  bool        // entries are being reread, see Reread
	restored   bool        // the counts were restored from the state file
	setAside   connections // the restored ones, while entries are reread
	restoreErr error

	hit   filter.Hit
	lines []attempt // reused, as found and out are
	found []attempt
	out   Outcome

	Allowed uint64 // failures that did not count because their address is allowed
	Doubled uint64 // that weighed double
}

// connTime is how long the lines of one connection may be apart: twice keepConn of jail.Connections.
const connTime = 400 * time.Second

// New returns an engine over a state, which it then owns. Its hashes have a random key, so attackers cannot choose names with equal hashes.
func New(c *config.Config, st *state.State) (*Engine, error) {
	return NewSeeded(c, st, maphash.String(maphash.MakeSeed(), ""))
}

// NewSeeded is New with a given hash key: the same entries always lead to the same decisions.
func NewSeeded(c *config.Config, st *state.State, seed uint64) (*Engine, error) {
	g := &Engine{state: st, allow: &allow.List{}, budget: jail.NewBudget(c.Limits.MaxTracked), counted: newCounted(c, seed)}
	saved := st.TakeCounts()
	if err := g.Configure(c); err != nil {
		return nil, err
	}
	if len(saved) > 0 {
		g.restoreErr = g.restore(saved, c)
	}
	return g, nil
}

// RestoreError returns why the counts in the state file could not be restored; nil if they were, or if there were none.
func (g *Engine) RestoreError() error { return g.restoreErr }

// Configure takes a new configuration. Jails that stay keep what they have counted. On an error nothing changes. Bans of
// jails that are gone stay until TakeOrphans.
func (g *Engine) Configure(c *config.Config) error {
	var jails []*runningJail
	byName := make(map[string]*runningJail)
	for _, conf := range c.Jails {
		if !conf.Enabled {
			continue
		}
		m, err := conf.Filter.Mode(conf.Mode)
		if err != nil {
			return err
		}
		j := &runningJail{conf: conf, matcher: m, scope: config.ScopeText(conf.Ports)}
		if old := g.byName[conf.Name]; old != nil {
			j.counter, j.number, j.failures, j.last, j.refused, j.unmatched, j.written = old.counter, old.number, old.failures, old.last, old.refused, old.unmatched, old.written
		} else {
			j.number = g.number(conf.Name)
		}
		jails = append(jails, j)
		byName[conf.Name] = j
	}
	slices.SortFunc(jails, func(a, b *runningJail) int { return cmp.Compare(a.conf.Name, b.conf.Name) })
	g.budget.SetLimit(c.Limits.MaxTracked)
	for name, old := range g.byName {
		if byName[name] == nil {
			old.counter.Close()
		}
	}
	for _, j := range jails {
		if o := g.counterOptions(&j.conf); j.counter == nil {
			j.counter = jail.NewCounter(o)
		} else {
			j.counter.Configure(o)
		}
	}
	g.counted.configure(c)
	g.accountsConf, g.networksConf = c.Accounts, c.Networks
	g.jails, g.byName, g.escalate, g.maxEvidence = jails, byName, c.Escalate, c.Limits.MaxEvidence
	g.listenerIndex = newListenerIndex(jails)
	g.window = connTime
	for _, j := range jails {
		g.window = max(g.window, j.conf.FindTime)
	}
	return nil
}

func (g *Engine) counterOptions(c *config.Jail) jail.Options {
	return jail.Options{
		FindTime: c.FindTime, MaxRetry: c.MaxRetry, SlowTime: c.Slow.FindTime, SlowRetry: c.Slow.MaxRetry,
		Prefix4: c.Prefix4, Prefix6: c.Prefix6, Budget: g.budget, Seed: g.seed,
		Interactive: c.Filter.Interactive, NoLogins: c.Filter.ParallelLogins && !c.Filter.HasSuccess(),
	}
}

// number returns the number that stands for a jail's name in counts; a new name gets the next one.
func (g *Engine) number(name string) uint16 {
	i := slices.Index(g.names, name)
	if i < 0 {
		i = len(g.names)
		g.names = append(g.names, name)
	}
	return uint16(i)
}

// ClockSet says that the clock was set between the entries judged so far and those to come: forward by this many microseconds, or back if
// it is negative. Everything counted stays as long ago as it was, so a clock step neither ends nor reopens a window.
func (g *Engine) ClockSet(by int64) {
	if by == 0 || g.rereading && g.restored {
		return // the counts come from the state file, with the times of the clock then
	}
	for _, j := range g.jails {
		j.counter.Shift(by)
	}
	g.counted.shift(by)
	g.state.ShiftPardons(by)
}

// SetAllow sets a new allow list, and lifts and returns the bans that it forbids: those of allowed addresses, and of prefixes that contain
// one. Bans for which stays returns true are not lifted; nil: all are.
func (g *Engine) SetAllow(l *allow.List, now int64, stays func(*state.Ban) bool) (lifted []state.Ban) {
	g.allow = l
	forbidden := func(b *state.Ban) bool { return l.Overlaps(b.Prefix, now) && (stays == nil || !stays(b)) }
	g.observed.RemoveFunc(forbidden)
	return g.state.RemoveFunc(forbidden)
}

// Double is a list of addresses whose failures count double towards max_retry of some jails.
type Double struct {
	List blocklist.List // as configured when it was read
	Set  *prefix.Set
}

// SetDouble takes the lists of addresses whose failures count double from now on.
func (g *Engine) SetDouble(l []Double) { g.double = l }

// TakeOrphans removes and returns the bans of jails that are no longer enabled, or now only observe. Manual bans and those of jails that
// known accepts stay.
func (g *Engine) TakeOrphans(known func(jail string) bool) []state.Ban {
	g.observed.RemoveFunc(func(b *state.Ban) bool { j := g.byName[b.Jail]; return j == nil || !j.conf.Observe })
	return g.state.RemoveFunc(func(b *state.Ban) bool {
		j := g.byName[b.Jail]
		return b.By == "" && !known(b.Jail) && (j == nil || j.conf.Observe)
	})
}

// Reread switches rereading on or off. While it is on, the entries have been judged before and are read again only to find the entry of
// each failure. If the state file had no counts, they also fill the windows and the open connections.
func (g *Engine) Reread(on bool) {
	if on == g.rereading {
		return
	}
	if !g.restored {
		g.rereading = on
		return
	}
	if on {
		g.setAside, g.connections = g.connections, newConnections(g.seed)
		g.rereading = true
		return
	}
	again := g.connections
	g.connections, g.setAside = g.setAside, connections{}
	g.conns.RestoreRefs(again.conns)
	for _, p := range g.pending.RestoreRefs(again.pending) { // counted before: time had passed
		if j := g.byName[g.names[p.Jail]]; j != nil {
			g.judge(&attempt{p.Attempt, j, p.Addr, p.Conn})
		}
	}
	g.rereading = false
}

// Expire removes and returns the bans that are over at now, for the firewall and the audit trail, and releases memory. read is the time up
// to which the journal has been read; 0: not known yet. While reading is behind, bans that are over by the clock still count for the next
// entries. While entries are reread, restored counts do not expire: they are ahead of them.
func (g *Engine) Expire(now, read int64) []state.Ban {
	if read != 0 && !(g.rereading && g.restored) {
		read = g.pending.Oldest(read) // a pending attempt is judged by what was in force at its time
		for _, j := range g.jails {
			j.counter.Expire(read, 4096)
		}
		g.counted.expire(read)
	}
	over := g.state.Expire(now, read)
	for _, b := range over {
		if b.Until > read {
			g.expiredUnread.Add(b)
		}
	}
	return over
}

// ExpireBan removes a ban that was already over when it was decided, because its entries were read late.
func (g *Engine) ExpireBan(b state.Ban) {
	if g.state.Remove(b.Prefix, b.Jail) {
		g.expiredUnread.Add(b)
	}
}

// Pardon forgets what counts against a prefix in all jails, and records the pardon so that nothing of it counts again when the journal is
// reread after a restart.
func (g *Engine) Pardon(prefix netip.Prefix, now int64) {
	for _, j := range g.jails {
		j.counter.Forget(prefix)
	}
	g.counted.forget(prefix)
	if g.setAside.pending != nil {
		g.setAside.pending.Forget(prefix)
	}
	g.state.Pardon(prefix, now)
}
