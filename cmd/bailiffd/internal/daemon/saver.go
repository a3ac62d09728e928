package daemon

import (
	"context"
	"time"
)

const (
	// How often the state file is written: soon after a ban, seldom if only the position in the journal has moved. After a crash
	// some entries are then read again, with the same result.
	saveBans   = 5 * time.Second
	saveCursor = 60 * time.Second

	// saveWait bounds how long a save waits for journald to accept the audit entries of the bans in it.
	saveWait = 5 * time.Second

	// saveNowWait is the same for a save that the owner of the state waits for.
	saveNowWait = time.Second

	// Nothing is judged while a snapshot is built. Snapshots of a large state (20 MB for a million addresses) are therefore so rare that
	// they take at most one part in saveShare of the time.
	saveShare = 200
)

// saver writes the state file when it has changed. It belongs to the owner's goroutine; only the writing runs in another one.
type saver struct {
	dir    string
	build  func(buf []byte) []byte     // appends a snapshot of the state
	flush  func(context.Context) error // waits until the audit entries of the state's bans are in the journal
	failed func(error)                 // gets each new error
	done   chan error                  // the result of a save in the background

	dirtyBans, dirtyCursor bool // what has changed since the last save
	last                   time.Time
	cost                   time.Duration // of building the last snapshot
	saving                 bool
	cancelFlush            context.CancelFunc // makes the save in the background write at once
	err                    error              // of the last save

	// The buffer is reused while saves follow each other. Growing a new one by appending leaves several times its size as garbage:
	// with 100,000 bans the peak would be 64 MiB instead of 52.
	buf  []byte
	size int // of the last snapshot
}

// saveIfDue starts a save in the background if something has changed and it is time.
func (s *saver) saveIfDue(now time.Time) {
	since := now.Sub(s.last)
	if s.saving || since < saveShare*s.cost || !(s.dirtyBans && since >= saveBans || s.dirtyCursor && since >= saveCursor) {
		return
	}
	s.saving, s.dirtyBans, s.dirtyCursor, s.last = true, false, false, now
	begin := time.Now()
	data := s.snapshot()
	s.cost = time.Since(begin)
	// The bans of a saved state must have been announced: after a crash, bans from before the saved position are not announced. A journald
	// that hangs delays a save but does not prevent it.
	ctx, cancel := context.WithTimeout(context.Background(), saveWait)
	s.cancelFlush = cancel
	go func() {
		defer cancel()
		_ = s.flush(ctx)
		s.done <- saveState(s.dir, data)
	}()
}

// saveNow saves the state before it returns: at the end, and before an operator's command is answered.
func (s *saver) saveNow() error {
	ctx, cancel := context.WithTimeout(context.Background(), saveNowWait)
	_ = s.flush(ctx) // see saveIfDue; a save in the background waits for the same
	cancel()
	if s.saving {
		s.cancelFlush()
		s.finished(<-s.done)
	}
	s.dirtyBans, s.dirtyCursor, s.last = false, false, time.Now()
	err := saveState(s.dir, s.snapshot())
	s.finished(err)
	return err
}

// finished takes the result of a save.
func (s *saver) finished(err error) {
	s.saving = false
	if err != nil {
		s.dirtyBans = true
		if s.err == nil || s.err.Error() != err.Error() {
			s.failed(err)
		}
	}
	s.err = err
}

// snapshot builds a snapshot in the buffer. No save may be running: it would still use the buffer.
func (s *saver) snapshot() []byte {
	if n := s.size + s.size/16; cap(s.buf) < n {
		s.buf = nil
		s.buf = make([]byte, 0, n+n/8)
	}
	s.buf = s.build(s.buf[:0])
	s.size = len(s.buf)
	return s.buf
}
