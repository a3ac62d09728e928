// Package journal reads journal files as journald writes them, in plain Go over mmap: no cgo, no libsystemd. It returns the entries of many
// files in sd_journal's order, and follows the files as they grow and rotate. It does not trust their contents, and it never writes: audit/
// writes entries, through journald.
//
// It parses the files itself because libsystemd needs cgo and reads a fifth as many entries per second; libsystemd serves as the oracle in
// tests. Values are decompressed by libraries where these can stop early; LZ4 blocks and the headers of zstd and xz are parsed here,
// because otherwise a value of 768 MiB would be decompressed as a whole.
//
// Start reading at Open and Reader.Next. In reading order: source.go and known.go list the files, merge.go chooses the file
// with the next entry, walk.go and list.go find the matching entries of a file, file.go and format.go hold the file format, fields.go
// loads what an entry holds, wait.go notices new entries, position.go resumes where reading stopped, and problems.go sets aside what
// cannot be read. journalctl.go and export.go read the files of a newer systemd through journalctl.
package journal

import (
	"fmt"
	"runtime/debug"
)

// Options select entries and fields.
type Options struct {
	Matches  Matches  // empty: every entry
	Fields   []string // for Entry.Field
	MaxValue int      // values of Fields are truncated to this many bytes, and inflated no further; 0: 64 KiB, at most 64 MiB
}

// defaultMaxValue bounds the cost of one value: journald accepts 768 MiB from any local user.
const defaultMaxValue = 64 << 10

// Reader returns entries one by one. It is not safe for concurrent use.
//
// Files that cannot be read and damaged places in files do not end reading: Problems reports them, and the rest is read. Files that
// this package cannot parse are read through a journalctl process, and their entries are merged with the others. These are files with
// a flag of a later systemd, and files that are still being written and could not be read after several attempts.
//
// Entries that exist when a step is made are returned in sd_journal's order. Entries written later are returned when they are found, even
// if they sort before an entry that was returned already. sd_journal drops these; a follower that uses Reader loses nothing.
type Reader struct {
	src    Source
	o      Options
	fields []fieldPrefix // of Options.Fields
	z      inflater
	cache  []slot
	closed bool

	files    []*file              // all known files
	other    map[inode]*otherFile // files that journalctl reads
	groups   []*file              // one for each origin of the files in other
	marks    map[string]*mark     // by origin
	active   []*file              // files in the merge
	deferred []*file              // files not mapped yet, because all their entries come after those of the active files
	serial   uint32

	start   target
	sought  target // of the last seek
	dir     direction
	dirty   bool     // after a seek or a change of direction: every file must be positioned again
	have    bool     // loc is set
	began   bool     // a step was made since Open
	loc     location // of the current entry
	curFile *file    // file of the current entry
	parsing *file    // file being parsed: a runtime error is attributed to it

	// Files seldom overlap. While one file leads, only its next entry is read and compared with the runner-up's. The leader stays as long
	// as its entry comes before the runner-up's and before deferredSeqnum.
	leader, runnerUp *file
	leaderSteps      int
	deferredSeqnum   uint64 // first sequence number of the deferred files

	entry  Entry
	own    eacher // reads fields of entries from files, not through journalctl
	values values
	found  lookup

	names           names
	problems        []problem
	problemsChanged bool   // since Wait last returned
	steps           uint64 // number of entries returned
	watcher         watcher
}

// target is where the next step begins.
type target struct {
	kind   targetKind
	cursor Cursor
}

type targetKind uint8

const (
	atHead     targetKind = iota
	atTail                // after the last entry that exists
	atCursor              // after the entry itself (going up: before it)
	atRealtime            // the first entry at this time or later (going up: the last at this time or earlier)
	atLocation            // after the current entry
	atPosition            // after the mark of each origin, and after the cursor in origins without one
)

// Open starts reading a source at its first entry. Missing or damaged files are not errors: see Problems.
func Open(src Source, o Options) (*Reader, error) {
	if err := src.check(); err != nil {
		return nil, err
	}
	if err := o.Matches.check(); err != nil {
		return nil, err
	}
	for _, f := range o.Fields {
		if err := checkField(f); err != nil {
			return nil, err
		}
	}
	if o.MaxValue <= 0 {
		o.MaxValue = defaultMaxValue
	}
	o.MaxValue = min(o.MaxValue, maxInflate)
	r := &Reader{
		src: src, o: o, fields: fieldPrefixes(o.Fields), cache: make([]slot, 1<<slotBits), other: map[inode]*otherFile{}, marks: map[string]*mark{},
		dir: down, dirty: true,
	}
	r.values.init(len(o.Fields))
	r.own = &current{r}
	r.entry = Entry{values: r.values.out, all: r.own}
	r.found.values.init(len(o.Fields))
	r.found.entry = Entry{values: r.found.values.out, all: &r.found}
	r.found.r = r
	if err := r.watcher.open(); err != nil {
		r.problem(problem{err: fmt.Errorf("watch %s: %w; polling every %v instead", src, err, pollFallback)})
	}
	r.refresh()
	return r, nil
}

// Close releases all files. The current entry must not be used afterwards.
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
	r.files, r.groups, r.active, r.deferred = nil, nil, nil, nil
	r.curFile, r.parsing, r.leader, r.runnerUp, r.found.f, r.found.mapped = nil, nil, nil, nil, nil, nil
	return r.watcher.close()
}

// Files returns the number of known files.
func (r *Reader) Files() int { return len(r.files) + len(r.other) }

// SeekHead positions before the first entry.
func (r *Reader) SeekHead() { r.seek(target{kind: atHead}) }

// SeekTail positions after the last entry: Previous returns that entry, and Next returns entries written from now on.
func (r *Reader) SeekTail() { r.seek(target{kind: atTail}) }

// SeekRealtime positions at a time in microseconds since 1970: Next returns the first entry at this time or later, Previous the last
// at this time or earlier.
func (r *Reader) SeekRealtime(us uint64) {
	r.seek(target{atRealtime, Cursor{Realtime: us, Set: HasRealtime}})
}

// SeekCursor positions after the entry that c identifies, to resume reading: Next returns the entry after it, Previous the one before. If
// the entry is gone or does not match, Next returns the closest one that follows. A partial cursor is allowed; if it identifies several
// entries, all of them are skipped. Use At to read the entry itself.
func (r *Reader) SeekCursor(c Cursor) error {
	if err := c.check(); err != nil {
		return err
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

// Next goes to the next entry. It returns false if there is none yet; Wait returns when there may be one.
func (r *Reader) Next() bool { return r.step(down) }

// Previous goes to the previous entry. It returns false if there is none.
func (r *Reader) Previous() bool { return r.step(up) }

// Entry is the current entry. It is valid until the next step.
func (r *Reader) Entry() *Entry { return &r.entry }

// step makes one step. A page that cannot be read, because the file was truncated or the disk fails, causes a fault that would end the
// process. Here it becomes an error of that file, and the step is repeated with the remaining files.
func (r *Reader) step(d direction) (ok bool) {
	if r.closed {
		return false
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for again := true; again; {
		ok, again = r.tryStep(d)
	}
	return ok
}

func (r *Reader) tryStep(d direction) (ok, again bool) {
	defer r.caught(&again)
	return r.move(d), false
}
