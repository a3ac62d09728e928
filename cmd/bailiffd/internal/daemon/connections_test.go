package daemon

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/dryrun"
)

func testBan(s string) firewall.Ban {
	return firewall.Ban{Prefix: netip.MustParsePrefix(s), Until: time.Now().Add(time.Hour)}
}

// TestConnections: entries of conntrack are deleted after the sockets are closed, for all bans that came meanwhile at once. Neither
// delays a ban, however long it takes.
func TestConnections(t *testing.T) {
	be := newTroubled(t, "a")
	steps := make(chan string, 100)
	killing, walking := make(chan struct{}), make(chan struct{})
	say := func(what string, ps []netip.Prefix) {
		for _, p := range ps {
			what += " " + p.String()
		}
		steps <- what
	}
	c := newConnCloser(true,
		func(_ context.Context, ps []netip.Prefix) (int, error) { say("close", ps); <-killing; return 0, nil },
		func(_ context.Context, ps []netip.Prefix) (int, error) { say("forget", ps); <-walking; return 0, nil },
		func(err error) { t.Error(err) })
	events := make(chan firewallEvent, 100)
	w := newFirewallWorker(be, nil, c, events)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go c.run(ctx)
	done := make(chan struct{})
	go func() { w.run(ctx); close(done) }()
	next := func(want ...string) { // in any order
		t.Helper()
		for len(want) > 0 {
			select {
			case got := <-steps:
				i := slices.Index(want, got)
				if i < 0 {
					t.Fatalf("%q, want %q", got, want)
				}
				want = slices.Delete(want, i, i+1)
			case <-time.After(time.Minute):
				t.Fatalf("no %q", want)
			}
		}
	}
	applied := func() {
		t.Helper()
		select {
		case e := <-events:
			if e.err != nil {
				t.Fatal(e.err)
			}
		case <-time.After(time.Minute):
			t.Fatal("not applied")
		}
	}
	w.reconcile(nil)
	applied()
	w.put([]change{{ban: testBan("192.0.2.1/32")}})
	applied()
	next("close 192.0.2.1/32") // and it hangs there
	w.put([]change{{ban: testBan("192.0.2.2/32")}})
	applied()
	killing <- struct{}{}
	next("forget 192.0.2.1/32", "close 192.0.2.2/32") // and both hang there
	killing <- struct{}{}
	w.put([]change{{ban: testBan("192.0.2.3/32")}})
	applied()
	next("close 192.0.2.3/32")
	killing <- struct{}{}
	w.put([]change{{ban: testBan("192.0.2.4/32")}})
	applied()
	next("close 192.0.2.4/32") // so conntrack's queue has those before
	close(walking)
	next("forget 192.0.2.2/32 192.0.2.3/32")
	close(killing)
	next("forget 192.0.2.4/32")
	c.enable(false)
	w.put([]change{{ban: testBan("192.0.2.5/32")}})
	applied()
	w.finish()
	<-done
	if l := len(c.killing.prefixes); l != 0 {
		t.Errorf("%d prefixes wait to be closed", l)
	}
}

// TestDryrunConnections: a backend that blocks nothing closes no connection.
func TestDryrunConnections(t *testing.T) {
	be, err := dryrun.New([]firewall.Scope{{}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	x := newWorkerTest(t, be)
	x.w.closer.enable(true)
	x.w.reconcile(nil)
	x.next()
	x.ban("192.0.2.1/32")
	x.barrier()
	if l := x.w.closer.killing.prefixes; len(l) != 0 {
		t.Errorf("connections are to be closed: %v", l)
	}
}

// TestConnectionsOfFullSet: a ban that takes effect only through a full set has its connections closed then, and no sooner. One that was
// lifted meanwhile has not.
func TestConnectionsOfFullSet(t *testing.T) {
	a := newTroubled(t, "a")
	a.hang = make(chan struct{})
	x := newWorkerTest(t, a)
	x.w.closer.enable(true)
	closed := func(when string, want ...string) {
		t.Helper()
		c := x.w.closer
		c.mu.Lock()
		defer c.mu.Unlock()
		var got []string
		for _, p := range c.killing.prefixes {
			got = append(got, p.Addr().String())
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: closed %q, want %q", when, got, want)
		}
		c.killing.prefixes = nil
	}
	lift := func(s string) {
		p := netip.MustParsePrefix(s)
		x.full = slices.DeleteFunc(x.full, func(b firewall.Ban) bool { return b.Prefix == p })
		x.w.put([]change{{remove: true, ban: firewall.Ban{Prefix: p}}})
	}
	reconciled := func() {
		t.Helper()
		for e := x.next(); e.change == nil; e = x.next() {
		}
	}
	finished := func() {
		t.Helper()
		a.hang <- struct{}{}
		reconciled()
	}

	// A batch fails.
	x.w.reconcile(nil)
	<-a.hang
	a.set(func() { a.add = errors.New("no batch") })
	x.ban("192.0.2.1/32")
	x.ban("192.0.2.2/32")
	finished()
	if e := x.next(); !e.needFull {
		t.Fatalf("%+v", e)
	}
	<-a.hang
	closed("after the failure", "192.0.2.1", "192.0.2.2") // some of them may be in effect
	finished()
	closed("after the full set", "192.0.2.1", "192.0.2.2")

	// Full sets include what is queued.
	a.set(func() { a.add = nil })
	x.w.reconcile(slices.Clone(x.full))
	<-a.hang
	x.ban("192.0.2.3/32")
	x.ban("192.0.2.4/32")
	lift("192.0.2.4/32")
	x.w.reconcile(slices.Clone(x.full))
	finished()
	<-a.hang
	closed("after a full set from before")
	finished()
	closed("after the full set", "192.0.2.3")

	// It is lifted while the firewall fails.
	a.set(func() { a.hang, a.add, a.reconcile = nil, errors.New("no batch"), errors.New("no room") })
	x.ban("192.0.2.5/32")
	x.ban("192.0.2.6/32")
	x.barrier()
	a.set(func() { a.add, a.reconcile = nil, nil })
	lift("192.0.2.5/32")
	x.barrier()
	closed("after the failures", "192.0.2.5", "192.0.2.6")
	x.later(minPause)
	reconciled()
	closed("after the pause", "192.0.2.6")

	// It is lifted while the full set is applied, or waits; by a change behind it.
	a.set(func() { a.hang = make(chan struct{}) })
	x.w.reconcile(slices.Clone(x.full))
	<-a.hang
	x.ban("192.0.2.7/32")
	x.ban("192.0.2.8/32")
	x.ban("192.0.2.9/32")
	x.w.reconcile(slices.Clone(x.full))
	lift("192.0.2.7/32")
	finished()
	<-a.hang
	lift("192.0.2.8/32")
	finished()
	closed("lifted meanwhile", "192.0.2.9")

	// The same with a repair during the pause after a batch.
	a.set(func() { a.hang, a.add = nil, errors.New("no batch") })
	x.barrier()
	x.ban("192.0.2.10/32")
	reconciled() // the first failure requests it at once
	closed("after the first failure", "192.0.2.10", "192.0.2.10")
	a.set(func() { a.hang = make(chan struct{}) })
	x.w.reconcile(slices.Clone(x.full))
	<-a.hang
	x.ban("192.0.2.11/32")
	x.ban("192.0.2.12/32")
	x.w.inspect(&inspectRequest{want: slices.Clone(x.full), repair: true, answer: make(chan inspectResult, 1)})
	lift("192.0.2.11/32")
	finished()
	if e := x.next(); e.err == nil || e.needFull {
		t.Fatalf("%+v", e)
	}
	<-a.hang
	closed("after the failure", "192.0.2.11", "192.0.2.12")
	finished()
	closed("after the repair", "192.0.2.12")
}
