package report

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestText(t *testing.T) {
	at := time.Date(2026, 11, 23, 2, 3, 4, 5e8, time.FixedZone("CET", 3600))
	for want, l := range map[string]Line{
		"2026-11-23T01:03:04Z mail sshd[7]: Failed password for bob": {Time: at, Hostname: "mail", Identifier: "sshd", PID: 7, Message: []byte("Failed password for bob")},
		"2026-11-23T01:03:04Z: ":                                     {Time: at},
		`2026-11-23T01:03:04Z a b c: x\r\nSubject: y\xff ü`:          {Time: at, Hostname: "a\nb", Identifier: "c\x1b", Message: []byte("x\r\nSubject: y\xff ü")},
		`2026-11-23T01:03:04Z: a\u202eb\u2028`:                       {Time: at, Message: []byte("a\u202eb\u2028")},
		"2026-11-23T01:03:04Z: " + strings.Repeat("x", 94) + " […]":  {Time: at, Message: []byte(strings.Repeat("x", 101))},
		"2026-11-23T01:03:04Z: " + strings.Repeat("x", 100):          {Time: at, Message: []byte(strings.Repeat("x", 100))},
	} {
		if got := LogLine(&l, 100); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSingle(t *testing.T) {
	line := func(s string) []Line { return []Line{{Source: netip.MustParseAddr(s)}} }
	for _, c := range []struct {
		prefix, address string
		lines           []Line
		want            string
	}{
		{"198.51.100.7/32", "198.51.100.7", nil, "198.51.100.7"},
		{"198.51.100.7/32", "::ffff:198.51.100.7", nil, "198.51.100.7"},
		{"2001:db8:1:2::/64", "2001:db8:1:2::9", nil, "2001:db8:1:2::9"},
		{"2001:db8:1:2::/64", "2001:db8:1:2::", line("2001:db8:1:2::8"), "2001:db8:1:2::8"},
		{"2001:db8:1:2::/64", "2001:db8:1:2::", line("2001:db8:1:3::8"), ""},
		{"2001:db8:1:2::/64", "2001:db8:1:2::", nil, ""},
		{"2001:db8:1:2::/128", "2001:db8:1:2::", nil, "2001:db8:1:2::"},
		{"198.51.100.0/24", "198.51.100.0", nil, ""},
		{"198.51.100.0/24", "198.51.100.9", nil, "198.51.100.9"},
	} {
		r := &Report{Prefix: netip.MustParsePrefix(c.prefix), Address: netip.MustParseAddr(c.address), Lines: c.lines}
		got, ok := Single(r)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s, %s: %v, %v", c.prefix, c.address, got, ok)
		}
	}
}

func TestPublic(t *testing.T) {
	for s, want := range map[string]bool{
		"198.51.100.7": false, "203.0.113.1": false, "2001:db8::1": false, "2002::1": false, "8.8.8.8": true, "2a00:1::1": true,
		"10.1.2.3": false, "192.168.0.1": false, "172.16.0.1": false, "127.0.0.1": false, "169.254.1.1": false, "100.64.0.1": false, "0.1.2.3": false,
		"224.0.0.1": false, "255.255.255.255": false, "240.0.0.1": false, "198.18.0.1": false, "::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false,
		"::ffff:8.8.8.8": true, "192.0.1.1": true, "192.0.2.1": false, "64:ff9b::808:808": false, "::ffff:10.0.0.1": false,
		"fd00::1": false, "ff02::1": false, "100::1": false,
	} {
		if got := Public(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
		if got, want := Documentation(netip.MustParseAddr(s)), strings.HasPrefix(s, "198.51") || strings.HasPrefix(s, "192.0.2.") || strings.HasPrefix(s, "203.0") || strings.HasPrefix(s, "2001:db8"); got != want {
			t.Errorf("%s: for documentation: %v", s, got)
		}
	}
}
