package firewall

import (
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/prefix"
)

// MaxListed is how many prefixes of a kind an Inspection lists for one set. The counts are complete.
const MaxListed = 100

// Inspection compares what a host holds of ours with what it should hold.
type Inspection struct {
	Objects []Object // tables, policies, and objects that are no longer used; not the sets that should exist
	Sets    []Set
}

// Object is one structure of ours.
type Object struct {
	Name    string // as the host's own tools call it: "table inet bailiff", "set bailiff4"
	Want    string // description of what it should be; empty if it should not exist
	Problem string // how it differs from Want; empty if it does not
	Present bool
	Foreign bool // it has our name but is not ours: RemoveForeign removes it, Reconcile does not
}

// MarkForeign marks o as an object that is not ours.
func (o *Object) MarkForeign(why string) {
	o.Present, o.Foreign, o.Problem = true, true, "is not ours: "+why
}

// Set is a set of ours with its elements.
type Set struct {
	Object
	Scope   string
	Want    int       // elements that should be in it
	Have    int       // elements that are in it
	Forever int       // of these, those that never expire
	Next    time.Time // when the first of them expires; zero when none does

	Missing      Prefixes // wanted, but not there
	Unexpected   Prefixes // there, but not wanted
	WrongTimeout Prefixes // wanted and there, but with a different end

	Counted        bool // the host counts; otherwise Packets and Bytes mean nothing
	Packets, Bytes uint64
}

// Prefixes is a number of prefixes, of which at most MaxListed are listed.
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

// NoteEnd records when an element expires; zero: never.
func (s *Set) NoteEnd(at time.Time) {
	switch {
	case at.IsZero():
		s.Forever++
	case s.Next.IsZero() || at.Before(s.Next):
		s.Next = at
	}
}

// Differs reports whether the set, or what is in it, differs from what it should be.
func (s *Set) Differs() bool {
	return s.Problem != "" || s.Missing.N+s.Unexpected.N+s.WrongTimeout.N > 0
}

// OK reports whether nothing differs from what should be.
func (i *Inspection) OK() bool {
	return !slices.ContainsFunc(i.Objects, func(o Object) bool { return o.Problem != "" }) &&
		!slices.ContainsFunc(i.Sets, func(s Set) bool { return s.Differs() })
}

// Sort sorts the listed prefixes.
func (i *Inspection) Sort() {
	for k := range i.Sets {
		s := &i.Sets[k]
		for _, l := range [][]netip.Prefix{s.Missing.Some, s.Unexpected.Some, s.WrongTimeout.Some} {
			slices.SortFunc(l, prefix.Compare)
		}
	}
}

// DropCounter is how much the rules for one set have blocked since they were created.
type DropCounter struct {
	Set, Scope     string
	Packets, Bytes uint64
}
