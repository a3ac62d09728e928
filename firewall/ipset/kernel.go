package ipset

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"bailiff/firewall/internal/request"
	"bailiff/firewall/internal/sets"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The kernel's ipset protocol, from uapi/linux/netfilter/ipset/ip_set.h. Names that the nl package has are taken from there.
const (
	setType     = "hash:net"
	setRevision = 6 // the last revision of hash:net before bucketsize; in every kernel since 4.0

	cmdGetByName = 14 // IPSET_CMD_GET_BYNAME, Linux 4.20
	attrIndex    = 11 // IPSET_ATTR_INDEX
	protoByName  = 7  // GET_BYNAME came with version 7 of the protocol, and must be asked in it

	flagListHeader = 1 << 2 // IPSET_FLAG_LIST_HEADER: no elements

	// maxTimeout is IPSET_MAX_TIMEOUT, (UINT_MAX >> 1) / 1000 seconds: 24.8 days. The kernel cuts longer ones silently.
	maxTimeout = 2147483

	// maxElem is how many elements a set takes. A set costs memory only for what is in it.
	maxElem = 1 << 24

	// perMessage is how many elements go into one message. An attribute is at most 65,535 bytes and an IPv6 element takes 52,
	// so 1,200 would fit; beyond 100 the cost of an element no longer falls.
	perMessage = 500
)

const (
	errFull   = unix.Errno(nl.IPSET_ERR_TYPE_SPECIFIC) // IPSET_ERR_HASH_FULL: the set has maxelem elements
	errBusy   = unix.Errno(nl.IPSET_ERR_BUSY)          // a rule refers to the set
	errNoType = unix.Errno(nl.IPSET_ERR_FIND_TYPE)     // the kernel has no hash:net of that revision
	nested    = uint16(unix.NLA_F_NESTED)
	netOrder  = uint16(unix.NLA_F_NET_BYTEORDER)
)

// kernelError is one of ipset's own error numbers, for which syscall has no text. errors.Is finds the number.
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

// header is what the kernel says about a set without its elements.
type header struct {
	name, typ            string
	family               uint8
	timeout              int64 // default for elements, in seconds; -1: elements have no timeouts
	flags                uint32
	maxelem, refs, count uint32
}

// foreign says how h differs from a set that we create; "" when it does not. Any revision of the type will do: a set that was
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
		return fmt.Sprintf("elements expire after %d s by default, ours never", h.timeout)
	case h.flags != 0:
		return fmt.Sprintf("created with flags %#x (counters, comments or the like), ours have none", h.flags)
	}
	return ""
}

// kernel speaks the ipset protocol.
type kernel struct {
	conn *request.Conn
	buf  []byte
}

// do sends a command with its attributes; see request.Conn.Do.
func (k *kernel) do(ctx context.Context, cmd int, flags netlink.HeaderFlags, attributes []byte, f func(data []byte)) error {
	k.buf = attributes
	err := k.conn.Do(ctx, request.Netfilter(unix.NFNL_SUBSYS_IPSET, cmd, unix.AF_NETLINK, flags, attributes), func(_ netlink.HeaderType, data []byte) {
		if f != nil {
			f(data)
		}
	})
	var no unix.Errno
	if errors.As(err, &no) && no >= nl.IPSET_ERR_PRIVATE {
		return kernelError{no}
	}
	return err
}

// attributes begins the attributes of a command about a set; "" for all sets.
func (k *kernel) attributes(proto uint8, name string) []byte {
	b := request.Append(k.buf[:0], nl.IPSET_ATTR_PROTOCOL, proto)
	if name != "" {
		b = request.AppendString(b, nl.IPSET_ATTR_SETNAME, name)
	}
	return b
}

func (k *kernel) create(ctx context.Context, name string, family uint8, hashsize uint32) error {
	b := k.attributes(nl.IPSET_PROTOCOL, name)
	b = request.AppendString(b, nl.IPSET_ATTR_TYPENAME, setType)
	b = request.Append(b, nl.IPSET_ATTR_REVISION, setRevision)
	b = request.Append(b, nl.IPSET_ATTR_FAMILY, family)
	b, data := request.Begin(b, nl.IPSET_ATTR_DATA|nested)
	b = attr32(b, nl.IPSET_ATTR_HASHSIZE, hashsize)
	b = attr32(b, nl.IPSET_ATTR_MAXELEM, maxElem)
	b = attr32(b, nl.IPSET_ATTR_TIMEOUT, 0)
	request.End(b, data)
	err := k.do(ctx, nl.IPSET_CMD_CREATE, netlink.Create|netlink.Excl, b, nil)
	switch {
	case errors.Is(err, errNoType):
		return unsupported(fmt.Sprintf("set type %s revision %d", setType, setRevision), "ip_set_hash_net", err)
	case err != nil:
		return fmt.Errorf("set %s: create: %w", name, err)
	}
	return nil
}

func (k *kernel) destroy(ctx context.Context, name string) error {
	if err := k.do(ctx, nl.IPSET_CMD_DESTROY, 0, k.attributes(nl.IPSET_PROTOCOL, name), nil); err != nil {
		return fmt.Errorf("set %s: destroy: %w", name, err)
	}
	return nil
}

func (k *kernel) flush(ctx context.Context, name string) error {
	if err := k.do(ctx, nl.IPSET_CMD_FLUSH, 0, k.attributes(nl.IPSET_PROTOCOL, name), nil); err != nil {
		return fmt.Errorf("set %s: flush: %w", name, err)
	}
	return nil
}

// swap exchanges two sets: each gets the name of the other, and the rules that refer to it.
func (k *kernel) swap(ctx context.Context, name, other string) error {
	b := k.attributes(nl.IPSET_PROTOCOL, name)
	b = request.AppendString(b, nl.IPSET_ATTR_TYPENAME, other) // IPSET_ATTR_SETNAME2
	if err := k.do(ctx, nl.IPSET_CMD_SWAP, 0, b, nil); err != nil {
		return fmt.Errorf("set %s: swap with %s: %w", name, other, err)
	}
	return nil
}

// index returns the number by which rules refer to a set.
func (k *kernel) index(ctx context.Context, name string) (uint16, error) {
	var index uint16
	found := false
	err := k.do(ctx, cmdGetByName, 0, k.attributes(protoByName, name), func(data []byte) {
		for typ, v := range request.NetfilterAttributes(data) {
			if typ == attrIndex && len(v) == 2 {
				index, found = binary.BigEndian.Uint16(v), true
			}
		}
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("set %s: read its index (Linux 4.20 or newer): %w", name, err)
	case !found:
		return 0, fmt.Errorf("set %s: the kernel's answer holds no index", name)
	}
	return index, nil
}

// headers lists all sets of the network namespace without their elements.
func (k *kernel) headers(ctx context.Context) (map[string]*header, error) {
	all := make(map[string]*header)
	b := attr32(k.attributes(nl.IPSET_PROTOCOL, ""), nl.IPSET_ATTR_FLAGS, flagListHeader)
	err := k.do(ctx, nl.IPSET_CMD_LIST, netlink.Dump, b, func(data []byte) {
		if h := parseHeader(data); h != nil {
			all[h.name] = h
		}
	})
	if errors.Is(err, unix.EINVAL) {
		return nil, unsupported("ipset", "ip_set", err)
	} else if err != nil {
		return nil, fmt.Errorf("ipset: list sets: %w", err)
	}
	return all, nil
}

func parseHeader(data []byte) *header {
	h := &header{timeout: -1}
	for typ, v := range request.NetfilterAttributes(data) {
		switch {
		case typ == nl.IPSET_ATTR_SETNAME:
			h.name = request.String(v)
		case typ == nl.IPSET_ATTR_TYPENAME:
			h.typ = request.String(v)
		case typ == nl.IPSET_ATTR_FAMILY && len(v) == 1:
			h.family = v[0]
		case typ == nl.IPSET_ATTR_DATA:
			for typ, v := range request.Attributes(v) {
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

// dump calls f with each element of a set and the seconds that it has left, 0 for never.
func (k *kernel) dump(ctx context.Context, name string, f func(e sets.Element, left uint32)) error {
	err := k.do(ctx, nl.IPSET_CMD_LIST, netlink.Dump, k.attributes(nl.IPSET_PROTOCOL, name), func(data []byte) {
		for typ, list := range request.NetfilterAttributes(data) {
			if typ != nl.IPSET_ATTR_ADT {
				continue
			}
			for typ, v := range request.Attributes(list) {
				if typ == nl.IPSET_ATTR_DATA {
					if e, left, ok := parseElement(v); ok {
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

func parseElement(data []byte) (e sets.Element, left uint32, ok bool) {
	var addr []byte
	bits := 0
	for typ, v := range request.Attributes(data) {
		switch {
		case typ == nl.IPSET_ATTR_IP:
			for _, a := range request.Attributes(v) {
				addr = a
			}
		case typ == nl.IPSET_ATTR_CIDR && len(v) == 1:
			bits = int(v[0])
		case typ == nl.IPSET_ATTR_TIMEOUT && len(v) == 4:
			left = binary.BigEndian.Uint32(v)
		}
	}
	bits = cmp.Or(bits, 8*len(addr)) // some revisions leave out the full length
	e, ok = sets.ElementFrom(addr, bits)
	return e, left, ok
}

// add adds elements with timeouts, or replaces the timeouts of elements that exist. done is called after each message with the elements
// that are certainly in the set.
func (k *kernel) add(ctx context.Context, name string, list []sets.Element, timeout func(sets.Element) uint32, done func([]sets.Element)) error {
	return k.batch(ctx, nl.IPSET_CMD_ADD, "add", name, list, timeout, done)
}

// remove removes elements. It is not an error if one does not exist.
func (k *kernel) remove(ctx context.Context, name string, list []sets.Element, done func([]sets.Element)) error {
	return k.batch(ctx, nl.IPSET_CMD_DEL, "remove", name, list, nil, done)
}

func (k *kernel) batch(ctx context.Context, cmd int, verb, name string, list []sets.Element, timeout func(sets.Element) uint32, done func([]sets.Element)) error {
	for len(list) > 0 {
		part := list[:min(len(list), perMessage)]
		list = list[len(part):]
		b := k.attributes(nl.IPSET_PROTOCOL, name)
		b = attr32(b, nl.IPSET_ATTR_LINENO, 0) // the kernel requires it if there are several elements
		b, adt := request.Begin(b, nl.IPSET_ATTR_ADT|nested)
		for i, e := range part {
			b = appendElement(b, e, timeout, uint32(i+1))
		}
		request.End(b, adt)
		if err := k.do(ctx, cmd, 0, b, nil); err != nil {
			return fmt.Errorf("set %s: %s %d elements from %v: %w", name, verb, len(part), part[0].Prefix(), err)
		}
		done(part)
	}
	return nil
}

func appendElement(b []byte, e sets.Element, timeout func(sets.Element) uint32, line uint32) []byte {
	typ, addr := uint16(nl.IPSET_ATTR_IPADDR_IPV4), e.Addr()
	if len(addr) != 4 {
		typ = nl.IPSET_ATTR_IPADDR_IPV6
	}
	b, data := request.Begin(b, nl.IPSET_ATTR_DATA|nested)
	b, ip := request.Begin(b, nl.IPSET_ATTR_IP|nested)
	b = request.Append(b, typ|netOrder, addr...)
	request.End(b, ip)
	b = request.Append(b, nl.IPSET_ATTR_CIDR, uint8(e.Prefix().Bits()))
	if timeout != nil {
		b = attr32(b, nl.IPSET_ATTR_TIMEOUT, timeout(e))
	}
	b = attr32(b, nl.IPSET_ATTR_LINENO, line)
	request.End(b, data)
	return b
}

// attr32 appends a number as an attribute.
func attr32(b []byte, typ uint16, v uint32) []byte {
	var x [4]byte
	binary.BigEndian.PutUint32(x[:], v)
	return request.Append(b, typ|netOrder, x[:]...)
}
