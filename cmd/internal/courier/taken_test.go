package courier

import (
	"net/netip"
	"testing"
	"time"

	"bailiff/policy/report"
	"bailiff/units/control"
)

var (
	root = control.Peer{User: "root"}
	all  = control.ReportsRequest{All: true}
)

// waiting is a courier that is not yet running, with one report for each of its destinations.
func waiting(t *testing.T, conf string, to ...string) (*bench, *rep) {
	t.Helper()
	b := newBench(t, conf)
	e, err := New(b.options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.q.close() })
	now := time.Now()
	a := netip.MustParseAddr("198.51.100.1")
	r := taken{Key: "first", ID: "first", Address: a, Jail: "sshd", Time: now.UnixMicro(), Since: now.UnixMicro(), To: to, report: &report.Report{ID: "first", Address: a}}
	if err := e.q.Take(position{Realtime: uint64(now.UnixMicro())}, []taken{r}); err != nil {
		t.Fatal(err)
	}
	b.e = e
	t.Cleanup(func() { b.e = nil })
	return b, e.q.reps["first"]
}

// TestTakenOnce: what a runner has taken out of its heap is nobody else's until it has decided, whatever happens meanwhile: a
// look-up that another destination waited for comes back, the configuration is read again, somebody retries or drops.
func TestTakenOnce(t *testing.T) {
	b, rp := waiting(t, execOne, "one")
	e := b.e
	r := e.runners["one"]
	e.wanting()
	it, _, _ := r.next()
	if it == nil {
		t.Fatal("nothing to deliver")
	}
	e.release(rp)
	e.wanting()
	r.fill()
	if _, err := b.ask().Retry(t.Context(), root, all); err != nil {
		t.Fatal(err)
	}
	if res, err := b.ask().Drop(t.Context(), root, all); err != nil || res.Reports != 0 {
		t.Errorf("dropped what is in hand: %+v, %v", res, err)
	}
	it.born = time.Now().Add(-1000 * time.Hour)
	r.d.hold = &recHold{Why: "no key"}
	e.tick(time.Now())
	r.d.hold = nil
	if again, _, _ := r.next(); again != nil {
		t.Errorf("%s is taken twice", again.key)
	}
	if e.q.dest["one"].items[it.key] != it {
		t.Error("what is in hand was dropped")
	}
}

// TestBornAtOnce: a report is as old as it is from the moment on that it is in the queue: the time limit does not meet one whose
// age is not known yet.
func TestBornAtOnce(t *testing.T) {
	b, rp := waiting(t, execOne, "one")
	b.e.q.dest["one"].hold = &recHold{Why: "no key"}
	b.e.tick(time.Now())
	if b.e.q.reps["first"] != rp || len(b.e.q.dest["one"].items) != 1 {
		t.Error("the report was given up when it came")
	}
}
