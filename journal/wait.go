package journal

import (
	"context"
	"os"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// How new entries are noticed. journald tells inotify only every 250 ms (POST_CHANGE_TIMER_INTERVAL_USEC), so as long as
// entries keep coming the headers are looked at, which takes a load from memory each; when none has come for busy, the
// reader sleeps until inotify wakes it. A first entry after a silence may so be seen up to 250 ms late; an attack is not
// one entry.
const (
	glance = time.Millisecond
	busy   = 2 * time.Second
)

// watcher tells of changes in folders, over inotify.
type watcher struct {
	file  *os.File // non-blocking, so that the runtime's poller waits for it
	fd    int
	ids   map[string]int32 // path → watch descriptor
	again bool             // look again though nothing was told: a file was being made
	last  time.Time        // when an entry was found last
}

const (
	watchEntries = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	watchParent  = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

	// What changes the list of files.
	listEvents = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_IGNORED | unix.IN_Q_OVERFLOW
)

func (w *watcher) open() error {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("inotify_init", err)
	}
	w.fd, w.file, w.ids = fd, os.NewFile(uintptr(fd), "inotify"), map[string]int32{}
	return nil
}

func (w *watcher) close() error { return w.file.Close() }

// set watches these folders and no others, and says whether one is new.
func (w *watcher) set(list []watch) (fresh bool) {
	masks := map[string]uint32{}
	for _, x := range list {
		if x.parent {
			masks[x.path] |= watchParent
		} else {
			masks[x.path] |= watchEntries
		}
	}
	for path, id := range w.ids {
		if _, ok := masks[path]; !ok {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(id))
			delete(w.ids, path)
		}
	}
	for path, mask := range masks {
		// Adding a watch that is there changes nothing; a folder that was made anew gets a new one.
		id, err := unix.InotifyAddWatch(w.fd, path, mask)
		if err != nil {
			delete(w.ids, path)
			w.again = true // gone again, or too many watches (then Wait's limit brings the look)
			continue
		}
		if old, ok := w.ids[path]; !ok || old != int32(id) {
			w.ids[path] = int32(id)
			fresh = true
		}
	}
	return fresh
}

// drain reads what inotify has to tell. list: the list of files may have changed; any: anything happened.
func (w *watcher) drain() (list, any bool) {
	var buf [4096]byte
	for {
		n, err := unix.Read(w.fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return list, any
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
			any = true
			if e.Mask&listEvents != 0 {
				list = true
			}
			b = b[unix.SizeofInotifyEvent+int(e.Len):]
		}
	}
}

// changed says whether the list of files may have changed since it was asked last.
func (w *watcher) changed() bool {
	list, _ := w.drain()
	again := w.again
	w.again = false
	return list || again
}

// Wait returns when there may be more entries, at the latest after max. Its error is the context's. While entries keep
// coming it notices the next one within about a millisecond; when they do not, it sleeps.
func (r *Reader) Wait(ctx context.Context, max time.Duration) error {
	end := time.Now().Add(max)
	if r.began && r.progressed() {
		r.watcher.last = time.Now()
	}
	timer := time.NewTimer(glance)
	defer timer.Stop()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.pending() {
			return nil
		}
		now := time.Now()
		if !now.Before(end) {
			r.watcher.again = true
			return nil
		}
		if now.Sub(r.watcher.last) < busy {
			timer.Reset(glance)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			continue
		}
		if err := r.sleep(ctx, end); err != nil {
			return err
		}
	}
}

// progressed says whether an entry was given since Wait was called last.
func (r *Reader) progressed() bool {
	moved := r.have && r.loc != r.watchedLoc
	r.watchedLoc = r.loc
	return moved
}

// sleep waits for inotify, until end.
func (r *Reader) sleep(ctx context.Context, end time.Time) error {
	w := &r.watcher
	if err := w.file.SetReadDeadline(end); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// The poller wakes the read when there is something; drain, called by pending, then reads it.
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	first := true
	err = raw.Read(func(uintptr) bool {
		if first {
			first = false
			return r.readable()
		}
		return true
	})
	if err != nil && !os.IsTimeout(err) {
		return err
	}
	return ctx.Err()
}

// readable says whether inotify has something to tell already.
func (r *Reader) readable() bool {
	p := []unix.PollFd{{Fd: int32(r.watcher.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

// pending says whether a step may find something.
func (r *Reader) pending() (found bool) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	again := false
	func() {
		defer r.caught(&again)
		found = r.dirty || r.renew()
	}()
	return found || again
}
