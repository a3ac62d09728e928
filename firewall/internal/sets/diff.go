// Package sets holds what the backends share about sets of banned prefixes: the difference between the elements that are wanted
// and those that were found, and deadlines and elements of sets in which the kernel itself expires elements. It does no I/O.
// Start reading at Compare.
package sets

import (
	"net/netip"

	"bailiff/firewall"
)

// Diff is the difference between the elements that a set should hold and those that it holds. Reconcile applies it, Inspect
// reports it.
type Diff[E comparable] struct {
	Missing      []E // wanted, but not found
	Unexpected   []E // found, but not wanted
	WrongTimeout []E // wanted and found, but with another end
}

// Compare returns the difference between the wanted and the found elements. The maps' values describe the elements; stale reports whether
// the end of a found element must be replaced.
func Compare[E comparable, W, H any](want map[E]W, have map[E]H, stale func(have H, want W) bool) (d Diff[E]) {
	for e, wanted := range want {
		switch found, ok := have[e]; {
		case !ok:
			d.Missing = append(d.Missing, e)
		case stale(found, wanted):
			d.WrongTimeout = append(d.WrongTimeout, e)
		}
	}
	for e := range have {
		if _, ok := want[e]; !ok {
			d.Unexpected = append(d.Unexpected, e)
		}
	}
	return d
}

// Cut truncates d to at most *limit elements, and lowers *limit by the number kept. whole reports whether all were kept.
func (d *Diff[E]) Cut(limit *int) (whole bool) {
	whole = true
	for _, l := range []*[]E{&d.Missing, &d.WrongTimeout, &d.Unexpected} {
		if len(*l) > *limit {
			*l, whole = (*l)[:*limit], false
		}
		*limit -= len(*l)
	}
	return whole
}

// Count adds to ch the changes that applying d makes.
func (d *Diff[E]) Count(ch *firewall.Change) {
	ch.Added += len(d.Missing)
	ch.Removed += len(d.Unexpected)
	ch.Refreshed += len(d.WrongTimeout)
}

// Report adds d to what an Inspection says about a set.
func (d *Diff[E]) Report(s *firewall.Set, prefix func(E) netip.Prefix) {
	for _, l := range []struct {
		from []E
		to   *firewall.Prefixes
	}{{d.Missing, &s.Missing}, {d.Unexpected, &s.Unexpected}, {d.WrongTimeout, &s.WrongTimeout}} {
		for _, e := range l.from {
			l.to.Add(prefix(e))
		}
	}
}
