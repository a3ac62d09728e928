package main

import (
	"fmt"
	"time"

	"bailiff/units/allowlists"
	"bailiff/units/control"
)

// runAllow shows and changes the allow list. A word stands for what is done: list, add, remove, why, refresh; without one
// addresses are added, and nothing at all is list.
func runAllow(e *env, args []string) error {
	f := e.flags("allow")
	socket, asJSON := daemonFlags(f)
	remove := f.Bool("remove", false, "take entries off that were added at run time, as allow remove does")
	long := f.String("for", "", "add: how long: 10m, 48h, 4w (default: until removed)")
	comment := f.String("comment", "", "add: what it is")
	conf := f.String("config", "", "refresh: this `file`, or what this folder holds, in place of the installed configuration")
	dir := f.String("lists", allowlists.DefaultDir, "refresh: the `folder` that published lists are put into")
	force := f.Bool("force", false, "refresh: fetch even what was fetched a short while ago")
	var accept list
	f.Var(&accept, "accept", "refresh: take this `list` although it has shrunk; may be given several times")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	verb := "add"
	if len(rest) == 0 {
		verb = "list"
	} else {
		switch rest[0] {
		case "list", "add", "remove", "why", "refresh":
			verb, rest = rest[0], rest[1:]
		}
	}
	if *remove {
		if verb == "list" {
			return usagef("allow: --remove needs an address")
		}
		verb = "remove"
	}
	c := control.Dial(*socket)
	switch verb {
	case "list":
		if err := want("allow", rest, 0, 0); err != nil {
			return err
		}
		return showAllowed(e, c, *asJSON)
	case "why":
		if err := want("allow", rest, 1, 1); err != nil {
			return err
		}
		return allowWhy(e, c, rest[0], *asJSON)
	case "refresh":
		loaded, err := loadConfig(*conf)
		if err != nil {
			return err
		}
		r := newRefresh(e, *dir)
		r.force, r.accept, r.json = *force, accept, *asJSON
		return r.run(loaded.Allow.Lists, rest)
	}
	if err := want("allow", rest, 1, -1); err != nil {
		return err
	}
	for _, p := range rest {
		if verb == "remove" {
			r, err := c.Disallow(e.ctx, p)
			if err != nil {
				return err
			}
			if *asJSON {
				if err := printJSON(e.out, r); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(e.out, "%s is no longer allowed\n", p)
			}
			continue
		}
		r, err := c.Allow(e.ctx, control.AllowRequest{Prefix: p, Duration: *long, Comment: *comment})
		if err != nil {
			return err
		}
		if *asJSON {
			if err := printJSON(e.out, r); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(e.out, "%s is allowed %s", r.Entry.Prefix, until(r.Entry.Until))
		if r.Lifted > 0 {
			fmt.Fprintf(e.out, "; %s lifted", plural(r.Lifted, "ban"))
		}
		fmt.Fprintln(e.out)
	}
	return nil
}

func showAllowed(e *env, c *control.Client, asJSON bool) error {
	l, err := c.Allowed(e.ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.out, l)
	}
	rows := [][]string{{"ADDRESS", "FROM", "UNTIL", "COMMENT"}}
	for _, a := range l {
		rows = append(rows, []string{a.Prefix, place(&a), allowedUntil(&a), clean(a.Comment)})
	}
	table(e.out, rows)
	return nil
}

// place is where an entry comes from, in short.
func place(a *control.AllowEntry) string {
	if a.List != "" {
		return "list " + a.List
	}
	return clean(a.Origin)
}

func allowedUntil(a *control.AllowEntry) string {
	switch {
	case a.Until == nil && a.Session != nil:
		return "the session ends"
	case a.Until == nil:
		return "for ever"
	case a.Expired:
		return "expired " + stamp(*a.Until)
	}
	return stamp(*a.Until)
}

// allowWhy explains by what an address is allowed; it fails when it is not.
func allowWhy(e *env, c *control.Client, address string, asJSON bool) error {
	w, err := c.AllowWhy(e.ctx, address)
	if err != nil {
		return err
	}
	result := errSilent
	if w.Allowed {
		result = nil
	}
	if asJSON {
		if err := printJSON(e.out, w); err != nil {
			return err
		}
		return result
	}
	switch {
	case w.Allowed:
		fmt.Fprintf(e.out, "%s is %s: it is never banned\n", w.Address, e.paint(green, "allowed"))
	case len(w.Entries) > 0:
		fmt.Fprintf(e.out, "%s is allowed in part, so it is never banned as a whole\n", w.Address)
	default:
		fmt.Fprintf(e.out, "%s is not allowed: no entry holds it\n", w.Address)
	}
	for i := range w.Entries {
		e.allowEntry(&w.Entries[i])
	}
	for i := range w.Expired {
		e.allowEntry(&w.Expired[i])
	}
	return result
}

func (e *env) allowEntry(a *control.AllowEntry) {
	fmt.Fprintf(e.out, "  %s by %s", a.Prefix, clean(a.Origin))
	switch {
	case a.Expired:
		fmt.Fprintf(e.out, ", %s", e.paint(red, "expired since "+stamp(*a.Until)))
	case a.Session != nil:
		fmt.Fprint(e.out, ", until the session ends and a while after")
	case a.Until != nil || a.Source != "self":
		fmt.Fprintf(e.out, ", %s", until(a.Until))
	}
	switch {
	case a.Session != nil:
		s := a.Session
		fmt.Fprintf(e.out, ": %s (%s) is logged in over ssh since %s (%s), pid %d", clean(s.User), clean(s.Why), stamp(s.Since), short(time.Since(s.Since)), s.PID)
		if s.TTY != "" {
			fmt.Fprintf(e.out, ", %s", clean(s.TTY))
		}
		if s.ID != "" {
			fmt.Fprintf(e.out, ", session %s", clean(s.ID))
		}
	case a.Comment != "":
		fmt.Fprintf(e.out, ": %s", clean(a.Comment))
	}
	fmt.Fprintln(e.out)
	if a.List != "" {
		fmt.Fprintf(e.out, "    published list %s", a.List)
		for _, u := range a.URLs {
			fmt.Fprintf(e.out, " %s", clean(u))
		}
		fmt.Fprintln(e.out)
	}
}
