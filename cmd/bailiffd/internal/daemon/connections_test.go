package daemon

import (
	"context"
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
	w.add(testBan("192.0.2.1/32"))
	applied()
	next("close 192.0.2.1/32") // and it hangs there
	w.add(testBan("192.0.2.2/32"))
	applied()
	killing <- struct{}{}
	next("forget 192.0.2.1/32", "close 192.0.2.2/32") // and both hang there
	killing <- struct{}{}
	w.add(testBan("192.0.2.3/32"))
	applied()
	next("close 192.0.2.3/32")
	killing <- struct{}{}
	w.add(testBan("192.0.2.4/32"))
	applied()
	next("close 192.0.2.4/32") // so conntrack's queue has those before
	close(walking)
	next("forget 192.0.2.2/32 192.0.2.3/32")
	close(killing)
	next("forget 192.0.2.4/32")
	c.enable(false)
	w.add(testBan("192.0.2.5/32"))
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
