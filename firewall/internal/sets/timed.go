package sets

import (
	"net/netip"
	"slices"
	"time"

	"bailiff/firewall"

	"golang.org/x/sys/unix"
)

const (
	// slack is how many seconds a kernel timeout may differ from the wanted one before it is replaced: timeouts are whole seconds, and wall
	// clock and kernel clock drift apart.
	slack = 5

	// margin is the number of seconds around its deadline in which an element may or may not be in the kernel.
	margin = 2
)

// Deadlines converts the ends of bans, which are wall-clock times, to deadlines as the kernel counts: seconds of a monotonic
// clock that began with NewDeadlines. The deadline 0 means never.
type Deadlines struct {
	start   time.Time
	longest time.Duration
}

// NewDeadlines starts the clock. No deadline lies further ahead than longest, in whole seconds.
func NewDeadlines(longest time.Duration) Deadlines {
	return Deadlines{time.Now().Add(-time.Second), longest} // a ban that ends now must not get deadline 0, which means never
}

// Now returns now as a deadline.
func (d Deadlines) Now(now time.Time) uint32 { return uint32(now.Sub(d.start) / time.Second) }

// ToKernel converts the end of a ban, rounded up. ok is false if the ban is over. now must come from time.Now, since it needs a monotonic
// reading.
func (d Deadlines) ToKernel(until, now time.Time) (deadline uint32, ok bool) {
	if until.IsZero() {
		return 0, true
	}
	left := until.Round(0).Sub(now.Round(0))
	if left <= 0 {
		return 0, false
	}
	return uint32((now.Sub(d.start) + min(left, d.longest) + time.Second - 1) / time.Second), true
}

// Remaining returns the timeout for the kernel in seconds: 0 for never, otherwise at least 1.
func (d Deadlines) Remaining(deadline uint32, now time.Time) uint32 {
	if deadline == 0 {
		return 0
	}
	return uint32(min(max(int64(deadline)-int64(d.Now(now)), 1), int64(d.longest/time.Second)))
}

// FromKernel returns the deadline of an element with left seconds remaining in the kernel; 0 means never.
func (d Deadlines) FromKernel(left uint32, now time.Time) uint32 {
	if left == 0 {
		return 0
	}
	return d.Now(now) + left
}

// Until is the wall-clock time of a deadline; zero for never.
func (d Deadlines) Until(deadline uint32, now time.Time) time.Time {
	if deadline == 0 {
		return time.Time{}
	}
	return now.Round(0).Add(time.Duration(d.Remaining(deadline, now)) * time.Second)
}

// Group converts bans to elements and groups them by set, as returned by the function set. Bans that are over are returned separately. If
// two bans have the same key, the last one counts.
func Group[K comparable](d Deadlines, bans []firewall.Ban, set func(firewall.Key) (K, error)) (live, over map[K]Elements, err error) {
	now := time.Now()
	live, over = make(map[K]Elements), make(map[K]Elements)
	for _, b := range bans {
		k, err := set(b.Key())
		if err != nil {
			return nil, nil, err
		}
		e := ElementOf(b.Prefix)
		deadline, ok := d.ToKernel(b.Until, now)
		to, from := live, over
		if !ok {
			to, from = over, live
		}
		if to[k] == nil {
			to[k] = make(Elements)
		}
		to[k][e] = deadline
		delete(from[k], e)
	}
	return live, over, nil
}

// Compare returns the changes after which a set holds want. An end that was cut to the longest time is replaced only after half of that
// time; otherwise, every Reconcile would replace it.
func (d Deadlines) Compare(want, have Elements, now time.Time) Diff[Element] {
	at, longest := int64(d.Now(now)), int64(d.longest/time.Second)
	return Compare(want, have, func(have, want uint32) bool {
		switch {
		case have == 0 || want == 0:
			return have != want
		case int64(want)-at >= longest:
			return int64(have)-at < longest/2
		}
		return max(have, want)-min(have, want) > slack
	})
}

// Inspect fills in the elements' part of s, for want and have at the time now. An element about to expire is neither missing nor
// unexpected.
func (d Deadlines) Inspect(s *firewall.Set, want, have Elements, now time.Time) {
	s.Want, s.Have = len(want), len(have)
	for _, deadline := range have {
		s.NoteEnd(d.Until(deadline, now))
	}
	diff := d.Compare(want, have, now)
	soon := d.Now(now) + slack
	diff.Missing = slices.DeleteFunc(diff.Missing, func(e Element) bool { return want[e] != 0 && want[e] <= soon })
	diff.Unexpected = slices.DeleteFunc(diff.Unexpected, func(e Element) bool { return have[e] != 0 && have[e] <= soon })
	diff.Report(s, Element.Prefix)
}

// Elements are the elements of a set with their deadlines.
type Elements map[Element]uint32

// DropExpired removes what the kernel has expired.
func (l Elements) DropExpired(now uint32) {
	for e, deadline := range l {
		if deadline != 0 && deadline+margin < now {
			delete(l, e)
		}
	}
}

// Alive counts the elements that cannot have expired yet.
func (l Elements) Alive(now uint32) (n int) {
	for _, deadline := range l {
		if !Expiring(deadline, now) {
			n++
		}
	}
	return n
}

// Expiring reports whether an element may be gone.
func Expiring(deadline, now uint32) bool { return deadline != 0 && deadline <= now+margin }

// Element is a prefix in 17 bytes without pointers: a map of 100,000 of them takes 3 MB, where netip.Prefix would take 5.5.
type Element struct {
	addr [16]byte // IPv4 as IPv4-mapped
	bits uint8    // of addr
}

// mappedBits is the length of ::ffff:0:0/96, where IPv4 is mapped.
const mappedBits = 96

// ElementOf converts a prefix that CheckPrefix accepts.
func ElementOf(p netip.Prefix) Element {
	e := Element{p.Addr().As16(), uint8(p.Bits())}
	if p.Addr().Is4() {
		e.bits += mappedBits
	}
	return e
}

// Prefix is the reverse of ElementOf.
func (e Element) Prefix() netip.Prefix {
	a := netip.AddrFrom16(e.addr)
	if a.Is4In6() {
		return netip.PrefixFrom(a.Unmap(), int(e.bits)-mappedBits)
	}
	return netip.PrefixFrom(a, int(e.bits))
}

// ElementFrom is the element of an address of 4 or 16 bytes and the length of its prefix; ok is false if it is not one.
func ElementFrom(addr []byte, bits int) (e Element, ok bool) {
	a, _ := netip.AddrFromSlice(addr)
	p := netip.PrefixFrom(a, bits)
	return ElementOf(p), p.IsValid()
}

// Addr is the address in 4 or 16 bytes.
func (e *Element) Addr() []byte {
	if netip.AddrFrom16(e.addr).Is4In6() {
		return e.addr[12:]
	}
	return e.addr[:]
}

// Family returns the family of a prefix as netfilter numbers it.
func Family(p netip.Prefix) uint8 {
	if p.Addr().Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// Digit is how set names write a family.
func Digit(family uint8) string {
	if family == unix.NFPROTO_IPV4 {
		return "4"
	}
	return "6"
}
