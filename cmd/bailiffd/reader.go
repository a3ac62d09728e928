package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bailiff/cmd/internal/feed"
	"bailiff/journal"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
)

// batch is a run of entries on their way from the reader to the owner of the state. Entries point into buf. Batches
// are used again: two of them go round.
type batch struct {
	entries  []filter.Entry
	refs     []jail.Ref
	cursors  []journal.Cursor
	buf      []byte
	sources  []journal.ID128 // what refs refer to
	rebuild  bool            // entries from before the saved cursor, read again to fill the windows
	last     journal.Cursor  // of the last entry
	moved    bool            // last is set
	behind   bool            // more entries are waiting
	dropped  uint64          // messages that journald says it suppressed
	notices  []string        // what the operator should know about where reading began
	troubles []error         // files set aside
	listed   bool            // troubles and files are set
	files    int
}

// A batch is handed over when the journal has no more, or when it is full. The size bounds memory; it is large enough
// that handing over costs nothing against reading.
const (
	batchEntries = 512
	batchBytes   = 128 << 10
)

// messageDropped is journald's own "Suppressed N messages from UNIT" (SD_MESSAGE_JOURNAL_DROPPED, sd-messages.h).
const messageDropped = "a596d6fe7bfa4994828e72309e95d61e"

// quiet is how long Wait may sleep when nothing happens; it also bounds how late a file that no watch told us of is seen.
const quiet = 30 * time.Second

// position says where reading begins.
type position struct {
	cursor  journal.Cursor // go on behind it
	known   bool           // cursor is set
	rebuild uint64         // realtime (µs) from which windows are filled again, up to the cursor; 0: not at all
	since   uint64         // without a cursor: begin at this time
}

// reader is the goroutine that reads the journal.
type reader struct {
	src    journal.Source
	refs   feed.Refs
	out    chan *batch
	free   chan *batch
	failed chan error

	mu     sync.Mutex
	change *journal.Matches   // after a reload
	wake   context.CancelFunc // ends a Wait
}

func newReader(src journal.Source) *reader {
	r := &reader{src: src, out: make(chan *batch), free: make(chan *batch, 2), failed: make(chan error, 1)}
	for range 2 {
		r.free <- &batch{entries: make([]filter.Entry, 0, batchEntries), refs: make([]jail.Ref, 0, batchEntries), cursors: make([]journal.Cursor, 0, batchEntries), buf: make([]byte, 0, batchBytes)}
	}
	return r
}

// run reads until ctx ends. It survives whatever the journal does: an error to open it is told and tried again.
func (r *reader) run(ctx context.Context, matches journal.Matches, pos position) {
	for ctx.Err() == nil {
		next, err := r.read(ctx, matches, pos)
		pos = next
		if err != nil {
			select {
			case r.failed <- err:
			default:
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		if m := r.changed(true); m != nil {
			matches = *m
		}
	}
}

// reload makes the reader go on with other matches.
func (r *reader) reload(m journal.Matches) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.change = &m
	if r.wake != nil {
		r.wake()
	}
}

func (r *reader) changed(take bool) *journal.Matches {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.change
	if take {
		r.change = nil
	}
	return m
}

// read follows the journal with one set of matches; it returns at a reload, with the position to go on from.
func (r *reader) read(ctx context.Context, matches journal.Matches, pos position) (position, error) {
	if pos.known && pos.rebuild != 0 {
		s, _, err := r.open(ctx, matches, position{since: pos.rebuild}, false)
		if err != nil {
			return pos, err
		}
		for done := false; !done; {
			b, err := r.take(ctx)
			if err != nil {
				s.Close()
				return pos, nil
			}
			b.rebuild, b.behind = true, true
			done = r.fill(s, b, &pos.cursor)
			if !r.give(ctx, b) {
				s.Close()
				return pos, nil
			}
		}
		s.Close()
		pos.rebuild = 0
	}
	s, notices, err := r.open(ctx, matches, pos, true)
	if err != nil {
		return pos, err
	}
	defer s.Close()
	for ctx.Err() == nil {
		b, err := r.take(ctx)
		if err != nil {
			return pos, nil
		}
		end := r.fill(s, b, nil)
		b.notices, notices = notices, nil
		b.behind = !end
		if b.moved {
			pos.cursor, pos.known = b.last, true
		}
		if end {
			b.troubles, b.listed = s.Problems(), true
			if j, ok := s.(*journal.Reader); ok {
				b.files = j.Files()
			}
		}
		troubles := b.troubles
		if !r.give(ctx, b) {
			return pos, nil
		}
		if r.changed(false) != nil {
			return pos, nil
		}
		if !end {
			continue
		}
		if _, ok := s.(*journal.Reader); ok && newer(troubles) {
			return pos, nil // a file of a newer systemd has come: read through journalctl from here on
		}
		if err := r.wait(ctx, s); err != nil {
			return pos, err
		}
	}
	return pos, nil
}

// open begins to read at a position: with our own reader, or through journalctl where a file has been written by a systemd
// that is newer than what our reader knows.
func (r *reader) open(ctx context.Context, matches journal.Matches, pos position, follow bool) (s journal.Stream, notices []string, err error) {
	o := journal.Options{Matches: matches, Fields: feed.Fields, MaxValue: feed.MaxValue}
	j, err := journal.Open(r.src, o)
	if err != nil {
		return nil, nil, err
	}
	if newer(j.Problems()) {
		j.Close()
		c := journal.ChildOptions{Options: o, Since: pos.since, Follow: follow}
		if pos.known {
			c.After = pos.cursor
		}
		s, err := journal.NewChild(ctx, r.src, c)
		return s, []string{"the journal is written by a newer systemd than this bailiff knows: it is read through journalctl, which is slower"}, err
	}
	if !pos.known {
		j.SeekRealtime(pos.since)
		return j, nil, nil
	}
	if _, ok := j.At(pos.cursor); !ok {
		notices = append(notices, fmt.Sprintf("the entry that was read last (%s) is no longer in the journal: going on by its time", pos.cursor))
	}
	if err := j.SeekCursor(pos.cursor); err != nil {
		notices = append(notices, fmt.Sprintf("saved cursor: %v; going on by its time", err))
		j.SeekRealtime(pos.cursor.Realtime)
	}
	return j, notices, nil
}

// newer says whether a file could not be read because a newer systemd has written it.
func newer(problems []error) bool {
	for _, p := range problems {
		var e *journal.UnknownFlagsError
		if errors.As(p, &e) {
			return true
		}
	}
	return false
}

// wait sleeps until there may be more; a reload wakes it.
func (r *reader) wait(ctx context.Context, j journal.Stream) error {
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	r.wake = cancel
	if r.change != nil {
		cancel()
	}
	r.mu.Unlock()
	err := j.Wait(wctx, quiet)
	r.mu.Lock()
	r.wake = nil
	r.mu.Unlock()
	if wctx.Err() != nil {
		return nil
	}
	return err
}

// fill reads entries into b. It returns true when there are no more, or when the next one lies behind stop.
func (r *reader) fill(j journal.Stream, b *batch, stop *journal.Cursor) bool {
	for len(b.entries) < batchEntries {
		if cap(b.buf)-len(b.buf) < filter.MaxMessage+4096 {
			return false
		}
		if !j.Next() {
			return true
		}
		e := j.Entry()
		if stop != nil && beyond(e, stop) {
			return true
		}
		b.last, b.moved = e.Cursor(), true
		var f filter.Entry
		feed.Convert(e, &f)
		if string(f.Unit) == journaldUnit {
			b.dropped += droppedBy(e, &f)
			continue
		}
		f.Message = b.keep(f.Message, filter.MaxMessage+1)
		f.Unit = b.keep(f.Unit, 512)
		f.Slice = b.keep(f.Slice, 512)
		f.Exe = b.keep(f.Exe, 512)
		f.UserUnit = b.keep(f.UserUnit, 512)
		f.Container = b.keep(f.Container, 512)
		f.ContainerTag = b.keep(f.ContainerTag, 512)
		f.Identifier = b.keep(f.Identifier, 512)
		b.entries = append(b.entries, f)
		b.cursors = append(b.cursors, b.last)
		b.refs = append(b.refs, r.refs.Ref(e.SeqnumID, e.Seqnum))
		b.sources = r.refs.Sources()
	}
	return false
}

// beyond says whether an entry comes after the cursor.
func beyond(e *journal.Entry, c *journal.Cursor) bool {
	if e.SeqnumID == c.SeqnumID {
		return e.Seqnum > c.Seqnum
	}
	return e.Realtime > c.Realtime
}

func (b *batch) keep(v []byte, limit int) []byte {
	if len(v) == 0 {
		return nil
	}
	v = v[:min(len(v), limit)]
	at := len(b.buf)
	b.buf = append(b.buf, v...)
	return b.buf[at:len(b.buf):len(b.buf)]
}

func (r *reader) take(ctx context.Context) (*batch, error) {
	select {
	case b := <-r.free:
		*b = batch{entries: b.entries[:0], refs: b.refs[:0], cursors: b.cursors[:0], buf: b.buf[:0]}
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *reader) give(ctx context.Context, b *batch) bool {
	select {
	case r.out <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

// journaldUnit logs how many messages were suppressed by the rate limit; the kernel vouches for its uid 0.
const journaldUnit = "systemd-journald.service"

var droppedGroup = journal.Group{{Field: "MESSAGE_ID", Value: messageDropped}, {Field: "_SYSTEMD_UNIT", Value: journaldUnit}}

func droppedBy(e *journal.Entry, f *filter.Entry) (n uint64) {
	if f.UID != 0 {
		return 0
	}
	e.Each(func(field string, value []byte) bool {
		if field == "N_DROPPED" && len(value) < 16 {
			for _, c := range value {
				if c < '0' || c > '9' {
					n = 0
					return false
				}
				n = n*10 + uint64(c-'0')
			}
		}
		return field != "N_DROPPED"
	})
	return max(n, 1)
}
