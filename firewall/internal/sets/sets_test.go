package sets

import (
	"net/netip"
	"testing"
	"time"

	"bailiff/firewall"
)

func TestElement(t *testing.T) {
	for _, s := range []string{"192.0.2.7/32", "192.0.2.0/24", "128.0.0.0/1", "2001:db8::1/128", "2001:db8::/64", "::/64", "8000::/1"} {
		p := netip.MustParsePrefix(s)
		e := ElementOf(p)
		if e.Prefix() != p {
			t.Errorf("%s became %s", p, e.Prefix())
		}
		again, ok := ElementFrom(e.Addr(), p.Bits())
		if !ok || again != e || len(e.Addr()) != p.Addr().BitLen()/8 {
			t.Errorf("%s: %d bytes became %s, %t", p, len(e.Addr()), again.Prefix(), ok)
		}
	}
	for _, c := range []struct{ bytes, bits int }{{0, 0}, {3, 8}, {4, 33}, {16, 129}} {
		if e, ok := ElementFrom(make([]byte, c.bytes), c.bits); ok {
			t.Errorf("%d bytes with %d bits were taken for %s", c.bytes, c.bits, e.Prefix())
		}
	}
}

// TestDeadlines: what is given to the kernel comes back as the same end, to the second, and never as 0 seconds.
func TestDeadlines(t *testing.T) {
	const longest = 1000 * time.Hour
	d, now := NewDeadlines(longest), time.Now()
	for _, left := range []time.Duration{time.Millisecond, time.Second, time.Hour, longest} {
		deadline, ok := d.ToKernel(now.Add(left), now)
		if !ok {
			t.Fatalf("%v left is over", left)
		}
		n := d.Remaining(deadline, now)
		if off := time.Duration(n)*time.Second - left; n == 0 || off < -time.Second || off > 2*time.Second {
			t.Errorf("%v left is %d s", left, n)
		}
		if off := d.Until(d.FromKernel(n, now), now).Sub(now.Add(left).Round(0)); off.Abs() > 2*time.Second {
			t.Errorf("%v left comes back %v off", left, off)
		}
	}
	if deadline, ok := d.ToKernel(now.Add(10*longest), now); !ok || d.Remaining(deadline, now) > uint32(longest/time.Second) {
		t.Errorf("more than the longest: %d s, %t", d.Remaining(deadline, now), ok)
	}
	if deadline, ok := d.ToKernel(time.Time{}, now); !ok || deadline != 0 || d.Remaining(0, now) != 0 || !d.Until(0, now).IsZero() {
		t.Errorf("forever: %d, %t", deadline, ok)
	}
	if _, ok := d.ToKernel(now, now); ok {
		t.Error("what ends now is not over")
	}
}

// TestCompare: each kind of difference, and none where the ends differ by rounding or a long one was cut.
func TestCompare(t *testing.T) {
	const longest = 100 * time.Hour
	d, now := NewDeadlines(longest), time.Now()
	end := func(left time.Duration) uint32 { n, _ := d.ToKernel(now.Add(left), now); return n }
	e := func(i byte) Element { return ElementOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, i}), 32)) }
	want := Elements{e(1): end(time.Hour), e(2): end(time.Hour), e(3): 0, e(4): 0, e(5): end(10 * longest), e(6): end(10 * longest), e(7): end(time.Hour), e(8): end(time.Second)}
	have := Elements{e(1): end(time.Hour) + 3, e(2): end(2 * time.Hour), e(3): 0, e(4): end(time.Hour), e(5): end(longest * 2 / 3), e(6): end(longest / 3), e(9): 0, e(10): end(time.Second)}
	diff := d.Compare(want, have, now)
	var ch firewall.Change
	diff.Count(&ch)
	if ch.Added != 2 || ch.Removed != 2 || ch.Refreshed != 3 {
		t.Errorf("%+v, want 2 added, 2 removed, 3 refreshed", ch)
	}
	var s firewall.Set
	d.Inspect(&s, want, have, now)
	if s.Want != 8 || s.Have != 8 || s.Forever != 2 || s.Missing.N != 1 || s.Unexpected.N != 1 || s.WrongTimeout.N != 3 {
		t.Errorf("%+v, want those that end in a second neither missing nor unexpected", s)
	}
	limit := 4
	if whole := diff.Cut(&limit); whole || limit != 0 || len(diff.Missing)+len(diff.WrongTimeout)+len(diff.Unexpected) != 4 {
		t.Errorf("cut to %+v, %d to go", diff, limit)
	}
	if whole := diff.Cut(&limit); whole {
		t.Error("nothing is all of it")
	}
}

// TestGroup: of two bans with the same key the last counts.
func TestGroup(t *testing.T) {
	d, now := NewDeadlines(time.Hour), time.Now()
	p, q := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	live, over, err := Group(d, []firewall.Ban{
		{Prefix: p}, {Prefix: p, Until: now.Add(-time.Second)}, {Prefix: q, Until: now.Add(-time.Second)}, {Prefix: q}, {Prefix: q, Scope: "sshd"},
	}, func(k firewall.Key) (string, error) { return k.Scope, nil })
	if err != nil || len(live[""]) != 1 || len(over[""]) != 1 || len(live["sshd"]) != 1 || live[""][ElementOf(q)] != 0 {
		t.Errorf("live %v, over %v, %v", live, over, err)
	}
}
