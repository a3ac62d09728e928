package firewalld

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"
)

func bansFrom(n, from int) []firewall.Ban {
	until := time.Now().Add(time.Hour)
	l := make([]firewall.Ban, n)
	for i := range l {
		x := i + from
		a := netip.AddrFrom4([4]byte{10, byte(x >> 16), byte(x >> 8), byte(x)})
		l[i] = firewall.Ban{Prefix: netip.PrefixFrom(a, 32), Until: until}
	}
	return l
}

func ready(b *testing.B, want []firewall.Ban) *Backend {
	be := newBackend(b, Options{Scopes: []firewall.Scope{{}}})
	b.Cleanup(func() {
		if err := be.Cleanup(context.Background()); err != nil {
			b.Error(err)
		}
		be.Close()
	})
	if _, err := be.Reconcile(b.Context(), want); err != nil {
		b.Fatal(err)
	}
	return be
}

// BenchmarkReload measures how long after a reload of firewalld, which empties the sets, all bans are in effect again.
func BenchmarkReload(b *testing.B) {
	for _, n := range []int{42, 1_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			want := bansFrom(n, 0)
			be := ready(b, want)
			ctx, stop := context.WithCancel(b.Context())
			defer stop()
			heard := make(chan struct{}, 1<<16)
			go be.Watch(ctx, func() { heard <- struct{}{} })
			<-heard
			var took []time.Duration
			for range b.N {
				firewalltest.Run(b, "firewall-cmd", "--reload")
				start := time.Now()
				for err := be.Verify(b.Context()); err == nil; err = be.Verify(b.Context()) {
					<-heard
				}
				if _, err := be.Reconcile(b.Context(), want); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			report(b, took)
		})
	}
}

// BenchmarkAdd measures one ban beside others.
func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{0, 42, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			be := ready(b, bansFrom(n, 0))
			var took []time.Duration
			for i := range b.N {
				one := bansFrom(1, 1<<20+i)
				start := time.Now()
				if err := be.Add(b.Context(), one); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
				if err := be.Remove(b.Context(), []firewall.Key{one[0].Key()}); err != nil {
					b.Fatal(err)
				}
			}
			report(b, took)
		})
	}
}

// BenchmarkFlood measures 10,000 bans that come in batches.
func BenchmarkFlood(b *testing.B) {
	for _, n := range []int{100, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				be := ready(b, nil)
				all := bansFrom(10_000, 0)
				start := time.Now()
				for part := range slices.Chunk(all, n) {
					if err := be.Add(b.Context(), part); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(all))/time.Since(start).Seconds(), "bans/s")
			}
		})
	}
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "median-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1e3, "most-ms")
}
