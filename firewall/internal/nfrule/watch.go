package nfrule

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	groupNftables = 7 // NFNLGRP_NFTABLES, uapi/linux/netfilter/nfnetlink.h

	// attrTable is the first attribute of what the kernel tells of tables, chains, rules and sets: NFTA_TABLE_NAME,
	// NFTA_CHAIN_TABLE, NFTA_RULE_TABLE and NFTA_SET_TABLE are all 1.
	attrTable = 1
)

// Watch calls changed whenever somebody, we included, has changed the table of that name in one of the families, within a
// millisecond or so: the kernel tells of every nftables transaction. changed is called too when so much happened that the
// kernel dropped some of it. It has a socket of its own, and returns when ctx is done, or with the error that ended it.
func Watch(ctx context.Context, table string, families []uint8, changed func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("nftables: watch: open netlink socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "netlink")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupNftables - 1)}); err != nil {
		return fmt.Errorf("nftables: watch: join group of nftables: %w", err)
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
			return fmt.Errorf("nftables: watch: %w", err)
		case concerns(buf[:n], table, families):
			changed()
		}
	}
}

// concerns tells whether any message in m is about our table.
func concerns(m []byte, table string, families []uint8) bool {
	for len(m) >= unix.SizeofNlMsghdr+4 {
		n := int(binary.NativeEndian.Uint32(m))
		if n < unix.SizeofNlMsghdr+4 || n > len(m) {
			return false
		}
		typ := binary.NativeEndian.Uint16(m[4:])
		family := m[unix.SizeofNlMsghdr]
		if typ>>8 == unix.NFNL_SUBSYS_NFTABLES && typ&0xff != unix.NFT_MSG_NEWGEN && slices.Contains(families, family) {
			for typ, v := range Attrs(m[unix.SizeofNlMsghdr+4 : n]) {
				if typ == attrTable && CString(v) == table {
					return true
				}
			}
		}
		m = m[min((n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(m)):]
	}
	return false
}

// Attrs walks netlink attributes, their type without its flags; what is cut short ends the walk.
func Attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofNlAttr || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofNlAttr:n]) {
				return
			}
			b = b[min((n+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(b)):]
		}
	}
}

// CString is a string of the kernel's, up to its zero byte.
func CString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
