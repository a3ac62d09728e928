package evidence

import (
	"fmt"
	"slices"
	"sort"

	"bailiff/journal"
	"bailiff/policy/jail"
)

// defaultSize is the default number of cursors in a CursorCache, which takes 1.3 MiB when full. The failures of most bans lie closer
// together than that; the others are looked up in the journal.
const defaultSize = 1 << 15

// CursorCache holds the cursors of the latest entries that a filter recognized, so that the evidence of a ban need not be looked up in
// the journal. It is not safe for concurrent use.
type CursorCache struct {
	Size int // number of cursors; 0: 32,768

	ring  []cachedCursor
	n     int // number of cursors added
	boots []journal.ID128
}

// cachedCursor is a cursor in 40 bytes: its reference has the parts of the sequence.
type cachedCursor struct {
	ref                       jail.Ref
	monotonic, realtime, hash uint64
	boot                      uint32 // index in boots
}

// maxBoots bounds the memory for boots. Cursors of further ones are looked up in the journal.
const maxBoots = 1 << 12

// Add stores the cursor of an entry.
func (t *CursorCache) Add(ref jail.Ref, c *journal.Cursor) {
	boot := len(t.boots) - 1
	if boot < 0 || t.boots[boot] != c.BootID {
		if boot = slices.Index(t.boots, c.BootID); boot < 0 {
			if len(t.boots) >= maxBoots {
				return
			}
			boot, t.boots = len(t.boots), append(t.boots, c.BootID)
		}
	}
	if t.Size == 0 {
		t.Size = defaultSize
	}
	if len(t.ring) < t.Size {
		t.ring = append(t.ring, cachedCursor{})
	}
	t.ring[t.n%t.Size] = cachedCursor{ref, c.Monotonic, c.Realtime, c.XorHash, uint32(boot)}
	t.n++
}

// find looks up a reference; nil if it is not cached. Sequence numbers rise within one source. If entries of several journalds were
// added, the ring is not sorted, and find may miss a reference.
func (t *CursorCache) find(ref jail.Ref) *cachedCursor {
	oldest := t.n - len(t.ring)
	at := func(i int) *cachedCursor { return &t.ring[(oldest+i)%t.Size] }
	i := sort.Search(len(t.ring), func(i int) bool { return at(i).ref >= ref })
	if i == len(t.ring) || at(i).ref != ref {
		return nil
	}
	return at(i)
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
	if m := t.find(ref); m != nil {
		c := journal.Cursor{SeqnumID: e.ID, Seqnum: seq, BootID: t.boots[m.boot], Monotonic: m.monotonic, Realtime: m.realtime, XorHash: m.hash, Set: journal.HasAll}
		e.Cursor = c.String()
	}
	return e, true
}

// Locator finds cursors in the journal. *journal.Finder is one.
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
