package report

import (
	"fmt"
	"net/netip"
)

// special are the networks that no registry assigns: those in IANA's special-purpose registries for IPv4 and, within 2000::/3, IPv6 (RFC
// 6890 and later), multicast and reserved ones, without those for documentation.
var special = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3", "2001::/23", "2002::/16")

// documentation are the networks of RFC 5737, 3849 and 9637.
var documentation = prefixes("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")

var globalUnicast = netip.MustParsePrefix("2000::/3")

// Public reports whether an address can be assigned to a host on the Internet. Private, reserved and multicast addresses, those of transition
// mechanisms and those for documentation cannot.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsValid() && a.Zone() == "" && (a.Is4() || globalUnicast.Contains(a)) && !in(special, a) && !Documentation(a)
}

// Documentation reports whether an address is reserved for examples.
func Documentation(a netip.Addr) bool { return in(documentation, a.Unmap()) }

func in(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func prefixes(all ...string) (list []netip.Prefix) {
	for _, s := range all {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

// Single returns the address that a report is about, for recipients that do not accept networks. It returns false if only a network is
// known; its first address, which no client has, then stands for it.
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

// Recipient is a third party that collects reports about single public addresses, by its name.
type Recipient string

// Refuse is the error of a report that the recipient must not get.
func (t Recipient) Refuse(format string, args ...any) error {
	return &Refused{Err: fmt.Errorf("%s is not told: %w", t, fmt.Errorf(format, args...))}
}

// Address returns the address of a report for the recipient, or why it must not get the report. Addresses for documentation are allowed,
// since tests are about them.
func (t Recipient) Address(r *Report) (netip.Addr, error) {
	a, ok := Single(r)
	switch {
	case !ok:
		return a, t.Refuse("it accepts single addresses only, and none of %v is known", r.Prefix)
	case !Public(a) && !Documentation(a):
		return a, t.Refuse("%v is not a public address", a)
	}
	return a, nil
}
