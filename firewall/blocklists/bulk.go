package blocklists

import (
	"context"
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

	// piece is how many bytes of elements go into one transaction: large enough that the cost of a transaction does not matter, and small
	// compared to the daemon's memory.
	piece = 512 << 10
)

// bulk adds elements to sets that no rule refers to yet. It is the only way to add a million of them within seconds: with google/nftables,
// each element costs a dozen allocations.
type bulk struct {
	ctx   context.Context
	conn  *request.Conn
	table string
	open  map[string]*message   // by set: the message to which elements are added
	ends  map[string]netip.Addr // by set: the address after the last interval; not added yet
	full  []netlink.Message
	size  int // of all messages
	free  [][]byte
}

// message is a message to which elements are added.
type message struct {
	data []byte
	at   int // where the list of elements begins
}

func newBulk(ctx context.Context, table string) *bulk {
	return &bulk{ctx: ctx, conn: request.New(unix.NETLINK_NETFILTER), table: table, open: make(map[string]*message), ends: make(map[string]netip.Addr)}
}

func (b *bulk) close() { b.conn.Close() }

// add adds an address to a set of single prefixes.
func (b *bulk) add(set string, addr netip.Addr) error {
	return b.element(set, addr, false)
}

// addPrefix adds a prefix to a set of intervals. An interval is two elements: its first address, and the address after its last. Prefixes
// must come in ascending order; adjacent ones become one interval, as six of seven networks of a country do.
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
	if !end.IsValid() { // none, or the interval ends at the highest address
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
		m = b.begin(set)
		b.open[set] = m
	}
	before := len(m.data)
	m.data = appendElement(m.data, addr, end)
	b.size += len(m.data) - before
	if len(m.data) > maxMessage {
		b.seal(set, m)
	}
	if b.size > piece {
		return b.flush()
	}
	return nil
}

// begin begins a message: table, set, and the list of elements.
func (b *bulk) begin(set string) *message {
	var buf []byte
	if n := len(b.free); n > 0 {
		buf, b.free = b.free[n-1][:0], b.free[:n-1]
	} else {
		buf = make([]byte, 0, maxMessage+256)
	}
	buf = append(buf, unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0)
	buf = request.AppendString(buf, unix.NFTA_SET_ELEM_LIST_TABLE, b.table)
	buf = request.AppendString(buf, unix.NFTA_SET_ELEM_LIST_SET, set)
	buf, at := request.Begin(buf, unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED)
	return &message{buf, at}
}

func (b *bulk) seal(set string, m *message) {
	request.End(m.data, m.at)
	b.full = append(b.full, netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSETELEM, Flags: netlink.Create}, Data: m.data,
	})
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

// appendElement appends an element of a set, as in uapi/linux/netfilter/nf_tables.h: a list entry, which contains the key, which contains
// the address. end marks the address after the last of an interval.
func appendElement(b []byte, addr netip.Addr, end bool) []byte {
	b, entry := request.Begin(b, unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED)
	if end {
		b = request.Append(b, unix.NFTA_SET_ELEM_FLAGS, 0, 0, 0, unix.NFT_SET_ELEM_INTERVAL_END) // in the network's byte order
	}
	b, key := request.Begin(b, unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED)
	if addr.Is4() {
		a := addr.As4()
		b = request.Append(b, unix.NFTA_DATA_VALUE, a[:]...)
	} else {
		a := addr.As16()
		b = request.Append(b, unix.NFTA_DATA_VALUE, a[:]...)
	}
	request.End(b, key)
	request.End(b, entry)
	return b
}
