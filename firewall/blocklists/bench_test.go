package blocklists

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"bailiff/firewall/firewalltest"
	"bailiff/policy/prefix"
)

const million = 1_000_000

// manyPrefixes are n prefixes as long lists have them: mostly addresses, some networks, some IPv6.
func manyPrefixes(n int) []netip.Prefix {
	l := make([]netip.Prefix, 0, n)
	for i := range uint32(n) {
		var a4 [4]byte
		binary.BigEndian.PutUint32(a4[:], 0x0b000000+i*2957) // some 3e9 addresses, none twice
		bits := 32
		switch {
		case i%100 == 0:
			bits = 24
		case i%500 == 1:
			bits = 26
		case i%20 == 3:
			a16 := [16]byte{0x2a, 0x01}
			binary.BigEndian.PutUint32(a16[4:], i)
			l = append(l, netip.PrefixFrom(netip.AddrFrom16(a16), 64))
			continue
		}
		p, _ := netip.AddrFrom4(a4).Prefix(bits)
		l = append(l, p)
	}
	return prefix.Compact(l)
}

func each(l []netip.Prefix) func(func(netip.Prefix) error) error {
	return func(f func(netip.Prefix) error) error {
		for _, p := range l {
			if err := f(p); err != nil {
				return err
			}
		}
		return nil
	}
}

// BenchmarkLoad loads a million prefixes while a Watch listens, as in the daemon, beside what `ipset restore` takes for the same in the
// same run.
func BenchmarkLoad(b *testing.B) {
	firewalltest.NeedNetns(b)
	all := manyPrefixes(million)
	var script bytes.Buffer
	fmt.Fprintln(&script, "create other hash:net maxelem 2000000\ncreate other6 hash:net family inet6 maxelem 2000000")
	for _, p := range all {
		set := ""
		if p.Addr().Is6() {
			set = "6"
		}
		fmt.Fprintf(&script, "add other%s %v\n", set, p)
	}
	go Watch(b.Context(), func() {})
	t := New()
	var ours, theirs time.Duration
	for n := range b.N {
		if _, err := t.Remove(b.Context()); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		failed, err := t.Apply(b.Context(), []List{{Name: "long", Block: Drop, Version: fmt.Sprint(n), Each: each(all)}})
		ours += time.Since(start)
		if err != nil || len(failed) > 0 || t.Entries()["long"] != len(all) {
			b.Fatal(failed, err)
		}
		cmd := exec.Command("ipset", "restore")
		cmd.Stdin = bytes.NewReader(script.Bytes())
		start = time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v %s", err, out)
		}
		theirs += time.Since(start)
		firewalltest.Run(b, "ipset", "destroy")
	}
	b.ReportMetric(ours.Seconds()/float64(b.N), "ours-s")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "ipset-restore-s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-faster")
}
