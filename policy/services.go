package policy

import (
	"cmp"
	"slices"

	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// If an address has failed at leastServices jails or more, at least leastGuesses times at each, the failures are added up and compared
// with servicesLimit times the highest limit of these jails. Users who have forgotten a password try a mail program and a web page,
// seldom more.
const (
	leastServices = 3
	leastGuesses  = 2
	servicesLimit = 2
)

// serviceFailure is a failure in the window of a jail.
type serviceFailure struct {
	jail.Failure
	jail *runningJail
}

// severalServices adds up the failures of an address at all services. A few guesses at each of several services are an attack, even if
// no jail has too many. Only failures on an account count, not requests that a browser may cause. It bans only if nobody has logged in
// from the prefix lately and the account of this failure is not in use.
func (g *Engine) severalServices(f *failure, banned bool) []verdict {
	own := g.out.Failures[len(g.out.Failures)-1].Count
	if banned || f.User == 0 || f.MaxRetry != 0 || f.recentLogin || own < leastGuesses {
		return nil
	}
	tracking := 0
	for _, j := range g.jails {
		if j.counter.Tracked() > 0 {
			tracking++
		}
	}
	if tracking < leastServices || g.people(f) > 0 { // fewer on most hosts, most of the time
		return nil
	}
	services, limit, all := 0, 0, g.inWindows(f)
	for i := range all {
		if i == 0 || all[i].jail != all[i-1].jail {
			services++
			limit = max(limit, servicesLimit*all[i].jail.conf.MaxRetry)
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
		if last.jail != nil && x.jail != last.jail && x.At-last.At < jail.SeenTwice.Microseconds() {
			continue
		}
		attempts, last, evidence = attempts+x.Attempts, x, append(evidence, x.Failure)
	}
	if attempts < limit {
		return nil
	}
	p := f.prefix.Prefix()
	for i := range all {
		all[i].jail.counter.Take(p)
	}
	return []verdict{{jail: f.jail, prefix: p, reason: state.Failures, evidence: evidence}}
}

// inWindows returns the failures of a prefix in the normal windows of all jails where it has failed at least leastGuesses times, jail by
// jail. Jails that count by wider or narrower prefixes are left out.
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
			if l[i].User != 0 && l[i].Weight > 0 {
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
