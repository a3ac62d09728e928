package main

import (
	"fmt"

	"bailiff/units/control"
)

func runUnban(e *env, args []string) error {
	f := e.flags("unban")
	socket, asJSON := daemonFlags(f)
	jail := f.String("jail", "", "only bans of this `jail`")
	all := f.Bool("all", false, "lift every ban")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if *all && len(rest) > 0 {
		return usagef("unban: --all takes no addresses")
	}
	if !*all {
		if err := want("unban", rest, 1, -1); err != nil {
			return err
		}
	} else {
		rest = []string{""}
	}
	c := control.Dial(*socket)
	sum := control.Removed{}
	for _, p := range rest {
		r, err := c.Unban(e.ctx, p, *jail, *all)
		if err != nil {
			return err
		}
		sum.Removed += r.Removed
	}
	if *asJSON {
		return printJSON(e.out, sum)
	}
	fmt.Fprintf(e.out, "%s lifted\n", plural(sum.Removed, "ban"))
	if sum.Removed == 0 && !*all {
		return errSilent
	}
	return nil
}
