// Package request sends requests to the kernel over netlink and reads the answers: for ipset, nftables, sock_diag and conntrack, where no
// library does what bailiff needs. It does in one place the checks that every netlink client needs: that an answer comes from the kernel,
// that it belongs to the request, and that a dump was not interrupted by a change.
//
// Sockets and sending are those of mdlayher/netlink. Receiving is done here, because that library keeps a whole dump
// in memory (tens of megabytes for a large conntrack table) and reads it in pieces of a page: nf_tables walks a set from the
// beginning for each piece, so 100,000 elements take ten times as long. Attributes are read and written here (Attributes, Append),
// because the library allocates for each: a million allocations for the same set.
package request

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// bufferSize is the largest datagram of a dump (netlink_dump in the kernel).
	bufferSize = 1 << 15

	// answerLimit is how long the kernel may take if the context has no deadline.
	answerLimit = 10 * time.Second
)

// ErrInterrupted means that the data changed during a dump, so the dump may be incomplete.
var ErrInterrupted = errors.New("netlink: the dump was interrupted by a change")

// Conn is a netlink socket. It is opened by the first request, and reopened after a request that got no answer. Only one goroutine at a
// time may use it.
type Conn struct {
	protocol int
	nl       *netlink.Conn
	raw      syscall.RawConn
	buf      []byte
}

// New returns a Conn for a protocol: unix.NETLINK_NETFILTER or unix.NETLINK_SOCK_DIAG.
func New(protocol int) *Conn { return &Conn{protocol: protocol} }

// Close closes the socket.
func (c *Conn) Close() {
	if c.nl != nil {
		c.nl.Close()
		c.nl = nil
	}
}

func (c *Conn) open(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.nl == nil {
		nl, err := netlink.Dial(c.protocol, nil)
		if err != nil {
			return fmt.Errorf("open netlink socket: %w", err)
		}
		if c.raw, err = nl.SyscallConn(); err != nil {
			nl.Close()
			return err
		}
		c.nl, c.buf = nl, make([]byte, bufferSize)
	}
	return c.nl.SetDeadline(Deadline(ctx))
}

// Deadline returns ctx's deadline or, if it has none, the time answerLimit from now.
func Deadline(ctx context.Context) time.Time {
	if end, ok := ctx.Deadline(); ok {
		return end
	}
	return time.Now().Add(answerLimit)
}

// Do sends a request and calls f, which may be nil, with the type and the data of each message of the answer; f must not keep the data. The
// kernel's refusal is returned as a unix.Errno. Even if the error is ErrInterrupted, f has seen the whole answer.
func (c *Conn) Do(ctx context.Context, m netlink.Message, f func(typ netlink.HeaderType, data []byte)) error {
	m.Header.Flags |= netlink.Request
	if m.Header.Flags&netlink.Dump != netlink.Dump { // Dump is two bits, one of which is Excl
		m.Header.Flags |= netlink.Acknowledge
	}
	if err := c.open(ctx); err != nil {
		return err
	}
	sent, err := c.nl.Send(m)
	if err != nil {
		return c.broken(err)
	}
	var answer error
	interrupted := false
	err = c.receive(ctx, func(m syscall.NetlinkMessage) (done bool) {
		if m.Header.Seq != sent.Header.Sequence {
			return false // the answer to an earlier request that was abandoned
		}
		interrupted = interrupted || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
		switch m.Header.Type {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			answer = status(m.Data)
			return true
		}
		if f != nil {
			f(netlink.HeaderType(m.Header.Type), m.Data)
		}
		return false
	})
	if err != nil {
		return c.broken(err)
	}
	if answer == nil && interrupted {
		return ErrInterrupted
	}
	return answer
}

// Batch sends several requests in one datagram and calls answered with the result of each: nil or a unix.Errno.
func (c *Conn) Batch(ctx context.Context, ms []netlink.Message, answered func(error)) error {
	if len(ms) == 0 {
		return ctx.Err()
	}
	if err := c.open(ctx); err != nil {
		return err
	}
	for i := range ms {
		ms[i].Header.Flags |= netlink.Request | netlink.Acknowledge
	}
	sent, err := c.nl.SendMessages(ms)
	if err != nil {
		return c.broken(err)
	}
	open := make(map[uint32]bool, len(sent))
	for _, m := range sent {
		open[m.Header.Sequence] = true
	}
	err = c.receive(ctx, func(m syscall.NetlinkMessage) (done bool) {
		if m.Header.Type == unix.NLMSG_ERROR && open[m.Header.Seq] {
			delete(open, m.Header.Seq)
			answered(status(m.Data))
		}
		return len(open) == 0
	})
	if err != nil {
		return c.broken(err)
	}
	return nil
}

// Transaction sends messages to a netfilter subsystem that take effect together or not at all. room is the size of the socket's send buffer
// in bytes. The error is EMSGSIZE if it is too small for the datagram, or larger than this process may set.
func (c *Conn) Transaction(ctx context.Context, subsystem int, room int, ms []netlink.Message) error {
	if len(ms) == 0 {
		return ctx.Err()
	}
	if err := c.open(ctx); err != nil {
		return err
	}
	if err := c.nl.SetWriteBuffer(room); err != nil {
		return c.broken(err)
	}
	if err := c.nl.SetOption(netlink.CapAcknowledge, true); err != nil { // a refusal does not repeat the message
		return c.broken(err)
	}
	bracket := func(typ netlink.HeaderType) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request}, Data: []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, byte(subsystem)}}
	}
	all := make([]netlink.Message, 0, len(ms)+2)
	all = append(append(append(all, bracket(unix.NFNL_MSG_BATCH_BEGIN)), ms...), bracket(unix.NFNL_MSG_BATCH_END))
	for i := range ms {
		all[i+1].Header.Flags |= netlink.Request
	}
	all[len(ms)].Header.Flags |= netlink.Acknowledge
	sent, err := c.nl.SendMessages(all)
	if err != nil {
		return c.broken(err)
	}
	of := make(map[uint32]bool, len(sent))
	for _, m := range sent {
		of[m.Header.Sequence] = true
	}
	var answer error
	err = c.receive(ctx, func(m syscall.NetlinkMessage) (done bool) {
		if m.Header.Type != unix.NLMSG_ERROR || !of[m.Header.Seq] {
			return false
		}
		answer = status(m.Data)
		return answer != nil || m.Header.Seq == sent[len(ms)].Header.Sequence
	})
	if err == nil {
		err = answer
	}
	if err != nil {
		c.Close() // the kernel may refuse several messages
	}
	return err
}

// broken closes a socket on which an answer may still be outstanding.
func (c *Conn) broken(err error) error {
	c.Close()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer from the kernel: %w", err)
	}
	return err
}

// receive calls f with each message from the kernel until it returns true.
func (c *Conn) receive(ctx context.Context, f func(syscall.NetlinkMessage) (done bool)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var n int
		var from unix.Sockaddr
		var failed error
		err := c.raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), c.buf, unix.MSG_TRUNC)
			return failed != unix.EAGAIN
		})
		switch sender, ok := from.(*unix.SockaddrNetlink); {
		case err != nil:
			return err
		case failed == unix.EINTR:
			continue
		case failed != nil:
			return os.NewSyscallError("recvfrom", failed)
		case n > len(c.buf):
			return fmt.Errorf("the kernel's answer of %d bytes is longer than %d", n, len(c.buf))
		case !ok || sender.Pid != 0: // any process may send to our socket
			continue
		}
		ms, err := syscall.ParseNetlinkMessage(c.buf[:align(n)])
		if err != nil {
			return fmt.Errorf("the kernel's answer of %d bytes is malformed: %w", n, err)
		}
		for _, m := range ms {
			if f(m) {
				return nil
			}
		}
	}
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// status reads the number with which NLMSG_ERROR and NLMSG_DONE begin.
func status(data []byte) error {
	if len(data) >= 4 {
		if no := int32(binary.NativeEndian.Uint32(data)); no < 0 {
			return unix.Errno(-no)
		}
	}
	return nil
}

// NetfilterHeader is the length of struct nfgenmsg, with which the data of netfilter messages begins.
const NetfilterHeader = 4

// Netfilter builds a message to one of netfilter's subsystems: unix.NFNL_SUBSYS_… and the number of its command.
func Netfilter(subsystem, command int, family uint8, flags netlink.HeaderFlags, attributes []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(subsystem<<8 | command), Flags: flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attributes...),
	}
}

// Attributes iterates over netlink attributes, with their types without flags. It stops at a truncated attribute.
func Attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofNlAttr || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofNlAttr:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// Append appends an attribute: its length, its type with flags, and its value, padded (uapi/linux/netlink.h).
func Append(b []byte, typ uint16, value ...byte) []byte {
	b, at := Begin(b, typ)
	b = append(b, value...)
	End(b, at)
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// AppendString appends a string attribute.
func AppendString(b []byte, typ uint16, s string) []byte {
	return Append(b, typ, append([]byte(s), 0)...)
}

// Begin begins an attribute whose value follows; End writes its length when all of it has been appended.
func Begin(b []byte, typ uint16) (_ []byte, at int) {
	return binary.NativeEndian.AppendUint16(append(b, 0, 0), typ), len(b)
}

// End ends what Begin began.
func End(b []byte, at int) { binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at)) }

// NetfilterAttributes iterates over the attributes of a message of netfilter's.
func NetfilterAttributes(data []byte) iter.Seq2[uint16, []byte] {
	return Attributes(data[min(NetfilterHeader, len(data)):])
}

// String is a string of the kernel's, up to its zero byte.
func String(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
