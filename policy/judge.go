package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/config"
	"bailiff/policy/jail"
	"bailiff/policy/prefix"
	"bailiff/policy/state"
)

// judge takes one failed attempt through the last three steps: weigh, detectors, decide. Attempts whose outcome no line told come
// here, too, once their time is over.
func (g *Engine) judge(a *attempt) {
	f, counts := g.weigh(a)
	if !counts {
		return
	}
	banned := g.decide(&f, g.addressWindows(&f))
	banned = g.decide(&f, g.severalServices(&f, banned)) || banned
	banned = g.decide(&f, g.attackedAccount(&f, banned)) || banned
	g.decide(&f, g.attackingNetworks(&f, banned))
}

// failure is an attempt that counts, as the detectors see it.
type failure struct {
	*attempt
	prefix      prefix.Key   // that the jail counts the address by
	account     uint64       // that accounts know the user by
	record      jail.Failure // what is kept of it
	known       bool         // somebody, from anywhere, logged in to the account lately
	recentLogin bool         // known, and the account is not under attack
}

const (
	// deviceFailures is how often a day an account may fail from a prefix that logged in to it lately: a phone that goes on
	// with an old password asks for mail every five minutes over three connections; a scanner sends its mail every minute, and Postfix
	// and Dovecot, which Postfix asks, count that once each.
	deviceFailures = 3000

	// togetherTime is how long a mail program takes to try one password over several connections. deadNameTime is shorter: an
	// attacker's guesses on an account that does not exist must not pass for one.
	togetherTime = 3 * time.Second
	deadNameTime = time.Second

	// burstLines is how many connections of a mail program have the password that was typed once. On an account that is under attack
	// that is believed once; then they are fewer.
	burstLines, attackedBurst = 5, 2

	// newBursts is how many typed passwords of a program that logs in over several connections at once are believed, if nobody logs in
	// to the account yet: people try three times.
	newBursts = 3

	// togetherAttempts is how many attempts of each connection one password may stand for: a client tries two mechanisms.
	togetherAttempts = 2

	// anyAccount stands for any account in Engine.logins.
	anyAccount = 0
)

// anywhere stands for any address in Engine.logins.
var anywhere = prefix.Of(netip.IPv4Unspecified(), 0)

// weigh reports whether an attempt counts against its address, and how much: not if the address is allowed, already banned or
// pardoned, nor if it is a known device with an old password. What counts or is excused is added to the outcome.
func (g *Engine) weigh(a *attempt) (f failure, counts bool) {
	if _, ok := g.allow.Contains(a.addr, a.At); ok {
		if !g.rereading {
			g.Allowed++
		}
		return f, false
	}
	j := a.jail
	weight := a.Weight * a.Attempts
	if a.MaxRetry > 0 { // this many such lines are to reach the jail's limit
		weight = max(weight, (j.conf.MaxRetry+a.MaxRetry-1)/a.MaxRetry*a.Attempts)
	}
	f = failure{attempt: a, prefix: j.counter.Key(a.addr), account: accountKey(a.User, j.conf.Observe), record: jail.Failure{
		Ref: a.Ref, At: a.At, User: short(a.User), Weight: weight, Attempts: a.Attempts, Unknown: a.Unknown, Pattern: a.Pattern,
	}}
	if g.rereading && g.restored {
		f.jail.counter.RestoreRef(f.prefix, f.record)
		g.restoreRefs(&f)
		return f, false
	}
	// An operator forgives failures shortly before the pardon only: one given while the clock was ahead must not forgive what comes once
	// it is right.
	if g.alreadyBanned(j, a.addr, a.At) || g.state.Pardoned(a.addr, a.At, g.window.Microseconds()) {
		return f, false
	}
	j.failures += uint64(a.Attempts)
	j.last = max(j.last, a.At)
	excused := g.excuse(&f)
	g.out.Failures = append(g.out.Failures, Failure{
		Time: a.At, Jail: j.conf.Name, Pattern: a.Pattern, Addr: a.addr, Prefix: f.prefix.Prefix(), Port: a.Port, User: a.Name,
		Attempts: a.Attempts, Ref: a.Ref, Known: f.known, Excused: excused,
	})
	return f, !excused
}

// alreadyBanned reports whether addr was banned before that moment in a way that stops what j watches: then the line comes from a
// connection that was open before. The entry that led to a ban must count again when it is read again, so a ban does not
// cover its own moment.
func (g *Engine) alreadyBanned(j *runningJail, addr netip.Addr, at int64) bool {
	stops := func(by, scope string) bool { return by == j.conf.Name || state.Covers(scope, j.scope) }
	return g.state.Holds(addr, at, stops) || g.expiredUnread.Holds(addr, at, stops) || j.conf.Observe && g.observed.Holds(addr, at, stops)
}

// excuse reports whether a failure is not held against its address: a device goes on with an old password, another connection has
// just made the same attempt, or only different lines count and the address has caused this one before.
//
// It also finds out whether the account is known, and whether it had a login that counts for the failure.
func (g *Engine) excuse(f *failure) (excused bool) {
	at, trust := f.At, g.accountsConf.TrustLoginsFor
	known := f.User != 0 && g.logins.Within(anywhere.Hash(g.seed^f.User), at, trust)
	f.known = known
	if f.Distinct && f.User == 0 && !f.Unknown && f.jail.counter.HasPattern(f.prefix, f.Pattern, f.At) {
		return true
	}
	if f.User == 0 || f.MaxRetry != 0 {
		return false
	}
	device, attacked := f.prefix.Hash(g.seed^f.User), known && g.accounts.UnderAttack(f.account, at)
	f.recentLogin = known && !attacked
	return g.sameAttempt(f, device, known, attacked) ||
		g.logins.Device(device, at, trust) && g.logins.Fail(device, at, f.Attempts) <= deviceFailures
}

// sameAttempt reports whether a failure belongs to one that was counted a moment ago: a program tries the password that was typed once
// over several connections at once.
func (g *Engine) sameAttempt(f *failure, device uint64, known, attacked bool) bool {
	c, parallel := f.jail.counter, f.jail.conf.Filter.ParallelLogins
	switch {
	case f.Attempts > togetherAttempts:
		return false
	case known && parallel:
		most := burstLines
		if attacked && g.accounts.Counted(f.account, f.prefix, f.At) > 1 {
			most = attackedBurst
		}
		return g.bursts.Again(device, f.At, togetherTime, most)
	case f.Unknown && !c.HasOthers(f.prefix, f.record.User, f.At): // a name that does not exist is a misspelt one only if it is the only one
	case !parallel:
		return false
	case f.jail.conf.Filter.HasSuccess():
		if n, _ := c.OnAccount(f.prefix, f.record.User, f.At, f.jail.conf.FindTime); n > newBursts {
			return false
		}
	}
	return g.bursts.Again(device, f.At, deadNameTime, burstLines)
}

// short is what a counter keeps of a name's hash: 16 bits, and 0 for no name alone.
func short(name uint64) uint16 {
	u := uint16(name)
	if u == 0 && name != 0 {
		u = 1
	}
	return u
}

// accountKey is what accounts know a user by. Jails that only observe have keys of their own, since what they see bans nobody.
func accountKey(user uint64, observed bool) uint64 {
	if observed && user != 0 {
		return max(1, ^user)
	}
	return user
}

// A detector counts a failure and returns the prefixes that have too many by now. There are four: addressWindows, severalServices
// (services.go), attackedAccount, attackingNetworks. To add one, write such a method and have judge call it. What it counts over all jails goes into counted
// (counted.go).

const (
	// lastPrompt is the attempt of a connection that does not count on an account that is under attack: ssh asks three times by itself,
	// and Accounts want three.
	lastPrompt = 3
)

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
	v := c.Add(f.prefix, f.record, jail.Weighing{
		Account: conf.Weights.NewAccount, Unknown: conf.Weights.InvalidUser, Known: f.recentLogin, Double: g.weighsDouble(f), Before: f.Before,
		People: g.people(f),
	})
	shown := &g.out.Failures[len(g.out.Failures)-1]
	shown.Prefix, shown.Count = v.Prefix, v.Count
	switch {
	case v.Tripped:
		return []verdict{{jail: f.jail, prefix: v.Prefix, reason: state.Failures, evidence: c.Take(v.Prefix), wide: v.Aggregate}}
	case f.MaxRetry == 1: // counted as part of a wider prefix, which is not banned for one address
		return []verdict{{jail: f.jail, prefix: f.prefix.Prefix(), reason: state.Failures, evidence: []jail.Failure{f.record}}}
	case v.Slow:
		return []verdict{{jail: f.jail, prefix: v.Prefix, reason: state.Slow, evidence: c.TakeSlow(v.Prefix)}}
	}
	return nil
}

// weighsDouble reports whether a failure comes from an address whose failures the administrator counts double. Whoever has logged in
// from there lately is no stranger.
func (g *Engine) weighsDouble(f *failure) bool {
	for i := range g.double {
		if d := &g.double[i]; (len(d.Jails) == 0 || slices.Contains(d.Jails, f.jail.conf.Name)) && d.Set.Contains(f.addr) {
			if g.logins.People(f.prefix, g.seed, f.At) > 0 {
				return false
			}
			g.Doubled++
			return true
		}
	}
	return false
}

// people is how many accounts logged in from a failure's prefix lately. A line that bans by itself bans whoever else is there.
func (g *Engine) people(f *failure) int {
	if f.MaxRetry != 0 {
		return 0
	}
	return g.logins.People(f.prefix, g.seed, f.At)
}

// attackedAccount counts a failure on its account, over all jails. Its prefix has too many if it is one of many that attack the
// account. banned says that the prefix was banned for this failure already.
func (g *Engine) attackedAccount(f *failure, banned bool) []verdict {
	// On an account under attack, who types the own password wrong at each prompt of one connection is no attacker yet.
	further, more := f.Before+1 == lastPrompt, 0
	if further {
		more = f.Attempts
	}
	forgiven := func(at int64) bool { return g.state.Pardoned(f.addr, at, g.accountsConf.FindTime.Microseconds()) }
	own, crowded := g.accounts.Add(f.account, f.prefix, f.jail.number, f.record, further, forgiven)
	if banned {
		return nil
	}
	if own != nil {
		if j := g.byName[g.names[own.Jail]]; j != nil {
			return []verdict{{jail: j, prefix: f.prefix.Prefix(), reason: state.Account, evidence: own.Failures}}
		}
	}
	if crowded {
		// Accounts may have dropped what this address did for newer addresses: the jail's own counts still tell.
		if n, evidence := f.jail.counter.OnAccount(f.prefix, f.record.User, f.At, g.accountsConf.FindTime); n-more >= g.accounts.Need() {
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
	account := f.account
	if banned || f.Unknown {
		account = 0 // that is no customer who has mistyped the own password
	}
	for _, n := range g.networks {
		if !within(n, f) {
			continue
		}
		attackers, parts := n.Add(f.prefix, f.record, account)
		net, key := n.Of(f.addr).Prefix(), n.Of(f.addr)
		if attackers == nil || g.logins.Within(key.Hash(g.seed^anyAccount), f.At, g.networksConf.TrustLoginsFor) || g.allow.Overlaps(net, f.At) {
			continue
		}
		n.Forget(key)
		l = append(l, verdict{jail: f.jail, prefix: net, reason: state.Network, evidence: attackers, parts: parts, wide: true})
	}
	return l
}

// within reports whether a failure counts in networks of a size.
func within(n *jail.Networks, f *failure) bool {
	return n.Holds(f.addr) && n.Bits < f.prefix.Bits() && n.Observed == f.jail.conf.Observe
}

// decide bans the prefixes that a detector found for a failure. It reports whether there is a new ban, or one of more ports.
func (g *Engine) decide(f *failure, verdicts []verdict) (banned bool) {
	for i := range verdicts {
		v := &verdicts[i]
		if !g.ban(f, v) {
			continue
		}
		banned = true
		if v.reason == state.Account {
			v.jail.counter.Take(v.prefix) // the other detectors have taken their evidence out
		}
	}
	return banned
}

// ban bans a prefix once, with scope and duration. It does nothing while entries are only read again, if an earlier ban for this
// attack covers the ports, or if the prefix is wider than its jail counts by and holds an allowed address.
func (g *Engine) ban(f *failure, v *verdict) bool {
	if v.wide && g.allow.Overlaps(v.prefix, f.At) || g.rereading {
		return false
	}
	prefix := g.banPrefix(f, v)
	attempts := 0
	for _, x := range v.evidence {
		attempts += x.Attempts
	}
	j := v.jail
	b := Ban{Addr: f.addr, Evidence: v.evidence[max(0, len(v.evidence)-g.maxEvidence):], Observed: j.conf.Observe} // the newest led to the ban
	bans, all := g.state, []*state.State{g.state, g.expiredUnread}
	if j.conf.Observe {
		bans, all = g.observed, []*state.State{g.observed}
	}
	if old, of := g.sameAttack(all, j, f.addr, prefix, f.At); of != nil {
		if state.Covers(old.Scope, j.scope) {
			return false
		}
		old.Scope = state.JoinScopes(old.Scope, j.scope)
		of.Add(old)
		b.Ban, b.Extended = old, true
		g.out.Bans = append(g.out.Bans, b)
		return true
	}
	b.Ban = state.Ban{Prefix: prefix, Jail: j.conf.Name, Since: f.At, Failures: attempts, Reason: v.reason, Scope: j.scope}
	esc := &g.escalate
	duration, count := bans.Escalate(prefix, f.At, j.conf.BanTime, esc.Factor, esc.Max, esc.Forget, randomExtra(&b.Ban, esc.RandomExtra))
	b.Until, b.Count, b.Wide, b.Parts = end(f.At, duration), count, v.wide, v.parts
	bans.Add(b.Ban)
	g.out.Bans = append(g.out.Bans, b)
	return true
}

// banPrefix is the prefix of a verdict, unless it holds an allowed address: then it is the prefix that the jail counts the
// attacker by, and if that holds one, too, the attacker's address, which is not allowed: weigh looked.
func (g *Engine) banPrefix(f *failure, v *verdict) netip.Prefix {
	prefix := v.prefix
	for _, p := range []netip.Prefix{v.jail.counter.Key(f.addr).Prefix(), netip.PrefixFrom(f.addr, f.addr.BitLen())} {
		if !g.allow.Overlaps(prefix, f.At) {
			break
		}
		prefix = p
	}
	return prefix
}

// sameAttack finds a ban that the same attack has led to: one that holds the prefix and began about the same time, in this jail
// or in another that saw the same attempts. An entry may also be read a second time after a crash, or after the state was rebuilt
// from the audit trail: then its ban exists, or has expired. A ban that covers what j watches comes before one that has to be
// extended.
func (g *Engine) sameAttack(all []*state.State, j *runningJail, addr netip.Addr, prefix netip.Prefix, at int64) (found state.Ban, of *state.State) {
	window := j.conf.FindTime.Microseconds()
	for _, bans := range all {
		for b := range bans.Covering(addr) {
			if b.Until != 0 && b.Until <= at || b.Prefix.Bits() > prefix.Bits() {
				continue
			}
			covers := state.Covers(b.Scope, j.scope)
			again := b.Since >= at && (b.Jail == j.conf.Name || covers)
			if !again && (at-b.Since >= window || b.Since-at >= window) {
				continue
			}
			if covers {
				return b, bans
			}
			if b.Prefix == prefix && b.By == "" && of == nil {
				found, of = b, bans
			}
		}
	}
	return found, of
}

// randomExtra draws what is added to a ban's duration, up to most. It follows from the ban's id, so that a replay draws the same;
// to foretell it, one has to know to the microsecond when journald received the line that led to the ban.
func randomExtra(b *state.Ban, most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	h := sha256.Sum256([]byte("spread " + b.ID()))
	n, _ := bits.Mul64(binary.BigEndian.Uint64(h[:8]), uint64(most/time.Second)+1)
	return time.Duration(n) * time.Second
}

// end computes when a ban is over; 0 is never.
func end(at int64, duration time.Duration) int64 {
	if duration == config.Forever {
		return 0
	}
	return at + duration.Microseconds()
}
