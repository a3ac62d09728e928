package daemon

import (
	"context"
	"sync"
	"time"

	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
)

// auditQueue writes bans and unbans to the audit trail in its own goroutine. It looks up the evidence cursors that the owner of the state
// no longer has. If many bans come at once, it waits for journald instead of losing records: a queued record holds no cursors, and there
// are never more records than bans. daemon.decided keeps bans from being recorded twice.
type auditQueue struct {
	aud      *audit.Writer
	lookup   journal.Finder // open while there is something to look up, and lookupTime longer
	reporter *reporter

	mu     sync.Mutex
	queue  []auditRecord
	ending bool
	wake   chan struct{}
	done   chan struct{}
}

// lookupTime is how long the journal stays open for further bans. Opening many files takes long.
const lookupTime = 10 * time.Second

// auditRecord is an audit entry to write, about a ban or an unban. With flushed it is only a marker: the channel is closed once all earlier
// records have been passed to the writer.
type auditRecord struct {
	kind     audit.Kind
	ban      *audit.BanEvent
	unban    *audit.UnbanEvent
	evidence []evidence.Evidence
	flushed  chan struct{}
}

func newAuditQueue(aud *audit.Writer, src journal.Source) *auditQueue {
	return &auditQueue{aud: aud, lookup: journal.Finder{Source: src}, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

func (q *auditQueue) put(r auditRecord) {
	q.mu.Lock()
	q.queue = append(q.queue, r)
	q.mu.Unlock()
	q.signal()
}

func (q *auditQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// flush waits until all records queued so far are in the journal, or ctx ends.
func (q *auditQueue) flush(ctx context.Context) error {
	flushed := make(chan struct{})
	q.put(auditRecord{flushed: flushed})
	select {
	case <-flushed:
		return q.aud.Flush(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish writes what is queued and ends the goroutine, within ctx.
func (q *auditQueue) finish(ctx context.Context) {
	q.mu.Lock()
	q.ending = true
	q.mu.Unlock()
	q.signal()
	select {
	case <-q.done:
	case <-ctx.Done():
	}
}

func (q *auditQueue) run() {
	defer close(q.done)
	defer q.lookup.Close()
	for {
		q.mu.Lock()
		queue, ending := q.queue, q.ending
		q.queue = nil
		q.mu.Unlock()
		for i := range queue {
			q.write(&queue[i])
		}
		if len(queue) > 0 {
			continue
		}
		if ending {
			return
		}
		if !q.lookup.IsOpen() {
			<-q.wake
			continue
		}
		idle := time.NewTimer(lookupTime)
		select {
		case <-q.wake:
		case <-idle.C:
			q.lookup.Close()
		}
		idle.Stop()
	}
}

func (q *auditQueue) write(r *auditRecord) {
	if r.flushed != nil {
		close(r.flushed)
		return
	}
	var e audit.Entry
	if r.unban != nil {
		e = r.unban.Entry()
	} else {
		for _, ev := range r.evidence {
			r.ban.Evidence = append(r.ban.Evidence, ev.Text(&q.lookup))
		}
		r.ban.Unreported = r.ban.Unreported || q.reporter == nil || !q.reporter.wanted.Load()
		e = r.ban.Entry(r.kind)
	}
	_ = q.aud.SendWait(context.Background(), e) // fails only if the writer was closed, which counts the entry as lost
}
