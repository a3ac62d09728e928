// Package jail counts failures: so many of one prefix within a window of time. It is pure: no clock (time comes in as
// microseconds since 1970), no I/O, no goroutines. What a line means is known before (policy/filter); what follows from
// a count is decided elsewhere (policy).
//
// Start reading at Counter.Add. attempts.go joins the lines of one connection, so that one wrong password counts once.
package jail

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"time"
)

// Ref names the journal entry that a failure stands in; what it means is the caller's.
type Ref uint64

// Failure is one counted failure.
type Failure struct {
	Ref    Ref
	At     int64  // microseconds since 1970
	User   uint32 // hash of the account name (24 bits are kept), 0: not known
	Weight int    // what it counts, 1 to 255

	Pattern string // of the filter, by which it was known; "": not known any more
}

// Options of a Counter.
type Options struct {
	FindTime time.Duration // how long a failure counts
	MaxRetry int           // the count that trips
	Prefix4  int           // length of the prefixes that are counted
	Prefix6  int
	Budget   *Budget
	Seed     uint64 // of the hash: attackers choose addresses, so they must not know it
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

// Verdict is what one more failure led to.
type Verdict struct {
	Prefix  netip.Prefix // what was counted
	Count   int          // the weights in its window
	Tripped bool         // MaxRetry is reached: the caller bans Prefix and calls Take
	Wide    bool         // Prefix is wider than the configuration says, since the budget was used up
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
	o       Options
	find    int64
	narrow  table
	wide    table
	widened uint64
	told    int // failures that the budget knows of
}

// NewCounter makes a counter.
func NewCounter(o Options) *Counter {
	c := &Counter{}
	c.narrow.seed, c.wide.seed = o.Seed, o.Seed^0x5851f42d4c957f2d
	c.set(o)
	return c
}

func (c *Counter) set(o Options) {
	c.o, c.find = o, o.FindTime.Microseconds()
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
	c.set(o)
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

// Widened is how many failures were counted on a wider prefix.
func (c *Counter) Widened() uint64 { return c.widened }

func (c *Counter) length(a netip.Addr) int {
	if a.Is4() {
		return c.o.Prefix4
	}
	return c.o.Prefix6
}

// Add counts a failure of an address. user is a hash of the account name, weight what it counts (at least 1).
func (c *Counter) Add(a netip.Addr, at int64, ref Ref, user uint32, weight int) Verdict {
	k := keyOf(a, c.length(a))
	f := node{ref: ref, at: at, user: user<<8 | uint32(min(max(weight, 1), 255))}
	if i, ok := c.narrow.find(k); ok {
		return c.count(&c.narrow, i, f, c.o.MaxRetry, c.o.MaxRetry)
	}
	if c.o.Budget.used >= c.o.Budget.limit {
		c.sweep(&c.narrow, at, sweepStep)
	}
	if c.o.Budget.used < c.o.Budget.limit {
		i := c.narrow.insert(k)
		c.o.Budget.used++
		return c.count(&c.narrow, i, f, c.o.MaxRetry, c.o.MaxRetry)
	}
	return c.addWide(a, k, f)
}

// addWide counts a failure for which there is no room of its own.
func (c *Counter) addWide(a netip.Addr, narrow key, f node) Verdict {
	c.widened++
	levels := wide6
	if a.Is4() {
		levels = wide4
	}
	full := func() bool { return c.wide.n >= wideLeast && c.o.Budget.wide >= c.o.Budget.limit/wideShare }
	for n, l := range levels {
		if l.bits > int(narrow.bits) {
			continue // a jail that counts by /16 has nothing to gain from /24
		}
		k := keyOf(a, l.bits)
		i, ok := c.wide.find(k)
		if !ok {
			if full() {
				c.sweep(&c.wide, f.at, sweepStep)
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
		v := c.count(&c.wide, i, f, c.o.MaxRetry*l.factor, max(wideNodes, c.o.MaxRetry))
		v.Wide = true
		return v
	}
	return Verdict{Prefix: narrow.prefix(), Count: f.weight(), Tripped: f.weight() >= c.o.MaxRetry}
}

// count drops from an entry's list what has left the window, puts a failure at its head, and sums up.
func (c *Counter) count(t *table, i uint32, f node, trip, most int) Verdict {
	e := t.at(i)
	e.newest = f.at
	sum, kept, ahead := f.weight(), 1, 0
	var near *node // of those in the window the one added last
	for link := &e.head; *link != 0; {
		x := t.node(*link)
		in := c.within(f.at, x.at)
		if in && kept >= most || !in && (x.at < f.at || ahead >= most) {
			gone := *link
			*link = x.next
			t.freeNode(gone)
			continue
		}
		if in {
			if near == nil {
				near = x
			}
			kept++
			e.newest = max(e.newest, x.at)
			sum += x.weight()
		} else {
			ahead++
		}
		link = &x.next
	}
	if near != nil && c.o.Budget.nodes >= nodeShare*c.o.Budget.limit {
		near.fold(f)
	} else {
		f.next = e.head
		e.head = t.newNode(f)
	}
	c.settle()
	// More than the kept ones cannot be told apart any more: they have tripped long before.
	trip = min(trip, most)
	return Verdict{Prefix: e.key().prefix(), Count: sum, Tripped: sum >= trip}
}

// fold adds a failure to the one before it where there is no room for one more. The older time of the two stands, so
// that it counts no longer than it would have by itself, and no user can take back what may be another's.
func (x *node) fold(f node) {
	w := min(x.weight()+f.weight(), 255)
	if x.user>>8 != f.user>>8 {
		x.user = 0
	}
	x.user = x.user&^0xff | uint32(w)
	x.at = min(x.at, f.at)
}

func (c *Counter) within(a, b int64) bool {
	d := a - b
	return d < c.find && -d < c.find
}

// Take returns what stands against a prefix in the window of the failure added last, oldest first, and forgets it. The
// prefix is one that Add has answered.
func (c *Counter) Take(p netip.Prefix) []Failure {
	k := keyOf(p.Addr(), p.Bits())
	for _, t := range []*table{&c.narrow, &c.wide} {
		if i, ok := t.find(k); ok {
			l := c.failures(t, i)
			c.drop(t, i)
			last := l[len(l)-1].At
			return slices.DeleteFunc(l, func(f Failure) bool { return !c.within(last, f.At) })
		}
	}
	return nil
}

func (c *Counter) failures(t *table, i uint32) []Failure {
	k := 0
	for n := t.at(i).head; n != 0; n = t.node(n).next {
		k++
	}
	l := make([]Failure, k)
	for n := t.at(i).head; n != 0; n = t.node(n).next {
		k--
		x := t.node(n)
		l[k] = Failure{Ref: x.ref, At: x.at, User: x.user >> 8, Weight: x.weight()}
	}
	return l
}

// Look returns what stands against an address in its window at a moment, oldest first, and under which prefix. It
// changes nothing.
func (c *Counter) Look(a netip.Addr, at int64) (p netip.Prefix, l []Failure) {
	k := keyOf(a, c.length(a))
	p = k.prefix()
	if i, ok := c.narrow.find(k); ok {
		l = c.failures(&c.narrow, i)
	} else if c.wide.n > 0 {
		levels := wide6
		if a.Is4() {
			levels = wide4
		}
		for _, v := range levels {
			if i, ok := c.wide.find(keyOf(a, v.bits)); ok {
				p, l = keyOf(a, v.bits).prefix(), c.failures(&c.wide, i)
				break
			}
		}
	}
	return p, slices.DeleteFunc(l, func(f Failure) bool { return !c.within(at, f.At) })
}

// Success forgets what one user from that prefix had against it, and nothing more: an attacker's own account does not
// wash away what he tried on others.
func (c *Counter) Success(a netip.Addr, user uint32, at int64) {
	i, ok := c.narrow.find(keyOf(a, c.length(a)))
	if !ok || user == 0 {
		return
	}
	e := c.narrow.at(i)
	for link := &e.head; *link != 0; {
		x := c.narrow.node(*link)
		if x.user>>8 == user&(1<<24-1) {
			gone := *link
			*link = x.next
			c.narrow.freeNode(gone)
			continue
		}
		link = &x.next
	}
	if e.head == 0 {
		c.drop(&c.narrow, i)
	}
	c.settle()
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

// Expire looks at up to work prefixes and drops those whose window is over at a moment. Called now and then it goes
// round all of them, and gives memory back.
func (c *Counter) Expire(now int64, work int) {
	c.sweep(&c.narrow, now, work)
	c.sweep(&c.wide, now, work)
	c.narrow.shrink()
	c.wide.shrink()
}

func (c *Counter) sweep(t *table, now int64, work int) {
	r := &t.round
	if r.quiet && now < r.next && r.next-now < 2*c.find {
		return // nothing is over yet; the second condition: unless the clock was set back
	}
	for n := min(uint32(work), t.len()); n > 0 && t.n > 0; n-- {
		if t.hand >= t.len() {
			t.hand = 0
		}
		switch e := t.at(t.hand); {
		case !e.used():
		case !c.within(now, e.newest) && !c.live(t, e, now):
			c.drop(t, t.hand)
			r.freed = true
		case r.seen == 0 || e.newest < r.oldest:
			r.oldest = e.newest
		}
		t.hand++
		if r.seen++; r.seen >= t.len() {
			*r = sweepRound{quiet: !r.freed, next: r.oldest + c.find, oldest: now}
		}
	}
}

// live says whether any failure of an entry is in the window of now, and has newest say so.
func (c *Counter) live(t *table, e *entry, now int64) bool {
	for n := e.head; n != 0; n = t.node(n).next {
		if x := t.node(n); c.within(now, x.at) {
			e.newest = x.at
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
