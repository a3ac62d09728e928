package journal

import "runtime/debug"

// lookup is an entry that At found.
type lookup struct {
	r      *Reader
	f      *file
	loc    location
	entry  Entry
	values values
}

// At reads the entry that a cursor names, whatever the Matches are; false when it is not there (any more). A partial cursor will do;
// the first entry that it names is given then. The entry is borrowed until the next call of At; the reader stays where it is.
func (r *Reader) At(c Cursor) (*Entry, bool) {
	if r.closed || !c.findable() {
		return nil, false
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if r.watcher.changed() {
		r.refresh()
	}
	for _, f := range r.files {
		for again := true; again && !f.dead; {
			var ok bool
			if ok, again = r.tryAt(f, &c); ok {
				return &r.found.entry, true
			}
		}
	}
	return nil, false
}

// Locate gives the full cursor of a sequence number; the reader stays where it is.
func (r *Reader) Locate(id ID128, seqnum uint64) (Cursor, bool) {
	e, ok := r.At(Cursor{SeqnumID: id, Seqnum: seqnum, Set: HasSeqnumID | HasSeqnum})
	if !ok {
		return Cursor{}, false
	}
	return e.Cursor(), true
}

func (r *Reader) tryAt(f *file, c *Cursor) (ok, again bool) {
	if c.Set&HasSeqnumID != 0 && f.seqnumID != c.SeqnumID {
		return false, false
	}
	if e := &f.ends; e.n > 0 && c.hasSeqnum() && (c.Seqnum < e.headSeq || e.archived && c.Seqnum > e.tailSeq) {
		return false, false
	}
	defer r.caught(&again)
	// A file that is at hand for this alone stays so until another is.
	if r.found.f != f {
		if old := r.found.f; old != nil && old.state == done && !old.volatile && old != r.cur {
			old.close()
		} else if old != nil && old.state == unplaced {
			old.unmap()
		}
		r.found.f = nil
	}
	if err := r.prepare(f); err != nil {
		return false, false
	}
	r.found.f = f
	all := list{} // not f.all: that one is where the reader is
	o, err := f.place(&all, c, down, &r.z)
	for err == nil {
		if o, err = all.seekGE(f, o); err != nil || o == 0 || o >= f.limit {
			break
		}
		l := &r.found.loc
		if f.entry(o, l) == nil {
			if c.Names(l.cursor()) {
				r.load(f, l, &r.found.entry, &r.found.values)
				return true, false
			}
			if beyond(c, l) {
				break
			}
		}
		o++
	}
	return false, false
}

// beyond says whether an entry lies behind those that a cursor names, by the clock or the count that they were sought by.
func beyond(c *Cursor, l *location) bool {
	switch {
	case c.hasSeqnum():
		return l.seqnum > c.Seqnum
	case c.hasMonotonic():
		return l.bootID != c.BootID || l.monotonic > c.Monotonic
	}
	return l.realtime > c.Realtime
}

func (k *lookup) each(_ *Entry, yield func(string, []byte) bool) {
	if k.f != nil {
		k.r.each(k.f, k.loc.offset, yield)
	}
}
