package policy

import (
	"net/netip"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/prefix"
	"bailiff/policy/state"
)

// Allow returns the allow list in force.
func (g *Engine) Allow() *allow.List { return g.allow }

// State returns the bans in force.
func (g *Engine) State() *state.State { return g.state }

// Observed returns what jails that only observe would have banned.
func (g *Engine) Observed() *state.State { return g.observed }

// Scope is the scope of a jail's bans, as state.Ban has it: "" is all traffic.
func (g *Engine) Scope(name string) string {
	if j := g.byName[name]; j != nil {
		return j.scope
	}
	return ""
}

// Good reports whether this host has reason to trust a prefix (as returned by fleet.SummaryPrefix): it is allowed, somebody logged in from
// it lately, or an operator has just pardoned it.
func (g *Engine) Good(k prefix.Key, at int64) bool {
	return g.logins.Within(k.Hash(g.seed^anyAccount), at, g.accountsConf.TrustLoginsFor) || g.state.Pardoned(k.Addr(), at, g.window.Microseconds()) || g.allow.Overlaps(k.Prefix(), at)
}

// Window returns how far back the journal must be read at start: the longest find_time of any jail, but at least what is needed to
// recognize open connections. Longer windows are saved in the state file.
func (g *Engine) Window() time.Duration { return g.window }

// Matchers returns the matchers of the enabled jails, which say which entries they need.
func (g *Engine) Matchers() []*filter.Matcher {
	ms := make([]*filter.Matcher, 0, len(g.jails))
	for _, j := range g.jails {
		ms = append(ms, j.matcher)
	}
	return ms
}

// JailInfo is a jail as status shows it.
type JailInfo struct {
	config.Jail
	Trust    filter.Trust
	Failures uint64
	Last     int64 // of the last failure, 0: none
	Refused  Refused

	Unmatched uint64 // trusted entries that fit no pattern
}

// Jails returns the enabled jails by name.
func (g *Engine) Jails() []JailInfo {
	l := make([]JailInfo, 0, len(g.jails))
	for _, j := range g.jails {
		l = append(l, JailInfo{Jail: j.conf, Trust: j.matcher.Trust(), Failures: j.failures, Last: j.last, Refused: j.refused, Unmatched: j.unmatched})
	}
	return l
}

// Jail returns a jail's settings.
func (g *Engine) Jail(name string) (config.Jail, bool) {
	if j := g.byName[name]; j != nil {
		return j.conf, true
	}
	return config.Jail{}, false
}

// Windows in which failures count, as Counted names them.
const (
	WindowNormal  = "normal"  // find_time of a jail
	WindowSlow    = "slow"    // slow.find_time of a jail
	WindowAccount = "account" // accounts.find_time: on one account that many addresses attack
	WindowNetwork = "network" // networks.find_time: of a network
)

// Counted is what counts against an address in one window. The next failure leads to a ban if Have reaches Need; in the account window,
// only if Others also reaches OthersNeed.
type Counted struct {
	Jail       string        // in the account window the jail of the latest failure; "" for networks
	Filter     string        // of the jail
	Window     string        // WindowNormal and so on
	Find       time.Duration // the length of the window
	Prefix     netip.Prefix  // what is counted as one, and would be banned
	Attempts   int           // failed attempts; for networks, different parts of Prefix
	Have, Need int           // total weight of the attempts, and the weight that leads to a ban
	Others     int           // different addresses that failed on the account, this one included; 0 in other windows
	OthersNeed int
	Until      int64          // when the oldest failure stops counting, microseconds since 1970
	Failures   []jail.Failure // oldest first; in the slow window several attempts may be merged into one
}

// Counted looks up what counts against an address in every window. The slow window is included if it has more attempts than the normal one,
// an account if other addresses have failed on it, too.
func (g *Engine) Counted(addr netip.Addr, now int64) (l []Counted) {
	for _, j := range g.jails {
		of := Counted{Jail: j.conf.Name, Filter: j.conf.Filter.Name}
		normal, people := 0, g.logins.People(j.counter.Key(addr), g.seed, now)
		if p, fs := j.counter.Look(addr, now); len(fs) > 0 {
			of.Window, of.Find, of.Prefix, of.Failures, of.Need = WindowNormal, j.conf.FindTime, p, fs, j.counter.Need(p, people)
			of.sum(now)
			normal = of.Attempts
			l = append(l, of)
		}
		if have, need, fs, until := j.counter.LookSlow(addr, now, people); have > 0 {
			of.Window, of.Find, of.Prefix, of.Failures = WindowSlow, j.conf.Slow.FindTime, j.counter.Key(addr).Prefix(), fs
			of.sum(now)
			if of.Have, of.Need, of.Until = have, need, until; of.Attempts > normal {
				l = append(l, of)
			}
		}
	}
	forgiven := func(at int64) bool { return g.state.Pardoned(addr, at, g.accountsConf.FindTime.Microseconds()) }
	g.accounts.Look(addr, now, forgiven, func(own jail.AccountFailures, addresses int) {
		if addresses < 2 {
			return
		}
		of := Counted{
			Jail: g.names[own.Jail], Window: WindowAccount, Find: g.accountsConf.FindTime, Prefix: own.Prefix, Need: g.accounts.Need(),
			Others: addresses, OthersNeed: g.accountsConf.Addresses, Failures: own.Failures,
		}
		of.sum(now)
		if j := g.byName[of.Jail]; j != nil {
			of.Filter = j.conf.Filter.Name
		}
		l = append(l, of)
	})
	for _, n := range g.networks {
		if !n.Holds(addr) {
			continue
		}
		if p, fs := n.Look(addr, now); len(fs) > 0 {
			of := Counted{Window: WindowNetwork, Find: g.networksConf.FindTime, Prefix: p, Need: n.Need(), Failures: fs}
			of.sum(now)
			l = append(l, of)
		}
	}
	return l
}

// sum adds up the failures.
func (c *Counted) sum(now int64) {
	oldest := now
	c.Attempts, c.Have = 0, 0
	for _, f := range c.Failures {
		c.Attempts += f.Attempts
		c.Have += f.Weight
		oldest = min(oldest, f.At)
	}
	c.Until = oldest + c.Find.Microseconds()
}

// Tracked returns how many prefixes have failures in a window, their limit, and how many failures were counted on a wider prefix because
// the table was full.
func (g *Engine) Tracked() (n, limit int, aggregated uint64) {
	for _, j := range g.jails {
		n += j.counter.Tracked()
		aggregated += j.counter.Aggregated()
	}
	return n, g.budget.Limit(), aggregated
}

// Distributed is what is counted over all jails, and what had to be forgotten for lack of room.
type Distributed struct {
	Accounts  int    // with more than one failure within accounts.find_time
	Attacked  int    // of these, under attack now
	Networks  int    // with parts that attacked
	Crowded   uint64 // accounts that were forgotten to make room for others
	Cut       uint64 // prefixes whose slow window was cut short to make room, and networks that were forgotten
	Displaced uint64 // records of logins that were forgotten to make room for later ones
}

// Distributed counts it at a time.
func (g *Engine) Distributed(now int64) (s Distributed) {
	s.Accounts, _ = g.accounts.Len()
	s.Attacked, s.Crowded, s.Displaced = g.accounts.Attacked(now), g.accounts.Dropped(), g.logins.Displaced()
	for _, n := range g.networks {
		s.Networks += n.Len()
		s.Cut += n.Dropped()
	}
	for _, j := range g.jails {
		s.Cut += j.counter.Cut()
	}
	return s
}
