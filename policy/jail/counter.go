// Package jail counts failures: of a prefix within a window of time, on an account, in a network. It does no I/O, reads no
// clock (times are microseconds since 1970) and starts no goroutine. policy/filter determines what a line means; policy
// decides what follows from a count.
//
// Start reading at Counter.Add, and count in failures.go. accounts.go counts by account and networks.go by network; logins.go and bursts.go
// remember what excuses a failure; connections.go and pending.go determine how many attempts a daemon's lines stand for. The Stream method
// of each type describes its part of the state file.
package jail

import (
	"net/netip"
	"time"

	"bailiff/policy/prefix"
)

// Ref identifies the journal entry of a failure. Only the caller knows its meaning.
type Ref uint64

// NoRef is the Ref of a failure whose entry is unknown, or no longer known.
const NoRef = ^Ref(0)

// Failure is one counted failure.
type Failure struct {
	Ref    Ref
	At     int64  // microseconds since 1970
	User   uint16 // part of the hash of the account name; 0: unknown
	Weight int    // how much it counts towards MaxRetry, 0 to 255

	Attempts int    // number of login attempts, 1 to 127
	Unknown  bool   // the account does not exist
	Pattern  string // name of the filter's pattern that matched; "": no longer known
}

// Options of a Counter.
type Options struct {
	FindTime  time.Duration // how long a failure counts
	MaxRetry  int           // the count that leads to a ban
	SlowTime  time.Duration // length of the slow window, which exists if it is longer than FindTime and SlowRetry exceeds MaxRetry
	SlowRetry int           // the count in the slow window that leads to a ban
	Prefix4   int           // length of the counted prefixes
	Prefix6   int
	Budget    *Budget
	Seed      uint64 // of hashes; attackers choose addresses and must not know it

	Interactive bool // people type the passwords, so failures on one account all day are not a device
	NoLogins    bool // programs store the passwords and the daemon does not log logins, so any account may be in use
}

// Verdict is the result of a further failure.
type Verdict struct {
	Prefix    netip.Prefix // what was counted
	Count     int          // the sum of weights in its window
	Long      int          // attempts in its slow window, plus one for each account beyond the first
	Tripped   bool         // MaxRetry is reached: the caller bans Prefix and calls Take
	Slow      bool         // SlowRetry is reached, but not MaxRetry: the caller bans Prefix and calls TakeSlow
	Aggregate bool         // Prefix is wider than configured, since the budget was used up
}

// Counter counts the failures of one jail. One goroutine uses it.
//
// A failure is in the window of another if they are less than FindTime apart, whichever is older. So an entry that comes late, or after the
// clock was set back, counts together with the failures around its time. Failures that lie ahead of a clock that was set back neither count
// forever nor are forgotten, and hosts whose clocks differ do not cause each other's failures to be forgotten.
type Counter struct {
	o     Options
	keep  time.Duration // the longer of both windows
	width int64         // width of a bucket of the slow window, in microseconds; 0: no slow window

	prefixes   table
	aggregates table // wider prefixes, if the budget is used up
	aggregated uint64
	cut        uint64
	reported   int // failures reported to the budget

	patterns []string // by number; the first stands for an unknown one
	numbers  map[string]uint16
	latest   uint16 // number of the pattern used last, usually also the next one
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

// maxPatterns limits the number of names kept. A filter has few, but they add up over many reloads.
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

// Configure changes the settings. What is counted stays and is judged by the new windows. If a prefix length changes, counting starts again
// for that family, since the old counts are for prefixes of another length.
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

// Key returns the prefix by which an address is counted.
func (c *Counter) Key(a netip.Addr) prefix.Key {
	if a.Is4() {
		return prefix.Of(a, c.o.Prefix4)
	}
	return prefix.Of(a, c.o.Prefix6)
}

// Add counts a failure of a prefix.
func (c *Counter) Add(k prefix.Key, x Failure, w Weighing) Verdict {
	f := node{
		ref: x.Ref, at: x.At, pattern: c.number(x.Pattern), user: x.User, unknown: x.Unknown,
		attempts: uint8(min(max(x.Attempts, 1), maxAttempts)), weight: uint8(min(max(x.Weight, 0), maxWeight)),
	}
	i, ok := c.prefixes.find(k)
	if !ok {
		if !c.roomFor(x.At) {
			return c.addAggregate(k, f)
		}
		i = c.prefixes.insert(k)
		c.o.Budget.used++
	}
	return c.count(&c.prefixes, i, f, w, c.o.MaxRetry, crowded(c.o.MaxRetry, w.People)+lightRetries)
}

// roomFor reports whether one more prefix may be tracked. It makes room by dropping prefixes that have expired, then prefixes with failures
// only in the slow window.
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
func (c *Counter) addAggregate(own prefix.Key, f node) Verdict {
	c.aggregated++
	levels := aggregateLevels(own)
	full := func() bool {
		return c.aggregates.n >= leastAggregates && c.o.Budget.aggregates >= c.o.Budget.limit/aggregateShare
	}
	for n, l := range levels {
		if l.bits > own.Bits() {
			continue // not wider: a jail may count by /16
		}
		k := own.Cut(l.bits)
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
