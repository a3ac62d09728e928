package main

import (
	"fmt"

	"bailiff/units/control"
)

func runReload(e *env, args []string) error {
	f := e.flags("reload")
	socket, asJSON := daemonFlags(f)
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("reload", rest, 0, 0); err != nil {
		return err
	}
	r, err := control.Dial(*socket).Reload(e.ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(e.out, r)
	}
	for _, n := range r.Notices {
		fmt.Fprintf(e.err, "note: %s\n", clean(n))
	}
	fmt.Fprintf(e.out, "reloaded: %s\n", plural(len(r.Jails), "jail"))
	return nil
}
