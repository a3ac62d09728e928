package stats

import (
	"fmt"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/client"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
)

// Widths of bars, in columns.
const (
	historyBar = 40
	shareBar   = 20
)

func (r *result) print(e *cli.Env) {
	span := "all of the input"
	switch {
	case r.Since != nil && r.Until != nil:
		span = text.Time(*r.Since) + " to " + text.Time(*r.Until)
	case r.Since != nil:
		span = "since " + text.Time(*r.Since)
	case r.Until != nil:
		span = "until " + text.Time(*r.Until)
	}
	e.Printf("%s, %s, in %.2f s\n", diag.Count(r.Entries, "entry"), span, r.Seconds)
	e.Printf("%s from about %s on about %s\n", diag.Count(r.Failures, "failure"), diag.Count(r.Addresses, "address"), diag.Count(r.Names, "account name"))
	observed := ""
	if r.Observed > 0 {
		observed = fmt.Sprintf(" (%d by jails that only observe)", r.Observed)
	}
	e.Printf("%s under this configuration%s, %d made by the daemon\n", diag.Count(r.Bans, "ban"), observed, r.Made)
	if len(r.Stopped) > 0 {
		e.Printf("%s\n", client.StoppedText(r.Stopped))
	}
	r.printJails(e)
	if len(r.Stopped) > 0 {
		rows := [][]string{{"SET", "BLOCKS", "PACKETS", "BYTES"}}
		for _, s := range r.Stopped {
			rows = append(rows, []string{s.Set, client.ScopeName(s.Scope), fmt.Sprint(s.Packets), fmt.Sprint(s.Bytes)})
		}
		e.Printf("\n")
		e.Table(rows)
	}
	r.printItems(e, "PATTERN", r.Patterns)
	r.printItems(e, "ADDRESS", r.Sources)
	r.printItems(e, "NETWORK", r.Networks)
	r.printItems(e, "COUNTRY", r.Countries)
	r.printItems(e, "AUTONOMOUS SYSTEM", r.Systems)
	r.printItems(e, "ACCOUNT NAME", r.Users)
	r.printHistory(e)
	r.printHoursOfDay(e)
}

func (r *result) printJails(e *cli.Env) {
	if len(r.Jails) == 0 {
		return
	}
	rows := [][]string{{"JAIL", "FAILURES", "ADDRESSES", "BANS", "MADE"}}
	for _, j := range r.Jails {
		rows = append(rows, []string{text.Clean(j.Jail), fmt.Sprint(j.Failures), fmt.Sprint(j.Addresses), fmt.Sprint(j.Bans), fmt.Sprint(j.Made)})
	}
	e.Printf("\n")
	e.Table(rows)
}

// printItems writes a list with the share of each item.
func (r *result) printItems(e *cli.Env, what string, l []*item) {
	if len(l) == 0 {
		return
	}
	rows := [][]string{{what, "FAILURES", "SHARE"}}
	for _, i := range l {
		n := fmt.Sprint(i.Failures)
		if i.Most > i.Failures {
			n += fmt.Sprintf(" to %d", i.Most)
		}
		share := fmt.Sprintf("%.1f %%", 100*float64(i.Failures)/float64(max(1, r.Failures)))
		rows = append(rows, []string{text.Clip(text.Clean(i.Name), 52), n, share, text.Bar(i.Failures, r.Failures, shareBar, !e.Blocks())})
	}
	e.Printf("\n")
	e.Table(rows)
}

func (r *result) printHistory(e *cli.Env) {
	if len(r.History) == 0 {
		return
	}
	var most uint64
	for _, p := range r.History {
		most = max(most, p.Failures)
	}
	layout, what := "2006-01-02 15:00", "HOUR"
	if r.Step == "day" {
		layout, what = "Mon 2006-01-02", "DAY"
	}
	rows := [][]string{{what, "FAILURES", "BANS", ""}}
	for _, p := range r.History {
		rows = append(rows, []string{p.Begin.Local().Format(layout), fmt.Sprint(p.Failures), fmt.Sprint(p.Bans), text.Bar(p.Failures, most, historyBar, !e.Blocks())})
	}
	e.Printf("\n")
	e.Table(rows)
}

// printHoursOfDay draws failures by the hour of the day, four lines high.
func (r *result) printHoursOfDay(e *cli.Env) {
	if r.Failures == 0 {
		return
	}
	ink := "## "
	if e.Blocks() {
		ink = "██ "
	}
	e.Printf("\nfailures by hour of the day, 0 to 23:\n")
	most := slices.Max(r.OfDay[:])
	for row := 4; row > 0; row-- {
		var line strings.Builder
		for _, n := range r.OfDay {
			if n > 0 && (row == 1 || n*4 > most*uint64(row-1)) {
				line.WriteString(ink)
			} else {
				line.WriteString("   ")
			}
		}
		e.Printf("  %s\n", strings.TrimRight(line.String(), " "))
	}
	var hours strings.Builder
	for h := range 24 {
		fmt.Fprintf(&hours, "%02d ", h)
	}
	e.Printf("  %s\n", strings.TrimRight(hours.String(), " "))
}
