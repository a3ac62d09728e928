package journal

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// How new entries are noticed. journald notifies inotify only every 250 ms (POST_CHANGE_TIMER_INTERVAL_USEC). So after an entry, the mapped
// headers are polled, which costs a few memory loads: first every pollMin, then at intervals of the time since that entry divided by
// pollFraction. At one entry a second, the next one is noticed within 30 ms with some 150 polls a second; at twenty, within a few
// milliseconds. After pollWindow without an entry the reader sleeps until inotify wakes it.
const (
	pollMin      = time.Millisecond
	pollFraction = 32
	pollWindow   = 10 * time.Second
	pollFallback = 250 * time.Millisecond // where inotify is not available
)

// watcher reports changes in folders, through inotify.
type watcher struct {
	file *os.File // nil: no inotify. Non-blocking, so that the runtime's poller waits for it
	fd   int
	ids  map[string]uint32 // watch descriptors, by path

	blind   bool          // at least one folder could not be watched
	retry   time.Time     // when to list the folders again; zero: not
	backoff time.Duration // last delay of retry

	steps uint64    // Reader.steps when Wait was last called
	last  time.Time // when an entry was last returned, as Wait noticed
	woken uint64    // number of polls in Wait, for tests
}

const (
	watchEntries = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_ATTRIB |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_MASK_ADD
	watchParent = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_MASK_ADD
)

func (w *watcher) open() error {
	w.ids = map[string]uint32{}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		w.blind, w.retry = true, time.Now()
		return os.NewSyscallError("inotify_init1", err)
	}
	w.fd, w.file = fd, os.NewFile(uintptr(fd), "inotify")
	return nil
}

func (w *watcher) close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// set watches exactly these folders, and reports whether one is new.
func (w *watcher) set(list []watch) (fresh bool) {
	if w.file == nil {
		return false
	}
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
			_, _ = unix.InotifyRmWatch(w.fd, id)
			delete(w.ids, path)
		}
	}
	w.blind = false
	for path, mask := range masks {
		// This changes nothing for a folder that is watched already; one that was created again gets a new watch.
		n, err := unix.InotifyAddWatch(w.fd, path, mask)
		if err != nil {
			delete(w.ids, path)
			w.soon()
			w.blind = w.blind || !errors.Is(err, unix.ENOENT)
			continue
		}
		id := uint32(n)
		if old, ok := w.ids[path]; !ok || old != id {
			if ok {
				_, _ = unix.InotifyRmWatch(w.fd, old)
			}
			w.ids[path] = id
			fresh = true
		}
	}
	return fresh
}

// soon schedules another listing of the folders, with increasing delays, even without an inotify event: a file was incomplete.
func (w *watcher) soon() {
	w.backoff = min(max(2*w.backoff, 5*time.Millisecond), 5*time.Second)
	w.retry = time.Now().Add(w.backoff)
}

// at schedules another listing of the folders at time t or earlier.
func (w *watcher) at(t time.Time) {
	if w.retry.IsZero() || t.Before(w.retry) {
		w.retry = t
	}
}

// changed reports whether the set of files may have changed since the last call.
func (w *watcher) changed() (changed bool) {
	if w.file != nil && w.drain() {
		changed, w.backoff = true, 0
	}
	if !changed && !w.retry.IsZero() {
		changed = time.Now().After(w.retry)
	}
	if changed {
		w.retry = time.Time{}
		if w.blind {
			w.retry = time.Now().Add(pollFallback)
		}
	}
	return changed
}

// drain reads all inotify events, and reports whether one of them is more than a write to a file.
func (w *watcher) drain() (more bool) {
	var buf [4096]byte
	for {
		n, err := unix.Read(w.fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return more
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
			more = more || e.Mask&^unix.IN_MODIFY != 0
			b = b[unix.SizeofInotifyEvent+int(e.Len):]
		}
	}
}

// Wait blocks until there may be more entries or the problems have changed, but no longer than atMost. Its error is the context's, or
// os.ErrClosed. While entries keep arriving it notices the next one within about a millisecond; otherwise it sleeps.
func (r *Reader) Wait(ctx context.Context, atMost time.Duration) error {
	if r.closed {
		return os.ErrClosed
	}
	w := &r.watcher
	now := time.Now()
	end := now.Add(atMost)
	if w.steps != r.steps {
		w.steps, w.last = r.steps, now
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.woken++
		if r.pending() || r.problemsChanged {
			r.problemsChanged = false
			return nil
		}
		if now = time.Now(); !now.Before(end) {
			return nil
		}
		until := end
		idle := now.Sub(w.last)
		if idle < pollWindow {
			until = earlier(until, now.Add(max(pollMin, idle/pollFraction)))
		}
		if !w.retry.IsZero() {
			until = earlier(until, w.retry)
		}
		for _, g := range r.groups {
			until = earlier(until, now.Add(max(journalctlPoll, g.via.next.Sub(now))))
		}
		if err := w.sleep(ctx, until); err != nil {
			return err
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// sleep waits for an inotify event, at the latest until a time.
func (w *watcher) sleep(ctx context.Context, until time.Time) error {
	if w.file == nil {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	// The deadline that ended an earlier sleep is still set.
	if err := w.file.SetReadDeadline(until); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	// The poller reports only new events, not pending ones: check first, then wait.
	looked := false
	err = raw.Read(func(uintptr) bool {
		if looked {
			return true
		}
		looked = true
		return w.readable()
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return ctx.Err()
}

// readable reports whether inotify has an event already.
func (w *watcher) readable() bool {
	p := [1]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p[:], 0)
	return err == nil && n > 0
}

// pending reports whether a step may find an entry.
func (r *Reader) pending() bool {
	if r.dirty || r.dir == up {
		return true
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	found, again := r.tryPending()
	return found || again
}

func (r *Reader) tryPending() (found, again bool) {
	defer r.caught(&again)
	r.parsing = nil
	if r.watcher.changed() && r.refresh() {
		found = true
	}
	for _, f := range r.active {
		r.parsing = f
		switch {
		case f.via != nil:
			if f.state == atEnd && f.via.changed() {
				f.state = taken
			}
			found = found || f.state != atEnd
		case f.state != atEnd:
			found = found || f.state != done
		case f.more(&r.z) || f.archived(): // archived: it is read once more, and then done
			f.state, found = taken, true
		}
	}
	return found || len(r.deferred) > 0, false
}
