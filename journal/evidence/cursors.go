package evidence

import (
	"fmt"

	"bailiff/journal"
	"bailiff/policy/jail"
)

// defaultSize is the default number of cursors in a CursorCache, which takes 2 MiB when full. The failures of most bans lie closer
// together than that; the others are looked up in the journal.
const defaultSize = 1 << 16

// CursorCache holds the cursors of the latest entries that a filter recognized, so that the evidence of a ban need not be looked up in
// the journal. It is not safe for concurrent use.
type CursorCache struct {
	Size int // number of cursors, a power of two; 0: 65,536

	ring   [][]cachedCursor // Size cursors, in chunks that are allocated when they are needed
	n      int              // number of cursors added
	clocks []bootClock
}

// mark is a cursor without the parts that it shares with its neighbours.
type cachedCursor struct {
	ref             jail.Ref
	monotonic, hash uint64
	ahead           int32  // realtime minus what its clock says, in µs
	clock           uint32 // index in clocks
}

// bootClock is a boot and the difference between its two clocks. When the realtime clock is set or drifts by more than half an
// hour, the boot gets another one.
type bootClock struct {
	boot  journal.ID128
	since uint64 // realtime minus monotonic, µs
}

const (
	chunkBits = 10
	chunkMask = 1<<chunkBits - 1

	// maxClocks bounds the memory for clocks. Cursors of further boots are looked up in the journal.
	maxClocks = 1 << 12
)

func (t *CursorCache) size() int {
	if t.Size == 0 {
		return defaultSize
	}
	return t.Size
}

func (t *CursorCache) at(i int) *cachedCursor {
	i &= t.size() - 1
	return &t.ring[i>>chunkBits][i&chunkMask]
}

// Add stores the cursor of an entry.
func (t *CursorCache) Add(ref jail.Ref, c *journal.Cursor) {
	since := c.Realtime - c.Monotonic
	i := len(t.clocks) - 1
	for i >= 0 && (t.clocks[i].boot != c.BootID || int64(since-t.clocks[i].since) != int64(int32(since-t.clocks[i].since))) {
		i--
	}
	if i < 0 {
		if len(t.clocks) >= maxClocks {
			return
		}
		i = len(t.clocks)
		t.clocks = append(t.clocks, bootClock{c.BootID, since})
	}
	if t.n&chunkMask == 0 && t.n>>chunkBits == len(t.ring) && t.n < t.size() {
		t.ring = append(t.ring, make([]cachedCursor, 1<<chunkBits))
	}
	*t.at(t.n) = cachedCursor{ref, c.Monotonic, c.XorHash, int32(since - t.clocks[i].since), uint32(i)}
	t.n++
}

// find looks up a reference. Sequence numbers rise within one source, mostly evenly, so its position is interpolated; where they rise
// unevenly, binary search takes over. If entries of several journalds were added, the ring is not sorted, and find may miss a reference.
func (t *CursorCache) find(ref jail.Ref) *cachedCursor {
	lo, hi := max(0, t.n-t.size()), t.n-1
	if lo > hi {
		return nil
	}
	first, last := t.at(lo).ref, t.at(hi).ref // the reference lies between them
	for step := 0; lo <= hi && first <= ref && ref <= last; step++ {
		k := lo + (hi-lo)/2
		if step < guesses && last > first {
			k = lo + int(float64(ref-first)/float64(last-first)*float64(hi-lo))
		}
		switch m := t.at(k); {
		case m.ref == ref:
			return m
		case m.ref < ref:
			lo, first = k+1, m.ref+1
		default:
			hi, last = k-1, m.ref-1
		}
	}
	return nil
}

// guesses is the number of interpolation steps. Each leaves about the square root of the range.
const guesses = 6

// Cursor returns the cursor of an entry, if it is cached.
func (t *CursorCache) Cursor(ref jail.Ref, sources []journal.ID128) (c journal.Cursor, ok bool) {
	i := int(ref >> seqBits)
	if i >= len(sources) {
		return c, false
	}
	m := t.find(ref)
	if m == nil {
		return c, false
	}
	k := &t.clocks[m.clock]
	return journal.Cursor{
		SeqnumID: sources[i], Seqnum: uint64(ref & seqMask), BootID: k.boot, Monotonic: m.monotonic,
		Realtime: m.monotonic + k.since + uint64(int64(m.ahead)), XorHash: m.hash, Set: journal.HasAll,
	}, true
}

// Evidence is an entry that a ban is based on: its cursor if it is known, else what finds it.
type Evidence struct {
	Cursor string // empty: see Locator
	ID     journal.ID128
	Seq    uint64
}

// Evidence resolves a reference. It returns false if its source is unknown.
func (t *CursorCache) Evidence(ref jail.Ref, sources []journal.ID128) (e Evidence, ok bool) {
	i, seq := int(ref>>seqBits), uint64(ref&seqMask)
	if i >= len(sources) {
		return e, false
	}
	e = Evidence{ID: sources[i], Seq: seq}
	if c, ok := t.Cursor(ref, sources); ok {
		e.Cursor = c.String()
	}
	return e, true
}

// Locator finds cursors in the journal. *journal.Reader is one.
type Locator interface {
	Locate(id journal.ID128, seq uint64) (journal.Cursor, bool)
}

// Text returns the evidence as the text of a cursor. If the entry is no longer in the journal, the cursor is partial; journalctl
// --cursor accepts that as well.
func (e Evidence) Text(l Locator) string {
	if e.Cursor != "" {
		return e.Cursor
	}
	if l != nil {
		if c, ok := l.Locate(e.ID, e.Seq); ok {
			return c.String()
		}
	}
	return fmt.Sprintf("s=%s;i=%x", e.ID, e.Seq)
}
