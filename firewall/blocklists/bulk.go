package blocklists

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"bailiff/firewall/internal/request"
	"bailiff/policy/prefix"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// maxMessage bounds the elements of one message: an attribute has at most 65,535 bytes.
	maxMessage = 60_000

	// piece is how many bytes of elements go into one transaction: large enough that transactions do not count, and small beside
	// what the daemon uses anyway.
	piece = 512 << 10
)

// bulk adds elements to sets that no rule refers to yet. It is the one way to add a million of them within seconds: through
// google/nftables each costs a dozen allocations.
type bulk struct {
	ctx   context.Context
	conn  *request.Conn
	table string
	open  map[string]*netlink.Message // by set: the message that elements are added to
	ends  map[string]netip.Addr       // by set: the address behind the last interval, which is not added yet
	full  []netlink.Message
	size  int // of all messages
	free  [][]byte
}

func newBulk(ctx context.Context, table string) *bulk {
	return &bulk{ctx: ctx, conn: request.New(unix.NETLINK_NETFILTER), table: table, open: make(map[string]*netlink.Message), ends: make(map[string]netip.Addr)}
}

func (b *bulk) close() { b.conn.Close() }

// add adds an address to a set of single prefixes.
func (b *bulk) add(set string, addr netip.Addr) error {
	return b.element(set, addr, false)
}

// addPrefix adds a prefix to a set of intervals, whose first address and the one behind its last are two elements. Prefixes of a set come
// in ascending order, and those that touch become one interval: of the networks of a country, six of seven do.
func (b *bulk) addPrefix(set string, p netip.Prefix) error {
	if end, ok := b.ends[set]; !ok || end != p.Addr() {
		if err := b.end(set); err != nil {
			return err
		}
		if err := b.element(set, p.Addr(), false); err != nil {
			return err
		}
	}
	b.ends[set] = prefix.Last(p).Next()
	return nil
}

// end ends the last interval of a set, if there is one.
func (b *bulk) end(set string) error {
	end := b.ends[set]
	delete(b.ends, set)
	if !end.IsValid() { // none, or up to the highest address there is
		return nil
	}
	return b.element(set, end, true)
}

// finish ends all intervals, and sends what is left.
func (b *bulk) finish() error {
	for set := range b.ends {
		if err := b.end(set); err != nil {
			return err
		}
	}
	return b.flush()
}

func (b *bulk) element(set string, addr netip.Addr, end bool) error {
	m := b.open[set]
	if m == nil {
		m = &netlink.Message{Data: b.header(set)}
		b.open[set] = m
	}
	before := len(m.Data)
	m.Data = appendElement(m.Data, addr, end)
	b.size += len(m.Data) - before
	if len(m.Data) > maxMessage {
		b.seal(set, m)
	}
	if b.size > piece {
		return b.flush()
	}
	return nil
}

// header begins a message: table, set, and the elements, whose length seal writes.
func (b *bulk) header(set string) []byte {
	var buf []byte
	if n := len(b.free); n > 0 {
		buf, b.free = b.free[n-1][:0], b.free[:n-1]
	} else {
		buf = make([]byte, 0, maxMessage+256)
	}
	buf = append(buf, unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0)
	buf = text(buf, unix.NFTA_SET_ELEM_LIST_TABLE, b.table)
	buf = text(buf, unix.NFTA_SET_ELEM_LIST_SET, set)
	return attr(buf, unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED)
}

func (b *bulk) seal(set string, m *netlink.Message) {
	// where the elements begin: behind the header and two texts
	at := request.NetfilterHeader + aligned(unix.SizeofNlAttr+len(b.table)+1) + aligned(unix.SizeofNlAttr+len(set)+1)
	binary.NativeEndian.PutUint16(m.Data[at:], uint16(len(m.Data)-at))
	m.Header = netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSETELEM, Flags: netlink.Create}
	b.full = append(b.full, *m)
	delete(b.open, set)
}

// flush sends what has been added.
func (b *bulk) flush() error {
	for set, m := range b.open {
		b.seal(set, m)
	}
	ms := b.full
	err := b.conn.Transaction(b.ctx, unix.NFNL_SUBSYS_NFTABLES, 4*piece, ms)
	if errors.Is(err, unix.EMSGSIZE) { // without CAP_NET_ADMIN in the initial user namespace, as in an unprivileged container
		for i := range ms {
			if err = b.conn.Transaction(b.ctx, unix.NFNL_SUBSYS_NFTABLES, 4*piece, ms[i:i+1]); err != nil {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("add elements: %w", err)
	}
	for i := range ms {
		b.free = append(b.free, ms[i].Data)
	}
	b.full, b.size = b.full[:0], 0
	return nil
}

// appendElement appends an element of a set, as in uapi/linux/netfilter/nf_tables.h: an entry of the list, in it the key, in it the
// address. end marks the address behind the last of an interval.
func appendElement(buf []byte, addr netip.Addr, end bool) []byte {
	entry := len(buf)
	buf = attr(buf, unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED)
	if end {
		buf = attr(buf, unix.NFTA_SET_ELEM_FLAGS)
		buf = binary.BigEndian.AppendUint32(buf, unix.NFT_SET_ELEM_INTERVAL_END)
		binary.NativeEndian.PutUint16(buf[len(buf)-8:], 8)
	}
	key := len(buf)
	buf = attr(buf, unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED)
	value := len(buf)
	buf = attr(buf, unix.NFTA_DATA_VALUE)
	if addr.Is4() {
		a := addr.As4()
		buf = append(buf, a[:]...)
	} else {
		a := addr.As16()
		buf = append(buf, a[:]...)
	}
	for _, at := range []int{entry, key, value} {
		binary.NativeEndian.PutUint16(buf[at:], uint16(len(buf)-at))
	}
	return buf
}

// attr begins an attribute; its length is written when it is known.
func attr(buf []byte, typ uint16) []byte {
	return binary.NativeEndian.AppendUint16(append(buf, 0, 0), typ)
}

func text(buf []byte, typ uint16, s string) []byte {
	at := len(buf)
	buf = append(append(attr(buf, typ), s...), 0)
	binary.NativeEndian.PutUint16(buf[at:], uint16(len(buf)-at))
	for len(buf)%unix.NLA_ALIGNTO != 0 {
		buf = append(buf, 0)
	}
	return buf
}

func aligned(n int) int { return (n + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }
