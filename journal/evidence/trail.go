package evidence

import (
	"fmt"

	"bailiff/journal"
	"bailiff/policy/jail"
)

// A jail.Ref holds a sequence number in its low 54 bits and in the upper ten which sequence it belongs to. journald
// counts one up for each entry: 54 bits last 500 years at a million entries a second.
const (
	seqBits    = 54
	seqMask    = 1<<seqBits - 1
	maxSources = 1<<(64-seqBits) - 1
)

// Refs names entries by eight bytes. Sources beyond 1,023 (a collection of journals of that many machines) share the
// last number, and their evidence has no cursor. One goroutine uses it; what Sources returned may be read by others.
type Refs struct {
	ids  []journal.ID128
	last int
}

// Ref names an entry.
func (r *Refs) Ref(id journal.ID128, seq uint64) jail.Ref {
	if r.last >= len(r.ids) || r.ids[r.last] != id {
		r.last = maxSources
		for i := range r.ids {
			if r.ids[i] == id {
				r.last = i
				break
			}
		}
		if r.last == maxSources && len(r.ids) < maxSources {
			r.ids = append(r.ids, id)
			r.last = len(r.ids) - 1
		}
	}
	return jail.Ref(r.last)<<seqBits | jail.Ref(seq&seqMask)
}

// Sources returns the ids seen so far; they only ever become more.
func (r *Refs) Sources() []journal.ID128 { return r.ids[:len(r.ids):len(r.ids)] }

// trailSize is how many cursors a Trail holds if nothing else is asked for: 2 MiB when it is full. Most bans come from
// failures that lie closer together than that many others; for the rest the journal is asked.
const trailSize = 1 << 16

// Trail remembers the cursors of the latest lines that a filter knew, so that a ban's evidence need not be looked up in
// the journal.
type Trail struct {
	Size int // how many, a power of two; 0: 65,536

	ring   [][]mark // Size marks in the end, in chunks that are made when they are needed
	n      int      // how many were kept
	clocks []clock
}

// mark is a cursor without what it shares with its neighbours.
type mark struct {
	ref             jail.Ref
	monotonic, hash uint64
	ahead           int32  // of realtime, in µs, to what its clock says
	clock           uint32 // index in clocks
}

// clock is a boot, and the distance of its two clocks; where the realtime clock is set or drifts too far, there is
// another of the same boot.
type clock struct {
	boot  journal.ID128
	since uint64 // realtime less monotonic
}

const (
	markBits = 10
	markMask = 1<<markBits - 1

	// maxClocks bounds the boots that are told apart; a journal of more is read with its cursors looked up.
	maxClocks = 1 << 12
)

func (t *Trail) size() int {
	if t.Size == 0 {
		return trailSize
	}
	return t.Size
}

func (t *Trail) at(i int) *mark {
	i &= t.size() - 1
	return &t.ring[i>>markBits][i&markMask]
}

// Keep remembers where a line stands.
func (t *Trail) Keep(ref jail.Ref, c *journal.Cursor) {
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
		t.clocks = append(t.clocks, clock{c.BootID, since})
	}
	if t.n&markMask == 0 && t.n>>markBits == len(t.ring) && t.n < t.size() {
		t.ring = append(t.ring, make([]mark, 1<<markBits))
	}
	*t.at(t.n) = mark{ref, c.Monotonic, c.XorHash, int32(since - t.clocks[i].since), uint32(i)}
	t.n++
}

// find looks a reference up. Sequence numbers only ever rise within one source, and mostly evenly, so where one stands is
// guessed from where its neighbours stand; where they rise unevenly, halving takes over. Where several journalds wrote what was
// read, the ring is not sorted, and the answer may be that nothing is known.
func (t *Trail) find(ref jail.Ref) *mark {
	lo, hi := max(0, t.n-t.size()), t.n-1
	if lo > hi {
		return nil
	}
	first, last := t.at(lo).ref, t.at(hi).ref // what is sought lies between them
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

// guesses is how often guessing is tried. Each leaves about the square root of what lay between.
const guesses = 6

// Cursor gives the cursor of a line, if it is remembered.
func (t *Trail) Cursor(ref jail.Ref, sources []journal.ID128) (c journal.Cursor, ok bool) {
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

// Evidence is an entry that a ban stands on: its cursor where it is known, else what finds it.
type Evidence struct {
	Cursor string // empty: ask Locate
	ID     journal.ID128
	Seq    uint64
}

// Evidence turns a reference back. The answer is empty when not even the source is known.
func (t *Trail) Evidence(ref jail.Ref, sources []journal.ID128) (e Evidence, ok bool) {
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

// Text is the evidence as a cursor. An entry that is no longer in the journal is named by as much as is known, which
// journalctl --cursor understands as well.
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
