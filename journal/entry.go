package journal

// Entry is one entry of the journal. It is borrowed from its reader until that reader's next step: copy what is to stay.
type Entry struct {
	Realtime  uint64 // µs since 1970, UTC: when journald received it
	Monotonic uint64 // µs since the boot BootID
	Seqnum    uint64 // counts the entries of one journald, from 1
	SeqnumID  ID128  // names that count
	BootID    ID128
	XorHash   uint64 // XOR of the hashes of the fields

	set    Parts
	values [][]byte // by index into Options.Fields; nil: absent
	all    eacher
}

// eacher is where an entry's fields can be read from.
type eacher interface {
	each(e *Entry, yield func(field string, value []byte) bool)
}

// Field is the value of the i-th of Options.Fields, nil when the entry does not have it, and the last where it has several (journald
// sorts an entry's fields by where in the file a value was stored first, so that their order means nothing). A value
// longer than Options.MaxValue is cut there.
func (e *Entry) Field(i int) []byte {
	if i < 0 || i >= len(e.values) {
		return nil
	}
	return e.values[i]
}

// Each gives all fields in the order in which they are stored, until yield returns false. Values are borrowed for the length of
// the call to yield.
func (e *Entry) Each(yield func(field string, value []byte) bool) {
	if e.all != nil {
		e.all.each(e, yield)
	}
}

// Cursor names the entry.
func (e *Entry) Cursor() Cursor {
	return Cursor{
		SeqnumID: e.SeqnumID, Seqnum: e.Seqnum, BootID: e.BootID, Monotonic: e.Monotonic,
		Realtime: e.Realtime, XorHash: e.XorHash, Set: e.set,
	}
}
