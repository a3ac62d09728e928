package jail

// table maps prefixes to lists of failures: open addressing over an index of 4-byte numbers, entries and failures in
// slabs of chunks. There is no pointer in it that the garbage collector would have to follow for each prefix, and growing
// never copies entries. A prefix takes 32 bytes and 11 to 21 of the index, a failure 24.
type table struct {
	seed    uint64
	index   []uint64 // upper half of the hash, then entry number + 1; 0: empty. Its length is a power of two
	entries [][]entry
	top     uint32 // entry numbers below were used
	free    uint32 // head of the list of free entries, + 1
	n       int
	seen    uint64 // state of any
	nodes   [][]node
	nodeTop uint32 // node numbers from 1 on
	nodeOut uint32 // head of the list of free nodes
	live    uint32 // nodes in use
	round   sweepRound
	pressed sweepRound // of sweeps that look at the normal window alone
}

// sweepRound is what sweeping has seen since the hand began its round: where nothing was found to be over, the next
// round need not begin before the first can be.
type sweepRound struct {
	hand   uint32 // where the next sweep begins
	seen   uint32
	freed  bool
	oldest int64 // of the newest failures of those seen
	next   int64 // not before this time, when quiet
	quiet  bool
}

// entry is one prefix.
type entry struct {
	hi, lo uint64
	newest int64  // time of the newest failure of those in one window
	head   uint32 // failure added last; of a free entry: the next free one, + 1
	bits   uint16 // of the key; 0: a free entry
}

func (e *entry) key() key   { return key{e.hi, e.lo, e.bits} }
func (e *entry) used() bool { return e.bits != 0 }

// node is one failure, or all that one user has in the slow window: see cell.
type node struct {
	ref  Ref
	when int64  // microseconds and, in the lower patternBits, the pattern's number
	user uint32 // see userBits; no attempts: a cell
	next uint32
}

// Microseconds since 1970 fit what patternBits leave of 64 bits until the year 2112.
const (
	patternBits = 11
	maxPatterns = 1 << patternBits
	maxTime     = 1<<(63-patternBits) - 1
)

func whenOf(at int64, pattern uint16) int64 {
	return min(max(at, -maxTime), maxTime)<<patternBits | int64(pattern)
}

func (x *node) at() int64       { return x.when >> patternBits }
func (x *node) pattern() uint16 { return uint16(x.when & (maxPatterns - 1)) }
func (x *node) weight() int     { return int(x.user & 0xff) }
func (x *node) attempts() int   { return int(x.user >> 8 & maxAttempts) }
func (x *node) unknown() bool   { return x.user&unknownBit != 0 }
func (x *node) name() uint32    { return x.user >> 16 }
func (x *node) isCell() bool    { return x.attempts() == 0 }

func (x *node) setWeight(w int) { x.user = x.user&^0xff | uint32(min(max(w, 0), 255)) }

const (
	maxAttempts = 0x7f
	unknownBit  = 0x8000
)

// userBits packs what a node says of its failure: 16 bits of the user's hash, whether the account does not exist, 7 bits of
// attempts and 8 of weight.
func userBits(name uint32, unknown bool, attempts, weight int) uint32 {
	u := name<<16 | uint32(min(max(attempts, 1), maxAttempts))<<8 | uint32(min(max(weight, 0), 255))
	if unknown {
		u |= unknownBit
	}
	return u
}

// chunk is how many entries or nodes are allocated at once: 40 KiB, small enough for an idle host.
const (
	chunkBits = 10
	chunk     = 1 << chunkBits
)

func (t *table) len() uint32         { return t.top }
func (t *table) at(i uint32) *entry  { return &t.entries[i>>chunkBits][i&(chunk-1)] }
func (t *table) node(i uint32) *node { return &t.nodes[i>>chunkBits][i&(chunk-1)] }

// A slot's number is the lower part of the hash; the upper half stands in the slot, so that neither a probe nor growing
// has to look at entries.
const hashHalf = 0xffffffff << 32

func (t *table) next(s uint64) uint64 { return (s + 1) & uint64(len(t.index)-1) }

// home is where the slot's content would stand first.
func (t *table) home(x uint64) uint64 { return x >> 32 & uint64(len(t.index)-1) }

// find gives the number of a prefix's entry.
func (t *table) find(k key) (i uint32, ok bool) {
	if t.n == 0 {
		return 0, false
	}
	h := k.hash(t.seed) & hashHalf
	for s := t.home(h); t.index[s] != 0; s = t.next(s) {
		if x := t.index[s]; x&hashHalf == h {
			i := uint32(x) - 1
			if e := t.at(i); e.hi == k.hi && e.lo == k.lo && e.bits == k.bits {
				return i, true
			}
		}
	}
	return 0, false
}

// insert makes an entry for a prefix that has none.
func (t *table) insert(k key) uint32 {
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
	*t.at(i) = entry{hi: k.hi, lo: k.lo, bits: k.bits}
	t.put(k.hash(t.seed)&hashHalf | uint64(i+1))
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

// remove drops an entry with its failures.
func (t *table) remove(i uint32) {
	e := t.at(i)
	for n := e.head; n != 0; {
		next := t.node(n).next
		t.freeNode(n)
		n = next
	}
	s := t.home(e.key().hash(t.seed))
	for uint32(t.index[s]) != i+1 {
		s = t.next(s)
	}
	// Close the gap: whatever stands behind it and may stand in it moves up (Knuth 6.4, algorithm R), so that no
	// tombstones gather.
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
		*t = table{seed: t.seed}
	}
}

// any gives some entry in use. Which one nobody outside can foresee, since it depends on the seed.
func (t *table) any() uint32 {
	t.seen = t.seen*6364136223846793005 + t.seed | 1
	s := t.home(t.seen)
	for t.index[s] == 0 {
		s = t.next(s)
	}
	return uint32(t.index[s]) - 1
}

func (t *table) newNode(x node) uint32 {
	n := t.nodeOut
	if n != 0 {
		t.nodeOut = t.node(n).next
	} else {
		t.nodeTop++
		n = t.nodeTop
		if int(n>>chunkBits) == len(t.nodes) {
			t.nodes = append(t.nodes, make([]node, chunk))
		}
	}
	*t.node(n) = x
	t.live++
	return n
}

func (t *table) freeNode(n uint32) {
	*t.node(n) = node{next: t.nodeOut}
	t.nodeOut = n
	t.live--
}

// cutOut takes the node that a link leads to out of its list.
func (t *table) cutOut(link *uint32) *uint32 {
	gone := *link
	*link = t.node(gone).next
	t.freeNode(gone)
	return link
}

// unlink takes nodes out of an entry's list.
func (t *table) unlink(i uint32, gone func(*node) bool) {
	for link := &t.at(i).head; *link != 0; {
		if x := t.node(*link); gone(x) {
			link = t.cutOut(link)
		} else {
			link = &x.next
		}
	}
}

// shrink copies what is left into a table of its own size when a flood is over, so that its memory goes back.
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
		j := small.insert(e.key())
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
