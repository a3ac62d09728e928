// Package prefix defines Key, by which the policy's tables identify an address or a network. A Key takes 18 bytes, where a netip.Prefix
// takes 32, and holds no pointers, so that a table of a million costs the garbage collector nothing.
package prefix

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
)

// Key is a prefix without host bits. The zero Key is no prefix. Keys can be compared with == and used as map keys.
type Key struct {
	addr   [16]byte // IPv4 in the first four
	bits   uint8
	family uint8 // 4, 6, or 0 for no prefix
}

// Of returns the prefix of a length that contains an address. The address must be valid, without zone and not IPv4-mapped.
func Of(a netip.Addr, length int) Key {
	if a.Is4() {
		k := Key{bits: uint8(length), family: 4}
		b := a.As4()
		binary.BigEndian.PutUint32(k.addr[:4], binary.BigEndian.Uint32(b[:])&^(math.MaxUint32>>length))
		return k
	}
	return Key{addr: a.As16(), family: 6}.Cut(length)
}

// words are the halves of the address.
func (k *Key) words() (hi, lo uint64) {
	return binary.BigEndian.Uint64(k.addr[:8]), binary.BigEndian.Uint64(k.addr[8:])
}

func (k *Key) setWords(hi, lo uint64) {
	binary.BigEndian.PutUint64(k.addr[:8], hi)
	binary.BigEndian.PutUint64(k.addr[8:], lo)
}

// OfAddr returns the prefix that contains only an address.
func OfAddr(a netip.Addr) Key { return Of(a, a.BitLen()) }

// OfPrefix returns the key of a prefix, which must be valid and not IPv4-mapped.
func OfPrefix(p netip.Prefix) Key { return Of(p.Addr(), p.Bits()) }

// Cut returns the prefix of a length, no longer than k's, that contains k.
func (k Key) Cut(length int) Key {
	k.bits = uint8(length)
	hi, lo := k.words()
	if length < 64 {
		k.setWords(hi&^(^uint64(0)>>length), 0)
	} else if length < 128 {
		k.setWords(hi, lo&^(^uint64(0)>>(length-64)))
	}
	return k
}

// Nth returns the n-th prefix of a length up to 64 within k.
func (k Key) Nth(n uint64, length int) Key {
	hi, lo := k.words()
	k.setWords(hi|n<<(64-length), lo)
	k.bits = uint8(length)
	return k
}

// Holds reports whether o is k or lies in it.
func (k Key) Holds(o Key) bool {
	return k.family == o.family && k.bits <= o.bits && o.Cut(int(k.bits)) == k
}

// IsZero reports whether k is no prefix.
func (k Key) IsZero() bool { return k.family == 0 }

// V6 reports whether k is a prefix of IPv6.
func (k Key) V6() bool { return k.family == 6 }

// Bits is the length of the prefix.
func (k Key) Bits() int { return int(k.bits) }

// Addr is the first address.
func (k Key) Addr() netip.Addr {
	if k.family == 6 {
		return netip.AddrFrom16(k.addr)
	}
	return netip.AddrFrom4([4]byte(k.addr[:4]))
}

// Prefix returns k as a netip.Prefix.
func (k Key) Prefix() netip.Prefix { return netip.PrefixFrom(k.Addr(), int(k.bits)) }

// Compare sorts IPv4 before IPv6, then by address, then wide before narrow. It is written out and takes pointers because looking
// up a ban calls it some twenty times: that makes it ten times faster.
func (k *Key) Compare(o *Key) int {
	hi, lo := k.words()
	ohi, olo := o.words()
	switch {
	case k.family != o.family:
		return cmp.Compare(k.family, o.family)
	case hi != ohi:
		return cmp.Compare(hi, ohi)
	case lo != olo:
		return cmp.Compare(lo, olo)
	}
	return cmp.Compare(k.bits, o.bits)
}

// Order is Compare for values.
func Order(a, b Key) int { return a.Compare(&b) }

// Hash is a keyed hash of the prefix. Attackers choose addresses: without the seed nobody finds colliding ones.
func (k Key) Hash(seed uint64) uint64 {
	hi, lo := k.words()
	return Mix(hi, lo^uint64(k.bits)<<48^uint64(k.family)<<56, seed)
}

// Mix is a keyed hash of two words: two rounds of multiply and fold, as wyhash does. It is the same in each process, unlike
// hash/maphash, since the state file holds hashes.
func Mix(a, b, seed uint64) uint64 {
	h, l := bits.Mul64(a^seed, b^0xa0761d6478bd642f)
	x := h ^ l ^ a
	h, l = bits.Mul64(x^seed>>1, 0xe7037ed1a0b428db^seed)
	return h ^ l
}

// Append appends the prefix to b: its length, its family (4 or 6), and as many bytes of the address as the length needs.
func (k Key) Append(b []byte) []byte {
	return append(append(b, k.bits, k.family), k.addr[:(k.bits+7)/8]...)
}

// Decode reads what Append wrote and returns what lies behind it. ok is false for what is no prefix, has host bits or is
// IPv4-mapped.
func Decode(b []byte) (k Key, rest []byte, ok bool) {
	if len(b) < 2 {
		return k, b, false
	}
	k.bits, k.family = b[0], b[1]
	n := 2 + (int(k.bits)+7)/8
	if k.family != 6 && k.family != 4 || k.family == 4 && k.bits > 32 || k.bits > 128 || len(b) < n {
		return Key{}, b, false
	}
	copy(k.addr[:], b[2:n])
	if k != k.Cut(int(k.bits)) || k.family == 6 && k.Addr().Is4In6() {
		return Key{}, b, false
	}
	return k, b[n:], true
}
