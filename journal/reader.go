// Package journal reads journal files as journald writes them, in plain Go over mmap: no cgo, no libsystemd. It gives the
// entries of many files in sd_journal's order, follows them as they grow and rotate, and never trusts a byte of them.
// It never writes: audit/ does that, through journald.
//
// Start reading at Open and Reader.Next. format.go holds the file format, file.go and list.go how a file is read, walk.go how
// its matching entries are found, fields.go what an entry holds, source.go and known.go which files there are, wait.go how new
// entries are noticed, export.go the export format, child.go the way by journalctl.
package journal

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
)

// Options say which entries are wanted and what of them.
type Options struct {
	Matches  Matches  // empty: every entry
	Fields   []string // for Entry.Field
	MaxValue int      // values of Fields are cut there, in bytes; 0: 64 KiB, at most 64 MiB. A value that is compressed is inflated no further
}

// defaultMaxValue bounds what one value costs: journald takes 768 MiB from anybody.
const defaultMaxValue = 64 << 10

// Reader gives entries one by one. One goroutine at a time uses it; Wait ends early by its context.
//
// Files that cannot be read, and damaged places in others, do not end it: Problems tells of them, and the rest is read.
//
// The order is sd_journal's for what is there when a step is made. What is written later is given when it is found, even where
// it sorts before an entry given already (sd_journal drops it then): a follower loses nothing.
type Reader struct {
	src    Source
	o      Options
	want   []wanted
	z      inflater
	cache  []slot
	closed bool

	files  []*file // all that are known
	active []*file // those in the merge
	cold   []*file // those not mapped yet: all their entries lie beyond those of the active
	serial uint32

	start target
	dir   direction
	dirty bool     // a seek was made, or the direction changed: every file is to be placed anew
	have  bool     // loc is set
	began bool     // a step was made since Open
	loc   location // of the current entry
	cur   *file    // that the current entry is in

	// While one file is ahead of all others (they seldom overlap), only its next entry is looked at, and compared with that of
	// the runner-up: lead goes on as long as it stays before second, and its sequence numbers before bound.
	lead, second *file
	bound        uint64
	streak       int

	entry  Entry
	values values
	found  lookup

	names    map[string]string
	problems []error
	news     bool // a problem was noted that Wait has not returned for yet
	told     map[string]struct{}
	stats    Stats
	watcher  watcher
}

// Stats are counts since Open.
type Stats struct {
	Entries    uint64 // given
	Duplicates uint64 // left out: the same entry in a second file
	Damaged    uint64 // places that could not be read
	Wakeups    uint64 // of Wait
	Files      int    // known now
	Mapped     int    // mapped now
	MappedSize int64  // in bytes
}

// target is where the next step begins.
type target struct {
	kind   targetKind
	cursor Cursor
}

type targetKind uint8

const (
	atHead     targetKind = iota
	atTail                // behind all that is there
	atCursor              // behind the entry itself (going up: ahead of it)
	atRealtime            // the first entry not before it (going up: the last not behind it)
	atLocation            // behind the current entry
)

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
	r := &Reader{src: src, o: o, told: map[string]struct{}{}, cache: make([]slot, 1<<slotBits), want: wantedFields(o.Fields), dir: down, dirty: true}
	r.values.init(len(o.Fields))
	r.entry = Entry{values: r.values.out, set: HasAll, all: &current{r}}
	r.found.values.init(len(o.Fields))
	r.found.entry = Entry{values: r.found.values.out, set: HasAll, all: &r.found}
	r.found.r = r
	if err := r.watcher.open(); err != nil {
		r.problem(fmt.Errorf("watch %s: %w: looking again every %v", src, err, blindLook))
	}
	r.refresh()
	return r, nil
}

// Close gives up all files. The current entry must not be used any more.
func (r *Reader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	for _, f := range r.files {
		f.close()
	}
	r.files, r.active, r.cold, r.cur, r.lead, r.second, r.found.f = nil, nil, nil, nil, nil, nil, nil
	return r.watcher.close()
}

// Problems are files that were set aside and damaged places that were passed over, the latest last; only some are kept.
// Each names file and offset. errors.As finds *CorruptError and *UnknownFlagsError in them.
func (r *Reader) Problems() []error { return r.problems }

// Files is how many files are known.
func (r *Reader) Files() int { return len(r.files) }

// Stats gives counts since Open.
func (r *Reader) Stats() Stats {
	s := r.stats
	s.Files = len(r.files)
	for _, f := range r.files {
		if f.m != nil {
			s.Mapped++
			s.MappedSize += int64(len(f.m))
		}
	}
	return s
}

// problem keeps an error that was survived, each text once.
func (r *Reader) problem(err error) {
	text := err.Error()
	if _, ok := r.told[text]; ok {
		return
	}
	if len(r.told) >= 1024 {
		clear(r.told)
	}
	r.told[text] = struct{}{}
	r.news = true
	if len(r.problems) >= maxProblems {
		r.problems = append([]error(nil), r.problems[1:]...) // a caller may hold the old one
	}
	r.problems = append(r.problems, err)
}

// SeekHead goes before the first entry.
func (r *Reader) SeekHead() { r.seek(target{kind: atHead}) }

// SeekTail goes behind the last entry: Previous gives it, Next what is written from now on.
func (r *Reader) SeekTail() { r.seek(target{kind: atTail}) }

// SeekRealtime goes to a time, in microseconds since 1970: Next gives the first entry not before it, Previous the last that
// is not after it.
func (r *Reader) SeekRealtime(us uint64) {
	r.seek(target{atRealtime, Cursor{Realtime: us, Set: HasRealtime}})
}

// SeekCursor goes to the entry that a cursor names: Next gives the one behind it (Previous the one ahead of it), as one wants who goes
// on where he was. Where the entry is gone, or the Matches leave it out, Next gives the closest that follows. A partial cursor will
// do; where it names several entries, all of them are passed over. At is for reading the entry itself.
func (r *Reader) SeekCursor(c Cursor) error {
	if !c.findable() {
		return fmt.Errorf("cursor %q says no place: want s= and i=, b= and m=, or t=", c)
	}
	r.seek(target{atCursor, c})
	return nil
}

func (r *Reader) seek(t target) { r.start, r.have, r.dirty = t, false, true }

// Next goes to the next entry. It gives false when there is none now: Wait returns when there may be.
func (r *Reader) Next() bool { return r.step(down) }

// Previous goes to the entry before.
func (r *Reader) Previous() bool { return r.step(up) }

// Entry is the current entry, borrowed until the next step.
func (r *Reader) Entry() *Entry { return &r.entry }

// step goes one entry further. A page that cannot be read (the file was cut off under us, or the disk fails) is a fault that would end
// the process; here it becomes an error of that file, and the step is made with what is left.
func (r *Reader) step(d direction) (ok bool) {
	if r.closed {
		return false
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for again := true; again; {
		ok, again = r.try(d)
	}
	return ok
}

func (r *Reader) try(d direction) (ok, again bool) {
	defer r.caught(&again)
	return r.move(d), false
}

// caught, deferred, turns a fault on a mapped page into an error of its file; *again says that it did.
func (r *Reader) caught(again *bool) {
	x := recover()
	if x == nil {
		return
	}
	if fault, ok := x.(interface{ Addr() uintptr }); ok { // what SetPanicOnFault makes of SIGBUS and SIGSEGV
		for _, f := range r.files {
			if at, ok := f.contains(fault.Addr()); ok {
				r.faulted(f, at)
				*again = true
				return
			}
		}
	}
	panic(x)
}

// maxFaults is how often a file may fault: once when it is cut off, and again if that goes on. More, and its disk is failing.
const maxFaults = 3

// faulted lets what is left of a file be read. Nothing here touches the mapping: a second fault would not be caught.
func (r *Reader) faulted(f *file, at uint64) {
	err := f.corrupt(at, "the page cannot be read: the file was cut off, or the disk fails")
	if f.faults++; f.faults > maxFaults {
		r.fail(f, err)
		return
	}
	r.damaged(f, err)
	f.relook, r.lead = true, nil
	switch f.state {
	case ready:
		f.state, f.from = taken, f.cand.offset
	case atEnd:
		f.state = taken
	}
}

// fail sets a file aside for good.
func (r *Reader) fail(f *file, err error) {
	r.stats.Damaged++
	r.problem(err)
	f.dead, f.state = true, done
	f.close()
	r.lead = nil
}

// damaged notes a place in a file that cannot be read. The first ones are told, so that a file cannot fill the list.
func (r *Reader) damaged(f *file, err error) {
	r.stats.Damaged++
	if f.bad++; f.bad <= 3 {
		r.problem(err)
	}
}

// move makes the step.
func (r *Reader) move(d direction) bool {
	if d != r.dir {
		r.dir, r.dirty = d, true
	}
	if r.dirty {
		r.replace()
	}
	r.began = true
	if f := r.lead; f != nil {
		if r.streak++; r.streak < maxStreak && r.ready(f) && (r.second == nil || r.before(&f.cand, &r.second.cand)) &&
			(len(r.cold) == 0 || d.before(f.cand.seqnum, r.bound)) {
			return r.give(f)
		}
		if r.streak >= maxStreak && r.watcher.changed() {
			r.refresh() // files may come and be vacuumed while we are at old ones
		}
	}
	for {
		if f := r.pick(); f != nil {
			return r.give(f)
		}
		if r.dir == up || !r.watcher.changed() {
			return false
		}
		if !r.refresh() {
			return false
		}
	}
}

// maxStreak is how many entries are read of one file before the others are looked at again.
const maxStreak = 1024

// replace forgets where all files stand, after a seek or a turn.
func (r *Reader) replace() {
	if r.have {
		r.start = target{atLocation, r.loc.cursor()}
	}
	r.active, r.cold = r.active[:0], r.cold[:0]
	for _, f := range r.files {
		if !f.dead {
			f.state, f.late, f.cold = unplaced, false, false
			r.active = append(r.active, f)
		}
	}
	r.dirty, r.lead, r.second, r.cur = false, nil, nil, nil
}

// give makes a file's candidate the current entry.
func (r *Reader) give(f *file) bool {
	f.state = taken
	r.loc, r.cur, r.have = f.cand, f, true
	r.start.kind = atLocation
	r.stats.Entries++
	r.load(f, &r.loc, &r.entry, &r.values)
	return true
}

// pick gives the file whose next entry comes next of all, in state ready; nil when there is none.
func (r *Reader) pick() *file {
	r.lead, r.second, r.streak = nil, nil, 0
	for i := 0; i < len(r.active); i++ {
		f := r.active[i]
		if f.state == unplaced && !f.cold && f.m == nil {
			switch r.outlook(f) {
			case nothing:
				r.retire(f)
			case later:
				f.cold = true
				r.cold = append(r.cold, f)
				r.active[i] = r.active[len(r.active)-1]
				r.active = r.active[:len(r.active)-1]
				i--
				continue
			}
		}
		if f.state == atEnd && r.dir == down && f.more(&r.z) {
			f.state = taken
		}
		r.ready(f)
	}
	kept := r.active[:0]
	for _, f := range r.active {
		if f.state != done {
			kept = append(kept, f)
		}
	}
	clear(r.active[len(kept):])
	r.active = kept

	best := r.first(nil)
	for {
		w := r.warm(best)
		if w < 0 {
			break
		}
		f := r.cold[w]
		r.cold = append(r.cold[:w], r.cold[w+1:]...)
		r.active = append(r.active, f)
		if r.ready(f) && (best == nil || r.before(&f.cand, &best.cand)) {
			best = f
		}
	}
	if best == nil {
		return nil
	}
	for _, f := range r.active { // the same entry in other files: given once
		for f != best && f.state == ready && compare(&f.cand, &best.cand) == 0 {
			f.state = taken
			r.stats.Duplicates++
			r.ready(f)
		}
	}
	r.lead, r.second = best, r.first(best)
	return best
}

// first is the active file whose candidate comes first, other than one.
func (r *Reader) first(other *file) (best *file) {
	for _, f := range r.active {
		if f != other && f.state == ready && (best == nil || r.before(&f.cand, &best.cand)) {
			best = f
		}
	}
	return best
}

// warm chooses a cold file that may hold an entry before the best so far, -1 when there is none. What is left has sequence numbers
// beyond the best's; r.bound is the nearest.
func (r *Reader) warm(best *file) int {
	w := -1
	for i, f := range r.cold {
		k := f.nearest(r.dir)
		switch {
		case best != nil && (f.seqnumID != best.seqnumID || !r.dir.before(best.cand.seqnum, k)):
			return i
		case best == nil && w >= 0 && f.seqnumID != r.cold[w].seqnumID:
		case w < 0 || r.dir.before(k, r.bound):
			w, r.bound = i, k
		}
	}
	if best != nil {
		return -1
	}
	return w
}

// nearest is the sequence number at the end of a file that a reader going in direction d meets first.
func (f *file) nearest(d direction) uint64 {
	if d == down {
		return f.ends.headSeq
	}
	return f.ends.tailSeq
}

// before says whether a comes before b in the reader's direction.
func (r *Reader) before(a, b *location) bool {
	if r.dir == down {
		return compare(a, b) < 0
	}
	return compare(a, b) > 0
}

// outlook is what a file's header says of where its entries lie, so that it need not be mapped.
type outlook uint8

const (
	unclear outlook = iota // map it
	nothing                // none lies in the direction of the step
	later                  // all do
)

func (r *Reader) outlook(f *file) outlook {
	e := &f.ends
	if e.n == 0 || f.late || !e.archived && r.dir == up {
		return unclear
	}
	c := &r.start.cursor
	var before, behind bool // the whole file lies before the target, or behind it
	switch {
	case r.start.kind == atHead:
		behind = true
	case r.start.kind == atTail:
		before = e.archived
	case c.hasSeqnum() && c.SeqnumID == f.seqnumID:
		before, behind = e.archived && e.tailSeq < c.Seqnum, e.headSeq > c.Seqnum
	case !c.hasMonotonic() && c.hasRealtime():
		before, behind = e.archived && e.tailReal < c.Realtime, e.headReal > c.Realtime
	}
	switch {
	case before && r.dir == down, behind && r.dir == up:
		return nothing
	case before, behind:
		return later
	}
	return unclear
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
				return false
			}
		}
		if f.relook {
			if err := r.prepare(f); err != nil {
				r.fail(f, err)
				return false
			}
		}
		// Looked at in this order: a file that is archived now will not have more than it has now.
		archived := f.archived()
		o, err := f.seek(f.from, r.dir)
		if err != nil {
			r.fail(f, err)
			return false
		}
		if f.syncErr != nil {
			r.damaged(f, f.syncErr)
			f.syncErr = nil
		}
		if o != 0 {
			err = f.entry(o, &f.cand)
		}
		if o == 0 || o >= f.limit && r.dir == down { // beyond what was written there is nothing
			if err != nil {
				r.damaged(f, err)
			}
			f.state = atEnd
			if archived || r.dir == up {
				r.retire(f)
			}
			return false
		}
		f.from = o + uint64(r.dir)
		if err != nil {
			r.damaged(f, err)
			continue
		}
		switch {
		case r.start.kind == atCursor && r.start.cursor.Names(f.cand.cursor()):
			continue
		case f.late && r.dir == down && r.elsewhere(f):
			r.stats.Duplicates++
			continue
		}
		f.state = ready
		return true
	}
}

// retire ends the part of a file that has been read to its end. What is known of it stays, so that it is not taken for a new one.
func (r *Reader) retire(f *file) {
	f.state = done
	if f.m != nil {
		f.loadEnds(f.m)
		f.ends.archived = f.archived()
	}
	if f.ends.archived && !f.volatile && f != r.found.f {
		f.close()
	}
}

// place finds where in a file to begin.
func (r *Reader) place(f *file) bool {
	if err := r.prepare(f); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			f.state = done // vacuumed, after it was read
		} else {
			r.fail(f, err)
		}
		return false
	}
	err := f.lookup(&r.z)
	if err != nil {
		r.fail(f, err)
		return false
	}
	switch kind := r.start.kind; {
	case f.late || kind == atHead || f.cold && r.dir == down:
		f.from = 0
	case kind == atTail || f.cold:
		f.from = 1 << 63
		if r.dir == down { // behind what is there now
			f.from, err = f.all.seekLE(f, f.from)
			f.from++
		}
	default:
		f.from, err = f.place(&f.all, &r.start.cursor, r.dir, &r.z)
		for err == nil && r.have {
			var o uint64
			var l location
			if o, err = f.seek(f.from, r.dir); err != nil || o == 0 || o >= f.limit || f.entry(o, &l) == nil && r.before(&r.loc, &l) {
				break
			}
			f.from = o + uint64(r.dir)
		}
	}
	if err != nil {
		r.fail(f, err)
		return false
	}
	f.state, f.cold, f.warmed = taken, false, 0
	return true
}

// prepare opens, maps and indexes a file.
func (r *Reader) prepare(f *file) error {
	if f.m != nil && !f.relook {
		return nil
	}
	if err := f.reopen(); err != nil {
		return err
	}
	if err := f.remap(); err != nil {
		return err
	}
	if f.hashOffset > f.limit || f.hashItems > (f.limit-f.hashOffset)/16 {
		return f.corrupt(hdrDataHashOffset, "the data hash table lies outside the file")
	}
	f.cache, f.several = r.cache, len(r.want) > 1
	f.all.reset()
	f.setMatches(r.o.Matches)
	f.relook = false
	return f.lookup(&r.z)
}

// elsewhere says whether the candidate of a file that came late stands in another file too, which gives it or has given it:
// journalctl --flush copies to /var what is in /run, and counts it anew.
func (r *Reader) elsewhere(f *file) bool {
	l := &f.cand
	for _, g := range r.files {
		if g.serial >= f.serial || g.m == nil || g.dead || g.word(hdrTailMonotonic) < l.monotonic || g.id128(hdrTailBootID) != l.bootID {
			continue
		}
		if ok, err := g.holds(l, &r.z); err == nil && ok {
			return true
		}
	}
	return false
}
