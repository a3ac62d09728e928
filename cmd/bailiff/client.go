package main

import (
	"flag"
	"fmt"
	"time"

	"bailiff/units/control"
)

// daemonFlags are the options of every command that asks the daemon.
func daemonFlags(f *flag.FlagSet) (socket *string, asJSON *bool) {
	return f.String("socket", control.DefaultPath, "`path` of the daemon's control socket"), f.Bool("json", false, "print JSON")
}

// until writes the end of something for people.
func until(t *time.Time) string {
	if t == nil {
		return "for ever"
	}
	return fmt.Sprintf("until %s (%s left)", stamp(*t), short(time.Until(*t)))
}

// short writes a duration with its two largest units.
func short(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	switch d = d.Round(time.Second); {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// bansOf asks for all pages.
func bansOf(e *env, c *control.Client, q control.BanQuery) ([]control.Ban, error) {
	var all []control.Ban
	for {
		l, err := c.Bans(e.ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, l.Bans...)
		if l.Next == "" {
			return all, nil
		}
		q.After = l.Next
	}
}
