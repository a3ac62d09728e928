package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"
)

// TestMemory attacks a daemon from as many addresses as it must support, and compares its anonymous memory with the bounds: at the
// peak, and at rest. The firewall is the kernel's, in a network namespace of its own. The test writes a million journal entries, so it
// runs only if BAILIFF_BENCH is set.
func TestMemory(t *testing.T) {
	if os.Getenv("BAILIFF_BENCH") == "" {
		t.Skip("writes large journals: set BAILIFF_BENCH, or run `make bench`")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	const mib = 1 << 20
	for _, c := range []struct {
		name             string
		banned, watched  int
		highest, resting uint64
	}{
		{"a million watched", 0, 1_000_000, 160 * mib, 160 * mib},
		{"100,000 banned and as many watched", 100_000, 100_000, 48 * mib, 48 * mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			go func() {
				for range b.entries { // the audit trail goes nowhere
				}
			}()
			b.apart, b.args = true, []string{"--firewall", "ipset"}
			b.start()
			highest := uint64(0)
			status := func() (bans, tracked int, anon uint64) {
				s, err := b.client.Status(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				highest = max(highest, s.Memory)
				return s.Bans, s.Tracked, s.Memory
			}
			// written has everything that is written judged before it goes on, so that the writer's pace is the daemon's.
			written := func(bans, tracked int) {
				for end := time.Now().Add(time.Minute); ; {
					x, y, _ := status()
					if x >= bans && y >= tracked {
						return
					}
					if time.Now().After(end) {
						t.Fatalf("%d bans of %d, %d watched of %d", x, bans, y, tracked)
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
			var x []byte
			flush := func() {
				if _, err := b.in.Write(x); err != nil {
					t.Fatal(err)
				}
				x = x[:0]
			}
			fail := func(i, n int) {
				// Each from a neighbourhood of its own, and for an account of its own: else the whole neighbourhood is banned.
				addr := netip.AddrFrom4([4]byte{16 + byte(i>>16), byte(i >> 8), byte(i), 7})
				b.pid++ // all of them in one connection: sshd takes six passwords in each
				for range n {
					x = b.entry(x, fmt.Sprintf("Failed password for u%d from %s port %d ssh2", i, addr, 1024+b.pid%60000))
				}
			}
			for i := range c.banned {
				if fail(i, 5); i%2000 == 1999 {
					flush()
					written(i+1, 0)
				}
			}
			for i := range c.watched {
				if fail(1<<21+i, 1); i%10_000 == 9999 {
					flush()
					written(c.banned, i+1)
				}
			}
			time.Sleep(3*quietTime + 2*tick) // for memory to be given back
			bans, tracked, resting := status()
			t.Logf("%d bans and %d watched: RssAnon at most %.1f MiB, %.1f MiB at rest", bans, tracked, float64(highest)/mib, float64(resting)/mib)
			b.stop()
			b.start()
			written(bans, tracked)
			time.Sleep(quietTime + 2*tick)
			_, _, again := status()
			t.Logf("started anew: %.1f MiB at rest", float64(again)/mib)
			resting = max(resting, again)
			if highest > c.highest || resting > c.resting {
				t.Errorf("more than %d and %d MiB", c.highest/mib, c.resting/mib)
			}
		})
	}
}
