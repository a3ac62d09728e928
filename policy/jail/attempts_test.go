package jail

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

var boot = [16]byte{1, 2, 3}

func TestOneAttemptCountsOnce(t *testing.T) {
	addr, other := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")
	for _, c := range []struct {
		name  string
		steps []uint8
		want  []bool
	}{
		{"unknown user, PAM, failed", []uint8{1, 2, 4}, []bool{true, false, false}},
		{"three passwords in one connection", []uint8{2, 4, 4, 4, 9}, []bool{true, false, true, true, false}},
		{"PAM each time", []uint8{2, 4, 2, 4}, []bool{true, false, true, false}},
		{"nothing but the end", []uint8{9, 9}, []bool{true, false}},
		{"no step", []uint8{0, 0}, []bool{true, true}},
	} {
		a := NewAttempts()
		for i, s := range c.steps {
			if got := a.See(boot, 100, nil, addr, s, 0); got != c.want[i] {
				t.Errorf("%s: line %d: %v", c.name, i, got)
			}
		}
	}
	a := NewAttempts()
	a.See(boot, 100, nil, addr, 4, 0)
	if !a.See(boot, 100, nil, other, 9, 0) {
		t.Error("another address on the same pid is another connection")
	}
	if !a.See([16]byte{9}, 100, nil, other, 9, 0) {
		t.Error("another boot is another connection")
	}
	if !a.See(boot, 0, nil, addr, 4, 0) || !a.See(boot, 0, nil, addr, 9, 0) {
		t.Error("without a connection every line counts")
	}
	if !a.See(boot, 0, []byte("4AB12C"), addr, 1, 0) || a.See(boot, 7, []byte("4AB12C"), addr, 2, 0) {
		t.Error("an id joins lines whatever the pid is")
	}
}

// A thousand interleaved connections: none is pushed out by the others.
func TestInterleaved(t *testing.T) {
	a := NewAttempts()
	addr := func(i int) netip.Addr { return v4(0xcb007100 + uint32(i)) }
	for _, step := range []uint8{1, 2, 4} {
		for i := range 100_000 {
			if got := a.See(boot, uint32(i+1), nil, addr(i), step, int64(step)); got != (step == 1) {
				t.Fatalf("connection %d, step %d: %v", i, step, got)
			}
		}
	}
	// After some minutes they are gone, and so is their memory.
	a.Expire(400 * sec)
	a.Expire(800 * sec)
	if a.Len() != 0 {
		t.Errorf("%d are left", a.Len())
	}
}

// TestOldLines: lines from long ago (a failure that waited for its address, a machine with another clock) do not have
// connections forgotten; a clock that was set back does not keep them for ever.
func TestOldLines(t *testing.T) {
	a := NewAttempts()
	addr, other := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")
	a.See(boot, 100, nil, addr, 1, 10_000*sec)
	for i := range 10 {
		a.See(boot, uint32(200+i), nil, other, 1, int64(1000*i)*sec)
		a.See(boot, uint32(300+i), nil, other, 1, 10_001*sec)
	}
	if a.See(boot, 100, nil, addr, 2, 10_002*sec) {
		t.Error("one attempt counts twice")
	}
	a.Expire(1000 * sec)
	a.Expire(1400 * sec)
	if a.Len() != 0 {
		t.Errorf("%d are left after the clock was set back", a.Len())
	}
}

func TestJoin(t *testing.T) {
	a := NewAttempts()
	addr := netip.MustParseAddr("2001:db8::7")
	if _, ok := a.Known(boot, 5, nil); ok {
		t.Error("known from nothing")
	}
	a.Join(boot, 5, nil, addr, 0)
	if got, ok := a.Known(boot, 5, nil); !ok || got != addr {
		t.Errorf("%v %v", got, ok)
	}
	if !a.See(boot, 5, nil, addr, 9, 0) {
		t.Error("a joined line is no attempt")
	}
	v4mapped := netip.MustParseAddr("203.0.113.9")
	a.Join(boot, 6, nil, v4mapped, 0)
	if got, _ := a.Known(boot, 6, nil); got != v4mapped {
		t.Errorf("%v", got)
	}
	a.Join(boot, 0, nil, addr, 0)
	if _, ok := a.Known(boot, 0, nil); ok {
		t.Error("no connection, nothing known")
	}
}

func TestWaiting(t *testing.T) {
	a := NewAttempts()
	a.Wait(boot, 5, nil, Waiting{Pattern: "locked", Ref: 1, At: 1, Weight: 1, Repeat: 1, Step: 2})
	a.Wait(boot, 5, nil, Waiting{Pattern: "end", Ref: 2, At: 2, Weight: 1, Repeat: 1, Step: 9}) // of the same attempt
	a.Wait(boot, 6, []byte("Q1"), Waiting{Pattern: "unknown", Ref: 3, At: 3, Weight: 1, Repeat: 1})
	a.Wait(boot, 6, []byte("Q1"), Waiting{Pattern: "unknown", Ref: 4, At: 4, Weight: 1, Repeat: 1})
	a.Wait(boot, 0, nil, Waiting{Pattern: "nobody's", Repeat: 1})
	if _, ok := a.Claim(boot, 7, nil); ok {
		t.Error("claimed by another connection")
	}
	if w, ok := a.Claim(boot, 5, nil); !ok || w.Ref != 1 || w.Repeat != 1 || w.Pattern != "locked" {
		t.Errorf("%+v %v", w, ok)
	}
	if w, ok := a.Claim(boot, 9, []byte("Q1")); !ok || w.Ref != 3 || w.Repeat != 2 {
		t.Errorf("%+v %v", w, ok)
	}
	if _, ok := a.Claim(boot, 5, nil); ok {
		t.Error("claimed twice")
	}
	a.Wait(boot, 8, nil, Waiting{At: 5, Repeat: 1})
	a.Expire(200 * sec)
	a.Expire(400 * sec)
	if _, ok := a.Claim(boot, 8, nil); ok || a.Len() != 0 {
		t.Error("waits for ever")
	}
}

// TestKnown: addresses of both families are what they were, while the table grows, processes change addresses and generations
// pass; a connection is known for keepConn after its last line at least, and for twice that at most.
func TestKnown(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	type line struct {
		addr netip.Addr
		at   int64
	}
	a, last := NewAttempts(), map[uint32]line{}
	addr := func() netip.Addr {
		if r.IntN(3) == 0 {
			return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(r.IntN(256)), 15: byte(r.IntN(256))})
		}
		return v4(r.Uint32())
	}
	const pids = 20_000
	long := 0
	for at := int64(0); at < 2000*sec; at += int64(r.IntN(int(sec / 20))) {
		if at > 700*sec && at < 1100*sec {
			at = 1100 * sec // all is forgotten
			a.Expire(at - 200*sec)
			a.Expire(at)
		}
		pid := uint32(1 + r.IntN(pids))
		l, ok := last[pid]
		got, known := a.Known(boot, pid, nil)
		switch age := at - l.at; {
		case !ok && known, ok && age < keepConn.Microseconds() && !known, known && got != l.addr, known && age > 2*keepConn.Microseconds()+sec:
			t.Fatalf("pid %d at %d: %v %v, want %+v", pid, at, got, known, l)
		case known && age > keepConn.Microseconds():
			long++
		}
		if !ok || r.IntN(4) > 0 {
			l.addr = addr()
		}
		l.at = at
		last[pid] = l
		a.Join(boot, pid, nil, l.addr, at)
	}
	if long == 0 {
		t.Error("no connection grew old")
	}
}
