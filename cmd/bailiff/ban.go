package main

import (
	"fmt"

	"bailiff/units/control"
)

func runBan(e *env, args []string) error {
	f := e.flags("ban")
	socket, asJSON := daemonFlags(f)
	jail := f.String("jail", "", "as a ban of this `jail`, with its ports (default: all traffic)")
	long := f.String("for", "", "how long: 10m, 48h, 4w, forever (default: the jail's ban_time)")
	reason := f.String("reason", "", "why, for the audit trail")
	force := f.Bool("force", false, "although the prefix is wider than /8 (IPv6: /32)")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("ban", rest, 1, -1); err != nil {
		return err
	}
	bans, err := control.Dial(*socket).Ban(e.ctx, control.BanRequest{Prefixes: rest, Jail: *jail, Duration: *long, Reason: *reason, Force: *force})
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(e.out, bans)
	}
	for _, b := range bans {
		fmt.Fprintf(e.out, "banned %s (%s) %s\n", b.Prefix, b.Jail, until(b.Until))
	}
	return nil
}
