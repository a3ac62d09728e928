package daemon

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
)

// batch is a number of entries on their way from the reader to the owner of the state. Entries point into buf. Two batches are used
// in turn.
type batch struct {
	entries  []filter.Entry
	refs     []jail.Ref
	cursors  []journal.Cursor
	buf      []byte
	sources  []journal.ID128  // that refs point to
	rebuild  bool             // entries from before the saved position, read again to fill the windows
	pos      journal.Position // after the last entry
	moved    bool             // pos is set
	behind   bool             // more entries are waiting
	dropped  uint64           // messages that journald has suppressed
	notices  []string         // what an operator should know about where reading began
	problems []error          // problems with journal files
	listed   bool             // problems and files are set
	files    int
}

// A batch is passed on when it is full or the journal has no more entries. The size bounds memory, and is large enough that passing
// it on costs nothing compared to reading.
const (
	batchEntries = 512
	batchBytes   = 128 << 10
)

// messageDropped is journald's own "Suppressed N messages from UNIT" (SD_MESSAGE_JOURNAL_DROPPED, sd-messages.h).
const messageDropped = "a596d6fe7bfa4994828e72309e95d61e"

// maxWait is how long Wait may sleep. It bounds how late a new file is noticed without inotify.
const maxWait = 30 * time.Second

// position says where reading begins.
type position struct {
	pos     journal.Position // continue after it
	rebuild uint64           // refill the windows from this time (µs since 1970) up to pos; 0: no
	since   uint64           // begin at this time (µs since 1970) if pos is zero
}

// begin is the time of the first entry to be read, µs since 1970.
func (p *position) begin() uint64 {
	if p.pos.IsZero() {
		return p.since
	}
	return p.rebuild
}

// reader reads the journal in its own goroutine.
type reader struct {
	src    journal.Source
	refs   evidence.RefTable
	out    chan *batch
	free   chan *batch
	failed chan error

	mu     sync.Mutex
	next   *journal.Matches   // of a reload
	cancel context.CancelFunc // ends reading with the present matches
}

func newReader(src journal.Source) *reader {
	r := &reader{src: src, out: make(chan *batch), free: make(chan *batch, 2), failed: make(chan error, 1)}
	for range 2 {
		r.free <- &batch{entries: make([]filter.Entry, 0, batchEntries), refs: make([]jail.Ref, 0, batchEntries), cursors: make([]journal.Cursor, 0, batchEntries), buf: make([]byte, 0, batchBytes)}
	}
	return r
}

// run reads until ctx ends. If the journal cannot be opened or read it reports that and tries again.
func (r *reader) run(ctx context.Context, matches journal.Matches, pos position) {
	for ctx.Err() == nil {
		current, cancel := context.WithCancel(ctx)
		r.mu.Lock()
		if r.cancel = cancel; r.next != nil {
			matches, r.next = *r.next, nil
		}
		r.mu.Unlock()
		var err error
		pos, err = r.read(ctx, current, matches, pos)
		cancel()
		if err == nil {
			continue
		}
		select {
		case r.failed <- err:
		default:
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// reload makes the reader continue with other matches.
func (r *reader) reload(m journal.Matches) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = &m
	if r.cancel != nil {
		r.cancel()
	}
}

// read follows the journal with one set of matches until current ends, which it does at a reload. It returns the position to continue from.
// A filled batch is passed on even then, unless ctx ends.
func (r *reader) read(ctx, current context.Context, matches journal.Matches, pos position) (position, error) {
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
			notices = append(notices, fmt.Sprintf("the entry that was read last (%s) is no longer in the journal: continuing at its time", pos.pos.Last()))
		}
		j.SeekPosition(pos.pos)
	}
	for current.Err() == nil {
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
			b.problems, b.listed, b.files = j.Problems(), true, j.Files()
		}
		if !r.give(ctx, b) {
			return pos, nil
		}
		if !end {
			continue
		}
		if err := j.Wait(current, maxWait); err != nil && current.Err() == nil {
			return pos, err
		}
	}
	return pos, nil
}

// rebuildBeyond is how far beyond the saved position to look for older entries: the journalds of several namespaces write at the same time.
const rebuildBeyond = uint64(time.Minute / time.Microsecond)

// fill reads entries into b. It returns true if there are no more. With upTo, it takes only entries that had been read at that
// position.
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
		b.cursors = append(b.cursors, e.Cursor)
		b.refs = append(b.refs, r.refs.Ref(e.SeqnumID, e.Seqnum))
		b.sources = r.refs.Sources()
	}
	b.end(j)
	return false
}

// end notes the position after the last entry.
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

// fromJournald reports whether a unit is journald, possibly of a namespace. journald logs how many messages its rate limit has suppressed.
// Such an entry must also come from uid 0 to count (droppedBy).
func fromJournald(unit []byte) bool {
	return string(unit) == "systemd-journald.service" || bytes.HasPrefix(unit, []byte("systemd-journald@"))
}

var droppedGroup = journal.Group{{Field: "MESSAGE_ID", Value: messageDropped}}

func droppedBy(e *journal.Entry, f *filter.Entry) (n uint64) {
	if f.UID != 0 {
		return 0
	}
	e.Each(func(field string, value []byte) bool {
		if field == "N_DROPPED" {
			n, _ = strconv.ParseUint(string(value), 10, 48)
		}
		return field != "N_DROPPED"
	})
	return max(n, 1)
}
