package nlhelper

import (
	"net"
	"net/netip"
)

// Addresses returns the addresses of all interfaces in the network namespace of this process. It uses netlink.
func Addresses() ([]netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var l []netip.Addr
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				l = append(l, ip.Unmap())
			}
		}
	}
	return l, nil
}
