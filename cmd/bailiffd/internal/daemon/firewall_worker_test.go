package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/dryrun"
)

// troubled is a backend in memory that has another name and fails on demand.
type troubled struct {
	*dryrun.Backend
	name string

	mu                    sync.Mutex
	reconcile, add, clean error
	reconciles, cleans    int
	closed                bool
	hang                  chan struct{} // a Reconcile signals that it was called, and waits for an answer
}

func newTroubled(t *testing.T, name string) *troubled {
	t.Helper()
	be, err := dryrun.New([]firewall.Scope{{}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return &troubled{Backend: be, name: name}
}

func (b *troubled) Name() string { return b.name }

func (b *troubled) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *troubled) Reconcile(ctx context.Context, want []firewall.Ban) (firewall.Change, error) {
	b.mu.Lock()
	b.reconciles++
	err, hang := b.reconcile, b.hang
	b.mu.Unlock()
	if hang != nil {
		hang <- struct{}{}
		<-hang
	}
	if err != nil {
		return firewall.Change{}, err
	}
	return b.Backend.Reconcile(ctx, want)
}

func (b *troubled) Add(ctx context.Context, bans []firewall.Ban) error {
	b.mu.Lock()
	err := b.add
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.Backend.Add(ctx, bans)
}

func (b *troubled) Cleanup(ctx context.Context) error {
	b.mu.Lock()
	b.cleans++
	err := b.clean
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.Backend.Cleanup(ctx)
}

func (b *troubled) Close() error { b.set(func() { b.closed = true }); return nil }

// workerTest runs a worker, passes the full set when it is requested, and has a clock that stands still.
type workerTest struct {
	*testing.T
	w      *firewallWorker
	events chan firewallEvent
	full   []firewall.Ban

	mu  sync.Mutex
	now time.Time
}

func newWorkerTest(t *testing.T, be firewall.Backend, others ...*retired) *workerTest {
	x := &workerTest{T: t, events: make(chan firewallEvent), now: time.Now()}
	c := newConnCloser(false, nil, nil, nil)
	x.w = newFirewallWorker(be, others, c, x.events)
	x.w.now = func() time.Time { x.mu.Lock(); defer x.mu.Unlock(); return x.now }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { x.w.run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		for {
			select {
			case <-x.events:
			case <-done:
				return
			}
		}
	})
	return x
}

// later moves the clock and wakes the worker.
func (x *workerTest) later(d time.Duration) {
	x.mu.Lock()
	x.now = x.now.Add(d)
	x.mu.Unlock()
	x.w.signal()
}

// ban queues a ban, as the owner of the state does.
func (x *workerTest) ban(s string) {
	x.full = append(x.full, testBan(s))
	x.w.put([]change{{ban: testBan(s)}})
}

// next is the next event; it answers a request for the full set.
func (x *workerTest) next() firewallEvent {
	x.Helper()
	select {
	case e := <-x.events:
		if e.needFull {
			x.w.reconcile(slices.Clone(x.full))
		}
		return e
	case <-time.After(time.Minute):
		x.Fatal("no event")
		return firewallEvent{}
	}
}

// holds is what a backend holds, in words.
func holds(t *testing.T, b *troubled) string {
	t.Helper()
	l, err := b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, ban := range l {
		s = append(s, ban.Prefix.Addr().String())
	}
	slices.Sort(s)
	return strings.Join(s, " ")
}

// barrier waits until the worker has done everything that it was asked to: it starts the second request only when everything before it is
// done. Rules of other backends whose removal is due have been removed then. It returns the events meanwhile.
func (x *workerTest) barrier() (told []firewallEvent) {
	x.Helper()
	for n := 2; n > 0; n-- {
		q := &inspectRequest{answer: make(chan inspectResult, 1)}
		x.w.inspect(q)
		for answered := false; !answered; {
			select {
			case e := <-x.events:
				told = append(told, e)
				if e.needFull {
					x.w.reconcile(slices.Clone(x.full))
				}
			case <-q.answer:
				answered = true
			}
		}
		x.w.mu.Lock()
		if x.w.removing != nil {
			n = 3 // two requests from now
		}
		x.w.mu.Unlock()
	}
	return told
}

// TestSwitchProven: the former backend keeps the bans until the new one holds them. Removing its rules is tried until it succeeds.
func TestSwitchProven(t *testing.T) {
	a, b := newTroubled(t, "a"), newTroubled(t, "b")
	x := newWorkerTest(t, a)
	x.full = []firewall.Ban{testBan("192.0.2.1/32")}
	x.w.reconcile(slices.Clone(x.full))
	if e := x.next(); e.err != nil || e.backend != "a" || e.replaced != "" {
		t.Fatalf("%+v", e)
	}
	b.reconcile = errors.New("no room")
	x.w.switchBackend(b, false)
	x.w.reconcile(slices.Clone(x.full))
	if e := x.next(); e.err == nil || e.backend != "b" || e.change == nil {
		t.Fatalf("%+v", e)
	}
	x.ban("192.0.2.2/32")
	x.barrier()
	if got := holds(t, a); got != "192.0.2.1 192.0.2.2" || a.cleans > 0 || a.closed {
		t.Errorf("the former backend holds %q, cleaned %d times, closed %t", got, a.cleans, a.closed)
	}

	// The new one works, but the rules of the previous one cannot be removed yet.
	b.set(func() { b.reconcile = nil })
	a.set(func() { a.clean = errors.New("busy") })
	x.later(minPause)
	if e := x.next(); !e.needFull {
		t.Fatalf("%+v", e)
	}
	if e := x.next(); e.err != nil || e.backend != "b" || e.replaced != "a" {
		t.Fatalf("%+v", e)
	}
	if e := x.next(); e.notice == nil || !strings.Contains(e.notice.Error(), "a backend could not be removed") {
		t.Fatalf("%+v", e)
	}
	x.barrier()
	if a.cleans != 1 || a.closed || holds(t, b) != "192.0.2.1 192.0.2.2" {
		t.Errorf("cleaned %d times, closed %t; the new one holds %q", a.cleans, a.closed, holds(t, b))
	}
	a.set(func() { a.clean = nil })
	x.later(minPause)
	x.barrier()
	if got := holds(t, a); got != "" || a.cleans != 2 || !a.closed {
		t.Errorf("the former backend holds %q, cleaned %d times, closed %t", got, a.cleans, a.closed)
	}
}

// TestSwitchBack: if a backend returns before its rules were removed, they stay, and so do the rules of a backend that is replaced by
// another with the same name.
func TestSwitchBack(t *testing.T) {
	a, b, again, once := newTroubled(t, "a"), newTroubled(t, "b"), newTroubled(t, "a"), newTroubled(t, "a")
	x := newWorkerTest(t, a)
	x.w.reconcile(nil)
	x.next()
	a.set(func() { a.clean = errors.New("busy") })
	x.w.switchBackend(b, false)
	x.w.reconcile(nil)
	x.next() // replaced
	x.next() // not removed
	x.w.switchBackend(again, false)
	x.w.reconcile(nil)
	if e := x.next(); !e.solved || e.source != "backend a" {
		t.Fatalf("its rules need not be removed any more: %+v", e)
	}
	if e := x.next(); e.err != nil || e.backend != "a" || e.replaced != "b" {
		t.Fatalf("%+v", e)
	}
	x.later(maxPause)
	x.barrier()
	x.w.switchBackend(once, false)
	x.w.reconcile(nil)
	if e := x.next(); e.err != nil || e.backend != "a" || e.replaced != "" {
		t.Fatalf("%+v", e)
	}
	x.later(maxPause)
	x.barrier()
	if a.cleans != 1 || again.cleans > 0 || once.cleans > 0 || b.cleans != 1 {
		t.Errorf("cleaned: a %d, b %d, a again %d, a once more %d", a.cleans, b.cleans, again.cleans, once.cleans)
	}
	if !a.closed || !b.closed || !again.closed || once.closed {
		t.Errorf("closed: %t %t %t %t", a.closed, b.closed, again.closed, once.closed)
	}
}

// TestSwitchTwice: a backend that is replaced before it was used is closed; the rules of one that failed are removed.
func TestSwitchTwice(t *testing.T) {
	a, b, c, d := newTroubled(t, "a"), newTroubled(t, "b"), newTroubled(t, "c"), newTroubled(t, "d")
	x := newWorkerTest(t, a)
	x.w.reconcile(nil)
	x.next()
	b.reconcile = errors.New("no room")
	x.w.switchBackend(b, false)
	x.w.reconcile(nil)
	x.next()
	x.w.switchBackend(c, false)
	x.w.switchBackend(d, true)
	x.w.reconcile(nil)
	if e := x.next(); e.err != nil || e.backend != "d" || e.replaced != "a" {
		t.Fatalf("%+v", e)
	}
	x.barrier()
	if b.cleans != 1 || !b.closed || c.reconciles > 0 || !c.closed || a.cleans > 0 || !a.closed {
		t.Errorf("b cleaned %d times, closed %t; c used %d times, closed %t; a cleaned %d times, closed %t", b.cleans, b.closed, c.reconciles, c.closed, a.cleans, a.closed)
	}
}

// TestCloseEmpty: with keep_on_stop: false no backend keeps bans, neither the one in use while another one is to take over, nor that one,
// nor one whose rules are still to be removed. What a backend cannot hold need not be removed.
func TestCloseEmpty(t *testing.T) {
	a, b, c, absent := newTroubled(t, "a"), newTroubled(t, "b"), newTroubled(t, "c"), newTroubled(t, "absent")
	for _, be := range []*troubled{a, b, c} {
		if _, err := be.Backend.Reconcile(t.Context(), []firewall.Ban{testBan("192.0.2.1/32")}); err != nil {
			t.Fatal(err)
		}
	}
	absent.clean = fmt.Errorf("it %w", firewall.ErrAbsent)
	quiet := &retired{quiet: true, close: absent.Close, remove: func(context.Context) (string, error) { return "", errors.New("reported elsewhere") }}
	w := newFirewallWorker(b, []*retired{leftover(c), former(absent, false), quiet}, nil, nil)
	w.be = a
	if err := w.close(t.Context(), true); err != nil {
		t.Error(err)
	}
	if holds(t, a) != "" || holds(t, b) != "" || holds(t, c) != "" {
		t.Errorf("held: %q, %q, %q", holds(t, a), holds(t, b), holds(t, c))
	}
	if !a.closed || !b.closed || !c.closed || !absent.closed {
		t.Errorf("closed: %t %t %t %t", a.closed, b.closed, c.closed, absent.closed)
	}

	c.clean, c.closed = errors.New("busy"), false
	if _, err := c.Backend.Reconcile(t.Context(), []firewall.Ban{testBan("192.0.2.1/32")}); err != nil {
		t.Fatal(err)
	}
	w = newFirewallWorker(a, []*retired{leftover(c)}, nil, nil)
	if err := w.close(t.Context(), true); err == nil || !c.closed {
		t.Errorf("%v, closed %t", err, c.closed)
	}

	// One that does not answer leaves the others their time.
	reached := make(chan struct{})
	hangs := &retired{close: func() error { return nil }, remove: func(ctx context.Context) (string, error) {
		select {
		case <-reached:
			return "", errors.New("it hung")
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}}
	last := &retired{close: func() error { return nil }, remove: func(context.Context) (string, error) {
		close(reached)
		return "", nil
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w = newFirewallWorker(a, []*retired{hangs, last}, nil, nil)
	if err := w.close(ctx, true); err == nil || err.Error() != "it hung" {
		t.Errorf("%v", err)
	}
}

// TestLeftovers: rules of another backend from an earlier start are removed once the present one works.
func TestLeftovers(t *testing.T) {
	a, b, none := newTroubled(t, "a"), newTroubled(t, "b"), newTroubled(t, "none")
	if _, err := b.Backend.Reconcile(t.Context(), []firewall.Ban{testBan("192.0.2.9/32")}); err != nil {
		t.Fatal(err)
	}
	a.reconcile = errors.New("no room")
	x := newWorkerTest(t, a, leftover(b), leftover(none))
	x.w.reconcile(nil)
	x.next()
	x.barrier()
	if b.cleans > 0 {
		t.Error("removed, although nothing else is in force")
	}
	a.set(func() { a.reconcile = nil })
	x.later(minPause)
	x.next() // asks
	if e := x.next(); e.err != nil || e.replaced != "" {
		t.Fatalf("%+v", e)
	}
	if e := x.next(); e.removed != "b" {
		t.Fatalf("%+v", e)
	}
	x.barrier()
	if b.cleans != 1 || none.cleans > 0 || holds(t, b) != "" {
		t.Errorf("cleaned %d and %d times", b.cleans, none.cleans)
	}
}

// TestLeftoverHangs: bans do not wait for another backend whose rules are to be removed and that does not answer. The same backend is not
// used again before that has ended.
func TestLeftoverHangs(t *testing.T) {
	a, b := newTroubled(t, "a"), newTroubled(t, "b")
	begun, ended := make(chan struct{}), false
	x := newWorkerTest(t, a, &retired{name: "b", close: func() error { return nil }, remove: func(ctx context.Context) (string, error) {
		close(begun)
		<-ctx.Done()
		b.set(func() { ended = true })
		return "", ctx.Err()
	}})
	x.w.reconcile(nil)
	x.next()
	<-begun
	x.ban("192.0.2.1/32")
	if e := x.next(); e.err != nil || holds(t, a) != "192.0.2.1" {
		t.Errorf("%+v; it holds %q", e, holds(t, a))
	}
	b.hang = make(chan struct{})
	x.w.switchBackend(b, false)
	x.w.reconcile(slices.Clone(x.full))
	<-b.hang
	b.set(func() {
		if !ended {
			t.Error("used while its rules were being removed")
		}
	})
	b.hang <- struct{}{}
	if e := x.next(); e.err != nil || e.replaced != "a" {
		t.Errorf("%+v", e)
	}
}

// TestBackoff: failures are retried after pauses, and a batch that works does not hide them.
func TestBackoff(t *testing.T) {
	a := newTroubled(t, "a")
	x := newWorkerTest(t, a)
	x.w.reconcile(nil)
	x.next()
	a.set(func() { a.reconcile = errors.New("no room") })
	x.full = []firewall.Ban{testBan("192.0.2.1/32")}
	x.w.reconcile(slices.Clone(x.full))
	if e := x.next(); e.err == nil {
		t.Fatalf("%+v", e)
	}
	for i := range 5 {
		x.ban(fmt.Sprintf("192.0.2.%d/32", 10+i))
		x.w.check()
		for _, e := range x.barrier() {
			if e.err == nil {
				t.Errorf("in spite of the failure: %+v", e)
			}
		}
	}
	if a.reconciles != 2 {
		t.Errorf("%d reconciles before the pause is over, want 2", a.reconciles)
	}
	pause := minPause
	for n := 3; n < 10; n++ {
		x.later(pause - time.Millisecond)
		x.barrier()
		if a.reconciles != n-1 {
			t.Fatalf("%d reconciles before a pause of %s is over, want %d", a.reconciles, pause, n-1)
		}
		x.later(time.Millisecond)
		x.next()
		if e := x.next(); e.change == nil || e.err == nil {
			t.Fatalf("%+v", e)
		}
		pause = min(2*pause, maxPause)
	}
	a.set(func() { a.reconcile = nil })
	x.later(pause)
	x.next()
	if e := x.next(); e.err != nil || e.change == nil {
		t.Fatalf("%+v", e)
	}

	// A backend that rejects batches but accepts the full set.
	a.set(func() { a.add, a.reconciles = errors.New("no batch"), 0 })
	for i := range 20 {
		x.ban(fmt.Sprintf("192.0.2.%d/32", 100+i))
		x.barrier()
		x.barrier()
	}
	if a.reconciles != 1 {
		t.Errorf("%d reconciles for 20 failed batches, want 1 before the pause is over", a.reconciles)
	}
	x.later(minPause)
	x.barrier()
	x.barrier()
	if a.reconciles != 2 || !strings.Contains(holds(t, a), "192.0.2.119") {
		t.Errorf("%d reconciles, want 2; it holds %s", a.reconciles, holds(t, a))
	}

	// A repair succeeds during the pause after a batch: what was queued after it is applied, since no full set is requested.
	hang := make(chan struct{})
	a.set(func() { a.hang = hang })
	x.w.reconcile(slices.Clone(x.full))
	<-hang
	x.ban("192.0.2.200/32")
	repair := &inspectRequest{want: slices.Clone(x.full), repair: true, by: "root", answer: make(chan inspectResult, 1)}
	x.w.inspect(repair)
	lifted := x.full[len(x.full)-2]
	x.full = slices.DeleteFunc(x.full, func(b firewall.Ban) bool { return b.Prefix == lifted.Prefix })
	x.w.put([]change{{remove: true, ban: lifted}})
	hang <- struct{}{}
	x.next() // the full set
	if e := x.next(); e.err == nil || e.needFull {
		t.Fatalf("%+v", e)
	}
	<-hang
	a.set(func() { a.hang = nil })
	hang <- struct{}{}
	if e := x.next(); e.err != nil || e.by == "" {
		t.Fatalf("%+v", e)
	}
	x.barrier()
	if got := holds(t, a); strings.Contains(got, lifted.Prefix.Addr().String()) || !strings.Contains(got, "192.0.2.200") {
		t.Errorf("after the repair it holds %s, without %s", got, lifted.Prefix)
	}
}

// TestAbsent: an absent backend is tried again as soon as its Watch notices it, at the start and later.
func TestAbsent(t *testing.T) {
	a := newTroubled(t, "a")
	a.reconcile = fmt.Errorf("a %w", firewall.ErrAbsent)
	x := newWorkerTest(t, a)
	for range 2 {
		x.w.reconcile(nil)
		x.next()
		x.w.check() // time alone triggers nothing
		for _, e := range x.barrier() {
			if e.needFull {
				t.Errorf("%+v", e)
			}
		}
		a.set(func() { a.reconcile = nil })
		x.w.changed()
		if e := x.next(); !e.needFull {
			t.Fatalf("%+v", e)
		}
		if e := x.next(); e.err != nil || e.change == nil {
			t.Fatalf("%+v", e)
		}
		a.set(func() { a.reconcile = fmt.Errorf("a %w", firewall.ErrAbsent) })
	}
}

// TestOverflow: the queue for a firewall that hangs is bounded, and no change is lost.
func TestOverflow(t *testing.T) {
	a := newTroubled(t, "a")
	a.hang = make(chan struct{})
	x := newWorkerTest(t, a)
	x.w.reconcile(nil)
	<-a.hang
	for i := range maxQueue + 500 {
		b := testBan(fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&255, i&255))
		x.full = append(x.full, b)
		x.w.put([]change{{ban: b}})
		if n := len(x.w.pending.changes); n > maxQueue { // the worker does not touch it
			t.Fatalf("%d changes wait", n)
		}
	}
	close(a.hang)
	a.set(func() { a.hang = nil })
	x.next()
	if e := x.next(); !e.needFull || !strings.Contains(e.err.Error(), "pending") {
		t.Fatalf("%+v", e)
	}
	if e := x.next(); e.err != nil || e.change.Added != len(x.full) {
		t.Fatalf("%+v", e)
	}
}
