package jail

import (
	"net/netip"
	"time"
)

// Budget bounds how many prefixes all counters together track, and how many failures they keep.
type Budget struct {
	limit, used int
	aggregates  int // wider prefixes, see aggregateShare
	nodes       int // failures of all of them
}

// NewBudget allows that many prefixes.
func NewBudget(limit int) *Budget { return &Budget{limit: limit} }

// SetLimit changes the bound; what is tracked already stays.
func (b *Budget) SetLimit(n int) { b.limit = n }

// Limit returns the bound.
func (b *Budget) Limit() int { return b.limit }

// When the budget is used up and nothing has expired, a prefix that is not tracked yet is counted as part of wider
// ones, in a table of their own: an LRU instead would forget every address of a flood whose addresses take turns.
// A wider prefix holds innocent addresses, too, so it takes more failures to trip; the factors on MaxRetry.
var (
	aggregates4 = []aggregateLevel{{24, 4}}
	aggregates6 = []aggregateLevel{{56, 4}, {48, 16}}
)

type aggregateLevel struct{ bits, factor int }

func aggregateLevels(a netip.Addr) []aggregateLevel {
	if a.Is4() {
		return aggregates4
	}
	return aggregates6
}

const (
	// aggregateShare is the part of the budget that all tables of wider prefixes may have besides it, and leastAggregates what
	// each has in any case, so that a flood against one jail does not blind the others. When that is full, too, a new prefix
	// takes the place of one picked by chance, which no order of addresses can exploit.
	aggregateShare  = 2
	leastAggregates = 1024

	// nodeShare is how many failures are kept for each prefix of the budget: all of them at the usual MaxRetry of 5, where
	// the fifth is a ban. A jail with a long window and a high MaxRetry must not take memory without bound; see node.fold.
	nodeShare = 4

	// aggregateNodes is how many failures of a wider prefix are kept: its threshold at the usual MaxRetry of 5 to 32.
	aggregateNodes = 128

	// sweepStep is how many prefixes are looked at for expired ones when room is needed: a bounded price for each new
	// address, and in a flood every prefix is looked at soon.
	sweepStep = 64
)

// drop forgets one entry.
func (c *Counter) drop(t *table, i uint32) {
	t.remove(i)
	if t == &c.prefixes {
		c.o.Budget.used--
	} else {
		c.o.Budget.aggregates--
	}
	c.reportNodes()
}

// Close gives the counter's part of the budget back.
func (c *Counter) Close() {
	c.o.Budget.used -= c.prefixes.n
	c.o.Budget.aggregates -= c.aggregates.n
	c.prefixes, c.aggregates = table{seed: c.prefixes.seed}, table{seed: c.aggregates.seed}
	c.reportNodes()
}

// Expire looks at up to work prefixes and drops those whose windows are over at a moment. Called now and then it goes
// round all of them, and gives memory back.
func (c *Counter) Expire(now int64, work int) {
	c.sweep(&c.prefixes, now, work, c.keep)
	c.sweep(&c.aggregates, now, work, c.o.FindTime)
	c.prefixes.shrink()
	c.aggregates.shrink()
}

// sweepRound is what sweeping has seen since it began its round: if nothing was found to be over, the next round need not begin
// before the first entry can be.
type sweepRound struct {
	next   uint32 // entry where the next sweep begins
	seen   uint32
	freed  bool
	oldest int64 // of the newest failures of those seen
	due    int64 // when quiet: nothing is over before this time
	quiet  bool
}

// sweep drops entries of which nothing lies within keep of now: either window.
func (c *Counter) sweep(t *table, now int64, work int, keep time.Duration) {
	r := &t.round
	if keep != c.keep {
		r = &t.pressed
	}
	if r.quiet && now < r.due && r.due-now < 2*keep.Microseconds() {
		return // nothing is over yet; the second condition: unless the clock was set back
	}
	for n := min(uint32(work), t.len()); n > 0 && t.n > 0; n-- {
		if r.next >= t.len() {
			r.next = 0
		}
		switch e := t.at(r.next); {
		case !e.used():
		case !near(now, e.newest, keep) && !c.live(t, e, now, keep):
			c.drop(t, r.next)
			r.freed = true
		case r.seen == 0 || e.newest < r.oldest:
			r.oldest = e.newest
		}
		r.next++
		if r.seen++; r.seen >= t.len() {
			*r = sweepRound{next: r.next, quiet: !r.freed, due: r.oldest + keep.Microseconds(), oldest: now}
		}
	}
}

// live says whether any failure of an entry is within keep of now, and has newest say so.
func (c *Counter) live(t *table, e *entry, now int64, keep time.Duration) bool {
	for n := e.head; n != 0; n = t.node(n).next {
		x := t.node(n)
		at := x.at
		if x.tally {
			if c.width == 0 || keep != c.keep {
				continue
			}
			at = c.tallyTime(x, now)
		}
		if near(now, at, keep) {
			e.newest = at
			return true
		}
	}
	return false
}
