// Package conn closes the open TCP connections of banned prefixes, through the kernel's sock_diag as `ss -K` does. A ban at
// prerouting stops their packets, but a process such as sshd's would wait for them until its own time-out; and firewalld
// lets established connections pass. It never touches sockets that listen. And it makes conntrack forget what it knows of those
// prefixes, for connections that only pass through this host. Start reading at Kill, then Forget (track.go).
package conn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"bailiff/firewall"

	"golang.org/x/sys/unix"
)

// From uapi/linux/sock_diag.h and inet_diag.h.
const (
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagDestroy  = 21 // SOCK_DESTROY, Linux 4.5

	reqLen = 56 // struct inet_diag_req_v2: family, protocol, extensions, padding, states, then the id
	msgLen = 72 // struct inet_diag_msg: family, state, timer, retransmissions, then the id
	idLen  = 48 // struct inet_diag_sockid: source and destination port and address, interface, cookie
	idAt   = 8  // of the id in the request
	idIn   = 4  // of the id in the answer
	dstAt  = 20 // of the remote address in the id

	attrBytecode = 1 // INET_DIAG_REQ_BYTECODE
	bcJump       = 1 // INET_DIAG_BC_JMP
	bcRemote     = 8 // INET_DIAG_BC_D_COND

	// states are those of a connection: neither TIME_WAIT (6), CLOSE (7) nor LISTEN (10), from net/tcp_states.h.
	states = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11 | 1<<12
)

const (
	// maxFilter is up to how many prefixes the kernel is asked to look through for us. It tries them one after another for
	// each connection; beyond, we look connections up by prefix length in a map.
	maxFilter = 64

	// perSend bounds the answers that wait in the socket's buffer.
	perSend = 64

	answerLimit = 10 * time.Second
)

// Kill closes every open TCP connection whose remote address is in one of the prefixes, IPv4 connections over IPv6 sockets
// included, and returns how many there were. It lists connections once however many prefixes there are, so one call for a
// whole batch of bans is what to do in a flood. Without CAP_NET_ADMIN, or CONFIG_INET_DIAG_DESTROY in the kernel, it answers
// with a *firewall.UnsupportedError.
func Kill(ctx context.Context, prefixes []netip.Prefix) (int, error) {
	if len(prefixes) == 0 {
		return 0, ctx.Err()
	}
	s, err := dial(ctx, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, err
	}
	defer s.close()
	want := collect(prefixes)
	var ids [][]byte // requests to destroy
	for _, family := range want.families() {
		if err := s.list(ctx, family, want, func(req []byte) { ids = append(ids, req) }); err != nil {
			return 0, err
		}
	}
	return s.remove(ctx, "close connections", diagDestroy, ids, func(err error) error {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return unsupported("closing of connections (CONFIG_INET_DIAG_DESTROY)", err)
		}
		return failed("close connections", err)
	})
}

// prefixes to look for, by their lengths: one look-up in a map for each length in use.
type prefixes struct {
	all      map[netip.Prefix]bool
	len4     []int
	len6     []int
	bytecode []byte // the same as a filter for the kernel; nil when there are too many
}

func collect(list []netip.Prefix) *prefixes {
	p := &prefixes{all: make(map[netip.Prefix]bool, len(list))}
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
		p.land()
	}
	return p
}

func (p *prefixes) has(a netip.Addr) bool {
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

func (p *prefixes) families() []uint8 {
	var f []uint8
	if len(p.len4) > 0 {
		f = append(f, unix.AF_INET)
	}
	if len(p.len4)+len(p.len6) > 0 {
		f = append(f, unix.AF_INET6) // IPv4 over IPv6 sockets too
	}
	return f
}

// appendCondition adds "remote address in x, then accept, else go on": a condition, which skips the jump behind it when it
// does not hold, and the jump to the end. An IPv4 condition also holds for mapped addresses of IPv6 sockets.
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
	return append(b, bcJump, 4, 0, 0) // where to is known in the end
}

// land writes into each jump how far the end is: at the end means accepted. The last condition, when it does not hold,
// must go beyond the end, which means refused.
func (p *prefixes) land() {
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

type socket struct {
	fd  int
	seq uint32
	buf []byte
}

func dial(ctx context.Context, protocol int) (*socket, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("close connections: open netlink socket: %w", err)
	}
	wait := answerLimit
	if d, ok := ctx.Deadline(); ok {
		wait = max(time.Until(d), time.Millisecond)
	}
	tv := unix.NsecToTimeval(int64(wait))
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv))
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("close connections: %w", err)
	}
	return &socket{fd: fd, buf: make([]byte, 1<<15)}, nil
}

func (s *socket) close() { unix.Close(s.fd) }

func (s *socket) message(b []byte, typ, flags uint16, body ...[]byte) []byte {
	s.seq++
	n := unix.SizeofNlMsghdr
	for _, x := range body {
		n += len(x)
	}
	b = binary.NativeEndian.AppendUint32(b, uint32(n))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, s.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	for _, x := range body {
		b = append(b, x...)
	}
	return b
}

// receive hands messages to f until it says that it has all.
func (s *socket) receive(f func(typ uint16, body []byte) (done bool, err error)) error {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("close connections: no answer from the kernel: %w", os.ErrDeadlineExceeded)
		case err != nil:
			return fmt.Errorf("close connections: %w", err)
		}
		for m := s.buf[:n]; len(m) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(m))
			if size < unix.SizeofNlMsghdr || size > len(m) {
				return fmt.Errorf("close connections: the kernel's answer of %d bytes holds a message of %d", len(m), size)
			}
			if done, err := f(binary.NativeEndian.Uint16(m[4:]), m[unix.SizeofNlMsghdr:size]); done || err != nil {
				return err
			}
			m = m[min((size+3)&^3, len(m)):]
		}
	}
}

// status reads the number that NLMSG_ERROR and NLMSG_DONE begin with.
func status(body []byte) error {
	if len(body) >= 4 {
		if no := int32(binary.NativeEndian.Uint32(body)); no < 0 {
			return unix.Errno(-no)
		}
	}
	return nil
}

// list hands to f a request to destroy each connection of a family that want has.
func (s *socket) list(ctx context.Context, family uint8, want *prefixes, f func(req []byte)) error {
	req := make([]byte, reqLen)
	req[0], req[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(req[4:], states)
	var filter []byte
	if n := len(want.bytecode); n > 0 {
		filter = binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+n))
		filter = binary.NativeEndian.AppendUint16(filter, attrBytecode)
		filter = append(filter, want.bytecode...)
	}
	m := s.message(nil, diagByFamily, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, req, filter)
	if err := unix.Sendto(s.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("close connections: list: %w", err)
	}
	return s.receive(func(typ uint16, body []byte) (bool, error) {
		if typ == unix.NLMSG_DONE || typ == unix.NLMSG_ERROR {
			switch err := status(body); {
			case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
				return true, unsupported("sock_diag for TCP", err)
			case err != nil:
				return true, failed("close connections: list", err)
			}
			return true, ctx.Err()
		}
		if typ != diagByFamily || len(body) < msgLen {
			return false, nil
		}
		id := body[idIn : idIn+idLen]
		var remote netip.Addr
		if body[0] == unix.AF_INET {
			remote = netip.AddrFrom4([4]byte(id[dstAt:]))
		} else {
			remote = netip.AddrFrom16([16]byte(id[dstAt:]))
		}
		if want.has(remote) {
			kill := make([]byte, reqLen)
			kill[0], kill[1] = body[0], unix.IPPROTO_TCP
			binary.NativeEndian.PutUint32(kill[4:], states)
			copy(kill[idAt:], id)
			f(kill)
		}
		return false, nil
	})
}

// remove has the kernel end what reqs name, messages of that type, and returns how many it ended. What has gone by itself is
// no error: the cookie or id in a request sees to it that nothing else is taken for it. say puts the first refusal into words.
func (s *socket) remove(ctx context.Context, doing string, typ uint16, reqs [][]byte, say func(error) error) (n int, err error) {
	for part := range slices.Chunk(reqs, perSend) {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := s.removeSome(doing, typ, part, say)
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (s *socket) removeSome(doing string, typ uint16, reqs [][]byte, say func(error) error) (n int, err error) {
	var m []byte
	for _, r := range reqs {
		m = pad(s.message(m, typ, unix.NLM_F_REQUEST|unix.NLM_F_ACK, r))
	}
	if err := unix.Sendto(s.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("%s: %w", doing, err)
	}
	left := len(reqs)
	var first error
	err = s.receive(func(typ uint16, body []byte) (bool, error) {
		if typ != unix.NLMSG_ERROR {
			return false, nil
		}
		left--
		switch err := status(body); {
		case err == nil:
			n++
		case errors.Is(err, unix.ENOENT):
		case first == nil:
			first = say(err)
		}
		return left == 0, nil
	})
	return n, errors.Join(err, first)
}

// failed puts into words what the kernel answered. A missing right is a *firewall.UnsupportedError: it stays missing.
func failed(doing string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return &firewall.UnsupportedError{
			What: "the right to " + doing, Hint: "let bailiff.service have AmbientCapabilities=CAP_NET_ADMIN, or write firewall: {close_connections: no}", Err: err,
		}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func unsupported(what string, err error) error {
	return &firewall.UnsupportedError{What: what, Hint: "bans work without it; open connections of banned addresses end by their own time-outs", Err: err}
}
