package jail

import (
	"bailiff/policy/codec"
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// line is a daemon's line about an attempt.
type line struct {
	pid         uint32
	stage       uint8
	source      uint32
	n           int
	provisional bool
	want        int // new attempts that it adds
}

// One wrong password is one attempt, however many modules and processes write about it, one after another or at once.
func TestAttempts(t *testing.T) {
	const unix, sss = 1, 2
	for _, c := range []struct {
		name  string
		lines []line
	}{
		{"a password", []line{{1, 4, unix, 1, true, 1}, {1, 6, 0, 1, false, 1}}},
		{"three in one connection", []line{{1, 4, unix, 1, true, 1}, {1, 6, 0, 1, false, 1}, {1, 6, 0, 1, false, 1}, {1, 6, 0, 1, false, 1}}},
		{"two modules, three times", []line{
			{1, 4, unix, 1, true, 1}, {1, 4, sss, 1, true, 0}, {1, 5, 0, 1, true, 0}, {1, 6, 0, 1, false, 1},
			{1, 4, unix, 1, true, 1}, {1, 4, sss, 1, true, 0}, {1, 5, 0, 1, true, 0}, {1, 6, 0, 1, false, 1},
			{1, 4, unix, 1, true, 1}, {1, 4, sss, 1, true, 0}, {1, 5, 0, 1, true, 0}, {1, 6, 0, 1, false, 1},
		}},
		{"three at once", []line{
			{1, 4, unix, 1, true, 1}, {1, 4, unix, 1, true, 1}, {1, 4, unix, 1, true, 1},
			{1, 5, 7, 1, true, 0}, {1, 5, 7, 1, true, 0}, {1, 5, 7, 1, true, 0},
			{1, 6, 0, 1, false, 1}, {1, 6, 0, 1, false, 1}, {1, 6, 0, 1, false, 1},
		}},
		{"the end sums up", []line{{1, 5, 7, 1, true, 1}, {1, 5, 7, 1, true, 1}, {1, 5, 7, 1, true, 1}, {1, 6, 0, 3, false, 3}}},
		{"the end alone", []line{{1, 6, 0, 3, false, 3}}},
		{"PAM sums up what it did not write", []line{{1, 4, unix, 1, true, 1}, {1, 6, 0, 1, false, 1}, {1, 6, 0, 1, false, 1}, {1, 6, 0, 1, false, 1}, {1, 7, 0, 2, false, 0}}},
		{"ends that say the same", []line{{1, 6, 0, 1, false, 1}, {1, 9, 0, 1, false, 0}, {1, 10, 0, 1, false, 0}}},
		{"two processes", []line{{1, 6, 0, 1, false, 1}, {2, 6, 0, 1, false, 1}}},
		{"lines for themselves", []line{{1, 0, 0, 1, false, 1}, {1, 0, 0, 1, false, 1}}},
		{"no process", []line{{0, 6, 0, 1, false, 1}, {0, 6, 0, 1, false, 1}}},
	} {
		conns := NewConnections(7)
		addr := netip.MustParseAddr("203.0.113.7")
		for i, l := range c.lines {
			k := conns.Key(1, [16]byte{1}, l.pid, nil)
			got := conns.Count(k, addr, &Attempt{At: int64(i) * sec, Attempts: l.n, Stage: l.stage, Source: l.source, Provisional: l.provisional})
			if got != l.want {
				t.Errorf("%s: line %d: %d attempts, want %d", c.name, i+1, got, l.want)
			}
		}
	}
}

// Any order of the lines of several attempts gives the same number of attempts, and an attempt that is held back counts
// once: at its final line or after waiting too long.
func TestAttemptsInterleaved(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	addr := netip.MustParseAddr("2001:db8::7")
	for round := range 2000 {
		n := 1 + r.IntN(6)
		var lines []line
		final := r.IntN(4) > 0
		for range n {
			lines = append(lines, line{stage: 4, source: 1, n: 1, provisional: true}, line{stage: 5, source: 2, n: 1, provisional: true})
			if final {
				lines = append(lines, line{stage: 6, n: 1})
			}
		}
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		conns := NewConnections(7)
		k := conns.Key(1, [16]byte{}, 0, []byte("2001:db8::7"))
		counted, pending := 0, 0
		for i, l := range lines {
			got := conns.Count(k, addr, &Attempt{At: int64(i), Attempts: 1, Stage: l.stage, Source: l.source, Provisional: l.provisional})
			if l.provisional {
				pending += got
			} else {
				counted += got
				pending -= min(pending, got)
			}
			if pending > 0 && r.IntN(8) == 0 { // one waited too long
				conns.Settled(k, addr, 1)
				pending--
				counted++
			}
		}
		if counted+pending != n {
			t.Fatalf("round %d: %d attempts are %d counted and %d pending (final lines: %v)", round, n, counted, pending, final)
		}
	}
}

// A process id that comes back with another address is another connection.
func TestAttemptsOtherAddress(t *testing.T) {
	conns := NewConnections(7)
	k := conns.Key(1, [16]byte{1}, 77, nil)
	a := Attempt{Attempts: 1, Stage: 6}
	if conns.Count(k, netip.MustParseAddr("203.0.113.7"), &a) != 1 || conns.Count(k, netip.MustParseAddr("203.0.113.8"), &a) != 1 {
		t.Error("not counted")
	}
	if a, ok := conns.Known(k); !ok || a.String() != "203.0.113.8" {
		t.Errorf("%v %v", a, ok)
	}
	conns.Close(k)
	if _, ok := conns.Known(k); ok {
		t.Error("a connection that has ended is still known")
	}
}

// Failures without an address wait for it, and are counted once.
func TestWaiting(t *testing.T) {
	conns := NewConnections(7)
	addr := netip.MustParseAddr("203.0.113.7")
	k := conns.Key(1, [16]byte{1}, 5, nil)
	for range 3 {
		conns.Wait(k, Attempt{Attempts: 1, Stage: 4})
	}
	conns.Wait(k, Attempt{Attempts: 1, Stage: 5}) // of the same attempts
	a, ok := conns.TakeWaiting(k)
	if !ok || a.Attempts != 3 || conns.Count(k, addr, &a) != 3 {
		t.Errorf("%+v, %v", a, ok)
	}
	if _, ok := conns.TakeWaiting(k); ok {
		t.Error("claimed twice")
	}
}

// A flood stays within the memory bounds, and its waiting attempts are counted or lost, never kept.
func TestBounds(t *testing.T) {
	conns, pending := NewConnections(7), NewPending()
	counted := 0
	for i := range 200_000 {
		k := conns.Key(1, [16]byte{1}, uint32(i+1), nil)
		a := Attempt{At: int64(i), Attempts: 1, Stage: 4, Provisional: true}
		if i%2 == 0 {
			conns.Wait(k, a)
			continue
		}
		addr := v4(uint32(i % 50_000))
		if conns.Count(k, addr, &a) != 1 {
			t.Fatal("not counted")
		}
		counted += len(pending.Add(PendingAttempt{Attempt: a, Addr: addr, Conn: k}))
	}
	if n := conns.Len(); n > 2*maxConns+2*maxWaiting {
		t.Errorf("%d connections are remembered", n)
	}
	if n := pending.Len(); n > maxPending || n+counted != 100_000 {
		t.Errorf("%d attempts wait and %d were counted, of 100,000", n, counted)
	}
	for {
		if _, ok := pending.Next(Hold.Microseconds() + 200_000); !ok {
			break
		}
		counted++
	}
	if counted != 100_000 || pending.Len() != 0 {
		t.Errorf("%d of 100,000 counted", counted)
	}
}

// An attempt is pending for Hold, even if the clock is set back, and only a line of its own connection ends it earlier.
func TestPending(t *testing.T) {
	p := NewPending()
	addr := netip.MustParseAddr("203.0.113.7")
	add := func(at int64, conn ConnKey, user uint64) {
		p.Add(PendingAttempt{Attempt: Attempt{At: at, Attempts: 1, User: user}, Addr: addr, Conn: conn})
	}
	hold := Hold.Microseconds()
	add(1000, 1, 7)
	add(2000, 1, 8)
	add(3000, 2, 7)
	if _, ok := p.Next(1000 + hold - 1); ok {
		t.Error("too early")
	}
	if l := p.Take(addr, 1, 8, 1); len(l) != 1 || l[0].At != 2000 {
		t.Errorf("taken: %+v", l)
	}
	if l := p.Take(addr, 3, 7, 1); len(l) != 0 {
		t.Errorf("taken from another connection: %+v", l)
	}
	if a, ok := p.Next(1000 + hold); !ok || a.At != 1000 {
		t.Errorf("%+v, %v", a, ok)
	}
	if _, ok := p.Next(1000 + hold); ok {
		t.Error("too early")
	}
	if a, ok := p.Next(2000 - hold); !ok || a.At != 3000 {
		t.Errorf("the clock was set back: %+v, %v", a, ok)
	}
	add(5000, 1, 7)
	p.Drop(addr, func(a *PendingAttempt) bool { return a.User == 7 })
	if p.Len() != 0 {
		t.Error("not dropped")
	}
}

// Saved connections are restored to the byte, and go on as without the restart.
func TestConnectionsSaved(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	conns, pending := NewConnections(7), NewPending()
	for i := range 3000 {
		at := int64(i) * sec
		k := conns.Key(uint16(i%3), [16]byte{1}, 1+r.Uint32N(200), [][]byte{nil, nil, []byte("4gXyZ1"), []byte("a longer id than eight")}[r.IntN(4)])
		a := Attempt{
			At: at, Attempts: 1 + r.IntN(3), Weight: 1, Stage: uint8(r.IntN(5)), Source: r.Uint32N(12), User: r.Uint64N(3), Name: []byte("bob"), Port: 22, Pattern: "p",
			Unknown: r.IntN(2) == 0, Provisional: r.IntN(2) == 0,
		}
		addr := v4(r.Uint32N(40))
		switch r.IntN(8) {
		case 0:
			conns.Wait(k, a)
		case 1:
			conns.Close(k)
		case 2:
			conns.Void(k, at)
		case 3:
			pending.Take(addr, k, a.User, 1+r.IntN(2))
			conns.Settled(k, addr, 1)
		default:
			if a.Attempts = conns.Count(k, addr, &a); a.Attempts > 0 && a.Provisional {
				pending.Add(PendingAttempt{Attempt: a, Addr: addr, Conn: k, Jail: uint16(i % 3)})
			}
		}
		if p, ok := pending.Next(at); ok {
			conns.Settled(p.Conn, p.Addr, p.Attempts)
		}
		if i%50 > 0 {
			continue
		}
		of := func(p *Pending, jails int) func(*codec.Stream) { return func(s *codec.Stream) { p.Stream(s, jails) } }
		saved, waits := write(conns.Stream), write(of(pending, 3))
		c, p := NewConnections(7), NewPending()
		if err := errors.Join(read(saved, c.Stream), read(waits, of(p, 3))); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(write(c.Stream), saved) || !bytes.Equal(write(of(p, 3)), waits) || p.Len() != pending.Len() {
			t.Fatalf("line %d: another state is read than was saved", i)
		}
		if err := read(waits, of(NewPending(), 0)); err == nil && pending.Len() > 0 {
			t.Error("attempts of a jail that is not there are read")
		}
		conns, pending = c, p
	}
	if conns.Len() < 50 {
		t.Errorf("%d connections are too few", conns.Len())
	}
}

// Different sources in a daemon's lines stay different: no two of 4,000 are taken for one.
func TestSources(t *testing.T) {
	conns, addr := NewConnections(7), v4(1)
	for i := range uint32(4000) {
		k := conns.Key(1, [16]byte{}, i+1, nil)
		for _, name := range []string{"unix", "sss"} {
			a := Attempt{Attempts: 1, Stage: 4, Source: uint32(Hash([]byte(name), uint64(i))), Provisional: true}
			if got, want := conns.Count(k, addr, &a), map[string]int{"unix": 1}[name]; got != want {
				t.Fatalf("seed %d: %d attempts by pam_%s", i, got, name)
			}
		}
	}
}

// A final line with fewer attempts than a step leaves the others waiting.
func TestPendingTakesPart(t *testing.T) {
	p, addr := NewPending(), v4(1)
	p.Add(PendingAttempt{Attempt: Attempt{At: 1000, Attempts: 3, User: 7}, Addr: addr, Conn: 1})
	if l := p.Take(addr, 1, 7, 1); len(l) != 1 || l[0].Attempts != 1 {
		t.Errorf("%+v", l)
	}
	if a, ok := p.First(); !ok || a.Attempts != 2 || p.Len() != 0 {
		t.Errorf("%+v", a)
	}
}
