package fleet

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/units/hub"
)

func allowCommand() *cli.Command {
	c := cli.New("allow", "DIR ADDRESS…", "allow addresses on all hosts of a fleet: bans of them are lifted").WithJSON()
	long := c.Flags.String("for", "", "allow for this `DURATION`: 10m, 2d, 4w (default: until removed)")
	comment := c.Flags.String("comment", "", "record this `TEXT` with the entry")
	remove := c.Flags.Bool("remove", false, "stop allowing them")
	return c.Does(func(e *cli.Env, args []string) error {
		var until *time.Time
		if *long != "" {
			d, err := config.ParseDuration(*long)
			if err != nil {
				return &cli.UsageError{Text: "--for: " + err.Error(), Hint: "write 10m, 48h, 4w or forever"}
			}
			if d != config.Forever {
				t := time.Now().Add(d).UTC().Truncate(time.Second)
				until = &t
			}
		}
		return change(e, args[0], func(f *Folder) (*result, error) {
			for _, s := range args[1:] {
				p, err := allow.ParsePrefix(s)
				if !p.IsValid() { // Check says how wide it may be
					return nil, err
				}
				n := len(f.Allow)
				f.Allow = slices.DeleteFunc(f.Allow, func(a hub.Allowed) bool { return a.Prefix == p })
				if *remove {
					if len(f.Allow) == n {
						return nil, fmt.Errorf("%s is not allowed by this fleet", s)
					}
					continue
				}
				a := hub.Allowed{Prefix: p, Until: until, By: f.me, Comment: *comment}
				x := a.Fleet()
				if err := x.Check(); err != nil {
					return nil, cli.WithHint(err, "each host's own configuration can allow more: allow in bailiff.yaml(5)")
				}
				f.Allow = append(f.Allow, a)
			}
			if err := f.finish(time.Now()); err != nil {
				return nil, err
			}
			return f.result(f.publishStep()), nil
		})
	})
}

// publishStep says how hosts get a new roster without any change of the hub's own files.
func (f *Folder) publishStep() string {
	return fmt.Sprintf("send the new list to the hosts: bailiff fleet publish %s", f.dir)
}

func publishCommand() *cli.Command {
	return cli.New("publish", "DIR", "send the list of hosts and allowed addresses to the hub of a fleet").Does(func(e *cli.Env, args []string) error {
		f, err := open(args[0])
		if err != nil {
			return err
		}
		defer f.close()
		for _, s := range f.Servers { // an earlier version may have written them
			if err := f.writeConf(s); err != nil {
				return err
			}
		}
		if err := f.publish(e); err != nil {
			return err
		}
		for _, s := range f.Leaving { // after the new ones work: else hosts could go nowhere
			said, err := stream(e.Ctx, publishWait, f.adminFile(s))
			if err != nil {
				e.Notef("server %s, which leaves: %v", s.Host, err)
				continue
			}
			e.Printf("%s (leaves): %s\n", s.Host, said)
		}
		return nil
	})
}

// publishWait is how long publish waits for a server, and readyWait for a hub that has just started.
const (
	publishWait = "5s"
	readyWait   = 2 * time.Minute
)

// publish sends the roster to the hub. One server that answers is enough.
func (f *Folder) publish(e *cli.Env) error {
	for begin, told := time.Now(), false; ; told = true {
		wait, err := f.publishOnce(e)
		switch {
		case !wait: // it is sent, or will not be
			return err
		case time.Since(begin) > readyWait, e.Ctx.Err() != nil:
			hint := "look at what the hub's server says: journalctl -u %s there"
			if len(f.Servers) > 1 {
				hint = "most of the hub's servers must run and reach each other: journalctl -u %s there"
			}
			return cli.WithHint(err, hint, natsUnit)
		case !told:
			e.Notef("the hub is not ready yet; waiting up to %s", config.FormatDuration(readyWait))
		}
	}
}

// publishOnce tries each server. wait says that a later attempt may succeed; err has no hint then.
func (f *Folder) publishOnce(e *cli.Env) (wait bool, err error) {
	var errs []error
	for _, s := range f.Servers {
		said, err := stream(e.Ctx, publishWait, f.adminFile(s))
		if err == nil {
			e.Printf("%s: %s\n", s.Host, said)
			return false, nil
		}
		if errors.Is(err, exec.ErrNotFound) {
			return false, cli.WithHint(err, "bailiff must be installed, with /usr/sbin in the path")
		}
		wait = wait || notReady(err)
		errs = append(errs, fmt.Errorf("%s: %w", s.Host, err))
	}
	err = errors.Join(errs...)
	if !wait {
		err = cli.WithHint(err, "this host must reach the hub; or copy the folder of each server to it: bailiff fleet hub")
	}
	return wait, err
}
