package courier

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"bailiff/cmd/internal/deliver"
	"bailiff/journal/audit"
	"bailiff/policy/report"
)

// What one digest holds at most. What is beyond goes into the next.
const (
	maxDigest      = 1000
	maxDigestBytes = 8 << 20
)

// A destination that failed so often in a row is left alone for a while as a whole: one item tries whether it works again.
const patience = 3

// quotaPause is how long a destination that takes no more for now, and does not say until when, is left alone.
const quotaPause = time.Hour

// runner is the goroutine that serves a destination. Its fields are guarded by the engine's mu, but for those that never change.
type runner struct {
	e      *Engine
	d      *dest
	conf   report.Destination
	dst    deliver.Destination
	traced deliver.Traced // nil: it is not
	print  string
	limit  time.Duration // of one delivery
	wake   chan struct{}
	hand   chan struct{} // held while the destination is used
	before chan struct{} // closed when the runner of the configuration before has ended
	done   chan struct{}

	started, retired bool
	heap             itemHeap
	failures         int       // in a row
	until            time.Time // nothing is tried before
	why              string    // what until is for
	lastErr          string
	lastFail         time.Time
	lastOK           time.Time
	tracer           *tracer
	unsynced         bool // an outcome was written down and not yet synced
}

func newRunner(e *Engine, conf report.Destination, dst deliver.Destination, print string, limit time.Duration) *runner {
	r := &runner{e: e, conf: conf, dst: dst, print: print, limit: limit, wake: make(chan struct{}, 1), hand: make(chan struct{}, 1), done: make(chan struct{})}
	r.traced, _ = dst.(deliver.Traced)
	return r
}

func (r *runner) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *runner) start() {
	if !r.started {
		r.started = true
		go r.run()
	}
}

// itemHeap has the item on top that is due first; of those due at once the oldest.
type itemHeap []*item

func (h itemHeap) Len() int { return len(h) }
func (h itemHeap) Less(i, j int) bool {
	if d := h[i].due.Compare(h[j].due); d != 0 {
		return d < 0
	}
	return h[i].reps[0].seq < h[j].reps[0].seq
}
func (h itemHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *itemHeap) Push(x any)   { it := x.(*item); it.index = len(*h); *h = append(*h, it) }
func (h *itemHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	it.index = -1
	return it
}

// fill takes in all that waits.
func (r *runner) fill() {
	for _, it := range r.heap {
		it.index = -1
	}
	r.heap = nil
	for _, it := range r.d.items {
		it.index = -1
		r.push(it)
	}
}

// push takes an item in, if it can be delivered.
func (r *runner) push(it *item) {
	if it.index >= 0 || it.taken || it.begun != 0 || r.retired {
		return
	}
	if needsWhois(&r.conf) && slices.ContainsFunc(it.reps, func(rp *rep) bool { return !rp.whois }) {
		return
	}
	heap.Push(&r.heap, it)
}

func (r *runner) remove(it *item) {
	if it.index >= 0 {
		heap.Remove(&r.heap, it.index)
	}
}

// run delivers until it is told to stop.
func (r *runner) run() {
	defer close(r.done)
	if r.before != nil {
		<-r.before
	}
	r.e.mu.Lock()
	r.fill()
	r.e.mu.Unlock()
	for {
		it, wait, ok := r.next()
		if !ok {
			break
		}
		if it != nil {
			r.serve(it)
			continue
		}
		if r.unsynced { // nothing follows at once whose begin would do it
			r.unsynced = false
			if err := r.e.q.Sync(); err != nil {
				r.e.die(err)
				break
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-r.wake:
		case <-t.C:
		}
		t.Stop()
	}
	if r.tracer != nil {
		r.tracer.close()
	}
}

// next chooses what is delivered next, or says how long to wait. ok is false when the runner shall end.
func (r *runner) next() (it *item, wait time.Duration, ok bool) {
	e := r.e
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if e.stopping || r.retired {
		return nil, 0, false
	}
	const long = time.Minute // clocks that are set are noticed by then
	switch {
	case r.d.hold != nil:
		return nil, long, true
	case now.Before(r.until):
		return nil, min(long, r.until.Sub(now)), true
	case r.spent(now):
		return nil, long, true
	}
	if it := r.digest(now); it != nil {
		return it, 0, true
	}
	if len(r.heap) == 0 {
		return nil, long, true
	}
	if top := r.heap[0]; top.due.After(now) {
		return nil, min(long, top.due.Sub(now)), true
	}
	it = heap.Pop(&r.heap).(*item)
	it.taken = true
	return it, 0, true
}

// spent says that the quota is used up.
func (r *runner) spent(now time.Time) bool {
	return r.conf.Quota > 0 && r.d.sentLately(now) >= r.conf.Quota
}

// digest puts together what came in an hour or day that is over.
func (r *runner) digest(now time.Time) *item {
	if len(r.d.gather) == 0 {
		return nil
	}
	first := time.UnixMicro(r.d.gather[0].Since)
	if r.conf.Digest != "off" && r.conf.Digest != "" && now.After(first) && period(r.conf.Digest, first) == period(r.conf.Digest, now) {
		return nil
	}
	it := &item{dest: r.d, digest: true, since: r.d.gather[0].Since, due: now, born: now.Add(-max(0, now.Sub(first))), index: -1}
	most := maxDigest
	if r.conf.Quota > 0 {
		most = min(most, r.conf.Quota-r.d.sentLately(now))
	}
	size := int64(0)
	for _, rp := range r.d.gather {
		if needsWhois(&r.conf) && !rp.whois {
			return nil // it comes, or is given up, within its time limit
		}
		if len(it.reps) == most || len(it.reps) > 0 && size+rp.size > maxDigestBytes {
			break
		}
		size += rp.size
		it.reps = append(it.reps, rp)
	}
	it.key = itemKey("digest-"+it.reps[0].Key+"-"+strconv.Itoa(len(it.reps)), r.d.name)
	return it
}

// period names the hour or the day of this host that a time lies in.
func period(kind string, t time.Time) string {
	if kind == "hourly" {
		return t.Local().Format("2006-01-02 15 -0700")
	}
	return t.Local().Format("2006-01-02")
}

// assemble makes of an item what destinations get.
func (e *Engine) assemble(it *item) (*report.Item, error) {
	out := &report.Item{Key: it.key, Digest: it.digest, Attempt: it.attempts + 1}
	for _, rp := range it.reps {
		r, err := e.q.Report(rp)
		if err != nil {
			return nil, err
		}
		out.Reports = append(out.Reports, r)
	}
	return out, nil
}

// patiently does what must be written down, and tries again while the disk is full. It gives up when the courier stops.
func (r *runner) patiently(do func() error) bool {
	for {
		r.e.mu.Lock()
		err := do()
		if err == nil {
			r.e.mu.Unlock()
			return true
		}
		again := r.e.trouble(err) && !r.e.stopping
		r.e.mu.Unlock()
		if !again {
			return false
		}
		t := time.NewTimer(fullPause)
		select {
		case <-r.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// serve tries to deliver one item.
func (r *runner) serve(it *item) {
	e := r.e
	e.mu.Lock()
	what, err := e.assemble(it)
	if err != nil {
		// The file was damaged since it was read. What the report said is gone with it; that there was a ban the journal tells.
		e.drop(r.d, it, "the report cannot be read back: "+err.Error())
		e.mu.Unlock()
		return
	}
	doubt := it.doubt
	e.mu.Unlock()
	if doubt != 0 && r.traced != nil {
		switch r.settle(it, what) {
		case verdictDone:
			r.delivered(it, report.Receipt{Answer: "found in the journal: taken before the courier was cut off"})
			return
		case verdictWait:
			e.mu.Lock()
			it.due, it.taken = time.Now().Add(settlePoll), false
			r.push(it)
			e.mu.Unlock()
			return
		}
	}
	r.hand <- struct{}{}
	defer func() { <-r.hand }()
	now, gone := time.Now(), false
	if !r.patiently(func() error {
		rec := recItem{Dest: r.d.name, Key: it.key, Time: now.UnixMicro(), Attempts: it.attempts + 1}
		if it.digest {
			rec.Reports = keysOf(it.reps)
		}
		it.doubt = 0 // settled, or of no use
		if err := e.q.write(frBegin, rec); err != nil {
			return err
		}
		switch kept := r.d.items[it.key]; {
		case kept == nil: // all reports of a digest were dropped meanwhile
			gone = true
		case kept != it: // a digest is made by being begun
			kept.due, kept.born = it.due, it.born
			it = kept
		}
		return nil
	}) || gone {
		return
	}
	if err := e.q.Sync(); err != nil {
		e.die(err)
		return
	}
	r.unsynced = false
	ctx, cancel := context.WithTimeout(e.deliverCtx, r.limit)
	receipt, err := r.dst.Deliver(ctx, what)
	late, cutOff := ctx.Err() != nil, e.deliverCtx.Err() != nil
	cancel()
	if err == nil {
		r.delivered(it, receipt)
		return
	}
	if cutOff {
		return // nobody knows: it stays begun, and the next start looks
	}
	r.failed(it, err, late)
}

// limit is how long one delivery may take. Destinations keep their own limits; this is for one that does not.
func limit(d *report.Destination, c *report.Config) time.Duration {
	return max(d.TimeLimit, c.Sendmail.TimeLimit) + 5*time.Second
}

// delivered writes a success down.
func (r *runner) delivered(it *item, receipt report.Receipt) {
	e := r.e
	rec := recItem{Dest: r.d.name, Key: it.key, Time: time.Now().UnixMicro()}
	if it.digest {
		rec.Reports = keysOf(it.reps)
	}
	if !r.patiently(func() error { return e.q.write(frDone, rec) }) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r.unsynced = true
	e.delivered += uint64(len(it.reps))
	now := time.Now()
	what := "delivered"
	if receipt.Duplicate {
		what = "known there already"
	}
	if receipt.Answer != "" {
		what += " (" + cut(receipt.Answer) + ")"
	}
	e.tell(audit.KindReported, r.d.name, it.key, it.reps, what, audit.Field{Name: audit.FieldReceipt, Value: cut(receipt.Answer)})
	if r.failures >= patience {
		e.o.Audit.Event(audit.KindReportsFree, fmt.Sprintf("reports to %s go out again: %d wait", r.d.name, len(r.d.items)), audit.Field{Name: audit.FieldDestination, Value: r.d.name})
	}
	if r.failures > 0 { // it works again: what failed with it need not wait any longer
		for _, it := range r.heap {
			if !it.asked {
				it.due = now
			}
		}
		heap.Init(&r.heap)
	}
	r.failures, r.lastErr, r.lastOK, r.until = 0, "", now, time.Time{}
	e.tidy(now)
	e.stir()
}

// failed writes a failure down, and decides when to try again.
func (r *runner) failed(it *item, err error, late bool) {
	e := r.e
	now := time.Now()
	text := cut(err.Error())
	var refused *report.Refused
	var retry *report.Retry
	errors.As(err, &refused)
	errors.As(err, &retry)
	if refused != nil && !refused.All {
		r.patiently(func() error {
			it.err = text
			if !e.drop(r.d, it, "refused: "+text) {
				return &fullError{errors.New("writing it down failed")}
			}
			return nil
		})
		return
	}
	attempts := it.attempts
	pause := e.o.pause(attempts)
	asked := retry != nil && retry.After > 0
	if asked {
		pause = min(retry.After, maxAfter)
	}
	rec := recItem{Dest: r.d.name, Key: it.key, Time: now.UnixMicro(), Attempts: attempts, Pause: pause.Microseconds(), Err: text}
	if late && r.traced != nil {
		rec.Doubt = it.begun
	}
	if refused != nil {
		rec.Pause, rec.Attempts = 0, attempts-1
	}
	if !r.patiently(func() error { return e.q.write(frFail, rec) }) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r.unsynced = true
	it.taken = false
	r.lastErr, r.lastFail = text, now
	it.due, it.asked = now.Add(pause), asked || retry != nil && retry.Own
	dest := audit.Field{Name: audit.FieldDestination, Value: r.d.name}
	switch {
	case refused != nil:
		it.due = now
		if err := e.q.write(frHold, recHold{Dest: r.d.name, Why: text, Print: r.print, Time: now.UnixMicro()}); err != nil {
			e.trouble(err)
		}
		e.o.Audit.Event(audit.KindReportsHeld, fmt.Sprintf("reports to %s wait: %s", r.d.name, text), dest, audit.Field{Name: audit.FieldError, Value: text})
	case now.Sub(it.born) > r.conf.GiveUp:
		e.drop(r.d, it, fmt.Sprintf("given up after %s", audit.Duration(r.conf.GiveUp)))
		return
	case retry != nil && retry.Quota:
		if !asked {
			pause = quotaPause
		}
		r.until, r.why = now.Add(pause), text
		it.due = r.until
	case retry != nil && retry.Own: // says nothing about the others
	default:
		if r.failures++; r.failures >= patience {
			r.until, r.why = now.Add(min(e.o.pause(r.failures-patience+1), 10*time.Minute)), text
			if r.failures == patience {
				e.o.Audit.Log(audit.Warning, fmt.Sprintf("reports to %s fail and are tried again: %s", r.d.name, text), dest, audit.Field{Name: audit.FieldError, Value: text})
			}
		}
	}
	if now := r.d.run; now != nil { // another one, if the configuration changed meanwhile
		now.push(it)
		now.nudge()
	}
	e.nudge()
}

// maxAfter bounds how long another side can make us wait.
const maxAfter = 24 * time.Hour

// pause is how long to wait after so many attempts.
func (o *Options) pause(attempts int) time.Duration {
	p := o.Pauses.Most
	if n := max(attempts, 1) - 1; n < 20 {
		p = min(o.Pauses.First<<n, p)
	}
	return p*3/4 + rand.N(p/2+1)
}

// sorted gives the items of a destination, the oldest first.
func (d *dest) sorted() []*item {
	items := make([]*item, 0, len(d.items))
	for _, it := range d.items {
		items = append(items, it)
	}
	slices.SortFunc(items, func(a, b *item) int { return cmp.Compare(a.reps[0].seq, b.reps[0].seq) })
	return items
}
