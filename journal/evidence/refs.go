package evidence

import (
	"slices"

	"bailiff/journal"
	"bailiff/policy/jail"
)

// A jail.Ref holds a sequence number in its low 54 bits and the index of the sequence in the upper ten. journald increments the number by
// one for each entry, so 54 bits last 500 years at a million entries a second.
const (
	seqBits    = 54
	seqMask    = 1<<seqBits - 1
	maxSources = 1<<(64-seqBits) - 1
)

// RefTable encodes references to entries in eight bytes. Sequences beyond the first 1,023, as in a collection of journals of that many
// machines, share the last index; their entries cannot be resolved to cursors. A RefTable is not safe for concurrent use, but the result of
// Sources is.
type RefTable struct {
	ids  []journal.ID128
	last int // index used last
}

// Ref refers to the entry with a sequence number in the sequence id.
func (r *RefTable) Ref(id journal.ID128, seq uint64) jail.Ref {
	if r.last >= len(r.ids) || r.ids[r.last] != id {
		r.last = slices.Index(r.ids, id)
		switch {
		case r.last < 0 && len(r.ids) < maxSources:
			r.ids = append(r.ids, id)
			r.last = len(r.ids) - 1
		case r.last < 0:
			r.last = maxSources
		}
	}
	return jail.Ref(r.last)<<seqBits | jail.Ref(seq&seqMask)
}

// Sources returns the ids seen so far, by index. Later ones are only ever appended.
func (r *RefTable) Sources() []journal.ID128 { return r.ids[:len(r.ids):len(r.ids)] }
