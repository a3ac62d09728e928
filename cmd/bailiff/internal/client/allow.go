package client

import (
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// Allow is the group `bailiff allow`. refresh is its verb that needs no daemon.
func Allow(refresh *cli.Command) *cli.Command {
	c := cli.Group("allow", "manage the allow list: who is never banned", allowList(), allowAdd(), allowRemove(), allowWhy(), refresh)
	c.Pick = func(args []string, given func(string) bool) string {
		if len(args) == 0 && !given("remove") && !given("for") && !given("comment") {
			return "list"
		}
		return "add"
	}
	return c
}

func allowList() *cli.Command {
	return command("list", "", "show the whole allow list").Does(func(e *cli.Env, _ []string) error {
		return cli.Got(dial(e).Allowed(e.Ctx)).Print(e, func(e *cli.Env, l []control.AllowEntry) {
			rows := [][]string{{"ADDRESS", "FROM", "UNTIL", "COMMENT"}}
			for _, a := range l {
				rows = append(rows, []string{a.Prefix, allowedBy(&a), allowedUntil(&a), text.Clean(a.Comment)})
			}
			e.Table(rows)
		})
	})
}

// allowedBy is where an entry comes from, in short.
func allowedBy(a *control.AllowEntry) string {
	if a.List != "" {
		return "list " + a.List
	}
	return text.Clean(a.Origin)
}

func allowedUntil(a *control.AllowEntry) string {
	switch {
	case a.Until == nil && a.Session != nil:
		return "end of session"
	case a.Expired:
		return "expired " + text.Time(*a.Until)
	}
	return text.End(a.Until)
}

func allowAdd() *cli.Command {
	c := command("add", "ADDRESS…", "allow addresses at run time; the word add may be left out")
	var req control.AllowRequest
	c.Flags.StringVar(&req.Duration, "for", "", "allow for this `DURATION`: 10m, 2d, 4w (default: until removed)")
	c.Flags.StringVar(&req.Comment, "comment", "", "record this `TEXT` with the entry")
	remove := c.Flags.Bool("remove", false, "the same as allow remove")
	return c.Does(func(e *cli.Env, args []string) error {
		if *remove {
			return disallow(e, args)
		}
		for _, p := range args {
			req.Prefix = p
			if err := cli.Got(dial(e).Allow(e.Ctx, req)).Print(e, printAllowed); err != nil {
				return err
			}
		}
		return nil
	})
}

func printAllowed(e *cli.Env, r *control.AllowResult) {
	e.Printf("%s is allowed %s", r.Entry.Prefix, text.Until(r.Entry.Until))
	if r.Lifted > 0 {
		e.Printf("; %s lifted", diag.Count(r.Lifted, "ban"))
	}
	e.Printf("\n")
}

func allowRemove() *cli.Command {
	c := command("remove", "ADDRESS…", "remove entries that were added at run time")
	c.Completes = cli.Allowed
	return c.Does(disallow)
}

func disallow(e *cli.Env, args []string) error {
	for _, p := range args {
		gone := func(e *cli.Env, _ *control.Removed) { e.Printf("%s is no longer allowed\n", p) }
		if err := cli.Got(dial(e).Disallow(e.Ctx, p)).Print(e, gone); err != nil {
			return err
		}
	}
	return nil
}

func allowWhy() *cli.Command {
	return command("why", "ADDRESS", "explain which entries allow an address; exit status 1 if none does").Does(func(e *cli.Env, args []string) error {
		w, err := dial(e).AllowWhy(e.Ctx, args[0])
		if err != nil {
			return err
		}
		err = e.Print(w, func() {
			switch {
			case w.Allowed:
				e.Printf("%s is %s: it is never banned\n", w.Address, e.Paint(cli.Green, "allowed"))
			case len(w.Entries) > 0:
				e.Printf("%s is allowed in part, so it is never banned as a whole\n", w.Address)
			default:
				e.Printf("%s is not allowed: no entry covers it\n", w.Address)
			}
			for _, a := range slices.Concat(w.Entries, w.Expired) {
				printAllowEntry(e, &a)
			}
		})
		if err == nil && !w.Allowed {
			return cli.ErrSilent
		}
		return err
	})
}

func printAllowEntry(e *cli.Env, a *control.AllowEntry) {
	e.Printf("  %s by %s", a.Prefix, text.Clean(a.Origin))
	switch {
	case a.Expired:
		e.Printf(", %s", e.Paint(cli.Red, "expired since "+text.Time(*a.Until)))
	case a.Session != nil:
		e.Printf(", until the session ends and a while after")
	case a.Until != nil || a.Source != "self":
		e.Printf(", %s", text.Until(a.Until))
	}
	switch {
	case a.Session != nil:
		s := a.Session
		e.Printf(": %s (%s) is logged in over ssh since %s (%s), pid %d", text.Clean(s.User), text.Clean(s.Why), text.Time(s.Since), text.Duration(time.Since(s.Since)), s.PID)
		e.Printf("%s%s", text.With(", ", s.TTY), text.With(", session ", s.ID))
	default:
		e.Printf("%s", text.With(": ", a.Comment))
	}
	e.Printf("\n")
	if a.List != "" {
		e.Printf("    published list %s\n", text.Clean(strings.Join(append([]string{a.List}, a.URLs...), " ")))
	}
}
