// Package journal reads journal files as journald writes them, in plain Go over mmap: no cgo, no libsystemd. It gives the
// entries of many files in sd_journal's order, follows them as they grow and rotate, and never trusts a byte of them.
// It never writes: audit/ does that, through journald.
//
// Start reading at Open and Reader.Next. format.go holds the file format, file.go and list.go how a file is read, walk.go how
// its matching entries are found, fields.go what an entry holds, source.go and known.go which files there are, position.go how
// reading goes on where it stopped, wait.go how new entries are noticed, export.go the export format, journalctl.go how files that
// cannot be parsed here are read.
package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
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
// Files that cannot be read, and damaged places in others, do not end it: Problems reports them, and the rest is read. A file that this
// package cannot parse is read through a journalctl process and its entries take their place among the others. That is so for files
// with a flag of a later systemd, and for a file that is still written to and failed maxTries times.
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

	files  []*file              // all that are known
	other  map[inode]*otherFile // those that journalctl reads
	groups []*file              // one for each origin of these
	marks  map[string]*mark     // by origin
	active []*file              // those in the merge
	cold   []*file              // those not mapped yet: all their entries lie beyond those of the active
	serial uint32

	start  target
	sought target // by the last seek
	dir    direction
	dirty  bool     // a seek was made, or the direction changed: every file is to be placed anew
	have   bool     // loc is set
	began  bool     // a step was made since Open
	loc    location // of the current entry
	cur    *file    // that the current entry is in
	at     *file    // at hand: what its contents make the program do is its error

	// While one file is ahead of all others (they seldom overlap), only its next entry is looked at, and compared with that of
	// the runner-up: lead goes on as long as it stays before second, and its sequence numbers before bound.
	lead, second *file
	bound        uint64
	streak       int

	entry  Entry
	own    eacher // of an entry that is read here
	values values
	found  lookup

	names    map[string]string
	problems []problem
	news     bool // problems have changed since Wait returned last
	given    uint64
	watcher  watcher
}

// problem is an error that was survived.
type problem struct {
	path string // the file or folder it is about; "": an event, which nothing undoes
	file *file  // it is over when this file is gone; nil: when the path can be read
	err  error
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
	atPosition            // behind each origin's mark, and behind the cursor in those that have none
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
	r := &Reader{src: src, o: o, other: map[inode]*otherFile{}, marks: map[string]*mark{}, cache: make([]slot, 1<<slotBits), want: wantedFields(o.Fields), dir: down, dirty: true}
	r.values.init(len(o.Fields))
	r.own = &current{r}
	r.entry = Entry{values: r.values.out, set: HasAll, all: r.own}
	r.found.values.init(len(o.Fields))
	r.found.entry = Entry{values: r.found.values.out, set: HasAll, all: &r.found}
	r.found.r = r
	if err := r.watcher.open(); err != nil {
		r.problem(problem{err: fmt.Errorf("watch %s: %w: looking again every %v", src, err, blindLook)})
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
	for _, g := range r.groups {
		g.via.stop()
	}
	for _, o := range r.other {
		o.fd.Close()
	}
	r.found.stop()
	r.files, r.groups, r.active, r.cold, r.cur, r.at, r.lead, r.second, r.found.f = nil, nil, nil, nil, nil, nil, nil, nil, nil
	return r.watcher.close()
}

// Problems are files that are not read or only through journalctl, places that were passed over, and entries that were lost, the
// latest last; only some are kept. Those that are over are left out. Each names a file. errors.As finds *CorruptError,
// *UnknownFlagsError, *VacuumedError and *FallbackError in them; Hint says what can be done.
func (r *Reader) Problems() []error {
	var errs []error
	for _, p := range r.problems {
		errs = append(errs, p.err)
	}
	return errs
}

// Incomplete says whether one of Problems means that entries are missing; else they are only read more slowly.
func Incomplete(err error) bool {
	var slow *FallbackError
	return !errors.As(err, &slow)
}

// Hint says what an administrator can do about one of Problems; "" where nothing is known.
func Hint(err error) string {
	var lost *VacuumedError
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "members of the group systemd-journal can read the journal; systemd-tmpfiles --create --prefix /var/log/journal restores the permissions of its folders"
	case errors.As(err, &lost):
		return "a larger SystemMaxUse= and RuntimeMaxUse= in journald.conf keeps files longer"
	}
	return ""
}

// Files is how many files are known.
func (r *Reader) Files() int { return len(r.files) + len(r.other) }

// maxProblems is how many problems are kept.
const maxProblems = 16

// problem keeps an error that was survived, each text once.
func (r *Reader) problem(p problem) {
	text := p.err.Error()
	for i := range r.problems {
		if r.problems[i].err.Error() == text {
			return
		}
	}
	r.news = true
	if len(r.problems) >= maxProblems {
		r.problems = r.problems[1:]
	}
	r.problems = append(r.problems, p)
}

// solve drops the problems that are over.
func (r *Reader) solve(over func(*problem) bool) {
	kept := make([]problem, 0, len(r.problems))
	for i := range r.problems {
		if !over(&r.problems[i]) {
			kept = append(kept, r.problems[i])
		}
	}
	r.news = r.news || len(kept) != len(r.problems)
	r.problems = kept
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

func (r *Reader) seek(t target) {
	r.start, r.sought, r.have, r.dirty = t, t, false, true
	for _, m := range r.marks {
		m.cursor, m.f = Cursor{}, nil
	}
}

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

// caught, deferred, turns what reading a file makes the program do into an error of that file; *again says that it did: a fault on
// a mapped page, or a mistake of this package that the file brought to light. No file may end the daemon.
func (r *Reader) caught(again *bool) {
	x := recover()
	if x == nil {
		return
	}
	cause, ok := x.(runtime.Error)
	if !ok {
		panic(x)
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
	f := r.at
	if f == nil || f.dead {
		panic(x) // no file is to blame
	}
	err := fmt.Errorf("%s: cannot be parsed: %w (a bug in bailiff: please report it)", f.path, cause)
	if *again = true; f.via == nil {
		r.fail(f, err)
		return
	}
	f.via.stop()
	f.state, r.lead = atEnd, nil // until one of its files changes
	r.problem(problem{file: f, err: err})
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

// A file that is still written to and failed is tried again after these times: there may have been no memory, or the disk failed
// for a moment. Then journalctl reads it.
var tryAgain = []time.Duration{time.Second, 5 * time.Second, 20 * time.Second}

// fail sets a file aside: for good if nothing is written to it any more.
func (r *Reader) fail(f *file, err error) {
	r.lead = nil
	if r.vacuumed(f) {
		return
	}
	r.problem(problem{f.path, f, err})
	archived := f.finished()
	f.dead, f.state = true, done
	if archived {
		f.close()
		return
	}
	f.unmap()
	f.retry = time.Now()
	if f.tries < len(tryAgain) {
		f.retry = f.retry.Add(tryAgain[f.tries])
	}
	f.tries++
	r.watcher.at(f.retry)
}

// revive tries the files again whose time has come, and says whether there are any.
func (r *Reader) revive() (fresh bool) {
	for _, f := range slices.Clone(r.files) {
		switch {
		case f.retry.IsZero():
		case time.Now().Before(f.retry):
			r.watcher.at(f.retry)
		default:
			var why error
			r.solve(func(p *problem) bool {
				if p.file == f {
					why = p.err
				}
				return p.file == f
			})
			r.drop(f)
			fresh = true
			if f.tries > len(tryAgain) {
				f.close()
				r.adopt(f.path, inode{f.id.dev, f.id.ino}, why)
				continue
			}
			f.dead, f.retry, f.state, f.late, f.relook, f.faults = false, time.Time{}, unplaced, true, false, 0
			r.files, r.active = append(r.files, f), append(r.active, f)
		}
	}
	return fresh
}

// drop takes a file off the lists.
func (r *Reader) drop(f *file) {
	for _, l := range []*[]*file{&r.files, &r.active, &r.cold} {
		*l = slices.DeleteFunc(*l, func(g *file) bool { return g == f })
	}
}

// VacuumedError says that journald deleted a file before it was read to its end. journald deallocates what it deletes, so
// that keeping the file open is no help.
type VacuumedError struct {
	Path    string
	Entries uint64 // that were lost
}

func (e *VacuumedError) Error() string {
	return fmt.Sprintf("%s: journald deleted this file before it was read: %d entries are lost", e.Path, e.Entries)
}

// vacuumed says whether a file was deleted and emptied, and if so reports what was lost of it.
func (r *Reader) vacuumed(f *file) bool {
	if !f.emptied() {
		return false
	}
	if lost := f.unread(); lost > 0 {
		r.problem(problem{err: &VacuumedError{f.path, lost}})
	}
	r.solve(func(p *problem) bool { return p.file == f })
	f.dead, f.state = true, done
	f.close()
	r.lead = nil
	return true
}

// damaged notes a place in a file that cannot be read. The first ones are reported, so that a file cannot fill the list.
func (r *Reader) damaged(f *file, err error) {
	if f.bad++; f.bad <= 3 && !f.emptied() {
		r.problem(problem{f.path, f, err})
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
	r.note()
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
	for _, g := range r.groups {
		g.state, g.late = unplaced, false
		r.active = append(r.active, g)
	}
	r.dirty, r.lead, r.second, r.cur = false, nil, nil, nil
}

// give makes a file's candidate the current entry.
func (r *Reader) give(f *file) bool {
	f.state = taken
	if f != r.cur {
		r.note()
	}
	r.loc, r.cur, r.have = f.cand, f, true
	r.start.kind = atLocation
	r.given++
	if f.via != nil {
		r.entry = *f.via.proc.x.Entry()
		return true
	}
	if r.entry.all != r.own { // the last one was journalctl's
		r.entry = Entry{values: r.values.out, set: HasAll, all: r.own}
	}
	r.load(f, &r.loc, &r.entry, &r.values)
	return true
}

// pick gives the file whose next entry comes next of all, in state ready; nil when there is none.
func (r *Reader) pick() *file {
	r.note()
	r.lead, r.second, r.streak = nil, nil, 0
	for i := 0; i < len(r.active); i++ {
		f := r.active[i]
		if f.state == unplaced && !f.cold && f.m == nil && f.via == nil {
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
		if r.at = f; f.state == atEnd && r.dir == down && f.via == nil && f.more(&r.z) {
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

	var best *file
	for {
		best = r.first(nil)
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
		if r.dir == up || !best.mark.repeats(best, &best.cand) {
			break
		}
		best.state = taken // a copy that was numbered anew
		r.ready(best)
	}
	for _, f := range r.active { // the same entry in other files: given once
		for f != best && f.state == ready && compare(&f.cand, &best.cand) == 0 {
			f.state = taken
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
	if r.start.kind == atPosition {
		if m, ok := f.mark.known(); ok {
			c = &m
		}
	}
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
	r.at = f
	if f.via != nil {
		return r.readyVia(f)
	}
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
			if f.word(0) == 0 && r.vacuumed(f) {
				return false
			}
			if err != nil {
				r.damaged(f, err)
			}
			f.state, f.readTo = atEnd, f.ends.tailSeq
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
		f.readTo = f.cand.seqnum
		if !r.isNew(f) {
			continue
		}
		f.state = ready
		return true
	}
}

// isNew says whether a candidate lies behind what was read before the seek.
func (r *Reader) isNew(f *file) bool {
	if r.start.kind == atCursor && r.start.cursor.Names(f.cand.cursor()) {
		return false
	}
	if f.checked {
		return true
	}
	c, ok := r.passed(f)
	if _, own := f.mark.known(); ok && reached(&c, own, f.mark.origin, &f.cand) {
		return false
	}
	f.checked = true // what follows in the file is younger
	return true
}

// passed is what was read of a file that appeared late, or of any after SeekPosition; false where that does not matter.
func (r *Reader) passed(f *file) (Cursor, bool) {
	if r.dir == up || !f.late && r.sought.kind != atPosition {
		return Cursor{}, false
	}
	if c, ok := f.mark.known(); ok {
		return c, true
	}
	switch r.sought.kind {
	case atPosition, atCursor:
		return r.sought.cursor, true
	case atRealtime: // the entry of that very time is asked for
		return Cursor{Realtime: r.sought.cursor.Realtime - 1, Set: HasRealtime}, r.sought.cursor.Realtime > 0
	}
	return Cursor{}, false
}

// retire ends the part of a file that has been read to its end. What is known of it stays, so that it is not taken for a new one.
func (r *Reader) retire(f *file) {
	f.state = done
	if f.m != nil {
		f.loadEnds(f.m)
		f.ends.archived = f.archived()
	}
	if f.ends.archived && f != r.found.f {
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
	f.checked = false
	passed, known := r.passed(f)
	switch kind := r.start.kind; {
	case r.dir == down && f.cold, kind == atHead, f.late && !known:
		f.from = 0
	case known && (f.late || !r.have):
		f.from, err = f.behind(&passed, &r.z)
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
