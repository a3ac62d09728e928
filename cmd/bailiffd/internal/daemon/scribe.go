package daemon

import (
	"context"
	"sync"

	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
)

// scribe is the goroutine that writes bans and their ends into the audit trail. It looks up the cursors of evidence
// that the owner of the state no longer has at hand. In a storm of bans it waits for journald instead of losing records:
// its own queue holds no cursors, and is bounded by the number of bans.
type scribe struct {
	aud      *audit.Writer
	src      journal.Source
	r        *journal.Reader
	reporter *reporter

	mu     sync.Mutex
	queue  []record
	ending bool
	wake   chan struct{}
	done   chan struct{}
}

type record struct {
	kind     audit.Kind
	ban      audit.BanEvent
	unban    audit.UnbanEvent
	evidence []evidence.Evidence
	reached  chan struct{} // not nil: no record, but closed once all before it are with the writer
}

func newScribe(aud *audit.Writer, src journal.Source) *scribe {
	return &scribe{aud: aud, src: src, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

func (s *scribe) put(r record) {
	s.mu.Lock()
	s.queue = append(s.queue, r)
	s.mu.Unlock()
	s.nudge()
}

func (s *scribe) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// flush waits until all records that were put by now are in the journal, as long as ctx lasts.
func (s *scribe) flush(ctx context.Context) error {
	reached := make(chan struct{})
	s.put(record{reached: reached})
	select {
	case <-reached:
		return s.aud.Flush(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish writes what waits and ends the goroutine, as long as ctx lasts.
func (s *scribe) finish(ctx context.Context) {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.nudge()
	select {
	case <-s.done:
	case <-ctx.Done():
	}
}

func (s *scribe) run() {
	defer close(s.done)
	defer s.close()
	for {
		s.mu.Lock()
		queue, ending := s.queue, s.ending
		s.queue = nil
		s.mu.Unlock()
		for i := range queue {
			s.write(&queue[i])
		}
		if len(queue) > 0 {
			continue
		}
		s.close() // an open reader watches folders and holds files open; bans are rare, or come in storms
		if ending {
			return
		}
		<-s.wake
	}
}

func (s *scribe) write(r *record) {
	if r.reached != nil {
		close(r.reached)
		return
	}
	var e audit.Entry
	if r.kind == audit.KindUnban {
		e = r.unban.Entry()
	} else {
		ban := s.complete(r)
		e = ban.Entry(r.kind)
	}
	_ = s.aud.SendWait(context.Background(), e) // fails only when the writer was closed, which counts the entry as lost
}

func (s *scribe) complete(r *record) audit.BanEvent {
	for _, e := range r.evidence {
		r.ban.Evidence = append(r.ban.Evidence, e.Text(s))
	}
	r.ban.Unreported = r.ban.Unreported || s.reporter == nil || !s.reporter.wanted.Load()
	return r.ban
}

// Locate finds a cursor in the journal, with a reader of the scribe's own.
func (s *scribe) Locate(id journal.ID128, seq uint64) (c journal.Cursor, ok bool) {
	if s.r == nil {
		var err error
		if s.r, err = journal.Open(s.src, journal.Options{}); err != nil {
			return c, false
		}
	}
	return s.r.Locate(id, seq)
}

func (s *scribe) close() {
	if s.r != nil {
		s.r.Close()
		s.r = nil
	}
}
