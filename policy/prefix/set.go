package prefix

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Compare is the order of a sorted list: by address, IPv4 first, wider prefixes first.
func Compare(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// Compact sorts prefixes without host bits, and removes those that others contain. What is left does not overlap.
func Compact(l []netip.Prefix) []netip.Prefix {
	slices.SortFunc(l, Compare)
	kept := l[:0]
	for _, p := range l {
		if n := len(kept); n == 0 || !kept[n-1].Overlaps(p) {
			kept = append(kept, p)
		}
	}
	return kept
}

// Last is the last address of a prefix.
func Last(p netip.Prefix) netip.Addr {
	a := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(a); i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(a)
	return addr
}

// Set is the addresses of a compact list. A prefix takes 8 bytes, or 32 if it is IPv6. The zero Set is empty.
type Set struct {
	v4 [][2]uint32
	v6 [][2][16]byte
	n  int
}

// Add adds a prefix, which must come after all others as Compact leaves them.
func (s *Set) Add(p netip.Prefix) {
	s.n++
	if to := Last(p); to.Is4() {
		from4, to4 := p.Addr().As4(), to.As4()
		s.v4 = append(s.v4, [2]uint32{binary.BigEndian.Uint32(from4[:]), binary.BigEndian.Uint32(to4[:])})
	} else {
		s.v6 = append(s.v6, [2][16]byte{p.Addr().As16(), to.As16()})
	}
}

// Len returns the number of prefixes; 0 if s is nil.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return s.n
}

// Contains reports whether a prefix of the set holds an address.
func (s *Set) Contains(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		x := binary.BigEndian.Uint32(b[:])
		_, found := slices.BinarySearchFunc(s.v4, x, func(r [2]uint32, x uint32) int {
			switch {
			case r[1] < x:
				return -1
			case r[0] > x:
				return 1
			}
			return 0
		})
		return found
	}
	_, found := slices.BinarySearchFunc(s.v6, a, func(r [2][16]byte, a netip.Addr) int {
		switch {
		case netip.AddrFrom16(r[1]).Less(a):
			return -1
		case a.Less(netip.AddrFrom16(r[0])):
			return 1
		}
		return 0
	})
	return found
}
