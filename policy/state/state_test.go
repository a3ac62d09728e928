package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/prefix"
)

const sec = int64(1_000_000)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func comparePrefixes(a, b netip.Prefix) int {
	k, l := prefix.OfPrefix(a), prefix.OfPrefix(b)
	return prefix.Order(k, l)
}

func randomPrefix(r *rand.Rand) netip.Prefix {
	if r.IntN(2) == 0 {
		p, _ := netip.AddrFrom4([4]byte{203, 0, byte(r.IntN(4)), byte(r.IntN(8))}).Prefix([]int{32, 32, 24, 16}[r.IntN(4)])
		return p
	}
	b := netip.MustParseAddr("2001:db8::").As16()
	b[5], b[7], b[15] = byte(r.IntN(2)), byte(r.IntN(4)), byte(r.IntN(4))
	p, _ := netip.AddrFrom16(b).Prefix([]int{64, 64, 128, 48}[r.IntN(4)])
	return p
}

// TestModel compares with a plain map over random operations, and now and then goes through a snapshot.
func TestModel(t *testing.T) {
	type id struct {
		p netip.Prefix
		j string
	}
	r := rand.New(rand.NewPCG(3, 4))
	l := New()
	model := map[id]Ban{}
	now := 1000 * sec
	for i := range 40_000 {
		now += r.Int64N(2 * sec)
		p, j := randomPrefix(r), []string{"sshd", "postfix", "manual"}[r.IntN(3)]
		switch n := r.IntN(100); {
		case n < 60:
			b := Ban{Prefix: p, Jail: j, Since: now, Until: now + 1 + r.Int64N(300*sec), Failures: r.IntN(9), Count: 1 + r.IntN(3), Reason: reasons[r.IntN(len(reasons))]}
			if n < 5 {
				b.Until = 0
			}
			if j == "manual" {
				b.Reason, b.By = fmt.Sprint("because ", r.IntN(5)), "root"
			}
			l.Add(b)
			model[id{p, j}] = b
		case n < 80:
			_, want := model[id{p, j}]
			if l.Remove(p, j) != want {
				t.Fatalf("step %d: remove %s %s: want %v", i, p, j, want)
			}
			delete(model, id{p, j})
		case n < 85:
			over := l.Expire(now, now)
			for k, b := range over {
				if k > 0 && over[k-1].Until > b.Until {
					t.Fatal("not by time")
				}
				if model[id{b.Prefix, b.Jail}] != b || b.Until == 0 || b.Until > now {
					t.Fatalf("step %d: expired %+v, model %+v", i, b, model[id{b.Prefix, b.Jail}])
				}
				delete(model, id{b.Prefix, b.Jail})
			}
			for _, b := range model {
				if b.Until != 0 && b.Until <= now {
					t.Fatalf("step %d: %+v is over", i, b)
				}
			}
		case n < 95:
			a := p.Addr()
			var want, got []string
			for k, b := range model {
				if k.p.Contains(a) {
					want = append(want, fmt.Sprint(b))
				}
			}
			for b := range l.Covering(a) {
				got = append(got, fmt.Sprint(b))
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("step %d: covering %s: %q, want %q", i, a, got, want)
			}
		default:
			if n == 99 {
				snap := l.AppendSnapshot(nil, nil)
				back, err := Decode(snap)
				if err != nil {
					t.Fatal(err)
				}
				if again := back.AppendSnapshot(nil, nil); !bytes.Equal(again, snap) {
					t.Fatal("a snapshot of a snapshot differs")
				}
				l = back
			}
			var last Ban
			n := 0
			counts := l.Counts()
			for b := range l.All() {
				c := counts[b.Jail]
				if b.Prefix.Addr().Is4() {
					c.IPv4--
				} else {
					c.IPv6--
				}
				counts[b.Jail] = c
				if model[id{b.Prefix, b.Jail}] != b {
					t.Fatalf("step %d: %+v, model %+v", i, b, model[id{b.Prefix, b.Jail}])
				}
				if n > 0 && (comparePrefixes(last.Prefix, b.Prefix) > 0 || last.Prefix == b.Prefix && last.Jail >= b.Jail) {
					t.Fatalf("%v stands before %v", last, b)
				}
				last = b
				n++
			}
			for jail, c := range counts {
				if c != (Count{}) {
					t.Fatalf("step %d: jail %s: %+v more counted than there are", i, jail, c)
				}
			}
			if n != len(model) || l.Len() != n {
				t.Fatalf("step %d: %d bans, Len %d, want %d", i, n, l.Len(), len(model))
			}
		}
	}
}

func TestEscalate(t *testing.T) {
	l := New()
	p := pfx("203.0.113.7/32")
	const base, most, forget = 48 * time.Hour, 28 * 24 * time.Hour, 30 * 24 * time.Hour
	at := int64(0)
	want := []time.Duration{base, 2 * base, 4 * base, 8 * base, most, most}
	for i, w := range want {
		long, count := l.Escalate(p, at, base, 2, most, forget, 0)
		if long != w || count != i+1 {
			t.Fatalf("ban %d: %v, %d", i+1, long, count)
		}
		at += long.Microseconds() + 3600*sec
	}
	// Not yet forgotten, to the microsecond, and then forgotten.
	end := l.past.get(rowKey{prefix: prefix.OfPrefix(p)}).end
	if _, n := l.Escalate(p, end+forget.Microseconds(), base, 2, most, forget, 0); n != 7 {
		t.Errorf("count %d", n)
	}
	end = l.past.get(rowKey{prefix: prefix.OfPrefix(p)}).end
	if long, n := l.Escalate(p, end+forget.Microseconds()+1, base, 2, most, forget, 0); n != 1 || long != base {
		t.Errorf("after forgetting: %v, %d", long, n)
	}
	// The cap shortens no ban_time; forever stays forever; with factor 1 all bans are equally long.
	q := pfx("203.0.113.8/32")
	for range 3 {
		if long, _ := l.Escalate(q, 0, 60*24*time.Hour, 2, most, forget, 0); long != 60*24*time.Hour {
			t.Errorf("%v", long)
		}
	}
	if long, _ := l.Escalate(pfx("203.0.113.9/32"), 0, forever, 2, most, forget, 0); long != forever {
		t.Errorf("%v", long)
	}
	for range 5 {
		if long, _ := l.Escalate(pfx("203.0.113.10/32"), 0, base, 1, most, forget, 0); long != base {
			t.Errorf("%v", long)
		}
	}
	for range 2000 { // no overflow, whatever the factor
		if long, _ := l.Escalate(pfx("203.0.113.11/32"), 0, base, 1000, forever, 0, 0); long < base {
			t.Fatalf("%v", long)
		}
	}
}

func TestPardon(t *testing.T) {
	l := New()
	l.Pardon(pfx("203.0.113.0/24"), 100)
	l.Pardon(pfx("2001:db8::/64"), 200)
	for _, c := range []struct {
		addr string
		at   int64
		want bool
	}{
		{"203.0.113.7", 100, true}, {"203.0.113.7", 101, false}, {"203.0.114.7", 50, false},
		{"2001:db8::1", 200, true}, {"2001:db8::1", 201, false}, {"2001:db8:0:1::1", 100, false},
	} {
		if got := l.Pardoned(netip.MustParseAddr(c.addr), c.at, 1000); got != c.want {
			t.Errorf("%s at %d: %v", c.addr, c.at, got)
		}
	}
	// A pardon given while the clock was ahead forgives nothing that comes after the clock is right, and the next pardon
	// replaces it.
	l.Pardon(pfx("203.0.113.0/24"), 5000)
	if a := netip.MustParseAddr("203.0.113.7"); l.Pardoned(a, 4000, 1000) || !l.Pardoned(a, 4001, 1000) {
		t.Error("forgiven for longer than a window")
	}
	l.Pardon(pfx("203.0.113.0/24"), 50)
	if a := netip.MustParseAddr("203.0.113.7"); !l.Pardoned(a, 50, 1000) || l.Pardoned(a, 100, 1000) {
		t.Error("the clock was set back, and the pardon from before stays")
	}
	// More than there is room for: old ones go, and none of the youngest.
	ten := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	const all = maxPardons + 1000
	for i := range all {
		l.Pardon(ten(i), int64(1000+i))
	}
	if l.pardons.at.n != maxPardons {
		t.Errorf("%d pardons", l.pardons.at.n)
	}
	for i := all - 200; i < all; i++ {
		if !l.Pardoned(ten(i).Addr(), int64(1000+i), 1) {
			t.Errorf("pardon %d is lost", i)
		}
	}
	l.Expire(1000+all+pardonFor.Microseconds(), 1000+all+pardonFor.Microseconds())
	if l.pardons.at.n != 0 || len(l.pardons.lengths[0])+len(l.pardons.lengths[1]) != 0 {
		t.Errorf("after a year there are %d, by length %v", l.pardons.at.n, l.pardons.lengths)
	}
}

func TestID(t *testing.T) {
	b := Ban{Prefix: pfx("203.0.113.7/32"), Jail: "sshd", Since: 1795375020123456}
	if b.ID() != "7e79bb04c0872a52" { // it is in journals and mailboxes: it never changes
		t.Errorf("%s", b.ID())
	}
	ids := map[string]bool{b.ID(): true}
	for _, c := range []Ban{{Prefix: b.Prefix, Jail: "sshd", Since: b.Since + 1}, {Prefix: b.Prefix, Jail: "sshd2", Since: b.Since}, {Prefix: pfx("203.0.113.7/31"), Jail: "sshd", Since: b.Since}} {
		if ids[c.ID()] {
			t.Errorf("%+v has the id of another", c)
		}
		ids[c.ID()] = true
	}
	same := b
	same.Failures, same.Count, same.Until, same.Reason = 9, 9, 9, "x"
	if same.ID() != b.ID() {
		t.Error("the id depends on more than what the ban is")
	}
}

func full() *State {
	l := New()
	l.SetCursor("s=0639;i=1;b=a;m=1;t=5;x=9")
	l.Add(Ban{Prefix: pfx("203.0.113.7/32"), Jail: "sshd", Since: 5, Until: 500, Failures: 5, Count: 1, Scope: "22;80,443"})
	l.Add(Ban{Prefix: pfx("2001:db8::/64"), Jail: "manual", Since: 5, Reason: "two\nlines", By: "root"})
	l.Escalate(pfx("203.0.113.7/32"), 5, time.Hour, 2, time.Hour, 0, 0)
	l.Pardon(pfx("198.51.100.0/24"), 77)
	l.Allow(allow.Entry{Prefix: pfx("192.0.2.0/24"), Origin: allow.OriginRuntime, Comment: "monitor", Until: time.UnixMicro(900)})
	return l
}

func TestSnapshot(t *testing.T) {
	snap := full().AppendSnapshot(nil, nil)
	l, err := Decode(snap)
	if err != nil {
		t.Fatal(err)
	}
	if l.Cursor() != "s=0639;i=1;b=a;m=1;t=5;x=9" || l.Len() != 2 || len(l.HistoryOf(pfx("203.0.113.0/24"))) != 1 || !l.Pardoned(netip.MustParseAddr("198.51.100.1"), 77, 1) {
		t.Errorf("%+v", l)
	}
	if a := l.Allowed(); len(a) != 1 || a[0].Comment != "monitor" || a[0].Until.UnixMicro() != 900 || a[0].Origin != allow.OriginRuntime {
		t.Errorf("%+v", l.Allowed())
	}
	if b, ok := l.Get(pfx("203.0.113.7/32"), "sshd"); !ok || b.Scope != "22;80,443" {
		t.Errorf("%+v", b)
	}
	if b, ok := l.Get(pfx("2001:db8::/64"), "manual"); !ok || b.Scope != "" || b.Reason != "two\nlines" || b.By != "root" || b.Until != 0 {
		t.Errorf("%+v", b)
	}
	if empty, err := Decode(New().AppendSnapshot(nil, nil)); err != nil || empty.Len() != 0 {
		t.Error(err)
	}
	// Behind other bytes, too.
	if got := full().AppendSnapshot([]byte("xyz"), nil); string(got[:3]) != "xyz" || !bytes.Equal(got[3:], snap) {
		t.Error("AppendSnapshot does not append")
	}
}

// Each kind of damage has its own error, and no damaged file is accepted.
func TestDamaged(t *testing.T) {
	snap := full().AppendSnapshot(nil, nil)
	other := slices.Clone(snap)
	binary.LittleEndian.PutUint32(other[16:], 99)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":   {nil, "is not a state file"},
		"text":    {[]byte(strings.Repeat("hello ", 20)), "is not a state file"},
		"version": {other, "has version 99; this bailiff knows 1"},
		"cut":     {snap[:len(snap)-1], "is cut off: "},
		"longer":  {append(slices.Clone(snap), 0), "has 1 bytes behind its end"},
		"flipped": {func() []byte { b := slices.Clone(snap); b[40] ^= 1; return b }(), "is damaged: checksum"},
	} {
		if _, err := Decode(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range snap {
		b := slices.Clone(snap)
		b[i] ^= 0x41
		if _, err := Decode(b); err == nil {
			t.Errorf("byte %d changed, and nobody noticed", i)
		}
	}
}

// sealed gives a body the head that makes Decode look at it.
func sealed(body []byte) []byte {
	b := append([]byte(magic), 1, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(body)))
	return append(b, body...)
}

// FuzzDecode changes bodies under a valid checksum: no panic, no memory beyond a multiple of the input, and an accepted
// body goes through a snapshot unchanged.
func FuzzDecode(f *testing.F) {
	f.Add(full().AppendSnapshot(nil, nil)[headSize:])
	f.Add([]byte{0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, body []byte) {
		l, err := Decode(sealed(body))
		if err != nil {
			return
		}
		snap := l.AppendSnapshot(nil, nil)
		back, err := Decode(snap)
		if err != nil {
			t.Fatalf("its own snapshot: %v", err)
		}
		if !bytes.Equal(back.AppendSnapshot(nil, nil), snap) {
			t.Fatal("a snapshot of a snapshot differs")
		}
	})
}

func hundredThousand() *State {
	l := New()
	for i := range 100_000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(18 + i>>16), byte(i >> 8), byte(i)}), 32)
		at := int64(1_795_375_020_000_000) + int64(i)*1234
		l.Escalate(p, at, 48*time.Hour, 2, 28*24*time.Hour, 30*24*time.Hour, 0)
		l.Add(Ban{Prefix: p, Jail: "sshd", Since: at, Until: at + 172_800*sec, Failures: 5, Count: 1})
	}
	return l
}

func BenchmarkSnapshot100k(b *testing.B) {
	l := hundredThousand()
	snap := l.AppendSnapshot(nil, nil)
	b.Run("encode", func(b *testing.B) {
		buf := make([]byte, 0, len(snap))
		for range b.N {
			buf = l.AppendSnapshot(buf[:0], nil)
		}
		b.ReportMetric(float64(len(buf)), "B")
	})
	b.Run("decode", func(b *testing.B) {
		for range b.N {
			if _, err := Decode(snap); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("memory", func(b *testing.B) {
		for range b.N {
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			x := hundredThousand()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/100_000, "B/ban")
			runtime.KeepAlive(x)
		}
	})
	b.Run("covering", func(b *testing.B) {
		a := netip.MustParseAddr("198.18.77.77")
		for range b.N {
			for range l.Covering(a) {
			}
		}
	})
}

// TestTable compares with a map over random operations that fill and empty the table, and checks the table's invariants.
func TestTable(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var x table[int]
	model := map[rowKey]int{}
	random := func() rowKey {
		a := netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(16)), byte(r.IntN(256))})
		return rowKey{prefix.Of(a, 32-r.IntN(2)), uint16(r.IntN(3))}
	}
	for i := range 100_000 {
		k := random()
		grow := i/20_000%2 == 0
		switch n := r.IntN(100); {
		case n < 30 || grow && n < 80:
			_, ok := model[k]
			if x.set(k, i) == ok {
				t.Fatalf("step %d: added %v", i, !ok)
			}
			model[k] = i
		case n < 97:
			_, ok := model[k]
			if x.delete(k) != ok {
				t.Fatalf("step %d: deleted %v", i, !ok)
			}
			delete(model, k)
		case n < 98 && r.IntN(40) == 0 && !grow:
			x.deleteFunc(func(k rowKey, v *int) bool {
				if *v%7 == 0 {
					if model[k] != *v {
						t.Fatalf("step %d: deletes %v", i, k)
					}
					delete(model, k)
				}
				return *v%7 == 0
			})
		case n < 99 && x.n > 0 && !grow:
			n := x.n
			x.evict(func(v *int) int64 { return int64(*v) })
			for k := range model {
				if x.get(k) == nil {
					delete(model, k)
				}
			}
			if x.n != n-1 || len(model) != x.n {
				t.Fatalf("step %d: %d rows of %d after one was evicted", i, x.n, n)
			}
		}
		v := x.get(k)
		if want, ok := model[k]; (v != nil) != ok || ok && *v != want {
			t.Fatalf("step %d: get %v", i, k)
		}
		if i%500 != 0 {
			continue
		}
		n, last := 0, rowKey{}
		for k, v := range x.all() {
			if model[k] != *v || n > 0 && last.compare(&k) >= 0 {
				t.Fatalf("step %d: %v", i, k)
			}
			last = k
			n++
		}
		if n != len(model) || n != x.n {
			t.Fatalf("step %d: %d rows, n %d, want %d", i, n, x.n, len(model))
		}
		for b, rows := range x.blocks {
			if len(rows) == 0 || len(rows) > blockRows {
				t.Fatalf("step %d: block %d has %d rows", i, b, len(rows))
			}
		}
	}
}

// TestHistoryBounded: a full history makes room at a bounded price, and what is forgotten goes by itself.
func TestHistoryBounded(t *testing.T) {
	l := New()
	const forget = 30 * 24 * time.Hour
	for i := range maxHistory + 5000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		if i >= 1<<24 {
			t.Fatal("more than 10.0.0.0/8 has")
		}
		l.Escalate(p, int64(i), time.Hour, 2, time.Hour, forget, 0)
	}
	if l.past.n != maxHistory {
		t.Errorf("%d are remembered", l.past.n)
	}
	l.Expire(maxHistory+2*forget.Microseconds(), maxHistory+2*forget.Microseconds())
	if l.past.n != 0 {
		t.Errorf("%d are remembered", l.past.n)
	}
}

// Holds finds what a walk over all bans finds, whatever was added or removed since the last call.
func TestHolds(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	l := New()
	jails := []string{"sshd", "dovecot", "aaa", "zzz"}
	addr := func() netip.Addr {
		if r.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(8))})
		}
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(r.IntN(8))})
	}
	asked, yes := 0, 0
	for step := range 20_000 {
		now := int64(step)
		switch a := addr(); r.IntN(12) {
		case 0, 1:
			bits := []int{a.BitLen(), a.BitLen(), a.BitLen() - 1, a.BitLen() - 2, a.BitLen() / 2, min(a.BitLen(), 65)}[r.IntN(6)]
			p, _ := a.Prefix(bits)
			l.Add(Ban{Prefix: p, Jail: jails[r.IntN(len(jails))], Since: now - int64(r.IntN(20)), Until: []int64{0, now + int64(r.IntN(400))}[r.IntN(2)]})
		case 2:
			for b := range l.Covering(a) {
				l.Remove(b.Prefix, b.Jail)
				break
			}
		case 3:
			l.Expire(now, now)
		default:
			at, only := now-int64(r.IntN(30))+int64(r.IntN(30)), jails[r.IntN(len(jails))]
			want := false
			for b := range l.All() {
				want = want || b.Prefix.Contains(a) && b.Since < at && (b.Until == 0 || at < b.Until) && b.Jail == only
			}
			if got := l.Holds(a, at, func(jail, _ string) bool { return jail == only }); got != want {
				t.Fatalf("step %d: %v at %d by %s: %v, want %v", step, a, at, only, got, want)
			}
			if asked++; want {
				yes++
			}
		}
	}
	if yes < asked/20 || yes > asked*19/20 {
		t.Errorf("held %d of %d times", yes, asked)
	}
}

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		scope, other string
		covers       bool
		both         string
	}{
		{"", "22", true, ""}, {"", "", true, ""}, {"22", "", false, ""}, {"22", "22", true, "22"}, {"22", "25,465", false, "22;25,465"},
		{"22;25,465", "25,465", true, "22;25,465"}, {"22;25,465", "25", true, "22;25;25,465"}, {"22;25,465", "22,465", true, "22;22,465;25,465"},
		{"22;25-30", "26", false, "22;25-30;26"}, {"22,25", "22;26", false, "22;22,25;26"},
	} {
		if got := Covers(c.scope, c.other); got != c.covers {
			t.Errorf("%q covers %q: %v", c.scope, c.other, got)
		}
		if got := JoinScopes(c.scope, c.other); got != c.both {
			t.Errorf("%q and %q: %q", c.scope, c.other, got)
		}
	}
}
