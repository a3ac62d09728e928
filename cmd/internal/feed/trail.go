package feed

import (
	"fmt"
	"sort"

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

// trailSize is how many cursors a Trail holds: 2.5 MiB. Most bans come from failures that lie closer together than that many
// others; for the rest the journal is asked.
const trailSize = 1 << 16

// Trail remembers the cursors of the latest lines that a filter knew, so that a ban's evidence need not be looked up in
// the journal.
type Trail struct {
	ring  []mark // of trailSize in the end, the oldest at next
	next  int
	boots []journal.ID128
}

type mark struct {
	ref                       jail.Ref
	monotonic, realtime, hash uint64
	boot                      uint32 // index in boots
}

// maxBoots bounds the boots that are told apart; a journal of more is read with its cursors looked up.
const maxBoots = 1 << 12

// Keep remembers where a line stands.
func (t *Trail) Keep(ref jail.Ref, c *journal.Cursor) {
	boot := len(t.boots) - 1
	for boot >= 0 && t.boots[boot] != c.BootID {
		boot--
	}
	if boot < 0 {
		if len(t.boots) >= maxBoots {
			return
		}
		t.boots = append(t.boots, c.BootID)
		boot = len(t.boots) - 1
	}
	m := mark{ref, c.Monotonic, c.Realtime, c.XorHash, uint32(boot)}
	if len(t.ring) < trailSize {
		t.ring = append(t.ring, m)
		return
	}
	t.ring[t.next] = m
	t.next = (t.next + 1) % trailSize
}

// find looks a reference up. Sequence numbers only ever rise within one source, so the ring is sorted as long as one
// journald wrote what was read; where it is not, the answer may be that nothing is known.
func (t *Trail) find(ref jail.Ref) *mark {
	n := len(t.ring)
	i := sort.Search(n, func(i int) bool { return t.ring[(t.next+i)%n].ref >= ref })
	if i < n {
		if m := &t.ring[(t.next+i)%n]; m.ref == ref {
			return m
		}
	}
	return nil
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
	if m := t.find(ref); m != nil {
		e.Cursor = journal.Cursor{
			SeqnumID: e.ID, Seqnum: seq, BootID: t.boots[m.boot], Monotonic: m.monotonic, Realtime: m.realtime, XorHash: m.hash, Set: journal.HasAll,
		}.String()
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
