package allow

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"
)

func parsed(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestContains(t *testing.T) {
	l := NewList([]Entry{
		{Prefix: parsed("192.0.2.0/24"), Origin: "a", Line: 1},
		{Prefix: parsed("192.0.2.128/25"), Origin: "a", Line: 2},
		{Prefix: parsed("192.0.2.200/32"), Origin: "a", Line: 3, Until: now},
		{Prefix: parsed("::ffff:198.51.100.0/120"), Origin: "b", Line: 9},
		{Prefix: parsed("2001:db8::/32"), Origin: OriginRuntime},
		{Prefix: parsed("2001:db8:1::/48"), Origin: "c", Comment: "site", Line: 4},
		{Prefix: parsed("::/16"), Origin: "wide"}, // spans ::ffff:0:0/96 and holds none of it
		{Prefix: parsed("203.0.113.77/24"), Origin: "d"},
		{},
	})
	if l.Len() != 8 {
		t.Errorf("%d entries", l.Len())
	}
	for _, tt := range []struct {
		addr string
		at   time.Time
		want string // Where of the entry, "" for none
	}{
		{"192.0.2.1", now, "a:1"},
		{"192.0.2.127", now, "a:1"},
		{"192.0.2.128", now, "a:2"},
		{"192.0.2.200", now.Add(-time.Microsecond), "a:3"},
		{"192.0.2.200", now, "a:2"},
		{"192.0.2.255", now, "a:2"},
		{"192.0.3.0", now, ""},
		{"192.0.1.255", now, ""},
		{"::ffff:192.0.2.1", now, "a:1"},
		{"198.51.100.255", now, "b:9"},
		{"2001:db8::1", now, "runtime"},
		{"2001:db8:1::1", now, "c:4"},
		{"2001:db8:2::1", now, "runtime"},
		{"2001:db9::", now, ""},
		{"::1", now, "wide"},
		{"8.8.8.8", now, ""},
		{"203.0.113.1", now, "d"},
		{"fe80::1%eth0", now, ""},
	} {
		e, ok := l.Contains(netip.MustParseAddr(tt.addr), tt.at.UnixMicro())
		if ok != (tt.want != "") || e.Where() != tt.want {
			t.Errorf("%s: %+v, %v; want %q", tt.addr, e, ok, tt.want)
		}
	}
	e, _ := l.Contains(netip.MustParseAddr("2001:db8:1::1"), 0)
	if want := (Entry{Prefix: parsed("2001:db8:1::/48"), Origin: "c", Comment: "site", Line: 4}); e != want {
		t.Errorf("%+v, want %+v", e, want)
	}
	e, _ = l.Contains(netip.MustParseAddr("192.0.2.200"), 0)
	if !e.Until.Equal(now) {
		t.Errorf("until %v, want %v", e.Until, now)
	}
	if _, ok := l.Contains(netip.Addr{}, 0); ok {
		t.Error("no address is allowed")
	}
}

func TestEmpty(t *testing.T) {
	for name, l := range map[string]*List{"nil": nil, "zero": {}, "new": NewList(nil)} {
		if _, ok := l.Contains(netip.MustParseAddr("192.0.2.1"), 0); ok || l.Overlaps(parsed("0.0.0.0/0"), 0) || l.Len() != 0 || len(l.Entries()) != 0 {
			t.Errorf("%s list holds something", name)
		}
		if m := NewList(append(l.Entries(), Entry{Prefix: parsed("192.0.2.1/32")})); m.Len() != 1 {
			t.Errorf("%s list with one has %d", name, m.Len())
		}
	}
}

// A ban must neither cover an allowed address nor lie inside an allowed network.
func TestOverlapping(t *testing.T) {
	l := NewList([]Entry{
		{Prefix: parsed("192.0.2.0/24"), Origin: "net"},
		{Prefix: parsed("192.0.2.0/32"), Origin: "first"},
		{Prefix: parsed("192.0.2.9/32"), Origin: "nine"},
		{Prefix: parsed("198.51.100.7/32"), Origin: "old", Until: now},
		{Prefix: parsed("2001:db8::42/128"), Origin: "six"},
		{Prefix: parsed("::1/128"), Origin: "loopback"},
	})
	at := now.UnixMicro()
	for p, want := range map[string][]string{
		"192.0.2.9/32":         {"nine", "net"},
		"192.0.2.0/31":         {"first", "net"},
		"192.0.2.0/24":         {"first", "net", "nine"},
		"192.0.2.8/29":         {"net", "nine"},
		"192.0.0.0/16":         {"net", "first", "nine"},
		"192.0.3.0/24":         nil,
		"198.51.100.0/24":      nil,
		"2001:db8::/64":        {"six"},
		"2001:db8::/65":        {"six"},
		"2001:db8:0:1::/64":    nil,
		"::/64":                {"loopback"},
		"::ffff:192.0.2.9/128": {"nine", "net"},
	} {
		var got []string
		for _, e := range l.Overlapping(parsed(p), at) {
			got = append(got, e.Where())
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || l.Overlaps(parsed(p), at) != (want != nil) {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
	if e := l.Expired(parsed("198.51.100.0/24"), at); len(e) != 1 || e[0].Where() != "old" {
		t.Errorf("expired: %+v", e)
	}
	if e := l.Expired(parsed("198.51.100.0/24"), at-1); e != nil || l.Expired(parsed("192.0.2.0/24"), at) != nil {
		t.Errorf("expired: %+v", e)
	}
	if !l.Overlaps(parsed("198.51.100.0/24"), at-1) {
		t.Error("an entry is over before its time")
	}
	if l.Overlaps(netip.Prefix{}, at) {
		t.Error("no prefix overlaps")
	}
}

// Of equal prefixes the one that lasts longest is kept, and if several do, the first.
func TestEqualPrefixes(t *testing.T) {
	p := parsed("192.0.2.1/32")
	l := NewList([]Entry{
		{Prefix: p, Origin: "short", Until: now},
		{Prefix: p, Origin: "first"},
		{Prefix: p, Origin: "second"},
		{Prefix: p, Origin: "long", Until: now.AddDate(1, 0, 0)},
	})
	if l.Len() != 1 || l.Entries()[0].Origin != "first" {
		t.Errorf("entries %+v", l.Entries())
	}
	l = NewList([]Entry{{Prefix: p, Origin: "file", Until: now}, {Prefix: p, Origin: OriginRuntime}})
	if l.Len() != 1 || l.Entries()[0].Origin != OriginRuntime {
		t.Errorf("entries %+v", l.Entries())
	}
	l = NewList([]Entry{{Prefix: p, Origin: "file"}, {Prefix: p, Origin: OriginRuntime}})
	if l.Len() != 1 || l.Entries()[0].Origin != "file" {
		t.Errorf("entries %+v", l.Entries())
	}
}

// Random nested lists answer as a walk over all entries does.
func TestAgainstPlainWalk(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	addr := func() netip.Addr { // few bits vary, so that prefixes nest and touch
		if rnd.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{192, 0, byte(rnd.IntN(4)), byte(rnd.IntN(256))})
		}
		b := [16]byte{15: byte(rnd.IntN(8))}
		switch rnd.IntN(3) {
		case 0:
			b[0], b[1], b[7] = 0x20, 1, byte(rnd.IntN(4))
		case 1: // near ::ffff:0:0/96, where IPv4 sorts
			b[10], b[11] = byte(rnd.IntN(2))*0xff, 0xfe
		}
		return netip.AddrFrom16(b)
	}
	some := func() netip.Prefix {
		a := addr()
		bits := a.BitLen() - rnd.IntN(12)
		if rnd.IntN(4) == 0 {
			bits = rnd.IntN(a.BitLen() + 1)
		}
		p, _ := a.Prefix(bits)
		return p
	}
	for round := range 300 {
		var entries []Entry
		for i := range rnd.IntN(60) {
			e := Entry{Prefix: some(), Origin: "f", Line: i + 1}
			if rnd.IntN(3) == 0 {
				e.Until = now.Add(time.Duration(rnd.IntN(3)-1) * time.Second)
			}
			entries = append(entries, e)
		}
		l := NewList(entries)
		at := now.UnixMicro()
		active := func(e Entry) bool { return e.Until.IsZero() || at < e.Until.UnixMicro() }
		for range 200 {
			a, p := addr(), some()
			bits, hit := -1, false
			for _, e := range entries {
				if active(e) && e.Prefix.Contains(a) {
					bits = max(bits, e.Prefix.Bits())
				}
				hit = hit || active(e) && e.Prefix.Overlaps(p)
			}
			e, ok := l.Contains(a, at)
			if ok != (bits >= 0) || ok && (e.Prefix.Bits() != bits || !e.Prefix.Contains(a) || !active(e)) {
				t.Fatalf("round %d: %s: %+v, %v; want one of /%d", round, a, e, ok, bits)
			}
			if l.Overlaps(p, at) != hit {
				t.Fatalf("round %d: overlap of %s is %v in %v", round, p, !hit, entries)
			}
			for _, e := range l.Overlapping(p, at) {
				if !e.Prefix.Overlaps(p) || !active(e) {
					t.Fatalf("round %d: %s does not overlap %v", round, p, e)
				}
			}
		}
		if again := NewList(l.Entries()); !slices.Equal(again.Entries(), l.Entries()) {
			t.Fatalf("round %d: entries do not make the same list again", round)
		}
	}
}

func TestSelfEntries(t *testing.T) {
	l := NewList(SelfEntries([]netip.Addr{
		netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::ffff:192.0.2.11"), netip.MustParseAddr("2001:db8::10"), {},
	}))
	for _, a := range []string{"127.0.0.1", "127.255.255.255", "::1", "::", "0.0.0.0", "fe80::dead:beef", "192.0.2.10", "192.0.2.11", "2001:db8::10"} {
		if e, ok := l.Contains(netip.MustParseAddr(a), 0); !ok || e.Where() != OriginSelf || e.Comment == "" {
			t.Errorf("%s: %+v, %v", a, e, ok)
		}
	}
	for _, a := range []string{"192.0.2.12", "0.0.0.1", "2001:db8::11", "169.254.1.1", "10.0.0.1", "fec0::1"} {
		if _, ok := l.Contains(netip.MustParseAddr(a), 0); ok {
			t.Errorf("%s is allowed", a)
		}
	}
	if !l.Overlaps(parsed("2001:db8::/64"), 0) {
		t.Error("the network of the host's own address may be banned as a whole")
	}
}

// large makes n entries of both families, as a cloud provider's list may have.
func large(n int) []Entry {
	rnd := rand.New(rand.NewPCG(3, 4))
	entries := make([]Entry, n)
	for i := range entries {
		e := Entry{Origin: "/etc/bailiff/allow.d/large.list", Line: i + 1, Comment: "monitor"}
		if i%2 == 0 {
			e.Prefix, _ = netip.AddrFrom4([4]byte{byte(rnd.UintN(223) + 1), byte(rnd.UintN(256)), byte(rnd.UintN(256)), byte(rnd.UintN(256))}).Prefix(24 + rnd.IntN(9))
		} else {
			e.Prefix, _ = netip.AddrFrom16([16]byte{0x20, byte(rnd.UintN(256)), byte(rnd.UintN(256)), byte(rnd.UintN(256)), byte(rnd.UintN(256)), byte(rnd.UintN(256))}).Prefix(32 + rnd.IntN(33))
		}
		entries[i] = e
	}
	return entries
}

func TestLookUpDoesNotAllocate(t *testing.T) {
	l := NewList(large(10_000))
	in, out := l.Entries()[5_000].Prefix, netip.MustParseAddr("255.1.2.3")
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := l.Contains(in.Addr(), 0); !ok {
			t.Fatal("not found")
		}
		if _, ok := l.Contains(out, 0); ok || !l.Overlaps(in, 0) {
			t.Fatal("wrong answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A list of 100,000 entries stays within 6 MiB besides the entries themselves.
func TestMemory(t *testing.T) {
	const n = 100_000
	entries := large(n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := NewList(entries)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(entries)
	used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d entries take %d bytes, %.1f each", l.Len(), used, float64(used)/float64(l.Len()))
	if used > 6<<20 || used < n {
		t.Errorf("%d entries take %d bytes", l.Len(), used)
	}
	runtime.KeepAlive(l)
}

func BenchmarkContains(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := NewList(large(n))
			all := l.Entries()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				a := all[i%len(all)].Prefix.Addr()
				if _, ok := l.Contains(a, 0); !ok {
					b.Fatal(a)
				}
				i += 7919
			}
		})
	}
}

func BenchmarkNewList(b *testing.B) {
	entries := large(100_000)
	for b.Loop() {
		NewList(entries)
	}
}
