package firewall

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"
)

// MaxListed is how many prefixes of a kind an Inspection names of one set. The numbers are whole.
const MaxListed = 100

// Inspection is what a host holds of ours, beside what it should hold.
type Inspection struct {
	Parts []Part // tables, policies, and what is of no use any more; not the sets that should be there
	Sets  []Set
}

// Part is one structure of ours.
type Part struct {
	Name    string // as the host's own tools call it: "table inet bailiff", "set bailiff4"
	Want    string // what it should be, in words; empty for what should not be there
	Harm    string // how it differs from that; empty when it does not
	Present bool
	Foreign bool // it stands in the place of ours, but is somebody else's: Evict takes it away, Reconcile does not
}

// Set is a set of ours with the elements that it holds.
type Set struct {
	Part
	Scope   string
	Want    int       // elements that should be in it
	Have    int       // elements that are in it
	Forever int       // of these, those without an end
	Next    time.Time // when the first of them ends; zero when none does

	Missing Prefixes // should be there and are not
	Strange Prefixes // are there and should not be
	Late    Prefixes // are there and should be, but with another end

	Counted        bool // by the host; else Packets and Bytes mean nothing
	Packets, Bytes uint64
}

// Prefixes is a number of prefixes with some of them by name, at most MaxListed.
type Prefixes struct {
	N    int
	Some []netip.Prefix
}

// Add counts one more.
func (p *Prefixes) Add(x netip.Prefix) {
	if p.N++; len(p.Some) < MaxListed {
		p.Some = append(p.Some, x)
	}
}

// End notes an element that ends then, zero: never.
func (s *Set) End(at time.Time) {
	switch {
	case at.IsZero():
		s.Forever++
	case s.Next.IsZero() || at.Before(s.Next):
		s.Next = at
	}
}

// Wrong tells whether the set, or what is in it, differs from what it should be.
func (s *Set) Wrong() bool { return s.Harm != "" || s.Missing.N+s.Strange.N+s.Late.N > 0 }

// Intact tells whether nothing differs from what should be.
func (i *Inspection) Intact() bool {
	return !slices.ContainsFunc(i.Parts, func(p Part) bool { return p.Harm != "" }) &&
		!slices.ContainsFunc(i.Sets, func(s Set) bool { return s.Wrong() })
}

// Order sorts what is named, for people to read.
func (i *Inspection) Order() {
	for k := range i.Sets {
		s := &i.Sets[k]
		for _, l := range [][]netip.Prefix{s.Missing.Some, s.Strange.Some, s.Late.Some} {
			slices.SortFunc(l, func(x, y netip.Prefix) int {
				return cmp.Or(x.Addr().Compare(y.Addr()), cmp.Compare(x.Bits(), y.Bits()))
			})
		}
	}
}

// Stopped is what the rules about one set have counted since they were made.
type Stopped struct {
	Set, Scope     string
	Packets, Bytes uint64
}

// A Counter is a backend whose host counts what it stops. firewalld is none: its policies have no counters.
type Counter interface {
	// Stopped reads the counters, which costs little. It may run beside all other methods.
	Stopped(ctx context.Context) ([]Stopped, error)
}
