package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// comparison runs a second configuration over the entries that a replay reads, and tells how its bans differ.
type comparison struct {
	eng           *judge
	before, after []compared
	failures      [2]uint64
}

// compared is a ban of one of the two configurations.
type compared struct {
	ban    state.Ban
	paired bool
}

// compareBan, compareLine and compareSummary are what `bailiff replay --compare --json` prints; their keys are documented
// in bailiff(1) and stay.
type compareBan struct {
	Jail     string       `json:"jail"`
	Prefix   netip.Prefix `json:"prefix"`
	Since    string       `json:"since"`
	Until    *string      `json:"until"` // null: for ever
	Failures int          `json:"failures"`
	Count    int          `json:"count"`
}

type compareLine struct {
	Kind   string      `json:"kind"`   // one of changes
	Before *compareBan `json:"before"` // of the configuration as it is; null: there was none
	After  *compareBan `json:"after"`  // of the other one
}

type compareSummary struct {
	Kind     string         `json:"kind"` // "summary"
	Entries  uint64         `json:"entries"`
	Before   compareTotal   `json:"before"`
	After    compareTotal   `json:"after"`
	Changes  map[string]int `json:"changes"` // how many of each kind, those of kind same included
	Seconds  float64        `json:"seconds"`
	Differ   bool           `json:"differ"`
	OnlyHere int            `json:"prefixes_only_before"` // prefixes that no ban of the other configuration covers or lies in, ever
	OnlyThen int            `json:"prefixes_only_after"`
}

type compareTotal struct {
	Failures uint64 `json:"failures"`
	Bans     int    `json:"bans"`
	Prefixes int    `json:"prefixes"`
}

// The kinds of change, in the order of the summary.
var changes = []string{"added", "lost", "longer", "shorter", "earlier", "later", "wider", "narrower", "same"}

// entry judges an entry by both configurations.
func (c *comparison) entry(r *replay, fe *filter.Entry, ref jail.Ref) {
	if r.sum.Entries&0xffff == 0 {
		c.eng.Expire(fe.Realtime, fe.Realtime)
	}
	for i, eng := range [2]*judge{r.eng, c.eng} {
		c.outcome(r, i, eng.Entry(fe, ref))
	}
}

// settle counts what is pending at the end.
func (c *comparison) settle(r *replay) {
	for i, eng := range [2]*judge{r.eng, c.eng} {
		c.outcome(r, i, eng.Finish())
	}
}

// outcome keeps what an entry led to under one of the configurations.
func (c *comparison) outcome(r *replay, i int, out *policy.Outcome) {
	for k := range out.Failures {
		c.failures[i] += uint64(out.Failures[k].Attempts)
	}
	list := &c.before
	if i == 1 {
		list = &c.after
	}
	for k := range out.Bans {
		if !out.Bans[k].Extended {
			*list = append(*list, compared{ban: out.Bans[k].Ban})
		}
	}
	r.sum.Failures, r.sum.Bans = c.failures[0], uint64(len(c.before))
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

// changes pairs the bans of both sides. Two bans are the same one told twice if they are of one jail and one prefix and
// overlap in time, each the first that is left; then what is left of one side may lie in a ban of the other side, by
// whatever jail, whose prefix is wider or the same: it is kept out all the same.
func (c *comparison) changes() []change {
	var l []change
	type place struct {
		prefix netip.Prefix
		jail   string
	}
	exact := make(map[place][]*compared)
	for i := range c.after {
		b := &c.after[i]
		p := place{b.ban.Prefix, b.ban.Jail}
		exact[p] = append(exact[p], b)
	}
	for i := range c.before {
		a := &c.before[i]
		for _, b := range exact[place{a.ban.Prefix, a.ban.Jail}] {
			if !b.paired && overlap(&a.ban, &b.ban) {
				a.paired, b.paired = true, true
				l = append(l, change{kindOf(&a.ban, &b.ban), &a.ban, &b.ban})
				break
			}
		}
	}
	over, under := newCover(c.after), newCover(c.before)
	covering := make(map[*compared]bool) // bans that stand for others: they are told with those
	for i := range c.before {
		if a := &c.before[i]; !a.paired {
			if b := over.of(&a.ban); b != nil {
				covering[b] = true
				kind := "wider"
				if b.ban.Prefix == a.ban.Prefix {
					kind = kindOf(&a.ban, &b.ban)
				}
				l = append(l, change{kind, &a.ban, &b.ban})
				a.paired = true
			}
		}
	}
	for i := range c.after {
		if b := &c.after[i]; !b.paired && !covering[b] {
			if a := under.of(&b.ban); a != nil {
				covering[a] = true
				kind := "narrower"
				if a.ban.Prefix == b.ban.Prefix {
					kind = kindOf(&a.ban, &b.ban)
				}
				l = append(l, change{kind, &a.ban, &b.ban})
				b.paired = true
			}
		}
	}
	for i := range c.before {
		if a := &c.before[i]; !a.paired && !covering[a] {
			l = append(l, change{"lost", &a.ban, nil})
		}
	}
	for i := range c.after {
		if b := &c.after[i]; !b.paired && !covering[b] {
			l = append(l, change{"added", nil, &b.ban})
		}
	}
	slices.SortStableFunc(l, func(a, b change) int { return cmp.Compare(a.at(), b.at()) })
	return l
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
	return "same"
}

// length is how long a ban lasts, in microseconds.
func length(b *state.Ban) int64 { return endOf(b) - b.Since }

// endOf is when a ban ends.
func endOf(b *state.Ban) int64 {
	if b.Until == 0 {
		return math.MaxInt64
	}
	return b.Until
}

func overlap(a, b *state.Ban) bool { return a.Since <= endOf(b) && b.Since <= endOf(a) }

// cover finds the bans that keep a prefix out.
type cover map[netip.Prefix][]*compared

func newCover(l []compared) cover {
	c := make(cover, len(l))
	for i := range l {
		p := l[i].ban.Prefix
		c[p] = append(c[p], &l[i])
	}
	return c
}

// of returns a ban that overlaps b in time and holds its prefix, the narrowest.
func (c cover) of(b *state.Ban) *compared {
	for bits := b.Prefix.Bits(); bits >= 0; bits-- {
		p, err := b.Prefix.Addr().Prefix(bits)
		if err != nil {
			return nil
		}
		for _, x := range c[p] {
			if overlap(b, &x.ban) {
				return x
			}
		}
	}
	return nil
}

// only counts the prefixes of l that no ban of other ever covers or lies in.
func only(l, other []compared) (prefixes, alone int) {
	held := make(map[netip.Prefix]bool)   // banned by the other
	within := make(map[netip.Prefix]bool) // holds what is banned by the other
	for i := range other {
		p := other[i].ban.Prefix
		if held[p] {
			continue
		}
		held[p] = true
		for bits := range p.Bits() {
			w, _ := p.Addr().Prefix(bits)
			within[w] = true
		}
	}
	seen := make(map[netip.Prefix]bool)
	for i := range l {
		p := l[i].ban.Prefix
		if seen[p] {
			continue
		}
		seen[p] = true
		covered := within[p]
		for bits := 0; bits <= p.Bits() && !covered; bits++ {
			w, _ := p.Addr().Prefix(bits)
			covered = held[w]
		}
		if !covered {
			alone++
		}
	}
	return len(seen), alone
}

// finish prints what differs.
func (c *comparison) finish(r *replay) error {
	l := c.changes()
	s := compareSummary{Kind: "summary", Entries: r.sum.Entries, Changes: make(map[string]int), Seconds: time.Since(r.started).Seconds()}
	for _, k := range changes {
		s.Changes[k] = 0
	}
	s.Before.Failures, s.After.Failures = c.failures[0], c.failures[1]
	s.Before.Bans, s.After.Bans = len(c.before), len(c.after)
	s.Before.Prefixes, s.OnlyHere = only(c.before, c.after)
	s.After.Prefixes, s.OnlyThen = only(c.after, c.before)
	rows := [][]string{{"WHEN", "CHANGE", "PREFIX", "JAIL", "BEFORE", "AFTER"}}
	enc := json.NewEncoder(r.out)
	enc.SetEscapeHTML(false)
	for i := range l {
		x := &l[i]
		s.Changes[x.kind]++
		if x.kind == "same" {
			continue
		}
		s.Differ = true
		if r.json {
			if err := enc.Encode(compareLine{x.kind, jsonBan(x.before), jsonBan(x.after)}); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, x.row())
	}
	if r.json {
		if err := enc.Encode(s); err != nil {
			return err
		}
	} else {
		if len(rows) > 1 {
			table(r.out, rows)
			fmt.Fprintln(r.out)
		}
		fmt.Fprintf(r.out, "%d entries in %.2f s\nbefore: %d failures, %s of %s\nafter:  %d failures, %s of %s\n", s.Entries, s.Seconds,
			s.Before.Failures, plural(s.Before.Bans, "ban"), prefixes(s.Before.Prefixes), s.After.Failures, plural(s.After.Bans, "ban"), prefixes(s.After.Prefixes))
		if s.OnlyHere+s.OnlyThen > 0 {
			fmt.Fprintf(r.out, "%s no longer kept out at any time, %s newly\n", prefixes(s.OnlyHere), prefixes(s.OnlyThen))
		}
		for _, k := range changes {
			if s.Changes[k] > 0 {
				fmt.Fprintf(r.out, "  %-9s %d\n", k, s.Changes[k])
			}
		}
		if !s.Differ {
			fmt.Fprintln(r.out, "both configurations ban the same")
		}
	}
	if err := r.out.Flush(); err != nil || !s.Differ {
		return err
	}
	return errDiffer
}

// errDiffer is no failure: two configurations ban differently. It has an exit status of its own.
const errDiffer = exitStatus(exitDiffer)

func prefixes(n int) string {
	if n == 1 {
		return "1 prefix"
	}
	return fmt.Sprintf("%d prefixes", n)
}

func (c *change) row() []string {
	one := c.before
	if one == nil {
		one = c.after
	}
	prefix, name := one.Prefix.String(), one.Jail
	if c.before != nil && c.after != nil {
		if c.after.Prefix != c.before.Prefix {
			prefix += " > " + c.after.Prefix.String()
		}
		if c.after.Jail != c.before.Jail {
			name += " > " + c.after.Jail
		}
	}
	text := func(b *state.Ban) string {
		if b == nil {
			return "-"
		}
		s := "for ever"
		if b.Until != 0 {
			s = short(time.Duration(b.Until-b.Since) * time.Microsecond)
		}
		if late := b.Since - c.at(); late >= int64(time.Second/time.Microsecond) {
			s += fmt.Sprintf(", %s later", short(time.Duration(late)*time.Microsecond))
		}
		return s
	}
	return []string{stamp(time.UnixMicro(c.at())), c.kind, prefix, name, text(c.before), text(c.after)}
}

func jsonBan(b *state.Ban) *compareBan {
	if b == nil {
		return nil
	}
	j := &compareBan{Jail: b.Jail, Prefix: b.Prefix, Since: rfc(b.Since), Failures: b.Failures, Count: b.Count}
	if b.Until != 0 {
		s := rfc(b.Until)
		j.Until = &s
	}
	return j
}
