package journal

// Entry is one entry of the journal. It belongs to its reader and is valid until the reader's next step; callers must copy what they keep
// longer.
//
// Its times and numbers are those of the embedded Cursor, which identifies the entry.
type Entry struct {
	Cursor

	values [][]byte // by index into Options.Fields; nil: absent
	all    eacher
}

// eacher reads the fields of an entry.
type eacher interface {
	each(e *Entry, yield func(field string, value []byte) bool)
}

// Field returns the value of the i-th of Options.Fields; nil if the entry does not have it. If the entry has several values, it is the last
// one in the file. That order has no meaning: journald sorts the fields of an entry by where their values were first stored. A value longer
// than Options.MaxValue is truncated.
func (e *Entry) Field(i int) []byte {
	if i < 0 || i >= len(e.values) {
		return nil
	}
	return e.values[i]
}

// Each calls yield with every field in the order in which they are stored, until yield returns false. Values are valid during the
// call only.
func (e *Entry) Each(yield func(field string, value []byte) bool) {
	if e.all != nil {
		e.all.each(e, yield)
	}
}

// maxNames bounds names.
const maxNames = 1024

// names holds field names as strings, so that each is allocated once. Senders choose the names, so at maxNames the map is emptied.
type names map[string]string

func (n *names) intern(name []byte) string {
	s, ok := (*n)[string(name)]
	if !ok {
		if *n == nil || len(*n) >= maxNames {
			*n = names{}
		}
		s = string(name)
		(*n)[s] = s
	}
	return s
}
