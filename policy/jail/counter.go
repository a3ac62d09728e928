// Package jail counts failures: of a prefix within a window of time, on an account, in a network. It does no I/O, reads no
// clock (times are microseconds since 1970) and starts no goroutine. policy/filter determines what a line means; policy
// decides what follows from a count.
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

// Ref identifies the journal entry of a failure. Only the caller knows its meaning.
type Ref uint64

// NoRef is the Ref of a failure whose entry is not known, or no longer.
const NoRef = ^Ref(0)

// Failure is one counted failure.
type Failure struct {
	Ref    Ref
	At     int64  // microseconds since 1970
	User   uint16 // part of the hash of the account name; 0: unknown
	Weight int    // how much it counts towards MaxRetry, 0 to 255

	Attempts int    // number of login attempts, 1 to 127
	Unknown  bool   // the account does not exist
	Pattern  string // of the filter, that matched; "": no longer known
}

// Options of a Counter.
type Options struct {
	FindTime  time.Duration // how long a failure counts
	MaxRetry  int           // the count that leads to a ban
	SlowTime  time.Duration // length of the slow window, which exists if it is longer than FindTime and SlowRetry exceeds MaxRetry
	SlowRetry int           // the count in it that leads to a ban
	Prefix4   int           // length of the counted prefixes
	Prefix6   int
	Budget    *Budget
	Seed      uint64 // of hashes; attackers choose addresses and must not know it
}

// Verdict is the result of a further failure.
type Verdict struct {
	Prefix    netip.Prefix // what was counted
	Count     int          // the sum of weights in its window
	Long      int          // the attempts in its slow window, plus one for each account but the first
	Tripped   bool         // MaxRetry is reached: the caller bans Prefix and calls Take
	Slow      bool         // SlowRetry is reached, and MaxRetry is not: the caller bans Prefix and calls TakeSlow
	Aggregate bool         // Prefix is wider than configured, since the budget was used up
}

// Counter counts the failures of one jail. One goroutine uses it.
//
// A failure is in the window of another if they are less than FindTime apart, whichever is older. So an entry that comes late,
// or after the clock was set back, counts together with those around its time, and failures ahead of a clock that was set back
// neither count forever nor are forgotten. Two hosts whose clocks differ must not cause each other's failures to be forgotten.
type Counter struct {
	o     Options
	keep  time.Duration // the longer of both windows
	width int64         // of a bucket of the slow window, in microseconds; 0: there is none

	prefixes   table
	aggregates table // wider prefixes, if the budget is used up
	aggregated uint64
	cut        uint64
	reported   int // failures reported to the budget

	patterns []string // by number; the first stands for an unknown one
	numbers  map[string]uint16
	latest   uint16 // number of the pattern used last, mostly the next one, too
}

// NewCounter returns an empty Counter.
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

// maxPatterns limits the names that are kept: a filter has few, but many reloads add up.
const maxPatterns = 2048

// number returns a pattern's number. Names beyond maxPatterns are not kept.
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

// Configure changes the settings. What is counted stays and is judged by the new windows. If a prefix length changes, counting
// begins anew for that family, since old counts say nothing about prefixes of another length.
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

// Tracked returns the number of prefixes with failures.
func (c *Counter) Tracked() int { return c.prefixes.n + c.aggregates.n }

// Aggregated returns how many failures were counted on a wider prefix.
func (c *Counter) Aggregated() uint64 { return c.aggregated }

// Cut returns how many prefixes lost their slow window to make room for others.
func (c *Counter) Cut() uint64 { return c.cut }

// keyOf returns the prefix by which an address is counted.
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

// roomFor reports whether one more prefix may be tracked. It makes room by dropping what has expired; then slow attackers give
// way to fast ones.
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

// addAggregate counts a failure on wider prefixes, because there is no room for its own.
func (c *Counter) addAggregate(a netip.Addr, own prefix.Key, f node) Verdict {
	c.aggregated++
	levels := aggregateLevels(a)
	full := func() bool {
		return c.aggregates.n >= leastAggregates && c.o.Budget.aggregates >= c.o.Budget.limit/aggregateShare
	}
	for n, l := range levels {
		if l.bits > own.Bits() {
			continue // not wider: a jail may count by /16
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

// count removes from an entry's list what has left its windows, puts a failure at its head, and sums up. Of those in the
// window, at most most are kept.
func (c *Counter) count(t *table, i uint32, f node, w Weighing, trip, most int) Verdict {
	e := t.at(i)
	slow := c.width > 0 && t == &c.prefixes
	e.newest = f.at
	sum, long, kept, ahead := 0, 0, 1, 0
	var window, day usersSeen // in the normal window, and in the slow one
	tallies := false
	var latest *node // the one in the window that was added last
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
	for n := e.head; tallies && n != 0; n = t.node(n).next { // all are up to date now
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
	// Further ones cannot be told apart, but the limit was reached long before.
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

// fold merges a failure into the one before it if there is no room for one more. It keeps the older time, so that neither
// counts for longer than by itself, and no account, since a login must not take back another account's failure.
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

// Weighing says which failures weigh more or less than one.
type Weighing struct {
	Account int  // added for each account beyond the first that the prefix fails on within its window
	Unknown int  // factor for the fourth and each later nonexistent account; if above 1, the first three failures on a single such account weigh one together
	Known   bool // somebody logged in to the account lately, so repeated failures are a device with an old password, up to a limit
}

const (
	deviceFactor = 15 // with the default of 20, one failure every five minutes of a day

	// freeRetries is how often ssh asks for the password of one wrong local user name; these failures weigh one together.
	freeRetries = 3
	// manyNames is how many nonexistent names a person tries who has forgotten how the own one is spelled.
	manyNames = 3
	// lightRetries is how many failures of weight 0 are kept in addition to MaxRetry others.
	lightRetries = freeRetries
)

// weigh returns the weight of a failure, given those in its window.
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
	case w.Unknown > 1 && weight == attempts: // not if the pattern has a weight of its own
		switch {
		case window.n == 0 || window.n == 1 && before > 0:
			weight = max(1, before+weight-freeRetries+1) - min(before, max(1, before-freeRetries+1))
		case before == 0 && window.unknown >= manyNames:
			weight *= w.Unknown
		}
	}
	return uint8(min(max(weight, 0), maxWeight))
}

// slowRetry returns the limit of the slow window. Repeating a single account all day, if it does not exist or people log in to
// it, is a device with old settings, unless it happens very often.
func (c *Counter) slowRetry(accounts int, device bool) int {
	if accounts <= 1 && device {
		return min(deviceFactor*c.o.SlowRetry, (buckets-1)*bucketMax) // a tally counts no further
	}
	return c.o.SlowRetry
}

// usersSeen are the accounts on which a prefix failed, as far as they can be told apart.
type usersSeen struct {
	n, unknown int // number of different ones, and of those that do not exist
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

// attempts returns the number of attempts on an account, at least one if there was a failure.
func (s *usersSeen) attempts(user uint16) int {
	for i := range s.list[:min(s.n, len(s.list))] {
		if s.list[i].user == user {
			return max(1, int(s.list[i].attempts))
		}
	}
	return 0
}

// near reports whether two times are less than a span apart, whichever is earlier. The sum must not overflow.
func near(a, b int64, within time.Duration) bool {
	d, most := a-b, within.Microseconds()
	return d < most && -d < most
}
