package prefix

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestCompact compares the result with the input: the same addresses, in order, without overlaps.
func TestCompact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var l []netip.Prefix
		for range 50 {
			p, err := netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(256))}).Prefix(24 + r.IntN(9))
			if err != nil {
				t.Fatal(err)
			}
			l = append(l, p)
		}
		got := Compact(append([]netip.Prefix(nil), l...))
		for a := 0; a < 256; a++ {
			addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(a)})
			had, times := false, 0
			for _, p := range l {
				had = had || p.Contains(addr)
			}
			for _, p := range got {
				if p.Contains(addr) {
					times++
				}
			}
			if times > 1 || had != (times == 1) {
				t.Fatalf("%s is %d times in %v, from %v", addr, times, got, l)
			}
		}
		for i := 1; i < len(got); i++ {
			if Compare(got[i-1], got[i]) >= 0 {
				t.Fatalf("%v before %v", got[i-1], got[i])
			}
		}
	}
}

func TestSet(t *testing.T) {
	s := new(Set)
	for _, p := range []string{"0.0.0.0/8", "192.0.2.0/25", "255.255.255.255/32", "2001:db8::/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"} {
		s.Add(netip.MustParsePrefix(p))
	}
	for a, want := range map[string]bool{
		"0.0.0.0": true, "0.255.255.255": true, "1.0.0.0": false, "192.0.2.127": true, "192.0.2.128": false, "255.255.255.255": true, "::": false,
		"2001:db8::": true, "2001:db8:ffff::": true, "2001:db9::": false, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": true, "ffff::": false,
	} {
		if s.Contains(netip.MustParseAddr(a)) != want {
			t.Errorf("%s: not %v", a, want)
		}
	}
	if (&Set{}).Contains(netip.MustParseAddr("192.0.2.1")) {
		t.Error("an empty set holds an address")
	}
}
