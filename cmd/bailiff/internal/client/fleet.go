package client

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// Fleet is the group `bailiff fleet`; setUp are the commands that set a fleet up.
func Fleet(setUp ...*cli.Command) *cli.Command {
	c := cli.Group("fleet", "bans that hosts share", append([]*cli.Command{fleetStatus()}, setUp...)...)
	c.Pick = func([]string, func(string) bool) string { return "status" }
	return c
}

func fleetStatus() *cli.Command {
	c := command("status", "", "show which hosts are trusted, their bans, and what was refused")
	c.Run = func(e *cli.Env, _ []string) error {
		return cli.Got(dial(e).Fleet(e.Ctx)).Print(e, printFleet)
	}
	return c
}

func printFleet(e *cli.Env, s *control.FleetStatus) {
	if len(s.Hosts) == 0 {
		e.Printf("no other host is believed: fleet.hosts in bailiff.yaml(5) is empty\n")
		return
	}
	printFleetAgent(e, s.Agent)
	if s.Roster.Used {
		e.Printf("fleet %s, roster %d\n", text.Clean(s.Roster.Fleet), s.Roster.Serial)
	}
	e.Printf("%s of other hosts, %s banned here", diag.Count(s.Bans, "ban"), diag.Count(s.InEffect, "prefix"))
	if s.Votes > 1 {
		e.Printf("; %s must ban a prefix", diag.Count(s.Votes, "group"))
	}
	e.Printf("\n")
	if c := s.Together; c != nil {
		e.Printf("%s with failures that hosts count together, %s for them, %d prevented by a host that knows the address as good\n", diag.Count(c.Watched, "prefix"), diag.Count(c.Bans, "ban"), c.Prevented)
	}
	e.Printf("\n")
	rows := [][]string{{"HOST", "GROUP", "BANS", "LATEST NEWS", "NOTES"}}
	for _, h := range s.Hosts {
		latest, notes := "none since the start", []string{}
		if h.Latest != nil {
			latest = text.Ago(time.Since(*h.Latest))
		}
		if h.Clashes > 0 {
			notes = append(notes, diag.Count(h.Clashes, "ban")+" of what this host allows")
		}
		if h.Ahead > 0 {
			notes = append(notes, "its clock is "+text.Duration(time.Duration(h.Ahead*float64(time.Second)))+" ahead")
		}
		for _, why := range slices.SortedFunc(maps.Keys(h.Refused), func(a, b string) int { return cmp.Compare(h.Refused[b], h.Refused[a]) }) {
			notes = append(notes, diag.Count(h.Refused[why], "refused ban")+": "+text.Clean(why))
		}
		first := ""
		if len(notes) > 0 {
			first, notes = notes[0], notes[1:]
		}
		rows = append(rows, []string{text.Clean(h.Name), text.Clean(h.Group), strconv.Itoa(h.Bans), latest, first})
		for _, n := range notes {
			rows = append(rows, []string{"", "", "", "", n})
		}
	}
	e.Table(rows)
	if s.Clashes.Count > 0 {
		e.Printf("\nnot banned, since this host allows them: %s\n", text.Some(s.Clashes.Some, 10))
	}
}

// printFleetAgent shows the connection to the other hosts.
func printFleetAgent(e *cli.Env, a *control.FleetAgentStatus) {
	switch {
	case a == nil:
		e.Printf("bailiff-fleet has not reported since the daemon started: systemctl status bailiff-fleet\n")
		return
	case time.Since(a.Heard) > time.Minute:
		e.Printf("bailiff-fleet has not reported for %s: systemctl status bailiff-fleet\n", text.Duration(time.Since(a.Heard)))
		return
	case a.Hub == "":
		e.Printf("%s since %s%s\n", e.Paint(cli.Bold, "not connected to the hub"), text.Time(a.Since), text.With(": ", a.Error))
	default:
		e.Printf("connected to %s since %s%s\n", text.Clean(a.Hub), text.Time(a.Since), text.With("; ", a.Error))
	}
	e.Printf("%s of this host shared", diag.Count(a.Published, "ban"))
	if a.Waiting > 0 {
		e.Printf(", %d waiting", a.Waiting)
	}
	if a.Behind > 0 {
		e.Printf("; %s to be read", diag.Count(a.Behind, "message"))
	}
	if a.Rejected > 0 {
		e.Printf("; %s rejected, which no host of the fleet has signed", diag.Count(a.Rejected, "message"))
	}
	if a.Flooding != "" {
		e.Printf("; host %s sends more than is read", text.Clean(a.Flooding))
	}
	e.Printf("\n")
}

// printTogether shows failures that hosts have counted together.
func printTogether(e *cli.Env, c *control.FleetCounted) {
	if c == nil {
		return
	}
	what := "counted together"
	if c.Banned {
		what = e.Paint(cli.Bold, "ban") + " " + text.Clean(c.Prefix) + " for what was counted together"
	}
	e.Printf("\n  %s: %s on %s: %s\n", what, diag.Count(c.Failures, "failure"), diag.Count(c.HostsAll, "host"), text.Some(c.Hosts, 10))
	if len(c.Good) > 0 {
		e.Printf("  not banned for it, since it is known as good by %s\n", text.Some(c.Good, 10))
	}
}

// printWhyFleet shows the bans of other hosts that cover an address.
func printWhyFleet(e *cli.Env, l []control.FleetWhy) {
	for i := range l {
		b := &l[i]
		e.Printf("\n  %s %s by host %s (group %s), its jail %s\n  since %s, ", e.Paint(cli.Bold, "ban"), text.Clean(b.Prefix), text.Clean(b.Host), text.Clean(b.Group), text.Clean(b.Jail), text.Time(b.Since))
		if b.Lifted {
			e.Printf("lifted")
		} else {
			e.Printf("%s", text.Until(b.Until))
		}
		e.Printf("%s", text.With(": ", b.Reason))
		if b.Failures > 0 {
			e.Printf(", %s", diag.Count(b.Failures, "attempt"))
		}
		e.Printf("\n")
		printFleetEvidence(e, b.Evidence)
	}
}

// maxAskedHosts is how many hosts are asked for the lines of their bans: each may take some seconds to answer.
const maxAskedHosts = 3

// askFleet asks the hosts whose bans are in effect for the lines that led to them.
func askFleet(e *cli.Env, w *control.Why) {
	asked := 0
	for i := range w.Fleet {
		b := &w.Fleet[i]
		if b.Lifted || b.Until != nil && b.Until.Before(time.Now()) || b.Failures == 0 || asked == maxAskedHosts {
			continue
		}
		asked++
		v, err := dial(e).FleetEvidence(e.Ctx, b.Host, b.Prefix, b.Jail)
		if err != nil {
			v = &control.FleetEvidence{Host: b.Host, Error: err.Error()}
		}
		b.Evidence = v
	}
}

// printFleetEvidence shows what another host says. It has no account names, and need not be true.
func printFleetEvidence(e *cli.Env, v *control.FleetEvidence) {
	switch {
	case v == nil:
		return
	case v.Error != "":
		e.Printf("  its lines are not here: %s\n", text.Clean(v.Error))
		return
	case len(v.Lines)+v.Withheld > 0:
		e.Printf("  host %s says, without names:\n", text.Clean(v.Host))
	}
	for _, l := range v.Lines {
		e.Printf("    %s %s: %s\n", text.Time(l.Time), text.Clean(l.Unit), text.Clean(l.Message))
	}
	if v.Withheld > 0 {
		e.Printf("    and %s that it does not show\n", diag.Count(v.Withheld, "line"))
	}
}
