package policy

import (
	"slices"
	"time"

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

// A detector counts a failure and returns the prefixes that have too many by now. There are three, which judge asks in the order
// of this file: addressWindows, attackedAccount, attackingNetworks. To add one, write such a method and call it in judge
// (entry.go). A new reason of bans goes into state/bans.go and journal/audit/event.go. A detector that keeps counts also has a place in
// saved.go, query.go, success.go and in ClockSet, Expire and Pardon (engine.go).

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
	return n.Holds(f.addr) && n.Bits() < f.prefix.Bits() && n.Observed() == f.jail.conf.Observe
}

// restoreRefs tells what was restored in which entry a failure stands.
func (g *Engine) restoreRefs(f *failure) {
	f.jail.counter.RestoreRef(f.addr, f.record)
	if f.account != 0 {
		g.accounts.RestoreRef(f.account, f.prefix, f.record)
	}
	for _, n := range g.networks {
		if within(n, f) {
			n.RestoreRef(f.prefix, f.record)
		}
	}
}

// networkSizes are the networks that are banned as a whole.
var networkSizes = []struct {
	bits int
	v6   bool
	need func(*config.Networks) int
}{
	{24, false, func(n *config.Networks) int { return n.Net4 }},
	{64, true, func(n *config.Networks) int { return n.Net6.Bits64 }},
	{56, true, func(n *config.Networks) int { return n.Net6.Bits56 }},
	{48, true, func(n *config.Networks) int { return n.Net6.Bits48 }},
}

func (g *Engine) counterOptions(c *config.Jail) jail.Options {
	return jail.Options{
		FindTime: c.FindTime, MaxRetry: c.MaxRetry, SlowTime: c.Slow.FindTime, SlowRetry: c.Slow.MaxRetry,
		Prefix4: c.Prefix4, Prefix6: c.Prefix6, Budget: g.budget, Seed: g.seed,
	}
}

func accountOptions(c *config.Config) jail.AccountOptions {
	a := &c.Accounts
	return jail.AccountOptions{FindTime: a.FindTime, Addresses: a.Addresses, MaxRetry: a.MaxRetry, Limit: share(c)}
}

func networkOptions(c *config.Config) (l []jail.NetworkOptions) {
	observing := slices.ContainsFunc(c.Jails, func(j config.Jail) bool { return j.Enabled && j.Observe })
	for _, s := range networkSizes {
		need := s.need(&c.Networks)
		if need == 0 {
			continue
		}
		o := jail.NetworkOptions{Bits: s.bits, V6: s.v6, FindTime: c.Networks.FindTime, MaxParts: need, Limit: share(c)}
		l = append(l, o)
		if observing {
			o.Observed = true
			l = append(l, o)
		}
	}
	return l
}

func share(c *config.Config) int { return c.Limits.MaxTracked / detectorShare }

// keepLogins is how long logins are kept: two days at least, for jail.Logins.People.
func (g *Engine) keepLogins() time.Duration {
	return max(g.accountsConf.TrustLoginsFor, g.networksConf.TrustLoginsFor, 48*time.Hour)
}

// configureDetectors takes the settings of what is counted over all jails. What is counted stays.
func (g *Engine) configureDetectors(c *config.Config) {
	g.accountsConf, g.networksConf = c.Accounts, c.Networks
	if g.accounts == nil {
		g.accounts, g.logins = jail.NewAccounts(accountOptions(c), g.seed), jail.NewLogins(share(c), g.keepLogins())
	} else {
		g.accounts.Configure(accountOptions(c))
		g.logins.Configure(share(c), g.keepLogins())
	}
	old := g.networks
	g.networks = nil
	for _, o := range networkOptions(c) {
		n := jail.NewNetworks(o)
		for _, was := range old {
			if was.Bits() == o.Bits && was.V6() == o.V6 && was.Observed() == o.Observed {
				n = was
				n.Configure(o)
			}
		}
		g.networks = append(g.networks, n)
	}
}
