package replay

import (
	"cmp"
	"iter"
	"math"
	"net/netip"
	"slices"

	"bailiff/policy/state"
)

const same = "same"

// changeKinds are the kinds of change, in the order of the summary.
var changeKinds = []string{"added", "lost", "longer", "shorter", "earlier", "later", "wider", "narrower", same}

// sideBan is a ban of one of the two configurations.
type sideBan struct {
	ban    state.Ban
	paired bool // with a ban of the other side, or several that it covers
}

// change is one difference. before or after is nil where there is no such ban.
type change struct {
	kind          string
	before, after *state.Ban
}

// at is when a change shows first.
func (c *change) at() int64 {
	switch {
	case c.before == nil:
		return c.after.Since
	case c.after == nil:
		return c.before.Since
	}
	return min(c.before.Since, c.after.Since)
}

// changes pairs the bans of both sides. Two bans are the same one if they are of one jail and prefix and overlap in time.
// Of the others, a ban whose prefix lies in a ban of the other side, by any jail, is paired with that: the addresses are
// banned on both sides. What remains was added or lost.
func changes(before, after []sideBan) (l []*change) {
	then, now := byPrefix(before), byPrefix(after)
	for i := range before {
		a := &before[i]
		for _, b := range now[a.ban.Prefix] {
			if b.ban.Jail == a.ban.Jail && !b.paired && overlap(&a.ban, &b.ban) {
				a.paired, b.paired = true, true
				l = append(l, newChange(&a.ban, &b.ban, ""))
				break
			}
		}
	}
	for i := range before {
		if a := &before[i]; !a.paired {
			if b := covers(now, &a.ban); b != nil {
				a.paired, b.paired = true, true
				l = append(l, newChange(&a.ban, &b.ban, "wider"))
			}
		}
	}
	for i := range after {
		if b := &after[i]; !b.paired {
			if a := covers(then, &b.ban); a != nil {
				a.paired, b.paired = true, true
				l = append(l, newChange(&a.ban, &b.ban, "narrower"))
			}
		}
	}
	for i := range before {
		if a := &before[i]; !a.paired {
			l = append(l, &change{"lost", &a.ban, nil})
		}
	}
	for i := range after {
		if b := &after[i]; !b.paired {
			l = append(l, &change{"added", nil, &b.ban})
		}
	}
	slices.SortStableFunc(l, func(a, b *change) int { return cmp.Compare(a.at(), b.at()) })
	return l
}

func byPrefix(bans []sideBan) map[netip.Prefix][]*sideBan {
	m := map[netip.Prefix][]*sideBan{}
	for i := range bans {
		m[bans[i].ban.Prefix] = append(m[bans[i].ban.Prefix], &bans[i])
	}
	return m
}

// enclosing are the prefixes that hold another, the narrowest first: the prefix itself.
func enclosing(p netip.Prefix) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for bits := p.Bits(); bits >= 0; bits-- {
			if w, err := p.Addr().Prefix(bits); err != nil || !yield(w) {
				return
			}
		}
	}
}

// covers returns the narrowest ban that overlaps b in time and holds its prefix.
func covers(bans map[netip.Prefix][]*sideBan, b *state.Ban) *sideBan {
	for p := range enclosing(b.Prefix) {
		for _, x := range bans[p] {
			if overlap(b, &x.ban) {
				return x
			}
		}
	}
	return nil
}

// newChange compares two paired bans. covered is the kind of change if their prefixes differ.
func newChange(before, after *state.Ban, covered string) *change {
	kind := covered
	if before.Prefix == after.Prefix {
		kind = kindOf(before, after)
	}
	return &change{kind, before, after}
}

// kindOf says how a ban changed.
func kindOf(a, b *state.Ban) string {
	x, y := length(a), length(b)
	if a.Until == 0 && b.Until == 0 {
		x, y = 0, 0
	}
	switch {
	case y > x:
		return "longer"
	case y < x:
		return "shorter"
	case b.Since < a.Since:
		return "earlier"
	case b.Since > a.Since:
		return "later"
	}
	return same
}

// length is how long a ban lasts, in microseconds.
func length(b *state.Ban) int64 { return end(b) - b.Since }

// end is when a ban ends.
func end(b *state.Ban) int64 {
	if b.Until == 0 {
		return math.MaxInt64
	}
	return b.Until
}

func overlap(a, b *state.Ban) bool { return a.Since <= end(b) && b.Since <= end(a) }

// countPrefixes counts the prefixes of bans, and those that no ban of the other side ever covers or lies in.
func countPrefixes(bans, other []sideBan) (prefixes, alone int) {
	these, banned, holds := byPrefix(bans), byPrefix(other), map[netip.Prefix]bool{}
	for p := range banned {
		for w := range enclosing(p) {
			holds[w] = true
		}
	}
	for p := range these {
		covered := holds[p]
		for w := range enclosing(p) {
			covered = covered || banned[w] != nil
		}
		if !covered {
			alone++
		}
	}
	return len(these), alone
}
