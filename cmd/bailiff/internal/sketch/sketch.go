// Package sketch counts items that attackers choose (account names, addresses) in bounded memory: Top finds the most frequent ones,
// Distinct estimates how many different ones there were. A flood of new items cannot evict frequent ones. No maintained library has
// both algorithms; each is a page of code.
package sketch

import (
	"cmp"
	"container/heap"
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
)

// Top finds the most frequent keys with a fixed number of counters (Metwally and others, "Efficient computation of frequent
// and top-k elements in data streams", 2005: space-saving). A key with more than 1/limit of the total is certainly found, and no
// count is off by more than the total divided by limit.
type Top[K comparable] struct {
	limit int
	counters[K]
}

// counters are a heap (container/heap), the smallest count first.
type counters[K comparable] struct {
	at   map[K]int
	heap []slot[K]
}

type slot[K comparable] struct {
	key        K
	count, off uint64
}

func (c *counters[K]) Len() int           { return len(c.heap) }
func (c *counters[K]) Less(i, j int) bool { return c.heap[i].count < c.heap[j].count }
func (c *counters[K]) Push(x any)         { c.heap = append(c.heap, x.(slot[K])) }
func (c *counters[K]) Pop() any           { panic("no counter is ever taken away") }
func (c *counters[K]) Swap(i, j int) {
	c.heap[i], c.heap[j] = c.heap[j], c.heap[i]
	c.at[c.heap[i].key], c.at[c.heap[j].key] = i, j
}

// NewTop makes a Top with a number of counters.
func NewTop[K comparable](limit int) *Top[K] {
	return &Top[K]{max(1, limit), counters[K]{at: make(map[K]int)}}
}

// Add counts a key n times.
func (t *Top[K]) Add(k K, n uint64) {
	i, ok := t.at[k]
	switch {
	case ok:
		t.heap[i].count += n
	case len(t.heap) < t.limit:
		t.at[k] = len(t.heap)
		heap.Push(t, slot[K]{key: k, count: n})
		return
	default:
		// The rarest key makes room. The new one may have been counted before, but not more often than the rarest.
		old := t.heap[0]
		delete(t.at, old.key)
		t.heap[0] = slot[K]{key: k, count: old.count + n, off: old.count}
		t.at[k] = 0
	}
	heap.Fix(t, i)
}

// Item is a key that was counted at least Least and at most Most times.
type Item[K comparable] struct {
	Key         K
	Least, Most uint64
}

// Items returns the n most frequent keys by their least counts; less orders those that are equal.
func (t *Top[K]) Items(n int, less func(a, b K) int) []*Item[K] {
	l := make([]*Item[K], 0, len(t.heap)) // pointers, so that all key types share the code of the sort
	for _, s := range t.heap {
		l = append(l, &Item[K]{s.key, s.count - s.off, s.count})
	}
	slices.SortFunc(l, func(a, b *Item[K]) int {
		return cmp.Or(cmp.Compare(b.Least, a.Least), cmp.Compare(b.Most, a.Most), less(a.Key, b.Key))
	})
	return l[:min(n, len(l))]
}

// registers of a Distinct: 2^12 give a standard error of 1.04/64, 1.6 %, in 4 KiB.
const registerBits = 12

// Distinct estimates how many different items there were (Flajolet and others, "HyperLogLog", 2007; linear counting for small
// numbers, which are almost exact).
type Distinct struct {
	seed maphash.Seed
	reg  [1 << registerBits]uint8
}

// NewDistinct makes an empty Distinct. Its hash seed is random, so that nobody can choose items that count as one.
func NewDistinct() *Distinct { return &Distinct{seed: maphash.MakeSeed()} }

// Add counts an item.
func (d *Distinct) Add(b []byte) {
	h := maphash.Bytes(d.seed, b)
	i := h >> (64 - registerBits)
	rank := uint8(bits.LeadingZeros64(h<<registerBits|1<<(registerBits-1)) + 1)
	d.reg[i] = max(d.reg[i], rank)
}

// Count returns the estimate.
func (d *Distinct) Count() uint64 {
	const m = float64(len(d.reg))
	sum, empty := 0.0, 0
	for _, r := range d.reg {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			empty++
		}
	}
	e := 0.7213 / (1 + 1.079/m) * m * m / sum
	if e <= 2.5*m && empty > 0 {
		e = m * math.Log(m/float64(empty))
	}
	return uint64(math.Round(e))
}
