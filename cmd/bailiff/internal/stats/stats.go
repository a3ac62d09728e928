// Package stats is `bailiff stats`: it reads past journal entries, decides about them as the daemon would have, and counts
// who attacks, how and when. Its memory is bounded, whatever attackers choose. Start reading with Command.
package stats

import (
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/client"
	"bailiff/cmd/bailiff/internal/past"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/cmd/internal/geo"
	"bailiff/units/control"
)

// sinceDefault is how far back this host's journal is read without --since.
const sinceDefault = "7d"

// result is what `bailiff stats --json` prints. bailiff(1) documents its keys, which do not change.
type result struct {
	Since     *time.Time  `json:"since"` // of the entries read; null: from the first
	Until     *time.Time  `json:"until"`
	Entries   uint64      `json:"entries"`
	Failures  uint64      `json:"failures"`
	Bans      uint64      `json:"bans"`          // that the configuration leads to
	Observed  uint64      `json:"observed"`      // of these, by jails that only observe: they block nothing
	Made      uint64      `json:"bans_made"`     // by the daemon, according to the audit trail
	Addresses uint64      `json:"addresses"`     // distinct, estimated
	Names     uint64      `json:"account_names"` // distinct, estimated
	Jails     []*jailItem `json:"jails"`
	Patterns  []*item     `json:"patterns"`
	Sources   []*item     `json:"top_addresses"`
	Networks  []*item     `json:"networks"`
	Systems   []*item     `json:"systems"`   // null: there is no database
	Countries []*item     `json:"countries"` // null: there is no database
	Users     []*item     `json:"top_account_names"`
	Step      string      `json:"step"` // "hour" or "day"
	History   []period    `json:"history"`
	OfDay     [24]uint64  `json:"hours_of_day"` // failures by the hour of local time
	Databases []string    `json:"databases"`

	// Stopped is what the rules of each set have dropped since they were created; null where no daemon runs whose firewall
	// counts, or where another host's journal is read.
	Stopped []control.Stopped `json:"stopped"`
	Seconds float64           `json:"seconds"`
}

type jailItem struct {
	Jail      string `json:"jail"`
	Failures  uint64 `json:"failures"`
	Addresses uint64 `json:"addresses"`
	Bans      uint64 `json:"bans"`
	Made      uint64 `json:"bans_made"`
}

// item was counted Failures times at least, and Most times at most: memory is bounded, so rare items are uncertain.
type item struct {
	Name     string `json:"name"`
	Failures uint64 `json:"failures"`
	Most     uint64 `json:"most"`
}

// period is an hour or a day.
type period struct {
	Begin    time.Time `json:"begin"`
	Failures uint64    `json:"failures"`
	Bans     uint64    `json:"bans"`
}

// Command is `bailiff stats`.
func Command() *cli.Command {
	c := cli.New("stats", "", "count who attacks, how and when, in past journal entries").WithJSON()
	in := past.Options(c, sinceDefault)
	conf := settings.Option(c)
	jails := c.List("jail", "only this `JAIL`")
	top := c.Flags.Int("top", 10, "show this `NUMBER` of lines of each list")
	databases := c.List("geoip", "use the GeoIP database (.mmdb), or folder of them, at this `PATH` (default: those in "+strings.Join(geo.Folders, " and ")+")")
	return c.Does(func(e *cli.Env, _ []string) error {
		if *top < 1 || *top > 1000 {
			return cli.Usagef("stats: --top: %d is not a number from 1 to 1000", *top)
		}
		started := time.Now()
		if err := in.Resolve("stats", started); err != nil {
			return err
		}
		conf, err := settings.LoadOnly(*conf, *jails)
		if err != nil {
			return err
		}
		eng, err := past.NewEngine(conf)
		if err != nil {
			return err
		}
		db, err := geo.Open(*databases...)
		if err != nil {
			e.Notef("GeoIP database: %s", text.Clean(strings.ReplaceAll(err.Error(), "\n", "; ")))
			if len(*databases) > 0 {
				db.Close()
				return cli.ErrSilent
			}
		}
		defer db.Close() // what could be opened
		t := newTally(eng, db, *jails)
		if err := t.read(e, in); err != nil {
			return err
		}
		r := t.result(*top)
		r.Seconds = time.Since(started).Seconds()
		if !in.Since.IsZero() {
			r.Since = &in.Since
		}
		if !in.Until.IsZero() {
			r.Until = &in.Until
		}
		if in.Host() {
			r.Stopped = client.StoppedNow(e.Ctx)
		}
		return e.Print(r, func() {
			buffered, flush := e.Buffered()
			r.print(buffered)
			flush()
		})
	})
}
