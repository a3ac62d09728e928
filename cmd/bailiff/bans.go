package main

import (
	"fmt"

	"bailiff/units/control"
)

func runBans(e *env, args []string) error {
	f := e.flags("bans")
	socket, asJSON := daemonFlags(f)
	jail := f.String("jail", "", "only this `jail`'s")
	observed := f.Bool("observed", false, "what jails that only observe would have banned")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("bans", rest, 0, 1); err != nil {
		return err
	}
	prefix := ""
	if len(rest) == 1 {
		prefix = rest[0]
	}
	bans, err := bansOf(e, control.Dial(*socket), control.BanQuery{Jail: *jail, Prefix: prefix, Observed: *observed})
	if err != nil {
		return err
	}
	if *asJSON {
		if bans == nil {
			bans = []control.Ban{}
		}
		return printJSON(e.out, bans)
	}
	if len(bans) == 0 {
		fmt.Fprintln(e.err, "no bans")
		return nil
	}
	rows := [][]string{{"PREFIX", "JAIL", "SINCE", "UNTIL", "ATTEMPTS", "BAN", "NOTE"}}
	for _, b := range bans {
		end := "forever"
		if b.Until != nil {
			end = stamp(*b.Until)
		}
		row := []string{b.Prefix, b.Jail, stamp(b.Since), end, fmt.Sprint(b.Failures), fmt.Sprint(b.Count)}
		switch {
		case b.By != "":
			row = append(row, clean(b.By+": "+b.Reason))
		case b.Reason != "" && b.Reason != "failures": // the usual reason goes without saying
			row = append(row, clean(b.Reason))
		}
		if b.Ports != "" {
			row = append(row, "ports "+clean(b.Ports))
		}
		rows = append(rows, row)
	}
	table(e.out, rows)
	return nil
}
