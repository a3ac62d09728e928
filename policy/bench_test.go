package policy

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// BenchmarkEntry judges sshd's failures of 65,536 addresses that come too seldom to be banned, of 1,024 that are banned, and
// lines that mean nothing.
func BenchmarkEntry(b *testing.B) {
	for _, c := range []struct {
		name string
		step int64
		text func(i int) string
	}{
		{"counted", 10_000, func(i int) string {
			return fmt.Sprintf("Failed password for invalid user admin%d from 198.18.%d.%d port %d ssh2", i, i>>8, i&255, i)
		}},
		{"banned", 1000, func(i int) string {
			return fmt.Sprintf("Failed password for root from 198.18.%d.%d port %d ssh2", i>>8&3, i&255, 1024+i)
		}},
		{"miss", 1000, func(i int) string {
			return fmt.Sprintf("pam_unix(sshd:session): session opened for user bob%d by (uid=0)", i)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			conf := config.Default()
			g, err := New(conf, state.New())
			if err != nil {
				b.Fatal(err)
			}
			entries := make([]filter.Entry, 1<<16)
			for i := range entries {
				entries[i] = filter.Entry{Message: []byte(c.text(i)), Unit: []byte("ssh.service"), Slice: []byte("system.slice"), Identifier: []byte("sshd")}
			}
			b.ReportAllocs()
			for i := range b.N {
				e := &entries[i%len(entries)]
				e.PID = uint32(1000 + i%30000)
				e.Realtime = start + int64(i)*c.step
				g.Entry(e, jail.Ref(i))
			}
		})
	}
}

// BenchmarkTracked has a million prefixes fail once, each on an account of its own, with and without the counts beside
// find_time, and prints the memory per prefix, and its share of a state file.
func BenchmarkTracked(b *testing.B) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const n = 1_000_000
	for _, family := range []string{"ipv4", "ipv6"} {
		for _, on := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/%v", family, map[bool]string{false: "findtime", true: "all"}[on]), func(b *testing.B) {
				for b.Loop() {
					c := plainConfig(b, "alpha")
					if !on {
						c.Accounts.Addresses, c.Networks, c.Jails[0].Slow.MaxRetry = 0, config.Networks{}, 0
					}
					g, err := New(c, state.New())
					if err != nil {
						b.Fatal(err)
					}
					before := heap()
					for i := range n {
						x := uint32(i) * 2654435761
						a := [16]byte{0x20, 1, byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x), 0, 1, 15: 1}
						e := event{at: start + int64(i), jail: "alpha", what: "failed", user: fmt.Sprint("u", i), addr: netip.AddrFrom16(a)}
						if family == "ipv4" {
							e.addr = netip.AddrFrom4([4]byte(a[2:6]))
						}
						g.Entry(e.entry(0), jail.Ref(i))
					}
					b.ReportMetric(float64(heap()-before)/n, "B/prefix")
					if tracked, _, _ := g.Tracked(); tracked != n {
						b.Fatalf("%d are tracked", tracked)
					}
					begin := time.Now()
					size := len(g.Snapshot(nil))
					b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms/snapshot")
					b.ReportMetric(float64(size)/n, "B-saved/prefix")
				}
			})
		}
	}
}
