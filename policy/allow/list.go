// Package allow holds the addresses that are never banned. An allowed address wins over every jail, and a ban of a wider
// prefix never covers one.
//
// It reads no file, no clock and no network interface: entries come in as values or as a reader, time as a number, so a
// replay of last week's journal is answered as it was then. It never looks up a host name.
//
// Start reading at List; ParseEntry and ParseFile make entries from text, Self those that every host needs.
package allow

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"time"
)

// Entry is one address or prefix that is never banned.
type Entry struct {
	Prefix  netip.Prefix
	Origin  string    // the file's name, "self" or "runtime"
	Line    int       // in that file, from 1; 0 where there is no file
	Comment string    // what the file says about it
	Until   time.Time // zero: for ever
}

// Origins that are not files.
const (
	OriginSelf    = "self"    // the host's own, see SelfEntries
	OriginRuntime = "runtime" // allowed by an operator's command
)

// Where names the place of an entry: file:line, "self" or "runtime".
func (e Entry) Where() string {
	if e.Line == 0 {
		return e.Origin
	}
	return e.Origin + ":" + strconv.Itoa(e.Line)
}

// List is an immutable set of entries. Any number of goroutines may use it. The zero List and a nil one are empty.
//
// Prefixes are either disjoint or one lies in the other. So one array, sorted by first address and then by length, with
// each node knowing the next wider one around it, answers every question with one binary search and a short climb.
// An entry takes 48 bytes; origins and comments are kept once each.
type List struct {
	nodes    []node
	origins  []string
	comments []string // comments[0] is ""
}

type node struct {
	hi, lo  uint64 // first address; IPv4 as ::ffff:a.b.c.d
	until   int64  // microseconds since 1970; forever
	up      int32  // index of the next wider node that holds this one, or -1
	origin  uint32
	comment uint32
	line    uint32
	bits    uint8 // of 128
	v4      bool
}

const forever = 1<<63 - 1

// active says whether the entry holds at that moment.
func (n *node) active(at int64) bool { return at < n.until }

// spans says whether an address lies between the node's first and last, whatever the families are. IPv6 prefixes such as
// ::/32 span all of IPv4 without holding any of it, so answers ask for the family too; the order and the climb do not.
func (n *node) spans(hi, lo uint64) bool {
	mh, ml := mask(int(n.bits))
	return hi&mh == n.hi && lo&ml == n.lo
}

func (n *node) prefix() netip.Prefix {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	if n.v4 {
		return netip.PrefixFrom(netip.AddrFrom16(b).Unmap(), int(n.bits)-96)
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), int(n.bits))
}

// mask returns the 128-bit network mask of that length.
func mask(bits int) (hi, lo uint64) {
	if bits <= 64 {
		return ^uint64(0) << (64 - bits), 0
	}
	return ^uint64(0), ^uint64(0) << (128 - bits)
}

// key splits an address into two numbers that sort as addresses do.
func key(a netip.Addr) (hi, lo uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

// clean takes a prefix apart; ok is false for one that is not valid. IPv4-mapped prefixes count as IPv4.
func clean(p netip.Prefix) (hi, lo uint64, bits int, v4, ok bool) {
	if !p.IsValid() {
		return
	}
	a, bits := p.Addr(), p.Bits()
	v4 = a.Is4()
	if v4 {
		bits += 96
	} else if a.Is4In6() && bits >= 96 {
		v4 = true
	}
	hi, lo = key(a)
	mh, ml := mask(bits)
	return hi & mh, lo & ml, bits, v4, true
}

// NewList makes a list. Of several entries for one prefix it keeps the one that lasts longest, and the first of those.
// Host bits are cut off, IPv4-mapped prefixes become IPv4; an entry without a valid prefix is left out.
func NewList(entries []Entry) *List {
	l := &List{nodes: make([]node, 0, len(entries)), comments: []string{""}}
	origins, comments := make(map[string]uint32), map[string]uint32{"": 0}
	for i := range entries {
		e := &entries[i]
		hi, lo, bits, v4, ok := clean(e.Prefix)
		if !ok {
			continue
		}
		n := node{hi: hi, lo: lo, until: forever, line: uint32(e.Line), bits: uint8(bits), v4: v4}
		if !e.Until.IsZero() {
			n.until = e.Until.UnixMicro()
		}
		n.origin = intern(origins, &l.origins, e.Origin)
		n.comment = intern(comments, &l.comments, e.Comment)
		l.nodes = append(l.nodes, n)
	}
	slices.SortStableFunc(l.nodes, func(a, b node) int {
		return cmp.Or(compare(&a, &b), cmp.Compare(b.until, a.until))
	})
	l.nodes = slices.CompactFunc(l.nodes, func(a, b node) bool { return compare(&a, &b) == 0 })
	l.nodes = slices.Clip(l.nodes)
	for i := range l.nodes {
		n := &l.nodes[i]
		n.up = int32(i) - 1
		for n.up >= 0 && !l.nodes[n.up].spans(n.hi, n.lo) {
			n.up = l.nodes[n.up].up
		}
	}
	return l
}

// compare orders by first address, then wide before narrow. What compares equal is one prefix of one family.
func compare(a, b *node) int {
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo), cmp.Compare(a.bits, b.bits))
}

func intern(index map[string]uint32, list *[]string, s string) uint32 {
	if i, ok := index[s]; ok {
		return i
	}
	i := uint32(len(*list))
	*list = append(*list, s)
	index[s] = i
	return i
}

// With returns a list that holds what l holds and more. On equal prefixes the one that lasts longer stays, then l's.
func (l *List) With(more ...Entry) *List {
	if len(more) == 0 && l != nil {
		return l
	}
	return NewList(append(l.Entries(), more...))
}

// Len is the number of entries.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.nodes)
}

// Entries returns all entries, sorted by first address and then from wide to narrow; IPv4 sorts as ::ffff:a.b.c.d.
func (l *List) Entries() []Entry {
	if l == nil {
		return nil
	}
	all := make([]Entry, len(l.nodes))
	for i := range l.nodes {
		all[i] = l.entry(int32(i))
	}
	return all
}

func (l *List) entry(i int32) Entry {
	n := &l.nodes[i]
	e := Entry{Prefix: n.prefix(), Origin: l.origins[n.origin], Line: int(n.line), Comment: l.comments[n.comment]}
	if n.until != forever {
		e.Until = time.UnixMicro(n.until).UTC()
	}
	return e
}

// after is the index of the first node that begins behind an address.
func (l *List) after(hi, lo uint64) int {
	return sort.Search(len(l.nodes), func(i int) bool {
		n := &l.nodes[i]
		return n.hi > hi || n.hi == hi && n.lo > lo
	})
}

// Contains says whether an address is allowed at a moment (microseconds since 1970), and by which entry: the narrowest.
// It does not allocate.
func (l *List) Contains(a netip.Addr, at int64) (Entry, bool) {
	if l == nil || !a.IsValid() {
		return Entry{}, false
	}
	hi, lo := key(a)
	v4 := a.Is4() || a.Is4In6()
	for i := int32(l.after(hi, lo)) - 1; i >= 0; i = l.nodes[i].up {
		if n := &l.nodes[i]; n.v4 == v4 && n.active(at) && n.spans(hi, lo) {
			return l.entry(i), true
		}
	}
	return Entry{}, false
}

// Overlaps says whether a prefix holds an allowed address at a moment (microseconds since 1970), or lies in an allowed
// prefix. Then it must not be banned as a whole. It does not allocate.
func (l *List) Overlaps(p netip.Prefix, at int64) bool {
	found := false
	l.overlapping(p, at, true, func(int32) bool { found = true; return false })
	return found
}

// Overlapping returns the entries that make Overlaps true: those around the prefix, from narrow to wide, then those
// within it in order.
func (l *List) Overlapping(p netip.Prefix, at int64) (found []Entry) {
	l.overlapping(p, at, true, func(i int32) bool { found = append(found, l.entry(i)); return true })
	return found
}

// Expired returns the entries that Overlapping would return, were they not over at that moment.
func (l *List) Expired(p netip.Prefix, at int64) (found []Entry) {
	l.overlapping(p, at, false, func(i int32) bool { found = append(found, l.entry(i)); return true })
	return found
}

func (l *List) overlapping(p netip.Prefix, at int64, active bool, yield func(int32) bool) {
	hi, lo, bits, v4, ok := clean(p)
	if l == nil || !ok {
		return
	}
	next := l.after(hi, lo)
	for i := int32(next) - 1; i >= 0; i = l.nodes[i].up {
		if n := &l.nodes[i]; n.v4 == v4 && n.active(at) == active && n.spans(hi, lo) && !yield(i) {
			return
		}
	}
	mh, ml := mask(bits)
	for i := next; i < len(l.nodes); i++ {
		n := &l.nodes[i]
		if n.hi&mh != hi || n.lo&ml != lo {
			return
		}
		if n.v4 == v4 && n.active(at) == active && !yield(int32(i)) {
			return
		}
	}
}
