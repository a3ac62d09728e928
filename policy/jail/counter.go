// Package jail counts failures: how many of one prefix within a window of time, on one account, in one network. It is pure: no
// clock (time comes in as microseconds since 1970), no I/O, no goroutines. What a line means is known before (policy/filter); what
// follows from a count is decided elsewhere (policy).
//
// Start reading at Counter.Add. accounts.go counts by account and networks.go by network; logins.go and bursts.go remember what
// excuses a failure; connections.go and pending.go say how many attempts the lines of a daemon stand for. The Stream
// method of each type describes its part of the state file.
package jail

import (
	"math"
	"net/netip"
	"time"

	"bailiff/policy/prefix"
)

// Ref names the journal entry that a failure stands in; what it means is the caller's.
type Ref uint64

// NoRef is of a failure whose entry is not known (any more).
const NoRef = ^Ref(0)

// Failure is one counted failure.
type Failure struct {
	Ref    Ref
	At     int64  // microseconds since 1970
	User   uint16 // part of the hash of the account name, 0: not known
	Weight int    // what it counts towards MaxRetry, 0 to 255

	Attempts int    // how many attempts to log in it stands for, 1 to 127
	Unknown  bool   // the account does not exist
	Pattern  string // of the filter, by which it was known; "": not known any more
}

// Options of a Counter.
type Options struct {
	FindTime  time.Duration // how long a failure counts
	MaxRetry  int           // the count that trips
	SlowTime  time.Duration // of the slow window; it is there when it is longer than FindTime and SlowRetry is above MaxRetry
	SlowRetry int           // the count that trips there
	Prefix4   int           // length of the prefixes that are counted
	Prefix6   int
	Budget    *Budget
	Seed      uint64 // of the hash: attackers choose addresses, so they must not know it
}

// Verdict is what one more failure led to.
type Verdict struct {
	Prefix    netip.Prefix // what was counted
	Count     int          // the weights in its window
	Long      int          // the attempts in its slow window, and one for each account but the first
	Tripped   bool         // MaxRetry is reached: the caller bans Prefix and calls Take
	Slow      bool         // SlowRetry is reached, and MaxRetry is not: the caller bans Prefix and calls TakeSlow
	Aggregate bool         // Prefix is wider than the configuration says, since the budget was used up
}

// Counter counts the failures of one jail. One goroutine uses it.
//
// A failure is in the window of another when they are less than FindTime apart, whichever is older. So an entry that comes late,
// or after the clock was set back, is counted with what lies around it, and what lies ahead of a clock that was set back neither
// counts forever nor is forgotten: two machines whose clocks differ must not make each other's failures be forgotten.
type Counter struct {
	o     Options
	keep  time.Duration // the longer of both windows
	width int64         // of a bucket of the slow window, in microseconds; 0: there is none

	prefixes   table
	aggregates table // wider prefixes, once the budget is used up
	aggregated uint64
	cut        uint64
	reported   int // failures that the budget knows of

	patterns []string // by number; the first is that of a failure whose pattern is not known
	numbers  map[string]uint16
	latest   uint16 // number of the pattern asked for last, which is mostly asked for again
}

// NewCounter makes a counter.
func NewCounter(o Options) *Counter {
	c := &Counter{patterns: []string{""}, numbers: map[string]uint16{"": 0}}
	c.prefixes.seed, c.aggregates.seed = o.Seed, o.Seed^0x5851f42d4c957f2d
	c.set(o)
	return c
}

func (c *Counter) set(o Options) {
	c.o, c.width, c.keep = o, 0, o.FindTime
	if o.SlowTime > o.FindTime && o.SlowRetry > o.MaxRetry {
		c.width = max(1, o.SlowTime.Microseconds()/buckets)
		c.keep = o.SlowTime
	}
}

// maxPatterns bounds the names that are kept: those of a filter are few, those of many reloads are not.
const maxPatterns = 2048

// number gives a pattern's number. Names beyond maxPatterns are not kept.
func (c *Counter) number(pattern string) uint16 {
	if c.patterns[c.latest] == pattern {
		return c.latest
	}
	n, ok := c.numbers[pattern]
	if !ok && len(c.patterns) < maxPatterns {
		n = uint16(len(c.patterns))
		c.patterns = append(c.patterns, pattern)
		c.numbers[pattern] = n
	}
	c.latest = n
	return n
}

// Configure takes new settings. What is counted stays, and is judged by the new window from now on. With another prefix
// length counting begins anew for that family: old counts say nothing about prefixes of another size.
func (c *Counter) Configure(o Options) {
	if o.Prefix4 != c.o.Prefix4 {
		c.dropFamily(false)
	}
	if o.Prefix6 != c.o.Prefix6 {
		c.dropFamily(true)
	}
	width := c.width
	c.set(o)
	if width != c.width && width != 0 {
		c.rescale(width)
	}
	c.prefixes.round, c.prefixes.pressed, c.aggregates.round = sweepRound{}, sweepRound{}, sweepRound{}
}

func (c *Counter) dropFamily(v6 bool) {
	for i := uint32(0); i < c.prefixes.len(); i++ { // len is 0 as soon as the last one is gone
		if e := c.prefixes.at(i); e.used() && e.key.V6() == v6 {
			c.drop(&c.prefixes, i)
		}
	}
	c.prefixes.shrink()
}

// Tracked is how many prefixes have failures.
func (c *Counter) Tracked() int { return c.prefixes.n + c.aggregates.n }

// Aggregated is how many failures were counted on a wider prefix.
func (c *Counter) Aggregated() uint64 { return c.aggregated }

// Cut is how many prefixes lost what they had in the slow window to make room for others.
func (c *Counter) Cut() uint64 { return c.cut }

// keyOf is the prefix that an address is counted by.
func (c *Counter) keyOf(a netip.Addr) prefix.Key {
	if a.Is4() {
		return prefix.Of(a, c.o.Prefix4)
	}
	return prefix.Of(a, c.o.Prefix6)
}

// Add counts a failure of an address.
func (c *Counter) Add(a netip.Addr, x Failure, w Weighing) Verdict {
	f := node{
		ref: x.Ref, at: x.At, pattern: c.number(x.Pattern), user: x.User, unknown: x.Unknown,
		attempts: uint8(min(max(x.Attempts, 1), maxAttempts)), weight: uint8(min(max(x.Weight, 0), maxWeight)),
	}
	k := c.keyOf(a)
	i, ok := c.prefixes.find(k)
	if !ok {
		if !c.roomFor(x.At) {
			return c.addAggregate(a, k, f)
		}
		i = c.prefixes.insert(k)
		c.o.Budget.used++
	}
	return c.count(&c.prefixes, i, f, w, c.o.MaxRetry, c.o.MaxRetry+lightRetries)
}

// roomFor says whether one more prefix may be tracked. It makes room by what is over at a moment; slow attackers give way to
// fast ones.
func (c *Counter) roomFor(at int64) bool {
	full := func() bool { return c.o.Budget.used >= c.o.Budget.limit }
	if full() {
		c.sweep(&c.prefixes, at, sweepStep, c.keep)
	}
	if full() && c.width > 0 {
		n := c.prefixes.n
		c.sweep(&c.prefixes, at, sweepStep, c.o.FindTime)
		c.cut += uint64(n - c.prefixes.n)
	}
	return !full()
}

// addAggregate counts a failure for whose prefix there is no room.
func (c *Counter) addAggregate(a netip.Addr, own prefix.Key, f node) Verdict {
	c.aggregated++
	levels := aggregateLevels(a)
	full := func() bool {
		return c.aggregates.n >= leastAggregates && c.o.Budget.aggregates >= c.o.Budget.limit/aggregateShare
	}
	for n, l := range levels {
		if l.bits > own.Bits() {
			continue // a jail that counts by /16 has nothing to gain from /24
		}
		k := prefix.Of(a, l.bits)
		i, ok := c.aggregates.find(k)
		if !ok {
			if full() {
				c.sweep(&c.aggregates, f.at, sweepStep, c.o.FindTime)
			}
			if full() && n < len(levels)-1 {
				continue
			}
			if full() {
				c.drop(&c.aggregates, c.aggregates.any())
			}
			i = c.aggregates.insert(k)
			c.o.Budget.aggregates++
		}
		v := c.count(&c.aggregates, i, f, Weighing{}, c.o.MaxRetry*l.factor, max(aggregateNodes, c.o.MaxRetry))
		v.Aggregate = true
		return v
	}
	return Verdict{Prefix: own.Prefix(), Count: int(f.weight), Tripped: int(f.weight) >= c.o.MaxRetry}
}

// count drops from an entry's list what has left its windows, puts a failure at its head, and sums up. Of those in the
// window at most most are kept.
func (c *Counter) count(t *table, i uint32, f node, w Weighing, trip, most int) Verdict {
	e := t.at(i)
	slow := c.width > 0 && t == &c.prefixes
	e.newest = f.at
	sum, long, kept, ahead := 0, 0, 1, 0
	var window, day usersSeen // in the normal window, and in the slow one
	tallies := false
	var latest *node // of those in the window the one added last
	for link := &e.head; *link != 0; {
		x := t.node(*link)
		if x.tally {
			if _, over := c.tallySum(x, f.at); over {
				link = t.cutOut(link)
				continue
			}
			tallies = true
			link = &x.next
			continue
		}
		in, inSlow := near(f.at, x.at, c.o.FindTime), slow && c.slowly(f.at, x.at)
		if !in && inSlow && x.at < f.at {
			tallies = true
			link = c.moveToTally(t, e, link)
			continue
		}
		if in && kept >= most || !in && (x.at < f.at || ahead >= most) {
			link = t.cutOut(link)
			continue
		}
		if in {
			if latest == nil {
				latest = x
			}
			kept++
			e.newest = max(e.newest, x.at)
			sum += int(x.weight)
			window.see(x)
		} else {
			ahead++
		}
		if inSlow {
			long += int(x.attempts)
			day.see(x)
		}
		link = &x.next
	}
	for n := e.head; tallies && n != 0; n = t.node(n).next { // all are filled now
		if x := t.node(n); x.tally {
			sum, _ := c.tallySum(x, f.at)
			if long += sum; x.shared() {
				long += sum
			}
			if sum > 0 {
				day.see(x)
			}
		}
	}
	f.weight = w.weigh(&f, &window)
	sum += int(f.weight)
	long += int(f.attempts)
	day.see(&f)
	if latest != nil && c.o.Budget.nodes >= nodeShare*c.o.Budget.limit {
		latest.fold(f)
	} else {
		f.next = e.head
		e.head = t.newNode(f)
	}
	c.reportNodes()
	// More than the kept ones cannot be told apart any more: they have tripped long before.
	trip = min(trip, most)
	v := Verdict{Prefix: e.key.Prefix(), Count: sum, Tripped: sum >= trip}
	if slow {
		v.Long = long + max(0, day.n-1)
		v.Slow = !v.Tripped && v.Long >= c.slowRetry(day.n, f.unknown || w.Known)
	}
	return v
}

// reportNodes tells the budget how many failures are kept.
func (c *Counter) reportNodes() {
	n := int(c.prefixes.live) + int(c.aggregates.live)
	c.o.Budget.nodes += n - c.reported
	c.reported = n
}

// fold adds a failure to the one before it where there is no room for one more. The older time of the two stands, so
// that it counts no longer than it would have by itself, and no user can take back what may be another's.
func (x *node) fold(f node) {
	if x.user != f.user {
		x.user = 0
	}
	x.unknown = x.unknown && f.unknown
	x.attempts = uint8(min(int(x.attempts)+int(f.attempts), maxAttempts))
	x.weight = uint8(min(int(x.weight)+int(f.weight), maxWeight))
	if f.at < x.at {
		x.at, x.pattern = f.at, f.pattern
	}
}

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

// near says whether two moments are less than a time apart, whichever is earlier. The sum must not overflow.
func near(a, b int64, within time.Duration) bool {
	d, most := a-b, within.Microseconds()
	return d < most && -d < most
}
