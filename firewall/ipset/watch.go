package ipset

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	groupNftables = 7 // NFNLGRP_NFTABLES, uapi/linux/netfilter/nfnetlink.h

	// attrTable is the first attribute of what the kernel tells of tables, chains, rules and sets: NFTA_TABLE_NAME,
	// NFTA_CHAIN_TABLE, NFTA_RULE_TABLE and NFTA_SET_TABLE are all 1.
	attrTable = 1
)

// Watch calls changed whenever somebody, we included, has changed our tables, within a millisecond or so: the kernel tells
// of every nftables transaction. changed is called too when so much happened that the kernel dropped some of it. What to
// do then is Verify. Nobody tells of changes to ipsets. Watch has a socket of its own, may run beside all other
// methods, and returns when ctx is done, or with the error that ended it.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("ipset: watch: open netlink socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "netlink")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupNftables - 1)}); err != nil {
		return fmt.Errorf("ipset: watch: join group of nftables: %w", err)
	}
	defer context.AfterFunc(ctx, func() { f.Close() })()
	buf := make([]byte, 1<<16)
	for {
		n, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			changed()
		case err != nil:
			return fmt.Errorf("ipset: watch: %w", err)
		case b.concerns(buf[:n]):
			changed()
		}
	}
}

// concerns tells whether any message in m is about one of our tables.
func (b *Backend) concerns(m []byte) bool {
	for len(m) >= unix.SizeofNlMsghdr+4 {
		n := int(binary.NativeEndian.Uint32(m))
		if n < unix.SizeofNlMsghdr+4 || n > len(m) {
			return false
		}
		typ := binary.NativeEndian.Uint16(m[4:])
		family := m[unix.SizeofNlMsghdr]
		if typ>>8 == unix.NFNL_SUBSYS_NFTABLES && typ&0xff != unix.NFT_MSG_NEWGEN && (family == families[0] || family == families[1]) {
			for typ, v := range attrs(m[unix.SizeofNlMsghdr+4 : n]) {
				if typ == attrTable && cString(v) == b.prefix {
					return true
				}
			}
		}
		m = m[min((n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(m)):]
	}
	return false
}
