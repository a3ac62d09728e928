package replay

import (
	"cmp"
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
	paired bool // with a ban of the other side
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
func changes(before, after []sideBan) (l []change) {
	l = pairExact(before, after)
	covering := map[*sideBan]bool{} // bans that others are paired with: they are no change by themselves
	l = append(l, pairCovered(before, after, covering, func(x, cover *state.Ban) change {
		return newChange(x, cover, "wider")
	})...)
	l = append(l, pairCovered(after, before, covering, func(x, cover *state.Ban) change {
		return newChange(cover, x, "narrower")
	})...)
	for i := range before {
		if a := &before[i]; !a.paired && !covering[a] {
			l = append(l, change{"lost", &a.ban, nil})
		}
	}
	for i := range after {
		if b := &after[i]; !b.paired && !covering[b] {
			l = append(l, change{"added", nil, &b.ban})
		}
	}
	slices.SortStableFunc(l, func(a, b change) int { return cmp.Compare(a.at(), b.at()) })
	return l
}

// pairExact pairs bans of the same jail and prefix that overlap in time, each with the first that is left.
func pairExact(before, after []sideBan) (l []change) {
	type place struct {
		prefix netip.Prefix
		jail   string
	}
	exact := map[place][]*sideBan{}
	for i := range after {
		b := &after[i]
		p := place{b.ban.Prefix, b.ban.Jail}
		exact[p] = append(exact[p], b)
	}
	for i := range before {
		a := &before[i]
		for _, b := range exact[place{a.ban.Prefix, a.ban.Jail}] {
			if !b.paired && overlap(&a.ban, &b.ban) {
				a.paired, b.paired = true, true
				l = append(l, newChange(&a.ban, &b.ban, ""))
				break
			}
		}
	}
	return l
}

// pairCovered pairs the unpaired bans of one side with bans of the other side that cover them.
func pairCovered(bans, other []sideBan, covering map[*sideBan]bool, pair func(ban, cover *state.Ban) change) (l []change) {
	byPrefix := map[netip.Prefix][]*sideBan{}
	for i := range other {
		p := other[i].ban.Prefix
		byPrefix[p] = append(byPrefix[p], &other[i])
	}
	for i := range bans {
		x := &bans[i]
		if x.paired || covering[x] {
			continue
		}
		if cover := covers(byPrefix, &x.ban); cover != nil {
			covering[cover], x.paired = true, true
			l = append(l, pair(&x.ban, &cover.ban))
		}
	}
	return l
}

// covers returns the narrowest ban that overlaps b in time and holds its prefix.
func covers(byPrefix map[netip.Prefix][]*sideBan, b *state.Ban) *sideBan {
	for bits := b.Prefix.Bits(); bits >= 0; bits-- {
		p, err := b.Prefix.Addr().Prefix(bits)
		if err != nil {
			return nil
		}
		for _, x := range byPrefix[p] {
			if overlap(b, &x.ban) {
				return x
			}
		}
	}
	return nil
}

// newChange compares two paired bans. covered is the kind of change if their prefixes differ.
func newChange(before, after *state.Ban, covered string) change {
	kind := covered
	if before.Prefix == after.Prefix {
		kind = kindOf(before, after)
	}
	return change{kind, before, after}
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
	banned := map[netip.Prefix]bool{} // by the other side
	holds := map[netip.Prefix]bool{}  // a prefix that the other side bans
	for i := range other {
		p := other[i].ban.Prefix
		if banned[p] {
			continue
		}
		banned[p] = true
		for bits := range p.Bits() {
			w, _ := p.Addr().Prefix(bits)
			holds[w] = true
		}
	}
	seen := map[netip.Prefix]bool{}
	for i := range bans {
		p := bans[i].ban.Prefix
		if seen[p] {
			continue
		}
		seen[p] = true
		covered := holds[p]
		for bits := 0; bits <= p.Bits() && !covered; bits++ {
			w, _ := p.Addr().Prefix(bits)
			covered = banned[w]
		}
		if !covered {
			alone++
		}
	}
	return len(seen), alone
}
