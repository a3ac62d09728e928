package main

import (
	"fmt"

	"bailiff/units/control"
)

func runAllow(e *env, args []string) error {
	f := e.flags("allow")
	socket, asJSON := daemonFlags(f)
	remove := f.Bool("remove", false, "take entries off that were added at run time")
	long := f.String("for", "", "how long: 10m, 48h, 4w (default: until removed)")
	comment := f.String("comment", "", "what it is")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	c := control.Dial(*socket)
	switch {
	case len(rest) == 0 && *remove:
		return usagef("allow: --remove needs an address")
	case len(rest) == 0:
		return showAllowed(e, c, *asJSON)
	}
	for _, p := range rest {
		if *remove {
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
		end := "for ever"
		if a.Until != nil {
			end = stamp(*a.Until)
		}
		rows = append(rows, []string{a.Prefix, a.Origin, end, clean(a.Comment)})
	}
	table(e.out, rows)
	return nil
}
