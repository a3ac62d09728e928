package policy

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/codec"
	"bailiff/policy/config"
	"bailiff/policy/jail"
	"bailiff/policy/prefix"
	"bailiff/policy/state"
)

const (
	// detectorShare is the part of limits.max_tracked that accounts, logins and each size of network may have: a pair of
	// account and address takes some 200 bytes, so that all of it is a few percent of what the tracked prefixes take.
	detectorShare = 64

	// crowd is how many times slow.max_retry the people behind an address may add to it.
	crowd = 2

	// attackedPrompts is how many attempts of one connection count on an account that is under attack: ssh asks three times by
	// itself, and Accounts want three.
	attackedPrompts = 2
)

// A detector counts a failure and returns the prefixes that have too many by now. There are three, which judge (entry.go) asks in
// the order of this file: addressWindows, attackedAccount, attackingNetworks. What they count over all jails is in counted, below:
// a detector that keeps counts has a field there, and its lines in each of the methods.

// verdict is a detector's word that a prefix attacks.
type verdict struct {
	jail     *runningJail // that bans
	prefix   netip.Prefix
	reason   string         // one of state's
	evidence []jail.Failure // oldest first
	parts    []netip.Prefix // of a network: those that attacked
	wide     bool           // the prefix is wider than its jail counts by
}

// addressWindows counts a failure against its own prefix, within find_time and slow.find_time of its jail.
func (g *Engine) addressWindows(f *failure) []verdict {
	c, conf := f.jail.counter, &f.jail.conf
	v := c.Add(f.addr, f.record, jail.Weighing{Account: conf.Weights.NewAccount, Unknown: conf.Weights.InvalidUser, Known: f.recentLogin})
	shown := &g.out.Failures[len(g.out.Failures)-1]
	shown.Prefix, shown.Count = v.Prefix, v.Count
	switch {
	case v.Tripped:
		return []verdict{{jail: f.jail, prefix: v.Prefix, reason: state.Failures, evidence: c.Take(v.Prefix), wide: v.Aggregate}}
	case f.MaxRetry == 1: // counted as part of a wider prefix, which is not banned for one address
		return []verdict{{jail: f.jail, prefix: f.prefix.Prefix(), reason: state.Failures, evidence: []jail.Failure{f.record}}}
	case v.Slow && v.Long >= conf.Slow.MaxRetry+g.people(f.jail, f.prefix, f.At):
		return []verdict{{jail: f.jail, prefix: v.Prefix, reason: state.Slow, evidence: c.TakeSlow(v.Prefix)}}
	}
	return nil
}

// people is by how much the limit of the slow window is higher for a prefix that many people log in from: some of them forget
// their passwords and give up.
func (g *Engine) people(j *runningJail, p prefix.Key, at int64) int {
	return min(g.logins.People(p, g.seed, at), crowd*j.conf.Slow.MaxRetry)
}

// attackedAccount counts a failure on its account, over all jails. Its prefix has too many if it is one of many that attack the
// account. banned says that the prefix was banned for this failure already.
func (g *Engine) attackedAccount(f *failure, banned bool) []verdict {
	// On an account under attack, who types the own password wrong at each prompt of one connection is no attacker yet.
	further, more := f.Before >= attackedPrompts, 0
	if further {
		more = f.Before + f.Attempts - attackedPrompts
	}
	forgiven := func(at int64) bool { return g.state.Pardoned(f.addr, at, g.accountsConf.FindTime.Microseconds()) }
	own := g.accounts.Add(f.account, f.prefix, f.jail.number, f.record, further, forgiven)
	if banned {
		return nil
	}
	if own != nil {
		if j := g.byName[g.names[own.Jail]]; j != nil {
			return []verdict{{jail: j, prefix: f.prefix.Prefix(), reason: state.Account, evidence: own.Failures}}
		}
	}
	if f.User != 0 && g.accounts.Crowded(f.account, f.At) {
		// Accounts may have dropped what this address did for newer addresses: the jail's own counts still tell.
		if n, evidence := f.jail.counter.OnAccount(f.addr, f.record.User, f.At, g.accountsConf.FindTime); n-more >= g.accounts.Need() {
			return []verdict{{jail: f.jail, prefix: f.prefix.Prefix(), reason: state.Account, evidence: evidence}}
		}
	}
	return nil
}

// attackingNetworks counts an address that was banned, or of IPv6 one that failed, as a part of the networks around it. A
// network from which anybody logged in lately, or that holds an allowed address, is not banned as a whole.
func (g *Engine) attackingNetworks(f *failure, banned bool) (l []verdict) {
	if !banned && !f.addr.Is6() {
		return nil
	}
	for _, n := range g.networks {
		if !within(n, f) {
			continue
		}
		attackers, parts := n.Add(f.prefix, f.record)
		net, key := n.Of(f.addr).Prefix(), n.Of(f.addr)
		if attackers == nil || g.logins.Within(key.Hash(g.seed^anyAccount), f.At, g.networksConf.TrustLoginsFor) || g.allow.Overlaps(net, f.At) {
			continue
		}
		n.Forget(key)
		l = append(l, verdict{jail: f.jail, prefix: net, reason: state.Network, evidence: attackers, parts: parts, wide: true})
	}
	return l
}

// within says whether a failure counts in networks of a size.
func within(n *jail.Networks, f *failure) bool {
	return n.Holds(f.addr) && n.Bits < f.prefix.Bits() && n.Observed == f.jail.conf.Observe
}

// counted is what is counted over all jails, and what excuses a failure. The state file holds it, and each jail's counter.
type counted struct {
	seed  uint64   // of all hashes
	names []string // of jails, by the number that others know them by
	connections
	accounts *jail.Accounts
	logins   *jail.Logins
	bursts   jail.Bursts
	networks []*jail.Networks

	// expiredUnread holds bans that are over by the clock, but not yet at the moment up to which the journal has been read: the
	// entries to come are judged as they would have been then.
	expiredUnread *state.State
	observed      *state.State // what jails that only observe would have banned
}

func newCounted(c *config.Config, seed uint64) counted {
	x := counted{
		seed: seed, connections: newConnections(seed), accounts: jail.NewAccounts(accountOptions(c), seed), logins: jail.NewLogins(share(c), 0),
		expiredUnread: state.New(), observed: state.New(),
	}
	x.configure(c)
	return x
}

func accountOptions(c *config.Config) jail.AccountOptions {
	a := &c.Accounts
	return jail.AccountOptions{FindTime: a.FindTime, Addresses: a.Addresses, MaxRetry: a.MaxRetry, Limit: share(c)}
}

func share(c *config.Config) int { return c.Limits.MaxTracked / detectorShare }

// configure takes new settings. What is counted stays.
func (x *counted) configure(c *config.Config) {
	x.accounts.Configure(accountOptions(c))
	// jail.Logins.People wants two days at least.
	x.logins.Configure(share(c), max(c.Accounts.TrustLoginsFor, c.Networks.TrustLoginsFor, 48*time.Hour))
	old := x.networks
	x.networks = nil
	observing := slices.ContainsFunc(c.Jails, func(j config.Jail) bool { return j.Enabled && j.Observe })
	for _, size := range []struct {
		bits int
		v6   bool
		need int
	}{{24, false, c.Networks.Net4}, {64, true, c.Networks.Net6.Bits64}, {56, true, c.Networks.Net6.Bits56}, {48, true, c.Networks.Net6.Bits48}} {
		for _, observed := range []bool{false, true} {
			if size.need == 0 || observed && !observing {
				continue
			}
			o := jail.NetworkOptions{
				NetworkSize: jail.NetworkSize{Bits: size.bits, V6: size.v6, Observed: observed},
				FindTime:    c.Networks.FindTime, MaxParts: size.need, Limit: share(c),
			}
			n := jail.NewNetworks(o)
			if i := slices.IndexFunc(old, func(n *jail.Networks) bool { return n.NetworkSize == o.NetworkSize }); i >= 0 {
				n = old[i]
				n.Configure(o)
			}
			x.networks = append(x.networks, n)
		}
	}
}

// shift moves the times of what is counted by that many microseconds, so that all of it is as long ago as it was before the clock
// was set. Logins are remembered for days and stay.
func (x *counted) shift(by int64) {
	for _, n := range x.networks {
		n.Shift(by)
	}
	x.conns.Shift(by)
	x.pending.Shift(by)
	x.accounts.Shift(by)
	x.bursts.Shift(by)
}

// expire forgets what is over at a moment, a bounded part of it at a time.
func (x *counted) expire(now int64) {
	x.conns.Expire(now)
	for _, n := range x.networks {
		n.Expire(now, 1024)
	}
	x.accounts.Expire(now, 256)
	x.expiredUnread.Expire(now, now)
	x.observed.Expire(now, now)
}

// forget drops what stands against a prefix. Accounts ask for pardons (attackedAccount).
func (x *counted) forget(p netip.Prefix) {
	for _, n := range x.networks {
		if n.Holds(p.Addr()) {
			n.ForgetAll(p)
		}
	}
	x.pending.Forget(p)
	x.observed.RemoveFunc(func(b *state.Ban) bool { return b.Prefix.Overlaps(p) })
}

// loggedIn forgets what a login from an address disproves, in every jail, and remembers it.
func (g *Engine) loggedIn(j *runningJail, addr netip.Addr, user uint64, at int64) {
	clear := true
	var done prefix.Key
	for _, j := range g.jails {
		j.counter.Success(addr, short(user))
		clear = clear && !j.counter.Has(addr, at)
		if own := j.prefix(addr); user != 0 && own != done { // most jails count by the same length
			g.accounts.Success(accountKey(user, false), own)
			g.accounts.Success(accountKey(user, true), own)
			if g.logins.Add(own.Hash(g.seed^user), at) {
				g.logins.AddPerson(own, g.seed, at)
			}
			done = own
		}
	}
	if user != 0 {
		g.logins.Add(anywhere.Hash(g.seed^user), at)
	}
	own := j.prefix(addr)
	for _, n := range g.networks {
		if !n.Holds(addr) {
			continue
		}
		g.logins.Add(n.Of(addr).Hash(g.seed^anyAccount), at)
		if clear && n.V6 && n.Bits < own.Bits() {
			n.Remove(own)
		}
	}
}

// restoreRefs tells what was restored in which entry a failure stands.
func (x *counted) restoreRefs(f *failure) {
	if f.account != 0 {
		x.accounts.RestoreRef(f.account, f.prefix, f.record)
	}
	for _, n := range x.networks {
		if within(n, f) {
			n.RestoreRef(f.prefix, f.record)
		}
	}
}

// stream writes what is counted, or reads it into an empty one.
func (x *counted) stream(s *codec.Stream, counters map[string]*jail.Counter) {
	codec.List(s, &x.names, 1, s.Text)
	s.Check(len(x.names) <= 1<<16, "too many jails")
	s.Block("connections", x.conns.Stream)
	s.Block("pending attempts", func(s *codec.Stream) { x.pending.Stream(s, len(x.names)) })
	s.Block("accounts", func(s *codec.Stream) { x.accounts.Stream(s, len(x.names)) })
	s.Block("logins", x.logins.Stream)
	s.Block("bursts", x.bursts.Stream)
	for _, bans := range []**state.State{&x.expiredUnread, &x.observed} {
		s.Block("bans", func(s *codec.Stream) {
			s.Rest(func(b []byte) []byte { return (*bans).AppendSnapshot(b, nil) }, func(b []byte) (err error) {
				*bans, err = state.Decode(b)
				return err
			})
		})
	}
	names := slices.Sorted(maps.Keys(counters))
	codec.Each(s, len(names), 9, slices.Values(names), func(name *string) {
		n := slices.Index(x.names, *name)
		codec.Number(s, &n, math.MaxUint16)
		if s.Check(n < len(x.names), "a jail without a name"); !s.OK() {
			return
		}
		var part func(*codec.Stream) // nil: the jail is gone
		if c := counters[x.names[n]]; c != nil {
			part = c.Stream
		}
		s.Block("jail "+x.names[n], part)
	}, func(string) {})
	codec.Each(s, len(x.networks), 11, slices.Values(x.networks), func(n **jail.Networks) {
		var size jail.NetworkSize
		if !s.Reading {
			size = (*n).NetworkSize
		}
		size.Stream(s)
		var part func(*codec.Stream)
		for _, own := range x.networks {
			if own.NetworkSize == size {
				part = own.Stream
			}
		}
		s.Block("networks", part)
	}, func(*jail.Networks) {})
}
