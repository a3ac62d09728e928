package jail

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/prefix"
)

// find returns the entry of a prefix.
func (c *Counter) find(k prefix.Key) (e *entry, i uint32, ok bool) {
	if i, ok = c.prefixes.find(k); ok {
		e = c.prefixes.at(i)
	}
	return e, i, ok
}

// Has reports whether a prefix has failures in any window at a time.
func (c *Counter) Has(k prefix.Key, at int64) bool {
	return c.has(k, at, func(*node) bool { return true })
}

// HasOthers reports whether a prefix has failures on other accounts in any window at a time.
func (c *Counter) HasOthers(k prefix.Key, user uint16, at int64) bool {
	return c.has(k, at, func(x *node) bool { return x.user != user })
}

// HasAccount reports whether a prefix has failures on an account in any window at a time, from before that time.
func (c *Counter) HasAccount(k prefix.Key, user uint16, at int64) bool {
	return c.has(k, at, func(x *node) bool { return x.user == user && (x.tally || x.at < at) })
}

// InTurn reports whether a prefix cycles through several nonexistent accounts: its latest failure is on an account other than user, and
// more than manyNames of them are in its windows.
func (c *Counter) InTurn(k prefix.Key, user uint16, at int64) bool {
	e, _, ok := c.find(k)
	if !ok || c.prefixes.node(e.head).user == user {
		return false
	}
	var names [manyNames + 1]uint16
	found := names[:0]
	for n := e.head; n != 0 && len(found) < len(names); n = c.prefixes.node(n).next {
		if x := c.prefixes.node(n); x.unknown && c.stands(x, at) && !slices.Contains(found, x.user) {
			found = append(found, x.user)
		}
	}
	return len(found) == len(names)
}

// HasPattern reports whether a prefix has a failure of a pattern in the normal window at a time.
func (c *Counter) HasPattern(k prefix.Key, pattern string, at int64) bool {
	return c.has(k, at, func(x *node) bool {
		return !x.tally && near(at, x.at, c.o.FindTime) && c.patterns[x.pattern] == pattern
	})
}

func (c *Counter) has(k prefix.Key, at int64, counts func(*node) bool) bool {
	e, _, ok := c.find(k)
	if !ok {
		return false
	}
	for n := e.head; n != 0; n = c.prefixes.node(n).next {
		if x := c.prefixes.node(n); counts(x) && c.stands(x, at) {
			return true
		}
	}
	return false
}

// stands reports whether a failure or tally is in any window at a time.
func (c *Counter) stands(x *node, at int64) bool {
	if x.tally {
		sum, _ := c.tallySum(x, at)
		return sum > 0
	}
	return near(at, x.at, c.o.FindTime) || c.slowly(at, x.at)
}

// Need returns the count that leads to a ban of a prefix returned by Look, from which that many accounts logged in lately.
func (c *Counter) Need(p netip.Prefix, people int) int {
	if own := c.Key(p.Addr()); p.Bits() < own.Bits() {
		for _, l := range aggregateLevels(own) {
			if l.bits == p.Bits() {
				return min(c.o.MaxRetry*l.factor, max(aggregateNodes, c.o.MaxRetry))
			}
		}
	}
	return crowded(c.o.MaxRetry, people)
}

// Take returns the failures of a prefix, as returned by Add, in the window of the failure added last, oldest first. It removes
// them and those in the slow window.
func (c *Counter) Take(p netip.Prefix) []Failure { return c.take(p, false) }

// TakeSlow is Take for the slow window. Failures that were merged into a tally are returned as one, with their total weight.
func (c *Counter) TakeSlow(p netip.Prefix) []Failure { return c.take(p, true) }

func (c *Counter) take(p netip.Prefix, slow bool) []Failure {
	k := prefix.OfPrefix(p)
	for _, t := range []*table{&c.prefixes, &c.aggregates} {
		i, ok := t.find(k)
		if !ok {
			continue
		}
		var last int64
		for n := t.at(i).head; n != 0; n = t.node(n).next {
			if x := t.node(n); !x.tally {
				last = x.at
				break
			}
		}
		l := c.failures(t, i, last, slow)
		c.drop(t, i)
		return l
	}
	return nil
}

// failures lists the failures in a window around at, oldest first.
func (c *Counter) failures(t *table, i uint32, at int64, slow bool) []Failure {
	most := 0
	for n := t.at(i).head; n != 0; n = t.node(n).next {
		most++
	}
	l := make([]Failure, 0, most)
	for n := t.at(i).head; n != 0; n = t.node(n).next {
		x := t.node(n)
		switch {
		case x.tally:
			if n, _ := c.tallySum(x, at); slow && n > 0 {
				l = append(l, c.tallyFailure(x, n, at))
			}
		case near(at, x.at, c.o.FindTime) || slow && c.slowly(at, x.at):
			l = append(l, c.failure(x))
		}
	}
	slices.Reverse(l)
	if slow {
		slices.SortStableFunc(l, func(a, b Failure) int { return cmp.Compare(a.At, b.At) })
	}
	return l
}

func (c *Counter) failure(x *node) Failure {
	return Failure{Ref: x.ref, At: x.at, User: x.user, Weight: int(x.weight), Attempts: int(x.attempts), Unknown: x.unknown, Pattern: c.patterns[x.pattern]}
}

// tallyFailure returns one failure that stands for n attempts of a tally.
func (c *Counter) tallyFailure(x *node, n int, at int64) Failure {
	return Failure{Ref: x.ref, At: min(at, c.tallyTime(x, at)), User: x.user, Weight: n, Attempts: n, Unknown: x.unknown}
}

// OnAccount returns the attempts of a prefix on one account within a span before a time, oldest first. Attempts that have left the normal
// window count only if they are certainly within the span.
func (c *Counter) OnAccount(k prefix.Key, user uint16, at int64, within time.Duration) (attempts int, l []Failure) {
	e, _, ok := c.find(k)
	if !ok || user == 0 {
		return 0, nil
	}
	for n := e.head; n != 0; n = c.prefixes.node(n).next {
		x := c.prefixes.node(n)
		switch {
		case x.user != user:
		case x.tally:
			if sum := c.tallyWithin(x, at, within.Microseconds()); sum > 0 {
				attempts += sum
				l = append(l, c.tallyFailure(x, sum, at))
			}
		case near(at, x.at, within):
			attempts += int(x.attempts)
			l = append(l, c.failure(x))
		}
	}
	slices.SortStableFunc(l, func(a, b Failure) int { return cmp.Compare(a.At, b.At) })
	return attempts, l
}

// Look returns the failures of an address in its window at a time, oldest first, and the prefix that they are counted on. It
// changes nothing.
func (c *Counter) Look(a netip.Addr, at int64) (p netip.Prefix, l []Failure) {
	own := c.Key(a)
	if i, ok := c.prefixes.find(own); ok {
		return own.Prefix(), c.failures(&c.prefixes, i, at, false)
	}
	for _, level := range aggregateLevels(own) {
		k := prefix.Of(a, level.bits)
		if i, ok := c.aggregates.find(k); ok {
			return k.Prefix(), c.failures(&c.aggregates, i, at, false)
		}
	}
	return own.Prefix(), nil
}

// LookSlow returns the count of an address in the slow window at a time; the limit, if people accounts logged in lately; the failures, as
// TakeSlow returns them; and when the count will decrease if nothing is added.
func (c *Counter) LookSlow(a netip.Addr, at int64, people int) (sum, need int, l []Failure, until int64) {
	e, i, ok := c.find(c.Key(a))
	if !ok || c.width == 0 {
		return 0, c.o.SlowRetry, nil, 0
	}
	l = c.failures(&c.prefixes, i, at, true)
	oldest := c.bucket(at)
	var day usersSeen
	device := false
	for n := e.head; n != 0; n = c.prefixes.node(n).next {
		x := c.prefixes.node(n)
		switch {
		case x.tally:
			n, _ := c.tallySum(x, at)
			if n == 0 {
				continue
			}
			if sum += n; x.shared() {
				sum += n
			}
			if b, ok := c.tallyOldest(x, at); ok {
				oldest = min(oldest, b)
			}
		case c.slowly(at, x.at):
			sum += int(x.attempts)
			oldest = min(oldest, c.bucket(x.at))
		default:
			continue
		}
		day.see(x)
		device = x.unknown
	}
	return sum + max(0, day.n-1), c.slowRetry(day.n, people, device), l, (oldest + buckets) * c.width
}
