package jail

// table maps prefixes to lists of failures: open addressing over an index of 4-byte numbers, entries and failures in
// slabs of chunks. There is no pointer in it that the garbage collector would have to follow for each prefix, and growing
// never copies entries. A prefix takes 40 bytes and 4 to 8 of the index, a failure 24.
type table struct {
	seed    uint64
	index   []uint32 // entry number + 1, 0: empty; its length is a power of two
	entries [][]entry
	top     uint32 // entry numbers below were used
	free    uint32 // head of the list of free entries, + 1
	n       int
	nodes   [][]node
	nodeTop uint32 // node numbers from 1 on
	nodeOut uint32 // head of the list of free nodes
	live    uint32 // nodes in use
	hand    uint32 // where the next sweep begins
}

// entry is one prefix.
type entry struct {
	key
	head   uint32 // newest failure; of a free entry: the next free one, + 1
	newest int64
}

// node is one failure.
type node struct {
	ref  Ref
	at   int64
	user uint32 // 24 bits of the user's hash, 8 bits of weight
	next uint32
}

func (x *node) weight() int { return int(x.user & 0xff) }

// chunk is how many entries or nodes are allocated at once: 40 KiB, small enough for an idle host.
const (
	chunkBits = 10
	chunk     = 1 << chunkBits
)

func (t *table) len() uint32           { return t.top }
func (t *table) at(i uint32) *entry    { return &t.entries[i>>chunkBits][i&(chunk-1)] }
func (t *table) node(i uint32) *node   { return &t.nodes[i>>chunkBits][i&(chunk-1)] }
func (t *table) slot(k key) uint32     { return uint32(k.hash(t.seed)) & uint32(len(t.index)-1) }
func (t *table) after(s uint32) uint32 { return (s + 1) & uint32(len(t.index)-1) }

func (t *table) find(k key) (i uint32, ok bool) {
	if t.n == 0 {
		return 0, false
	}
	for s := t.slot(k); t.index[s] != 0; s = t.after(s) {
		if i := t.index[s] - 1; t.at(i).key == k {
			return i, true
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
	*t.at(i) = entry{key: k}
	t.put(i)
	t.n++
	return i
}

func (t *table) put(i uint32) {
	s := t.slot(t.at(i).key)
	for t.index[s] != 0 {
		s = t.after(s)
	}
	t.index[s] = i + 1
}

func (t *table) rehash(size int) {
	t.index = make([]uint32, size)
	for i := range t.top {
		if t.at(i).used() {
			t.put(i)
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
	s := t.slot(e.key)
	for t.index[s] != i+1 {
		s = t.after(s)
	}
	// Close the gap: whatever stands behind it and may stand in it moves up (Knuth 6.4, algorithm R), so that no
	// tombstones gather.
	gap := s
	for s = t.after(s); t.index[s] != 0; s = t.after(s) {
		home := t.slot(t.at(t.index[s] - 1).key)
		if (s-home)&uint32(len(t.index)-1) >= (s-gap)&uint32(len(t.index)-1) {
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

// any gives some entry in use; which one nobody outside can foresee, since it depends on the seed.
func (t *table) any() uint32 {
	s := uint32(t.seed*uint64(t.top+1)>>32) & uint32(len(t.index)-1)
	for t.index[s] == 0 {
		s = t.after(s)
	}
	return t.index[s] - 1
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
