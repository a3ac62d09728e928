package evidence

import (
	"fmt"

	"bailiff/journal"
	"bailiff/policy/jail"
)

// Evidence identifies an entry on which a ban is based, by its journald's sequence number.
type Evidence struct {
	ID  journal.ID128 // of the sequence
	Seq uint64
}

// Of resolves a reference, given the Sources of the RefTable that made it. It returns false if the reference's sequence is unknown.
func Of(ref jail.Ref, sources []journal.ID128) (e Evidence, ok bool) {
	if i := int(ref >> seqBits); i < len(sources) {
		return Evidence{sources[i], uint64(ref & seqMask)}, true
	}
	return e, false
}

// Locator finds cursors in the journal. *journal.Finder is one.
type Locator interface {
	Locate(id journal.ID128, seq uint64) (journal.Cursor, bool)
}

// Text returns the evidence as the text of a cursor. If l is nil, or the entry is no longer in the journal, the cursor is partial;
// journalctl --cursor accepts that as well.
func (e Evidence) Text(l Locator) string {
	if l != nil {
		if c, ok := l.Locate(e.ID, e.Seq); ok {
			return c.String()
		}
	}
	return fmt.Sprintf("s=%s;i=%x", e.ID, e.Seq)
}
