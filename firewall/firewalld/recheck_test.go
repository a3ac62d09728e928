package firewalld

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"
)

// TestRecheck: panic mode and another default zone are noticed, everything is checked again, and bans are in effect as before.
func TestRecheck(t *testing.T) {
	needFirewalld(t)
	fewSets(t)
	trust(t)
	w := firewalltest.NewWire(t, firewalltest.Web)
	b := newBackend(t, Options{})
	t.Cleanup(func() {
		if err := b.Cleanup(context.Background()); err != nil {
			t.Error(err)
		}
		b.Close()
	})
	banned, near := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
	want := []firewall.Ban{{Prefix: netip.PrefixFrom(banned, 32), Until: time.Now().Add(time.Hour)}}
	if _, err := b.Reconcile(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	told := make(chan struct{}, 1024)
	end := make(chan error)
	go func() { end <- b.Watch(ctx, func() { told <- struct{}{} }) }()
	<-told // it listens
	if err := b.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	look := func(when, first, second string) {
		t.Helper()
		if s := w.Connect(t, firewalltest.Web, banned, near); s[0] != first || s[1] != second {
			t.Errorf("%s: banned %s, near %s; want %s, %s", when, s[0], s[1], first, second)
		}
	}
	look("before", "silent", "open")
	for _, c := range []struct {
		name   string
		before func(testing.TB)
		upset  func(testing.TB)
		why    string
		near   string
	}{
		{"panic", does(busName + ".enablePanicMode"), does(busName + ".disablePanicMode"), "panic mode", "open"},
		{"closed zone", nil, does(busName+".setDefaultZone", "s", "drop"), "default zone", "silent"},
		{"open zone", nil, does(busName+".setDefaultZone", "s", "trusted"), "default zone", "open"},
	} {
		if c.before != nil {
			c.before(t)
			look(c.name+", before", "silent", "silent")
			if err := b.Add(t.Context(), want); err != nil { // firewalld itself goes on
				t.Error(err)
			}
		}
		for len(told) > 0 {
			<-told
		}
		c.upset(t)
		select {
		case <-told:
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: nothing was heard", c.name)
		}
		// firewalld 2.3 reloads for another default zone, which says more.
		if err := b.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), c.why) && !(c.why == "default zone" && errors.Is(err, errReloaded)) {
			t.Errorf("%s: Verify: %v, want that it speaks of the %s", c.name, err, c.why)
		}
		if ch, err := b.Reconcile(t.Context(), want); err != nil || len(ch.Repaired) > 0 {
			t.Errorf("%s: Reconcile: %+v, %v; want that all stood", c.name, ch, err)
		}
		err := b.Verify(t.Context())
		if c.why == "default zone" && errors.Is(err, errReloaded) { // it had not reloaded yet when it told of the zone
			if _, err = b.Reconcile(t.Context(), want); err == nil {
				err = b.Verify(t.Context())
			}
		}
		if err != nil {
			t.Errorf("%s, after Reconcile: %v", c.name, err)
		}
		look(c.name, "silent", c.near)
	}
	stop()
	<-end
}
