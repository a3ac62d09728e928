package dispatch

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal/audit"
)

const (
	// Limits of one digest. Further reports go into the next one.
	maxDigest      = 1000
	maxDigestBytes = 8 << 20

	failuresBeforePause = 3              // failures in a row after which a destination is paused; one delivery keeps probing
	quotaPause          = time.Hour      // for a destination that has reached its quota and does not say until when
	maxAfter            = 24 * time.Hour // the longest pause that a destination can ask for
	maxDrops            = 500            // deliveries dropped in one turn
)

// serving is the part of a destination's state that is not saved.
type serving struct {
	ep          *endpoint // nil: not configured
	busy        bool      // a worker uses ep.dst
	busySince   time.Time // when the worker began
	tests       []*test   // waiting for their turn
	failures    int       // in a row
	pausedUntil time.Time // nothing is tried before
	lastErr     string
	lastFail    time.Time
	lastOK      time.Time
	counts      outcomeCounts
	notices     noticeTimes
	mailLog     *mailLog // nil: not open
	probing     bool     // a worker uses mailLog
	probeAt     time.Time
	catching    bool // a worker reads the bans that wait in the journal
	catchAt     time.Time
}

// test is a test delivery, whose caller waits for the result.
type test struct {
	ctx  context.Context
	item *report.Item
	done chan testResult
}

type testResult struct {
	receipt report.Receipt
	err     error
}

// quotaUsed reports whether the quota is used up.
func (x *destination) quotaUsed(now time.Time) bool {
	return x.ep != nil && x.ep.conf.Quota > 0 && x.sentLately(now) >= x.ep.conf.Quota
}

// backlogged reports whether the queue has no room left for a destination; with half, whether it is more than half full.
func (d *Dispatcher) backlogged(x *destination, half bool) bool {
	share := 1
	if half {
		share = 2
	}
	return x.bytes >= d.o.MaxBytes/int64(share) || len(x.all) >= d.o.MaxCount/share
}

// dispatch starts everything that is due and returns the time until the next.
func (d *Dispatcher) dispatch(now time.Time) time.Duration {
	if now.Sub(d.ticked) >= tick || now.Before(d.ticked) {
		d.ticked = now
		d.tick(now)
	}
	d.admitIntakes(now)
	d.startLookups()
	now = d.o.Now() // not earlier than the reports just taken
	next := now.Add(tick)
	busy := d.o.Audit.Busy()
	if busy {
		next = now.Add(busyPause)
	}
	if d.q.rebuild != 0 && d.known == nil {
		return next.Sub(now) // it is not known yet what was delivered before the damage
	}
	for _, x := range d.q.sorted() {
		if x.ep == nil || x.ep.err != nil {
			continue
		}
		for _, at := range []time.Time{d.serve(x, now, busy), d.resolveUncertain(x, now)} {
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		d.catchUp(x)
	}
	return next.Sub(now)
}

// serve starts a delivery to a destination if one is due. Otherwise it returns when one is.
func (d *Dispatcher) serve(x *destination, now time.Time, busy bool) (at time.Time) {
	switch {
	case x.busy:
		return at
	case len(x.tests) > 0:
		return d.startTest(x)
	case busy, x.hold != nil, x.quotaUsed(now):
		return at
	case now.Before(x.pausedUntil):
		return x.pausedUntil
	}
	if reports := x.digest(now); len(reports) > 0 {
		return d.start(x, itemKey(digestPrefix+reports[0].Key+"-"+strconv.Itoa(len(reports)), x.name), reports, nil)
	}
	if x.ep.conf.Notice() {
		at = x.noticeAt(now)
	}
	if len(x.waiting) == 0 {
		return at
	}
	it := x.waiting[0]
	switch {
	case it.notBefore.After(now):
		if at.IsZero() || it.notBefore.Before(at) {
			at = it.notBefore
		}
		return at
	case len(it.reports) > 1 && oneByOne(&x.ep.conf): // composed by an earlier version, or for another type
		d.split(it)
		return now
	}
	return d.start(x, it.key, it.reports, it)
}

// split replaces a digest by a delivery of each report.
func (d *Dispatcher) split(it *delivery) {
	x := it.dest
	for _, rp := range it.reports {
		key := itemKey(rp.Key, x.name)
		d.q.write(kindDelivery, recDelivery{Dest: x.name, Key: key, State: waiting, Reports: []string{rp.Key}, Since: it.since, Time: d.o.Now().UnixMicro()}, nil)
		x.all[key].created = it.created
	}
	d.change(it, dropped, nil)
}

// digest returns the reports of an hour or a day that is over.
func (x *destination) digest(now time.Time) (reports []*queuedReport) {
	if len(x.collecting) == 0 {
		return nil
	}
	if x.ep.conf.Notice() {
		return x.notice(now)
	}
	kind, first := x.ep.conf.Digest, time.UnixMicro(x.collecting[0].since)
	if kind != "off" && kind != "" && now.Before(periodEnd(kind, first, now)) {
		return nil
	}
	limit, size := maxDigest, int64(0)
	if oneByOne(&x.ep.conf) {
		limit = 1
	}
	if x.ep.conf.Quota > 0 {
		limit = min(limit, x.ep.conf.Quota-x.sentLately(now))
	}
	for _, it := range x.collecting {
		rp := it.reports[0]
		if needsLookup(&x.ep.conf) && rp.asking {
			return nil // the lookup ends within its time limit
		}
		if len(reports) == limit || len(reports) > 0 && size+rp.size() > maxDigestBytes {
			break
		}
		size += rp.size()
		reports = append(reports, rp)
	}
	return reports
}

// item reads the reports of a delivery. A damaged report is left out; a delivery with no other is dropped. The item is nil if nothing can
// be read now or a digest has to be composed again.
func (d *Dispatcher) item(x *destination, key string, reports []*queuedReport, it *delivery) *report.Item {
	out := &report.Item{Key: key, Attempt: 1, Digest: it == nil || it.digest}
	if it != nil {
		out.Attempt = it.attempts + 1
	}
	if x.ep != nil && x.ep.conf.Notice() && out.Digest {
		reports, out.Counts = named(reports), counts(reports)
	}
	var bad []*queuedReport
	var why error
	for _, rp := range reports {
		r, err := d.q.report(rp)
		switch {
		case err == nil:
			out.Reports = append(out.Reports, r)
		case errors.Is(err, errUnreadable):
			bad, why = append(bad, rp), err
		default:
			d.problem("queue", "the queue cannot be read: "+err.Error())
			x.pausedUntil = d.o.Now().Add(time.Minute)
			return nil
		}
	}
	d.problem("queue", "")
	switch {
	case len(bad) == 0:
		return out
	case it == nil:
		for _, rp := range bad {
			d.drop(x.all[itemKey(rp.Key, x.name)], "the report cannot be read back: "+why.Error())
		}
		return nil
	case len(out.Reports) == 0:
		d.drop(it, "the report cannot be read back: "+why.Error())
		return nil
	}
	return out
}

// start begins a delivery: one that waits, or a new digest if it is nil. If it cannot, it returns when to try again.
func (d *Dispatcher) start(x *destination, key string, reports []*queuedReport, it *delivery) (at time.Time) {
	now := d.o.Now()
	what := d.item(x, key, reports, it)
	if what == nil {
		return now
	}
	rec := recDelivery{Dest: x.name, Key: key, State: delivering, Attempts: what.Attempt, Time: now.UnixMicro(), Started: now.UnixMicro()}
	created := now
	if it == nil {
		rec.Reports, rec.Digest, rec.Since = keysOf(reports), true, reports[0].Since
		created = x.all[itemKey(reports[0].Key, x.name)].created
	} else {
		rec.Err = it.lastErr
	}
	d.q.write(kindDelivery, rec, nil)
	it = x.current
	if what.Digest && what.Attempt == 1 {
		it.created = created
	}
	ep := d.occupy(x, now)
	d.afterCommit(func() {
		d.spawn(func() {
			ctx, cancel := context.WithTimeout(d.context, ep.limit)
			receipt, err := ep.dst.Deliver(ctx, what)
			late := ctx.Err() != nil
			cancel()
			d.post(func() { d.finished(x, it, ep, receipt, err, late) })
		})
	})
	return at
}

// occupy gives the destination to a worker; release takes it back.
func (d *Dispatcher) occupy(x *destination, now time.Time) *endpoint {
	x.busy, x.busySince = true, now
	d.inFlight++
	return x.ep
}

func (d *Dispatcher) release(x *destination) {
	x.busy = false
	d.inFlight--
}

func (d *Dispatcher) startTest(x *destination) (at time.Time) {
	t := x.tests[0]
	x.tests = x.tests[1:]
	if t.ctx.Err() != nil {
		return d.o.Now()
	}
	ep := d.occupy(x, d.o.Now())
	d.afterCommit(func() {
		d.spawn(func() {
			ctx, cancel := context.WithTimeout(t.ctx, ep.limit)
			stop := context.AfterFunc(d.context, cancel)
			receipt, err := ep.dst.Deliver(ctx, t.item)
			stop()
			cancel()
			t.done <- testResult{receipt, err}
			d.post(func() { d.release(x) })
		})
	})
	return at
}

// change records that a delivery has another state.
func (d *Dispatcher) change(it *delivery, to state, with func(*recDelivery)) {
	rec := recDelivery{Dest: it.dest.name, Key: it.key, State: to, Time: d.o.Now().UnixMicro(), Attempts: it.attempts, Err: it.lastErr}
	if with != nil {
		with(&rec)
	}
	d.q.write(kindDelivery, rec, nil)
}

// finished records how a delivery ended.
func (d *Dispatcher) finished(x *destination, it *delivery, ep *endpoint, receipt report.Receipt, err error, late bool) {
	d.release(x)
	switch {
	case err == nil:
		d.delivered(it, receipt)
	case d.context.Err() != nil: // interrupted: the other side may have it
		d.change(it, uncertain, func(r *recDelivery) { r.Started, r.Err = it.started, oneLine(err.Error()) })
	default:
		d.failed(x, it, ep, err, late)
	}
}

func (d *Dispatcher) delivered(it *delivery, receipt report.Receipt) {
	x, now := it.dest, d.o.Now()
	what := "delivered"
	if receipt.Duplicate {
		what = "already known there"
	}
	if receipt.Answer != "" {
		what += " (" + oneLine(receipt.Answer) + ")"
	}
	d.auditDelivery(audit.KindReported, it, what, audit.Field{Name: audit.FieldReceipt, Value: oneLine(receipt.Answer)})
	d.count += uint64(len(it.reports))
	x.counts.delivered += uint64(len(it.reports))
	d.change(it, done, nil)
	if x.failures >= failuresBeforePause {
		d.event(audit.KindReportsResumed, fmt.Sprintf("reports to %s go out again: %d wait", x.name, len(x.all)), audit.Field{Name: audit.FieldDestination, Value: x.name})
	}
	if x.failures > 0 { // it works again: failed deliveries need not wait any longer
		for _, it := range x.waiting {
			if !it.serverSet {
				it.notBefore = now
			}
		}
		heap.Init(&x.waiting)
	}
	x.failures, x.lastErr, x.lastOK, x.pausedUntil = 0, "", now, time.Time{}
}

// failed decides when a failed delivery is tried again.
func (d *Dispatcher) failed(x *destination, it *delivery, ep *endpoint, err error, late bool) {
	now, text := d.o.Now(), oneLine(err.Error())
	x.counts.errors++
	var refused *report.Refused
	var retry *report.Retry
	errors.As(err, &refused)
	errors.As(err, &retry)
	if refused != nil && !refused.All {
		it.lastErr = text
		d.drop(it, "refused: "+text)
		return
	}
	giveUp := d.giveUp(x)
	asked := retry != nil && retry.After > 0
	pause := d.o.pause(it.attempts)
	if asked {
		pause = min(retry.After, maxAfter)
	}
	if quota := retry != nil && retry.Quota; quota && !asked {
		pause = quotaPause
	}
	attempts, to := it.attempts, waiting
	switch {
	case refused != nil:
		pause, attempts = 0, attempts-1
	case now.Sub(it.created) > giveUp:
		it.lastErr = text
		d.drop(it, fmt.Sprintf("given up after %s", audit.Duration(giveUp)))
		return
	case late && ep.traced != nil:
		to = uncertain
	}
	x.lastErr, x.lastFail = text, now
	d.change(it, to, func(r *recDelivery) {
		r.Pause, r.Attempts, r.Err = pause.Microseconds(), attempts, text
		if to == uncertain {
			r.Started = it.started
		}
	})
	it.postpone(now.Add(pause), asked || retry != nil && retry.Own)
	field := audit.Field{Name: audit.FieldDestination, Value: x.name}
	switch {
	case refused != nil:
		if x.ep == nil || x.ep.fingerprint != ep.fingerprint {
			return // its configuration has changed meanwhile
		}
		d.q.write(kindHold, recHold{Dest: x.name, Why: text, Print: ep.fingerprint, Time: now.UnixMicro()}, nil)
		d.event(audit.KindReportsHeld, fmt.Sprintf("reports to %s wait: %s", x.name, text), field, audit.Field{Name: audit.FieldProblem, Value: holdOf(x.name)}, audit.Field{Name: audit.FieldError, Value: text})
	case retry != nil && retry.Quota:
		x.pausedUntil = now.Add(pause)
	case retry != nil && retry.Own: // others are not affected
	default:
		if x.failures++; x.failures >= failuresBeforePause {
			x.pausedUntil = now.Add(min(d.o.pause(x.failures-failuresBeforePause+1), 10*time.Minute))
			if x.failures == failuresBeforePause {
				d.log(audit.Warning, fmt.Sprintf("reports to %s fail and are tried again: %s", x.name, text), field, audit.Field{Name: audit.FieldError, Value: text})
			}
		}
	}
}

// pause returns how long to wait after this many attempts.
func (o *Options) pause(attempts int) time.Duration {
	p := o.Pauses.Max
	if n := max(attempts, 1) - 1; n < 20 {
		p = min(o.Pauses.First<<n, p)
	}
	return p*3/4 + rand.N(p/2+1)
}

// drop gives up a delivery.
func (d *Dispatcher) drop(it *delivery, why string) {
	last := ""
	if it.lastErr != "" && why != "refused: "+it.lastErr {
		last = ": " + it.lastErr
	}
	d.auditDelivery(audit.KindReportDropped, it, "not delivered: "+why+last, audit.Field{Name: audit.FieldError, Value: oneLine(cmp.Or(it.lastErr, why))})
	it.dest.counts.dropped += uint64(len(it.reports))
	d.change(it, dropped, func(r *recDelivery) { r.Err = oneLine(why) })
}

func (d *Dispatcher) giveUp(x *destination) time.Duration {
	if x.ep != nil {
		return x.ep.conf.RetryFor
	}
	return d.set.conf.Report.RetryFor
}

// tick saves the position and drops what is too old.
func (d *Dispatcher) tick(now time.Time) {
	if d.pos != d.q.pos && now.Sub(d.saved) > saveEvery {
		d.savePosition()
	}
	d.q.prune(now, func(x *destination) time.Duration {
		if x.ep == nil {
			return 0
		}
		return x.ep.conf.Window
	})
	if d.o.Audit.Busy() || d.q.rebuild != 0 && d.known == nil {
		return
	}
	drops := 0
	for _, x := range d.q.sorted() {
		limit := d.giveUp(x)
		stuck := x.ep == nil || x.held() != "" || x.quotaUsed(now) // otherwise it is dropped after one more attempt
		why := fmt.Sprintf("given up after %s", audit.Duration(limit))
		for _, it := range slices.Collect(maps.Values(x.all)) {
			age := now.Sub(it.created)
			old := age > limit && stuck && it.state != delivering
			if it.state == collecting {
				old = age > limit+day
			}
			if old && drops < maxDrops {
				drops++
				d.drop(it, why)
			}
		}
	}
}

// lookUp queues a lookup of a report's address if one of its destinations needs it. Deliveries that need it wait for it; others do
// not.
func (d *Dispatcher) lookUp(rp *queuedReport) {
	wanted := false
	for _, it := range rp.in {
		needed := it.dest.ep != nil && needsLookup(&it.dest.ep.conf) && d.set.env.Lookup != nil && !rp.looked
		wanted = wanted || needed && !it.state.over()
		switch {
		case needed && it.state == waiting && it.attempts == 0:
			d.q.move(it, lookingUp)
		case !needed && it.state == lookingUp:
			d.q.move(it, waiting)
		}
	}
	if wanted && !rp.asking {
		rp.asking = true
		d.lookups = append(d.lookups, rp)
	}
}

// startLookups starts queued lookups, up to maxLookups at once.
func (d *Dispatcher) startLookups() {
	for len(d.lookups) > 0 && d.looking < maxLookups {
		rp := d.lookups[0]
		d.lookups = d.lookups[1:]
		if rp.looked || len(rp.in) == 0 || d.set.env.Lookup == nil {
			rp.asking = false
			continue
		}
		lookup, limit := d.set.env.Lookup, d.set.conf.Report.Lookup.TimeLimit
		// Waiting for a worker counts: a report is delayed by no more than the limit.
		left := limit - d.o.Now().Sub(time.UnixMicro(rp.Since))
		if left <= 0 || left > limit {
			left = limit // queued by an earlier run, or the clock was set
		}
		d.looking++
		d.afterCommit(func() {
			d.spawn(func() {
				ctx, cancel := context.WithTimeout(d.context, left)
				defer cancel()
				w := lookup(ctx, rp.Address)
				d.post(func() { d.answered(rp, w) })
			})
		})
	}
}

// answered records the answer of a lookup.
func (d *Dispatcher) answered(rp *queuedReport, w *report.Whois) {
	d.looking--
	rp.asking = false
	if d.q.reports[rp.Key] != rp {
		return
	}
	rp.looked = true
	if body, err := json.Marshal(w); err == nil && !d.diskFull && d.q.log.room(int64(len(body))) == nil { // else the report goes without
		d.q.write(kindWhois, recWhois{rp.Key}, body)
	}
	d.lookUp(rp)
}
