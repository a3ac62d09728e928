package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
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
			// written waits until everything written has been judged, so that the writer is no faster than the daemon.
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
				// Each from a network and for an account of its own: otherwise the whole network would be banned.
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

// TestFleetMemory compares the memory that 100,000 bans of other hosts take with the bound, at once and after a restart.
func TestFleetMemory(t *testing.T) {
	if os.Getenv("BAILIFF_BENCH") == "" {
		t.Skip("takes a minute: set BAILIFF_BENCH, or run `make bench`")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	const many, mib = 100_000, 1 << 20
	b := newBench(t)
	b.configure("jails: {sshd: {}}\nfleet: {hosts: {h0: a, h1: b, h2: c, h3: d, h4: e, h5: f, h6: g, h7: h, h8: i, h9: j}}\n")
	b.apart, b.args = true, []string{"--firewall", "ipset"}
	b.start()
	ctx := context.Background()
	rest := func() uint64 {
		time.Sleep(quietTime + 2*tick)
		s, err := b.client.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return s.Memory
	}
	before := rest()
	since := time.Now().Add(-time.Minute)
	until := since.Add(48 * time.Hour)
	highest := uint64(0)
	begin := time.Now()
	for i := 0; i < many; i += control.MaxFleetNews {
		var n control.FleetNews
		for j := i; j < i+control.MaxFleetNews; j++ {
			a := netip.AddrFrom4([4]byte{16 + byte(j>>16), byte(j >> 8), byte(j), 7})
			n.News = append(n.News, control.FleetBan{Host: fmt.Sprintf("h%d", j%10), Prefix: a.String(), Jail: "sshd", Since: since, Until: &until, Reason: "failures", Failures: 5})
		}
		if r, err := b.client.ApplyFleet(ctx, n); err != nil || r.Changed != control.MaxFleetNews {
			t.Fatalf("%+v, %v", r, err)
		}
		if i%10_000 == 0 {
			s, err := b.client.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			highest = max(highest, s.Memory)
		}
	}
	took := time.Since(begin)
	after := rest()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(stat)) // of proc_pid_stat(5); the daemon's name has no blank
	user, _ := strconv.Atoi(f[13])
	system, _ := strconv.Atoi(f[14])
	b.stop()
	b.start()
	again := rest()
	s, err := b.client.Fleet(ctx)
	if err != nil || s.InEffect != many {
		t.Fatalf("%+v, %v", s, err)
	}
	t.Logf("RssAnon: %.1f MiB before, %.1f at most and %.1f at rest with %d bans of other hosts, which were handed on in %.2f s and took the daemon %.2f s of CPU, %.2f of them in the kernel; %.1f after a restart", float64(before)/mib, float64(highest)/mib, float64(after)/mib, many, took.Seconds(), float64(user+system)/100, float64(system)/100, float64(again)/mib)
	if max(after, again) > before+15*mib {
		t.Errorf("more than 15 MiB")
	}
}
