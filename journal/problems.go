package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"time"
)

// problem is an error that does not stop the reader.
type problem struct {
	path string // file or folder concerned; "": an event, which is never over
	file *file  // the problem is over when this file is gone; nil: it is over when the path can be read
	err  error
}

// maxProblems is the number of problems kept.
const maxProblems = 16

// Problems are the current problems, oldest first, at most 16: files that are not read, or only through journalctl; places in files that
// were skipped; and entries that were lost. Each error names a file or folder. errors.As finds *CorruptError, *UnknownFlagsError,
// *VacuumedError and *FallbackError in them; Hint says what an administrator can do.
func (r *Reader) Problems() []error {
	var errs []error
	for _, p := range r.problems {
		errs = append(errs, p.err)
	}
	return errs
}

// Incomplete reports whether a problem means that entries are missing, not just that they are read more slowly.
func Incomplete(err error) bool {
	var slow *FallbackError
	return !errors.As(err, &slow)
}

// Hint returns what an administrator can do about a problem; "" if nothing is known.
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

// problem records a problem, unless one with the same text is recorded already.
func (r *Reader) problem(p problem) {
	if slices.ContainsFunc(r.problems, func(q problem) bool { return q.err.Error() == p.err.Error() }) {
		return
	}
	r.problemsChanged = true
	if len(r.problems) >= maxProblems {
		r.problems = r.problems[1:]
	}
	r.problems = append(r.problems, p)
}

// dropProblems removes the problems that are over.
func (r *Reader) dropProblems(over func(*problem) bool) {
	n := len(r.problems)
	r.problems = slices.DeleteFunc(r.problems, func(p problem) bool { return over(&p) })
	r.problemsChanged = r.problemsChanged || len(r.problems) != n
}

// caught is deferred around everything that parses a file. It turns a fault on a mapped page, and a panic caused by the contents of
// a file, into an error of that file, and sets *again: no file may end the daemon.
func (r *Reader) caught(again *bool) {
	x := recover()
	if x == nil {
		return
	}
	cause, ok := x.(runtime.Error)
	if !ok {
		panic(x)
	}
	if fault, ok := x.(interface{ Addr() uintptr }); ok { // SIGBUS or SIGSEGV, see debug.SetPanicOnFault
		for _, f := range r.files {
			if at, ok := f.contains(fault.Addr()); ok {
				r.faulted(f, at)
				*again = true
				return
			}
		}
	}
	f := r.parsing
	if f == nil || f.dead {
		panic(x) // not caused by a file
	}
	err := fmt.Errorf("%s: cannot be parsed: %w (a bug in bailiff: please report it)", f.path, cause)
	if *again = true; f.via == nil {
		r.fail(f, err)
		return
	}
	f.via.stop()
	f.state, r.leader = atEnd, nil // until one of its files changes
	r.problem(problem{file: f, err: err})
}

// maxFaults is the number of faults after which a file is set aside. A file that is truncated faults once, and again if it is
// truncated further; more means that its disk fails.
const maxFaults = 3

// faulted makes the reader continue with the rest of a file. It must not touch the mapping: a second fault would not be caught.
func (r *Reader) faulted(f *file, at uint64) {
	err := f.corrupt(at, "the page cannot be read: the file was truncated, or the disk fails")
	if f.faults++; f.faults > maxFaults {
		r.fail(f, err)
		return
	}
	r.damaged(f, err)
	f.mustRemap, r.leader = true, nil
	switch f.state {
	case ready:
		f.state, f.from = taken, f.cand.offset
	case atEnd:
		f.state = taken
	}
}

// retryAfter are the delays after which a file that is still being written is tried again: memory may have been short, or the disk
// failed for a moment. After the last attempt journalctl reads the file.
var retryAfter = []time.Duration{time.Second, 5 * time.Second, 20 * time.Second}

// fail sets a file aside: permanently if nothing more is written to it, otherwise until the next attempt.
func (r *Reader) fail(f *file, err error) {
	r.leader = nil
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
	if f.tries < len(retryAfter) {
		f.retry = f.retry.Add(retryAfter[f.tries])
	}
	f.tries++
	r.watcher.at(f.retry)
}

// retryFailed retries the files whose delay is over, and reports whether there are any.
func (r *Reader) retryFailed() (fresh bool) {
	for _, f := range slices.Clone(r.files) {
		if f.retry.IsZero() {
			continue
		}
		if time.Now().Before(f.retry) {
			r.watcher.at(f.retry)
			continue
		}
		fresh = true
		var why error
		r.dropProblems(func(p *problem) bool {
			if p.file == f {
				why = p.err
			}
			return p.file == f
		})
		r.drop(f)
		if f.tries > len(retryAfter) {
			f.close()
			r.adopt(f.path, inode{f.id.dev, f.id.ino}, why)
			continue
		}
		f.dead, f.retry, f.state, f.late, f.mustRemap, f.faults = false, time.Time{}, unplaced, true, false, 0
		r.files, r.active = append(r.files, f), append(r.active, f)
	}
	return fresh
}

// drop removes a file from all lists.
func (r *Reader) drop(f *file) {
	for _, l := range []*[]*file{&r.files, &r.active, &r.deferred} {
		*l = slices.DeleteFunc(*l, func(g *file) bool { return g == f })
	}
}

// VacuumedError says that journald deleted a file before all of it was read. journald deallocates the contents of files that it
// deletes, so keeping the file open does not help.
type VacuumedError struct {
	Path    string
	Entries uint64 // number of entries lost
}

func (e *VacuumedError) Error() string {
	return fmt.Sprintf("%s: journald deleted this file before it was read: %d entries are lost", e.Path, e.Entries)
}

// vacuumed reports whether a file was deleted and emptied. If so, it records what was lost and sets the file aside.
func (r *Reader) vacuumed(f *file) bool {
	if !f.emptied() {
		return false
	}
	if lost := f.unread(); lost > 0 {
		r.problem(problem{err: &VacuumedError{f.path, lost}})
	}
	r.dropProblems(func(p *problem) bool { return p.file == f })
	f.dead, f.state = true, done
	f.close()
	r.leader = nil
	return true
}

// damaged records a place in a file that cannot be read. Only the first three places in a file are recorded, so that one file cannot fill
// the list.
func (r *Reader) damaged(f *file, err error) {
	if f.damages++; f.damages <= 3 && !f.emptied() {
		r.problem(problem{f.path, f, err})
	}
}
