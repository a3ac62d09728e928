// Package firewalltest holds the one test that every backend of the firewall passes: on the real kernel with real packets
// between two network namespaces, or on a fake with a clock. It is imported by tests only. Start reading at Test.
package firewalltest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/firewall"
)

// The ports that a Host listens on: SSH and Mail have scopes of their own, Web has none.
const (
	SSH  = 22
	Mail = 25
	Web  = 80
)

// Scopes are what New is asked for: everything, one port, a range of ports with a single one.
var Scopes = []firewall.Scope{
	{Name: ""},
	{Name: "sshd", Ports: []firewall.Port{{Proto: "tcp", From: SSH, To: SSH}}},
	{Name: "mail", Ports: []firewall.Port{{Proto: "tcp", From: 24, To: 26}, {Proto: "tcp", From: 587, To: 587}, {Proto: "udp", From: 25, To: 25}}},
}

// Host is a backend with the world around it.
type Host struct {
	// New returns another backend on the same host, as a restarted daemon would make it.
	New func(t testing.TB) firewall.Backend

	// Reaches tells for each of the remote addresses whether it can open a TCP connection to a port.
	Reaches func(t testing.TB, port uint16, from []netip.Addr) []bool

	// Answered tells for each of the remote addresses whether a UDP datagram to a port is answered.
	Answered func(t testing.TB, port uint16, from []netip.Addr) []bool

	// Now and Wait are the clock that Until is compared with. Wait returns once cond is true, and fails after limit.
	Now  func() time.Time
	Wait func(t testing.TB, limit time.Duration, cond func() bool)

	// Harm is what others may do to the backend's rules and sets, by name. After each of them Verify fails, and
	// Reconcile makes things right and names what it has repaired unless only elements are gone.
	Harm map[string]func(t testing.TB)

	// Squat puts something foreign in the place of what the backend needs, by name, on an empty host, and returns what
	// takes it away and a part of the name that the error must give.
	Squat map[string]func(t testing.TB) (undo func(), name string)

	// Endless says that the backend's host keeps no ends: whoever calls takes out what is over.
	Endless bool

	// Many is how many elements the large case uses, where not contract.Many.
	Many int

	// Leftover lists what of the backend's is on the host.
	Leftover func(t testing.TB) string
}

// Many is how many elements the large cases use.
const Many = 100_000

// Test runs the contract. Each case starts on a host without anything of ours.
func Test(t *testing.T, h *Host) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *Host, firewall.Backend)
	}{
		{"BeforeReconcile", beforeReconcile},
		{"Block", block},
		{"Scopes", scopes},
		{"Datagrams", datagrams},
		{"Prefixes", prefixes},
		{"Overlap", overlap},
		{"OverlapEnds", overlapEnds},
		{"Expiry", expiry},
		{"Reban", reban},
		{"Over", over},
		{"Refused", refused},
		{"Idempotent", idempotent},
		{"Restart", restart},
		{"Forever", forever},
		{"Many", many},
		{"Cancelled", cancelled},
		{"Cleanup", cleanup},
		{"Inspect", inspected},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, h, fresh(t, h)) })
	}
	for name, harm := range h.Harm {
		t.Run("Harm/"+name, func(t *testing.T) { mended(t, h, fresh(t, h), harm) })
	}
	for name, squat := range h.Squat {
		t.Run("Squat/"+name, func(t *testing.T) { squatted(t, h, fresh(t, h), squat) })
	}
}

func fresh(t *testing.T, h *Host) firewall.Backend {
	b := h.New(t)
	if err := b.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Cleanup(context.Background()); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

var (
	v4, v6         = netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8:a:1::7")
	near4, near6   = netip.MustParseAddr("192.0.2.8"), netip.MustParseAddr("2001:db8:a:1::8")
	other4, other6 = netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:b:1::7")
)

// soon is when a ban ends that a test waits for: late enough for a busy host's first look at it.
const soon = 4 * time.Second

func one(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func ban(h *Host, p netip.Prefix, scope string, d time.Duration) firewall.Ban {
	b := firewall.Ban{Prefix: p, Scope: scope}
	if d != 0 {
		b.Until = h.Now().Add(d)
	}
	return b
}

func reconcile(t *testing.T, b firewall.Backend, want ...firewall.Ban) firewall.Change {
	t.Helper()
	ch, err := b.Reconcile(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, b)
	if in := inspect(t, b, want...); !in.Intact() {
		t.Fatalf("after a reconcile differs: %s", Differs(in))
	}
	return ch
}

func inspect(t *testing.T, b firewall.Backend, want ...firewall.Ban) *firewall.Inspection {
	t.Helper()
	in, err := b.Inspect(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// Differs names all that is not as it should be.
func Differs(in *firewall.Inspection) string {
	var l []string
	for _, p := range in.Parts {
		if p.Harm != "" {
			l = append(l, p.Name+" "+p.Harm)
		}
	}
	for _, s := range in.Sets {
		if s.Wrong() {
			l = append(l, fmt.Sprintf("%s %s missing %v strange %v late %v", s.Name, s.Harm, s.Missing.Some, s.Strange.Some, s.Late.Some))
		}
	}
	return strings.Join(l, "; ")
}

func verify(t *testing.T, b firewall.Backend) {
	t.Helper()
	if err := b.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func add(t *testing.T, b firewall.Backend, bans ...firewall.Ban) {
	t.Helper()
	if err := b.Add(t.Context(), bans); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, b firewall.Backend, keys ...firewall.Key) {
	t.Helper()
	if err := b.Remove(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, b firewall.Backend) map[firewall.Key]time.Time {
	t.Helper()
	l, err := b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := make(map[firewall.Key]time.Time, len(l))
	for _, x := range l {
		if _, twice := m[x.Key()]; twice {
			t.Fatalf("%v is listed twice", x.Key())
		}
		m[x.Key()] = x.Until
	}
	return m
}

func reaches(t *testing.T, h *Host, want bool, port uint16, from ...netip.Addr) {
	t.Helper()
	for i, got := range h.Reaches(t, port, from) {
		if got != want {
			t.Errorf("%v reaches port %d: %v, want %v", from[i], port, got, want)
		}
	}
}

func beforeReconcile(t *testing.T, h *Host, b firewall.Backend) {
	if b.Verify(t.Context()) == nil {
		t.Error("Verify is content before anything was set up")
	}
	if b.Add(t.Context(), []firewall.Ban{ban(h, one(v4), "", time.Hour)}) == nil {
		t.Error("Add is content before anything was set up")
	}
	if ch := reconcile(t, b); !ch.First || len(ch.Repaired) != 0 {
		t.Errorf("first Reconcile: %+v, want First and nothing repaired", ch)
	}
	if ch := reconcile(t, b); ch.First {
		t.Errorf("second Reconcile: %+v, want not First", ch)
	}
}

func block(t *testing.T, h *Host, b firewall.Backend) {
	reconcile(t, b)
	reaches(t, h, true, Web, v4, v6)
	add(t, b, ban(h, one(v4), "", time.Hour), ban(h, one(v6), "", time.Hour))
	verify(t, b)
	reaches(t, h, false, Web, v4, v6)
	counted(t, b)
	reaches(t, h, true, Web, near4, near6, other4, other6)
	remove(t, b, firewall.Key{Prefix: one(v4)}, firewall.Key{Prefix: one(v6)}, firewall.Key{Prefix: one(other4)})
	verify(t, b)
	reaches(t, h, true, Web, v4, v6)
	if l := list(t, b); len(l) != 0 {
		t.Errorf("left over: %v", l)
	}
}

// counted: packets of both families were stopped, by rules of everything, and Stopped and Inspect agree about them.
func counted(t *testing.T, b firewall.Backend) {
	t.Helper()
	c, ok := b.(firewall.Counter)
	if !ok {
		return
	}
	l, err := c.Stopped(t.Context())
	if err != nil {
		t.Fatal(err)
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
	for _, s := range in.Sets { // nothing of what is banned is sent meanwhile but what is sent again
		i := slices.IndexFunc(l, func(x firewall.Stopped) bool { return x.Set == s.Name })
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
}

// datagrams: UDP is stopped by a ban of everything, and by that of a port of its own; not by that of a TCP port.
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
	answered(true, 587, other4, other6) // that is TCP's
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

// overlapEnds: of bans within each other each ends by itself, and uncovers the others only.
func overlapEnds(t *testing.T, h *Host, b firewall.Backend) {
	wide, mid, wide6 := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.0/28"), netip.MustParsePrefix("2001:db8:a::/48")
	reconcile(t, b)
	reconcile(t, b, ban(h, wide, "", soon), ban(h, mid, "", time.Hour), ban(h, one(v4), "", 0))
	add(t, b, ban(h, one(v6), "", soon), ban(h, wide6, "", time.Hour))
	far4 := netip.MustParseAddr("192.0.2.200") // in wide alone
	reaches(t, h, false, Web, v4, near4, far4, v6, near6)
	h.Wait(t, 20*time.Second, func() bool { return len(list(t, b)) == 3 })
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
	reconcile(t, b) // sets are made here, which takes some hosts longer than these bans last
	reconcile(t, b, ban(h, one(v4), "", soon), ban(h, one(v6), "", time.Hour))
	add(t, b, ban(h, one(other4), "", soon))
	reaches(t, h, false, Web, v4, other4, v6)
	h.Wait(t, 10*time.Second, func() bool { return len(list(t, b)) == 1 })
	reaches(t, h, true, Web, v4, other4)
	reaches(t, h, false, Web, v6)
	verify(t, b)

	// By packets alone: not before the end, and not long after.
	end := h.Now().Add(soon)
	add(t, b, firewall.Ban{Prefix: one(v4), Until: end})
	h.Wait(t, 10*time.Second, func() bool {
		verify(t, b) // who keeps the ends himself looks then
		return h.Reaches(t, Web, []netip.Addr{v4})[0]
	})
	if off := h.Now().Sub(end); off < 0 || off > 3*time.Second {
		t.Errorf("got through %v after the end of the ban", off)
	}
}

func reban(t *testing.T, h *Host, b firewall.Backend) {
	reconcile(t, b)
	reconcile(t, b, ban(h, one(v4), "", soon), ban(h, one(near4), "", time.Hour), ban(h, one(v6), "", 0))
	add(t, b, ban(h, one(v4), "", time.Hour), ban(h, one(near4), "", soon), ban(h, one(v6), "", soon))
	until(t, h, list(t, b)[firewall.Key{Prefix: one(v4)}], time.Hour)
	h.Wait(t, 10*time.Second, func() bool { return len(list(t, b)) == 1 })
	reaches(t, h, false, Web, v4)
	reaches(t, h, true, Web, near4, v6)
	verify(t, b)
}

// until checks that a ban that was put in with d to go ends when it should, within the tolerance that Reconcile has.
func until(t *testing.T, h *Host, u time.Time, d time.Duration) {
	t.Helper()
	if diff := u.Sub(h.Now().Add(d)).Abs(); diff > 6*time.Second {
		t.Errorf("ends at %v, %v off from %v to go", u, diff, d)
	}
}

func over(t *testing.T, h *Host, b firewall.Backend) {
	past := firewall.Ban{Prefix: one(v4), Until: h.Now().Add(-time.Second)}
	if ch := reconcile(t, b, past); ch.Added != 0 {
		t.Errorf("a ban that is over was added: %+v", ch)
	}
	add(t, b, ban(h, one(v4), "", time.Hour))
	add(t, b, past) // sets Until anew
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
	if ch := reconcile(t, b, want...); ch.Added+ch.Removed+ch.Refreshed+len(ch.Repaired) != 0 || ch.First {
		t.Errorf("the same again: %+v, want no change", ch)
	}
	want[0].Until = want[0].Until.Add(time.Minute)
	if ch := reconcile(t, b, want...); ch.Refreshed != 1 || ch.Added+ch.Removed != 0 {
		t.Errorf("one that ends later: %+v, want 1 refreshed", ch)
	}
	want[1].Until = h.Now().Add(time.Hour)
	if ch := reconcile(t, b, want...); ch.Refreshed != 1 || ch.Added+ch.Removed != 0 {
		t.Errorf("one no longer for ever: %+v, want 1 refreshed", ch)
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
	if ch := reconcile(t, next, want...); ch.First || ch.Added+ch.Removed+ch.Refreshed+len(ch.Repaired) != 0 {
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
	if err := b.Add(t.Context(), want[len(few):]); err != nil {
		t.Fatal(err)
	}
	verify(t, b)
	have := list(t, b)
	if len(have) != total {
		t.Fatalf("%d elements, want %d", len(have), total)
	}
	for _, w := range want {
		if u, ok := have[w.Key()]; !ok || u.Sub(w.Until).Abs() > 6*time.Second {
			t.Fatalf("%v: in %v, until %v, want %v", w.Key(), ok, u, w.Until)
		}
	}
	if ch := reconcile(t, b, want...); ch.Added+ch.Removed+ch.Refreshed != 0 {
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
	if ch := reconcile(t, b); !ch.First {
		t.Errorf("after Cleanup: %+v, want First", ch)
	}
}

// inspected: every element that differs is named, and looking changes nothing.
func inspected(t *testing.T, h *Host, b firewall.Backend) {
	if in := inspect(t, b, ban(h, one(v4), "", time.Hour)); in.Intact() || len(in.Parts)+len(in.Sets) == 0 {
		t.Errorf("before the first reconcile: %+v", in)
	}
	held := []firewall.Ban{ban(h, one(v4), "", time.Hour), ban(h, one(v6), "", 0), ban(h, one(v4), "sshd", time.Hour), ban(h, one(other4), "", 2*time.Hour)}
	reconcile(t, b, held...)
	before := h.Leftover(t)
	wide := netip.MustParsePrefix("192.0.2.128/25")
	in := inspect(t, b, held[0], held[1], ban(h, one(near4), "", time.Hour), ban(h, wide, "mail", time.Hour))
	missing, strange := make(map[firewall.Key]bool), make(map[firewall.Key]bool)
	have, forever := 0, 0
	next := time.Time{}
	for _, s := range in.Sets {
		for _, p := range s.Missing.Some {
			missing[firewall.Key{Prefix: p, Scope: s.Scope}] = true
		}
		for _, p := range s.Strange.Some {
			strange[firewall.Key{Prefix: p, Scope: s.Scope}] = true
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
	if want := map[firewall.Key]bool{{Prefix: one(v4), Scope: "sshd"}: true, {Prefix: one(other4)}: true}; !maps.Equal(strange, want) {
		t.Errorf("strange %v, want %v", strange, want)
	}
	if off := next.Sub(held[0].Until).Abs(); have != len(held) || forever != 1 || off > 10*time.Second {
		t.Errorf("%d elements, %d for ever, the next ends %v", have, forever, next)
	}
	if after := h.Leftover(t); after != before {
		t.Errorf("looking changed\n%sinto\n%s", before, after)
	}
	late := inspect(t, b, held[0], held[1], held[2], ban(h, one(other4), "", 3*time.Hour))
	if n := late.Sets; !h.Endless && late.Intact() {
		t.Errorf("another end went unnoticed: %+v", n)
	}
	for _, s := range late.Sets {
		if s.Late.N > 0 && (s.Late.N != 1 || s.Late.Some[0] != one(other4)) || s.Missing.N+s.Strange.N > 0 {
			t.Errorf("with another end: %+v", s)
		}
	}
	verify(t, b)
	if gone, err := b.Evict(t.Context()); len(gone) > 0 || err != nil {
		t.Errorf("Evict of nothing foreign: %q, %v", gone, err)
	}
	verify(t, b)
	reaches(t, h, false, Web, v4, other4)
}

func mended(t *testing.T, h *Host, b firewall.Backend, harm func(testing.TB)) {
	want := []firewall.Ban{ban(h, one(v4), "", time.Hour), ban(h, one(v6), "", time.Hour), ban(h, one(v4), "sshd", time.Hour), ban(h, one(v6), "mail", time.Hour)}
	reconcile(t, b, want...)
	harm(t)
	if err := b.Verify(t.Context()); err == nil {
		t.Fatal("Verify noticed nothing")
	} else {
		t.Log("noticed:", err)
	}
	if in := inspect(t, b, want...); in.Intact() {
		t.Error("Inspect finds nothing")
	} else {
		t.Log("inspected:", Differs(in))
	}
	ch := reconcile(t, b, want...)
	t.Logf("mended: %+v", ch)
	if ch.First || ch.Added+ch.Removed+ch.Refreshed+len(ch.Repaired) == 0 {
		t.Errorf("mended: %+v, want what was repaired", ch)
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
	if in := inspect(t, b, ban(h, one(v4), "", time.Hour)); in.Intact() || !strings.Contains(Differs(in), name) {
		t.Errorf("inspected: %s, want that it names %s", Differs(in), name)
	} else {
		t.Log("inspected:", Differs(in))
	}
	undo()
	if ch := reconcile(t, b, ban(h, one(v4), "", time.Hour)); !ch.First {
		t.Errorf("once it is gone: %+v, want First", ch)
	}
	reaches(t, h, false, Web, v4)

	// Who says so has it taken away.
	if err := b.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	squat(t)
	if gone, err := b.Evict(t.Context()); err != nil || len(gone) != 1 || !strings.Contains(gone[0], name) {
		t.Errorf("Evict: %q, %v, want %s", gone, err, name)
	}
	reconcile(t, b, ban(h, one(v4), "", time.Hour))
	reaches(t, h, false, Web, v4)
}

// Look measures what looking costs a backend that holds want: Verify, List, Inspect, and a Reconcile that finds nothing to
// do.
func Look(b *testing.B, be firewall.Backend, want []firewall.Ban) {
	for name, look := range map[string]func(context.Context) error{
		"Verify": be.Verify,
		"List": func(ctx context.Context) error {
			_, err := be.List(ctx)
			return err
		},
		"Inspect": func(ctx context.Context) error {
			in, err := be.Inspect(ctx, want)
			if err == nil && !in.Intact() {
				err = errors.New(Differs(in))
			}
			return err
		},
		"Reconcile": func(ctx context.Context) error {
			ch, err := be.Reconcile(ctx, want)
			if err == nil && ch.Added+ch.Removed+ch.Refreshed != 0 {
				err = fmt.Errorf("%+v", ch)
			}
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := look(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
