package client

import (
	"fmt"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/units/control"
)

// Bans is `bailiff bans`.
func Bans() *cli.Command {
	c := command("bans", "[ADDRESS]", "list the bans in effect")
	jail := c.Flags.String("jail", "", "only bans of this `JAIL`")
	observed := c.Flags.Bool("observed", false, "list what jails that only observe would have banned")
	return c.Does(func(e *cli.Env, args []string) error {
		q := control.BanQuery{Jail: *jail, Prefix: append(args, "")[0], Observed: *observed}
		return cli.Got(AllBans(e.Ctx, dial(e), q)).Print(e, printBans)
	})
}

func printBans(e *cli.Env, bans []control.Ban) {
	if len(bans) == 0 {
		fmt.Fprintln(e.Err, "no bans")
		return
	}
	rows := [][]string{{"PREFIX", "JAIL", "SINCE", "UNTIL", "ATTEMPTS", "BAN", "NOTE"}}
	for _, b := range bans {
		row := []string{b.Prefix, b.Jail, text.Time(b.Since), text.End(b.Until), fmt.Sprint(b.Failures), fmt.Sprint(b.Count)}
		switch {
		case b.By != "":
			row = append(row, text.Clean(b.By+": "+b.Reason))
		case b.Reason != "" && b.Reason != "failures": // the usual reason needs no note
			row = append(row, text.Clean(b.Reason))
		}
		if b.Ports != "" {
			row = append(row, "ports "+text.Clean(b.Ports))
		}
		rows = append(rows, row)
	}
	e.Table(rows)
}
