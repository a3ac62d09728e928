package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"bailiff/policy"
	"bailiff/units/control"
)

// TestEvents follows a daemon's events: each failure, the ban that they lead to, and its end.
func TestEvents(t *testing.T) {
	b := newBench(t)
	b.start()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	events, ended := make(chan control.Event, 100), make(chan error, 1)
	go func() {
		ended <- b.client.Events(ctx, func(e *control.Event) error { events <- *e; return nil })
	}()
	next := func(kind string) control.Event {
		t.Helper()
		for {
			select {
			case e := <-events:
				if e.Kind == "state" { // counts of watched and banned addresses, in between, with each tick
					continue
				}
				if e.Kind != kind {
					t.Fatalf("%+v, want a %s", e, kind)
				}
				return e
			case err := <-ended:
				t.Fatal(err)
			}
		}
	}
	if e := next("status"); e.Status == nil || len(e.Status.Jails) == 0 || e.Status.Bans != 0 {
		t.Fatalf("%+v", e.Status)
	}
	b.fail("203.0.113.7", 5)
	for i := 1; i <= 5; i++ {
		if e := next("failure"); e.Jail != "sshd" || e.Pattern == "" || e.Address != "203.0.113.7" || e.Prefix != "203.0.113.7/32" || e.Count != i || e.MaxRetry != 5 || e.Attempts != 1 {
			t.Fatalf("%d: %+v", i, e)
		}
	}
	if e := next("ban"); e.Prefix != "203.0.113.7/32" || e.Address != "203.0.113.7" || e.Failures != 5 || e.Count != 1 || e.Until == nil || e.ID == "" {
		t.Fatalf("%+v", e)
	}
	b.did(b.client.Unban(ctx, "203.0.113.7", "", false))
	if e := next("unban"); e.Prefix != "203.0.113.7/32" || e.Reason != "lifted by hand" {
		t.Fatalf("%+v", e)
	}
	b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"198.51.100.9"}, Duration: "forever", Reason: "test"}))
	if e := next("ban"); e.Prefix != "198.51.100.9/32" || e.Until != nil || e.Jail != "manual" || e.Reason != "test" || e.By == "" {
		t.Fatalf("%+v", e)
	}
	b.stop()
	var e *control.Error
	if err := <-ended; !errors.As(err, &e) {
		t.Errorf("the stream ended with %v", err)
	}
}

// TestHub: a subscriber that does not read delays nobody, and learns how many events it missed.
func TestHub(t *testing.T) {
	var h hub
	if h.watched() {
		t.Error("watched by nobody")
	}
	ctx, cancel := context.WithCancel(context.Background())
	slow, quick := h.subscribe(ctx, false), h.subscribe(ctx, false)
	got := 0
	for i := range eventQueue + 100 {
		h.send(control.Event{Kind: "ban", Count: i})
		if e := <-quick; e.Kind != "ban" || e.Count != i {
			t.Fatalf("%d: %+v", i, e)
		}
	}
	for len(slow) > 0 {
		if e := <-slow; e.Count != got {
			t.Fatalf("%d: %+v", got, e)
		}
		got++
	}
	h.flush()
	if e := <-slow; got != eventQueue || e.Kind != "missed" || e.Missed != 100 {
		t.Errorf("%d read, %+v", got, e)
	}
	if h.flush(); len(slow)+len(quick) != 0 {
		t.Error("told twice")
	}
	// In a storm only eventRate failures a second are sent, and the number of the rest.
	quiet := h.subscribe(ctx, true)
	now := time.Now()
	var fs []policy.Failure
	for i := range eventRate + 50 {
		fs = append(fs, policy.Failure{Jail: "sshd", Addr: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), Attempts: 1})
	}
	h.failures(fs, now, func(string) int { return 5 })
	h.failures(fs[:10], now, func(string) int { return 5 })
	h.failures(fs[:1], now.Add(time.Second), func(string) int { return 5 })
	kinds := map[string]int{}
	var missed uint64
	for len(quick) > 0 {
		e := <-quick
		kinds[e.Kind]++
		missed += e.Missed
	}
	if fmt.Sprint(kinds) != fmt.Sprintf("map[failure:%d missed:1]", eventRate+1) || missed != 60 {
		t.Errorf("%v, %d missed", kinds, missed)
	}
	if len(quiet) != 0 {
		t.Errorf("%+v is sent to a subscriber without failures", <-quiet)
	}
	cancel()
	for limit := time.Now().Add(5 * time.Second); h.watched(); {
		if time.Now().After(limit) {
			t.Fatal("a watcher who left is still there")
		}
	}
	h.send(control.Event{Kind: "ban"})
}
