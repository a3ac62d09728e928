package client

import (
	"fmt"
	"net/netip"
	"slices"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// Ban is `bailiff ban`.
func Ban() *cli.Command {
	c := command("ban", "ADDRESS…", "ban addresses or prefixes")
	var req control.BanRequest
	c.Flags.StringVar(&req.Jail, "jail", "", "ban as this `JAIL` does, on its ports only (default: all traffic)")
	c.Flags.StringVar(&req.Duration, "for", "", "ban for this `DURATION`: 10m, 2d, 4w or forever (default: the jail's ban_time)")
	c.Flags.StringVar(&req.Reason, "reason", "", "record this `TEXT` with the ban")
	c.Flags.BoolVar(&req.Force, "force", false, "allow prefixes wider than /8 (IPv6: /32)")
	return c.Does(func(e *cli.Env, args []string) error {
		if err := checkPrefixes("ban", args); err != nil {
			return err
		}
		req.Prefixes = args
		return cli.Got(dial(e).Ban(e.Ctx, req)).Print(e, func(e *cli.Env, bans []control.Ban) {
			for _, b := range bans {
				e.Printf("banned %s (%s) %s\n", b.Prefix, b.Jail, text.Until(b.Until))
			}
		})
	})
}

// Unban is `bailiff unban`.
func Unban() *cli.Command {
	c := command("unban", "[ADDRESS…]", "lift the bans of addresses or prefixes, or all bans")
	c.Completes = cli.Banned
	jail := c.Flags.String("jail", "", "only bans of this `JAIL`")
	all := c.Flags.Bool("all", false, "lift every ban")
	return c.Does(func(e *cli.Env, args []string) error {
		switch {
		case *all && len(args) > 0:
			return cli.Usagef("unban: --all takes no addresses")
		case !*all && len(args) == 0:
			return cli.Usagef("unban: missing ADDRESS, or --all (bailiff unban -h)")
		}
		if err := checkPrefixes("unban", args); err != nil {
			return err
		}
		if *all {
			args = []string{""}
		}
		d := dial(e)
		sum := control.Removed{}
		var missed []string
		for _, p := range args {
			r, err := d.Unban(e.Ctx, p, *jail, *all)
			if err != nil {
				return err
			}
			if sum.Removed += r.Removed; r.Removed == 0 && !*all {
				missed = append(missed, p)
			}
		}
		err := e.Print(sum, func() {
			e.Printf("%s lifted\n", diag.Count(sum.Removed, "ban"))
			for _, p := range missed {
				explainNotBanned(e, d, p, *jail)
			}
		})
		if err == nil && sum.Removed == 0 && !*all {
			return cli.ErrSilent
		}
		return err
	})
}

// explainNotBanned says why nothing was lifted: which bans cover the prefix, lie in it, or are another jail's.
func explainNotBanned(e *cli.Env, d *control.Client, prefix, jail string) {
	near, err := d.Bans(e.Ctx, control.BanQuery{Prefix: prefix, Limit: 100})
	if err != nil {
		return // it was said that nothing was lifted
	}
	want := asPrefix(prefix)
	inside, others := 0, []string{}
	for _, b := range near.Bans {
		switch p := asPrefix(b.Prefix); {
		case p == want:
			others = append(others, b.Jail)
		case p.Bits() < want.Bits():
			fmt.Fprintf(e.Err, "%s is not banned by itself, but as part of %s (jail %s)\n", prefix, b.Prefix, b.Jail)
			e.Hintf("bailiff unban %s lifts that ban; bailiff allow %s exempts the address from all bans", b.Prefix, prefix)
			return
		default:
			inside++
		}
	}
	switch {
	case len(others) > 0 && jail != "":
		slices.Sort(others)
		fmt.Fprintf(e.Err, "%s is not banned by jail %s, but by %s\n", prefix, jail, text.Some(others, 5))
	case inside > 0:
		fmt.Fprintf(e.Err, "%s is not banned as a whole; %s inside it: bailiff bans %s\n", prefix, diag.Count(inside, "ban"), prefix)
	default:
		if w, err := d.Why(e.Ctx, prefix); err == nil && w.State == "banned" && len(w.Bans) == 0 {
			fmt.Fprintf(e.Err, "%s is not banned by this host, but by another one: bailiff why %s\n", prefix, prefix)
			e.Hintf("bailiff allow %s exempts the address from all bans", prefix)
			return
		}
		fmt.Fprintf(e.Err, "%s is not banned\n", prefix)
	}
}

// checkPrefixes refuses arguments that are no addresses before the daemon is asked.
func checkPrefixes(command string, args []string) error {
	for _, a := range args {
		if !asPrefix(a).IsValid() {
			return cli.Usagef("%s: %q is neither an address nor a prefix", command, a)
		}
	}
	return nil
}

// asPrefix reads an address or a prefix; the zero value if it is neither.
func asPrefix(s string) netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked()
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
}
