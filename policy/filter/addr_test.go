package filter

import (
	"net/netip"
	"strings"
	"testing"
)

func TestScanAddr(t *testing.T) {
	for _, c := range []struct {
		in   string
		next byte
		addr string
		n    int
	}{
		{"192.0.2.1", 0, "192.0.2.1", 9},
		{"192.0.2.1 port 22", 0, "192.0.2.1", 9},
		{"192.0.2.1: 11:", 0, "192.0.2.1", 9},
		{"192.0.2.1:5060", 0, "192.0.2.1", 9},
		{"192.0.2.1.", 0, "192.0.2.1", 9},
		{"192.0.2.1]", 0, "192.0.2.1", 9},
		{"192.000.002.001", 0, "192.0.2.1", 15},
		{"192.0.2.1-22", '-', "192.0.2.1", 9},
		{"192.0.2.1-22", 0, "", 0},
		{"192.0.2.1.example.org", 0, "", 0},
		{"192.0.2.1a", 0, "", 0},
		{"192.0.2.256", 0, "", 0},
		{"192.0.2.0001", 0, "", 0},
		{"192.0.2", 0, "", 0},
		{"192.0.2.", 0, "", 0},
		{"192.0.2.1.5", 0, "", 0},
		{"", 0, "", 0},
		{"::", 0, "::", 2},
		{"::1", 0, "::1", 3},
		{"2001:db8::1", 0, "2001:db8::1", 11},
		{"2001:db8::1: 11: Bye", 0, "2001:db8::1", 11},
		{"2001:db8::1.", 0, "2001:db8::1", 11},
		{"2001:db8::1]:22", 0, "2001:db8::1", 11},
		{"2001:db8:: port 1", 0, "2001:db8::", 10},
		{"2001:db8::: 3:", 0, "2001:db8::", 10},
		{"2001:DB8:0:0:0:0:0:1", 0, "2001:db8::1", 20},
		{"1:2:3:4:5:6:7:8:", 0, "1:2:3:4:5:6:7:8", 15},
		{"::ffff:192.0.2.1", 0, "192.0.2.1", 16},
		{"::ffff:c000:201", 0, "192.0.2.1", 15},
		{"64:ff9b::192.0.2.33", 0, "64:ff9b::c000:221", 19},
		{"fe80::1%eth0 port", 0, "fe80::1", 12},
		{"fe80::1%", 0, "", 0},
		{"fe80::1%eth0.5", 0, "fe80::1", 14},
		{"1:2:3:4:5:6:7:8:9", 0, "", 0},
		{"1::2::3", 0, "", 0},
		{":1:2", 0, "", 0},
		{":", 0, "", 0},
		{"1:2", 0, "", 0},
		{"12345::1", 0, "", 0},
		{"2001:db8::1x", 0, "", 0},
		{"1:2:3:4:5:6:7:192.0.2.1", 0, "", 0},
		{"dead", 0, "", 0},
		{"::192.0.2.1.5", 0, "", 0},
	} {
		a, n := scanAddr([]byte(c.in), c.next)
		got := ""
		if n > 0 {
			got = a.String()
		}
		if got != c.addr || n != c.n {
			t.Errorf("%q: %q, %d bytes; wanted %q, %d", c.in, got, n, c.addr, c.n)
		}
	}
}

// FuzzScanAddr compares the scanner with net/netip: netip reads what it accepts as the same address, and whatever netip
// reads as a whole, it accepts as a whole.
func FuzzScanAddr(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "::", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1%eth0", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::8:", "2001:db8:::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, n := scanAddr([]byte(s), 0)
		if n > 0 {
			text, _, _ := strings.Cut(s[:n], "%")
			if want, err := netip.ParseAddr(plain(text)); err != nil || want.Unmap() != a {
				t.Fatalf("%q: took %q for %v; netip says %v, %v", s, s[:n], a, want, err)
			}
		}
		if want, err := netip.ParseAddr(s); err == nil && len(s) < maxAddr && zoneIsPlain(want.Zone()) && want.Zone() == plainZone(s) {
			if n != len(s) || a != want.Unmap().WithZone("") {
				t.Fatalf("%q: took %d bytes as %v; netip says %v", s, n, a, want)
			}
		}
	})
}

func zoneIsPlain(z string) bool {
	for i := range len(z) {
		if !isAlnum(z[i]) && z[i] != '.' && z[i] != '-' && z[i] != '_' {
			return false
		}
	}
	return true
}

// plainZone is the zone as written: netip drops that of a mapped address.
func plainZone(s string) string {
	for i := range len(s) {
		if s[i] == '%' {
			return s[i+1:]
		}
	}
	return ""
}
