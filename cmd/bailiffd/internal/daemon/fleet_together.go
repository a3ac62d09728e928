package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"bailiff/journal/audit"
	"bailiff/policy"
	"bailiff/policy/diag"
	"bailiff/policy/fleet"
	"bailiff/policy/prefix"
	"bailiff/units/control"
)

// This file counts failures together with other hosts (policy/fleet, together.go). Failures that count here and are not excused go into a
// tally; bailiff-fleet fetches it every few seconds and delivers those of other hosts.

// tallied adds the failures of an outcome to the tally of this host.
func (d *daemon) tallied(out *policy.Outcome, now time.Time) {
	t := &d.conf.Fleet.Together
	if !t.On() {
		return
	}
	name := d.others.bans.Roster().Fleet
	for i := range out.Failures {
		f := &out.Failures[i]
		// Someone who fails on an account in use here may be its owner, on any host and with any password.
		if f.Excused || f.Known || now.UnixMicro()-f.Time >= t.Within.Microseconds() {
			continue
		}
		if j, ok := d.eng.Jail(f.Jail); !ok || j.Observe {
			continue
		}
		d.others.tally.Add(f.Addr, f.Jail, f.Attempts, fleet.SeenFailure{At: f.Time, Account: fleet.AccountCode(name, f.User)})
	}
	for i := range out.Logins {
		if l := &out.Logins[i]; !l.Delivery {
			d.vouch(fleet.SummaryPrefix(l.Addr), now)
		}
	}
}

// vouch tells other hosts that a prefix is known here as good, if its failures are counted.
func (d *daemon) vouch(k prefix.Key, now time.Time) {
	if d.others.bans.Watched(k) {
		d.others.tally.Good(k, now.UnixMicro(), d.conf.Fleet.Together.Within)
	}
}

// CountFleet takes the summaries of other hosts and returns the one of this host, unless another call follows at once.
func (a *controlAPI) CountFleet(ctx context.Context, req control.FleetSummaries) (*control.FleetSummariesTaken, error) {
	r := &control.FleetSummariesTaken{Refused: map[string]int{}}
	parsed := make([]*fleet.Summary, len(req.Summaries))
	for i := range req.Summaries {
		var err error
		if parsed[i], err = fleet.ParseSummary(req.Summaries[i].Payload); err != nil {
			r.Refused[err.Error()]++
		}
	}
	return ask(ctx, a, func(d *daemon) *control.FleetSummariesTaken {
		now, t := time.Now(), &d.conf.Fleet.Together
		if r.On = t.On(); !r.On {
			return r
		}
		for i, s := range parsed {
			if s != nil {
				if err := d.counted(req.Summaries[i].Host, s, now); err != nil {
					r.Refused[err.Error()]++
				}
			}
		}
		if req.More {
			return r
		}
		own := d.others.tally.Take(now.UnixMicro(), t.Within, func(k prefix.Key) bool {
			good := d.eng.Good(k, now.UnixMicro())
			return good || d.eng.State().Holds(k.Addr(), now.UnixMicro(), func(string, string) bool { return true })
		})
		if own != nil {
			r.Summary = own.Encode()
			_ = d.counted(req.Host, own, now) // not among fleet.hosts: it counts for others only
		}
		return r
	})
}

// counted counts a summary, and vouches for prefixes known here as good.
func (d *daemon) counted(host string, s *fleet.Summary, now time.Time) error {
	changes, err := d.others.bans.Count(host, s, now.UnixMicro())
	if err != nil {
		return err
	}
	d.others.joint = d.others.joint || len(changes) > 0
	d.firewall.fleetChanged(changes...)
	for i := range s.Seen {
		if k := s.Seen[i].Prefix; d.eng.Good(k, now.UnixMicro()) {
			d.vouch(k, now)
		}
	}
	d.memory.noteAlloc()
	return nil
}

// decideTogether bans prefixes that failed often enough on enough hosts.
func (d *daemon) decideTogether(now time.Time) {
	var changes []fleet.Change
	for _, x := range d.others.bans.Decide(now.UnixMicro()) {
		what := fmt.Sprintf("%d failures of %s on %s together: %s", x.Failures, audit.Address(x.Prefix), diag.Count(len(x.Hosts), "host"), strings.Join(x.Hosts[:min(len(x.Hosts), 20)], ", "))
		switch {
		case x.Allowed || len(x.Good) > 0 && d.eng.Allow().Overlaps(x.Prefix, now.UnixMicro()):
			d.problems.happened(audit.KindError, "fleet", what+"; not banned here: "+allowedBy(d.eng.Allow(), x.Prefix, now))
		case len(x.Good) > 0:
			d.aud.Log(audit.Info, what+"; not banned: known as good by "+strings.Join(x.Good[:min(len(x.Good), 20)], ", "))
		case x.Differs:
			d.others.joint = true
			changes = append(changes, x.Change)
			d.aud.Log(audit.Notice, "banned for what the fleet counted: "+what)
		}
	}
	d.firewall.fleetChanged(changes...)
}

// pardonTogether ends a ban for failures counted together, on this host at once and on others with the next summary.
func (d *daemon) pardonTogether(p netip.Prefix, now time.Time) (lifted bool) {
	if !d.conf.Fleet.Together.On() || !p.IsSingleIP() && p.Bits() != 64 {
		return false
	}
	k := fleet.SummaryPrefix(p.Addr())
	d.vouch(k, now)
	c, lifted := d.others.bans.Pardon(k, now.UnixMicro())
	if lifted {
		d.others.joint = true
		d.firewall.fleetChanged(c)
	}
	return lifted
}

// togetherStatus is nil if nothing is counted together.
func (d *daemon) togetherStatus() *control.FleetTogether {
	t := &d.conf.Fleet.Together
	if !t.On() {
		return nil
	}
	s := d.others.bans.Together()
	r := &control.FleetTogether{Hosts: t.Hosts, Failures: t.Failures, Watched: s.Watched, Good: s.Good, Bans: s.Bans, Prevented: s.Prevented, Refused: s.Refused + d.others.tally.Dropped, Latest: []control.FleetJoint{}}
	for _, x := range d.others.bans.NewestJoint(control.MaxFleetJoint) {
		r.Latest = append(r.Latest, control.FleetJoint{Prefix: x.Prefix.String(), Since: time.UnixMicro(x.Since), Until: time.UnixMicro(x.Until), Failures: x.Failures, Hosts: x.Hosts, Groups: x.Groups})
	}
	return r
}

// togetherWhy is what is counted together for an address; nil if nothing is.
func (d *daemon) togetherWhy(p netip.Prefix, now int64) *control.FleetCounted {
	if !d.conf.Fleet.Together.On() || !p.IsSingleIP() && p.Bits() != 64 {
		return nil
	}
	k := fleet.SummaryPrefix(p.Addr())
	c, ok := d.others.bans.Counted(k.Prefix(), now)
	if !ok {
		return nil
	}
	return &control.FleetCounted{
		Prefix: c.Prefix.String(), Hosts: c.Hosts, HostsAll: c.HostsAll, Failures: c.Failures, Accounts: c.Accounts, Good: c.Good,
		Banned: d.others.bans.Effect(c.Prefix, now).Banned,
	}
}
