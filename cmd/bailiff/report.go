package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"bailiff/units/control"
)

// runReport shows reports that wait, and changes what becomes of them.
func runReport(e *env, args []string) error {
	f := e.flags("report")
	socket := f.String("socket", control.ReportPath, "`path` of bailiff-report's control socket")
	asJSON := f.Bool("json", false, "print JSON")
	every := f.Bool("all", false, "of retry and drop: all that waits")
	limit := f.Int("limit", 0, "of list: at most so `many` (default 1000)")
	dry := f.Bool("dry-run", false, "print exactly what DESTINATION would get about a ban, or else a test, and send nothing; needs no running bailiff-report; of setup: change nothing")
	conf := f.String("config", "", "of --dry-run and setup: this configuration `file` in place of the installed ones")
	root := f.String("root", "", "of setup: a `folder` that holds the host's file system; no service is restarted there")
	system := f.String("mail", "", "of setup: the mail `system`, in place of the one found: "+strings.Join(mailSystems, ", "))
	var files list
	f.Var(&files, "file", "of --dry-run: look for the ban in this journal `file` or folder; may be given several times (default: this host's journal)")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	what := "list"
	if len(rest) > 0 {
		switch rest[0] {
		case "list", "show", "retry", "drop", "test", "setup":
			what, rest = rest[0], rest[1:]
		default:
			if !*dry {
				return usagef("report: %q is none of list, show, retry, drop, test, setup", rest[0])
			}
		}
	}
	if what == "setup" {
		if err := want("report setup", rest, 0, 0); err != nil {
			return err
		}
		return e.reportSetup(setup{root: *root, config: *conf, system: *system, dry: *dry})
	}
	if *dry {
		if what != "list" && what != "test" {
			return usagef("report %s: --dry-run sends nothing, and changes nothing: leave out %s", what, what)
		}
		if err := want("report", rest, 1, 2); err != nil {
			return err
		}
		return e.dryRun(*conf, files, rest[0], append(rest, "")[1])
	}
	c := control.DialReport(*socket)
	switch what {
	case "show":
		return e.reportShow(c, rest, *asJSON)
	case "retry", "drop":
		return e.reportChange(c, what, rest, *every, *asJSON)
	case "test":
		if err := want("report", rest, 1, 1); err != nil {
			return err
		}
		r, err := c.Test(e.ctx, rest[0])
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(e.out, r)
		}
		fmt.Fprintf(e.out, "%s took it: %s\n", rest[0], clean(or(r.Answer, "no answer but success")))
		return nil
	}
	return e.reportList(c, rest, *limit, *asJSON)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// split tells a destination from a ban or an address.
func split(what string, args []string) (destination, id string, err error) {
	if len(args) > 2 {
		return "", "", usagef("report %s: %q is too much", what, args[2])
	}
	for _, a := range args {
		switch {
		case isBan(a) && id == "":
			id = a
		case !isBan(a) && destination == "":
			destination = a
		default:
			return "", "", usagef("report %s: name one destination, and one ban or address", what)
		}
	}
	return destination, id, nil
}

// isBan says whether an argument is an address or the id of a ban, 16 hex digits, and no name of a destination.
func isBan(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	id, _, _ := strings.Cut(s, "-")
	_, err := strconv.ParseUint(id, 16, 64)
	return err == nil && len(id) == 16
}

func (e *env) reportList(c *control.ReportClient, args []string, limit int, asJSON bool) error {
	if err := want("report", args, 0, 1); err != nil {
		return err
	}
	only := ""
	if len(args) > 0 {
		only = args[0]
	}
	s, err := c.Status(e.ctx)
	if err != nil {
		return err
	}
	l, err := c.Reports(e.ctx, only, limit)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.out, struct {
			*control.ReporterStatus
			*control.ReportList
		}{s, l})
	}
	for _, p := range s.Problems {
		fmt.Fprintf(e.out, "%s %s\n", e.paint(red, "problem:"), clean(p))
	}
	if len(s.Destinations) == 0 {
		fmt.Fprintln(e.out, "no destinations are configured: nobody is told of bans (bailiff.yaml(5), report)")
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
		rows = append(rows, []string{d.Name, or(d.Type, "-"), strconv.Itoa(d.Waiting), sent, destinationState(&d)})
	}
	if len(rows) > 1 {
		table(e.out, rows)
	}
	if len(l.Reports) == 0 {
		return nil
	}
	fmt.Fprintln(e.out)
	rows = [][]string{{"BAN", "TIME", "ADDRESS", "JAIL", "DESTINATION", "STATE"}}
	for _, r := range l.Reports {
		rows = append(rows, []string{r.ID, stamp(r.Time), r.Address, clean(r.Jail), r.Destination, reportState(&r)})
	}
	table(e.out, rows)
	if n := l.Total - len(l.Reports); n > 0 {
		fmt.Fprintf(e.out, "… and %d more (--limit)\n", n)
	}
	return nil
}

func destinationState(d *control.DestinationStatus) string {
	switch {
	case d.Type == "":
		return "not configured any more"
	case d.Held != "":
		return "HELD: " + clean(d.Held)
	case d.Quota > 0 && d.Sent >= d.Quota:
		return "the quota is used up"
	case d.Paused != nil:
		return fmt.Sprintf("paused for %s: %s", short(time.Until(*d.Paused)), clean(d.LastError))
	case stuck(d):
		return fmt.Sprintf("delivering for %s without an answer", short(time.Since(*d.Delivering)))
	case d.LastError != "":
		return "failing: " + clean(d.LastError)
	case d.Behind:
		return "full: newer bans wait in the journal"
	case d.LastOK == nil:
		return "nothing delivered since start"
	}
	return "ok"
}

func reportState(r *control.QueuedReport) string {
	s := r.State
	if r.Next != nil && s == "waiting" {
		s = "next try in " + short(time.Until(*r.Next))
	}
	if r.Attempts > 0 {
		s += ", " + plural(r.Attempts, "attempt")
	}
	if r.Error != "" {
		s += ": " + clean(r.Error)
	}
	return s
}

func (e *env) reportShow(c *control.ReportClient, args []string, asJSON bool) error {
	if len(args) == 0 {
		return usagef("report show: name a ban or an address (bailiff report list shows what waits)")
	}
	destination, id, err := split("show", args)
	if err != nil {
		return err
	}
	if id == "" {
		return usagef("report show: %q is neither the id of a ban nor an address", args[0])
	}
	s, err := c.Report(e.ctx, id, destination)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.out, s)
	}
	r := s.Report
	fmt.Fprintf(e.out, "%s %s by jail %s at %s, %s\n", e.paint(bold, "ban "+r.ID), r.Prefix, clean(r.Jail), stamp(r.Time), plural(r.Failures, "failure"))
	fmt.Fprintf(e.out, "%s of evidence, %d no longer in the journal\n", plural(len(r.Lines), "line"), r.Missing)
	for i := range s.Deliveries {
		d := &s.Deliveries[i]
		fmt.Fprintf(e.out, "\n%s %s\n", e.paint(bold, "to "+d.Destination+":"), reportState(&d.QueuedReport))
		if d.Failed != "" {
			fmt.Fprintf(e.out, "(what would be sent cannot be shown: %s)\n", clean(d.Failed))
		}
		e.preview([]byte(d.Preview))
	}
	return nil
}

// preview prints what would be sent: as it is into a file, made fit for a terminal else.
func (e *env) preview(b []byte) {
	if !e.outTTY {
		e.out.Write(b)
		if len(b) > 0 && b[len(b)-1] != '\n' {
			fmt.Fprintln(e.out)
		}
		return
	}
	for _, l := range strings.Split(strings.TrimRight(string(b), "\n"), "\n") {
		fmt.Fprintln(e.out, clean(strings.TrimRight(l, "\r")))
	}
}

func (e *env) reportChange(c *control.ReportClient, what string, args []string, every, asJSON bool) error {
	destination, id, err := split(what, args)
	if err != nil {
		return err
	}
	if every == (len(args) > 0) {
		return usagef("report %s: name a destination, a ban or an address, or give --all", what)
	}
	req := control.ReportsRequest{Destination: destination, ID: id, All: every}
	do, done := c.Retry, "tried again now"
	if what == "drop" {
		do, done = c.Drop, "dropped"
	}
	r, err := do(e.ctx, req)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.out, r)
	}
	fmt.Fprintf(e.out, "%s %s\n", plural(r.Reports, "report"), done)
	return nil
}
