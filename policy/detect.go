package policy

import (
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/config"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

const (
	// detectorShare is the part of limits.max_tracked that accounts, logins and each kind of network may have: a pair of account
	// and address takes some 200 bytes, so that all of it is a few percent of what the tracked prefixes take.
	detectorShare = 64

	// deviceFailures is how often a day an account may fail from where somebody logged in to it lately: a phone that goes on
	// with an old password asks for mail every five minutes over three connections, a program that fetches mail every minute.
	deviceFailures = 1500

	// togetherTime is how long a mail program takes to try one password over several connections. deadNameTime is shorter, since
	// an attacker's guesses on an account that does not exist tell him from others all the same.
	togetherTime = 3 * time.Second
	deadNameTime = time.Second

	// togetherAttempts is how many attempts of each connection one password may stand for: a client tries two mechanisms.
	togetherAttempts = 2

	// crowd is how many times slow.max_retry the people behind an address may add to it.
	crowd = 2

	// attackedPrompts is how many attempts of one connection count on an account that is under attack: ssh asks three times by
	// itself, and Accounts want three.
	attackedPrompts = 2

	// anyAccount stands for any account in Engine.logins.
	anyAccount = 0
)

// anywhere stands for any address in Engine.logins.
var anywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

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
	for _, s := range networkSizes {
		if need := s.need(&c.Networks); need != 0 {
			o := jail.NetworkOptions{Bits: s.bits, V6: s.v6, FindTime: c.Networks.FindTime, MaxParts: need, Limit: share(c)}
			l = append(l, o)
			if slices.ContainsFunc(c.Jails, func(j config.Jail) bool { return j.Enabled && j.Observe }) {
				o.Observed = true
				l = append(l, o)
			}
		}
	}
	return l
}

func share(c *config.Config) int { return c.Limits.MaxTracked / detectorShare }

// keepLogins is how long logins are kept: two days at least, for jail.Logins.People.
func (g *Engine) keepLogins() time.Duration {
	return max(g.attacked.TrustLoginsFor, g.around.TrustLoginsFor, 48*time.Hour)
}

// configureDetectors takes the settings of what is counted over all jails.
func (g *Engine) configureDetectors(c *config.Config) {
	g.attacked, g.around = c.Accounts, c.Networks
	if g.accounts == nil {
		g.accounts, g.logins = jail.NewAccounts(accountOptions(c), g.seed), jail.NewLogins(share(c), g.keepLogins())
	} else {
		g.accounts.Configure(accountOptions(c))
		g.logins.Configure(share(c), g.keepLogins())
	}
	old := g.nets
	g.nets = nil
	for _, o := range networkOptions(c) {
		n := jail.NewNetworks(o)
		for _, was := range old {
			if was.Bits() == o.Bits && was.V6() == o.V6 && was.Observed() == o.Observed {
				n = was
				n.Configure(o)
			}
		}
		g.nets = append(g.nets, n)
	}
}

// number gives a jail's name the number that counts are kept under.
func (g *Engine) number(name string) uint16 {
	for i, n := range g.names {
		if n == name {
			return uint16(i)
		}
	}
	g.names = append(g.names, name)
	return uint16(len(g.names) - 1)
}

// short is what a counter keeps of a name's hash: 16 bits, and 0 for no name alone.
func short(name uint64) uint32 {
	u := uint32(name) & (1<<16 - 1)
	if u == 0 && name != 0 {
		u = 1
	}
	return u
}

// account is what accounts are known by among those that are attacked: what jails that only observe see bans nobody.
func account(user uint64, observed bool) uint64 {
	if observed && user != 0 {
		return max(1, ^user)
	}
	return user
}

// narrow is the prefix that one address is counted and banned by.
func (g *Engine) narrow(c *cell, addr netip.Addr) netip.Prefix {
	bits := c.conf.Prefix6
	if addr.Is4() {
		bits = c.conf.Prefix4
	}
	p, _ := addr.Prefix(bits)
	return p
}

// failure counts a failed attempt in every detector and bans whoever has too many. It passes over addresses that are
// allowed, banned or forgiven, and devices with an old password.
func (g *Engine) failure(c *cell, addr netip.Addr, a *jail.Attempt) {
	at := a.At
	if _, ok := g.allow.Contains(addr, at); ok {
		if !g.rebuild {
			g.Allowed++
		}
		return
	}
	narrow := g.narrow(c, addr)
	weight := a.Weight * a.Attempts
	if a.MaxRetry > 0 {
		weight = max(weight, (c.conf.MaxRetry+a.MaxRetry-1)/a.MaxRetry*a.Attempts)
	}
	x := jail.Failure{Ref: a.Ref, At: at, User: short(a.User), Weight: weight, Attempts: a.Attempts, Unknown: a.Unknown, Pattern: a.Pattern}
	if g.rebuild && g.restored {
		g.recall(c, addr, narrow, x, a.User)
		return
	}
	if g.held(c, addr, at) || g.pardoned(addr, at) {
		return
	}
	f := Failure{Time: at, Jail: c.conf.Name, Pattern: a.Pattern, Addr: addr, Prefix: narrow, Port: a.Port, User: a.Name, Attempts: a.Attempts, Ref: a.Ref}
	c.failures += uint64(a.Attempts)
	c.last = max(c.last, at)
	excused, known := g.excuse(c, addr, narrow, a)
	if excused {
		f.Excused = true
		g.out.Failures = append(g.out.Failures, f)
		return
	}
	v := c.counter.Add(addr, x, jail.Weighing{Account: c.conf.Weights.NewAccount, Unknown: c.conf.Weights.InvalidUser, Known: known})
	f.Prefix, f.Count = v.Prefix, v.Count
	g.out.Failures = append(g.out.Failures, f)
	banned := false
	switch {
	case v.Tripped:
		banned = g.ban(c, addr, verdict{prefix: v.Prefix, reason: state.Failures, evidence: c.counter.Take(v.Prefix), wide: v.Wide, at: at})
	case a.MaxRetry == 1: // counted as part of a wider prefix, which is not banned for one address
		banned = g.ban(c, addr, verdict{prefix: narrow, reason: state.Failures, evidence: []jail.Failure{x}, at: at})
	case v.Slow && v.Long >= c.conf.Slow.MaxRetry+g.people(c, narrow, at):
		banned = g.ban(c, addr, verdict{prefix: v.Prefix, reason: state.Slow, evidence: c.counter.TakeSlow(v.Prefix), at: at})
	}
	banned = g.onAccount(c, addr, narrow, a, x, banned)
	if banned || addr.Is6() {
		g.countNetworks(c, addr, narrow, x)
	}
}

// excuse says whether a failure is none of its own: it is one of a device with an old password, or another connection has just
// made the same attempt. known says that somebody logged in to the account lately and that it is not under attack.
func (g *Engine) excuse(c *cell, addr netip.Addr, narrow netip.Prefix, a *jail.Attempt) (excused, known bool) {
	if a.User == 0 || a.MaxRetry != 0 {
		return false, false
	}
	at, name, device := a.At, account(a.User, c.conf.Observe), jail.Mix(a.User, narrow, g.seed)
	known = g.logins.Within(jail.Mix(a.User, anywhere, g.seed), at, g.attacked.TrustLoginsFor)
	attacked := known && g.accounts.UnderAttack(name, at)
	// While an account is under attack, several connections with one password are believed once.
	parallel, few := c.conf.Filter.ParallelLogins, a.Attempts <= togetherAttempts
	together := few && known && parallel && !(attacked && g.accounts.Counted(name, narrow, at) > 1)
	// A name that does not exist is a misspelt one only if it is the only one.
	misspelt := a.Unknown && !c.counter.HasOthers(addr, short(a.User), at)
	atOnce := few && (misspelt || parallel && !c.conf.Filter.HasSuccess)
	excused = together && g.bursts.Again(device, at, togetherTime) || atOnce && g.bursts.Again(device, at, deadNameTime) ||
		g.logins.Device(device, at, g.attacked.TrustLoginsFor) && g.logins.Fail(device, at, a.Attempts) <= deviceFailures
	return excused, known && !attacked
}

// onAccount counts a failure on its account, over all jails, and bans an address that is one of many that attack it.
func (g *Engine) onAccount(c *cell, addr netip.Addr, narrow netip.Prefix, a *jail.Attempt, x jail.Failure, banned bool) bool {
	at := a.At
	forgiven := func(at int64) bool { return g.led.Pardoned(addr, at, g.attacked.FindTime.Microseconds()) }
	// On an account under attack, who types the own password wrong at each prompt of one connection is no attacker yet.
	further, more := a.Before >= attackedPrompts, 0
	if further {
		more = a.Before + a.Attempts - attackedPrompts
	}
	if own := g.accounts.Add(account(a.User, c.conf.Observe), narrow, c.number, x, further, forgiven); own != nil && !banned {
		if j := g.byName[g.names[own.Jail]]; j != nil {
			if banned = g.ban(j, addr, verdict{prefix: narrow, reason: state.Account, evidence: own.Failures, at: at}); banned {
				j.counter.Take(narrow)
			}
		}
	}
	if !banned && a.User != 0 && g.accounts.Crowded(account(a.User, c.conf.Observe), at) {
		// Accounts may have dropped what this address did for newer addresses: the jail's own counts still tell.
		if n, l := c.counter.OnAccount(addr, x.User, at, g.attacked.FindTime); n-more >= g.accounts.Need() {
			if banned = g.ban(c, addr, verdict{prefix: narrow, reason: state.Account, evidence: l, at: at}); banned {
				c.counter.Take(narrow)
			}
		}
	}
	return banned
}

// people is by how much the limit of the slow window is higher for a prefix that many people log in from: some of them forget
// their passwords and give up.
func (g *Engine) people(c *cell, narrow netip.Prefix, at int64) int {
	return min(g.logins.People(narrow, g.seed, at), crowd*c.conf.Slow.MaxRetry)
}

// countNetworks counts an address that was banned, or of IPv6 one that failed, as a part of the networks around it. A network
// from which anybody logged in lately is not banned as a whole.
func (g *Engine) countNetworks(c *cell, addr netip.Addr, narrow netip.Prefix, x jail.Failure) {
	for _, n := range g.nets {
		if !n.Holds(addr) || n.Bits() >= narrow.Bits() || n.Observed() != c.conf.Observe {
			continue
		}
		attackers, parts := n.Add(narrow, x)
		net := n.Of(addr)
		if attackers == nil || g.logins.Within(jail.Mix(anyAccount, net, g.seed), x.At, g.around.TrustLoginsFor) || g.allow.Overlaps(net, x.At) {
			continue
		}
		n.Forget(net)
		g.ban(c, addr, verdict{prefix: net, reason: state.Network, evidence: attackers, parts: parts, wide: true, at: x.At})
	}
}

// recall tells what was restored in which entry a failure stands.
func (g *Engine) recall(c *cell, addr netip.Addr, narrow netip.Prefix, x jail.Failure, user uint64) {
	c.counter.Recall(addr, x)
	if user != 0 {
		g.accounts.Recall(account(user, c.conf.Observe), narrow, x)
	}
	for _, n := range g.nets {
		if n.Holds(addr) && n.Bits() < narrow.Bits() && n.Observed() == c.conf.Observe {
			n.Recall(narrow, x)
		}
	}
}
