package policy

import (
	"cmp"
	"slices"
	"time"

	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// Failures at this many services, at each this many or more, are added up, and have so many times the limit of one jail: somebody who
// has forgotten a password tries a mail program and a web page, seldom more.
const (
	leastServices = 3
	leastGuesses  = 2
	servicesLimit = 2

	// seenTwiceTime is how long two services take to log one attempt: a proxy and what is behind it, Dovecot and then Postfix, which
	// asks it.
	seenTwiceTime = int64(3 * time.Second / time.Microsecond)
)

// serviceFailure is a failure in the window of a jail.
type serviceFailure struct {
	jail.Failure
	jail *runningJail
}

// severalServices counts what an address has failed at over all services. Some guesses at each of several are an attack, though no jail
// has too many. Nobody must have logged in from there lately, and the account of this failure must not be in use.
func (g *Engine) severalServices(f *failure, banned bool) []verdict {
	own := g.out.Failures[len(g.out.Failures)-1].Count
	if banned || f.MaxRetry != 0 || f.recentLogin || own < leastGuesses || g.people(f) > 0 {
		return nil
	}
	tracking := 0
	for _, j := range g.jails {
		if j.counter.Tracked() > 0 {
			tracking++
		}
	}
	if tracking < leastServices { // most hosts, most of the time
		return nil
	}
	services, all := 0, g.inWindows(f)
	for i := range all {
		if i == 0 || all[i].jail != all[i-1].jail {
			services++
		}
	}
	if services < leastServices {
		return nil
	}
	slices.SortStableFunc(all, func(a, b serviceFailure) int { return cmp.Compare(a.At, b.At) })
	var evidence []jail.Failure
	attempts, last := 0, &serviceFailure{}
	for i := range all {
		x := &all[i]
		if last.jail != nil && x.jail != last.jail && x.At-last.At < seenTwiceTime {
			continue
		}
		attempts, last, evidence = attempts+x.Attempts, x, append(evidence, x.Failure)
	}
	if attempts < servicesLimit*f.jail.conf.MaxRetry {
		return nil
	}
	p := f.prefix.Prefix()
	for i := range all {
		all[i].jail.counter.Take(p)
	}
	return []verdict{{jail: f.jail, prefix: p, reason: state.Failures, evidence: evidence}}
}

// inWindows returns what stands against the prefix of a failure in the normal windows of the jails where it has failed more than once,
// jail by jail. Jails that count by wider or narrower prefixes are left out.
func (g *Engine) inWindows(f *failure) (all []serviceFailure) {
	for _, j := range g.jails {
		if j.conf.Observe != f.jail.conf.Observe || j.counter.Tracked() == 0 {
			continue
		}
		p, l := j.counter.Look(f.addr, f.At)
		if p != f.prefix.Prefix() {
			continue
		}
		begin, guesses := len(all), 0
		for i := range l {
			if l[i].Weight > 0 {
				guesses += l[i].Attempts
				all = append(all, serviceFailure{l[i], j})
			}
		}
		if guesses < leastGuesses {
			all = all[:begin]
		}
	}
	return all
}
