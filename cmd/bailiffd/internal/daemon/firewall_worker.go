package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bailiff/firewall"
)

// firewallWorker applies bans and unbans to the firewall backend in its own goroutine. The owner of the state never waits for
// it: changes are queued and applied in batches. If a batch fails, or Verify finds that somebody else changed our rules, the
// worker asks the owner for the full set of bans and reconciles. Failures back off.
//
// Another backend takes over only once it holds all bans. Until then bans go to the former one, whose rules are removed
// after that, as often as it takes.
type firewallWorker struct {
	events chan<- firewallEvent
	closer *connCloser // closes open connections of banned prefixes
	now    func() time.Time

	mu        sync.Mutex
	queue     []change
	overflow  bool           // more was queued than is kept: the full set is needed
	full      []firewall.Ban // the full set of bans, if hasFull
	hasFull   bool
	adopt     bool // full: what the host holds beyond it stays for now
	verify    bool
	heard     bool // verify: the backend itself has noticed something
	inspects  []*inspectRequest
	requested bool // the full set was asked for and has not come yet
	closing   bool
	next      *backendSwitch
	wake      chan struct{}

	// Of the goroutine in run.
	be        firewall.Backend // in force: has held all bans once; nil before the first success
	candidate firewall.Backend // is to take over
	gone      string           // the name of the former one, where be is nil because that cannot work any more
	retired   []*retired       // other backends, rules of which may still be in force
	failing   error            // why bans may not be in force; only a Reconcile clears it
	reason    string           // what the next Reconcile is to repair
	retryAt   time.Time        // no Reconcile of the worker's own accord before

	failures      int // of Reconcile, in a row
	batchFailures int // that led to a Reconcile, since the last batch that worked
}

// change is one ban, or the end of one.
type change struct {
	remove bool
	ban    firewall.Ban
}

// backendSwitch is a backend that is to take over.
type backendSwitch struct {
	to   firewall.Backend
	keep bool // leave the rules of the former one alone: the program that it works through is gone
}

// retired is what is left of another backend and to be removed.
type retired struct {
	name     string // of the backend
	remove   func(context.Context) (found string, err error)
	close    func() error
	quiet    bool // why it cannot be removed is told elsewhere
	failures int
	at       time.Time // of the next attempt
}

// former is a backend that was in use. Its rules stay where keep says so.
func former(be firewall.Backend, keep bool) *retired {
	return &retired{name: be.Name(), close: be.Close, remove: func(ctx context.Context) (string, error) {
		if keep {
			return "", nil
		}
		return "", firewall.Remove(ctx, be)
	}}
}

// leftover is a backend that an earlier start may have used.
func leftover(be firewall.Backend) *retired {
	return &retired{name: be.Name(), close: be.Close, remove: func(ctx context.Context) (string, error) {
		if found, err := firewall.RemoveLeftovers(ctx, be); err != nil || !found {
			return "", err
		}
		return be.Name(), nil
	}}
}

// inspectRequest asks what the firewall holds, and may ask to repair it. It is answered between the changes that were
// queued before it and those that came later, so changes still queued are not reported as drift.
type inspectRequest struct {
	want   []firewall.Ban
	repair bool
	force  bool               // repair: remove foreign objects that stand in the place of ours
	by     string             // repair: who asked
	at     int                // changes in the queue before it
	answer chan inspectResult // with room for one
}

type inspectResult struct {
	at            time.Time
	before, after *firewall.Inspection // after: of a repair
	took, again   time.Duration        // that the two took
	change        firewall.Change
	evicted       []string
	err           error
}

// firewallEvent is what the worker tells the owner of the state.
type firewallEvent struct {
	// One of these four, and then nothing else.
	notice      error  // something that an operator should know, and that keeps no ban from being in force
	solved      bool   // what was noticed about source is over
	connections error  // why open connections of banned addresses stay open
	removed     string // the rules that an earlier start left of this other backend were removed

	source   string           // of notice and solved
	backend  string           // that this is about
	replaced string           // it has taken over from this one
	needFull bool             // the full set of bans is needed
	err      error            // why bans may not be in force
	change   *firewall.Change // of a Reconcile
	reason   string           // why it was done, if something was wrong
	by       string           // who asked for it
	evicted  []string         // foreign objects that it removed by force
	checked  time.Time
}

// maxQueue bounds what waits for a firewall that does not answer. Beyond it the full set of bans is asked for instead:
// nothing is lost, since the state has it all.
const maxQueue = 1 << 16

// Time limits for the firewall's answers. The kernel takes half a second for a reconcile of 100,000 entries, and ten times as
// long when it is busy; firewalld six seconds for one of 50,000, or for a batch of many into so many. What takes longer hangs.
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

// newFirewallWorker takes the first backend, and others of which an earlier start may have left rules.
func newFirewallWorker(be firewall.Backend, others []*retired, closer *connCloser, events chan<- firewallEvent) *firewallWorker {
	return &firewallWorker{events: events, closer: closer, now: time.Now, candidate: be, retired: others, wake: make(chan struct{}, 1)}
}

func (w *firewallWorker) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// add and remove queue changes.
func (w *firewallWorker) add(b ...firewall.Ban) { w.put(false, b) }

func (w *firewallWorker) remove(keys ...firewall.Key) {
	b := make([]firewall.Ban, len(keys))
	for i, k := range keys {
		b[i] = firewall.Ban{Prefix: k.Prefix, Scope: k.Scope}
	}
	w.put(true, b)
}

func (w *firewallWorker) put(remove bool, bans []firewall.Ban) {
	w.mu.Lock()
	if len(w.queue)+len(bans) > maxQueue {
		w.queue, w.overflow = nil, true
		for _, r := range w.inspects {
			r.at = 0
		}
	}
	if !w.overflow {
		for _, b := range bans {
			w.queue = append(w.queue, change{remove, b})
		}
	}
	w.mu.Unlock()
	w.nudge()
}

// reconcile gives the full set of bans; changes that were queued are part of it.
func (w *firewallWorker) reconcile(want []firewall.Ban) { w.give(want, false) }

// first gives the full set of bans at the start. What the host holds beyond it stays for now: after a crash that may be a ban
// younger than the state file, which reading the journal again brings back.
func (w *firewallWorker) first(want []firewall.Ban) { w.give(want, true) }

func (w *firewallWorker) give(want []firewall.Ban, adopt bool) {
	w.mu.Lock()
	w.queue, w.overflow, w.full, w.hasFull, w.adopt, w.requested = nil, false, want, true, adopt, false
	for _, r := range w.inspects {
		r.at, r.want = 0, want
	}
	w.mu.Unlock()
	w.nudge()
}

// switchBackend has another backend take over with the full set of bans that is to follow. keep leaves the rules of the
// present one alone.
func (w *firewallWorker) switchBackend(to firewall.Backend, keep bool) {
	w.mu.Lock()
	unused := w.next
	w.next = &backendSwitch{to, keep}
	w.mu.Unlock()
	if unused != nil {
		unused.to.Close() // nobody has used it
	}
}

// check asks for a Verify.
func (w *firewallWorker) check() {
	w.mu.Lock()
	w.verify = true
	w.mu.Unlock()
	w.nudge()
}

// changed asks for a Verify since the backend's Watch has noticed something. What was absent may be there again.
func (w *firewallWorker) changed() {
	w.mu.Lock()
	w.verify, w.heard = true, true
	w.mu.Unlock()
	w.nudge()
}

// inspect queues a request. It is answered over r.answer.
func (w *firewallWorker) inspect(r *inspectRequest) {
	w.mu.Lock()
	r.at = len(w.queue)
	w.inspects = append(w.inspects, r)
	w.mu.Unlock()
	w.nudge()
}

// finish lets the goroutine apply what is queued and end.
func (w *firewallWorker) finish() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.nudge()
}

// close gives up the backends, once run has returned. Their rules stay, unless empty takes all bans out: also those of an
// earlier start, where the backend was not to be had since.
func (w *firewallWorker) close(ctx context.Context, empty bool) error {
	var err error
	if be := w.target(); be != nil && empty {
		err = be.Empty(ctx)
	}
	if w.be != nil {
		w.be.Close()
	}
	if w.candidate != nil {
		w.candidate.Close()
	}
	for _, r := range w.retired {
		r.close()
	}
	return err
}

func (w *firewallWorker) run(ctx context.Context) {
	for {
		w.mu.Lock()
		queue, overflow, full, hasFull, adopt, verify, heard, inspects, closing := w.queue, w.overflow, w.full, w.hasFull, w.adopt, w.verify, w.heard, w.inspects, w.closing
		w.queue, w.full, w.hasFull, w.verify, w.heard, w.inspects = nil, nil, false, false, false, nil
		var next *backendSwitch
		if hasFull { // else it is still to come
			next, w.next = w.next, nil
		}
		w.mu.Unlock()
		if next != nil {
			w.begin(next)
		}
		if hasFull {
			w.reconcileAll(ctx, full, adopt)
			full = nil
		} else if overflow && w.failing == nil {
			w.request(fmt.Errorf("more than %d changes are pending; applying the complete ban list instead", maxQueue))
		}
		w.serve(ctx, queue, inspects)
		switch {
		case heard && errors.Is(w.failing, firewall.ErrAbsent):
			w.failures, w.retryAt = 0, time.Time{}
			w.ask()
		case verify && !hasFull:
			w.verifyNow(ctx)
		}
		w.cleanUp(ctx)
		wait := w.due()
		w.mu.Lock()
		more := len(w.queue) > 0 || w.hasFull || w.verify || len(w.inspects) > 0
		w.mu.Unlock()
		if more {
			continue
		}
		if closing || ctx.Err() != nil {
			return
		}
		var timer <-chan time.Time
		var t *time.Timer
		if wait > 0 {
			t = time.NewTimer(wait)
			timer = t.C
		}
		select {
		case <-w.wake:
		case <-timer:
		case <-ctx.Done():
		}
		if t != nil {
			t.Stop()
		}
	}
}

// begin makes a backend the candidate. One of the same name as the present one takes its place at once: the rules are the
// same, and must not be cleaned up.
func (w *firewallWorker) begin(s *backendSwitch) {
	name := s.to.Name()
	w.failures, w.batchFailures, w.retryAt, w.failing, w.reason = 0, 0, time.Time{}, nil, "" // what was wrong with the former one is not wrong with this one
	w.retired = slices.DeleteFunc(w.retired, func(r *retired) bool {
		if r.name == name {
			r.close()
		}
		return r.name == name
	})
	if c := w.candidate; c != nil {
		w.candidate = nil
		if c.Name() == name {
			c.Close()
		} else {
			w.retired = append(w.retired, former(c, false)) // it may have got half-way
		}
	}
	if w.be != nil && w.be.Name() == name {
		w.be.Close()
		w.be = s.to
		return
	}
	w.candidate = s.to
	if s.keep && w.be != nil {
		w.retired = append(w.retired, former(w.be, true))
		w.gone, w.be = w.be.Name(), nil
	}
}

// reconcileAll makes the firewall hold exactly what it should, by the candidate if there is one.
func (w *firewallWorker) reconcileAll(ctx context.Context, full []firewall.Ban, adopt bool) {
	be := w.target()
	ch, err := w.reconcileOne(ctx, be, full, adopt)
	if err != nil && w.candidate != nil && w.be != nil {
		// The former one goes on. It may not know all scopes; what it fails at is told for the candidate.
		w.reconcileOne(ctx, w.be, full, false)
	}
	e := firewallEvent{backend: be.Name(), change: &ch, err: err, reason: w.reason, checked: time.Now()}
	w.settle(err, &e)
	w.tell(e)
}

func (w *firewallWorker) reconcileOne(ctx context.Context, be firewall.Backend, full []firewall.Ban, adopt bool) (firewall.Change, error) {
	ctx, cancel := context.WithTimeout(ctx, reconcileLimit)
	defer cancel()
	if adopt {
		if held, err := be.List(ctx); err == nil {
			known := make(map[firewall.Key]bool, len(full))
			for _, b := range full {
				known[b.Key()] = true
			}
			for _, b := range held {
				if !known[b.Key()] {
					full = append(full, b)
				}
			}
		}
	}
	return be.Reconcile(ctx, full)
}

// target is the backend that is to hold the bans.
func (w *firewallWorker) target() firewall.Backend {
	if w.candidate != nil {
		return w.candidate
	}
	return w.be
}

// settle draws the conclusions of a Reconcile of the target: a candidate that holds all bans has taken over.
func (w *firewallWorker) settle(err error, e *firewallEvent) {
	if err != nil {
		w.fail(err)
		return
	}
	w.failing, w.reason, w.failures, w.retryAt = nil, "", 0, time.Time{}
	if w.candidate == nil {
		return
	}
	e.replaced = w.gone
	if w.be != nil {
		e.replaced = w.be.Name()
		w.retired = append(w.retired, former(w.be, false))
	}
	w.be, w.candidate, w.gone = w.candidate, nil, ""
}

// fail notes a failure. The next Reconcile comes after a pause.
func (w *firewallWorker) fail(err error) {
	w.failing = err
	w.failures++
	w.retryAt = w.now().Add(backoff(w.failures))
}

// request notes why bans may not be in force, and asks for the full set of them.
func (w *firewallWorker) request(err error) {
	w.failing = err
	if w.reason == "" {
		w.reason = err.Error()
	}
	w.ask()
}

// ask tells what is wrong, and asks for the full set unless the pause is not over or it was asked for already.
func (w *firewallWorker) ask() {
	e := firewallEvent{backend: w.target().Name(), err: w.failing, checked: time.Now()}
	w.mu.Lock()
	if !w.requested && !w.now().Before(w.retryAt) {
		w.requested, e.needFull = true, true
	}
	w.mu.Unlock()
	w.tell(e)
}

// serve applies changes, and answers each request at its place among them.
func (w *firewallWorker) serve(ctx context.Context, queue []change, inspects []*inspectRequest) {
	done, ok := 0, true
	for _, r := range inspects {
		if at := min(r.at, len(queue)); ok && at > done {
			ok = w.apply(ctx, queue[done:at])
			done = at
		}
		w.answer(ctx, r)
	}
	if ok {
		w.apply(ctx, queue[done:])
	}
}

// answer answers a request about the target.
func (w *firewallWorker) answer(ctx context.Context, q *inspectRequest) {
	ctx, cancel := context.WithTimeout(ctx, reconcileLimit)
	defer cancel()
	be := w.target()
	var r inspectResult
	look := func(took *time.Duration) (*firewall.Inspection, error) {
		r.at = time.Now()
		in, err := be.Inspect(ctx, q.want)
		*took = time.Since(r.at)
		return in, err
	}
	r.before, r.err = look(&r.took)
	if q.repair {
		r.err = nil
		if q.force {
			r.evicted, r.err = be.RemoveForeign(ctx)
		}
		if r.err == nil {
			r.change, r.err = be.Reconcile(ctx, q.want)
		}
		e := firewallEvent{backend: be.Name(), by: q.by, evicted: r.evicted, change: &r.change, err: r.err, reason: w.reason, checked: time.Now()}
		w.settle(r.err, &e)
		w.tell(e)
		if after, err := look(&r.again); err == nil {
			r.after = after
		} else if r.err == nil {
			r.err = err
		}
	}
	q.answer <- r
}

// apply carries out changes, runs of a kind at once. It gives up at the first that fails: the full set that is asked for
// then holds the others, too.
func (w *firewallWorker) apply(ctx context.Context, queue []change) bool {
	if len(queue) == 0 {
		return true
	}
	if w.be == nil { // the full set that puts the candidate in force holds these, too
		w.ask()
		return false
	}
	for len(queue) > 0 {
		n := 1
		for n < len(queue) && queue[n].remove == queue[0].remove {
			n++
		}
		if err := w.batch(ctx, queue[:n]); err != nil {
			// At once the first time. A backend that takes the full set, but no batch, is not given it again and again.
			if w.failing == nil {
				w.batchFailures++
				w.retryAt = w.now().Add(backoff(w.batchFailures - 1))
			}
			w.request(err)
			return false
		}
		queue = queue[n:]
	}
	w.batchFailures = 0
	if w.failing == nil {
		w.tell(firewallEvent{backend: w.be.Name(), checked: time.Now()})
	}
	return true
}

func (w *firewallWorker) batch(ctx context.Context, run []change) error {
	ctx, cancel := context.WithTimeout(ctx, batchLimit)
	defer cancel()
	if run[0].remove {
		keys := make([]firewall.Key, len(run))
		for i, c := range run {
			keys[i] = c.ban.Key()
		}
		return w.be.Remove(ctx, keys)
	}
	bans := make([]firewall.Ban, len(run))
	for i, c := range run {
		bans[i] = c.ban
	}
	err := w.be.Add(ctx, bans)
	w.closer.put(bans) // even if it failed: some of them are in force, and none of their connections is missed
	return err
}

// verifyNow looks whether all stands. After a failure only a Reconcile can tell, and that waits for its time.
func (w *firewallWorker) verifyNow(ctx context.Context) {
	if w.be == nil || w.candidate != nil || w.failing != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, batchLimit)
	defer cancel()
	if err := w.be.Verify(ctx); err != nil {
		w.request(err)
		return
	}
	w.tell(firewallEvent{backend: w.be.Name(), checked: time.Now()})
}

// cleanUp removes the rules of other backends, once the present one holds all bans.
func (w *firewallWorker) cleanUp(ctx context.Context) {
	if w.be == nil || w.candidate != nil || w.failing != nil || ctx.Err() != nil {
		return
	}
	now := w.now()
	w.retired = slices.DeleteFunc(w.retired, func(r *retired) bool {
		if r.at.After(now) {
			return false
		}
		c, cancel := context.WithTimeout(ctx, reconcileLimit)
		defer cancel()
		found, err := r.remove(c)
		if err != nil {
			r.failures++
			r.at = now.Add(backoff(r.failures))
			if r.failures == 1 && !r.quiet {
				w.tell(firewallEvent{source: "backend " + r.name, notice: fmt.Errorf("rules of the %s backend could not be removed and may still block addresses: %w; trying again", r.name, err)})
			}
			return false
		}
		if r.failures > 0 && !r.quiet {
			w.tell(firewallEvent{source: "backend " + r.name, solved: true})
		}
		if found != "" {
			w.tell(firewallEvent{removed: found})
		}
		r.close()
		return true
	})
}

// due asks for the full set of bans when the pause is over, and returns how long until the next such moment; 0 for none.
func (w *firewallWorker) due() time.Duration {
	now := w.now()
	var wait time.Duration
	at := func(t time.Time) {
		if d := max(t.Sub(now), time.Millisecond); wait == 0 || d < wait {
			wait = d
		}
	}
	if w.failing != nil {
		w.mu.Lock()
		requested := w.requested || w.hasFull
		w.mu.Unlock()
		switch {
		case requested:
		case w.retryAt.After(now):
			at(w.retryAt)
		default:
			w.ask()
		}
	} else if w.be != nil && w.candidate == nil {
		for _, r := range w.retired {
			at(r.at)
		}
	}
	return wait
}

func (w *firewallWorker) tell(e firewallEvent) { w.events <- e }
