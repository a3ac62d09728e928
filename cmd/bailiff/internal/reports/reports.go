// Package reports is `bailiff report`: what waits to be delivered and what becomes of it, asked of bailiff-report over its
// control socket, and the set-up of this host's mail system. Previews are made by the program bailiff-report, which this
// package runs; it knows no destination and no format itself. Start reading with Command.
package reports

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/past"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// Command is the group `bailiff report`.
func Command() *cli.Command {
	c := cli.Group("report", "show, retry, drop and test reports of bans", listCommand(), showCommand(), changeCommand("retry", "try waiting reports now"),
		changeCommand("drop", "give up waiting reports"), testCommand(), setupCommand())
	c.Pick = func(args []string, given func(string) bool) string {
		switch {
		case given("dry-run"):
			return "test" // report --dry-run DESTINATION
		case len(args) == 0:
			return "list"
		}
		return ""
	}
	return c
}

// command makes a verb that asks bailiff-report.
func command(name, args, short string) *cli.Command {
	c := cli.New(name, args, short).WithJSON().WithSocket(control.ReportPath)
	c.Completes = cli.Destinations
	return c
}

func dial(e *cli.Env) *control.ReportClient { return control.DialReport(e.Socket) }

func listCommand() *cli.Command {
	c := command("list", "[DESTINATION]", "list destinations and the reports that wait")
	limit := c.Flags.Int("limit", 1000, "list at most this `NUMBER` of reports")
	return c.Does(func(e *cli.Env, args []string) error {
		only := append(args, "")[0]
		s, err := dial(e).Status(e.Ctx)
		if err != nil {
			return err
		}
		l, err := dial(e).Reports(e.Ctx, only, *limit)
		if err != nil {
			return err
		}
		return e.Print(struct {
			*control.ReporterStatus
			*control.ReportList
		}{s, l}, func() { printList(e, s, l, only) })
	})
}

func printList(e *cli.Env, s *control.ReporterStatus, l *control.ReportList, only string) {
	for _, p := range s.Problems {
		e.Printf("%s %s\n", e.Paint(cli.Red, "problem:"), text.Clean(p))
	}
	if len(s.Destinations) == 0 {
		e.Printf("no destinations are configured, so bans are not reported (bailiff.yaml(5), report)\n")
	}
	rows := [][]string{{"DESTINATION", "TYPE", "WAITING", "24 H", "STATE"}}
	for _, d := range s.Destinations {
		if only != "" && d.Name != only {
			continue
		}
		sent := strconv.Itoa(d.Sent)
		if d.Quota > 0 {
			sent += "/" + strconv.Itoa(d.Quota)
		}
		rows = append(rows, []string{d.Name, cmp.Or(d.Type, "-"), strconv.Itoa(d.Waiting), sent, destinationState(&d)})
	}
	if len(rows) > 1 {
		e.Table(rows)
	}
	if len(l.Reports) == 0 {
		return
	}
	e.Printf("\n")
	rows = [][]string{{"BAN", "TIME", "ADDRESS", "JAIL", "DESTINATION", "STATE"}}
	for _, r := range l.Reports {
		rows = append(rows, []string{r.ID, text.Time(r.Time), r.Address, text.Clean(r.Jail), r.Destination, reportState(&r)})
	}
	e.Table(rows)
	if n := l.Total - len(l.Reports); n > 0 {
		e.Printf("and %d more (--limit)\n", n)
	}
}

// destinationState is how a destination is, in words.
func destinationState(d *control.DestinationStatus) string {
	switch {
	case d.Type == "":
		return "no longer configured"
	case d.Held != "":
		return "HELD: " + text.Clean(d.Held)
	case d.Quota > 0 && d.Sent >= d.Quota:
		return "quota used up"
	case d.Paused != nil:
		return fmt.Sprintf("paused for %s: %s", text.Duration(time.Until(*d.Paused)), text.Clean(d.LastError))
	case stuck(d):
		return fmt.Sprintf("delivering for %s, no answer yet", text.Duration(time.Since(*d.Delivering)))
	case d.LastError != "":
		return "failing: " + text.Clean(d.LastError)
	case d.Behind:
		return "queue full: newer bans wait in the journal"
	case d.LastOK == nil:
		return "nothing delivered since start"
	}
	return "ok"
}

// reportState is how a delivery is, in words.
func reportState(r *control.QueuedReport) string {
	s := r.State
	if r.Next != nil && s == "waiting" {
		s = "next try in " + text.Duration(time.Until(*r.Next))
	}
	if r.Attempts > 0 {
		s += ", " + diag.Count(r.Attempts, "attempt")
	}
	return s + text.With(": ", r.Error)
}

func showCommand() *cli.Command {
	return command("show", "BAN|ADDRESS [DESTINATION]", "show a waiting report, and what each destination will be sent").Does(func(e *cli.Env, args []string) error {
		destination, id, err := split("show", args)
		if err != nil {
			return err
		}
		if id == "" {
			return cli.Usagef("report show: %q is neither the ID of a ban nor an address", args[0])
		}
		return cli.Got(dial(e).Report(e.Ctx, id, destination)).Print(e, printReport)
	})
}

func printReport(e *cli.Env, s *control.ReportShow) {
	r := s.Report
	e.Printf("%s %s by jail %s at %s, %s\n", e.Paint(cli.Bold, "ban "+r.ID), r.Prefix, text.Clean(r.Jail), text.Time(r.Time), diag.Count(r.Failures, "attempt"))
	e.Printf("%s of evidence, %d no longer in the journal\n", diag.Count(len(r.Lines), "line"), r.Missing)
	for i := range s.Deliveries {
		d := &s.Deliveries[i]
		e.Printf("\n%s %s\n", e.Paint(cli.Bold, "to "+d.Destination+":"), reportState(&d.QueuedReport))
		if d.Failed != "" {
			e.Printf("(no preview: %s)\n", text.Clean(d.Failed))
		}
		preview(e, []byte(d.Preview))
	}
}

// preview prints what would be sent: byte for byte into a file, with control characters escaped on a terminal.
func preview(e *cli.Env, b []byte) {
	if !e.OutTTY {
		e.Out.Write(b)
		if len(b) > 0 && b[len(b)-1] != '\n' {
			e.Printf("\n")
		}
		return
	}
	for _, l := range strings.Split(strings.TrimRight(string(b), "\n"), "\n") {
		fmt.Fprintln(e.Out, text.Clean(strings.TrimRight(l, "\r")))
	}
}

// changeCommand is the verb retry or drop.
func changeCommand(verb, short string) *cli.Command {
	c := command(verb, "[DESTINATION|BAN|ADDRESS]…", short)
	all := c.Flags.Bool("all", false, verb+" all waiting reports")
	return c.Does(func(e *cli.Env, args []string) error {
		destination, id, err := split(verb, args)
		if err != nil {
			return err
		}
		if *all == (len(args) > 0) {
			return cli.Usagef("report %s: name a destination, a ban or an address, or give --all", verb)
		}
		req := control.ReportsRequest{Destination: destination, ID: id, All: *all}
		do, done := dial(e).Retry, "tried again now"
		if verb == "drop" {
			do, done = dial(e).Drop, "dropped"
		}
		return cli.Got(do(e.Ctx, req)).Print(e, func(e *cli.Env, r *control.ReportsResult) {
			e.Printf("%s %s\n", diag.Count(r.Reports, "report"), done)
		})
	})
}

// split tells the name of a destination from a ban or an address among the arguments of a verb.
func split(verb string, args []string) (destination, id string, err error) {
	for _, a := range args {
		switch {
		case isBan(a) && id == "":
			id = a
		case !isBan(a) && destination == "":
			destination = a
		default:
			return "", "", cli.Usagef("report %s: name one destination, and one ban or address", verb)
		}
	}
	return destination, id, nil
}

// isBan reports whether an argument is an address or the ID of a ban, 16 hex digits, and so not the name of a destination.
func isBan(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	id, _, _ := strings.Cut(s, "-")
	_, err := strconv.ParseUint(id, 16, 64)
	return err == nil && len(id) == 16
}

func testCommand() *cli.Command {
	c := command("test", "DESTINATION [BAN|ADDRESS]", "deliver a test report, or show what would be delivered")
	dry := c.Flags.Bool("dry-run", false, "print what DESTINATION would be sent about a ban, or about a test, and send nothing; works without bailiff-report running")
	conf := settings.Option(c)
	files := past.FilesOption(c, "with --dry-run, find the ban in")
	return c.Does(func(e *cli.Env, args []string) error {
		if *dry {
			return dryRun(e, *conf, *files, args[0], append(args, "")[1])
		}
		if len(args) > 1 {
			return cli.Usagef("report test: unexpected argument %q (bailiff report test -h)", args[1])
		}
		ask := func() (*control.TestResult, error) { return dial(e).Test(e.Ctx, args[0]) }
		return cli.Got(cli.Waiting(e, args[0]+" to answer", ask)).Print(e, func(e *cli.Env, r *control.TestResult) {
			e.Printf("%s accepted it: %s\n", args[0], text.Clean(cmp.Or(r.Answer, "success, without a text")))
		})
	})
}
