// Package jail counts failures: so many of one prefix within a window of time. It is pure: no clock (time comes in as
// microseconds since 1970), no I/O, no goroutines. What a line means is known before (policy/filter); what follows from
// a count is decided elsewhere (policy).
//
// Start reading at Counter.Add; slow.go keeps the longer window, accounts.go counts by account, networks.go by network, and
// codec.go saves all of it. connections.go and pending.go tell how many attempts the lines of a daemon stand for, and
// logins.go remembers who logged in from where.
package jail

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"time"
)

// Ref names the journal entry that a failure stands in; what it means is the caller's.
type Ref uint64

// NoRef is of a failure whose entry is not known (any more).
const NoRef = ^Ref(0)

// Failure is one counted failure.
type Failure struct {
	Ref    Ref
	At     int64  // microseconds since 1970
	User   uint32 // hash of the account name (16 bits are kept), 0: not known
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

// Budget bounds how many prefixes all counters together track, and how many failures they keep.
type Budget struct {
	limit, used int
	wide        int // wider prefixes, see wideShare
	nodes       int // failures of all of them
}

// NewBudget allows that many prefixes.
func NewBudget(limit int) *Budget { return &Budget{limit: limit} }

// SetLimit changes the bound; what is tracked already stays.
func (b *Budget) SetLimit(n int) { b.limit = n }

// Limit returns the bound.
func (b *Budget) Limit() int { return b.limit }

// Used is how many prefixes are tracked now.
func (b *Budget) Used() int { return b.used }

// Weighing says how failures on some accounts weigh more or less than one.
type Weighing struct {
	Account int  // added to a failure on an account that the prefix has not failed on in its window, but for the first
	Unknown int  // factor of a failure on a fourth or later account that does not exist; above 1, the first three on a single such account weigh one together
	Known   bool // somebody logged in to the account lately: repeating it is a device with an old password, up to a point
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

// When the budget is used up and nothing has expired, a prefix that is not tracked yet is counted as part of wider
// ones, in a table of their own: an LRU instead would forget every address of a flood whose addresses take turns.
// A wider prefix holds innocent neighbours, so it takes more failures to trip; the factors on MaxRetry.
var (
	wide4 = []level{{24, 4}}
	wide6 = []level{{56, 4}, {48, 16}}
)

type level struct{ bits, factor int }

const (
	// wideShare is the part of the budget that all tables of wider prefixes may have besides it, and wideLeast what each
	// has in any case, so that a flood against one jail does not blind the others. When that is full, too, a new prefix
	// takes the place of one picked by chance, which no order of addresses can exploit.
	wideShare = 2
	wideLeast = 1024

	// nodeShare is how many failures are kept for each prefix of the budget: all of them at the usual MaxRetry of 5, where
	// the fifth is a ban. A jail with a long window and a high MaxRetry must not take memory without bound; see fold.
	nodeShare = 4

	// wideNodes is how many failures of a wider prefix are kept: its threshold at the usual MaxRetry of 5 to 32.
	wideNodes = 128

	// sweepStep is how many prefixes are looked at for expired ones when room is needed: a bounded price for each new
	// address, and in a flood every prefix is looked at soon.
	sweepStep = 64
)

// Counter counts the failures of one jail. One goroutine uses it.
//
// A failure is in the window of another when they are less than FindTime apart, whichever is older: an entry that comes
// late, or after the clock was set back, is counted with what lies around it, and what lies ahead of a clock that was
// set back does not count for ever. Nor does it go: two machines whose clocks differ must not make each other's failures
// be forgotten.
type Counter struct {
	o          Options
	find       int64
	keep       int64 // the longer of both windows
	width      int64 // of a bucket of the slow window; 0: there is none
	narrow     table
	wide       table
	aggregated uint64
	cut        uint64
	told       int // failures that the budget knows of

	patterns []string // by number; the first is that of a failure whose pattern is not known
	numbers  map[string]uint16
	latest   uint16 // number of the pattern asked for last, which is mostly asked for again
}

// NewCounter makes a counter.
func NewCounter(o Options) *Counter {
	c := &Counter{patterns: []string{""}, numbers: map[string]uint16{"": 0}}
	c.narrow.seed, c.wide.seed = o.Seed, o.Seed^0x5851f42d4c957f2d
	c.set(o)
	return c
}

func (c *Counter) set(o Options) {
	c.o, c.find, c.width = o, o.FindTime.Microseconds(), 0
	c.keep = c.find
	if o.SlowTime > o.FindTime && o.SlowRetry > o.MaxRetry {
		c.width = max(1, o.SlowTime.Microseconds()/buckets)
		c.keep = o.SlowTime.Microseconds()
	}
}

// number gives a pattern's number. Those of a filter are few; names beyond maxPatterns, of many reloads, are not kept.
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
	c.narrow.round, c.narrow.pressed, c.wide.round = sweepRound{}, sweepRound{}, sweepRound{}
}

func (c *Counter) dropFamily(v6 bool) {
	for i := uint32(0); i < c.narrow.len(); i++ { // len is 0 as soon as the last one is gone
		if e := c.narrow.at(i); e.used() && e.key().v6() == v6 {
			c.drop(&c.narrow, i)
		}
	}
	c.narrow.shrink()
}

// drop forgets one entry.
func (c *Counter) drop(t *table, i uint32) {
	t.remove(i)
	if t == &c.narrow {
		c.o.Budget.used--
	} else {
		c.o.Budget.wide--
	}
	c.settle()
}

// settle tells the budget how many failures are kept.
func (c *Counter) settle() {
	n := int(c.narrow.live) + int(c.wide.live)
	c.o.Budget.nodes += n - c.told
	c.told = n
}

// Close gives the counter's part of the budget back.
func (c *Counter) Close() {
	c.o.Budget.used -= c.narrow.n
	c.o.Budget.wide -= c.wide.n
	c.narrow, c.wide = table{seed: c.narrow.seed}, table{seed: c.wide.seed}
	c.settle()
}

// Tracked is how many prefixes have failures.
func (c *Counter) Tracked() int { return c.narrow.n + c.wide.n }

// Aggregated is how many failures were counted on a wider prefix.
func (c *Counter) Aggregated() uint64 { return c.aggregated }

// Budget is what bounds the counter.
func (c *Counter) Budget() *Budget { return c.o.Budget }

// Need is the count that trips for a prefix that Look has answered.
func (c *Counter) Need(p netip.Prefix) int {
	if p.Bits() < c.length(p.Addr()) {
		for _, l := range widths(p.Addr()) {
			if l.bits == p.Bits() {
				return min(c.o.MaxRetry*l.factor, max(wideNodes, c.o.MaxRetry))
			}
		}
	}
	return c.o.MaxRetry
}

// Has says whether anything stands against an address's prefix in the windows of a moment.
func (c *Counter) Has(a netip.Addr, at int64) bool {
	return c.has(a, at, func(*node) bool { return true })
}

// HasOthers says whether failures on other accounts stand against an address in any window of a moment.
func (c *Counter) HasOthers(a netip.Addr, user uint32, at int64) bool {
	return c.has(a, at, func(x *node) bool { return x.name() != user&(1<<16-1) })
}

func (c *Counter) has(a netip.Addr, at int64, counts func(*node) bool) bool {
	i, ok := c.narrow.find(keyOf(a, c.length(a)))
	if !ok {
		return false
	}
	for n := c.narrow.at(i).head; n != 0; n = c.narrow.node(n).next {
		x := c.narrow.node(n)
		if !counts(x) {
			continue
		}
		if x.isCell() {
			if sum, _ := c.cellSum(x, at); sum > 0 {
				return true
			}
		} else if c.within(at, x.at()) || c.slowly(at, x.at()) {
			return true
		}
	}
	return false
}

// Cut is how many prefixes lost what they had in the slow window to make room for others.
func (c *Counter) Cut() uint64 { return c.cut }

func (c *Counter) length(a netip.Addr) int {
	if a.Is4() {
		return c.o.Prefix4
	}
	return c.o.Prefix6
}

// Add counts a failure of an address.
func (c *Counter) Add(a netip.Addr, x Failure, w Weighing) Verdict {
	k := keyOf(a, c.length(a))
	f := c.nodeOf(x)
	if i, ok := c.narrow.find(k); ok {
		return c.count(&c.narrow, i, f, w, c.o.MaxRetry, c.o.MaxRetry+lightRetries)
	}
	if c.o.Budget.used >= c.o.Budget.limit {
		c.sweep(&c.narrow, x.At, sweepStep, c.keep)
	}
	if c.o.Budget.used >= c.o.Budget.limit && c.width > 0 {
		// Who is slow gives way to who is not: without the slow window there would be room.
		n := c.narrow.n
		c.sweep(&c.narrow, x.At, sweepStep, c.find)
		c.cut += uint64(n - c.narrow.n)
	}
	if c.o.Budget.used < c.o.Budget.limit {
		i := c.narrow.insert(k)
		c.o.Budget.used++
		return c.count(&c.narrow, i, f, w, c.o.MaxRetry, c.o.MaxRetry+lightRetries)
	}
	return c.addWide(a, k, f)
}

func (c *Counter) nodeOf(x Failure) node {
	return node{ref: x.Ref, when: whenOf(x.At, c.number(x.Pattern)), user: userBits(x.User, x.Unknown, x.Attempts, x.Weight)}
}

// purge takes nodes out of an entry, and the entry when none is left, which it says.
func (c *Counter) purge(i uint32, gone func(*node) bool) (empty bool) {
	c.narrow.unlink(i, gone)
	if empty = c.narrow.at(i).head == 0; empty {
		c.drop(&c.narrow, i)
	}
	c.settle()
	return empty
}

// addWide counts a failure for which there is no room of its own.
func (c *Counter) addWide(a netip.Addr, narrow key, f node) Verdict {
	c.aggregated++
	levels := widths(a)
	full := func() bool { return c.wide.n >= wideLeast && c.o.Budget.wide >= c.o.Budget.limit/wideShare }
	for n, l := range levels {
		if l.bits > int(narrow.bits) {
			continue // a jail that counts by /16 has nothing to gain from /24
		}
		k := keyOf(a, l.bits)
		i, ok := c.wide.find(k)
		if !ok {
			if full() {
				c.sweep(&c.wide, f.at(), sweepStep, c.find)
			}
			if full() && n < len(levels)-1 {
				continue
			}
			if full() {
				c.drop(&c.wide, c.wide.any())
			}
			i = c.wide.insert(k)
			c.o.Budget.wide++
		}
		v := c.count(&c.wide, i, f, Weighing{}, c.o.MaxRetry*l.factor, max(wideNodes, c.o.MaxRetry))
		v.Aggregate = true
		return v
	}
	return Verdict{Prefix: narrow.prefix(), Count: f.weight(), Tripped: f.weight() >= c.o.MaxRetry}
}

// count drops from an entry's list what has left its windows, puts a failure at its head, and sums up. Of those in the
// window at most most are kept.
func (c *Counter) count(t *table, i uint32, f node, w Weighing, trip, most int) Verdict {
	e := t.at(i)
	at, slow := f.at(), c.width > 0 && t == &c.narrow
	e.newest = at
	sum, long, kept, ahead := 0, 0, 1, 0
	var window, day accounts // of the normal window, and of the slow one
	cells := false
	var near *node // of those in the window the one added last
	for link := &e.head; *link != 0; {
		x := t.node(*link)
		if x.isCell() {
			if _, over := c.cellSum(x, at); over {
				link = t.cutOut(link)
				continue
			}
			cells = true
			link = &x.next
			continue
		}
		in, inSlow := c.within(at, x.at()), slow && c.slowly(at, x.at())
		if !in && inSlow && x.at() < at {
			cells = true
			link = c.compact(t, e, link)
			continue
		}
		if in && kept >= most || !in && (x.at() < at || ahead >= most) {
			link = t.cutOut(link)
			continue
		}
		if in {
			if near == nil {
				near = x
			}
			kept++
			e.newest = max(e.newest, x.at())
			sum += x.weight()
			window.see(x)
		} else {
			ahead++
		}
		if inSlow {
			long += x.attempts()
			day.see(x)
		}
		link = &x.next
	}
	for n := e.head; cells && n != 0; n = t.node(n).next { // all are filled now
		if x := t.node(n); x.isCell() {
			sum, _ := c.cellSum(x, at)
			if long += sum; x.weight() == manyUsers {
				long += sum // see maxCells
			}
			if sum > 0 {
				day.see(x)
			}
		}
	}
	f.setWeight(w.weigh(&f, &window))
	sum += f.weight()
	long += f.attempts()
	day.see(&f)
	if near != nil && c.o.Budget.nodes >= nodeShare*c.o.Budget.limit {
		near.fold(f)
	} else {
		f.next = e.head
		e.head = t.newNode(f)
	}
	c.settle()
	// More than the kept ones cannot be told apart any more: they have tripped long before.
	trip = min(trip, most)
	v := Verdict{Prefix: e.key().prefix(), Count: sum, Tripped: sum >= trip}
	if slow {
		v.Long = long + max(0, day.n-1)
		v.Slow = !v.Tripped && v.Long >= c.slowRetry(day.n, f.unknown() || w.Known)
	}
	return v
}

// slowRetry is the count that trips in the slow window. Who repeats one account that does not exist, or that people log in
// to, all day is a device with an old setting, until it is very often.
func (c *Counter) slowRetry(accounts int, device bool) int {
	if accounts <= 1 && device {
		return min(deviceFactor*c.o.SlowRetry, (buckets-1)*bucketMax) // more than a cell counts is never reached
	}
	return c.o.SlowRetry
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
func (w *Weighing) weigh(f *node, window *accounts) int {
	weight := f.weight()
	if f.name() == 0 {
		return weight
	}
	before := window.of(f)
	switch {
	case !f.unknown():
		if window.n > 0 && before == 0 {
			weight += w.Account
		}
	case w.Unknown > 1 && weight == f.attempts(): // not where the pattern itself says more
		switch {
		case window.n == 0 || window.n == 1 && before > 0:
			weight = max(1, before+weight-freeRetries+1) - min(before, max(1, before-freeRetries+1))
		case before == 0 && window.unknown >= manyNames:
			weight *= w.Unknown
		}
	}
	return min(weight, 255)
}

// accounts are those that a prefix failed on, as far as they can be told apart.
type accounts struct {
	n, unknown int // how many different ones, and how many of these do not exist
	seen       [maxCells + 4]struct{ name, attempts uint16 }
}

func (a *accounts) see(x *node) {
	name, attempts := uint16(x.name()), uint16(x.attempts())
	if name == 0 {
		return
	}
	for i := range a.seen[:min(a.n, len(a.seen))] {
		if a.seen[i].name == name {
			a.seen[i].attempts += min(attempts, math.MaxUint16-a.seen[i].attempts)
			return
		}
	}
	if a.n < len(a.seen) {
		a.seen[a.n].name, a.seen[a.n].attempts = name, attempts
	}
	a.n++
	if x.unknown() {
		a.unknown++
	}
}

// of is how many attempts there were on a failure's account.
func (a *accounts) of(x *node) int {
	for i := range a.seen[:min(a.n, len(a.seen))] {
		if uint32(a.seen[i].name) == x.name() {
			return max(1, int(a.seen[i].attempts))
		}
	}
	return 0
}

// fold adds a failure to the one before it where there is no room for one more. The older time of the two stands, so
// that it counts no longer than it would have by itself, and no user can take back what may be another's.
func (x *node) fold(f node) {
	name := x.name()
	if name != f.name() {
		name = 0
	}
	x.user = userBits(name, x.unknown() && f.unknown(), x.attempts()+f.attempts(), x.weight()+f.weight())
	if f.at() < x.at() {
		x.when = f.when
	}
}

func (c *Counter) within(a, b int64) bool { return near(a, b, c.find) }

// Take returns what stands against a prefix in the window of the failure added last, oldest first, and forgets it, with
// what stands in the slow window. The prefix is one that Add has answered.
func (c *Counter) Take(p netip.Prefix) []Failure { return c.take(p, false) }

// TakeSlow is Take for the slow window. What was counted together there comes as one failure with the weight of all.
func (c *Counter) TakeSlow(p netip.Prefix) []Failure { return c.take(p, true) }

func (c *Counter) take(p netip.Prefix, slow bool) []Failure {
	k := keyOf(p.Addr(), p.Bits())
	for _, t := range []*table{&c.narrow, &c.wide} {
		if i, ok := t.find(k); ok {
			var last int64
			for n := t.at(i).head; n != 0; n = t.node(n).next {
				if x := t.node(n); !x.isCell() {
					last = x.at()
					break
				}
			}
			l := c.failures(t, i, last, slow)
			c.drop(t, i)
			return l
		}
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
		case x.isCell():
			if w, _ := c.cellSum(x, at); slow && w > 0 {
				l = append(l, Failure{Ref: x.ref, At: min(at, c.cellTime(x, at)), User: x.name(), Weight: w, Attempts: w, Unknown: x.unknown()})
			}
		case c.within(at, x.at()) || slow && c.slowly(at, x.at()):
			l = append(l, Failure{Ref: x.ref, At: x.at(), User: x.name(), Weight: x.weight(), Attempts: x.attempts(), Unknown: x.unknown(), Pattern: c.patterns[x.pattern()]})
		}
	}
	slices.Reverse(l)
	if slow {
		slices.SortStableFunc(l, func(a, b Failure) int { return cmp.Compare(a.At, b.At) })
	}
	return l
}

// OnAccount returns the attempts of an address on one account within a time before a moment, oldest first. Of attempts that
// have left the normal window only those are counted that certainly lie within it.
func (c *Counter) OnAccount(a netip.Addr, user uint32, at int64, long time.Duration) (attempts int, l []Failure) {
	i, ok := c.narrow.find(keyOf(a, c.length(a)))
	if !ok || user == 0 {
		return 0, nil
	}
	for n := c.narrow.at(i).head; n != 0; n = c.narrow.node(n).next {
		x := c.narrow.node(n)
		switch {
		case x.name() != user&(1<<16-1):
		case x.isCell():
			if c.width == 0 {
				continue
			}
			newest, sum := c.bucket(at)-int64(c.cellTop(x, at)), 0
			for j := range buckets {
				if from := (newest - int64(j)) * c.width; from > at-span(long) && from+c.width <= at+span(long) {
					sum += x.bucketCount(j)
				}
			}
			if sum > 0 {
				attempts += sum
				l = append(l, Failure{Ref: x.ref, At: min(at, c.cellTime(x, at)), User: x.name(), Weight: sum, Attempts: sum, Unknown: x.unknown()})
			}
		case near(at, x.at(), span(long)):
			attempts += x.attempts()
			l = append(l, Failure{Ref: x.ref, At: x.at(), User: x.name(), Weight: x.weight(), Attempts: x.attempts(), Unknown: x.unknown(), Pattern: c.patterns[x.pattern()]})
		}
	}
	slices.SortStableFunc(l, func(a, b Failure) int { return cmp.Compare(a.At, b.At) })
	return attempts, l
}

// Look returns what stands against an address in its window at a moment, oldest first, and under which prefix. It
// changes nothing.
func (c *Counter) Look(a netip.Addr, at int64) (p netip.Prefix, l []Failure) {
	k := keyOf(a, c.length(a))
	p = k.prefix()
	if i, ok := c.narrow.find(k); ok {
		return p, c.failures(&c.narrow, i, at, false)
	}
	for _, v := range widths(a) {
		if i, ok := c.wide.find(keyOf(a, v.bits)); ok {
			return keyOf(a, v.bits).prefix(), c.failures(&c.wide, i, at, false)
		}
	}
	return p, nil
}

// LookSlow returns what stands in the slow window of a moment, the count that trips there, the failures as TakeSlow does, and
// when the count becomes less if nothing comes.
func (c *Counter) LookSlow(a netip.Addr, at int64) (sum, need int, l []Failure, until int64) {
	i, ok := c.narrow.find(keyOf(a, c.length(a)))
	if !ok || c.width == 0 {
		return 0, c.o.SlowRetry, nil, 0
	}
	l = c.failures(&c.narrow, i, at, true)
	oldest := c.bucket(at)
	var day accounts
	device := false
	for n := c.narrow.at(i).head; n != 0; n = c.narrow.node(n).next {
		x := c.narrow.node(n)
		switch {
		case x.isCell():
			n, _ := c.cellSum(x, at)
			if n == 0 {
				continue
			}
			if sum += n; x.weight() == manyUsers {
				sum += n
			}
			if b, ok := c.cellOldest(x, at); ok {
				oldest = min(oldest, b)
			}
		case c.slowly(at, x.at()):
			sum += x.attempts()
			oldest = min(oldest, c.bucket(x.at()))
		default:
			continue
		}
		day.see(x)
		device = x.unknown()
	}
	return sum + max(0, day.n-1), c.slowRetry(day.n, device), l, (oldest + buckets) * c.width
}

func widths(a netip.Addr) []level {
	if a.Is4() {
		return wide4
	}
	return wide6
}

// Success forgets what one user from that prefix had against it, in both windows, and nothing more: an attacker's own
// account does not wash away what he tried on others. It says whether nothing is left.
func (c *Counter) Success(a netip.Addr, user uint32) (clear bool) {
	i, ok := c.narrow.find(keyOf(a, c.length(a)))
	if user &= 1<<16 - 1; !ok || user == 0 {
		return !ok
	}
	return c.purge(i, func(x *node) bool { return x.name() == user })
}

// justNow is how long before a line that says that an attempt was none the attempt may have been counted.
const justNow = 2 * time.Second

// TakeBack takes out the latest failure of a user that was counted just before a moment, and says whether there was one.
func (c *Counter) TakeBack(a netip.Addr, user uint32, at int64) bool {
	i, ok := c.narrow.find(keyOf(a, c.length(a)))
	if user &= 1<<16 - 1; !ok || user == 0 {
		return false
	}
	taken := false
	c.purge(i, func(x *node) bool {
		if taken || x.isCell() || x.name() != user || x.attempts() != 1 || !near(at, x.at(), span(justNow)) {
			return false
		}
		taken = true
		return true
	})
	return taken
}

// RestoreRef gives a failure that was restored without it the entry that it stands in.
func (c *Counter) RestoreRef(a netip.Addr, x Failure) {
	tell := func(t *table, k key) bool {
		i, ok := t.find(k)
		if !ok {
			return false
		}
		for n := t.at(i).head; n != 0; n = t.node(n).next {
			if f := t.node(n); !f.isCell() && f.ref == NoRef && f.at() == x.At && (f.name() == x.User&(1<<16-1) || f.name() == 0) {
				f.ref = x.Ref
				return true
			}
		}
		return false
	}
	if tell(&c.narrow, keyOf(a, c.length(a))) {
		return
	}
	for _, l := range widths(a) {
		if tell(&c.wide, keyOf(a, l.bits)) {
			return
		}
	}
}

// Forget drops what stands against a prefix, against all within it, and against the one around it.
func (c *Counter) Forget(p netip.Prefix) {
	k := keyOf(p.Addr(), p.Bits())
	levels := wide6
	if !k.v6() {
		levels = wide4
	}
	c.forget(&c.narrow, k, c.length(p.Addr()))
	for _, l := range levels {
		c.forget(&c.wide, k, l.bits)
	}
}

// forget drops those of a table's entries of one length that hold k or lie in it. Whoever lifts 100,000 bans at once calls
// it as often, so it looks them up one by one unless they are more than the table has.
func (c *Counter) forget(t *table, k key, length int) {
	apart := length - int(k.bits&lenMask)
	switch {
	case t.n == 0:
	case apart <= 0:
		if i, ok := t.find(k.cut(uint16(length))); ok {
			c.drop(t, i)
		}
	case length <= 64 && apart < 32 && 1<<apart <= t.n:
		for n := range uint64(1) << apart {
			x := k.cut(uint16(length))
			x.hi |= n << (64 - length)
			if i, ok := t.find(x); ok {
				c.drop(t, i)
			}
		}
	default:
		for i := uint32(0); i < t.len(); i++ { // len is 0 as soon as the last one is gone
			e := t.at(i)
			if e.used() && int(e.bits&lenMask) == length && e.key().v6() == k.v6() && e.key().cut(k.bits&lenMask) == k {
				c.drop(t, i)
			}
		}
	}
}

// Expire looks at up to work prefixes and drops those whose windows are over at a moment. Called now and then it goes
// round all of them, and gives memory back.
func (c *Counter) Expire(now int64, work int) {
	c.sweep(&c.narrow, now, work, c.keep)
	c.sweep(&c.wide, now, work, c.find)
	c.narrow.shrink()
	c.wide.shrink()
}

// sweep drops entries of which nothing lies within keep of now: either window.
func (c *Counter) sweep(t *table, now int64, work int, keep int64) {
	r := &t.round
	if keep != c.keep {
		r = &t.pressed
	}
	if r.quiet && now < r.next && r.next-now < 2*keep {
		return // nothing is over yet; the second condition: unless the clock was set back
	}
	for n := min(uint32(work), t.len()); n > 0 && t.n > 0; n-- {
		if r.hand >= t.len() {
			r.hand = 0
		}
		switch e := t.at(r.hand); {
		case !e.used():
		case !near(now, e.newest, keep) && !c.live(t, e, now, keep):
			c.drop(t, r.hand)
			r.freed = true
		case r.seen == 0 || e.newest < r.oldest:
			r.oldest = e.newest
		}
		r.hand++
		if r.seen++; r.seen >= t.len() {
			*r = sweepRound{hand: r.hand, quiet: !r.freed, next: r.oldest + keep, oldest: now}
		}
	}
}

func near(a, b, span int64) bool {
	d := a - b
	return d < span && -d < span
}

// live says whether any failure of an entry is within keep of now, and has newest say so.
func (c *Counter) live(t *table, e *entry, now, keep int64) bool {
	for n := e.head; n != 0; n = t.node(n).next {
		x := t.node(n)
		at := x.at()
		if x.isCell() {
			if c.width == 0 || keep != c.keep {
				continue
			}
			at = c.cellTime(x, now)
		}
		if near(now, at, keep) {
			e.newest = at
			return true
		}
	}
	return false
}

// key is a prefix in two words: IPv4 stands in the upper half of hi. bits holds the length, and what marks a key that is
// in use and the family.
type key struct {
	hi, lo uint64
	bits   uint16
}

const (
	lenMask = 0x00ff
	isUsed  = 0x0100
	isV6    = 0x0200
)

func (k key) v6() bool { return k.bits&isV6 != 0 }

func keyOf(a netip.Addr, length int) key {
	var k key
	if a.Is4() {
		b := a.As4()
		k = key{hi: uint64(binary.BigEndian.Uint32(b[:])) << 32, bits: isUsed | 32}
	} else {
		b := a.As16()
		k = key{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:]), bits: isUsed | isV6 | 128}
	}
	return k.cut(uint16(length))
}

// cut gives the wider prefix of that length.
func (k key) cut(n uint16) key {
	k.bits = k.bits&^lenMask | n
	switch {
	case n < 64:
		k.hi, k.lo = k.hi&^(^uint64(0)>>n), 0
	case n < 128:
		k.lo &^= ^uint64(0) >> (n - 64)
	}
	return k
}

func (k key) prefix() netip.Prefix {
	if k.v6() {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], k.hi)
		binary.BigEndian.PutUint64(b[8:], k.lo)
		return netip.PrefixFrom(netip.AddrFrom16(b), int(k.bits&lenMask))
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(k.hi>>32))
	return netip.PrefixFrom(netip.AddrFrom4(b), int(k.bits&lenMask))
}

func (k key) hash(seed uint64) uint64 {
	// Two rounds of multiply and fold, as wyhash does: fast, and without the seed nobody finds colliding prefixes.
	h, l := bits.Mul64(k.hi^seed, k.lo^uint64(k.bits)<<48^0xa0761d6478bd642f)
	x := h ^ l ^ k.hi
	h, l = bits.Mul64(x^seed>>1, 0xe7037ed1a0b428db^seed)
	return h ^ l
}
