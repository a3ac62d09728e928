package conn

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// matcher finds addresses in prefixes: one lookup in a map for each prefix length in use.
type matcher struct {
	all      map[netip.Prefix]bool
	len4     []int
	len6     []int
	bytecode []byte // the same as a filter for the kernel; nil when there are too many prefixes
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
	if len(p.all) <= maxFilter {
		for x := range p.all {
			p.bytecode = appendCondition(p.bytecode, x)
		}
		p.setJumps()
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

// appendCondition appends "if the remote address is in x, accept, else continue": a condition, which skips the jump behind it
// when it does not hold, and the jump to the end. An IPv4 condition also holds for mapped addresses of IPv6 sockets.
func appendCondition(b []byte, x netip.Prefix) []byte {
	family := byte(unix.AF_INET)
	if x.Addr().Is6() {
		family = unix.AF_INET6
	}
	addr := x.Addr().AsSlice()
	size := 4 + 8 + len(addr) // inet_diag_bc_op, inet_diag_hostcond, the address
	b = append(b, bcRemote, byte(size))
	b = binary.NativeEndian.AppendUint16(b, uint16(size+4))
	b = append(b, family, byte(x.Bits()), 0, 0)
	b = binary.NativeEndian.AppendUint32(b, 1<<32-1) // any port
	b = append(b, addr...)
	return append(b, bcJump, 4, 0, 0) // setJumps fills in where to
}

// setJumps writes into each jump how far away the end is: a filter that arrives at the end accepts. The last condition, when it
// does not hold, must lead beyond the end, which refuses.
func (p *matcher) setJumps() {
	b := p.bytecode
	last := 0
	for at := 0; at < len(b); {
		last = at
		at += int(b[at+1])
		binary.NativeEndian.PutUint16(b[at+2:], uint16(len(b)-at))
		at += 4
	}
	if len(b) > 0 {
		binary.NativeEndian.PutUint16(b[last+2:], uint16(len(b)-last+4))
	}
}
