package jail

import "bailiff/policy/prefix"

// table maps prefixes to lists of failures: open addressing over an index of hashes and entry numbers; entries and failures are in chunks.
// It is not a Go map, since a million prefixes with one failure each must fit into 100 MB. A map of entries takes 40 bytes a slot and is
// half empty after it has grown; a map of pointers takes as much, plus an allocation for each entry. Besides, growing never copies entries,
// and sweeping continues where it stopped. A prefix takes 32 bytes and 11 to 21 of the index, a failure 32.
type table struct {
	seed    uint64
	index   []uint64 // upper half of the hash, then entry number + 1; 0: empty. Its length is a power of two
	entries [][]entry
	top     uint32 // all used entry numbers are below it
	free    uint32 // head of the list of free entries, + 1
	n       int
	seen    uint64 // state of the random numbers of any
	nodes   [][]node
	nodeTop uint32 // node numbers from 1 on
	nodeOut uint32 // head of the list of free nodes
	live    uint32 // nodes in use
	round   sweepRound
	pressed sweepRound // of sweeps by the normal window alone
}

// entry is one prefix.
type entry struct {
	key    prefix.Key // zero: a free entry
	head   uint32     // the failure added last; of a free entry, the next free one + 1
	newest int64      // time of the newest failure in a window
}

func (e *entry) used() bool { return !e.key.IsZero() }

// chunk is how many entries or nodes are allocated at once: 32 KiB, small enough for an idle host.
const (
	chunkBits = 10
	chunk     = 1 << chunkBits
)

func (t *table) len() uint32        { return t.top }
func (t *table) at(i uint32) *entry { return &t.entries[i>>chunkBits][i&(chunk-1)] }

// A slot's number is the lower part of the hash. The slot contains the upper half, so that neither probing nor growing visits
// entries.
const hashHalf = 0xffffffff << 32

func (t *table) next(s uint64) uint64 { return (s + 1) & uint64(len(t.index)-1) }

// home returns the first slot for the content of a slot.
func (t *table) home(x uint64) uint64 { return x >> 32 & uint64(len(t.index)-1) }

// find returns the number of a prefix's entry.
func (t *table) find(k prefix.Key) (i uint32, ok bool) {
	if t.n == 0 {
		return 0, false
	}
	h := k.Hash(t.seed) & hashHalf
	for s := t.home(h); t.index[s] != 0; s = t.next(s) {
		if x := t.index[s]; x&hashHalf == h {
			i := uint32(x) - 1
			if t.at(i).key == k {
				return i, true
			}
		}
	}
	return 0, false
}

// insert adds an entry for a prefix that has none.
func (t *table) insert(k prefix.Key) uint32 {
	if 4*(t.n+1) > 3*len(t.index) {
		t.rehash(max(64, 2*len(t.index)))
	}
	var i uint32
	if t.free != 0 {
		i = t.free - 1
		t.free = t.at(i).head
	} else {
		i = t.top
		if int(i>>chunkBits) == len(t.entries) {
			t.entries = append(t.entries, make([]entry, chunk))
		}
		t.top++
	}
	*t.at(i) = entry{key: k}
	t.put(k.Hash(t.seed)&hashHalf | uint64(i+1))
	t.n++
	return i
}

func (t *table) put(x uint64) {
	s := t.home(x)
	for t.index[s] != 0 {
		s = t.next(s)
	}
	t.index[s] = x
}

func (t *table) rehash(size int) {
	old := t.index
	t.index = make([]uint64, size)
	for _, x := range old {
		if x != 0 {
			t.put(x)
		}
	}
}

// remove removes an entry with its failures.
func (t *table) remove(i uint32) {
	e := t.at(i)
	for n := e.head; n != 0; {
		next := t.node(n).next
		t.freeNode(n)
		n = next
	}
	s := t.home(e.key.Hash(t.seed))
	for uint32(t.index[s]) != i+1 {
		s = t.next(s)
	}
	// Close the gap: move up what follows it and may be in it (Knuth 6.4, algorithm R), so that no tombstones accumulate.
	gap, mask := s, uint64(len(t.index)-1)
	for s = t.next(s); t.index[s] != 0; s = t.next(s) {
		if home := t.home(t.index[s]); (s-home)&mask >= (s-gap)&mask {
			t.index[gap] = t.index[s]
			gap = s
		}
	}
	t.index[gap] = 0
	*e = entry{head: t.free}
	t.free = i + 1
	t.n--
	if t.n == 0 {
		empty := table{seed: t.seed}
		if t.top <= chunk && t.nodeTop < chunk { // a single attacker must not cost new chunks for each ban
			empty.index, empty.entries, empty.nodes = t.index, t.entries, t.nodes
		}
		*t = empty
	}
}

// any returns some entry in use. Nobody outside can predict which one, since it depends on the seed.
func (t *table) any() uint32 {
	t.seen = t.seen*6364136223846793005 + t.seed | 1
	s := t.home(t.seen)
	for t.index[s] == 0 {
		s = t.next(s)
	}
	return uint32(t.index[s]) - 1
}

// shrink copies what is left after a flood into a smaller table, to release memory.
func (t *table) shrink() {
	if t.top < 16*chunk && t.nodeTop < 16*chunk || 4*uint32(t.n) > t.top && 4*t.live > t.nodeTop {
		return
	}
	small := table{seed: t.seed}
	for i := range t.top {
		e := t.at(i)
		if !e.used() {
			continue
		}
		j := small.insert(e.key)
		d := small.at(j)
		d.newest = e.newest
		link := &d.head
		for n := e.head; n != 0; n = t.node(n).next {
			x := *t.node(n)
			x.next = 0
			m := small.newNode(x)
			*link = m
			link = &small.node(m).next
		}
	}
	*t = small
}
