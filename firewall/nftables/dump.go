package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"bailiff/firewall/internal/nfrule"

	"golang.org/x/sys/unix"
)

// dumpBuffer is what one message of a dump may fill: the kernel's own limit (netlink_dump). It walks a set from its
// beginning for each message, so that small ones cost ten times as much at 100,000 elements.
const dumpBuffer = 1 << 15

// dump reads the elements of a set of ours: f gets a key, which it must not keep, and how many seconds the element has
// left, 0 for ever.
func (b *Backend) dump(ctx context.Context, name string, f func(key []byte, left uint32)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	limit := answerLimit
	if end, ok := ctx.Deadline(); ok {
		limit = max(time.Until(end), time.Millisecond)
	}
	tv := unix.NsecToTimeval(int64(limit))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	m := make([]byte, unix.SizeofNlMsghdr, 128)
	binary.NativeEndian.PutUint16(m[4:], unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETSETELEM)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	m = append(m, unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0)
	m = text(m, unix.NFTA_SET_ELEM_LIST_TABLE, b.table.Name)
	m = text(m, unix.NFTA_SET_ELEM_LIST_SET, name)
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, dumpBuffer)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("no answer from the kernel in %v: %w", limit.Round(time.Millisecond), os.ErrDeadlineExceeded)
		case err != nil:
			return os.NewSyscallError("recvfrom", err)
		}
		done, err := elements(buf[:n], f)
		if done || err != nil {
			return err
		}
	}
}

// answerLimit is how long the kernel may take where a context has no deadline.
const answerLimit = 10 * time.Second

func text(b []byte, typ uint16, s string) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(s)+1))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, s...)
	b = append(b, 0)
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// elements takes one answer apart; done says that it was the last.
func elements(m []byte, f func(key []byte, left uint32)) (done bool, err error) {
	for len(m) >= unix.SizeofNlMsghdr {
		n := int(binary.NativeEndian.Uint32(m))
		if n < unix.SizeofNlMsghdr || n > len(m) {
			return false, fmt.Errorf("a message of %d bytes in %d", n, len(m))
		}
		body := m[unix.SizeofNlMsghdr:n]
		switch typ := binary.NativeEndian.Uint16(m[4:]); {
		case typ == unix.NLMSG_DONE || typ == unix.NLMSG_ERROR:
			if len(body) >= 4 {
				if no := int32(binary.NativeEndian.Uint32(body)); no < 0 {
					return true, unix.Errno(-no)
				}
			}
			return true, nil
		case typ == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWSETELEM && len(body) >= 4:
			for typ, list := range nfrule.Attrs(body[4:]) {
				if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
					continue
				}
				for _, e := range nfrule.Attrs(list) {
					if key, left := one(e); key != nil {
						f(key, left)
					}
				}
			}
		}
		m = m[min((n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(m)):]
	}
	return false, nil
}

// one reads an element.
func one(e []byte) (key []byte, left uint32) {
	forever, ms := true, uint64(0)
	for typ, v := range nfrule.Attrs(e) {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			for typ, v := range nfrule.Attrs(v) {
				if typ == unix.NFTA_DATA_VALUE {
					key = v
				}
			}
		case unix.NFTA_SET_ELEM_TIMEOUT:
			forever = len(v) != 8 || binary.BigEndian.Uint64(v) == 0
		case unix.NFTA_SET_ELEM_EXPIRATION:
			if len(v) == 8 {
				ms = binary.BigEndian.Uint64(v)
			}
		}
	}
	if forever {
		return key, 0
	}
	return key, uint32(max((ms+999)/1000, 1))
}
