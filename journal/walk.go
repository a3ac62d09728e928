package journal

import "cmp"

// location is the position of an entry in the order of entries, and in its file.
type location struct {
	offset uint64 // in the file; 0 where journalctl reads it
	Cursor        // complete
}

// compare orders entries of several files as sd_journal does: by sequence number if one journald counted both, by the monotonic
// clock within one boot, otherwise by the realtime clock, and last by contents. 0: the same entry, stored twice.
//
// It is not a total order where a clock was set back. As with sd_journal, the entries of one file then still come in the file's order.
func compare(a, b *location) int {
	if a.SeqnumID == b.SeqnumID && a.Seqnum != b.Seqnum {
		return cmp.Compare(a.Seqnum, b.Seqnum)
	}
	if a.BootID == b.BootID && a.Monotonic != b.Monotonic {
		return cmp.Compare(a.Monotonic, b.Monotonic)
	}
	if a.Realtime != b.Realtime {
		return cmp.Compare(a.Realtime, b.Realtime)
	}
	return cmp.Compare(a.XorHash, b.XorHash)
}

// direction of a step: down is forward in time.
type direction int

const (
	down direction = 1
	up   direction = -1
)

// setMatches makes the lists that Matches need.
func (f *file) setMatches(ms Matches) {
	f.lists, f.groups, f.single = nil, nil, nil
	for _, g := range ms {
		var fields [][]*list
		for _, alternatives := range g.byField() {
			var lists []*list
			for _, m := range alternatives {
				lists = append(lists, &list{payload: []byte(m.Field + "=" + m.Value)})
			}
			fields, f.lists = append(fields, lists), append(f.lists, lists...)
		}
		f.groups = append(f.groups, fields)
	}
	switch len(f.lists) {
	case 0:
		f.single = &f.all
	case 1:
		f.single = f.lists[0]
	}
}

// lookup finds the data objects of lists that have none yet. An object that was found stays valid.
func (f *file) lookup(z *inflater) error {
	f.grown()
	f.horizon = f.word(hdrTailObjectOffset)
	f.seen = f.word(hdrNEntries)
	f.sync()
	for _, l := range f.lists {
		if l.data != 0 {
			continue
		}
		var err error
		if l.data, err = f.find(l.payload, z); err != nil {
			return err
		}
	}
	return nil
}

// seek returns the first matching entry at p or after it (going up: the last at p or before it), 0 if there is none.
//
// journald adds an entry to the lists of its data objects one by one, while we read them. With several lists, the entry found in one list
// may have been written after another list was read, or before we knew another list's data object, so an earlier entry could be missed. The
// horizon is the last object at the time of the last lookup: entries before it are in all their lists, and these lists are known. If the
// entry found lies after the horizon, or if none was found although entries were added, seek looks up the data objects and searches again.
func (f *file) seek(p uint64, d direction, z *inflater) (uint64, error) {
	o, err := f.seekLists(p, d)
	switch {
	case err != nil || d == up || f.single == &f.all,
		o != 0 && o <= f.horizon,
		o == 0 && f.word(hdrNEntries) == f.seen:
		return o, err
	}
	if err := f.lookup(z); err != nil {
		return 0, err
	}
	return f.seekLists(p, d)
}

// seekLists is seek in the lists known so far.
func (f *file) seekLists(p uint64, d direction) (uint64, error) {
	switch {
	case f.single == nil:
		return f.seekAny(p, d)
	case d == down:
		return f.single.seekGE(f, p)
	}
	return f.single.seekLE(f, p)
}

// seekAny returns the closest entry of any group.
func (f *file) seekAny(p uint64, d direction) (best uint64, err error) {
	for _, g := range f.groups {
		o, err := f.seekAll(g, p, d)
		if err != nil {
			return 0, err
		}
		if o != 0 && (best == 0 || d.before(o, best)) {
			best = o
		}
	}
	return best, nil
}

func (d direction) before(a, b uint64) bool {
	if d == down {
		return a < b
	}
	return a > b
}

// seekAll returns the closest entry that is in one list of each field.
func (f *file) seekAll(fields [][]*list, p uint64, d direction) (uint64, error) {
	for agreed, i := 0, 0; agreed < len(fields); i = (i + 1) % len(fields) {
		var best uint64
		for _, l := range fields[i] {
			var o uint64
			var err error
			if d == down {
				o, err = l.seekGE(f, p)
			} else {
				o, err = l.seekLE(f, p)
			}
			if err != nil {
				return 0, err
			}
			if o != 0 && (best == 0 || d.before(o, best)) {
				best = o
			}
		}
		switch {
		case best == 0:
			return 0, nil
		case best == p:
			agreed++
		default:
			p, agreed = best, 1
		}
	}
	return p, nil
}

// more reports whether there may be entries after the end found last. It reads only a few words.
func (f *file) more(z *inflater) bool {
	if f.m == nil {
		return false
	}
	f.grown()
	more := false
	if f.single == &f.all {
		n := f.all.n
		return f.all.count(f) != n
	}
	if f.word(hdrNEntries) != f.seen {
		missing := false
		for _, l := range f.lists {
			missing = missing || l.data == 0
		}
		if missing {
			if f.lookup(z) != nil {
				f.mustRemap = true // the next step maps the file again and reports the error
				return true
			}
		} else {
			f.seen = f.word(hdrNEntries)
		}
	}
	for _, l := range f.lists {
		n := l.n
		if l.data != 0 && l.count(f) != n {
			more = true
		}
	}
	return more
}

// seekTo returns the offset from which a step in direction d begins for a cursor: of the first entry that is not before it (going up:
// of the last that is not after it). all is a list of all entries of the file.
func (f *file) seekTo(all *list, c *Cursor, d direction, z *inflater) (uint64, error) {
	before := func(a, b uint64) bool { return a < b || d == up && a == b }
	switch {
	case c.hasSeqnum() && c.SeqnumID == f.seqnumID:
		p, _, err := f.bisect(all, d, func(l *location) bool { return before(l.Seqnum, c.Seqnum) })
		return p, err
	case c.hasMonotonic():
		boot := list{payload: []byte("_BOOT_ID=" + c.BootID.String())}
		var err error
		if boot.data, err = f.find(boot.payload, z); err != nil {
			return 0, err
		}
		if boot.data != 0 {
			p, ok, err := f.bisect(&boot, d, func(l *location) bool { return before(l.Monotonic, c.Monotonic) })
			if ok || err != nil || !c.hasRealtime() {
				return p, err
			}
		}
	}
	p, _, err := f.bisect(all, d, func(l *location) bool { return before(l.Realtime, c.Realtime) })
	return p, err
}

// bisect returns the first entry of a list for which before is false, or an offset after the last entry; going up, the entry before that,
// or 0.
func (f *file) bisect(l *list, d direction, before func(*location) bool) (p uint64, ok bool, err error) {
	i, err := l.search(f, before)
	if err != nil {
		return 0, false, err
	}
	if d == down && i < l.n {
		p, err = l.at(f, i)
		return p, true, err
	}
	if i == 0 {
		return 0, false, nil
	}
	p, err = l.at(f, i-1)
	if d == down {
		return p + 1, false, err
	}
	return p, true, err
}

// unreadFrom returns the offset from which to look for entries that were not read at c. The entry there may have been read: see reached.
func (f *file) unreadFrom(c *Cursor, z *inflater) (uint64, error) {
	p, err := f.seekTo(&f.all, c, down, z)
	if now := currentBoot(); err != nil || !c.hasMonotonic() || c.BootID == now || c.hasSeqnum() && c.SeqnumID == f.seqnumID {
		return p, err
	} else { // entries of the running boot are new, whatever their realtime
		boot := list{payload: []byte("_BOOT_ID=" + now.String())}
		if boot.data, err = f.find(boot.payload, z); err != nil || boot.data == 0 {
			return p, err
		}
		if o, err := boot.at(f, 0); err != nil || o != 0 {
			return min(p, o), err
		}
		return p, nil
	}
}
