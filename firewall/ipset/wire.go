package ipset

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"bailiff/firewall/internal/nfrule"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What the kernel's ipset speaks, from uapi/linux/netfilter/ipset/ip_set.h; what the nl package has a name for is taken
// from there.
const (
	setType     = "hash:net"
	setRevision = 6 // the last revision of hash:net before bucketsize; in every kernel since 4.0

	cmdGetByName = 14 // IPSET_CMD_GET_BYNAME, Linux 4.20
	attrIndex    = 11 // IPSET_ATTR_INDEX
	protoByName  = 7  // GET_BYNAME came with version 7 of the protocol and wants to be asked in it

	flagListHeader = 1 << 2 // IPSET_FLAG_LIST_HEADER: no elements, please

	// maxTimeout is IPSET_MAX_TIMEOUT, (UINT_MAX >> 1) / 1000 seconds: 24.8 days. The kernel cuts longer ones silently.
	maxTimeout = 2147483

	// perMessage is how many elements go into one message. An attribute is at most 65,535 bytes and an IPv6 element takes
	// 52, so 1,200 would fit; beyond 100 the cost of an element no longer falls.
	perMessage = 500

	// answerLimit is how long the kernel may take where a context has no deadline. It answers within the send call.
	answerLimit = 10 * time.Second
)

const (
	errFull    = unix.Errno(nl.IPSET_ERR_TYPE_SPECIFIC) // IPSET_ERR_HASH_FULL, the set has maxelem elements
	errBusy    = unix.Errno(nl.IPSET_ERR_BUSY)          // a rule refers to the set
	errNoType  = unix.Errno(nl.IPSET_ERR_FIND_TYPE)     // the kernel has no hash:net of that revision
	nested     = uint16(unix.NLA_F_NESTED)
	netOrder   = uint16(unix.NLA_F_NET_BYTEORDER)
	attrHeader = unix.SizeofNlAttr
	typeMask   = ^(nested | netOrder)
	addFlags   = unix.NLM_F_REQUEST | unix.NLM_F_ACK // without NLM_F_EXCL: present is no error, and its timeout is set anew
	dumpFlags  = unix.NLM_F_REQUEST | unix.NLM_F_ACK | unix.NLM_F_DUMP
)

// element names a prefix in a set; the zero one is no prefix. It is 17 bytes, so that a map of 100,000 stays at 3 MB.
type element struct {
	addr [16]byte // IPv4 in the first four
	bits uint8
}

func elementOf(p netip.Prefix) element {
	var e element
	if p.Addr().Is4() {
		a := p.Addr().As4()
		copy(e.addr[:], a[:])
	} else {
		e.addr = p.Addr().As16()
	}
	e.bits = uint8(p.Bits())
	return e
}

func (e element) prefix(family uint8) netip.Prefix {
	if family == unix.NFPROTO_IPV4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(e.addr[:4])), int(e.bits))
	}
	return netip.PrefixFrom(netip.AddrFrom16(e.addr), int(e.bits))
}

// header is what the kernel tells of a set without its elements.
type header struct {
	name, typ            string
	family               uint8
	timeout              int64 // of elements that give none, in seconds; -1: elements have no timeouts
	flags                uint32
	maxelem, refs, count uint32
}

// foreign tells how h differs from a set that we make; "" when it does not. Any revision of the type will do: a set that was
// saved and restored by the ipset tool (ipset-persistent) has the newest that the kernel knows.
func (h *header) foreign(family uint8) string {
	switch {
	case h.typ != setType:
		return "type is " + h.typ + ", ours is " + setType
	case h.family != family:
		return fmt.Sprintf("family is %d, ours is %d", h.family, family)
	case h.timeout < 0:
		return "elements have no timeouts"
	case h.timeout != 0:
		return fmt.Sprintf("elements expire after %d s if not told otherwise, ours never", h.timeout)
	case h.flags != 0:
		return fmt.Sprintf("created with flags %#x (counters, comments or the like), ours have none", h.flags)
	}
	return ""
}

// conn speaks with the kernel's ipset over one socket.
type conn struct {
	sock *nl.NetlinkSocket
	at   map[int]*nl.SocketHandle
	buf  []byte
}

func dial() (*conn, error) {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER) // to no group: a socket, bound
	if err != nil {
		return nil, fmt.Errorf("ipset: open netlink socket: %w", err)
	}
	return &conn{sock: s, at: map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: s}}}, nil
}

func (c *conn) close() { c.sock.Close() }

// do sends one request to ipset; see ask.
func (c *conn) do(ctx context.Context, cmd, flags int, b []byte, f func([]byte)) error {
	return c.ask(ctx, unix.NFNL_SUBSYS_IPSET<<8|cmd, flags, b, f)
}

// ask sends one request and hands every message of the answer, less its nfgenmsg, to f. Nothing of b is kept.
func (c *conn) ask(ctx context.Context, typ, flags int, b []byte, f func([]byte)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	wait := answerLimit
	if d, ok := ctx.Deadline(); ok {
		wait = max(time.Until(d), time.Millisecond)
	}
	tv := unix.NsecToTimeval(int64(wait))
	if err := errors.Join(c.sock.SetSendTimeout(&tv), c.sock.SetReceiveTimeout(&tv)); err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(typ, flags)
	req.RawData = b
	req.Sockets = c.at
	err := req.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(m []byte) bool {
		if f != nil && len(m) >= nl.SizeofNfgenmsg {
			f(m[nl.SizeofNfgenmsg:])
		}
		return true
	})
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("no answer from the kernel in %v: %w", wait.Round(time.Millisecond), os.ErrDeadlineExceeded)
	}
	var no unix.Errno
	if errors.As(err, &no) && no >= nl.IPSET_ERR_PRIVATE {
		return kernelError{no}
	}
	return err
}

// kernelError is one of ipset's own error numbers, which syscall has no words for. errors.Is finds the number.
type kernelError struct{ no unix.Errno }

func (e kernelError) Unwrap() error { return e.no }

func (e kernelError) Error() string {
	switch e.no {
	case errFull:
		return "the set is full"
	case errBusy:
		return "a rule refers to it"
	}
	return "ipset: " + nl.IPSetError(e.no).Error()
}

// request begins a message about the set name; "" for all of them.
func (c *conn) request(proto uint8, name string) []byte {
	b := append(c.buf[:0], unix.AF_NETLINK, nl.NFNETLINK_V0, 0, 0) // nfgenmsg
	b = attr8(b, nl.IPSET_ATTR_PROTOCOL, proto)
	if name != "" {
		b = attrString(b, nl.IPSET_ATTR_SETNAME, name)
	}
	return b
}

func (c *conn) create(ctx context.Context, name string, family uint8, maxelem, hashsize uint32) error {
	b := c.request(nl.IPSET_PROTOCOL, name)
	b = attrString(b, nl.IPSET_ATTR_TYPENAME, setType)
	b = attr8(b, nl.IPSET_ATTR_REVISION, setRevision)
	b = attr8(b, nl.IPSET_ATTR_FAMILY, family)
	b, data := open(b, nl.IPSET_ATTR_DATA)
	b = attr32(b, nl.IPSET_ATTR_HASHSIZE, hashsize)
	b = attr32(b, nl.IPSET_ATTR_MAXELEM, maxelem)
	b = attr32(b, nl.IPSET_ATTR_TIMEOUT, 0)
	shut(b, data)
	c.buf = b
	err := c.do(ctx, nl.IPSET_CMD_CREATE, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, b, nil)
	switch {
	case errors.Is(err, errNoType):
		return unsupported(fmt.Sprintf("set type %s revision %d", setType, setRevision), "ip_set_hash_net", err)
	case err != nil:
		return fmt.Errorf("set %s: create: %w", name, err)
	}
	return nil
}

// bare runs a command that takes a name and nothing else.
func (c *conn) bare(ctx context.Context, cmd int, verb, name string) error {
	c.buf = c.request(nl.IPSET_PROTOCOL, name)
	if err := c.do(ctx, cmd, addFlags, c.buf, nil); err != nil {
		return fmt.Errorf("set %s: %s: %w", name, verb, err)
	}
	return nil
}

func (c *conn) destroy(ctx context.Context, name string) error {
	return c.bare(ctx, nl.IPSET_CMD_DESTROY, "destroy", name)
}

func (c *conn) flush(ctx context.Context, name string) error {
	return c.bare(ctx, nl.IPSET_CMD_FLUSH, "flush", name)
}

// swap exchanges two sets: rules follow the name, that is, they see the other's elements from then on.
func (c *conn) swap(ctx context.Context, name, other string) error {
	b := c.request(nl.IPSET_PROTOCOL, name)
	b = attrString(b, nl.IPSET_ATTR_SETNAME2, other)
	c.buf = b
	if err := c.do(ctx, nl.IPSET_CMD_SWAP, addFlags, b, nil); err != nil {
		return fmt.Errorf("set %s: swap with %s: %w", name, other, err)
	}
	return nil
}

// index returns the number by which rules refer to a set.
func (c *conn) index(ctx context.Context, name string) (uint16, error) {
	c.buf = c.request(protoByName, name)
	var index uint16
	found := false
	err := c.do(ctx, cmdGetByName, unix.NLM_F_REQUEST, c.buf, func(m []byte) {
		for typ, v := range nfrule.Attrs(m) {
			if typ == attrIndex && len(v) == 2 {
				index, found = binary.BigEndian.Uint16(v), true
			}
		}
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("set %s: look up its index (Linux 4.20 or newer): %w", name, err)
	case !found:
		return 0, fmt.Errorf("set %s: the kernel's answer holds no index", name)
	}
	return index, nil
}

// headers lists all sets of the network namespace without their elements.
func (c *conn) headers(ctx context.Context) (map[string]*header, error) {
	c.buf = attr32(c.request(nl.IPSET_PROTOCOL, ""), nl.IPSET_ATTR_FLAGS, flagListHeader)
	all := make(map[string]*header)
	err := c.do(ctx, nl.IPSET_CMD_LIST, dumpFlags, c.buf, func(m []byte) {
		if h := parseHeader(m); h != nil {
			all[h.name] = h
		}
	})
	if err != nil {
		if errors.Is(err, unix.EINVAL) {
			return nil, unsupported("ipset", "ip_set", err)
		}
		return nil, fmt.Errorf("ipset: list sets: %w", err)
	}
	return all, nil
}

func parseHeader(m []byte) *header {
	h := &header{timeout: -1}
	for typ, v := range nfrule.Attrs(m) {
		switch {
		case typ == nl.IPSET_ATTR_SETNAME:
			h.name = nfrule.CString(v)
		case typ == nl.IPSET_ATTR_TYPENAME:
			h.typ = nfrule.CString(v)
		case typ == nl.IPSET_ATTR_FAMILY && len(v) == 1:
			h.family = v[0]
		case typ == nl.IPSET_ATTR_DATA:
			for typ, v := range nfrule.Attrs(v) {
				if len(v) != 4 {
					continue
				}
				n := binary.BigEndian.Uint32(v)
				switch typ {
				case nl.IPSET_ATTR_TIMEOUT:
					h.timeout = int64(n)
				case nl.IPSET_ATTR_CADT_FLAGS:
					h.flags = n
				case nl.IPSET_ATTR_MAXELEM:
					h.maxelem = n
				case nl.IPSET_ATTR_REFERENCES:
					h.refs = n
				case nl.IPSET_ATTR_ELEMENTS:
					h.count = n
				}
			}
		}
	}
	if h.name == "" || h.typ == "" {
		return nil
	}
	return h
}

// dump hands every element of a set to f with the seconds it has left, 0 for ever. The library's own list takes a
// goroutine and a channel for each block of attributes, half a second for 100,000; this one takes a tenth of that.
func (c *conn) dump(ctx context.Context, name string, f func(e element, left uint32)) error {
	c.buf = c.request(nl.IPSET_PROTOCOL, name)
	err := c.do(ctx, nl.IPSET_CMD_LIST, dumpFlags, c.buf, func(m []byte) {
		for typ, v := range nfrule.Attrs(m) {
			if typ != nl.IPSET_ATTR_ADT {
				continue
			}
			for typ, v := range nfrule.Attrs(v) {
				if typ == nl.IPSET_ATTR_DATA {
					if e, left := parseElement(v); e.bits != 0 {
						f(e, left)
					}
				}
			}
		}
	})
	if err != nil {
		return fmt.Errorf("set %s: list elements: %w", name, err)
	}
	return nil
}

func parseElement(m []byte) (e element, left uint32) {
	var n int
	for typ, v := range nfrule.Attrs(m) {
		switch {
		case typ == nl.IPSET_ATTR_IP:
			for _, a := range nfrule.Attrs(v) {
				n = copy(e.addr[:], a)
			}
		case typ == nl.IPSET_ATTR_CIDR && len(v) == 1:
			e.bits = v[0]
		case typ == nl.IPSET_ATTR_TIMEOUT && len(v) == 4:
			left = binary.BigEndian.Uint32(v)
		}
	}
	if e.bits == 0 && n > 0 {
		e.bits = uint8(8 * n) // some revisions leave out the full length
	}
	return e, left
}

// change is one element to put in, with its timeout in seconds (0: for ever), or to take out.
type change struct {
	e       element
	timeout uint32
}

// put adds elements, or sets their timeouts anew where they are in the set already. done is told after each message how
// many are in for sure.
func (c *conn) put(ctx context.Context, name string, family uint8, list []change, done func(n int)) error {
	return c.batch(ctx, nl.IPSET_CMD_ADD, "add", name, family, list, done)
}

// take removes elements; one that is not there is no error.
func (c *conn) take(ctx context.Context, name string, family uint8, list []change, done func(n int)) error {
	return c.batch(ctx, nl.IPSET_CMD_DEL, "remove", name, family, list, done)
}

func (c *conn) batch(ctx context.Context, cmd int, verb, name string, family uint8, list []change, done func(n int)) error {
	for from := 0; from < len(list); from += perMessage {
		part := list[from:min(from+perMessage, len(list))]
		b := c.request(nl.IPSET_PROTOCOL, name)
		b = attr32(b, nl.IPSET_ATTR_LINENO, 0) // asked for by the kernel wherever there is more than one
		b, adt := open(b, nl.IPSET_ATTR_ADT)
		for i, x := range part {
			b = appendElement(b, family, x, cmd == nl.IPSET_CMD_ADD, uint32(i+1))
		}
		shut(b, adt)
		c.buf = b
		if err := c.do(ctx, cmd, addFlags, b, nil); err != nil {
			return fmt.Errorf("set %s: %s %d from %v on: %w", name, verb, len(part), part[0].e.prefix(family), err)
		}
		done(from + len(part))
	}
	return nil
}

func appendElement(b []byte, family uint8, x change, timeout bool, line uint32) []byte {
	b, data := open(b, nl.IPSET_ATTR_DATA)
	b, ip := open(b, nl.IPSET_ATTR_IP)
	if family == unix.NFPROTO_IPV4 {
		b = attr(b, nl.IPSET_ATTR_IPADDR_IPV4|netOrder, x.e.addr[:4])
	} else {
		b = attr(b, nl.IPSET_ATTR_IPADDR_IPV6|netOrder, x.e.addr[:])
	}
	shut(b, ip)
	b = attr8(b, nl.IPSET_ATTR_CIDR, x.e.bits)
	if timeout {
		b = attr32(b, nl.IPSET_ATTR_TIMEOUT, x.timeout)
	}
	b = attr32(b, nl.IPSET_ATTR_LINENO, line)
	shut(b, data)
	return b
}

// Attributes: length and type in the host's byte order, then the value, padded to four bytes (uapi/linux/netlink.h).

func attr(b []byte, typ uint16, v []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrHeader+len(v)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, v...)
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

func attr8(b []byte, typ uint16, v uint8) []byte { return attr(b, typ, []byte{v}) }

func attr32(b []byte, typ uint16, v uint32) []byte {
	var x [4]byte
	binary.BigEndian.PutUint32(x[:], v)
	return attr(b, typ|netOrder, x[:])
}

func attrString(b []byte, typ uint16, s string) []byte {
	return attr(b, typ, append([]byte(s), 0))
}

// open begins a nested attribute; shut writes its length once its content is there.
func open(b []byte, typ uint16) ([]byte, int) {
	at := len(b)
	return binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(b, 0), typ|nested), at
}

func shut(b []byte, at int) { binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at)) }
