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

// judge takes one failed attempt through the last three steps: weigh, detectors, decide. Attempts whose outcome no line reported come here,
// too, once they have waited long enough.
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
	prefix      prefix.Key   // by which the jail counts the address
	account     uint64       // key of the user in accounts
	record      jail.Failure // what is kept of it
	known       bool         // somebody, from anywhere, logged in to the account lately
	recentLogin bool         // known, and the account is not under attack
}

const (
	// deviceFailures is how often a day an account may fail from a prefix that logged in to it lately. A phone with an old password asks
	// for mail every five minutes over three connections. A scanner sends mail every minute, and Postfix and Dovecot each log the failure.
	deviceFailures = 3000

	// togetherTime is how long a mail program takes to try one password over several connections. deadNameTime is shorter, so that an
	// attacker's guesses on a nonexistent account do not pass for one password.
	togetherTime = 3 * time.Second
	deadNameTime = time.Second

	// burstLines is how many connections of a mail program may use one typed password. On an account under attack, only the first burst may
	// be that large; later ones are limited to attackedBurst.
	burstLines, attackedBurst = 5, 2

	// newBursts is how many bursts are accepted from a program that logs in over several connections at once, while nobody has logged in to
	// the account: people try three times.
	newBursts = 3

	// togetherAttempts is how many attempts each connection may make with one password: a client tries two mechanisms.
	togetherAttempts = 2

	// anyAccount stands for any account in Engine.logins.
	anyAccount = 0
)

// anywhere stands for any address in Engine.logins.
var anywhere = prefix.Of(netip.IPv4Unspecified(), 0)

// weigh reports whether an attempt counts against its address, and how much. It does not count if the address is allowed, already banned or
// pardoned, or is a known device with an old password. Failures that count or are excused are added to the outcome.
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
	// A pardon covers only failures shortly before it. Otherwise, one given while the clock was ahead would cover failures that come after
	// the clock was corrected.
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

// alreadyBanned reports whether a ban from before the time at stops addr from reaching what j watches. If so, the line comes from a
// connection that was already open. A ban does not cover its own time, since the entry that led to it must count when it is read again.
func (g *Engine) alreadyBanned(j *runningJail, addr netip.Addr, at int64) bool {
	stops := func(by, scope string) bool { return by == j.conf.Name || state.Covers(scope, j.scope) }
	return g.state.Holds(addr, at, stops) || g.expiredUnread.Holds(addr, at, stops) || j.conf.Observe && g.observed.Holds(addr, at, stops)
}

// excuse reports whether a failure is not held against its address: a device goes on with an old password, another connection has just made
// the same attempt, or the pattern counts only once and the address has matched it before.
//
// It also sets f.known and f.recentLogin.
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

// sameAttempt reports whether a failure belongs to an attempt that was counted a moment ago, because a program tries one typed password
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
	case f.Unknown && !c.HasOthers(f.prefix, f.record.User, f.At): // a nonexistent name counts as misspelt only if it is the only one
	case !parallel:
		return false
	case f.jail.conf.Filter.HasSuccess():
		if n, _ := c.OnAccount(f.prefix, f.record.User, f.At, f.jail.conf.FindTime); n > newBursts {
			return false
		}
	}
	return g.bursts.Again(device, f.At, deadNameTime, burstLines)
}

// short returns the 16 bits that a counter keeps of a name's hash; 0 only if there is no name.
func short(name uint64) uint16 {
	u := uint16(name)
	if u == 0 && name != 0 {
		u = 1
	}
	return u
}

// accountKey returns the key of a user in accounts. Jails that only observe use separate keys, since their failures must not ban anybody.
func accountKey(user uint64, observed bool) uint64 {
	if observed && user != 0 {
		return max(1, ^user)
	}
	return user
}

// A detector counts a failure and returns the prefixes that now have too many. There are four: addressWindows, severalServices
// (services.go), attackedAccount and attackingNetworks. To add one, write such a method and call it from judge. State that covers all jails
// goes into counted (counted.go).

const (
	// lastPrompt is the attempt of a connection that does not count towards a ban on an account under attack: ssh asks three times by
	// itself, and Accounts require at least three attempts.
	lastPrompt = 3
)

// verdict is a detector's finding that a prefix attacks.
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

// weighsDouble reports whether a failure counts double because its address is on one of the administrator's lists (SetDouble). It does not
// if anybody has logged in from the prefix lately.
func (g *Engine) weighsDouble(f *failure) bool {
	for i := range g.double {
		if d := &g.double[i]; (len(d.List.Jails) == 0 || slices.Contains(d.List.Jails, f.jail.conf.Name)) && d.Set.Contains(f.addr) {
			if g.logins.People(f.prefix, g.seed, f.At) > 0 {
				return false
			}
			g.Doubled++
			return true
		}
	}
	return false
}

// people returns how many accounts logged in from a failure's prefix lately. For a pattern with its own MaxRetry it is 0: such lines lead
// to a ban no matter who else uses the prefix.
func (g *Engine) people(f *failure) int {
	if f.MaxRetry != 0 {
		return 0
	}
	return g.logins.People(f.prefix, g.seed, f.At)
}

// attackedAccount counts a failure on its account, over all jails. Its prefix has too many if it is one of many that attack the account.
// banned reports that the failure has already led to a ban of its prefix.
func (g *Engine) attackedAccount(f *failure, banned bool) []verdict {
	// A user who mistypes their password at each prompt of one connection is not an attacker yet, even if the account is under attack.
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
		// Accounts may have dropped this address in favor of newer ones; the jail's own counts still have it.
		if n, evidence := f.jail.counter.OnAccount(f.prefix, f.record.User, f.At, g.accountsConf.FindTime); n-more >= g.accounts.Need() {
			return []verdict{{jail: f.jail, prefix: f.prefix.Prefix(), reason: state.Account, evidence: evidence}}
		}
	}
	return nil
}

// attackingNetworks counts an address as a part of the networks around it, if it was banned, or has failed and is IPv6. A network from
// which anybody logged in lately, or that holds an allowed address, is not banned as a whole.
func (g *Engine) attackingNetworks(f *failure, banned bool) (l []verdict) {
	if !banned && !f.addr.Is6() {
		return nil
	}
	account := f.account
	if banned || f.Unknown {
		account = 0 // not a customer who mistyped their password
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

// within reports whether a failure counts in the networks of n's size and family.
func within(n *jail.Networks, f *failure) bool {
	return n.Holds(f.addr) && n.Bits < f.prefix.Bits() && n.Observed == f.jail.conf.Observe
}

// decide bans the prefixes that a detector found for a failure. It reports whether there is a new ban, or an existing one now covers more
// ports.
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

// ban bans a prefix once, with scope and duration. It does nothing while entries are reread, if an earlier ban for this attack covers the
// ports, or if the prefix is wider than its jail counts by and overlaps an allowed prefix.
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

// banPrefix returns the prefix of a verdict. If it overlaps an allowed prefix, the result is the prefix by which the jail counts the
// attacker; if that overlaps one, too, the attacker's address, which weigh has checked.
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

// sameAttack finds an earlier ban for the same attack: a ban that contains the prefix and began about the same time, in this jail or in
// another that saw the same attempts. After a crash, or after the state was rebuilt from the audit trail, an entry may be read a second
// time; its ban then exists or has expired. A ban that covers what j watches is preferred to one that must be extended.
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

// randomExtra returns a random addition to a ban's duration, from 0 to most. It is derived from the ban's id, so a replay gets the same
// result. To predict it, an attacker must know to the microsecond when journald received the line that led to the ban.
func randomExtra(b *state.Ban, most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	h := sha256.Sum256([]byte("spread " + b.ID()))
	n, _ := bits.Mul64(binary.BigEndian.Uint64(h[:8]), uint64(most/time.Second)+1)
	return time.Duration(n) * time.Second
}

// end returns when a ban ends; 0 means never.
func end(at int64, duration time.Duration) int64 {
	if duration == config.Forever {
		return 0
	}
	return at + duration.Microseconds()
}
