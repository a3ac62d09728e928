// Package firewalltest holds the suite that every firewall backend passes: on the real kernel with real packets between two
// network namespaces, or in memory with a clock. It is imported by tests only. Start reading at Test; the cases are in cases.go
// and damage.go, the namespaces in netns.go.
package firewalltest

import (
	"context"
	"fmt"
	"net/netip"
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

// Scopes are the scopes that New is called with: everything, one port, a range of ports beside single ones, and everything once
// more under a name.
var Scopes = []firewall.Scope{
	{Name: ""},
	{Name: "sshd", Ports: []firewall.Port{{Proto: "tcp", From: SSH, To: SSH}}},
	{Name: "mail", Ports: []firewall.Port{{Proto: "tcp", From: 24, To: 26}, {Proto: "tcp", From: 587, To: 587}, {Proto: "udp", From: 25, To: 25}}},
	{Name: "fleet"},
}

// Host is a backend and the host that it protects.
type Host struct {
	// New returns another backend on the same host, as a restarted daemon would create it.
	New func(t testing.TB) firewall.Backend

	// Reaches reports for each remote address whether it can open a TCP connection to a port.
	Reaches func(t testing.TB, port uint16, from []netip.Addr) []bool

	// Answered reports for each remote address whether a UDP datagram to a port is answered.
	Answered func(t testing.TB, port uint16, from []netip.Addr) []bool

	// Now and Wait are the clock that Until is compared with; nil: time.Now and Wait of this package. Wait returns once cond is
	// true, and fails after a minute.
	Now  func() time.Time
	Wait func(t testing.TB, cond func() bool)

	// Damage is what others may do to the backend's rules and sets, by name. After each of them Verify fails, and Reconcile
	// repairs it and names what it has repaired, unless only elements were lost.
	Damage map[string]func(t testing.TB)

	// Squat creates a foreign object with a name that the backend needs, by name, on an empty host. It returns what removes
	// the object, and a part of the name that the error must contain.
	Squat map[string]func(t testing.TB) (undo func(), name string)

	// Endless says that the host has no timeouts, so the backend's caller removes bans that are over.
	Endless bool

	// Steady says that bans stay in effect all the time while many change, and that Reaches may be called meanwhile.
	Steady bool

	// Counts says that the host counts what it blocks.
	Counts bool

	// Rules leaves out what does not depend on what the rules do with a packet, so that it is tried once, with drop or reject.
	Rules bool

	// Many is how many elements the large case uses; 0 is the package's Many.
	Many int

	// Leftover lists what of the backend's is on the host.
	Leftover func(t testing.TB) string
}

// Many is how many elements the large case and the benchmarks use.
const Many = 100_000

// Test runs all cases, or those for h.Rules. Each starts on a host without anything of ours.
func Test(t *testing.T, h *Host) {
	if h.Now == nil {
		h.Now, h.Wait = time.Now, Wait
	}
	for _, c := range []struct {
		name  string
		rules bool
		run   func(*testing.T, *Host, firewall.Backend)
	}{
		{"BeforeReconcile", false, beforeReconcile},
		{"Block", true, block},
		{"Scopes", true, scopes},
		{"Datagrams", true, datagrams},
		{"Prefixes", true, prefixes},
		{"Overlap", true, overlap},
		{"OverlapEnds", true, overlapEnds},
		{"Expiry", false, expiry},
		{"Reban", false, reban},
		{"Over", false, over},
		{"Refused", false, refused},
		{"Idempotent", false, idempotent},
		{"Restart", false, restart},
		{"Forever", false, forever},
		{"Many", false, many},
		{"Moved", true, moved},
		{"Cancelled", false, cancelled},
		{"Cleanup", true, cleanup},
		{"Empty", false, empty},
		{"Watch", false, watch},
		{"Inspect", false, inspected},
	} {
		if c.rules || !h.Rules {
			t.Run(c.name, func(t *testing.T) { c.run(t, h, fresh(t, h)) })
		}
	}
	for name, damage := range h.Damage {
		t.Run("Damage/"+name, func(t *testing.T) { repaired(t, h, fresh(t, h), damage) })
	}
	for name, squat := range h.Squat {
		if !h.Rules {
			t.Run("Squat/"+name, func(t *testing.T) { squatted(t, h, fresh(t, h), squat) })
		}
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

// soon reconciles, and returns when a ban ends that a test waits for: late enough for a host as busy as this one to be looked at before.
func soon(t *testing.T, b firewall.Backend) time.Duration {
	t.Helper()
	reconcile(t, b) // creates the sets
	begin := time.Now()
	reconcile(t, b)
	return 4*time.Second + 5*time.Since(begin)
}

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
	if in := inspect(t, b, want...); !in.OK() {
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

// Differs lists everything that is not as it should be.
func Differs(in *firewall.Inspection) string {
	var l []string
	for _, p := range in.Objects {
		if p.Problem != "" {
			l = append(l, p.Name+" "+p.Problem)
		}
	}
	for _, s := range in.Sets {
		if s.Differs() {
			l = append(l, fmt.Sprintf("%s %s missing %v unexpected %v wrong timeout %v", s.Name, s.Problem, s.Missing.Some, s.Unexpected.Some, s.WrongTimeout.Some))
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
