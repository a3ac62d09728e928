package conn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// From uapi/linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h.
const (
	ctGet    = 1<<8 | 1 // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
	ctNew    = 1 << 8
	ctDelete = 1<<8 | 2
	ctStats  = 1<<8 | 5 // IPCTNL_MSG_CT_GET_STATS

	genLen = 4 // struct nfgenmsg: family, version, resource

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaID         = 12
	ctaZone       = 18

	ctaStatsEntries = 1 // CTA_STATS_GLOBAL_ENTRIES

	ctaTupleIP = 1
	ctaV4Src   = 1
	ctaV6Src   = 3

	nested = 1<<15 | 1<<14 // NLA_F_NESTED, NLA_F_NET_BYTEORDER: flags in an attribute's type
)

// tracker is there when conntrack is: to ask an absent one would load it. (Not /proc/net/stat/nf_conntrack, which
// ProcSubset=pid hides.) Where even its directory is missing, as in containers of systemd-nspawn, the kernel has to be asked.
var tracker = "/sys/module/nf_conntrack"

// Forget deletes every connection of banned prefixes that conntrack knows, and returns how many there were: those that begin in one of them,
// and those that are answered from there, whatever the protocol. A firewall that lets established connections pass, and
// translates addresses (of containers, of forwarded ports), then sees their next packet as a new one.
//
// It walks the table once however many prefixes there are: a table of 100,000 takes 0.1 to 0.2 s, so one call for a whole
// batch is what to do, and not too many of them. Without conntrack in the kernel it does nothing. Without
// CAP_NET_ADMIN it answers with a *firewall.UnsupportedError.
//
// Close the connections of this host's own processes first (Kill): what those send still is tracked anew.
func Forget(ctx context.Context, prefixes []netip.Prefix) (int, error) {
	_, err := os.Stat(tracker)
	_, shown := os.Stat(filepath.Dir(tracker))
	if len(prefixes) == 0 || err != nil && shown == nil {
		return 0, ctx.Err()
	}
	s, err := dial(ctx, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, err
	}
	defer s.close()
	if n, err := s.entries(); err != nil || n == 0 {
		if shown != nil && errors.Is(err, unix.EINVAL) { // it knows nothing of that
			err = nil
		}
		return 0, err
	}
	want := collect(prefixes)
	var found [][]byte
	if len(want.len4) > 0 {
		found, err = s.tracked(ctx, unix.AF_INET, want, found)
	}
	if err == nil && len(want.len6) > 0 {
		found, err = s.tracked(ctx, unix.AF_INET6, want, found)
	}
	if err != nil {
		return 0, err
	}
	return s.remove(ctx, "forget connections", ctDelete, found, func(err error) error { return failed("forget connections", err) })
}

// entries is how many connections conntrack knows in this network namespace.
func (s *socket) entries() (n uint32, err error) {
	m := s.message(nil, ctStats, unix.NLM_F_REQUEST, make([]byte, genLen))
	if err := unix.Sendto(s.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("forget connections: %w", err)
	}
	err = s.receive(func(typ uint16, body []byte) (bool, error) {
		switch {
		case typ == unix.NLMSG_ERROR:
			return true, refused(status(body))
		case typ != ctStats || len(body) < genLen:
			return false, nil
		}
		for typ, raw := range attributes(body[genLen:]) {
			if typ == ctaStatsEntries && len(raw) == unix.SizeofNlAttr+4 {
				n = binary.BigEndian.Uint32(raw[unix.SizeofNlAttr:])
			}
		}
		return true, nil
	})
	return n, err
}

// refused puts the kernel's no to ctnetlink into words.
func refused(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return unsupported("conntrack over netlink (CONFIG_NF_CT_NETLINK)", err)
	}
	return failed("forget connections", err)
}

// tracked adds requests to delete for what a family's table has of the prefixes.
func (s *socket) tracked(ctx context.Context, family uint8, want *prefixes, found [][]byte) ([][]byte, error) {
	m := s.message(nil, ctGet, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, []byte{family, 0, 0, 0})
	if err := unix.Sendto(s.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return found, fmt.Errorf("forget connections: %w", err)
	}
	err := s.receive(func(typ uint16, body []byte) (bool, error) {
		if typ == unix.NLMSG_DONE || typ == unix.NLMSG_ERROR {
			if err := refused(status(body)); err != nil {
				return true, err
			}
			return true, ctx.Err()
		}
		if typ != ctNew || len(body) < genLen {
			return false, nil
		}
		var orig, keep []byte
		hit := false
		for typ, raw := range attributes(body[genLen:]) {
			switch typ {
			case ctaTupleOrig, ctaTupleReply:
				if a, ok := source(raw[unix.SizeofNlAttr:]); ok && want.has(a) {
					hit = true
				}
				if typ == ctaTupleOrig {
					orig = raw
				}
			case ctaID, ctaZone: // that no other connection is meant by the same addresses and ports
				keep = pad(append(keep, raw...))
			}
		}
		if hit && orig != nil {
			req := append([]byte{body[0], 0, 0, 0}, orig...)
			found = append(found, append(pad(req), keep...))
		}
		return false, ctx.Err()
	})
	return found, err
}

// source is the source address of a tuple.
func source(tuple []byte) (netip.Addr, bool) {
	for typ, ip := range attributes(tuple) {
		if typ != ctaTupleIP {
			continue
		}
		for typ, a := range attributes(ip[unix.SizeofNlAttr:]) {
			if typ == ctaV4Src || typ == ctaV6Src {
				return netip.AddrFromSlice(a[unix.SizeofNlAttr:])
			}
		}
	}
	return netip.Addr{}, false
}

// attributes gives netlink attributes, each with its head, until one does not fit.
func attributes(b []byte) func(yield func(typ uint16, raw []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofNlAttr || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&^nested, b[:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}

// pad fills up to where the next attribute or message begins.
func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
