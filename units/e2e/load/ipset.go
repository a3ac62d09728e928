package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
)

// ipset asks the kernel whether an address is in a set: some ten microseconds over one socket, where the ipset command
// takes more than a millisecond. Numbers are those of linux/netfilter/ipset/ip_set.h.
type ipset struct {
	fd  int
	seq uint32
}

const (
	protocol      = 6
	cmdTest       = 11
	subsysIPSet   = 6
	netlinkFilter = 12

	attrProtocol = 1
	attrSetName  = 2
	attrData     = 7
	attrIP       = 1 // inside attrData
	attrIPv4     = 1 // inside attrIP
	nested       = 0x8000
	netByteOrder = 0x4000

	// errExist is IPSET_ERR_EXIST: the answer to a test of what is not in the set.
	errExist = syscall.Errno(4103)
)

func dialIPSet() (*ipset, error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, netlinkFilter)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &ipset{fd: fd}, nil
}

// contains reports whether the IPv4 address is in the set. A set that does not exist (yet) contains nothing.
func (s *ipset) contains(set string, a netip.Addr) (bool, error) {
	s.seq++
	m := make([]byte, 20, 128)
	binary.NativeEndian.PutUint16(m[4:], subsysIPSet<<8|cmdTest)
	binary.NativeEndian.PutUint16(m[6:], syscall.NLM_F_REQUEST|syscall.NLM_F_ACK)
	binary.NativeEndian.PutUint32(m[8:], s.seq)
	m[16] = syscall.AF_INET
	m = append(m, attr(attrProtocol, []byte{protocol})...)
	m = append(m, attr(attrSetName, append([]byte(set), 0))...)
	m = append(m, attr(attrData|nested, attr(attrIP|nested, attr(attrIPv4|netByteOrder, a.AsSlice())))...)
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	if err := syscall.Sendto(s.fd, m, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return false, fmt.Errorf("ipset test %s: %w", set, err)
	}
	buf := make([]byte, 4096)
	n, _, err := syscall.Recvfrom(s.fd, buf, 0)
	if err != nil {
		return false, fmt.Errorf("ipset test %s: %w", set, err)
	}
	if n < 20 || binary.NativeEndian.Uint16(buf[4:]) != syscall.NLMSG_ERROR {
		return false, fmt.Errorf("ipset test %s: no answer", set)
	}
	switch e := syscall.Errno(-int32(binary.NativeEndian.Uint32(buf[16:]))); e {
	case 0:
		return true, nil
	case errExist, syscall.ENOENT:
		return false, nil
	default:
		return false, fmt.Errorf("ipset test %s %s: %w", set, a, e)
	}
}

// attr is one netlink attribute: length, type, value, padding to four bytes.
func attr(typ uint16, value []byte) []byte {
	b := make([]byte, (4+len(value)+3)&^3)
	binary.NativeEndian.PutUint16(b, uint16(4+len(value)))
	binary.NativeEndian.PutUint16(b[2:], typ)
	copy(b[4:], value)
	return b
}
