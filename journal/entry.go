package journal

// Entry is one entry of the journal. It belongs to its reader and is valid until that reader's next step: copy what is kept longer.
//
// Its times and numbers are those of its Cursor, which names the entry.
type Entry struct {
	Cursor

	values [][]byte // by index into Options.Fields; nil: absent
	all    eacher
}

// eacher reads the fields of an entry.
type eacher interface {
	each(e *Entry, yield func(field string, value []byte) bool)
}

// Field is the value of the i-th of Options.Fields, nil if the entry does not have it. If the entry has several, it is the last in
// the file, which means nothing: journald sorts the fields of an entry by where their values were first stored. A value longer
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

// names holds field names as strings, so that each is allocated once. Senders choose the names: at maxNames it starts over.
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
