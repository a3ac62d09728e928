package whois

import (
	"net/netip"
	"strings"
)

// Block returns the largest prefix that contains addr and lies between the first and the last address of a network. It is the zero
// Prefix if addr is not between them.
func Block(first, last, addr netip.Addr) netip.Prefix {
	first, last, addr = first.Unmap(), last.Unmap(), addr.Unmap()
	if first.BitLen() != addr.BitLen() || last.BitLen() != addr.BitLen() || addr.Less(first) || last.Less(addr) {
		return netip.Prefix{}
	}
	for bits := range addr.BitLen() + 1 {
		p, _ := addr.WithZone("").Prefix(bits)
		if !p.Addr().Less(first) && !last.Less(end(p)) {
			return p
		}
	}
	return netip.Prefix{}
}

// end is the last address of a prefix.
func end(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// parseRange reads a network as registries write it and returns the part that contains addr: "192.0.2.0 - 192.0.2.255",
// "192.0.2.0/24, 198.51.100.0/23", "192.0.2/24".
func parseRange(s string, addr netip.Addr) (best netip.Prefix) {
	if from, to, ok := strings.Cut(s, "-"); ok {
		first, err := netip.ParseAddr(strings.TrimSpace(from))
		last, err2 := netip.ParseAddr(strings.TrimSpace(firstWord(to)))
		if err != nil || err2 != nil {
			return netip.Prefix{}
		}
		return Block(first, last, addr)
	}
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		if p := parsePrefix(w); p.IsValid() && p.Contains(addr) && p.Bits() >= best.Bits() {
			best = p
		}
	}
	return best
}

// parsePrefix reads 192.0.2.0/24, LACNIC's 192.0.2/24 and a single address.
func parsePrefix(s string) netip.Prefix {
	host, bits, ok := strings.Cut(s, "/")
	if !ok {
		a, err := netip.ParseAddr(host)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}
		}
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
	}
	if !strings.Contains(host, ":") {
		for dots := strings.Count(host, "."); dots < 3; dots++ {
			host += ".0"
		}
	}
	p, err := netip.ParsePrefix(host + "/" + bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p.Masked()
}

func firstWord(s string) string {
	w, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	return w
}
