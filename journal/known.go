package journal

import (
	"errors"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// deletedFileGrace is how long a deleted file stays open after it was read to its end: its writer may not have noticed yet.
const deletedFileGrace = time.Minute

// inode identifies an open file, whatever its path is now.
type inode struct{ dev, ino uint64 }

// refresh lists the files of the source, adds new ones and reports whether there are any. A deleted file is kept until it has been read.
func (r *Reader) refresh() (fresh bool) {
	r.parsing = nil
	l := r.src.list()
	if r.watcher.set(l.watch) {
		l = r.src.list() // for files created between the first listing and the watch
	}
	failing := map[string]bool{}
	fail := func(p problem) {
		failing[p.path] = true
		r.problem(p)
	}
	for _, p := range l.problems {
		fail(p)
	}
	known := make(map[inode]*file, len(r.files))
	for _, f := range r.files {
		known[inode{f.id.dev, f.id.ino}] = f
		f.listed = false
	}
	for _, o := range r.other {
		o.listed = false
	}
	for _, path := range l.files {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			if err != unix.ENOENT || len(r.src.files) > 0 {
				fail(problem{path: path, err: &fs.PathError{Op: "stat", Path: path, Err: err}})
			}
			continue
		}
		id := statIdentity(&st)
		key := inode{id.dev, id.ino}
		if o := r.other[key]; o != nil && o.path == path {
			o.listed = true
			continue
		}
		// The inode of a closed file may be reused, so size and time of modification must be unchanged as well.
		if f := known[key]; f != nil && (f.fd != nil || f.id == id) {
			f.path, f.listed, f.unlinked = path, true, time.Time{}
			continue
		}
		f, err := openFile(path)
		var newer *UnknownFlagsError
		switch {
		case errors.Is(err, errIncomplete), errors.Is(err, fs.ErrNotExist):
			r.watcher.soon() // it is being created
			continue
		case errors.As(err, &newer) || err != nil && r.other[key] != nil:
			fresh = r.adopt(path, key, err) || fresh
			continue
		case err != nil:
			fail(problem{path: path, err: err})
			if errno := unix.Errno(0); errors.As(err, &errno) && !errors.Is(err, fs.ErrPermission) {
				r.watcher.soon() // for example out of memory or descriptors
			}
			continue
		}
		if o := r.other[key]; o != nil {
			o.listed = false // it can be parsed now
		}
		if old := known[key]; old != nil && old.fileID == f.fileID && old.fd == nil {
			old.path, old.listed, old.id = path, true, f.id // touched, for example restored from a backup
			f.close()
			continue
		}
		r.serial++
		f.serial, f.listed, f.late, f.mark = r.serial, true, r.began, r.markOf(origin(path))
		known[key] = f
		r.files, r.active = append(r.files, f), append(r.active, f)
		fresh = true
	}
	r.forgetDeleted()
	fresh = r.retryFailed() || fresh
	r.regroup()
	r.leader = nil
	r.dropProblems(func(p *problem) bool {
		if p.file != nil {
			return !slices.Contains(r.files, p.file) && !slices.Contains(r.groups, p.file)
		}
		return p.path != "" && !failing[p.path] && !r.reads(p.path)
	})
	return fresh
}

// forgetDeleted drops files that are no longer listed and were read, after deletedFileGrace if they are still open.
func (r *Reader) forgetDeleted() {
	now := time.Now()
	for _, f := range slices.Clone(r.files) {
		if f.listed {
			continue
		}
		if f.unlinked.IsZero() {
			f.unlinked = now
		}
		if f.dead || f.state == done && f.fd == nil || (f.state == done || f.state == atEnd) && now.Sub(f.unlinked) > deletedFileGrace {
			r.forget(f)
		}
	}
}

// reads reports whether journalctl reads the file at a path.
func (r *Reader) reads(path string) bool {
	for _, o := range r.other {
		if o.path == path {
			return true
		}
	}
	return false
}

// forget drops a file that was read and deleted.
func (r *Reader) forget(f *file) {
	r.vacuumed(f)
	f.close()
	f.state = done
	r.drop(f)
	if r.curFile == f {
		r.saveMark()
		r.curFile = nil
	}
	r.found.forget(f)
}
