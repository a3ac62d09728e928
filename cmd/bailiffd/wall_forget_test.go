package main

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/dryrun"
)

// TestForgetsAfterClosing: conntrack is told after the sockets are closed, of all bans that came meanwhile at once, and by
// a goroutine that the wall does not wait for.
func TestForgetsAfterClosing(t *testing.T) {
	events := make(chan wallEvent, 100)
	be, err := dryrun.New([]firewall.Scope{{}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	w := newWall(be, events, true)
	steps := make(chan string, 100)
	w.killer = func(_ context.Context, ps []netip.Prefix) (int, error) {
		steps <- "close " + ps[0].String()
		return 0, nil
	}
	busy := make(chan struct{})
	walk := func(_ context.Context, ps []netip.Prefix) (int, error) {
		text := "forget"
		for _, p := range ps {
			text += " " + p.String()
		}
		steps <- text
		<-busy
		return 0, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go w.run(ctx)
	go w.forget(ctx, walk)
	ban := func(s string) firewall.Ban {
		return firewall.Ban{Prefix: netip.MustParsePrefix(s), Until: time.Now().Add(time.Hour)}
	}
	next := func(want string) {
		t.Helper()
		select {
		case got := <-steps:
			if got != want {
				t.Fatalf("%q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no %q", want)
		}
	}
	w.add(ban("192.0.2.1/32"))
	next("close 192.0.2.1/32")
	next("forget 192.0.2.1/32") // and it hangs there
	w.add(ban("192.0.2.2/32"))
	next("close 192.0.2.2/32")
	w.add(ban("192.0.2.3/32"))
	next("close 192.0.2.3/32")
	for w.waiting() < 2 {
		time.Sleep(time.Millisecond)
	}
	close(busy)
	next("forget 192.0.2.2/32 192.0.2.3/32")
}

// waiting is how many prefixes conntrack has yet to be told of.
func (w *wall) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tracks)
}
