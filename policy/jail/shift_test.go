package jail

import (
	"net/netip"
	"testing"
	"time"

	"bailiff/policy/prefix"
)

// TestShift: setting the clock does not change the age of what the detectors keep. TestClockSet in policy tests the counters.
func TestShift(t *testing.T) {
	const start, second = int64(1_800_000_000_000_000), int64(1_000_000)
	for _, by := range []int64{5 * 3600 * second, -5 * 3600 * second} {
		now := start + by // by the new clock
		addr := netip.MustParseAddr("198.51.100.1")

		n := NewNetworks(NetworkOptions{NetworkSize: NetworkSize{Bits: 24}, FindTime: time.Hour, MaxParts: 3})
		for i, a := range []string{"198.51.100.1/32", "198.51.100.2/32", "198.51.100.3/32"} {
			at := start
			if i == 2 {
				n.Shift(by)
				at = now + second
			}
			if l, _ := n.Add(prefix.OfPrefix(netip.MustParsePrefix(a)), Failure{At: at}, 0); (len(l) == 3) != (i == 2) {
				t.Errorf("by %d s: %d attackers in the network after %d", by/second, len(l), i+1)
			}
		}

		var b Bursts
		b.Again(1, start, 3*time.Second, 5)
		b.Shift(by)
		if !b.Again(1, now+second, 3*time.Second, 5) || b.Again(1, now+4*second, 3*time.Second, 5) {
			t.Errorf("by %d s: a burst does not last three seconds", by/second)
		}

		p := NewPending()
		p.Add(PendingAttempt{Attempt: Attempt{At: start, Attempts: 1}, Addr: addr})
		p.Shift(by)
		if p.Due(now+second) || !p.Due(now+Hold.Microseconds()) {
			t.Errorf("by %d s: a pending attempt does not wait for %s", by/second, Hold)
		}
		if a, ok := p.First(); !ok || a.At != now {
			t.Errorf("by %d s: pending attempt at %d, want %d", by/second, a.At, now)
		}

		c := NewConnections(1)
		c.Join(1, addr, start)
		c.Wait(2, Attempt{At: start, Attempts: 1})
		c.Shift(by)
		if a, ok := c.TakeWaiting(2); !ok || a.At != now {
			t.Errorf("by %d s: waiting attempt at %d, want %d", by/second, a.At, now)
		}
		keep := (keepConn).Microseconds()
		for _, at := range []int64{keep - second, keep + second, 2*keep - second} { // the second one begins a generation
			c.Expire(now + at)
		}
		if _, ok := c.Known(1); !ok {
			t.Errorf("by %d s: a connection is forgotten early", by/second)
		}
	}
}
