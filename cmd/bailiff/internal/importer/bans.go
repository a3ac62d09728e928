package importer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/client"
	"bailiff/cmd/bailiff/internal/fail2ban"
	"bailiff/cmd/bailiff/internal/fail2ban/db"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// takeBans passes fail2ban's current bans to the daemon, which loads the new configuration first if reload is set.
func takeBans(e *cli.Env, r *importResult, in *fail2ban.Result, database string, reload bool) error {
	database = cmp.Or(database, in.Database)
	r.Bans = &importBans{Database: database, Problems: []string{}}
	if database == "" {
		return errors.New("import: fail2ban keeps no database (dbfile in fail2ban.conf)")
	}
	bans, skipped, err := db.Bans(database, time.Now(), in.BanTime)
	if err != nil {
		return cli.WithHint(fmt.Errorf("import: %w", cause(err)), "stop fail2ban first (systemctl stop fail2ban), which closes the database; --database names another file")
	}
	bans, without := inEffect(in, bans)
	r.Bans.Problems = append(append(r.Bans.Problems, skipped...), without...)
	c := control.Dial(e.Socket)
	if reload {
		if _, err := c.Reload(e.Ctx); err != nil {
			return err
		}
	}
	groups, err := groupBans(e, c, r.Bans, in, bans)
	if err != nil {
		return err
	}
	progress := e.Progress()
	defer progress.Clear()
	for _, g := range groups {
		for chunk := range slices.Chunk(g.prefixes, 1000) {
			progress.Show("%d of %s taken over", r.Bans.Taken, diag.Count(len(bans), "ban"))
			if err := banGroup(e, c, r.Bans, g.jail, g.duration, chunk); err != nil {
				return err
			}
		}
	}
	return nil
}

// inEffect returns the bans of jails that block addresses. fail2ban's database has those of all jails: also of jails that
// only reported them, and of jails that were disabled since. skipped has a line for each of these jails.
func inEffect(in *fail2ban.Result, bans []*db.Ban) (blocked []*db.Ban, skipped []string) {
	others := map[string]int{}
	for _, b := range bans {
		if in.Blocks[b.Jail] {
			blocked = append(blocked, b)
		} else {
			others[b.Jail]++
		}
	}
	for _, jail := range slices.Sorted(maps.Keys(others)) {
		why := "fail2ban does not run it"
		if _, ok := in.Blocks[jail]; ok {
			why = "it does not block addresses"
		}
		skipped = append(skipped, fmt.Sprintf("jail %s: %s not taken over: %s", text.Clip(jail, 100), diag.Count(others[jail], "ban"), why))
	}
	return blocked, skipped
}

// group is bans of one jail with the same end.
type group struct {
	jail, duration string // an empty jail is a manual ban of all ports
	prefixes       []string
}

// groupBans groups bans by jail and end, without those that the daemon already has, at least as long. Of several bans of a
// prefix that become one, the longest counts.
func groupBans(e *cli.Env, c *control.Client, r *importBans, in *fail2ban.Result, bans []*db.Ban) (groups []*group, err error) {
	st, err := c.Status(e.Ctx)
	if err != nil {
		return nil, err
	}
	old, err := client.AllBans(e.Ctx, c, control.BanQuery{})
	if err != nil {
		return nil, err
	}
	have := map[string]*time.Time{}
	for _, b := range old {
		have[b.Jail+" "+b.Prefix] = b.Until
	}
	type place struct {
		jail   string // bailiff's
		prefix netip.Prefix
	}
	longest := map[place]*db.Ban{}
	var places []place // in the order of bans
	for _, b := range bans {
		at := place{in.Jails[b.Jail], b.Prefix}
		if !slices.ContainsFunc(st.Jails, func(j control.JailStatus) bool { return j.Name == at.jail }) {
			at.jail = ""
		}
		other := longest[at]
		if other == nil {
			places = append(places, at)
		}
		if other == nil || !other.Until.IsZero() && (b.Until.IsZero() || b.Until.After(other.Until)) {
			longest[at] = b
		}
	}
	byName := map[string]*group{}
	now := time.Now()
	for _, at := range places {
		jail, b, duration := at.jail, longest[at], "forever"
		if !b.Until.IsZero() {
			duration = config.FormatDuration(roundUp(b.Until.Sub(now)))
		}
		until, ok := have[cmp.Or(jail, "manual")+" "+b.Prefix.String()]
		if ok && (until == nil || !b.Until.IsZero() && !until.Before(b.Until)) {
			r.Kept++
			continue
		}
		g := byName[jail+" "+duration]
		if g == nil {
			g = &group{jail: jail, duration: duration}
			byName[jail+" "+duration] = g
			groups = append(groups, g)
		}
		g.prefixes = append(g.prefixes, b.Prefix.String())
	}
	return groups, nil
}

// banGroup bans prefixes with the same end. If the daemon refuses one, because it is allowed for example, it refuses
// all; they are then sent one by one.
func banGroup(e *cli.Env, c *control.Client, b *importBans, jail, duration string, prefixes []string) error {
	_, err := c.Ban(e.Ctx, control.BanRequest{Prefixes: prefixes, Jail: jail, Duration: duration, Reason: "taken over from fail2ban"})
	var refused *control.Error
	switch {
	case err == nil:
		b.Taken += len(prefixes)
		return nil
	case !errors.As(err, &refused) || refused.Status < 400 || refused.Status > 499 || refused.Status == 403:
		return err
	case len(prefixes) == 1:
		b.Problems = append(b.Problems, err.Error())
		return nil
	}
	for _, p := range prefixes {
		if err := banGroup(e, c, b, jail, duration, []string{p}); err != nil {
			return err
		}
	}
	return nil
}

// roundUp extends the rest of a ban by at most 1 %, or to the next minute, so that more bans have the same end. These
// are sent in one call, and the daemon writes its state file once per call.
func roundUp(d time.Duration) time.Duration {
	step := time.Minute
	for step < d/200 {
		step *= 2
	}
	return (max(d, time.Second) + step - 1) / step * step
}
