package journal

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime/debug"
	"slices"
)

// lookup holds the entry found by At, and the files used for lookups.
type lookup struct {
	r      *Reader
	proc   *process // that returned the entry, if journalctl reads it
	f      *file
	loc    location
	entry  Entry
	values values
	mapped []lookupFile // the file of the latest lookup is the last one
}

// lookupFile is a file in which an entry was looked up, with the list of all its entries: not f.all, which holds the reader's position.
type lookupFile struct {
	f   *file
	all list
}

// maxMapped is how many files stay mapped for lookups. The failures of one ban may lie in that many files; mapping a file again for each
// lookup costs a hundred times as much as the lookup. Journal files have up to 128 MiB, and 32-bit machines have little room for them.
const maxMapped = 2 + 14*(bits.UintSize/64)

// At returns the entry that a cursor identifies, even if it does not match; false if it does not exist or no longer exists. If a partial
// cursor identifies several entries, At returns the first. If the entry of a complete cursor is gone, At returns a copy of it, if there is
// one: journald renumbers entries that it moves from /run to /var. The entry is valid until the next call of At. The reader's position does
// not change.
func (r *Reader) At(c Cursor) (*Entry, bool) {
	if r.closed || !c.findable() {
		return nil, false
	}
	e, ok := r.find(c)
	if clocks := HasBootID | HasMonotonic | HasRealtime | HasXorHash; !ok && c.Set == HasAll { // a copy has other numbers
		c.Set = clocks
		e, ok = r.find(c)
	}
	return e, ok
}

func (r *Reader) find(c Cursor) (*Entry, bool) {
	if r.findHere(c) {
		return &r.found.entry, true
	}
	for _, g := range r.groups {
		if e, ok := r.found.ask(g, &c); ok {
			return e, true
		}
	}
	return nil, false
}

// findHere looks for an entry in the files that are read without journalctl.
func (r *Reader) findHere(c Cursor) bool {
	if r.closed {
		return false
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if r.watcher.changed() {
		r.refresh()
	}
	for _, f := range r.files {
		for again := true; again && !f.dead; {
			var ok bool
			if ok, again = r.tryAt(f, &c); ok {
				return true
			}
		}
	}
	return false
}

// maxAsked bounds the number of entries read from journalctl to find one. If the cursor has only a sequence number, journalctl starts at
// the beginning of files that another journald has numbered.
const maxAsked = 100_000

// ask looks up an entry through journalctl.
func (k *lookup) ask(g *file, c *Cursor) (*Entry, bool) {
	k.stop()
	from := "--cursor=" + c.String()
	if !c.hasSeqnum() && !c.hasMonotonic() {
		from = fmt.Sprintf("--since=@%d.%06d", c.Realtime/1e6, c.Realtime%1e6)
	}
	p, err := start(g.via.paths, Options{Fields: k.r.o.Fields, MaxValue: k.r.o.MaxValue}, from)
	if err != nil {
		return nil, false // reading reports it
	}
	k.proc = p
	for n := 0; n < maxAsked && p.x.Next(); n++ {
		e := p.x.Entry()
		if c.Names(e.Cursor) {
			return e, true
		}
		l := location{Cursor: e.Cursor}
		if !(c.hasSeqnum() && e.SeqnumID != c.SeqnumID) && beyond(c, &l) {
			break
		}
	}
	k.stop()
	return nil, false
}

func (k *lookup) stop() {
	if k.proc != nil {
		_ = k.proc.kill()
		k.proc = nil
	}
}

// Locate returns the complete cursor of a sequence number. It does not search files that only journalctl can read, since that would take a
// process for each call. The reader's position does not change.
func (r *Reader) Locate(id ID128, seqnum uint64) (Cursor, bool) {
	if !r.findHere(Cursor{SeqnumID: id, Seqnum: seqnum, Set: HasSeqnumID | HasSeqnum}) {
		return Cursor{}, false
	}
	return r.found.entry.Cursor, true
}

func (r *Reader) tryAt(f *file, c *Cursor) (ok, again bool) {
	if c.Set&HasSeqnumID != 0 && f.seqnumID != c.SeqnumID {
		return false, false
	}
	if e := &f.ends; e.n > 0 && c.hasSeqnum() && (c.Seqnum < e.headSeq || e.archived && c.Seqnum > e.tailSeq) {
		return false, false
	}
	r.parsing = f
	defer r.caught(&again)
	all := r.found.use(f)
	if err := r.prepare(f); err != nil {
		r.found.forget(f)
		return false, false
	}
	r.found.f = f
	o, err := f.seekTo(all, c, down, &r.z)
	for err == nil {
		if o, err = all.seekGE(f, o); err != nil || o == 0 || o >= f.limit {
			break
		}
		l := &r.found.loc
		if f.entry(o, l) == nil {
			if c.Names(l.Cursor) {
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

// use makes f the file of the latest lookup, and returns the list of its entries. If too many files are mapped, the least recently used one
// is unmapped.
func (k *lookup) use(f *file) *list {
	i := slices.IndexFunc(k.mapped, func(x lookupFile) bool { return x.f == f })
	x := lookupFile{f: f}
	if i >= 0 {
		x = k.mapped[i]
		k.mapped = slices.Delete(k.mapped, i, i+1)
	} else if len(k.mapped) == maxMapped {
		k.forget(k.mapped[0].f)
	}
	if f.m == nil || f.mustRemap {
		x.all = list{}
	}
	k.mapped = append(k.mapped, x)
	return &k.mapped[len(k.mapped)-1].all
}

// holds reports whether a file stays mapped for lookups.
func (k *lookup) holds(f *file) bool {
	return slices.ContainsFunc(k.mapped, func(x lookupFile) bool { return x.f == f })
}

// forget releases a file that was mapped for lookups only.
func (k *lookup) forget(f *file) {
	k.mapped = slices.DeleteFunc(k.mapped, func(x lookupFile) bool { return x.f == f })
	if k.f == f {
		k.f = nil
	}
	switch {
	case f.state == done && f != k.r.curFile:
		f.close()
	case f.state == unplaced:
		f.unmap()
	}
}

// beyond reports whether an entry comes after all entries that a cursor can identify, in the order used for the lookup.
func beyond(c *Cursor, l *location) bool {
	switch {
	case c.hasSeqnum():
		return l.Seqnum > c.Seqnum
	case c.hasMonotonic():
		return l.BootID != c.BootID || l.Monotonic > c.Monotonic
	}
	return l.Realtime > c.Realtime
}

func (k *lookup) each(_ *Entry, yield func(string, []byte) bool) {
	if k.f != nil {
		k.r.each(k.f, k.loc.offset, yield)
	}
}

// Finder finds single entries with a Reader of its own, which is open between the first lookup and Close. Close it when idle: a Reader
// watches folders and holds files open. A Finder is not safe for concurrent use.
type Finder struct {
	Source  Source
	Options Options
	r       *Reader
}

func (f *Finder) open() (err error) {
	if f.r == nil {
		f.r, err = Open(f.Source, f.Options)
	}
	return err
}

// Find returns the entry that a cursor identifies: see Reader.At.
func (f *Finder) Find(cursor string) (*Entry, error) {
	c, err := ParseCursor(cursor)
	if err != nil {
		return nil, err
	}
	if err := f.open(); err != nil {
		return nil, err
	}
	if e, ok := f.r.At(c); ok {
		return e, nil
	}
	return nil, errors.New("no longer in the journal")
}

// Locate is Reader.Locate.
func (f *Finder) Locate(id ID128, seqnum uint64) (Cursor, bool) {
	if f.open() != nil {
		return Cursor{}, false
	}
	return f.r.Locate(id, seqnum)
}

// IsOpen reports whether the Reader is open.
func (f *Finder) IsOpen() bool { return f.r != nil }

// Close closes the Reader. The next lookup opens it again.
func (f *Finder) Close() {
	if f.r != nil {
		f.r.Close()
		f.r = nil
	}
}
