package conn

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"bailiff/policy/prefix"
)

// matcher finds addresses in prefixes.
type matcher struct {
	prefix.Set
	has4, has6 bool
}

func newMatcher(list []netip.Prefix) *matcher {
	m := new(matcher)
	masked := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		if p = p.Masked(); p.IsValid() {
			masked = append(masked, p)
			m.has4, m.has6 = m.has4 || p.Addr().Is4(), m.has6 || p.Addr().Is6()
		}
	}
	for _, p := range prefix.Compact(masked) {
		m.Add(p)
	}
	return m
}

func (m *matcher) has(a netip.Addr) bool { return m.Contains(a.Unmap()) }

func (m *matcher) families() []uint8 {
	var f []uint8
	if m.has4 {
		f = append(f, unix.AF_INET)
	}
	if m.has4 || m.has6 {
		f = append(f, unix.AF_INET6) // IPv4 over IPv6 sockets too
	}
	return f
}
