package client

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// Firewall is the group `bailiff firewall`.
func Firewall() *cli.Command {
	c := cli.Group("firewall", "compare the bans with what the firewall holds, and repair it", firewallStatus(), firewallVerify(), firewallRepair(), firewallRemove())
	c.Pick = func([]string, func(string) bool) string { return "status" }
	return c
}

func firewallStatus() *cli.Command {
	return command("status", "", "show what the firewall holds and should hold").Does(func(e *cli.Env, _ []string) error {
		return cli.Got(dial(e).Firewall(e.Ctx)).Print(e, printFirewall)
	})
}

func firewallVerify() *cli.Command {
	return command("verify", "", "show only what differs; exit status 1 if anything does").Does(func(e *cli.Env, _ []string) error {
		f, err := dial(e).Firewall(e.Ctx)
		if err != nil {
			return err
		}
		err = e.Print(f, func() { printVerified(e, f) })
		if err == nil && !f.Intact {
			return cli.ErrSilent
		}
		return err
	})
}

// forceOption is --force of repair and remove.
func forceOption(c *cli.Command) *bool {
	return c.Flags.Bool("force", false, "also remove objects with bailiff's names that others have made")
}

func firewallRepair() *cli.Command {
	c := command("repair", "", "have the daemon repair what differs")
	force := forceOption(c)
	return c.Does(func(e *cli.Env, _ []string) error {
		r, err := dial(e).RepairFirewall(e.Ctx, *force)
		if err != nil {
			return err
		}
		err = e.Print(r, func() { printRepaired(e, r) })
		if err == nil && (r.After == nil || !r.After.Intact) {
			return cli.ErrSilent
		}
		return err
	})
}

func printFirewall(e *cli.Env, s *control.Firewall) {
	e.Printf("%s (%s): %s; checked %s in %s", s.Backend, text.Clean(s.Why), inEffect(e, s.OK), text.Time(s.Looked), text.Milliseconds(s.Seconds))
	if s.Repaired > 0 {
		e.Printf("; repaired %s", text.Times(s.Repaired))
	}
	e.Printf("\n")
	if s.Error != "" {
		e.Printf("  %s %s\n", e.Paint(cli.Red, "!"), text.Clean(s.Error))
	}
	for _, p := range s.Parts {
		switch {
		case p.Problem != "":
			e.Printf("  %s %s %s\n", e.Paint(cli.Red, "!"), text.Clean(p.Name), text.Clean(p.Problem))
		case p.Want != "":
			e.Printf("  %s in place: %s\n", text.Clean(p.Name), text.Clean(p.Want))
		}
	}
	printSets(e, s)
	if !s.Intact {
		e.Hintf("bailiff firewall verify lists the differences, bailiff firewall repair removes them")
	}
}

// printSets lists the sets that hold or should hold anything.
func printSets(e *cli.Env, s *control.Firewall) {
	empty, counted := 0, slices.ContainsFunc(s.Sets, func(x control.FirewallSet) bool { return x.Packets != nil })
	head := []string{"SET", "BLOCKS", "BANS", "HELD", "FOREVER", "NEXT END"}
	if counted {
		head = append(head, "PACKETS", "BYTES")
	}
	rows := [][]string{append(head, "DIFFERS")}
	for i := range s.Sets {
		x := &s.Sets[i]
		differs := setDifferences(x)
		if x.Bans+x.Held == 0 && len(differs) == 0 && (x.Packets == nil || *x.Packets == 0) {
			empty++
			continue
		}
		row := []string{x.Name, ScopeName(x.Scope), fmt.Sprint(x.Bans), fmt.Sprint(x.Held), fmt.Sprint(x.Forever), text.TimeOr(x.Next, "-")}
		if counted {
			packets, bytes := "-", "-"
			if x.Packets != nil {
				packets, bytes = fmt.Sprint(*x.Packets), fmt.Sprint(*x.Bytes)
			}
			row = append(row, packets, bytes)
		}
		short := "-"
		if len(differs) > 0 {
			short = cmp.Or(text.Clean(x.Problem), fmt.Sprintf("%d missing, %d unexpected, %d with another end", x.Missing.Count, x.Unexpected.Count, x.WrongTimeout.Count))
		}
		rows = append(rows, append(row, short))
	}
	e.Printf("\n")
	if len(rows) > 1 {
		e.Table(rows)
	}
	if empty > 0 {
		e.Printf("%s without bans\n", diag.Count(empty, "set"))
	}
	if !counted {
		e.Printf("%s does not count packets\n", s.Backend)
	}
}

// printVerified lists the differences.
func printVerified(e *cli.Env, s *control.Firewall) {
	if s.Intact {
		e.Printf("%s: %s in %s: no differences (checked in %s)\n", s.Backend, diag.Count(s.Bans, "ban"), diag.Count(len(s.Sets), "set"), text.Milliseconds(s.Seconds))
		return
	}
	for _, l := range allDifferences(s) {
		e.Printf("%s\n", l)
	}
	hint := "bailiff firewall repair removes the differences"
	switch {
	case s.Error != "":
		hint = "see systemctl status of the firewall's own service, and journalctl -u bailiff"
	case foreign(s):
		hint = "bailiff firewall repair --force also removes what was made by others"
	}
	e.Hintf("%s", hint)
}

// foreign reports whether others made something in the place of what is wanted.
func foreign(s *control.Firewall) bool {
	return slices.ContainsFunc(s.Parts, func(p control.FirewallPart) bool { return p.Foreign }) ||
		slices.ContainsFunc(s.Sets, func(x control.FirewallSet) bool { return x.Foreign })
}

func allDifferences(s *control.Firewall) (l []string) {
	if s.Error != "" {
		l = append(l, s.Backend+": "+text.Clean(s.Error))
	}
	for _, p := range s.Parts {
		if p.Problem != "" {
			l = append(l, text.Clean(p.Name)+": "+text.Clean(p.Problem))
		}
	}
	for i := range s.Sets {
		l = append(l, setDifferences(&s.Sets[i])...)
	}
	return l
}

// setDifferences is what is wrong with a set, a line each.
func setDifferences(x *control.FirewallSet) (l []string) {
	name := "set " + x.Name + ": "
	if x.Problem != "" {
		l = append(l, name+text.Clean(x.Problem))
	}
	for _, d := range []struct {
		what string
		p    control.Prefixes
	}{{"missing", x.Missing}, {"unexpected", x.Unexpected}, {"with another end", x.WrongTimeout}} {
		if d.p.Count == 0 {
			continue
		}
		some := d.p.Some[:min(len(d.p.Some), 10)]
		more := ""
		if n := d.p.Count - len(some); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		l = append(l, fmt.Sprintf("%s%d %s: %s%s", name, d.p.Count, d.what, strings.Join(some, " "), more))
	}
	return l
}

func printRepaired(e *cli.Env, r *control.FirewallRepair) {
	if r.Before != nil && r.Before.Intact {
		e.Printf("%s: there was nothing to repair\n", r.After.Backend)
	}
	if r.Before != nil {
		for _, l := range allDifferences(r.Before) {
			e.Printf("found: %s\n", l)
		}
	}
	for _, x := range r.Evicted {
		e.Printf("removed by force: %s\n", text.Clean(x))
	}
	for _, x := range r.Repaired {
		e.Printf("rebuilt: %s\n", text.Clean(x))
	}
	if r.Added+r.Removed+r.Refreshed > 0 {
		e.Printf("%s restored, %d removed, end of %d corrected\n", diag.Count(r.Added, "ban"), r.Removed, r.Refreshed)
	}
	if r.After.Intact {
		e.Printf("%s: %s in place, no differences\n", r.After.Backend, diag.Count(r.After.Bans, "ban"))
		return
	}
	for _, l := range allDifferences(r.After) {
		e.Printf("%s%s\n", e.Paint(cli.Red, "still: "), l)
	}
}
