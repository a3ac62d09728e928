package main

import (
	"fmt"
	"strings"
	"time"

	"bailiff/units/control"
)

func runWhy(e *env, args []string) error {
	f := e.flags("why")
	socket, asJSON := daemonFlags(f)
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
	if *asJSON {
		return printJSON(e.out, w)
	}
	e.tellWhy(w)
	return nil
}

func (e *env) tellWhy(w *control.Why) {
	switch w.State {
	case "unknown":
		fmt.Fprintf(e.out, "%s: nothing is known of it\n", w.Address)
	case "banned":
		fmt.Fprintf(e.out, "%s is %s\n", w.Address, e.paint(red, "banned"))
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
		fmt.Fprintf(e.out, "\n  audit entry: journalctl BAILIFF_BAN_ID=%s\n", b.ID)
		if b.Failures > 0 {
			fmt.Fprintf(e.out, "  because of %s:\n", plural(b.Failures, "failure"))
		}
		e.lines(b.Evidence)
	}
	for _, c := range w.Counted {
		fmt.Fprintf(e.out, "\n  %s by jail %s: %s of %d\n", c.Prefix, c.Jail, plural(c.Failures, "failure"), c.MaxRetry)
		e.lines(c.Evidence)
	}
	for _, h := range w.History {
		fmt.Fprintf(e.out, "\n  remembered: %s of %s, %s\n", plural(h.Count, "ban"), h.Prefix, ended(h.Last))
	}
}

// ended says when the last ban is or was over.
func ended(t *time.Time) string {
	switch {
	case t == nil:
		return "the last one without an end"
	case t.After(time.Now()):
		return "the last one until " + stamp(*t)
	}
	return "the last one over since " + stamp(*t)
}

// lines prints evidence as journalctl would.
func (e *env) lines(ls []control.Line) {
	for _, l := range ls {
		if l.Missing != "" {
			fmt.Fprintf(e.out, "    (%s: %s)\n", l.Missing, l.Cursor)
			continue
		}
		who := clean(l.Identifier)
		if l.PID != 0 {
			who += fmt.Sprintf("[%d]", l.PID)
		}
		fmt.Fprintf(e.out, "    %s %s: %s\n", stamp(l.Time), strings.TrimSpace(who), clean(l.Message))
	}
}
