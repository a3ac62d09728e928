package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/units/control"
)

func runWhy(e *env, args []string) error {
	f := e.flags("why")
	socket, asJSON := daemonFlags(f)
	var files list
	f.Var(&files, "file", "look through this journal file or folder where nothing is counted; may be given several times (default: this host's journal)")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("why", rest, 1, 1); err != nil {
		return err
	}
	w, err := control.Dial(*socket).Why(e.ctx, rest[0])
	if err != nil {
		return err
	}
	var found *mentions
	if w.State == "unknown" {
		// Whoever may ask the daemon need not be able to read the journal: then the answer is shorter.
		if found, err = e.search(w.Address, files); err != nil {
			fmt.Fprintf(e.err, "note: the journal was not looked through: %s\n", clean(strings.ReplaceAll(err.Error(), "\n", "; ")))
		}
	}
	if *asJSON {
		return printJSON(e.out, struct {
			*control.Why
			Journal *mentions `json:"journal,omitempty"`
		}{w, found})
	}
	e.tellWhy(w)
	if found != nil {
		e.tellMentions(found)
	}
	return nil
}

func (e *env) tellWhy(w *control.Why) {
	switch w.State {
	case "unknown":
		fmt.Fprintf(e.out, "%s: no failures on record\n", w.Address)
	case "banned":
		part := ""
		if !slices.ContainsFunc(w.Bans, func(b control.WhyBan) bool { return bare(b.Prefix) == w.Address }) {
			part = ", as part of " + w.Bans[0].Prefix
		}
		fmt.Fprintf(e.out, "%s is %s%s\n", w.Address, e.paint(red, "banned"), part)
	case "allowed":
		fmt.Fprintf(e.out, "%s is %s: it is never banned\n", w.Address, e.paint(green, "allowed"))
	case "counted":
		fmt.Fprintf(e.out, "%s is watched, not banned\n", w.Address)
	}
	for _, a := range w.Allowed {
		fmt.Fprintf(e.out, "  allowed as %s by %s", a.Prefix, a.Origin)
		if a.Until != nil {
			fmt.Fprintf(e.out, " %s", until(a.Until))
		}
		if a.Comment != "" {
			fmt.Fprintf(e.out, ": %s", clean(a.Comment))
		}
		fmt.Fprintln(e.out)
	}
	for _, b := range w.Bans {
		fmt.Fprintf(e.out, "\n  %s %s by jail %s\n  since %s, %s", e.paint(bold, "ban"), b.Prefix, b.Jail, stamp(b.Since), until(b.Until))
		if b.Count > 1 {
			fmt.Fprintf(e.out, ", ban number %d", b.Count)
		}
		if b.By != "" {
			fmt.Fprintf(e.out, ", by %s", clean(b.By))
		}
		if b.Reason != "" {
			fmt.Fprintf(e.out, ": %s", clean(b.Reason))
		}
		if b.Ports != "" {
			fmt.Fprintf(e.out, ", ports %s", clean(b.Ports))
		}
		fmt.Fprintf(e.out, "\n  audit entry: journalctl BAILIFF_BAN_ID=%s\n", b.ID)
		if b.Failures > 0 {
			fmt.Fprintf(e.out, "  because of %s:\n", plural(b.Failures, "attempt"))
		}
		e.lines(b.Evidence)
	}
	if n := w.BansTotal - len(w.Bans); n > 0 {
		fmt.Fprintf(e.out, "\n  and %s more: bailiff bans %s\n", plural(n, "ban"), w.Address)
	}
	for i := range w.Counted {
		e.tellCount(&w.Counted[i])
	}
	for _, h := range w.History {
		fmt.Fprintf(e.out, "\n  history: %s of %s, %s\n", plural(h.Count, "ban"), h.Prefix, ended(h.Last))
	}
	if n := w.HistoryTotal - len(w.History); n > 0 {
		fmt.Fprintf(e.out, "\n  history: and of %d more prefixes\n", n)
	}
}

// tellCount says what counts in one window, and what leads to a ban.
func (e *env) tellCount(c *control.WhyCount) {
	window := short(time.Duration(c.Length * float64(time.Second)))
	by := "jail " + clean(c.Jail)
	if c.Filter != "" && c.Filter != c.Jail {
		by += " (filter " + clean(c.Filter) + ")"
	}
	fmt.Fprintf(e.out, "\n  %s ", e.paint(bold, c.Prefix))
	switch c.Window {
	case "slow":
		fmt.Fprintf(e.out, "%s: %s within %s (slow window)%s\n", by, plural(c.Attempts, "attempt"), window, missing(c))
	case "account":
		fmt.Fprintf(e.out, "on an account that %d addresses failed on within %s: %s", c.Addresses, window, plural(c.Attempts, "attempt"))
		if c.Addresses < c.Needed {
			fmt.Fprintf(e.out, "; not under attack (limit %s)\n", plural(c.Needed, "address"))
		} else {
			fmt.Fprintf(e.out, "; under attack%s\n", missing(c))
		}
	case "network":
		fmt.Fprintf(e.out, "network: %s of it attacked within %s%s\n", plural(c.Attempts, "part"), window, missing(c))
	default:
		fmt.Fprintf(e.out, "%s: %s within %s%s\n", by, plural(c.Attempts, "attempt"), window, missing(c))
	}
	if !c.Until.IsZero() {
		fmt.Fprintf(e.out, "  the oldest counts until %s\n", stamp(c.Until))
	}
	if c.Attempts > c.Failures && c.Window == "slow" {
		fmt.Fprintf(e.out, "  only the number of older ones is kept\n")
	}
	e.lines(c.Evidence)
}

// missing says what leads to a ban. What attempts weigh is shown only where it is not their number.
func missing(c *control.WhyCount) string {
	weight := ""
	if c.Count != c.Attempts {
		weight = fmt.Sprintf(" (weight %d)", c.Count)
	}
	if c.Missing <= 1 {
		return fmt.Sprintf("%s, limit %d: the next failure leads to a ban", weight, c.MaxRetry)
	}
	return fmt.Sprintf("%s, limit %d", weight, c.MaxRetry)
}

// ended says when the last ban is or was over.
func ended(t *time.Time) string {
	switch {
	case t == nil:
		return "the last without an end"
	case t.After(time.Now()):
		return "the last until " + stamp(*t)
	}
	return "the last ended " + stamp(*t)
}

// lines prints evidence as journalctl would, with the pattern that took each line.
func (e *env) lines(ls []control.Line) {
	for _, l := range ls {
		note := clean(l.Pattern)
		if l.Weight > 1 {
			note += fmt.Sprintf(", weight %d", l.Weight)
		}
		if note != "" {
			note = "  " + e.paint(faint, "["+strings.TrimPrefix(note, ", ")+"]")
		}
		if l.Missing != "" {
			when := ""
			if !l.Time.IsZero() {
				when = stamp(l.Time) + " "
			}
			where := ""
			if l.Cursor != "" {
				where = ": " + clean(l.Cursor)
			}
			fmt.Fprintf(e.out, "    %s(%s%s)%s\n", when, l.Missing, where, note)
			continue
		}
		who := clean(l.Identifier)
		if l.PID != 0 {
			who += fmt.Sprintf("[%d]", l.PID)
		}
		fmt.Fprintf(e.out, "    %s %s: %s%s\n", stamp(l.Time), strings.TrimSpace(who), clean(l.Message), note)
	}
}
