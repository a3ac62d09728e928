package report

import "net/netip"

// shared are networks that no host on the Internet has for its own, beside those that netip knows: carrier-grade NAT
// (RFC 6598), IETF protocols (RFC 6890), benchmarks (RFC 2544), reserved (RFC 1112), NAT64 of a site (RFC 8215), discard
// (RFC 6666). Documentation (RFC 5737, 3849) is not among them: tests report it.
var shared = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
}

// Public says whether an address belongs to somebody on the Internet whom a third party can be told about. Others mean another
// host to everybody.
func Public(a netip.Addr) bool {
	if a.Zone() != "" || !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range shared {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// Single returns the one address that a report for third parties is about: they take no networks. It reports false where
// only a network is known: its first address, which no client has, stands for it.
func Single(r *Report) (netip.Addr, bool) {
	a := r.Address.Unmap()
	if a.IsValid() && (r.Prefix.IsSingleIP() || a != r.Prefix.Masked().Addr()) {
		return a, true
	}
	for i := len(r.Lines) - 1; i >= 0; i-- {
		if s := r.Lines[i].Source.Unmap(); r.Prefix.Contains(s) && s != r.Prefix.Masked().Addr() {
			return s, true
		}
	}
	return netip.Addr{}, false
}
