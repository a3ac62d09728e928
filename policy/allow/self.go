package allow

import "net/netip"

// always are sources whose packets no host may drop: loopback; the unspecified address, from which DHCP (0.0.0.0) and IPv6
// duplicate address detection (::) send; and IPv6 link-local addresses, since failures are counted by /64 and a ban of
// fe80::/64 would block the router and neighbour discovery. IPv4 link-local addresses are banned one by one, so they are not
// here.
var always = []struct{ prefix, why string }{
	{"0.0.0.0/32", "unspecified address"},
	{"127.0.0.0/8", "loopback"},
	{"::/128", "unspecified address"},
	{"::1/128", "loopback"},
	{"fe80::/10", "link-local: router and neighbour discovery"},
}

// SelfEntries returns what a host must never ban: loopback, unspecified and IPv6 link-local addresses, and the host's own,
// which the caller reads from its interfaces. Their origin is OriginSelf.
func SelfEntries(own []netip.Addr) []Entry {
	l := make([]Entry, 0, len(always)+len(own))
	for _, a := range always {
		l = append(l, Entry{Prefix: netip.MustParsePrefix(a.prefix), Origin: OriginSelf, Comment: a.why})
	}
	for _, a := range own {
		if !a.IsValid() {
			continue
		}
		a = a.Unmap().WithZone("")
		l = append(l, Entry{Prefix: netip.PrefixFrom(a, a.BitLen()), Origin: OriginSelf, Comment: "address of this host"})
	}
	return l
}
