// Package replay is `bailiff replay`: it runs the policy over past journal entries, without a firewall, and prints the
// bans that the daemon would have made, the suspected innocents among them, or how the bans of a second configuration
// differ. It changes nothing on the host. Start reading with Command.
package replay

import (
	"fmt"
	"net/netip"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/past"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// Differ is the exit status of --compare if two configurations ban differently.
const Differ cli.ExitStatus = 4

// Command is `bailiff replay`.
func Command() *cli.Command {
	c := cli.New("replay", "", "run the configuration over past journal entries").WithJSON()
	in := past.Options(c, "")
	conf := settings.Option(c)
	jails := c.List("jail", "only this `JAIL`")
	other := c.Flags.String("compare", "", "show how the bans of this other configuration `FILE` would differ")
	failures := c.Flags.Bool("failures", false, "show each failure that counts, too")
	return c.Does(func(e *cli.Env, _ []string) error {
		if *other != "" && *failures {
			return cli.Usagef("replay: --failures cannot be combined with --compare")
		}
		started := time.Now()
		if err := in.Resolve("replay", started); err != nil {
			return err
		}
		eng, err := loadEngine(*conf, *jails)
		if err != nil {
			return err
		}
		buffered, flush := e.Buffered()
		defer flush()
		if *other != "" {
			second, err := loadEngine(*other, *jails)
			if err != nil {
				return err
			}
			return compare(buffered, in, eng, second, started)
		}
		r := &replay{Env: buffered, eng: eng, failures: *failures}
		err = r.run(in)
		if e2 := r.finish(started); err == nil {
			err = e2
		}
		return err
	})
}

// loadEngine makes the policy of a configuration, "" being the installed one.
func loadEngine(file string, jails []string) (*past.Engine, error) {
	c, err := settings.LoadOnly(file, jails)
	if err != nil {
		return nil, err
	}
	return past.NewEngine(c)
}

// journalOptions select the entries that engines look at.
func journalOptions(engines ...*past.Engine) journal.Options {
	var all []*filter.Matcher
	for _, g := range engines {
		all = append(all, g.Matchers()...)
	}
	return journal.Options{Matches: evidence.Matches(all), Fields: evidence.Fields, MaxValue: evidence.MaxValue}
}

// replay runs one configuration over the entries and prints its bans.
type replay struct {
	*cli.Env
	eng      *past.Engine
	failures bool // print them
	cursors  cursors
	suspects suspects
	sum      summary
}

func (r *replay) run(in *past.Input) error {
	var err error
	if r.cursors, err = newCursors(r.Ctx, in); err != nil {
		return err
	}
	defer r.cursors.close()
	r.suspects = suspects{seen: map[netip.Addr][]login{}, lines: r.cursors.messages}
	tick := func(at int64) string {
		r.eng.Expire(at, at)
		return diag.Count(r.sum.Failures, "failure") + ", " + diag.Count(r.sum.Bans, "ban")
	}
	var fe filter.Entry
	err = in.Each(r.Env, journalOptions(r.eng), tick, func(entry *journal.Entry) error {
		r.sum.Entries++
		evidence.Convert(entry, &fe)
		ref := r.cursors.ref(entry)
		out := r.eng.Entry(&fe, ref)
		if out.Hits > 0 { // a line that does not count yet may be evidence once a later one completes its attempt
			r.cursors.keep(ref, entry)
		}
		return r.outcome(out)
	})
	if err != nil {
		return err
	}
	if err := r.outcome(r.eng.Finish()); err != nil {
		return err
	}
	return r.printSuspects()
}

// outcome counts and prints what an entry led to.
func (r *replay) outcome(out *policy.Outcome) error {
	r.suspects.logins(out)
	for i := range out.Failures {
		f := &out.Failures[i]
		r.sum.Failures += uint64(f.Attempts)
		if r.failures {
			if err := r.printFailure(f); err != nil {
				return err
			}
		}
	}
	for i := range out.Bans {
		b := &out.Bans[i]
		if b.Extended {
			continue // the same ban, with more ports
		}
		r.sum.Bans++
		r.suspects.ban(b, r.cursors.text)
		if err := r.printBan(b); err != nil {
			return err
		}
	}
	return nil
}

func (r *replay) printFailure(f *policy.Failure) error {
	if r.JSON {
		return cli.WriteJSON(r.Out, newFailureLine(f, r.cursors.text(f.Ref)))
	}
	user := ""
	if len(f.User) > 0 {
		user = " user " + text.Clean(string(f.User))
	}
	_, err := fmt.Fprintf(r.Out, "%s  failure  %s  %s  %s  count %d%s\n", text.Micro(f.Time), f.Jail, f.Addr, f.Pattern, f.Count, user)
	return err
}

func (r *replay) printBan(b *policy.Ban) error {
	if r.JSON {
		return cli.WriteJSON(r.Out, newBanLine(b, r.cursors.text))
	}
	until := "forever"
	if b.Until != 0 {
		until = "until " + text.Micro(b.Until)
	}
	why := diag.Count(b.Failures, "attempt")
	switch b.Reason {
	case state.Slow:
		why += " in the slow window"
	case state.Account:
		why += " on an account under attack"
	case state.Network:
		why = diag.Count(b.Failures, "part") + " of the network attacked"
	}
	what := "ban     "
	if b.Observed {
		what = "observed"
	}
	_, err := fmt.Fprintf(r.Out, "%s  %s  %s  %s  %s, %s\n", text.Micro(b.Since), what, b.Jail, b.Prefix, why, until)
	return err
}

func (r *replay) finish(started time.Time) error {
	r.sum.Kind, r.sum.Seconds = "summary", time.Since(started).Seconds()
	return r.Print(r.sum, func() {
		r.Printf("%s, %s, %s in %.2f s\n", diag.Count(r.sum.Entries, "entry"), diag.Count(r.sum.Failures, "failure"), diag.Count(r.sum.Bans, "ban"), r.sum.Seconds)
	})
}

// cursors turn references to entries into journal cursors.
type cursors interface {
	ref(*journal.Entry) jail.Ref
	keep(jail.Ref, *journal.Entry)
	text(jail.Ref) string
	messages(cursors []string) []string // the messages of entries
	close()
}
