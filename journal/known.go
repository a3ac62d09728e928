package journal

import (
	"errors"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// deletedFileGrace is how long a file that was removed stays open after we read it to its end: its writer may not have noticed.
const deletedFileGrace = time.Minute

// inode names a file that is open, whatever its path is now.
type inode struct{ dev, ino uint64 }

// refresh lists the source's files and takes in those that are new; it says whether there are any. A file that is gone is kept
// until it is read.
func (r *Reader) refresh() (fresh bool) {
	r.parsing = nil
	l := r.src.list()
	if r.watcher.set(l.watch) {
		l = r.src.list() // what came between the first look and the watch
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
		// An inode is given to another file once nobody holds it; so one that is closed must also be as it was.
		if f := known[key]; f != nil && (f.fd != nil || f.id == id) {
			f.path, f.listed, f.unlinked = path, true, time.Time{}
			continue
		}
		f, err := openFile(path)
		var newer *UnknownFlagsError
		switch {
		case errors.Is(err, errIncomplete), errors.Is(err, fs.ErrNotExist):
			r.watcher.soon() // its writer is at it
			continue
		case errors.As(err, &newer) || err != nil && r.other[key] != nil:
			fresh = r.adopt(path, key, err) || fresh
			continue
		case err != nil:
			fail(problem{path: path, err: err})
			if errno := unix.Errno(0); errors.As(err, &errno) && !errors.Is(err, fs.ErrPermission) {
				r.watcher.soon() // no memory or no descriptor was left, say
			}
			continue
		}
		if o := r.other[key]; o != nil {
			o.listed = false // it can be parsed now
		}
		if old := known[key]; old != nil && old.fileID == f.fileID && old.fd == nil {
			old.path, old.listed, old.id = path, true, f.id // touched, as by a backup that is put back
			f.close()
			continue
		}
		r.serial++
		f.serial, f.listed, f.late, f.mark = r.serial, true, r.began, r.markOf(origin(path))
		known[key] = f
		r.files, r.active = append(r.files, f), append(r.active, f)
		fresh = true
	}
	now := time.Now()
	kept := r.files[:0]
	for _, f := range r.files {
		if !f.listed {
			if f.unlinked.IsZero() {
				f.unlinked = now
			}
			if f.dead || f.state == done && f.fd == nil || (f.state == done || f.state == atEnd) && now.Sub(f.unlinked) > deletedFileGrace {
				r.forget(f)
				continue
			}
		}
		kept = append(kept, f)
	}
	clear(r.files[len(kept):])
	r.files = kept
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

// reads says whether journalctl reads the file at a path.
func (r *Reader) reads(path string) bool {
	for _, o := range r.other {
		if o.path == path {
			return true
		}
	}
	return false
}

// forget gives up a file that is read and removed.
func (r *Reader) forget(f *file) {
	r.vacuumed(f)
	f.close()
	f.state = done
	for i := range r.active {
		if r.active[i] == f {
			r.active = append(r.active[:i], r.active[i+1:]...)
			break
		}
	}
	if r.curFile == f {
		r.saveMark()
		r.curFile = nil
	}
	if r.found.f == f {
		r.found.f = nil
	}
}
