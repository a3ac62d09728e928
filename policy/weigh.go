package policy

import (
	"net/netip"
	"time"

	"bailiff/policy/jail"
	"bailiff/policy/prefix"
	"bailiff/policy/state"
)

const (
	// deviceFailures is how often a day an account may fail from a prefix that logged in to it lately: a phone that goes on
	// with an old password asks for mail every five minutes over three connections, a program that fetches mail every minute.
	deviceFailures = 1500

	// togetherTime is how long a mail program takes to try one password over several connections. deadNameTime is shorter: an
	// attacker's guesses on an account that does not exist must not pass for one.
	togetherTime = 3 * time.Second
	deadNameTime = time.Second

	// togetherAttempts is how many attempts of each connection one password may stand for: a client tries two mechanisms.
	togetherAttempts = 2

	// anyAccount stands for any account in Engine.logins.
	anyAccount = 0
)

// anywhere stands for any address in Engine.logins.
var anywhere = prefix.Of(netip.IPv4Unspecified(), 0)

// weigh says whether an attempt counts against its address, and how much: not if the address is allowed, already banned or
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
	f = failure{attempt: a, prefix: j.prefix(a.addr), account: accountKey(a.User, j.conf.Observe), record: jail.Failure{
		Ref: a.Ref, At: a.At, User: short(a.User), Weight: weight, Attempts: a.Attempts, Unknown: a.Unknown, Pattern: a.Pattern,
	}}
	if g.rereading && g.restored {
		g.restoreRefs(&f)
		return f, false
	}
	if g.alreadyBanned(j, a.addr, a.At) || g.pardoned(a.addr, a.At) {
		return f, false
	}
	j.failures += uint64(a.Attempts)
	j.last = max(j.last, a.At)
	var excused bool
	excused, f.recentLogin = g.excuse(&f)
	g.out.Failures = append(g.out.Failures, Failure{
		Time: a.At, Jail: j.conf.Name, Pattern: a.Pattern, Addr: a.addr, Prefix: f.prefix.Prefix(), Port: a.Port, User: a.Name,
		Attempts: a.Attempts, Ref: a.Ref, Excused: excused,
	})
	return f, !excused
}

// alreadyBanned says whether addr was banned before that moment in a way that stops what j watches: then the line comes from a
// connection that was open before. The entry that led to a ban must count again when it is read again, so a ban does not
// cover its own moment.
func (g *Engine) alreadyBanned(j *runningJail, addr netip.Addr, at int64) bool {
	stops := func(by, scope string) bool { return by == j.conf.Name || state.Covers(scope, j.scope) }
	return g.state.Holds(addr, at, stops) || g.expiredUnread.Holds(addr, at, stops) || j.conf.Observe && g.observed.Holds(addr, at, stops)
}

// pardoned says whether an operator has forgiven a failure. Only failures shortly before the pardon are forgiven, so that a
// pardon given while the clock was ahead does not forgive what comes once it is right.
func (g *Engine) pardoned(addr netip.Addr, at int64) bool {
	return g.state.Pardoned(addr, at, g.window.Microseconds())
}

// excuse says whether a failure is not held against its address: a device goes on with an old password, or another connection
// has just made the same attempt. recentLogin: somebody, from anywhere, logged in to the account lately, and it is not under attack.
func (g *Engine) excuse(f *failure) (excused, recentLogin bool) {
	if f.User == 0 || f.MaxRetry != 0 {
		return false, false
	}
	at, trust, device := f.At, g.accountsConf.TrustLoginsFor, f.prefix.Hash(g.seed^f.User)
	known := g.logins.Within(anywhere.Hash(g.seed^f.User), at, trust)
	attacked := known && g.accounts.UnderAttack(f.account, at)
	// While an account is under attack, several connections with one password are believed once.
	parallel, few := f.jail.conf.Filter.ParallelLogins, f.Attempts <= togetherAttempts
	together := few && known && parallel && !(attacked && g.accounts.Counted(f.account, f.prefix, at) > 1)
	// A name that does not exist is a misspelt one only if it is the only one.
	misspelt := f.Unknown && !f.jail.counter.HasOthers(f.addr, f.record.User, at)
	atOnce := few && (misspelt || parallel && !f.jail.conf.Filter.HasSuccess)
	excused = together && g.bursts.Again(device, at, togetherTime) || atOnce && g.bursts.Again(device, at, deadNameTime) ||
		g.logins.Device(device, at, trust) && g.logins.Fail(device, at, f.Attempts) <= deviceFailures
	return excused, known && !attacked
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
