package client

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/past"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// Why is `bailiff why`.
func Why() *cli.Command {
	c := command("why", "ADDRESS", "explain why an address is banned, counted or allowed")
	c.Completes = cli.Banned
	files := past.FilesOption(c, "for an address without failures on record, search")
	return c.Does(func(e *cli.Env, args []string) error {
		w, err := dial(e).Why(e.Ctx, args[0])
		if err != nil {
			return err
		}
		askFleet(e, w)
		var found *mentions
		if w.State == "unknown" {
			// Members of group bailiff may not be able to read the journal; the answer is shorter then.
			if found, err = findMentions(e.Ctx, w.Address, *files); err != nil {
				e.Notef("the journal was not searched: %s", text.Clean(strings.ReplaceAll(err.Error(), "\n", "; ")))
			}
		}
		return e.Print(struct {
			*control.Why
			Journal *mentions `json:"journal,omitempty"`
		}{w, found}, func() {
			printWhy(e, w)
			if found != nil {
				printMentions(e, found)
			}
		})
	})
}

func printWhy(e *cli.Env, w *control.Why) {
	switch w.State {
	case "unknown":
		e.Printf("%s: no failures on record\n", w.Address)
	case "banned":
		part := ""
		if !slices.ContainsFunc(w.Bans, func(b control.WhyBan) bool { return text.Address(b.Prefix) == w.Address }) {
			part = ", as part of " + coveringPrefix(w)
		}
		if c := w.Together; c != nil && c.Banned && text.Address(c.Prefix) == w.Address || slices.ContainsFunc(w.Fleet, func(b control.FleetWhy) bool { return text.Address(b.Prefix) == w.Address }) {
			part = ""
		}
		e.Printf("%s is %s%s\n", w.Address, e.Paint(cli.Red, "banned"), part)
	case "allowed":
		e.Printf("%s is %s: it is never banned\n", w.Address, e.Paint(cli.Green, "allowed"))
	case "counted":
		e.Printf("%s has failures on record, but is not banned\n", w.Address)
	}
	for _, a := range w.Allowed {
		until := ""
		if a.Until != nil {
			until = " " + text.Until(a.Until)
		}
		e.Printf("  allowed as %s by %s%s%s\n", a.Prefix, a.Origin, until, text.With(": ", a.Comment))
	}
	for _, l := range w.Lists {
		jails := "the jails"
		if len(l.Jails) > 0 {
			jails = strings.Join(l.Jails, ", ")
		}
		what := "blocked, at " + map[string]string{"jails": "the ports of " + jails, "all": "all ports"}[l.Ports]
		switch {
		case l.Mode == "log":
			what = "counted only"
		case l.Mode == "double":
			what = "its failures weigh double in " + jails
		case len(w.Allowed) > 0:
			what = "passes, since it is allowed"
		}
		e.Printf("  on the block list %s%s as %s: %s\n", text.Clean(l.List), text.With(", ", l.Holds), text.Clean(l.Prefix), what)
	}
	for i := range w.Bans {
		printWhyBan(e, &w.Bans[i])
	}
	if n := w.BansTotal - len(w.Bans); n > 0 {
		e.Printf("\n  and %s more: bailiff bans %s\n", diag.Count(n, "ban"), w.Address)
	}
	printWhyFleet(e, w.Fleet)
	printTogether(e, w.Together)
	for i := range w.Counted {
		printCount(e, &w.Counted[i])
	}
	for _, h := range w.History {
		e.Printf("\n  history: %s of %s, %s\n", diag.Count(h.Count, "ban"), h.Prefix, lastEnd(h.Last))
	}
	if n := w.HistoryTotal - len(w.History); n > 0 {
		e.Printf("\n  history: %s more\n", diag.Count(n, "prefix"))
	}
}

// coveringPrefix is a prefix whose ban covers the address.
func coveringPrefix(w *control.Why) string {
	if len(w.Bans) > 0 {
		return w.Bans[0].Prefix
	}
	if len(w.Fleet) == 0 {
		return text.Clean(w.Together.Prefix)
	}
	return text.Clean(w.Fleet[0].Prefix)
}

func printWhyBan(e *cli.Env, b *control.WhyBan) {
	e.Printf("\n  %s %s by jail %s\n  since %s, %s", e.Paint(cli.Bold, "ban"), b.Prefix, b.Jail, text.Time(b.Since), text.Until(b.Until))
	if b.Count > 1 {
		e.Printf(", ban number %d", b.Count)
	}
	e.Printf("%s%s%s\n  audit entry: journalctl BAILIFF_BAN_ID=%s\n", text.With(", by ", b.By), text.With(": ", b.Reason), text.With(", ports ", b.Ports), b.ID)
	if b.Failures > 0 {
		e.Printf("  because of %s:\n", diag.Count(b.Failures, "attempt"))
	}
	printEvidence(e, b.Evidence)
}

// printCount shows what counts in one window, and how much more leads to a ban.
func printCount(e *cli.Env, c *control.WhyCount) {
	window := text.Duration(time.Duration(c.Length * float64(time.Second)))
	by := "jail " + text.Clean(c.Jail)
	if c.Filter != "" && c.Filter != c.Jail {
		by += " (filter " + text.Clean(c.Filter) + ")"
	}
	attempts := diag.Count(c.Attempts, "attempt")
	e.Printf("\n  %s ", e.Paint(cli.Bold, c.Prefix))
	switch c.Window {
	case "slow":
		e.Printf("%s: %s within %s (slow window)%s\n", by, attempts, window, limit(c))
	case "account":
		e.Printf("on an account that %s failed on within %s: %s", diag.Count(c.Addresses, "address"), window, attempts)
		if c.Addresses < c.Needed {
			e.Printf("; not under attack (limit %s)\n", diag.Count(c.Needed, "address"))
		} else {
			e.Printf("; under attack%s\n", limit(c))
		}
	case "network":
		e.Printf("network: %s of it attacked within %s%s\n", diag.Count(c.Attempts, "part"), window, limit(c))
	default:
		e.Printf("%s: %s within %s%s\n", by, attempts, window, limit(c))
	}
	if !c.Until.IsZero() {
		e.Printf("  the oldest counts until %s\n", text.Time(c.Until))
	}
	if c.Attempts > c.Failures && c.Window == "slow" {
		e.Printf("  of older ones only the number is kept\n")
	}
	printEvidence(e, c.Evidence)
}

// limit is what leads to a ban. The weight of the attempts is shown only where it is not their number.
func limit(c *control.WhyCount) string {
	s := fmt.Sprintf(", limit %d", c.MaxRetry)
	if c.Count != c.Attempts {
		s = fmt.Sprintf(" (weight %d)", c.Count) + s
	}
	if c.Missing <= 1 {
		s += ": the next failure leads to a ban"
	}
	return s
}

// lastEnd is when the last ban ended or will end.
func lastEnd(t *time.Time) string {
	switch {
	case t == nil:
		return "the last without an end"
	case t.After(time.Now()):
		return "the last until " + text.Time(*t)
	}
	return "the last ended " + text.Time(*t)
}

// printEvidence prints journal entries as journalctl would, with the pattern that matched each.
func printEvidence(e *cli.Env, lines []control.Line) {
	for _, l := range lines {
		var notes []string
		if l.Pattern != "" {
			notes = append(notes, text.Clean(l.Pattern))
		}
		if l.Weight > 1 {
			notes = append(notes, fmt.Sprintf("weight %d", l.Weight))
		}
		note := ""
		if len(notes) > 0 {
			note = "  " + e.Paint(cli.Faint, "["+strings.Join(notes, ", ")+"]")
		}
		if l.Missing != "" {
			when := ""
			if !l.Time.IsZero() {
				when = text.Time(l.Time) + " "
			}
			e.Printf("    %s(%s%s)%s\n", when, l.Missing, text.With(": ", l.Cursor), note)
			continue
		}
		who := text.Clean(l.Identifier)
		if l.PID != 0 {
			who += fmt.Sprintf("[%d]", l.PID)
		}
		e.Printf("    %s %s: %s%s\n", text.Time(l.Time), strings.TrimSpace(who), text.Clean(l.Message), note)
	}
}
