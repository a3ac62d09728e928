package firewalltest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/firewall"
)

func beforeReconcile(t *testing.T, h *Host, b firewall.Backend) {
	if b.Verify(t.Context()) == nil {
		t.Error("Verify finds nothing wrong before the first Reconcile")
	}
	if b.Add(t.Context(), []firewall.Ban{ban(h, one(v4), "", time.Hour)}) == nil {
		t.Error("Add succeeds before the first Reconcile")
	}
	if ch := reconcile(t, b); !ch.Initial || len(ch.Repaired) != 0 {
		t.Errorf("first Reconcile: %+v, want Initial and nothing repaired", ch)
	}
	if ch := reconcile(t, b); ch.Initial {
		t.Errorf("second Reconcile: %+v, want not Initial", ch)
	}
}

func block(t *testing.T, h *Host, b firewall.Backend) {
	reconcile(t, b)
	reaches(t, h, true, Web, v4, v6)
	add(t, b, ban(h, one(v4), "", time.Hour), ban(h, one(v6), "", time.Hour))
	verify(t, b)
	reaches(t, h, false, Web, v4, v6)
	counted(t, h, b)
	reaches(t, h, true, Web, near4, near6, other4, other6)
	remove(t, b, firewall.Key{Prefix: one(v4)}, firewall.Key{Prefix: one(v6)}, firewall.Key{Prefix: one(other4)})
	verify(t, b)
	reaches(t, h, true, Web, v4, v6)
	if l := list(t, b); len(l) != 0 {
		t.Errorf("left over: %v", l)
	}
}

// counted: packets of both families were blocked by rules of the scope of everything, and DropCounters and Inspect agree.
func counted(t *testing.T, h *Host, b firewall.Backend) {
	t.Helper()
	l, err := b.DropCounters(t.Context())
	if err != nil || (l != nil) != h.Counts {
		t.Errorf("counters: %v, %v", l, err)
	}
	if !h.Counts {
		return
	}
	sets := 0
	for _, s := range l {
		switch {
		case s.Scope != "" && s.Packets > 0:
			t.Errorf("a rule about ports counted: %+v", s)
		case s.Packets > 0 && s.Bytes > s.Packets:
			sets++
		}
	}
	if sets != 2 {
		t.Errorf("%d sets counted, want one for each family: %+v", sets, l)
	}
	in, err := b.Inspect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range in.Sets { // meanwhile banned addresses send only what they send again
		i := slices.IndexFunc(l, func(x firewall.DropCounter) bool { return x.Set == s.Name })
		if i < 0 || !s.Counted || s.Scope != l[i].Scope || s.Packets < l[i].Packets {
			t.Errorf("inspected: %+v; of %+v", s, l)
		}
	}
}

func scopes(t *testing.T, h *Host, b firewall.Backend) {
	reconcile(t, b, ban(h, one(v4), "sshd", time.Hour), ban(h, one(v6), "sshd", time.Hour),
		ban(h, one(near4), "mail", time.Hour), ban(h, one(near6), "mail", time.Hour))
	reaches(t, h, false, SSH, v4, v6)
	reaches(t, h, true, Mail, v4, v6)
	reaches(t, h, true, Web, v4, v6, near4, near6)
	reaches(t, h, true, SSH, near4, near6)
	reaches(t, h, false, Mail, near4, near6)
	reaches(t, h, false, 587, near4)

	// The same prefix in two scopes is two elements.
	add(t, b, ban(h, one(v4), "mail", time.Hour))
	remove(t, b, firewall.Key{Prefix: one(v4), Scope: "sshd"})
	reaches(t, h, true, SSH, v4)
	reaches(t, h, false, Mail, v4)

	// A named scope without ports blocks everything, whatever the other one of that kind holds.
	reconcile(t, b, ban(h, one(v4), "fleet", time.Hour), ban(h, one(v6), "fleet", time.Hour), ban(h, one(v4), "", time.Hour))
	reaches(t, h, false, Web, v4, v6)
	remove(t, b, firewall.Key{Prefix: one(v4), Scope: ""})
	reaches(t, h, false, SSH, v4, v6)
	remove(t, b, firewall.Key{Prefix: one(v4), Scope: "fleet"}, firewall.Key{Prefix: one(v6), Scope: "fleet"})
	reaches(t, h, true, Web, v4, v6)
}

// datagrams: UDP is blocked by a ban of everything and by one of its port, but not by one of a TCP port.
func datagrams(t *testing.T, h *Host, b firewall.Backend) {
	answered := func(want bool, port uint16, from ...netip.Addr) {
		t.Helper()
		for i, got := range h.Answered(t, port, from) {
			if got != want {
				t.Errorf("a datagram of %v to port %d is answered: %v, want %v", from[i], port, got, want)
			}
		}
	}
	reconcile(t, b)
	answered(true, Web, v4, v6, near4)
	reconcile(t, b, ban(h, one(v4), "", time.Hour), ban(h, netip.MustParsePrefix("2001:db8:a:1::/64"), "", time.Hour), ban(h, one(near4), "sshd", time.Hour),
		ban(h, one(other4), "mail", time.Hour), ban(h, one(other6), "mail", time.Hour))
	answered(false, Web, v4, v6, near6)
	answered(false, Mail, v4, v6, other4, other6)
	answered(true, SSH, near4, other4, other6)
	answered(true, 587, other4, other6) // the scope has TCP's port 587 alone
	reaches(t, h, false, SSH, near4)
	reaches(t, h, false, 587, other4, other6)
	remove(t, b, firewall.Key{Prefix: one(v4)}, firewall.Key{Prefix: one(other4), Scope: "mail"}, firewall.Key{Prefix: one(other6), Scope: "mail"})
	answered(true, Web, v4)
	answered(true, Mail, v4, other4, other6)
}

func prefixes(t *testing.T, h *Host, b firewall.Backend) {
	reconcile(t, b, ban(h, netip.MustParsePrefix("192.0.2.0/24"), "", time.Hour), ban(h, netip.MustParsePrefix("2001:db8:a:1::/64"), "", time.Hour))
	reaches(t, h, false, Web, v4, near4, v6, near6)
	reaches(t, h, true, Web, other4, other6, netip.MustParseAddr("2001:db8:a:2::7"))
}

func overlap(t *testing.T, h *Host, b firewall.Backend) {
	wide4, wide6 := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:a:1::/64")
	reconcile(t, b, ban(h, one(v4), "", time.Hour), ban(h, wide4, "", time.Hour), ban(h, one(v6), "", time.Hour), ban(h, wide6, "", time.Hour))
	remove(t, b, firewall.Key{Prefix: wide4}, firewall.Key{Prefix: wide6})
	reaches(t, h, false, Web, v4, v6)
	reaches(t, h, true, Web, near4, near6)
	add(t, b, ban(h, wide4, "", time.Hour), ban(h, wide6, "", time.Hour))
	remove(t, b, firewall.Key{Prefix: one(v4)}, firewall.Key{Prefix: one(v6)})
	reaches(t, h, false, Web, v4, v6, near4, near6)
	verify(t, b)
}

// overlapEnds: of bans within each other each ends by itself, and the others stay in effect.
func overlapEnds(t *testing.T, h *Host, b firewall.Backend) {
	wide, mid, wide6 := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.0/28"), netip.MustParsePrefix("2001:db8:a::/48")
	soon := soon(t, b)
	reconcile(t, b, ban(h, wide, "", soon), ban(h, mid, "", time.Hour), ban(h, one(v4), "", 0))
	add(t, b, ban(h, one(v6), "", soon), ban(h, wide6, "", time.Hour))
	far4 := netip.MustParseAddr("192.0.2.200") // in wide alone
	reaches(t, h, false, Web, v4, near4, far4, v6, near6)
	h.Wait(t, func() bool { return len(list(t, b)) == 3 })
	reaches(t, h, true, Web, far4)
	reaches(t, h, false, Web, v4, near4, v6, near6)
	remove(t, b, firewall.Key{Prefix: mid})
	reaches(t, h, true, Web, near4)
	reaches(t, h, false, Web, v4)
	remove(t, b, firewall.Key{Prefix: wide6}, firewall.Key{Prefix: one(v4)})
	reaches(t, h, true, Web, v4, v6)
	verify(t, b)
}

func expiry(t *testing.T, h *Host, b firewall.Backend) {
	soon := soon(t, b)
	reconcile(t, b, ban(h, one(v4), "", soon), ban(h, one(v6), "", time.Hour))
	add(t, b, ban(h, one(other4), "", soon))
	reaches(t, h, false, Web, v4, other4, v6)
	h.Wait(t, func() bool { return len(list(t, b)) == 1 })
	reaches(t, h, true, Web, v4, other4)
	reaches(t, h, false, Web, v6)
	verify(t, b)

	// As packets see it: not before the end, and not long after.
	end := h.Now().Add(soon)
	add(t, b, firewall.Ban{Prefix: one(v4), Until: end})
	h.Wait(t, func() bool {
		late := h.Now().Sub(end)
		verify(t, b) // a backend without timeouts removes what is over
		through := h.Reaches(t, Web, []netip.Addr{v4})[0]
		if !through && late > 3*time.Second {
			t.Errorf("is still blocked %v after the end of the ban", late)
		}
		return through
	})
	if early := end.Sub(h.Now()); early > 0 {
		t.Errorf("got through %v before the end of the ban", early)
	}
}

func reban(t *testing.T, h *Host, b firewall.Backend) {
	soon := soon(t, b)
	reconcile(t, b, ban(h, one(v4), "", soon), ban(h, one(near4), "", time.Hour), ban(h, one(v6), "", 0))
	longer := ban(h, one(v4), "", time.Hour)
	begin := time.Now()
	add(t, b, longer, ban(h, one(near4), "", soon), ban(h, one(v6), "", soon))
	slow := time.Since(begin) // the kernel counts from when it takes an element
	if end := list(t, b)[longer.Key()]; end.Sub(longer.Until).Abs() > 6*time.Second+slow {
		t.Errorf("ends at %v, want %v", end, longer.Until)
	}
	h.Wait(t, func() bool { return len(list(t, b)) == 1 })
	reaches(t, h, false, Web, v4)
	reaches(t, h, true, Web, near4, v6)
	verify(t, b)
}

func over(t *testing.T, h *Host, b firewall.Backend) {
	past := firewall.Ban{Prefix: one(v4), Until: h.Now().Add(-time.Second)}
	if ch := reconcile(t, b, past); ch.Added != 0 {
		t.Errorf("a ban that is over was added: %+v", ch)
	}
	add(t, b, ban(h, one(v4), "", time.Hour))
	add(t, b, past) // replaces Until
	if l := list(t, b); len(l) != 0 {
		t.Errorf("bans that are over are in: %v", l)
	}
	reaches(t, h, true, Web, v4)
	verify(t, b)
}

func refused(t *testing.T, h *Host, b firewall.Backend) {
	reconcile(t, b, ban(h, one(v4), "", time.Hour))
	for _, p := range []netip.Prefix{
		{}, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"),
		netip.MustParsePrefix("::ffff:192.0.2.0/120"), netip.MustParsePrefix("192.0.2.7/24"),
	} {
		x := firewall.Ban{Prefix: p}
		errs := []error{b.Add(t.Context(), []firewall.Ban{x}), b.Remove(t.Context(), []firewall.Key{x.Key()})}
		_, err := b.Reconcile(t.Context(), []firewall.Ban{x})
		for _, err := range append(errs, err) {
			if err == nil || !strings.Contains(err.Error(), p.String()) {
				t.Errorf("%v: error %v, want one that names it", p, err)
			}
		}
	}
	if err := b.Add(t.Context(), []firewall.Ban{ban(h, one(v4), "nobody", time.Hour)}); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("unknown scope: error %v, want one that names it", err)
	}
	verify(t, b)
	reaches(t, h, false, Web, v4)
}

func idempotent(t *testing.T, h *Host, b firewall.Backend) {
	want := []firewall.Ban{
		ban(h, one(v4), "", time.Hour), ban(h, one(v6), "sshd", 0), ban(h, one(near4), "mail", 400*24*time.Hour),
		ban(h, one(near4), "mail", 400*24*time.Hour), // twice
	}
	if ch := reconcile(t, b, want...); ch.Added != 3 || ch.Removed+ch.Refreshed != 0 {
		t.Errorf("into nothing: %+v, want 3 added", ch)
	}
	if ch := reconcile(t, b, want...); ch.Added+ch.Removed+ch.Refreshed+len(ch.Repaired) != 0 || ch.Initial {
		t.Errorf("the same again: %+v, want no change", ch)
	}
	want[0].Until = want[0].Until.Add(time.Minute)
	if ch := reconcile(t, b, want...); ch.Refreshed != 1 || ch.Added+ch.Removed != 0 {
		t.Errorf("one that ends later: %+v, want 1 refreshed", ch)
	}
	want[1].Until = h.Now().Add(time.Hour)
	if ch := reconcile(t, b, want...); ch.Refreshed != 1 || ch.Added+ch.Removed != 0 {
		t.Errorf("one that is no longer forever: %+v, want 1 refreshed", ch)
	}
	want[1] = ban(h, one(v6), "", time.Hour)
	if ch := reconcile(t, b, want...); ch.Added != 1 || ch.Removed != 1 || ch.Refreshed != 0 {
		t.Errorf("one in another scope: %+v, want 1 added, 1 removed", ch)
	}
	if ch := reconcile(t, b); ch.Removed != 3 || ch.Added+ch.Refreshed != 0 {
		t.Errorf("nothing wanted: %+v, want 3 removed", ch)
	}
}

func restart(t *testing.T, h *Host, b firewall.Backend) {
	want := []firewall.Ban{ban(h, one(v4), "", time.Hour), ban(h, one(v6), "", time.Hour)}
	reconcile(t, b, want...)
	gone := h.New(t)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	reaches(t, h, false, Web, v4, v6)
	next := h.New(t)
	defer next.Close()
	if ch := reconcile(t, next, want...); ch.Initial || ch.Added+ch.Removed+ch.Refreshed+len(ch.Repaired) != 0 {
		t.Errorf("after a restart: %+v, want no change", ch)
	}
	reaches(t, h, false, Web, v4, v6)
	reaches(t, h, true, Web, near4, near6)
}

func forever(t *testing.T, h *Host, b firewall.Backend) {
	reconcile(t, b)
	add(t, b, ban(h, one(v4), "", 0), ban(h, one(v6), "", 0))
	for k, u := range list(t, b) {
		if !u.IsZero() {
			t.Errorf("%v ends at %v, want never", k, u)
		}
	}
	reaches(t, h, false, Web, v4, v6)
}

// moved: a ban that moves from one scope to another blocks all the time, however many move with it.
func moved(t *testing.T, h *Host, b firewall.Backend) {
	if !h.Steady {
		t.Skip("bans may be without effect for a moment")
	}
	n := 10_000
	bans := func(scope string) []firewall.Ban {
		l := make([]firewall.Ban, 0, n+1)
		for i := range n {
			l = append(l, ban(h, one(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), scope, time.Hour))
		}
		return append(l, ban(h, one(v4), scope, time.Hour))
	}
	from := []string{"", "fleet"}
	reconcile(t, b, bans("fleet")...)
	over := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			default:
				reaches(t, h, false, Web, slices.Repeat([]netip.Addr{v4}, 50)...)
			}
		}
	}()
	for i := range 8 {
		reconcile(t, b, bans(from[i%2])...)
	}
	close(over)
	<-done
}

func many(t *testing.T, h *Host, b firewall.Backend) {
	total := Many
	if h.Many != 0 {
		total = h.Many
	}
	want := make([]firewall.Ban, 0, total)
	for i := range total {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		p := one(a)
		if i%4 == 0 {
			x := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0xff, byte(i >> 16), byte(i >> 8), byte(i)}
			p = netip.PrefixFrom(netip.AddrFrom16(x), 64)
		}
		want = append(want, ban(h, p, Scopes[i%len(Scopes)].Name, time.Hour+time.Duration(i)*time.Millisecond))
	}
	few := want[:total/10]
	if ch := reconcile(t, b, few...); ch.Added != len(few) {
		t.Errorf("%d: %+v", len(few), ch)
	}
	begin := time.Now()
	if err := b.Add(t.Context(), want[len(few):]); err != nil {
		t.Fatal(err)
	}
	slow := time.Since(begin) // the kernel counts from when it takes an element
	verify(t, b)
	have := list(t, b)
	if len(have) != total {
		t.Fatalf("%d elements, want %d", len(have), total)
	}
	for _, w := range want {
		if u, ok := have[w.Key()]; !ok || u.Sub(w.Until).Abs() > 6*time.Second+slow {
			t.Fatalf("%v: in %v, until %v, want %v", w.Key(), ok, u, w.Until)
		}
	}
	if ch := reconcile(t, b, want...); ch.Added+ch.Removed != 0 || ch.Refreshed != 0 && slow < 4*time.Second {
		t.Errorf("the same again: %+v", ch)
	}
	half := slices.Concat(want[:total/2], []firewall.Ban{ban(h, one(v4), "", time.Hour)})
	if ch := reconcile(t, b, half...); ch.Added != 1 || ch.Removed != total/2 || ch.Refreshed != 0 {
		t.Errorf("half of them: %+v", ch)
	}
	reaches(t, h, false, Web, v4)
	reaches(t, h, true, Web, near4)
	keys := make([]firewall.Key, len(half))
	for i, w := range half {
		keys[i] = w.Key()
	}
	remove(t, b, keys...)
	verify(t, b)
	if l := list(t, b); len(l) != 0 {
		t.Errorf("%d left", len(l))
	}
}

func cancelled(t *testing.T, h *Host, b firewall.Backend) {
	reconcile(t, b)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := b.Add(ctx, []firewall.Ban{ban(h, one(v4), "", time.Hour)}); !errors.Is(err, context.Canceled) {
		t.Errorf("Add with a cancelled context: %v", err)
	}
	if _, err := b.Reconcile(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Reconcile with a cancelled context: %v", err)
	}
	if err := b.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify with a cancelled context: %v", err)
	}
	verify(t, b)
}

func cleanup(t *testing.T, h *Host, b firewall.Backend) {
	reconcile(t, b, ban(h, one(v4), "", time.Hour), ban(h, one(v6), "sshd", time.Hour))
	if err := b.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := h.Leftover(t); s != "" {
		t.Errorf("left over:\n%s", s)
	}
	reaches(t, h, true, Web, v4)
	if err := b.Cleanup(t.Context()); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	if ch := reconcile(t, b); !ch.Initial {
		t.Errorf("after Cleanup: %+v, want Initial", ch)
	}
}

// empty: no ban is left, and a Reconcile puts them back.
func empty(t *testing.T, h *Host, b firewall.Backend) {
	want := []firewall.Ban{ban(h, one(v4), "", time.Hour), ban(h, one(v6), "sshd", 0)}
	reconcile(t, b, want...)
	if err := b.Empty(t.Context()); err != nil {
		t.Fatal(err)
	}
	reaches(t, h, true, Web, v4)
	reaches(t, h, true, SSH, v6)
	if ch := reconcile(t, b, want...); ch.Added != len(want) {
		t.Errorf("after Empty: %+v, want %d added", ch, len(want))
	}
	reaches(t, h, false, Web, v4)
}

// watch ends with its context. What it notices is for each backend's own tests.
func watch(t *testing.T, h *Host, b firewall.Backend) {
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := b.Watch(ctx, func() {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Watch ended with %v", err)
	}
}
