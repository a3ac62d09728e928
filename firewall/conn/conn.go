// Package conn closes the open TCP connections of banned prefixes through the kernel's sock_diag, as `ss -K` does, and removes
// their connections from conntrack. A ban at prerouting stops their packets, but a process such as sshd would wait for them until
// its own timeout; and firewalld accepts packets of established connections. It never touches listening sockets. Start reading
// at Kill (connections of this host's processes), then Forget (track.go; connections through this host).
//
// Both protocols are implemented here: vishvananda/netlink destroys only IPv4 sockets, keeps all sockets in memory, and reads the whole
// conntrack table into memory, opening a socket for each deletion.
package conn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"bailiff/firewall"
	"bailiff/firewall/internal/request"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// From uapi/linux/sock_diag.h and inet_diag.h.
const (
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagDestroy  = 21 // SOCK_DESTROY, Linux 4.5

	reqLen = 56 // struct inet_diag_req_v2: family, protocol, extensions, padding, states, then the id
	msgLen = 72 // struct inet_diag_msg: family, state, timer, retransmissions, then the id
	idLen  = 48 // struct inet_diag_sockid: source and destination port and address, interface, cookie
	reqID  = 8  // where the id is in the request
	msgID  = 4  // where the id is in the answer
	idDst  = 20 // where the remote address is in the id

	// states are those of a connection: all but TIME_WAIT (6), CLOSE (7) and LISTEN (10), from net/tcp_states.h.
	states = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11 | 1<<12
)

// perSend limits how many answers wait in the socket's buffer.
const perSend = 64

// Kill closes every open TCP connection whose remote address is in one of the prefixes, IPv4 connections over IPv6 sockets included, and
// returns how many there were. It lists connections once, however many prefixes are given (16,000 take 20 ms), so use one call for all bans
// of a flood. Without CAP_NET_ADMIN, or CONFIG_INET_DIAG_DESTROY in the kernel, the error is a *firewall.UnsupportedError.
func Kill(ctx context.Context, prefixes []netip.Prefix) (int, error) {
	if len(prefixes) == 0 {
		return 0, ctx.Err()
	}
	c := request.New(unix.NETLINK_SOCK_DIAG)
	defer c.Close()
	want := newMatcher(prefixes)
	var found []netlink.Message // requests to destroy
	for _, family := range want.families() {
		if err := list(ctx, c, family, want, func(m netlink.Message) { found = append(found, m) }); err != nil {
			return 0, err
		}
	}
	return remove(ctx, c, found, func(err error) error {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return unsupported("closing of connections (CONFIG_INET_DIAG_DESTROY)", err)
		}
		return failed("close connections", err)
	})
}

// list calls f with a destroy request for each connection of a family whose remote address is in want.
func list(ctx context.Context, c *request.Conn, family uint8, want *matcher, f func(netlink.Message)) error {
	m := diag(diagByFamily, family)
	m.Header.Flags = netlink.Dump
	err := c.Do(ctx, m, func(typ netlink.HeaderType, data []byte) {
		if typ != diagByFamily || len(data) < msgLen {
			return
		}
		id := data[msgID : msgID+idLen]
		remote := netip.AddrFrom16([16]byte(id[idDst:]))
		if data[0] == unix.AF_INET {
			remote = netip.AddrFrom4([4]byte(id[idDst:]))
		}
		if want.has(remote) {
			kill := diag(diagDestroy, data[0])
			copy(kill.Data[reqID:], id)
			f(kill)
		}
	})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		return unsupported("sock_diag for TCP", err)
	case err != nil && !errors.Is(err, request.ErrInterrupted): // connections opened meanwhile are blocked
		return failed("list connections", err)
	}
	return nil
}

// diag is a request about TCP connections.
func diag(typ netlink.HeaderType, family uint8) netlink.Message {
	req := make([]byte, reqLen)
	req[0], req[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(req[4:], states)
	return netlink.Message{Header: netlink.Header{Type: typ}, Data: req}
}

// remove sends requests to destroy or delete, and returns how many succeeded. It is not an error if a connection has ended meanwhile: the
// cookie or id in a request makes sure that no other connection is hit. explain describes a refusal.
func remove(ctx context.Context, c *request.Conn, ms []netlink.Message, explain func(error) error) (n int, err error) {
	var refused error
	for part := range slices.Chunk(ms, perSend) {
		if err := c.Batch(ctx, part, func(answer error) {
			switch {
			case answer == nil:
				n++
			case refused == nil && !errors.Is(answer, unix.ENOENT):
				refused = explain(answer)
			}
		}); err != nil {
			return n, err
		}
		if refused != nil {
			return n, refused
		}
	}
	return n, nil
}

// failed describes the kernel's refusal. A missing privilege is a *firewall.UnsupportedError: retrying does not help.
func failed(doing string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return &firewall.UnsupportedError{
			What: "the right to " + doing, Hint: "give bailiff.service AmbientCapabilities=CAP_NET_ADMIN, or write firewall: {close_connections: no}", Err: err,
		}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func unsupported(what string, err error) error {
	return &firewall.UnsupportedError{What: what, Hint: "bans work without it; open connections of banned addresses end by their own timeouts", Err: err}
}
