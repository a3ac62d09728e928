package jail

import "math"

// Weighing says how failures on some accounts weigh more or less than one.
type Weighing struct {
	Account int  // added to a failure on an account that the prefix has not failed on in its window, but for the first
	Unknown int  // factor of a failure on a fourth or later account that does not exist; above 1, the first three on a single such account weigh one together
	Known   bool // somebody logged in to the account lately: repeating it is a device with an old password, up to a point
}

const (
	deviceFactor = 15 // with the default of 20, one failure every five minutes of a day

	// freeRetries is how many prompts ssh gives for one wrong local user name: they weigh one together.
	freeRetries = 3
	// manyNames is how many names that do not exist somebody tries who has forgotten how the own one is spelled.
	manyNames = 3
	// lightRetries is how many failures that weigh nothing are kept beside MaxRetry others.
	lightRetries = freeRetries
)

// weigh says what a failure weighs beside those in its window.
func (w *Weighing) weigh(f *node, window *usersSeen) uint8 {
	weight, attempts := int(f.weight), int(f.attempts)
	if f.user == 0 {
		return f.weight
	}
	before := window.attempts(f.user)
	switch {
	case !f.unknown:
		if window.n > 0 && before == 0 {
			weight += w.Account
		}
	case w.Unknown > 1 && weight == attempts: // not where the pattern itself says more
		switch {
		case window.n == 0 || window.n == 1 && before > 0:
			weight = max(1, before+weight-freeRetries+1) - min(before, max(1, before-freeRetries+1))
		case before == 0 && window.unknown >= manyNames:
			weight *= w.Unknown
		}
	}
	return uint8(min(max(weight, 0), maxWeight))
}

// slowRetry is the count that trips in the slow window. Who repeats one account that does not exist, or that people log in
// to, all day is a device with an old setting, until it is very often.
func (c *Counter) slowRetry(accounts int, device bool) int {
	if accounts <= 1 && device {
		return min(deviceFactor*c.o.SlowRetry, (buckets-1)*bucketMax) // more than a tally counts is never reached
	}
	return c.o.SlowRetry
}

// usersSeen are the accounts that a prefix failed on, as far as they can be told apart.
type usersSeen struct {
	n, unknown int // how many different ones, and how many of these do not exist
	list       [maxTallies + 4]struct{ user, attempts uint16 }
}

func (s *usersSeen) see(x *node) {
	if x.user == 0 {
		return
	}
	for i := range s.list[:min(s.n, len(s.list))] {
		if u := &s.list[i]; u.user == x.user {
			u.attempts += min(uint16(x.attempts), math.MaxUint16-u.attempts)
			return
		}
	}
	if s.n < len(s.list) {
		s.list[s.n].user, s.list[s.n].attempts = x.user, uint16(x.attempts)
	}
	s.n++
	if x.unknown {
		s.unknown++
	}
}

// attempts is how many attempts there were on an account: one at least if there was a failure.
func (s *usersSeen) attempts(user uint16) int {
	for i := range s.list[:min(s.n, len(s.list))] {
		if s.list[i].user == user {
			return max(1, int(s.list[i].attempts))
		}
	}
	return 0
}
