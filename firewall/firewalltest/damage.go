package firewalltest

import (
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"bailiff/firewall"
)

// inspected: every element that differs is listed, and Inspect changes nothing.
func inspected(t *testing.T, h *Host, b firewall.Backend) {
	if in := inspect(t, b, ban(h, one(v4), "", time.Hour)); in.OK() || len(in.Objects)+len(in.Sets) == 0 {
		t.Errorf("before the first reconcile: %+v", in)
	}
	held := []firewall.Ban{ban(h, one(v4), "", time.Hour), ban(h, one(v6), "", 0), ban(h, one(v4), "sshd", time.Hour), ban(h, one(other4), "", 2*time.Hour)}
	reconcile(t, b, held...)
	before := h.Leftover(t)
	wide := netip.MustParsePrefix("192.0.2.128/25")
	in := inspect(t, b, held[0], held[1], ban(h, one(near4), "", time.Hour), ban(h, wide, "mail", time.Hour))
	missing, unexpected := make(map[firewall.Key]bool), make(map[firewall.Key]bool)
	have, forever := 0, 0
	next := time.Time{}
	for _, s := range in.Sets {
		for _, p := range s.Missing.Some {
			missing[firewall.Key{Prefix: p, Scope: s.Scope}] = true
		}
		for _, p := range s.Unexpected.Some {
			unexpected[firewall.Key{Prefix: p, Scope: s.Scope}] = true
		}
		have += s.Have
		forever += s.Forever
		if !s.Next.IsZero() && (next.IsZero() || s.Next.Before(next)) {
			next = s.Next
		}
	}
	if want := map[firewall.Key]bool{{Prefix: one(near4)}: true, {Prefix: wide, Scope: "mail"}: true}; !maps.Equal(missing, want) {
		t.Errorf("missing %v, want %v", missing, want)
	}
	if want := map[firewall.Key]bool{{Prefix: one(v4), Scope: "sshd"}: true, {Prefix: one(other4)}: true}; !maps.Equal(unexpected, want) {
		t.Errorf("unexpected %v, want %v", unexpected, want)
	}
	if off := next.Sub(held[0].Until).Abs(); have != len(held) || forever != 1 || off > 10*time.Second {
		t.Errorf("%d elements, %d forever, the next expires %v", have, forever, next)
	}
	if after := h.Leftover(t); after != before {
		t.Errorf("Inspect changed\n%sinto\n%s", before, after)
	}
	otherEnd := inspect(t, b, held[0], held[1], held[2], ban(h, one(other4), "", 3*time.Hour))
	if n := otherEnd.Sets; !h.Endless && otherEnd.OK() {
		t.Errorf("another end went unnoticed: %+v", n)
	}
	for _, s := range otherEnd.Sets {
		if s.WrongTimeout.N > 0 && (s.WrongTimeout.N != 1 || s.WrongTimeout.Some[0] != one(other4)) || s.Missing.N+s.Unexpected.N > 0 {
			t.Errorf("with another end: %+v", s)
		}
	}
	verify(t, b)
	if gone, err := b.RemoveForeign(t.Context()); len(gone) > 0 || err != nil {
		t.Errorf("RemoveForeign of nothing foreign: %q, %v", gone, err)
	}
	verify(t, b)
	reaches(t, h, false, Web, v4, other4)
}

func repaired(t *testing.T, h *Host, b firewall.Backend, damage func(testing.TB)) {
	want := []firewall.Ban{ban(h, one(v4), "", time.Hour), ban(h, one(v6), "", time.Hour), ban(h, one(v4), "sshd", time.Hour), ban(h, one(v6), "mail", time.Hour)}
	reconcile(t, b, want...)
	damage(t)
	if err := b.Verify(t.Context()); err == nil {
		t.Fatal("Verify noticed nothing")
	} else {
		t.Log("noticed:", err)
	}
	if in := inspect(t, b, want...); in.OK() {
		t.Error("Inspect finds nothing")
	} else {
		t.Log("inspected:", Differs(in))
	}
	ch := reconcile(t, b, want...)
	t.Logf("repaired: %+v", ch)
	if ch.Initial || ch.Added+ch.Removed+ch.Refreshed+len(ch.Repaired) == 0 {
		t.Errorf("repaired: %+v, want what was repaired", ch)
	}
	reaches(t, h, false, Web, v4, v6)
	reaches(t, h, true, Web, near4, near6)
	if l := list(t, b); len(l) != len(want) {
		t.Errorf("%d elements, want %d", len(l), len(want))
	}
	if ch := reconcile(t, b, want...); ch.Added+ch.Removed+ch.Refreshed+len(ch.Repaired) != 0 {
		t.Errorf("once more: %+v, want no change", ch)
	}
}

func squatted(t *testing.T, h *Host, b firewall.Backend, squat func(testing.TB) (func(), string)) {
	undo, name := squat(t)
	before := h.Leftover(t)
	_, err := b.Reconcile(t.Context(), []firewall.Ban{ban(h, one(v4), "", time.Hour)})
	var foreign *firewall.ForeignError
	if !errors.As(err, &foreign) || !strings.Contains(foreign.Name, name) {
		t.Errorf("error %v, want a ForeignError that names %s", err, name)
	}
	if after := h.Leftover(t); after != before {
		t.Errorf("was not left untouched: before\n%safter\n%s", before, after)
	}
	if err := b.Cleanup(t.Context()); !errors.As(err, &foreign) {
		t.Errorf("Cleanup over it: %v, want a ForeignError", err)
	}
	if after := h.Leftover(t); after != before {
		t.Errorf("Cleanup did not leave it: before\n%safter\n%s", before, after)
	}
	if in := inspect(t, b, ban(h, one(v4), "", time.Hour)); in.OK() || !strings.Contains(Differs(in), name) {
		t.Errorf("inspected: %s, want that it names %s", Differs(in), name)
	} else {
		t.Log("inspected:", Differs(in))
	}
	undo()
	if ch := reconcile(t, b, ban(h, one(v4), "", time.Hour)); !ch.Initial {
		t.Errorf("once it is gone: %+v, want Initial", ch)
	}
	reaches(t, h, false, Web, v4)

	// On request it is removed.
	if err := b.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	squat(t)
	if gone, err := b.RemoveForeign(t.Context()); err != nil || len(gone) != 1 || !strings.Contains(gone[0], name) {
		t.Errorf("RemoveForeign: %q, %v, want %s", gone, err, name)
	}
	reconcile(t, b, ban(h, one(v4), "", time.Hour))
	reaches(t, h, false, Web, v4)
}
