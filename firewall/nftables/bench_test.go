package nftables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"
)

func bansFrom(n int) []firewall.Ban {
	until := time.Now().Add(time.Hour)
	l := make([]firewall.Ban, n)
	for i := range l {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		l[i] = firewall.Ban{Prefix: netip.PrefixFrom(a, 32), Until: until}
	}
	return l
}

func ready(b *testing.B) *Backend {
	be := newBackend(b, Options{})
	b.Cleanup(func() {
		if err := errors.Join(be.Cleanup(context.Background()), be.Close()); err != nil {
			b.Error(err)
		}
	})
	if _, err := be.Reconcile(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	return be
}

// BenchmarkAdd measures one ban: one transaction, one element.
func BenchmarkAdd(b *testing.B) {
	be := ready(b)
	bans := bansFrom(1 << 16)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := be.Add(b.Context(), bans[i%len(bans):][:1]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAddBatch measures an element in a batch of 500.
func BenchmarkAddBatch(b *testing.B) {
	be := ready(b)
	bans := bansFrom(100_000)
	for i := 0; b.Loop(); i++ {
		if err := be.Add(b.Context(), bans[i%200*500:][:500]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(500*b.N), "ns/element")
}

// BenchmarkStart puts 100,000 bans into an empty kernel, as after a reboot, beside what `nft -f` takes for the same elements
// in the same run.
func BenchmarkStart(b *testing.B) {
	be := ready(b)
	want := bansFrom(firewalltest.Many)
	var script bytes.Buffer
	fmt.Fprint(&script, "table inet other { set s { type ipv4_addr; flags timeout; }; }\n")
	for i, w := range want {
		if i%1000 == 0 {
			fmt.Fprint(&script, "\nadd element inet other s { ")
		}
		fmt.Fprintf(&script, "%v timeout 1h", w.Prefix.Addr())
		if i%1000 == 999 {
			fmt.Fprint(&script, " }")
		} else {
			fmt.Fprint(&script, ", ")
		}
	}
	fmt.Fprintln(&script)
	var ours, theirs time.Duration
	for range b.N {
		if err := be.Cleanup(b.Context()); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		ch, err := be.Reconcile(b.Context(), want)
		ours += time.Since(start)
		if err != nil || ch.Added != len(want) {
			b.Fatal(ch, err)
		}
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = bytes.NewReader(script.Bytes())
		start = time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v %.300s", err, out)
		}
		theirs += time.Since(start)
		firewalltest.Run(b, "nft", "delete", "table", "inet", "other")
	}
	b.ReportMetric(ours.Seconds()*1e3/float64(b.N), "ours-ms")
	b.ReportMetric(theirs.Seconds()*1e3/float64(b.N), "nft-ms")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-faster")
}

// BenchmarkReads measures reading with 100,000 elements; Verify when nobody has changed anything.
func BenchmarkReads(b *testing.B) {
	be := ready(b)
	want := bansFrom(firewalltest.Many)
	if _, err := be.Reconcile(b.Context(), want); err != nil {
		b.Fatal(err)
	}
	firewalltest.BenchmarkReads(b, be, want)
}
