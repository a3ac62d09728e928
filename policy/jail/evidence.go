package jail

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/prefix"
)

// find looks up the prefix of an address.
func (c *Counter) find(a netip.Addr) (e *entry, i uint32, ok bool) {
	if i, ok = c.prefixes.find(c.keyOf(a)); ok {
		e = c.prefixes.at(i)
	}
	return e, i, ok
}

// Has says whether anything stands against an address's prefix in the windows of a moment.
func (c *Counter) Has(a netip.Addr, at int64) bool {
	return c.has(a, at, func(*node) bool { return true })
}

// HasOthers says whether failures on other accounts stand against an address in any window of a moment.
func (c *Counter) HasOthers(a netip.Addr, user uint16, at int64) bool {
	return c.has(a, at, func(x *node) bool { return x.user != user })
}

// HasPattern says whether a failure of that pattern stands against an address in the normal window of a moment.
func (c *Counter) HasPattern(a netip.Addr, pattern string, at int64) bool {
	return c.has(a, at, func(x *node) bool {
		return !x.tally && near(at, x.at, c.o.FindTime) && c.patterns[x.pattern] == pattern
	})
}

func (c *Counter) has(a netip.Addr, at int64, counts func(*node) bool) bool {
	e, _, ok := c.find(a)
	if !ok {
		return false
	}
	for n := e.head; n != 0; n = c.prefixes.node(n).next {
		x := c.prefixes.node(n)
		if !counts(x) {
			continue
		}
		if x.tally {
			if sum, _ := c.tallySum(x, at); sum > 0 {
				return true
			}
		} else if near(at, x.at, c.o.FindTime) || c.slowly(at, x.at) {
			return true
		}
	}
	return false
}

// Need is the count that trips for a prefix that Look has answered.
func (c *Counter) Need(p netip.Prefix) int {
	if p.Bits() < c.keyOf(p.Addr()).Bits() {
		for _, l := range aggregateLevels(p.Addr()) {
			if l.bits == p.Bits() {
				return min(c.o.MaxRetry*l.factor, max(aggregateNodes, c.o.MaxRetry))
			}
		}
	}
	return c.o.MaxRetry
}

// Take returns what stands against a prefix in the window of the failure added last, oldest first, and forgets it, with
// what stands in the slow window. The prefix is one that Add has answered.
func (c *Counter) Take(p netip.Prefix) []Failure { return c.take(p, false) }

// TakeSlow is Take for the slow window. What was counted together there comes as one failure with the weight of all.
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

// failures lists what lies in a window of at, oldest first.
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

// tallyFailure stands for n attempts of a tally.
func (c *Counter) tallyFailure(x *node, n int, at int64) Failure {
	return Failure{Ref: x.ref, At: min(at, c.tallyTime(x, at)), User: x.user, Weight: n, Attempts: n, Unknown: x.unknown}
}

// OnAccount returns the attempts of an address on one account within a time before a moment, oldest first. Of attempts that
// have left the normal window only those are counted that certainly lie within it.
func (c *Counter) OnAccount(a netip.Addr, user uint16, at int64, within time.Duration) (attempts int, l []Failure) {
	e, _, ok := c.find(a)
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

// Look returns what stands against an address in its window at a moment, oldest first, and under which prefix. It
// changes nothing.
func (c *Counter) Look(a netip.Addr, at int64) (p netip.Prefix, l []Failure) {
	if e, i, ok := c.find(a); ok {
		return e.key.Prefix(), c.failures(&c.prefixes, i, at, false)
	}
	for _, level := range aggregateLevels(a) {
		k := prefix.Of(a, level.bits)
		if i, ok := c.aggregates.find(k); ok {
			return k.Prefix(), c.failures(&c.aggregates, i, at, false)
		}
	}
	return c.keyOf(a).Prefix(), nil
}

// LookSlow returns what stands in the slow window of a moment, the count that trips there, the failures as TakeSlow does, and
// when the count becomes less if nothing comes.
func (c *Counter) LookSlow(a netip.Addr, at int64) (sum, need int, l []Failure, until int64) {
	e, i, ok := c.find(a)
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
	return sum + max(0, day.n-1), c.slowRetry(day.n, device), l, (oldest + buckets) * c.width
}
