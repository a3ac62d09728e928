package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/firewall"
	"bailiff/units/metrics"
)

// firewallWorker applies bans and unbans to the firewall backend in its own goroutine. The owner of the state never waits for it:
// changes are queued and applied in batches. If a batch fails, or Verify finds that somebody else has changed our rules, the worker
// requests the full set of bans and reconciles. Pauses between failures grow.
//
// Another backend takes over only once it holds all bans. Until then bans go to the former one, whose rules are removed after that
// (firewall_retired.go). firewall_apply.go is what the goroutine does with the backend.
type firewallWorker struct {
	events  chan<- firewallEvent
	closer  *connCloser // closes open connections of banned prefixes
	now     func() time.Time
	wake    chan struct{}
	removed chan *retired // the attempt to remove its rules has ended

	mu        sync.Mutex
	pending   pending
	overflow  bool // too many changes were queued: a full set is needed
	requested bool // a full set was requested and has not come yet
	closing   bool
	next      *backendSwitch
	removing  *retired // whose rules are being removed; only the goroutine in run changes it
	late      []int64  // change.entry of bans whose change was dropped, since a full set includes them

	// Bans whose change was dropped: their connections are closed when a full set has put them into effect. At most maxQueue.
	dropped map[firewall.Key]firewall.Ban

	latency *metrics.Durations // from the entry until the ban is in place
	missing atomic.Int64       // bans to be measured that are not in place
	errors  atomic.Uint64      // batches and reconciles that failed

	// Of the goroutine in run.
	be        firewall.Backend // in use: has held all bans once; nil before the first success
	candidate firewall.Backend // is to take over
	gone      string           // the name of the former one, if be is nil because that one stopped working
	retired   []*retired       // other backends whose rules may still be in effect
	failing   error            // why bans may not be in effect; only a Reconcile clears it
	reason    string           // what the next Reconcile repairs
	retryAt   time.Time        // earliest time of the next request for a full set
	rest      []change         // taken from the queue, and applied after the Reconcile that is under way

	failures      int // of Reconcile, in a row
	batchFailures int // that led to a Reconcile, since the last batch that worked
}

// pending is what the worker's goroutine has to do.
type pending struct {
	changes  []change
	full     []firewall.Ban // the full set of bans, if hasFull
	hasFull  bool
	adopt    bool // full: additional elements stay for now
	verify   bool
	noticed  bool // verify: because the backend has noticed a change
	inspects []*inspectRequest
}

func (p *pending) empty() bool {
	return len(p.changes) == 0 && !p.hasFull && !p.verify && len(p.inspects) == 0
}

// change is one ban, or the end of one.
type change struct {
	remove bool
	ban    firewall.Ban
	entry  int64 // time of the journal entry that led to a new ban, µs since 1970; 0: its latency is not measured
}

// inspectRequest asks what the firewall holds, and may ask to repair it. It is answered between the changes that were queued before
// and after it, so queued changes do not show as differences.
type inspectRequest struct {
	want   []firewall.Ban
	repair bool
	force  bool               // repair: remove foreign objects that are in the place of ours
	by     string             // repair: who asked
	at     int                // number of changes in the queue before it
	answer chan inspectResult // has room for one
}

type inspectResult struct {
	at            time.Time
	before, after *firewall.Inspection // after: of a repair
	took, again   time.Duration        // that the two took
	change        firewall.Change
	evicted       []string
	err           error
}

// firewallEvent is what the worker reports to the owner of the state.
type firewallEvent struct {
	// One of these four, and then nothing else.
	notice      error  // what an operator should know and what prevents no ban
	solved      bool   // the notice about source is over
	connections error  // why open connections of banned addresses stay open
	removed     string // rules of this backend, left by an earlier start, were removed

	source   string           // of notice and solved
	backend  string           // that this is about
	replaced string           // it has taken over from this one
	needFull bool             // the full set of bans is needed
	err      error            // why bans may not be in effect
	change   *firewall.Change // of a Reconcile
	reason   string           // why it was done, if something was wrong
	by       string           // who asked for it
	evicted  []string         // foreign objects that it removed by force
	checked  time.Time
}

// maxQueue bounds the changes that wait for a firewall that does not answer. Beyond it the full set of bans is requested instead.
// Nothing is lost, since the state has all bans.
const maxQueue = 1 << 16

// Time limits for the firewall's answers. The kernel takes half a second to reconcile 100,000 entries, and ten times as long when it is
// busy; firewalld takes six seconds for 50,000, or to add a large batch to that many.
const (
	reconcileLimit = 60 * time.Second
	batchLimit     = 30 * time.Second
)

// The pause after a failure doubles with each further one.
const (
	minPause = 10 * time.Second
	maxPause = 5 * time.Minute
)

func backoff(failures int) time.Duration {
	if failures < 1 {
		return 0
	}
	return min(minPause<<min(failures-1, 10), maxPause)
}

// newFirewallWorker takes the first backend, and others whose rules an earlier start may have left.
func newFirewallWorker(be firewall.Backend, others []*retired, closer *connCloser, events chan<- firewallEvent) *firewallWorker {
	return &firewallWorker{events: events, closer: closer, now: time.Now, candidate: be, retired: others, wake: make(chan struct{}, 1), latency: newLatency(), removed: make(chan *retired, 1), dropped: make(map[firewall.Key]firewall.Ban)}
}

func (w *firewallWorker) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// put queues changes.
func (w *firewallWorker) put(changes []change) {
	for i := range changes {
		if changes[i].entry != 0 {
			w.missing.Add(1)
		}
	}
	w.mu.Lock()
	if len(w.pending.changes)+len(changes) > maxQueue {
		w.drop(w.pending.changes)
		w.pending.changes, w.overflow = nil, true
		for _, r := range w.pending.inspects {
			r.at = 0
		}
	}
	if w.overflow {
		w.drop(changes)
	} else {
		w.pending.changes = append(w.pending.changes, changes...)
	}
	w.mu.Unlock()
	w.signal()
}

// drop remembers the bans of changes that are not applied: a full set will include them. The caller holds the lock.
func (w *firewallWorker) drop(changes []change) {
	for i := range changes {
		switch k := changes[i].ban.Key(); {
		case changes[i].remove:
			delete(w.dropped, k)
		case len(w.dropped) < maxQueue:
			w.dropped[k] = changes[i].ban
		}
		switch at := changes[i].entry; {
		case at == 0:
		case len(w.late) < maxQueue:
			w.late = append(w.late, at)
		default:
			w.missing.Add(-1) // not measured
		}
	}
}

// inPlace measures how long a new ban took.
func (w *firewallWorker) inPlace(entry int64) {
	w.latency.Observe(w.now().Sub(time.UnixMicro(entry)))
	w.missing.Add(-1)
}

// reconcile passes the full set of bans. It includes the changes that are queued.
func (w *firewallWorker) reconcile(want []firewall.Ban) { w.give(want, false) }

// first passes the full set of bans at the start. Anything more that the host holds stays for now: after a crash, it may be a ban newer
// than the state, to be decided again from the journal.
func (w *firewallWorker) first(want []firewall.Ban) { w.give(want, true) }

func (w *firewallWorker) give(want []firewall.Ban, adopt bool) {
	w.mu.Lock()
	p := &w.pending
	w.drop(p.changes)
	p.changes, p.full, p.hasFull, p.adopt = nil, want, true, adopt
	w.overflow, w.requested = false, false
	for _, r := range p.inspects {
		r.at, r.want = 0, want
	}
	w.mu.Unlock()
	w.signal()
}

// switchBackend has another backend take over with the next full set of bans. keep leaves the rules of the present one alone.
func (w *firewallWorker) switchBackend(to firewall.Backend, keep bool) {
	w.mu.Lock()
	unused := w.next
	w.next = &backendSwitch{to, keep}
	w.mu.Unlock()
	if unused != nil {
		unused.to.Close()
	}
}

// check asks for a Verify.
func (w *firewallWorker) check() { w.verify(false) }

// changed asks for a Verify because the backend's Watch has noticed a change. Missing objects may be back.
func (w *firewallWorker) changed() { w.verify(true) }

func (w *firewallWorker) verify(noticed bool) {
	w.mu.Lock()
	w.pending.verify = true
	w.pending.noticed = w.pending.noticed || noticed
	w.mu.Unlock()
	w.signal()
}

// inspect queues a request. It is answered over r.answer.
func (w *firewallWorker) inspect(r *inspectRequest) {
	w.mu.Lock()
	r.at = len(w.pending.changes)
	w.pending.inspects = append(w.pending.inspects, r)
	w.mu.Unlock()
	w.signal()
}

// finish lets the goroutine apply what is queued, and end.
func (w *firewallWorker) finish() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.signal()
}

// run works until finish is called or ctx ends.
func (w *firewallWorker) run(ctx context.Context) {
	for {
		closing := w.work(ctx)
		wait := w.requestDue()
		w.mu.Lock()
		more := !w.pending.empty()
		w.mu.Unlock()
		if more {
			continue
		}
		if closing || ctx.Err() != nil {
			if w.removing == nil {
				return
			}
			w.retiredRemoved(<-w.removed) // it ends with ctx
			continue
		}
		var timer <-chan time.Time // blocks forever if nothing is due
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-w.wake:
		case r := <-w.removed:
			w.retiredRemoved(r)
		case <-timer:
		case <-ctx.Done():
		}
	}
}

// work does what is pending. closing means that finish had been called before.
func (w *firewallWorker) work(ctx context.Context) (closing bool) {
	w.mu.Lock()
	p, overflow, closing := w.pending, w.overflow, w.closing
	w.pending = pending{}
	var next *backendSwitch
	if p.hasFull { // else it is still to come
		next, w.next = w.next, nil
	}
	w.mu.Unlock()
	if next != nil {
		w.begin(next)
	}
	if p.hasFull {
		w.rest = p.changes
		w.reconcileAll(ctx, p.full, p.adopt)
		p.full = nil // it is large, and the rest may take long
	} else if overflow && w.failing == nil {
		w.request(fmt.Errorf("more than %d changes are pending; applying the complete ban list instead", maxQueue))
	}
	w.applyAll(ctx, p.changes, p.inspects)
	switch {
	case p.noticed && errors.Is(w.failing, firewall.ErrAbsent):
		w.failures, w.retryAt = 0, time.Time{}
		w.ask()
	case p.verify && !p.hasFull:
		w.verifyNow(ctx)
	}
	w.removeRetired(ctx)
	return closing
}

// requestDue requests the full set of bans when the pause is over. It returns the time until the next request is due or until a retired
// backend is tried again; 0 for neither.
func (w *firewallWorker) requestDue() time.Duration {
	now := w.now()
	var wait time.Duration
	at := func(t time.Time) {
		if d := max(t.Sub(now), time.Millisecond); wait == 0 || d < wait {
			wait = d
		}
	}
	if w.failing != nil {
		w.mu.Lock()
		requested := w.requested || w.pending.hasFull
		w.mu.Unlock()
		switch {
		case requested:
		case w.retryAt.After(now):
			at(w.retryAt)
		default:
			w.ask()
		}
	} else if w.be != nil && w.candidate == nil && w.removing == nil {
		for _, r := range w.retired {
			at(r.at)
		}
	}
	return wait
}

func (w *firewallWorker) report(e firewallEvent) { w.events <- e }
