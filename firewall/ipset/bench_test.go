package ipset

import (
	"bytes"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"bailiff/firewall/firewalltest"
)

func ready(b *testing.B) *Backend {
	be := newBackend(b, Options{})
	clean(b, be)
	if _, err := be.Reconcile(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	return be
}

// BenchmarkAdd measures one ban: one call, one element.
func BenchmarkAdd(b *testing.B) {
	be := ready(b)
	bans := bansFrom(1<<16, 0)
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
	bans := bansFrom(100_000, 0)
	for i := 0; b.Loop(); i++ {
		if err := be.Add(b.Context(), bans[i%200*500:][:500]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(500*b.N), "ns/element")
}

// BenchmarkStart puts 100,000 bans into an empty kernel, as after a reboot, beside what `ipset restore` takes for the same
// elements in the same run.
func BenchmarkStart(b *testing.B) {
	be := newBackend(b, Options{})
	clean(b, be)
	want := bansFrom(firewalltest.Many, 0)
	var script bytes.Buffer
	fmt.Fprintln(&script, "create other hash:net timeout 0 maxelem 131072")
	for _, w := range want {
		fmt.Fprintf(&script, "add other %v timeout 3600\n", w.Prefix)
	}
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
		cmd := exec.Command("ipset", "restore")
		cmd.Stdin = bytes.NewReader(script.Bytes())
		start = time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v %s", err, out)
		}
		theirs += time.Since(start)
		firewalltest.Run(b, "ipset", "destroy", "other")
	}
	b.ReportMetric(ours.Seconds()*1e3/float64(b.N), "ours-ms")
	b.ReportMetric(theirs.Seconds()*1e3/float64(b.N), "ipset-restore-ms")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-faster")
}

// BenchmarkVerifyEmpty measures the periodic check on a host without bans.
func BenchmarkVerifyEmpty(b *testing.B) {
	be := ready(b)
	for b.Loop() {
		if err := be.Verify(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReads measures reading with 100,000 elements.
func BenchmarkReads(b *testing.B) {
	be := ready(b)
	want := bansFrom(firewalltest.Many, 0)
	if _, err := be.Reconcile(b.Context(), want); err != nil {
		b.Fatal(err)
	}
	firewalltest.BenchmarkReads(b, be, want)
}
