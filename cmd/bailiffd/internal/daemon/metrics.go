package daemon

import (
	"cmp"
	"context"
	"maps"
	"syscall"
	"time"

	"bailiff/firewall"
	"bailiff/policy"
	"bailiff/policy/fleet"
	"bailiff/policy/state"
	"bailiff/units/metrics"
	"bailiff/units/published"
	"bailiff/units/version"
)

// counters are what metrics need beyond what the daemon keeps anyway. They belong to the owner of the state.
type counters struct {
	made          uint64 // bans
	bans, would   map[banCount]uint64
	unbans        map[string]uint64
	patterns      map[patternCount]uint64
	journalErrors uint64
}

type banCount struct{ jail, reason string }

type patternCount struct{ jail, pattern string }

// maxPatterns bounds the series of failures by pattern. The filters of an administrator may have any number of patterns.
const maxPatterns = 500

// manual is the reason of bans and unbans by hand; what was given as their reason is free text.
const manual = "manual"

// reasons are the reasons of bans that the policy makes.
var reasons = []string{state.Failures, state.Slow, state.Account, state.Network}

func (c *counters) ban(b *state.Ban) {
	c.made++
	add(&c.bans, banCount{b.Jail, reasonOf(b.By, b.Reason)}, 1)
}

func (c *counters) observed(b *state.Ban) {
	add(&c.would, banCount{b.Jail, reasonOf(b.By, b.Reason)}, 1)
}

// reasonOf is the reason of a ban as it is counted; by is who ordered it.
func reasonOf(by, reason string) string {
	if by != "" {
		return manual
	}
	return reason
}

func (c *counters) unban(reason string, n int) {
	switch reason {
	case expired:
	case liftedByHand:
		reason = manual
	case jailDisabled:
		reason = "disabled"
	default:
		reason = "allowed"
	}
	add(&c.unbans, reason, n)
}

func (c *counters) patternFailures(fs []policy.Failure) {
	for i := range fs {
		k := patternCount{fs[i].Jail, fs[i].Pattern}
		if _, ok := c.patterns[k]; !ok && len(c.patterns) >= maxPatterns {
			k.pattern = "other"
		}
		add(&c.patterns, k, fs[i].Attempts)
	}
}

func add[K comparable](m *map[K]uint64, k K, n int) {
	if *m == nil {
		*m = make(map[K]uint64)
	}
	(*m)[k] += uint64(n)
}

// newLatency makes the histogram of the time that a ban takes. Usual are a few milliseconds, with firewalld some more; a firewall that
// fails is tried again after 10 s.
func newLatency() *metrics.Durations {
	return metrics.NewDurations(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
}

// problemKinds are always written, so that a series exists before it is of interest.
var problemKinds = []string{"firewall", "configuration", "state file", "journal", "journal files", "rate limit", "audit trail", "allow lists", "block lists"}

// Metrics returns metrics for Prometheus. It costs the owner of the state one pass over its bans.
func (a *controlAPI) Metrics(ctx context.Context) (*metrics.Set, error) {
	s := &metrics.Set{}
	var backend firewall.Backend
	var unable string
	err := a.do(ctx, func() {
		backend, unable = a.d.firewall.backend, a.d.noBlockLists()
		a.d.measure(s, time.Now())
	})
	if err != nil {
		return nil, err
	}
	s.Add(metrics.Memory, float64(rssAnon()))
	s.Add(metrics.CPU, cpuTime().Seconds())
	for _, x := range stopped(ctx, backend) {
		s.Add(metrics.DroppedPackets, float64(x.Packets), x.Set)
		s.Add(metrics.DroppedBytes, float64(x.Bytes), x.Set)
	}
	for _, l := range a.d.blocks.describe(ctx, unable).Lists {
		s.Add(metrics.BlockListEntries, float64(l.Entries), l.Name)
		good := time.Time{}
		if l.Good != nil {
			good = *l.Good
		}
		s.AddTime(metrics.BlockListTime, good, l.Name)
		if l.Packets != nil {
			s.Add(metrics.BlockListPackets, float64(*l.Packets), l.Name, l.Mode)
			s.Add(metrics.BlockListBytes, float64(*l.Bytes), l.Name, l.Mode)
		}
	}
	return s, nil
}

func (d *daemon) measure(s *metrics.Set, now time.Time) {
	s.Add(metrics.Up, 1)
	s.Add(metrics.BuildInfo, 1, version.String())
	s.AddTime(metrics.StartTime, d.started)
	d.measureBans(s)

	s.Add(metrics.AllowedFailures, float64(d.eng.Allowed))
	s.Add(metrics.Doubled, float64(d.eng.Doubled))
	tracked, limit, widened := d.eng.Tracked()
	s.Add(metrics.Tracked, float64(tracked))
	s.Add(metrics.TrackedLimit, float64(limit))
	s.Add(metrics.Widened, float64(widened))

	j := &d.journal.status
	s.Add(metrics.JournalEntries, float64(j.Entries))
	s.Add(metrics.JournalLag, j.Lag)
	s.Add(metrics.JournalSuppressed, float64(j.Dropped))
	s.Add(metrics.JournalErrors, float64(d.counts.journalErrors))
	s.Add(metrics.JournalFiles, float64(j.Files))
	s.Add(metrics.JournalFaulty, float64(len(j.Problems)))

	f := &d.firewall
	s.Add(metrics.FirewallInfo, 1, f.status.Backend)
	s.AddBool(metrics.FirewallOK, f.status.OK)
	s.Add(metrics.FirewallMissing, float64(f.worker.missing.Load()))
	s.Add(metrics.FirewallRepairs, float64(f.status.Repaired))
	s.Add(metrics.FirewallErrors, float64(f.worker.errors.Load()))
	s.AddHistogram(metrics.Latency, f.worker.latency)

	d.updateProblems(now)
	kinds := make(map[string]int)
	for _, k := range problemKinds {
		kinds[k] = 0
	}
	for _, p := range d.problems.now(now) {
		kinds[p.Source]++
	}
	for k, n := range kinds {
		s.Add(metrics.Problems, float64(n), k)
	}
	s.AddBool(metrics.ConfigOK, d.configErr == "")
	s.AddTime(metrics.ConfigTime, cmp.Or(d.reloaded, d.started))
	lists := make(map[string]published.List)
	for _, l := range d.lists.Status(d.conf.Allow.Lists) {
		lists[l.Name] = l
	}
	for i := range d.conf.Allow.Lists {
		name := d.conf.Allow.Lists[i].Name
		s.AddTime(metrics.ListTime, lists[name].Good, name)
		s.Add(metrics.ListEntries, float64(lists[name].Entries), name)
	}
	if d.others.bans != nil {
		measureFleet(s, d.others.bans.Hosts())
		if d.conf.Fleet.Together.On() {
			t := d.others.bans.Together()
			s.Add(metrics.FleetTogether, float64(t.Bans))
			s.Add(metrics.FleetPrevented, float64(t.Prevented))
		}
	}
	st := d.aud.Stats()
	s.Add(metrics.AuditWaiting, float64(st.Waiting))
	s.Add(metrics.AuditLost, float64(st.Lost))
}

// maxPeers is how many other hosts have series of their own. No host's name holds a parenthesis.
const (
	maxPeers   = 500
	otherPeers = "(other)"
)

func measureFleet(s *metrics.Set, hosts []fleet.HostStatus) {
	rest := fleet.HostStatus{Name: otherPeers}
	var refusedRest uint64
	add := func(h *fleet.HostStatus, refused uint64) {
		s.Add(metrics.FleetBans, float64(h.Bans), h.Name)
		s.AddTime(metrics.FleetTime, timeOf(h.Latest), h.Name)
		s.Add(metrics.FleetRefused, float64(refused), h.Name)
	}
	for i := range hosts {
		h, refused := &hosts[i], uint64(0)
		for _, n := range h.Refused {
			refused += n
		}
		if i < maxPeers {
			add(h, refused)
			continue
		}
		rest.Bans += h.Bans
		rest.Latest = max(rest.Latest, h.Latest)
		refusedRest += refused
	}
	if len(hosts) > maxPeers {
		add(&rest, refusedRest)
	}
}

// measureBans adds what is counted by jail. Each enabled jail has all series from the start: a counter that appears with its first
// event has never increased, as Prometheus sees it.
func (d *daemon) measureBans(s *metrics.Set) {
	bans := d.state.Counts()
	made, would := make(map[banCount]uint64), make(map[banCount]uint64)
	made[banCount{jailManual, manual}] = 0
	for _, j := range d.eng.Jails() {
		if _, ok := bans[j.Name]; !ok {
			bans[j.Name] = state.Count{}
		}
		by := made
		if j.Observe {
			by = would
		}
		for _, r := range reasons {
			by[banCount{j.Name, r}] = 0
		}
		s.Add(metrics.Failures, float64(j.Failures), j.Name)
		s.Add(metrics.Unmatched, float64(j.Unmatched), j.Name)
		s.Add(metrics.Refused, float64(j.Refused.Entries), j.Name)
	}
	for jail, n := range bans {
		s.Add(metrics.ActiveBans, float64(n.IPv4), jail, "ipv4")
		s.Add(metrics.ActiveBans, float64(n.IPv6), jail, "ipv6")
	}
	maps.Copy(made, d.counts.bans)
	for k, n := range made {
		s.Add(metrics.Bans, float64(n), k.jail, k.reason)
	}
	maps.Copy(would, d.counts.would)
	for k, n := range would {
		s.Add(metrics.ObservedBans, float64(n), k.jail, k.reason)
	}
	for k, n := range d.counts.patterns {
		s.Add(metrics.PatternFailures, float64(n), k.jail, k.pattern)
	}
	for _, r := range []string{expired, manual, "allowed", "disabled"} {
		s.Add(metrics.Unbans, float64(d.counts.unbans[r]), r)
	}
}

// cpuTime is the processor time of this process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
