package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long a file that was removed stays open after we read it to its end: its writer may not have noticed, and what
// was in /run is compared with what journalctl --flush writes to /var.
const grace = time.Minute

// refresh lists the source's files and takes in those that are new; it says whether there are any. A file that is gone is kept
// until it is read.
func (r *Reader) refresh() (fresh bool) {
	l := r.src.list()
	if r.watcher.set(l.watch) {
		l = r.src.list() // what came between the first look and the watch
	}
	for _, err := range l.problems {
		r.problem(err)
	}
	byInode := make(map[[2]uint64]*file, len(r.files))
	for _, f := range r.files {
		byInode[[2]uint64{f.id.dev, f.id.ino}] = f
		f.listed = false
	}
	for _, path := range l.files {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			if err != unix.ENOENT || len(r.src.files) > 0 {
				r.problem(fmt.Errorf("%s: %w", path, err))
			}
			continue
		}
		id := statIdentity(&st)
		key := [2]uint64{id.dev, id.ino}
		// An inode is given to another file once nobody holds it; so one that is closed must also be as it was.
		if f := byInode[key]; f != nil && (f.fd != nil || f.id == id) {
			f.path, f.listed, f.unlinked = path, true, time.Time{}
			continue
		}
		f, err := openFile(path)
		switch {
		case errors.Is(err, errShort), errors.Is(err, fs.ErrNotExist):
			r.watcher.soon() // its writer is at it
			continue
		case err != nil:
			r.problem(err)
			continue
		}
		if old := byInode[key]; old != nil && old.fileID == f.fileID && old.fd == nil {
			old.path, old.listed, old.id = path, true, f.id // touched, as by a backup that is put back
			f.close()
			continue
		}
		r.serial++
		f.serial, f.listed, f.late = r.serial, true, r.began
		f.volatile = r.src.host != nil && strings.HasPrefix(path, filepath.Join(r.src.host.Root, "/run/log/journal")+"/")
		byInode[key] = f
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
			if f.dead || f.state == done && f.fd == nil || (f.state == done || f.state == atEnd) && now.Sub(f.unlinked) > grace {
				r.forget(f)
				continue
			}
		}
		kept = append(kept, f)
	}
	clear(r.files[len(kept):])
	r.files = kept
	r.lead = nil
	return fresh
}

// forget gives up a file that is read and removed.
func (r *Reader) forget(f *file) {
	f.close()
	f.state = done
	for i := range r.active {
		if r.active[i] == f {
			r.active = append(r.active[:i], r.active[i+1:]...)
			break
		}
	}
	if r.cur == f {
		r.cur = nil
	}
	if r.found.f == f {
		r.found.f = nil
	}
}
