// Package journal reads journal files as journald writes them, in plain Go over mmap: no cgo, no libsystemd. It gives the
// entries of many files in sd_journal's order, follows them as they grow and rotate, and never trusts a byte of them.
// It never writes: audit/ does that, through journald.
//
// Start reading at Open and Reader.Next. format.go holds the file format, walk.go how a file's entries are found,
// source.go which files there are, wait.go how new entries are noticed, export.go the export format.
package journal

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Options say which entries are wanted and what of them.
type Options struct {
	Matches  Matches  // empty: every entry
	Fields   []string // for Entry.Field
	MaxValue int      // values of Fields are cut there, in bytes; 0: 64 KiB, at most 64 MiB. A value that is compressed is inflated no further
}

// defaultMaxValue bounds what one value costs: journald takes 768 MiB from anybody.
const defaultMaxValue = 64 << 10

// Reader gives entries one by one. One goroutine uses it; only Wait may be ended from another, by its context.
//
// Files that cannot be read, and damaged places in others, do not end it: Problems tells of them, and the rest is read.
type Reader struct {
	src   Source
	o     Options
	files []*file
	known map[identityKey]*file
	z     inflater

	start  target
	loc    location // of the current entry, once there is one
	have   bool     // loc is set
	dir    direction
	cur    *file // whose candidate the current entry is
	second *file // the file whose candidate comes next after cur's; nil: not known
	began  bool  // a step was made since files were listed for the first time
	dirty  bool  // a seek was made, or the direction changed: every file is to be placed anew

	entry Entry
	buf   []byte
	cache []cached

	problems []error
	told     map[string]bool

	watcher    watcher
	watchedLoc location // the entry that was current at the last Wait
	closed     bool
}

// identityKey is what stays of a file as long as it exists, whatever it is called.
type identityKey struct{ dev, ino uint64 }

// target is where the next step begins.
type target struct {
	kind   targetKind
	cursor Cursor
}

type targetKind uint8

const (
	atHead targetKind = iota
	atTail
	atCursor   // behind the entry itself (going up: ahead of it)
	atRealtime // the first entry not before it (going up: the last before or at it)
	atLocation // r.loc
)

// cached remembers what a data object holds, so that the objects that come with every entry (unit, uid, command line)
// are not looked at again: whether it is one of the fields asked for, and its value.
type cached struct {
	gen   uint32 // of the file's mapping; 0: empty
	field int32  // index into Options.Fields, -1: another field
	off   uint64
	value []byte
}

// The cache is direct-mapped: 1,024 places are some 50 KiB. Values longer than cacheValue are not worth a place.
const (
	cacheBits  = 10
	cacheValue = 256
)

// gens gives every mapping of the process a number of its own.
var gens atomic.Uint32

// Open starts reading a source from its head. Files that are missing or damaged are no error: see Problems.
func Open(src Source, o Options) (*Reader, error) {
	if err := src.check(); err != nil {
		return nil, err
	}
	if err := o.Matches.check(); err != nil {
		return nil, err
	}
	for _, f := range o.Fields {
		if !validField(f) {
			return nil, fmt.Errorf("%q is not a field name: want A-Z, 0-9 and _, at most 64", clip(f))
		}
	}
	if o.MaxValue <= 0 {
		o.MaxValue = defaultMaxValue
	}
	o.MaxValue = min(o.MaxValue, maxInflate)
	r := &Reader{src: src, o: o, known: map[identityKey]*file{}, told: map[string]bool{}, cache: make([]cached, 1<<cacheBits), dir: down, dirty: true}
	r.entry.values = make([][]byte, len(o.Fields))
	r.entry.all = r
	r.entry.set = HasAll
	if err := r.watcher.open(); err != nil {
		return nil, fmt.Errorf("watch %s: %w", src, err)
	}
	r.refresh()
	return r, nil
}

// Close gives up all files.
func (r *Reader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	for _, f := range r.files {
		f.close()
	}
	r.files = nil
	return r.watcher.close()
}

// Problems are files that were set aside and damaged places that were passed over, the latest last; not more than some
// dozens are kept. Each names file and offset.
func (r *Reader) Problems() []error { return r.problems }

// Files is how many files are being read.
func (r *Reader) Files() int { return len(r.files) }

func (r *Reader) problem(err error) {
	if r.told[err.Error()] {
		return
	}
	if len(r.told) > 16*maxProblems {
		clear(r.told)
	}
	r.told[err.Error()] = true
	if len(r.problems) >= maxProblems {
		r.problems = append(r.problems[:0:0], r.problems[1:]...)
	}
	r.problems = append(r.problems, err)
}

// SeekHead goes before the first entry.
func (r *Reader) SeekHead() { r.seek(target{kind: atHead}) }

// SeekTail goes behind the last entry: Previous gives it, Next what is written from now on.
func (r *Reader) SeekTail() { r.seek(target{kind: atTail}) }

// SeekRealtime goes to a time, in microseconds since 1970: Next gives the first entry not before it, Previous the last
// that is not after it.
func (r *Reader) SeekRealtime(us uint64) {
	r.seek(target{kind: atRealtime, cursor: Cursor{Realtime: us, Set: HasRealtime}})
}

// SeekCursor goes to the entry that a cursor names: Next gives the one behind it, as a reader wants that goes on where
// it was. Where the entry is gone, or the Matches leave it out, Next gives the closest that follows. A partial cursor will do.
func (r *Reader) SeekCursor(c Cursor) error {
	if !c.findable() {
		return fmt.Errorf("cursor %q says no place: want s= and i=, b= and m=, or t=", c)
	}
	r.seek(target{kind: atCursor, cursor: c})
	return nil
}

func (r *Reader) seek(t target) {
	r.start, r.have, r.dirty = t, false, true
}

// Next goes to the next entry. It gives false when there is none now: Wait returns when there may be.
func (r *Reader) Next() bool { return r.step(down) }

// Previous goes to the entry before.
func (r *Reader) Previous() bool { return r.step(up) }

// Entry is the current entry, borrowed until the next step.
func (r *Reader) Entry() *Entry { return &r.entry }

// step goes one entry further. A page that cannot be read (the file was cut off under us, or the disk fails) is a fault
// that would end the process; it becomes an error of that file, and the step is made with the others.
func (r *Reader) step(d direction) bool {
	if r.closed {
		return false
	}
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	for {
		ok, again := r.guarded(d)
		if !again {
			return ok
		}
	}
}

func (r *Reader) guarded(d direction) (ok, again bool) {
	defer r.caught(&again)
	return r.move(d), false
}

// caught turns a fault into an error of the file it happened in.
func (r *Reader) caught(again *bool) {
	x := recover()
	if x == nil {
		return
	}
	f, at := r.faulty(x)
	if f == nil {
		panic(x)
	}
	f.faults++
	r.fail(f, f.corrupt(at, "the page cannot be read: the file was cut off, or the disk fails"))
	*again = true
}

// faulty finds the file whose mapping a fault lies in.
func (r *Reader) faulty(x any) (*file, uint64) {
	e, ok := x.(runtime.Error)
	if !ok {
		return nil, 0
	}
	a, ok := e.(interface{ Addr() uintptr })
	if !ok {
		return nil, 0
	}
	for _, f := range r.files {
		if at, ok := f.holdsAddress(a.Addr()); ok {
			return f, at
		}
	}
	return nil, 0
}

// fail sets a file aside for good.
func (r *Reader) fail(f *file, err error) {
	r.problem(err)
	r.retire(f)
	f.dead = true
}

// retire ends the reading of a file. What is known of it stays, so that it is not taken for a new one.
func (r *Reader) retire(f *file) {
	f.state = done
	f.unmap()
	if f.fd != nil && (f.archived0() || f.faults > 0 || f.unlinked) {
		f.close()
	}
	if r.cur == f {
		r.cur = nil
	}
	r.second = nil
}

// archived0 says whether the file was archived when it was opened.
func (f *file) archived0() bool { return f.ends.archived }

// move makes the step.
func (r *Reader) move(d direction) bool {
	if d != r.dir {
		r.dir, r.dirty = d, true
		if r.have {
			r.start = target{kind: atLocation}
		}
	}
	if r.dirty {
		for _, f := range r.files {
			if !f.dead {
				f.state = unplaced
			}
		}
		r.dirty, r.cur, r.second = false, nil, nil
	}
	for {
		f := r.pick()
		if f == nil {
			if r.dir == down && r.renew() {
				continue
			}
			return false
		}
		l := f.cand
		f.state = taken
		if f.late && r.elsewhere(f, &l) {
			r.cur = nil
			continue
		}
		r.cur = f
		r.loc, r.have, r.began = l, true, true
		r.start = target{kind: atLocation}
		if err := r.load(f, &l); err != nil {
			r.bad(f, err)
			continue
		}
		return true
	}
}

// bad notes an entry that cannot be read. A file with many is not worth the time.
func (r *Reader) bad(f *file, err error) {
	f.bad++
	if f.bad > 1000 {
		r.fail(f, fmt.Errorf("%w (and more than 1,000 before it: the file is set aside)", err))
		return
	}
	r.problem(err)
}

// pick gives the file whose next entry is the next of all, in state ready; nil when there is none.
//
// While one file is ahead of all the others (they overlap seldom), only its own next entry is looked at and compared
// with that of the runner-up.
func (r *Reader) pick() *file {
	if f := r.cur; f != nil && f.state == taken && r.second != nil && r.second.state == ready {
		if r.ready(f) && r.before(&f.cand, &r.second.cand) {
			return f
		}
		if f.state == ready && compare(&f.cand, &r.second.cand) == 0 {
			f.state = taken
		}
	} else if f != nil && f.state == taken && len(r.files) == 1 {
		if r.ready(f) {
			return f
		}
		return nil
	}
	var best, second *file
	for _, f := range r.files {
		for r.ready(f) {
			if best != nil && compare(&f.cand, &best.cand) == 0 {
				f.state = taken // stored twice; given once
				continue
			}
			break
		}
		if f.state != ready {
			continue
		}
		switch {
		case best == nil:
			best = f
		case r.before(&f.cand, &best.cand):
			best, second = f, best
		case second == nil || r.before(&f.cand, &second.cand):
			second = f
		}
	}
	r.second = second
	return best
}

func (r *Reader) before(a, b *location) bool {
	if r.dir == down {
		return compare(a, b) < 0
	}
	return compare(a, b) > 0
}

// ready makes a file's next entry its candidate, and says whether there is one.
func (r *Reader) ready(f *file) bool {
	for {
		switch f.state {
		case ready:
			return true
		case atEnd, done:
			return false
		case unplaced:
			if !r.place(f) {
				return f.state == ready
			}
		}
		// A file that is archived now will not have more than it has now; looked at in this order.
		archived := f.archived()
		o, err := f.seek(f.from, r.dir)
		if err == nil && f.syncErr != nil {
			err, f.syncErr = f.syncErr, nil
		}
		if err != nil {
			r.fail(f, err)
			return false
		}
		if o == 0 {
			f.state = atEnd
			if archived && r.dir == down {
				r.retire(f)
			}
			return false
		}
		if r.dir == down {
			f.from = o + 1
		} else {
			f.from = o - 1
		}
		if err := f.entry(o, &f.cand); err != nil {
			r.bad(f, err)
			if f.state == done {
				return false
			}
			f.state = taken
			continue
		}
		if r.start.kind == atCursor && r.skips(&f.cand) {
			f.state = taken
			continue
		}
		f.state = ready
		return true
	}
}

// skips says whether an entry is the one that the cursor names, which the step goes behind.
func (r *Reader) skips(l *location) bool {
	full := Cursor{SeqnumID: l.seqnumID, Seqnum: l.seqnum, BootID: l.bootID, Monotonic: l.monotonic, Realtime: l.realtime, XorHash: l.xorHash, Set: HasAll}
	return r.start.cursor.Names(full)
}

// place finds where in a file to begin. It gives false when there is nothing to look for.
func (r *Reader) place(f *file) bool {
	f.state = taken
	if err := r.prepare(f); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			f.unlinked = true
			f.state = done
		} else {
			r.fail(f, err)
		}
		return false
	}
	head, tail := f.size, uint64(1)<<63
	var err error
	switch r.start.kind {
	case atHead:
		f.from = head
		if r.dir == up {
			f.from, f.state = 0, atEnd
			return false
		}
	case atTail:
		f.from = tail
		if r.dir == down {
			o, e := f.all.seekLE(f, tail) // behind what is there now
			f.from, err = o+1, e
			if o == 0 {
				f.from = head
			}
		}
	case atRealtime, atCursor:
		f.from, err = f.place(&r.start.cursor, r.dir, &r.z)
	case atLocation:
		err = r.placeAtLocation(f)
	}
	if err != nil {
		r.fail(f, err)
		return false
	}
	return true
}

// placeAtLocation goes to where the reader is in a file: the first entry behind the current one (going up: the last
// before it).
func (r *Reader) placeAtLocation(f *file) error {
	c := Cursor{SeqnumID: r.loc.seqnumID, Seqnum: r.loc.seqnum, BootID: r.loc.bootID, Monotonic: r.loc.monotonic, Realtime: r.loc.realtime, XorHash: r.loc.xorHash, Set: HasAll}
	p, err := f.place(&c, r.dir, &r.z)
	if err != nil {
		return err
	}
	// The place is that of the current entry itself, or of one with the same time: go past all that do not come after it.
	f.from = p
	for range 1 << 16 {
		o, err := f.seek(f.from, r.dir)
		if err != nil || o == 0 {
			return err
		}
		var l location
		if err := f.entry(o, &l); err == nil && r.before(&r.loc, &l) {
			return nil
		}
		if r.dir == down {
			f.from = o + 1
		} else {
			f.from = o - 1
		}
		if err == nil && l.seqnumID != r.loc.seqnumID && l.realtime != r.loc.realtime && l.monotonic != r.loc.monotonic {
			return nil // not comparable by one clock: the place is as near as can be
		}
	}
	return nil
}

// prepare opens, maps and indexes a file.
func (r *Reader) prepare(f *file) error {
	if err := f.reopen(); err != nil {
		return err
	}
	if f.m == nil {
		if err := f.remap(); err != nil {
			return err
		}
		f.gen = gens.Add(1)
		f.all.reset()
		f.setMatches(r.o.Matches)
	}
	return f.lookup(&r.z)
}

// elsewhere says whether an entry of a file that came late stands in another as well, which has given it already:
// journalctl --flush copies what was in /run to /var and counts it anew.
func (r *Reader) elsewhere(f *file, l *location) bool {
	for _, g := range r.files {
		if g == f || g.m == nil || g.seqnumID == f.seqnumID || g.machineID != f.machineID {
			continue
		}
		if ok, err := g.holds(l, &r.z); err == nil && ok {
			return true
		}
	}
	return false
}

// load reads the fields asked for.
func (r *Reader) load(f *file, l *location) error {
	e := &r.entry
	e.Realtime, e.Monotonic, e.Seqnum, e.SeqnumID, e.BootID, e.XorHash = l.realtime, l.monotonic, l.seqnum, l.seqnumID, l.bootID, l.xorHash
	if len(e.values) == 0 {
		return nil
	}
	clear(e.values)
	if r.buf = r.buf[:0]; cap(r.buf) > 1<<20 {
		r.buf = nil // one large value is no reason to keep so much for good
	}
	missing := len(e.values)
	items, n, width, err := f.items(l.offset)
	if err != nil {
		return err
	}
	for i := uint64(0); i < n && missing > 0; i++ {
		off := f.item(items+i*width, width)
		c := &r.cache[(off>>3^uint64(f.gen)*0x9e3779b1)&(1<<cacheBits-1)]
		field, value := int32(-1), []byte(nil)
		if c.gen == f.gen && c.off == off {
			field, value = c.field, c.value
		} else if field, value, err = r.object(f, off, c); err != nil {
			return err
		}
		if field >= 0 && e.values[field] == nil {
			e.values[field] = value
			missing--
		}
	}
	return nil
}

// object reads what a data object holds, and remembers it if it is likely to come again.
func (r *Reader) object(f *file, off uint64, c *cached) (field int32, value []byte, err error) {
	p, flags, err := f.payload(off)
	if err != nil {
		return -1, nil, err
	}
	often := f.le64(off+dataNEntries) > 2
	if flags != 0 {
		// The name first: what is not wanted is not worth inflating.
		head, err := r.z.inflate(flags, p, 65)
		if err != nil {
			return -1, nil, f.corrupt(off, "%v", err)
		}
		if field = r.wanted(head); field >= 0 {
			if p, err = r.z.inflate(flags, p, len(r.o.Fields[field])+1+r.o.MaxValue); err != nil {
				return -1, nil, f.corrupt(off, "%v", err)
			}
		}
	} else {
		field = r.wanted(p)
	}
	if field < 0 {
		if often {
			*c = cached{gen: f.gen, field: -1, off: off}
		}
		return -1, nil, nil
	}
	p = p[len(r.o.Fields[field])+1:]
	p = p[:min(len(p), r.o.MaxValue)]
	if often && len(p) <= cacheValue {
		value = append(make([]byte, 0, len(p)), p...)
		*c = cached{gen: f.gen, field: field, off: off, value: value}
		return field, value, nil
	}
	// Copied, since a mapping may lose its pages while the caller still looks at the value; that fault would be the
	// caller's. A hundred bytes cost nothing beside the page they come from.
	at := len(r.buf)
	r.buf = append(r.buf, p...)
	return field, r.buf[at:len(r.buf):len(r.buf)], nil
}

// wanted says which of the fields a payload is, -1 for none.
func (r *Reader) wanted(p []byte) int32 {
	for i, name := range r.o.Fields {
		if len(p) > len(name) && p[len(name)] == '=' && string(p[:len(name)]) == name {
			return int32(i)
		}
	}
	return -1
}

// items gives where the items of an entry begin, how many there are, and how wide each is.
func (f *file) items(off uint64) (at, n, width uint64, err error) {
	size, err := f.object(off, objEntry, entryItems)
	if err != nil {
		return 0, 0, 0, err
	}
	width = 16
	if f.compact {
		width = 4
	}
	return off + entryItems, (size - entryItems) / width, width, nil
}

func (f *file) item(at, width uint64) uint64 {
	if width == 4 {
		b := f.m[at : at+4]
		return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24
	}
	return f.le64(at)
}

// each gives all fields of the current entry.
func (r *Reader) each(e *Entry, yield func(string, []byte) bool) {
	f := r.cur
	if f == nil || f.m == nil || !r.have {
		return
	}
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	var buf []byte
	next := func(i uint64) (name string, value []byte, more bool, err error) {
		defer func() {
			if x := recover(); x != nil {
				g, at := r.faulty(x)
				if g == nil {
					panic(x)
				}
				err = g.corrupt(at, "the page cannot be read: the file was cut off, or the disk fails")
			}
		}()
		items, n, width, err := f.items(r.loc.offset)
		if err != nil || i >= n {
			return "", nil, false, err
		}
		off := f.item(items+i*width, width)
		p, flags, err := f.payload(off)
		if err != nil {
			return "", nil, false, err
		}
		if flags != 0 {
			if p, err = r.z.inflate(flags, p, maxInflate); err != nil {
				return "", nil, false, f.corrupt(off, "%v", err)
			}
		}
		for k, c := range p[:min(len(p), 65)] {
			if c == '=' {
				buf = append(buf[:0], p[k+1:]...)
				return string(p[:k]), buf, true, nil
			}
		}
		return "", nil, false, f.corrupt(off, "a data object without a field name")
	}
	for i := uint64(0); ; i++ {
		name, value, more, err := next(i)
		if err != nil {
			r.problem(err)
			return
		}
		if !more || !yield(name, value) {
			return
		}
	}
}

// At reads the entry that a cursor names, whatever the Matches are; false when it is not there (any more). It ends where
// the reader was: seek before the next step.
func (r *Reader) At(c Cursor) (*Entry, bool) {
	if r.closed || !c.findable() {
		return nil, false
	}
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	for pass := 0; pass < 2; pass++ {
		for _, f := range r.files {
			if ok, _ := r.tryAt(f, c); ok {
				return &r.entry, true
			}
		}
		if pass == 0 && !r.stale() {
			break
		}
		r.refresh()
	}
	return nil, false
}

func (r *Reader) tryAt(f *file, c Cursor) (ok, again bool) {
	if f.dead {
		return false, false
	}
	if c.hasSeqnum() && f.seqnumID != c.SeqnumID && c.Set&(HasMonotonic|HasRealtime) == 0 {
		return false, false
	}
	if e := &f.ends; e.archived && c.hasSeqnum() && f.seqnumID == c.SeqnumID && (c.Seqnum < e.headSeq || c.Seqnum > e.tailSeq) {
		return false, false
	}
	defer r.caught(&again)
	mapped := f.m != nil
	if err := r.prepare(f); err != nil {
		return false, false
	}
	o, err := f.place(&c, down, &r.z)
	for n := 0; err == nil && o != 0 && n < 1<<16; n++ {
		if o, err = f.all.seekGE(f, o); err != nil || o == 0 {
			break
		}
		var l location
		if f.entry(o, &l) == nil {
			full := Cursor{SeqnumID: l.seqnumID, Seqnum: l.seqnum, BootID: l.bootID, Monotonic: l.monotonic, Realtime: l.realtime, XorHash: l.xorHash, Set: HasAll}
			if c.Names(full) {
				r.cur, r.loc, r.have, r.dirty, r.start = f, l, true, true, target{kind: atLocation}
				return r.load(f, &l) == nil, false
			}
			if beyond(&c, &l) {
				break
			}
		}
		o++
	}
	if !mapped {
		r.retire(f)
	}
	return false, false
}

// beyond says whether an entry lies behind what a cursor names.
func beyond(c *Cursor, l *location) bool {
	switch {
	case c.hasSeqnum() && c.SeqnumID == l.seqnumID:
		return l.seqnum > c.Seqnum
	case c.hasMonotonic() && c.BootID == l.bootID:
		return l.monotonic > c.Monotonic
	}
	return c.hasRealtime() && l.realtime > c.Realtime
}

// Locate gives the full cursor of a sequence number. It ends where the reader was: seek before the next step.
func (r *Reader) Locate(id ID128, seqnum uint64) (Cursor, bool) {
	e, ok := r.At(Cursor{SeqnumID: id, Seqnum: seqnum, Set: HasSeqnumID | HasSeqnum})
	if !ok {
		return Cursor{}, false
	}
	return e.Cursor(), true
}

// refresh lists the source's files and takes in those that are new. A file that is gone is kept until it is read.
func (r *Reader) refresh() {
	l := r.src.list()
	if r.watcher.set(l.watch) {
		l = r.src.list() // what came between the first look and the watch
	}
	for _, err := range l.problems {
		r.problem(err)
	}
	seen := make(map[identityKey]bool, len(l.files))
	for _, path := range l.files {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			if !errors.Is(err, unix.ENOENT) || len(r.src.files) > 0 {
				r.problem(fmt.Errorf("%s: %w", path, err))
			}
			continue
		}
		k := identityKey{uint64(st.Dev), st.Ino}
		if f := r.known[k]; f != nil && r.same(f, path, &st) {
			f.path = path
			seen[k] = true
			continue
		}
		f, err := openFile(path)
		if errors.Is(err, errShort) || errors.Is(err, unix.ENOENT) {
			r.watcher.again = true // journald is at it
			continue
		}
		if err != nil {
			r.problem(err)
			continue
		}
		k = identityKey{f.id.dev, f.id.ino}
		if old := r.known[k]; old != nil {
			r.remove(old)
		}
		f.late = r.began
		r.known[k] = f
		seen[k] = true
		r.files = append(r.files, f)
		r.second = nil
	}
	for _, f := range append([]*file(nil), r.files...) {
		if !seen[identityKey{f.id.dev, f.id.ino}] {
			f.unlinked = true
			if f.state == done || f.state == atEnd && r.dir == down {
				r.remove(f)
			}
		}
	}
}

// same says whether a path still names the file that was known by its inode; an inode may be given to another file.
func (r *Reader) same(f *file, path string, st *unix.Stat_t) bool {
	if f.path == path && (f.fd != nil || f.id.size == st.Size && f.id.mtim == int64(st.Mtim.Sec) && f.id.mtimN == int64(st.Mtim.Nsec)) {
		return true
	}
	if f.fd != nil {
		return true // as long as we hold it open, its inode is not given away
	}
	g, err := openFile(path)
	if err != nil {
		return false
	}
	defer g.close()
	if g.fileID != f.fileID {
		return false
	}
	f.id = g.id
	return true
}

func (r *Reader) remove(f *file) {
	f.close()
	delete(r.known, identityKey{f.id.dev, f.id.ino})
	for i := range r.files {
		if r.files[i] == f {
			r.files = append(r.files[:i], r.files[i+1:]...)
			break
		}
	}
	if r.cur == f {
		r.cur = nil
	}
	r.second = nil
}

// renew looks for more where all files have been read to their ends, and says whether a step may find something.
func (r *Reader) renew() bool {
	if r.stale() {
		r.refresh()
	}
	more := false
	for _, f := range r.files {
		switch f.state {
		case unplaced, ready, taken:
			more = true
		case atEnd:
			if f.more(&r.z) {
				f.state, more = taken, true
			} else if f.m != nil && f.archived() {
				// Archived since: what it has now is all. One more look, then it is done.
				f.state, more = taken, true
			}
		}
	}
	return more
}

// stale says whether a folder or a file list has changed.
func (r *Reader) stale() bool { return r.watcher.changed() }
