package policy

import (
	"slices"
	"strings"

	"bailiff/policy/filter"
)

// listenerIndex finds the jails that may take an entry.
type listenerIndex struct {
	byUnit, bySlice          map[string][]*runningJail
	byIdentifier, containers []*runningJail // those that take entries without a unit, and lines of containers
	found                    []*runningJail // reused
}

func newListenerIndex(jails []*runningJail) listenerIndex {
	x := listenerIndex{byUnit: make(map[string][]*runningJail), bySlice: make(map[string][]*runningJail)}
	for _, j := range jails {
		t := j.matcher.Trust()
		for _, unit := range t.Names() {
			if strings.HasSuffix(unit, ".slice") {
				x.bySlice[unit] = with(x.bySlice[unit], j)
			} else {
				x.byUnit[unit] = with(x.byUnit[unit], j)
			}
		}
		for _, u := range t.UserUnits {
			x.byUnit[u.Manager()] = with(x.byUnit[u.Manager()], j)
		}
		if len(t.Containers) > 0 {
			x.containers = append(x.containers, j)
		}
		if len(t.Identifiers) > 0 {
			x.byIdentifier = append(x.byIdentifier, j)
		}
	}
	return x
}

// with adds a jail to a list that does not hold it.
func with(l []*runningJail, j *runningJail) []*runningJail {
	if slices.Contains(l, j) {
		return l
	}
	return append(l, j)
}

// listeners returns the jails that may take an entry, each once. The list is valid until the next call.
func (x *listenerIndex) listeners(e *filter.Entry) []*runningJail {
	if len(e.Unit) == 0 {
		return x.byIdentifier
	}
	unit, slice := x.byUnit[string(e.Unit)], x.bySlice[string(e.Slice)]
	if len(slice) == 0 && e.Relay != filter.Vouched {
		return unit
	}
	x.found = append(x.found[:0], unit...)
	for _, j := range slice {
		x.found = with(x.found, j)
	}
	if e.Relay == filter.Vouched {
		for _, j := range x.containers {
			x.found = with(x.found, j)
		}
	}
	return x.found
}

// Refused counts the entries that one of a jail's patterns takes, but that are no evidence: somebody the jail does not trust wrote
// them in a unit that it watches.
type Refused struct {
	Entries uint64
	Why     filter.Refusal // of the last one
	Last    int64          // when it was written, microseconds since 1970
}

// match says whether a jail's filter trusts the source of an entry and one of its patterns fits the message. What the pattern
// found is in Engine.hit then.
func (g *Engine) match(j *runningJail, e *filter.Entry) bool {
	if j.matcher.Trusts(e) {
		return j.matcher.MatchTrusted(e, &g.hit)
	}
	if len(e.Unit) > 0 && !g.rereading {
		if why, ok := j.matcher.Refuses(e); ok {
			j.refused = Refused{j.refused.Entries + 1, why, e.Realtime}
		}
	}
	return false
}
