package prefix

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func random(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{byte(r.IntN(3)), byte(r.IntN(256)), 0, byte(r.IntN(256))})
	}
	var b [16]byte
	for i := range b {
		b[i] = byte(r.IntN(256) * r.IntN(2))
	}
	b[0] |= 0x20
	return netip.AddrFrom16(b)
}

// Keys say the same as netip's prefixes.
func TestKey(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		a, b := random(r), random(r)
		if r.IntN(2) == 0 {
			b = a
		}
		n, m := r.IntN(a.BitLen()+1), r.IntN(b.BitLen()+1)
		p, _ := a.Prefix(n)
		q, _ := b.Prefix(m)
		k, l := Of(a, n), Of(b, m)
		if k.Prefix() != p || k.Addr() != p.Addr() || k.Bits() != n || k.V6() != a.Is6() || k.IsZero() || OfPrefix(p) != k {
			t.Fatalf("%v is %v", p, k.Prefix())
		}
		if k.Holds(l) != (p.Bits() <= q.Bits() && p.Contains(q.Addr())) || (k == l) != (p == q) || (Order(k, l) == 0) != (p == q) {
			t.Fatalf("%v holds %v: %v", p, q, k.Holds(l))
		}
		if p.Addr().Is4() == q.Addr().Is4() && p.Addr() != q.Addr() && Order(k, l) != p.Addr().Compare(q.Addr()) {
			t.Fatalf("%v and %v: %d", p, q, Order(k, l))
		}
		if k == l && k.Hash(7) != l.Hash(7) || k.Hash(7) == k.Hash(8) {
			t.Fatalf("the hash of %v", p)
		}
		saved := append(k.Append([]byte("x")), 99)
		if back, rest, ok := Decode(saved[1:]); !ok || back != k || !bytes.Equal(rest, []byte{99}) {
			t.Fatalf("%v comes back as %v, %v", p, back.Prefix(), ok)
		}
		for cut := range len(saved) - 2 {
			if _, _, ok := Decode(saved[1 : 1+cut]); ok {
				t.Fatalf("%d bytes of %v are taken for a prefix", cut, p)
			}
		}
	}
	seen := map[uint64]Key{}
	for range 20_000 { // each part of a key is in its hash
		k := OfAddr(random(r))
		k = k.Cut(r.IntN(k.Bits() + 1))
		if o, ok := seen[k.Hash(7)]; ok && o != k {
			t.Fatalf("%v and %v have one hash", k.Prefix(), o.Prefix())
		}
		seen[k.Hash(7)] = k
	}
	for _, bad := range [][]byte{{33, 4, 1, 2, 3, 4, 5}, {8, 5, 10}, {129, 6}, {4, 4, 0x1f}, append([]byte{128, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 1, 2, 3, 4)} {
		if k, _, ok := Decode(bad); ok {
			t.Errorf("%v is %v", bad, k.Prefix())
		}
	}
}
