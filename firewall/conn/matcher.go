package conn

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// matcher finds addresses in prefixes: one lookup in a map for each prefix length in use.
type matcher struct {
	all  map[netip.Prefix]bool
	len4 []int
	len6 []int
}

func newMatcher(list []netip.Prefix) *matcher {
	p := &matcher{all: make(map[netip.Prefix]bool, len(list))}
	for _, x := range list {
		if x = x.Masked(); !x.IsValid() || p.all[x] {
			continue
		}
		p.all[x] = true
		lens := &p.len4
		if x.Addr().Is6() {
			lens = &p.len6
		}
		if !slices.Contains(*lens, x.Bits()) {
			*lens = append(*lens, x.Bits())
		}
	}
	return p
}

func (p *matcher) has(a netip.Addr) bool {
	a = a.Unmap()
	lens := p.len4
	if a.Is6() {
		lens = p.len6
	}
	for _, n := range lens {
		if x, err := a.Prefix(n); err == nil && p.all[x] {
			return true
		}
	}
	return false
}

func (p *matcher) families() []uint8 {
	var f []uint8
	if len(p.len4) > 0 {
		f = append(f, unix.AF_INET)
	}
	if len(p.len4)+len(p.len6) > 0 {
		f = append(f, unix.AF_INET6) // IPv4 over IPv6 sockets too
	}
	return f
}
