package whois

import (
	"net/netip"
	"strings"
)

// Block returns the largest prefix that holds addr and lies wholly between the first and the last address of a network; the
// zero Prefix if they are no network with addr in it.
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

// parseRange reads a network as registries write it, and returns the part of it with addr in it: "192.0.2.0 - 192.0.2.255",
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

// special are the networks that no regional registry gave to anybody: IANA's special-purpose registries for IPv4 and, within
// 2000::/3, IPv6 (RFC 6890 and what came later), multicast, and what is reserved.
var special = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

var globalUnicast = netip.MustParsePrefix("2000::/3")

// Public says whether a registry can know to whom addr belongs. Private, reserved, documentation and multicast addresses and
// those of transition mechanisms are nobody's, or everybody's.
func Public(addr netip.Addr) bool {
	addr = addr.Unmap()
	if !addr.IsValid() || addr.Is6() && !globalUnicast.Contains(addr) {
		return false
	}
	for _, p := range special {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

func prefixes(all ...string) (l []netip.Prefix) {
	for _, s := range all {
		l = append(l, netip.MustParsePrefix(s))
	}
	return l
}
