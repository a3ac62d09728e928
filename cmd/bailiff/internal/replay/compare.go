package replay

import (
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/past"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/state"
)

// side is what one of two configurations decides.
type side struct {
	eng      *past.Engine
	failures uint64
	bans     []sideBan
}

// outcome keeps what an entry led to.
func (s *side) outcome(out *policy.Outcome) {
	for i := range out.Failures {
		s.failures += uint64(out.Failures[i].Attempts)
	}
	for i := range out.Bans {
		if !out.Bans[i].Extended {
			s.bans = append(s.bans, sideBan{ban: out.Bans[i].Ban})
		}
	}
}

// compare runs two configurations over the same entries, read once, and prints how their bans differ.
func compare(e *cli.Env, in *past.Input, before, after *past.Engine, started time.Time) error {
	sides := [2]*side{{eng: before}, {eng: after}}
	s := comparisonSummary{Kind: "summary", Changes: map[string]int{}}
	tick := func(at int64) string {
		for _, x := range sides {
			x.eng.Expire(at, at)
		}
		return diag.Count(len(sides[0].bans), "ban") + " before, " + diag.Count(len(sides[1].bans), "ban") + " after"
	}
	var fe filter.Entry
	err := in.Each(e, journalOptions(before, after), tick, func(entry *journal.Entry) error {
		s.Entries++
		evidence.Convert(entry, &fe)
		for _, x := range sides {
			x.outcome(x.eng.Entry(&fe, 0))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, x := range sides {
		x.outcome(x.eng.Finish())
	}
	all := changes(sides[0].bans, sides[1].bans)
	for _, k := range changeKinds {
		s.Changes[k] = 0
	}
	var shown []*change
	for _, c := range all {
		if s.Changes[c.kind]++; c.kind != same {
			shown = append(shown, c)
		}
	}
	s.Differ = len(shown) > 0
	s.Before.Failures, s.After.Failures = sides[0].failures, sides[1].failures
	s.Before.Bans, s.After.Bans = len(sides[0].bans), len(sides[1].bans)
	s.Before.Prefixes, s.OnlyHere = countPrefixes(sides[0].bans, sides[1].bans)
	s.After.Prefixes, s.OnlyThen = countPrefixes(sides[1].bans, sides[0].bans)
	s.Seconds = time.Since(started).Seconds()
	if err := printComparison(e, &s, shown); err != nil {
		return err
	}
	if s.Differ {
		return Differ
	}
	return nil
}

func printComparison(e *cli.Env, s *comparisonSummary, shown []*change) error {
	if e.JSON {
		for _, c := range shown {
			if err := cli.WriteJSON(e.Out, changeLine{c.kind, newComparedBan(c.before), newComparedBan(c.after)}); err != nil {
				return err
			}
		}
		return cli.WriteJSON(e.Out, s)
	}
	if s.Differ {
		rows := [][]string{{"WHEN", "CHANGE", "PREFIX", "JAIL", "BEFORE", "AFTER"}}
		for i := range shown {
			rows = append(rows, shown[i].row())
		}
		e.Table(rows)
		e.Printf("\n")
	}
	e.Printf("%s in %.2f s\n", diag.Count(s.Entries, "entry"), s.Seconds)
	e.Printf("before: %s, %s of %s\n", diag.Count(s.Before.Failures, "failure"), diag.Count(s.Before.Bans, "ban"), diag.Count(s.Before.Prefixes, "prefix"))
	e.Printf("after:  %s, %s of %s\n", diag.Count(s.After.Failures, "failure"), diag.Count(s.After.Bans, "ban"), diag.Count(s.After.Prefixes, "prefix"))
	if s.OnlyHere+s.OnlyThen > 0 {
		e.Printf("%s no longer banned at any time, %s newly banned\n", diag.Count(s.OnlyHere, "prefix"), diag.Count(s.OnlyThen, "prefix"))
	}
	for _, k := range changeKinds {
		if s.Changes[k] > 0 {
			e.Printf("  %-9s %d\n", k, s.Changes[k])
		}
	}
	if !s.Differ {
		e.Printf("both configurations make the same bans\n")
	}
	return nil
}

// row is a change as a line of the table.
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
	return []string{text.Micro(c.at()), c.kind, prefix, name, c.cell(c.before), c.cell(c.after)}
}

// cell is a ban's duration, and how much later it begins than the other side's.
func (c *change) cell(b *state.Ban) string {
	if b == nil {
		return "-"
	}
	s := "forever"
	if b.Until != 0 {
		s = text.Duration(time.Duration(b.Until-b.Since) * time.Microsecond)
	}
	if late := time.Duration(b.Since-c.at()) * time.Microsecond; late >= time.Second {
		s += ", " + text.Duration(late) + " later"
	}
	return s
}

func newComparedBan(b *state.Ban) *comparedBan {
	if b == nil {
		return nil
	}
	return &comparedBan{Jail: b.Jail, Prefix: b.Prefix, Since: text.RFC3339(b.Since), Until: timeOrNull(b.Until), Failures: b.Failures, Count: b.Count}
}
