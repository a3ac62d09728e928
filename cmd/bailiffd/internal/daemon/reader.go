package daemon

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"bailiff/journal"
	"bailiff/journal/evidence"
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
	sources  []journal.ID128  // what refs refer to
	rebuild  bool             // entries from before the saved cursor, read again to fill the windows
	pos      journal.Position // behind the last entry
	moved    bool             // pos is set
	behind   bool             // more entries are waiting
	dropped  uint64           // messages that journald says it suppressed
	notices  []string         // what the operator should know about where reading began
	troubles []error          // what is not read of the journal
	listed   bool             // troubles and files are set
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
	pos     journal.Position // go on behind it
	rebuild uint64           // realtime (µs) from which windows are filled again, up to pos; 0: not at all
	since   uint64           // where pos is zero: begin at this time
}

// reader is the goroutine that reads the journal.
type reader struct {
	src    journal.Source
	refs   evidence.Refs
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
	o := journal.Options{Matches: matches, Fields: evidence.Fields, MaxValue: evidence.MaxValue}
	j, err := journal.Open(r.src, o)
	if err != nil {
		return pos, err
	}
	defer j.Close()
	if !pos.pos.IsZero() && pos.rebuild != 0 {
		j.SeekRealtime(pos.rebuild)
		for done := false; !done; {
			b, err := r.take(ctx)
			if err != nil {
				return pos, nil
			}
			b.rebuild, b.behind = true, true
			done = r.fill(j, b, &pos.pos)
			if !r.give(ctx, b) {
				return pos, nil
			}
		}
		pos.rebuild = 0
	}
	var notices []string
	if pos.pos.IsZero() {
		j.SeekRealtime(pos.since)
	} else {
		if _, ok := j.At(pos.pos.Last()); !ok {
			notices = append(notices, fmt.Sprintf("the entry that was read last (%s) is no longer in the journal: going on by its time", pos.pos.Last()))
		}
		j.SeekPosition(pos.pos)
	}
	for ctx.Err() == nil {
		b, err := r.take(ctx)
		if err != nil {
			return pos, nil
		}
		end := r.fill(j, b, nil)
		b.notices, notices = notices, nil
		b.behind = !end
		if b.moved {
			pos.pos = b.pos
		}
		if end {
			b.troubles, b.listed, b.files = j.Problems(), true, j.Files()
		}
		if !r.give(ctx, b) {
			return pos, nil
		}
		if r.changed(false) != nil {
			return pos, nil
		}
		if !end {
			continue
		}
		if err := r.wait(ctx, j); err != nil {
			return pos, err
		}
	}
	return pos, nil
}

// wait sleeps until there may be more; a reload wakes it.
func (r *reader) wait(ctx context.Context, j *journal.Reader) error {
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

// rebuildBeyond is how far behind a position older entries are looked for: journalds of several namespaces write at the same time.
const rebuildBeyond = uint64(time.Minute / time.Microsecond)

// fill reads entries into b. It returns true when there are no more. With upTo, only entries that were read at that position are taken.
func (r *reader) fill(j *journal.Reader, b *batch, upTo *journal.Position) bool {
	for len(b.entries) < batchEntries {
		if cap(b.buf)-len(b.buf) < filter.MaxMessage+4096 {
			break
		}
		if !j.Next() {
			b.end(j)
			return true
		}
		e := j.Entry()
		if upTo != nil && !j.Reached(*upTo) {
			if e.Realtime > upTo.Last().Realtime+rebuildBeyond {
				return true
			}
			continue
		}
		b.moved = true
		var f filter.Entry
		evidence.Convert(e, &f)
		if fromJournald(f.Unit) {
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
		b.cursors = append(b.cursors, e.Cursor())
		b.refs = append(b.refs, r.refs.Ref(e.SeqnumID, e.Seqnum))
		b.sources = r.refs.Sources()
	}
	b.end(j)
	return false
}

// end notes the position behind the last entry.
func (b *batch) end(j *journal.Reader) {
	if b.moved {
		b.pos = j.Position()
	}
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

// fromJournald says whether a unit is journald or journald of a namespace, which log how many messages their rate limit
// suppressed. A kernel-checked uid 0 is asked for, too.
func fromJournald(unit []byte) bool {
	return string(unit) == "systemd-journald.service" || bytes.HasPrefix(unit, []byte("systemd-journald@"))
}

var droppedGroup = journal.Group{{Field: "MESSAGE_ID", Value: messageDropped}}

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
