// Package allow holds the addresses that are never banned. An allowed address takes precedence over every jail, and a ban
// of a wider prefix never covers one.
//
// It never reads a file, a clock or a network interface: entries come in as values or from a reader, and time as a number, so a replay of
// last week's journal gives the same results. It never looks up a host name.
//
// Start reading at List; ParseEntry and ParseFile read entries from text, SelfEntries returns those that every host needs.
package allow

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"time"

	"bailiff/policy/prefix"
)

// Entry is one address or prefix that is never banned.
type Entry struct {
	Prefix  netip.Prefix
	Origin  string    // the file's name, or one of the words below
	Line    int       // line in that file, from 1; 0 if there is no file
	Comment string    // from the file
	Until   time.Time // zero: forever
}

// Origins that are not files.
const (
	OriginSelf    = "self"    // addresses of this host, see SelfEntries
	OriginRuntime = "runtime" // allowed by an operator's command
	OriginFleet   = "fleet"   // by an operator of the fleet
)

// Where names the place of an entry: file:line, "self" or "runtime".
func (e Entry) Where() string {
	if e.Line == 0 {
		return e.Origin
	}
	return e.Origin + ":" + strconv.Itoa(e.Line)
}

// active reports whether the entry holds at a time, in microseconds since 1970.
func (e *Entry) active(at int64) bool { return e.Until.IsZero() || at < e.Until.UnixMicro() }

// List is an immutable set of entries, which are not copied. Any number of goroutines may use it. The zero List and a nil
// one are empty.
//
// Two prefixes are either disjoint, or one contains the other. So a sorted list in which each entry refers to the next wider one around it
// answers every query with one binary search and a few steps outward.
type List struct {
	entries []*Entry // by address, IPv4 first, then wide before narrow; no prefix twice
	outer   []int32  // for each entry the index of the next wider one that holds it, or -1
}

// canonical cuts host bits off and turns IPv4-mapped prefixes into IPv4. ok is false for a prefix that is not valid.
func canonical(p netip.Prefix) (_ netip.Prefix, ok bool) {
	if !p.IsValid() {
		return p, false
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

// NewList returns a list. If several entries have the same prefix, it keeps the one that lasts longest; among equals, the first. Host bits
// are cut off, IPv4-mapped prefixes become IPv4; an entry without a valid prefix is left out. The entries must not be changed afterwards.
func NewList(entries []Entry) *List {
	l := &List{entries: make([]*Entry, 0, len(entries))}
	for i := range entries {
		e := &entries[i]
		p, ok := canonical(e.Prefix)
		if !ok {
			continue
		}
		if p != e.Prefix {
			changed := *e
			changed.Prefix = p
			e = &changed
		}
		l.entries = append(l.entries, e)
	}
	slices.SortStableFunc(l.entries, func(a, b *Entry) int { return cmp.Or(prefix.Compare(a.Prefix, b.Prefix), longer(a, b)) })
	l.entries = slices.Clip(slices.CompactFunc(l.entries, func(a, b *Entry) bool { return a.Prefix == b.Prefix }))
	l.outer = make([]int32, len(l.entries))
	for i := range l.entries {
		o := int32(i) - 1
		for o >= 0 && !l.entries[o].Prefix.Contains(l.entries[i].Prefix.Addr()) {
			o = l.outer[o]
		}
		l.outer[i] = o
	}
	return l
}

// longer compares entries so that the one that lasts longer comes first.
func longer(a, b *Entry) int {
	switch {
	case a.Until.Equal(b.Until):
		return 0
	case a.Until.IsZero() || !b.Until.IsZero() && a.Until.After(b.Until):
		return -1
	}
	return 1
}

// Len is the number of entries.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.entries)
}

// Entries returns all entries, sorted by address, IPv4 first, and then from wide to narrow.
func (l *List) Entries() []Entry {
	if l == nil {
		return nil
	}
	all := make([]Entry, len(l.entries))
	for i, e := range l.entries {
		all[i] = *e
	}
	return all
}

// Prefixes returns the prefixes that are allowed at a time (microseconds since 1970), in the order of Entries.
func (l *List) Prefixes(at int64) (all []netip.Prefix) {
	if l == nil {
		return nil
	}
	for _, e := range l.entries {
		if e.active(at) {
			all = append(all, e.Prefix)
		}
	}
	return all
}

// after is the index of the first entry that begins after an address.
func (l *List) after(a netip.Addr) int {
	return sort.Search(len(l.entries), func(i int) bool { return l.entries[i].Prefix.Addr().Compare(a) > 0 })
}

// Contains reports whether an address is allowed at a time (microseconds since 1970), and by which entry: the narrowest.
// It does not allocate.
func (l *List) Contains(a netip.Addr, at int64) (Entry, bool) {
	if l == nil || !a.IsValid() {
		return Entry{}, false
	}
	a = a.Unmap().WithZone("")
	for i := int32(l.after(a)) - 1; i >= 0; i = l.outer[i] {
		if e := l.entries[i]; e.active(at) && e.Prefix.Contains(a) {
			return *e, true
		}
	}
	return Entry{}, false
}

// Overlaps reports whether a prefix holds an allowed address at a time (microseconds since 1970), or lies in an allowed
// prefix. Then it must not be banned as a whole. It does not allocate.
func (l *List) Overlaps(p netip.Prefix, at int64) bool {
	found := false
	l.overlapping(p, at, true, func(*Entry) bool { found = true; return false })
	return found
}

// Overlapping returns the entries that make Overlaps true: those around the prefix, from narrow to wide, then those
// within it in order.
func (l *List) Overlapping(p netip.Prefix, at int64) (found []Entry) {
	l.overlapping(p, at, true, func(e *Entry) bool { found = append(found, *e); return true })
	return found
}

// Expired returns the entries that Overlapping would return if they had not expired at that moment.
func (l *List) Expired(p netip.Prefix, at int64) (found []Entry) {
	l.overlapping(p, at, false, func(e *Entry) bool { found = append(found, *e); return true })
	return found
}

func (l *List) overlapping(p netip.Prefix, at int64, active bool, yield func(*Entry) bool) {
	p, ok := canonical(p)
	if l == nil || !ok {
		return
	}
	next := l.after(p.Addr())
	for i := int32(next) - 1; i >= 0; i = l.outer[i] {
		if e := l.entries[i]; e.active(at) == active && e.Prefix.Contains(p.Addr()) && !yield(e) {
			return
		}
	}
	for i := next; i < len(l.entries) && p.Contains(l.entries[i].Prefix.Addr()); i++ {
		if e := l.entries[i]; e.active(at) == active && !yield(e) {
			return
		}
	}
}
