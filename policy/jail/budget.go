package jail

import (
	"time"

	"bailiff/policy/prefix"
)

// Budget limits how many prefixes all counters together track, and how many failures they keep.
type Budget struct {
	limit, used int
	aggregates  int // wider prefixes, see aggregateShare
	nodes       int // number of failures kept
}

// NewBudget returns a budget of limit prefixes.
func NewBudget(limit int) *Budget { return &Budget{limit: limit} }

// SetLimit changes the limit. What is tracked already stays.
func (b *Budget) SetLimit(n int) { b.limit = n }

// Limit returns the number of prefixes allowed.
func (b *Budget) Limit() int { return b.limit }

// When the budget is used up and nothing has expired, a prefix that is not tracked yet is counted as part of wider prefixes,
// in a table of their own. (An LRU would forget every address of a flood whose addresses take turns.) A wider prefix also
// contains innocent addresses, so it needs more failures: these are the factors of MaxRetry.
var (
	aggregates4 = []aggregateLevel{{24, 4}}
	aggregates6 = []aggregateLevel{{56, 4}, {48, 16}}
)

type aggregateLevel struct{ bits, factor int }

func aggregateLevels(k prefix.Key) []aggregateLevel {
	if k.V6() {
		return aggregates6
	}
	return aggregates4
}

const (
	// aggregateShare is the divisor of the budget that gives the additional room for all tables of wider prefixes. Each table has room for
	// at least leastAggregates, so that a flood against one jail does not blind the others. When such a table is full, a new prefix
	// replaces one picked at random, which no order of addresses can exploit.
	aggregateShare  = 2
	leastAggregates = 1024

	// nodeShare is how many failures are kept for each prefix of the budget. That is all of them at the usual MaxRetry of 5, where the
	// fifth leads to a ban. A jail with a long window and a high MaxRetry must not take memory without bound; see node.fold.
	nodeShare = 4

	// aggregateNodes is how many failures of a wider prefix are kept: its threshold at the usual MaxRetry of 5 to 32.
	aggregateNodes = 128

	// sweepStep is how many prefixes are checked for expiry when room is needed: a bounded cost for each new address, and in a
	// flood every prefix is checked soon.
	sweepStep = 64
)

// drop removes an entry.
func (c *Counter) drop(t *table, i uint32) {
	t.remove(i)
	if t == &c.prefixes {
		c.o.Budget.used--
	} else {
		c.o.Budget.aggregates--
	}
	c.reportNodes()
}

// Close returns the counter's part of the budget.
func (c *Counter) Close() {
	c.o.Budget.used -= c.prefixes.n
	c.o.Budget.aggregates -= c.aggregates.n
	c.prefixes, c.aggregates = table{seed: c.prefixes.seed}, table{seed: c.aggregates.seed}
	c.reportNodes()
}

// Expire checks up to work prefixes and drops those without failures in their windows. Repeated calls go through all of them,
// and release memory.
func (c *Counter) Expire(now int64, work int) {
	c.sweep(&c.prefixes, now, work, c.keep)
	c.sweep(&c.aggregates, now, work, c.o.FindTime)
	c.prefixes.shrink()
	c.aggregates.shrink()
}

// sweepRound is what a round of sweeping has seen. If nothing had expired, the next round need not begin before the first
// entry can expire.
type sweepRound struct {
	next   uint32 // entry where the next sweep begins
	seen   uint32
	freed  bool
	oldest int64 // the earliest of the entries' newest failures
	due    int64 // when quiet: nothing expires before this time
	quiet  bool
}

// sweep checks up to work entries and drops those without a failure within keep.
func (c *Counter) sweep(t *table, now int64, work int, keep time.Duration) {
	r := &t.round
	if keep != c.keep {
		r = &t.pressed
	}
	if r.quiet && now < r.due && r.due-now < 2*keep.Microseconds() {
		return // nothing has expired; the second condition: unless the clock was set back
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

// live reports whether any failure of an entry is within keep, and updates newest.
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
