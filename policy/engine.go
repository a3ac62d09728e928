// Package policy decides who is banned. Entries, addresses and time come in as values; decisions go out as values: it
// reads no clock, no file and no socket, starts no goroutine and holds no lock, so the daemon and a replay of last
// week's journal decide the same.
//
// Start reading at Engine.Entry in entry.go, which takes a line through five steps: entry.go matches it and attributes it to an
// attempt, judge.go weighs the attempt, has the detectors count it, and decides. counted.go has what is counted over all jails, and
// saves it; success.go takes back what a login disproves, engine.go configures and keeps time, query.go answers questions. What a
// line means is known to filter/; jail/ counts; state/ holds bans in force and the history that escalation needs; allow/ has the
// addresses that are never banned, and config/ the settings.
package policy

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/allow"
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

	rereading  bool        // entries are read again, see Reread
	restored   bool        // what is counted came with the state file
	setAside   connections // that came with it, while entries are read again
	restoreErr error

	hit   filter.Hit
	lines []attempt // reused, as found and out are
	found []attempt
	out   Outcome

	Allowed uint64 // failures that did not count because their address is allowed
	Doubled uint64 // that weighed double
}

// connTime is how long the lines of one connection may be apart; see jail.Connections.
const connTime = 5 * time.Minute

// New makes an engine over a state, which it then owns. Its hashes are keyed at random: nobody outside can choose names that
// are taken for one another.
func New(c *config.Config, st *state.State) (*Engine, error) {
	return NewSeeded(c, st, maphash.String(maphash.MakeSeed(), ""))
}

// NewSeeded is New with hashes of a known key: the same entries always lead to the same decisions.
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

// RestoreError says why what was counted before could not be restored from the state file; nil when it could, or there was
// nothing.
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

// number gives a jail's name the number that counts are kept under.
func (g *Engine) number(name string) uint16 {
	i := slices.Index(g.names, name)
	if i < 0 {
		i = len(g.names)
		g.names = append(g.names, name)
	}
	return uint16(i)
}

// ClockSet says that the clock was set between the entries judged so far and those to come: forward by this many microseconds, or
// back if it is negative. What is counted stays as long ago as it was, so a step of the clock neither ends nor reopens a window.
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

// SetAllow takes a new allow list and lifts the bans that it forbids: those of an allowed address, and those of a
// prefix that holds one.
func (g *Engine) SetAllow(l *allow.List, now int64) (lifted []state.Ban) {
	g.allow = l
	forbidden := func(b *state.Ban) bool { return l.Overlaps(b.Prefix, now) }
	g.observed.RemoveFunc(forbidden)
	return g.state.RemoveFunc(forbidden)
}

// Double is a list of addresses whose failures count double towards max_retry of some jails.
type Double struct {
	Jails []string // none: all
	Set   *prefix.Set
}

// SetDouble takes the lists of addresses whose failures count double from now on.
func (g *Engine) SetDouble(l []Double) { g.double = l }

// TakeOrphans takes out the bans of jails that are not enabled any more, or only observe now, and returns them. Bans by hand
// and those recovered from elsewhere stay.
func (g *Engine) TakeOrphans(known func(jail string) bool) []state.Ban {
	g.observed.RemoveFunc(func(b *state.Ban) bool { j := g.byName[b.Jail]; return j == nil || !j.conf.Observe })
	return g.state.RemoveFunc(func(b *state.Ban) bool {
		j := g.byName[b.Jail]
		return b.By == "" && !known(b.Jail) && (j == nil || j.conf.Observe)
	})
}

// Reread switches rereading on or off: the entries to come have been judged before, and are only read again to find out in which
// entry each failure stands. If the state file came without counts, they also fill the windows and the connections that go on.
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

// Expire takes out bans that are over at now, for the firewall and the audit trail, and gives memory back. read is up to when
// the journal has been read: while reading is behind, what is over by the clock still counts for the entries to come.
// 0: that is not known yet.
func (g *Engine) Expire(now, read int64) []state.Ban {
	if read != 0 {
		read = g.pending.Oldest(read) // it is judged by what was in force then
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

// ExpireBan takes out a ban that was over by the clock when it was decided: it was missed while nobody read the journal.
func (g *Engine) ExpireBan(b state.Ban) {
	if g.state.Remove(b.Prefix, b.Jail) {
		g.expiredUnread.Add(b)
	}
}

// Pardon forgets what all jails have against a prefix, and takes care that it stays forgotten when the journal is
// read again after a restart.
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
