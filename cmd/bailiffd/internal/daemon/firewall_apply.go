package daemon

import (
	"context"
	"maps"
	"slices"
	"time"

	"bailiff/firewall"
)

// The methods in this file belong to the worker's goroutine.

// target is the backend that is to hold the bans.
func (w *firewallWorker) target() firewall.Backend {
	if w.candidate != nil {
		return w.candidate
	}
	return w.be
}

// reconcileAll makes the target hold exactly the full set.
func (w *firewallWorker) reconcileAll(ctx context.Context, full []firewall.Ban, adopt bool) {
	be := w.target()
	ch, err := reconcile(ctx, be, full, adopt)
	if err != nil && w.candidate != nil && w.be != nil {
		// The former backend stays in use. It may not know all scopes; the candidate's error counts.
		if _, e := reconcile(ctx, w.be, full, false); e == nil {
			w.mu.Lock()
			w.closeDropped(w.be)
			w.mu.Unlock()
		}
	}
	e := firewallEvent{backend: be.Name(), change: &ch, err: err, reason: w.reason, checked: time.Now()}
	w.reconciled(err, &e)
	w.report(e)
}

func reconcile(ctx context.Context, be firewall.Backend, full []firewall.Ban, adopt bool) (firewall.Change, error) {
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

// reconciled notes the result of a Reconcile of the target. A candidate that holds all bans has taken over.
func (w *firewallWorker) reconciled(err error, e *firewallEvent) {
	if err != nil {
		w.errors.Add(1)
		w.failing = err
		w.failures++
		w.retryAt = w.now().Add(backoff(w.failures))
		return
	}
	w.failing, w.reason, w.failures, w.retryAt = nil, "", 0, time.Time{}
	w.mu.Lock()
	if !w.fullDue() {
		for _, at := range w.late {
			w.inPlace(at)
		}
		w.late = nil
	}
	w.closeDropped(w.target())
	w.mu.Unlock()
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

// fullDue reports whether the changes that were dropped are in a full set that is still to be applied. The caller holds the lock.
func (w *firewallWorker) fullDue() bool { return w.overflow || w.pending.hasFull }

// closeDropped closes the connections of the bans whose change was dropped, and which a full set has put into effect in be, unless a
// change that is still to be applied lifts them. The caller holds the lock.
func (w *firewallWorker) closeDropped(be firewall.Backend) {
	if w.fullDue() {
		return
	}
	for _, l := range [][]change{w.rest, w.pending.changes} {
		for i := range l {
			if l[i].remove {
				delete(w.dropped, l[i].ban.Key())
			}
		}
	}
	now := w.now()
	maps.DeleteFunc(w.dropped, func(_ firewall.Key, b firewall.Ban) bool { return b.Over(now) })
	w.closeConnections(be, slices.Collect(maps.Values(w.dropped)))
	clear(w.dropped)
}

// closeConnections closes the open connections of bans in be, if it blocks anything.
func (w *firewallWorker) closeConnections(be firewall.Backend, bans []firewall.Ban) {
	if len(bans) > 0 && be.Name() != "dryrun" {
		w.closer.put(bans)
	}
}

// request notes why bans may not be in effect, and requests the full set.
func (w *firewallWorker) request(err error) {
	w.failing = err
	if w.reason == "" {
		w.reason = err.Error()
	}
	w.ask()
}

// ask reports what is wrong, and requests the full set, unless already requested or during a pause.
func (w *firewallWorker) ask() {
	e := firewallEvent{backend: w.target().Name(), err: w.failing, checked: time.Now()}
	w.mu.Lock()
	if !w.requested && !w.now().Before(w.retryAt) {
		w.requested, e.needFull = true, true
	}
	w.mu.Unlock()
	w.report(e)
}

// applyAll applies changes, and answers each request at its place among them.
func (w *firewallWorker) applyAll(ctx context.Context, changes []change, inspects []*inspectRequest) {
	done, ok := 0, true
	upTo := func(end int) {
		if ok {
			ok = w.apply(ctx, changes[done:end])
		} else {
			w.skip(changes[done:end])
		}
		done = end
	}
	for _, r := range inspects {
		upTo(min(r.at, len(changes)))
		w.rest = changes[done:]
		w.answer(ctx, r)
		ok = ok || w.failing == nil // it has repaired what failed: no full set may be on its way
	}
	w.rest = nil
	upTo(len(changes))
}

// skip leaves changes to the full set that was requested.
func (w *firewallWorker) skip(changes []change) {
	w.mu.Lock()
	w.drop(changes)
	w.mu.Unlock()
}

// apply applies changes in order, as few batches as possible. It stops at the first that fails: the full set that is then requested
// includes the others.
func (w *firewallWorker) apply(ctx context.Context, changes []change) bool {
	if len(changes) == 0 {
		return true
	}
	if w.be == nil { // the full set for the candidate includes these
		w.skip(changes)
		w.ask()
		return false
	}
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && changes[n].remove == changes[0].remove {
			n++
		}
		if err := w.batch(ctx, changes[:n]); err != nil {
			// The first retry is at once. A backend that accepts the full set but no batch must not get it every time.
			w.errors.Add(1)
			w.skip(changes)
			if w.failing == nil {
				w.batchFailures++
				w.retryAt = w.now().Add(backoff(w.batchFailures - 1))
			}
			w.request(err)
			return false
		}
		for i := range changes[:n] {
			if at := changes[i].entry; at != 0 {
				w.inPlace(at)
			}
		}
		changes = changes[n:]
	}
	w.batchFailures = 0
	if w.failing == nil {
		w.report(firewallEvent{backend: w.be.Name(), checked: time.Now()})
	}
	return true
}

// batch applies changes of one kind.
func (w *firewallWorker) batch(ctx context.Context, changes []change) error {
	ctx, cancel := context.WithTimeout(ctx, batchLimit)
	defer cancel()
	if changes[0].remove {
		keys := make([]firewall.Key, len(changes))
		for i, c := range changes {
			keys[i] = c.ban.Key()
		}
		w.mu.Lock()
		w.drop(changes)
		w.mu.Unlock()
		return w.be.Remove(ctx, keys)
	}
	bans := make([]firewall.Ban, len(changes))
	for i, c := range changes {
		bans[i] = c.ban
	}
	err := w.be.Add(ctx, bans)
	w.closeConnections(w.be, bans) // after an error, too: some of them are in effect
	return err
}

// answer answers a request about the target.
func (w *firewallWorker) answer(ctx context.Context, q *inspectRequest) {
	ctx, cancel := context.WithTimeout(ctx, reconcileLimit)
	defer cancel()
	be := w.target()
	var r inspectResult
	inspect := func(took *time.Duration) (*firewall.Inspection, error) {
		r.at = time.Now()
		in, err := be.Inspect(ctx, q.want)
		*took = time.Since(r.at)
		return in, err
	}
	r.before, r.err = inspect(&r.took)
	if q.repair {
		r.err = nil
		if q.force {
			r.evicted, r.err = be.RemoveForeign(ctx)
		}
		if r.err == nil {
			r.change, r.err = be.Reconcile(ctx, q.want)
		}
		e := firewallEvent{backend: be.Name(), by: q.by, evicted: r.evicted, change: &r.change, err: r.err, reason: w.reason, checked: time.Now()}
		w.reconciled(r.err, &e)
		w.report(e)
		if after, err := inspect(&r.again); err == nil {
			r.after = after
		} else if r.err == nil {
			r.err = err
		}
	}
	q.answer <- r
}

// verifyNow checks the backend. After a failure only a Reconcile can tell whether all is well, and that waits for its time.
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
	w.report(firewallEvent{backend: w.be.Name(), checked: time.Now()})
}
