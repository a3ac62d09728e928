package top

import (
	"slices"
	"time"

	"bailiff/units/control"
)

// Bounds of what the view keeps.
const (
	window     = 60 // seconds: what "now" is
	maxAttacks = 2048
	maxBans    = 64
)

// view is the state of what is shown.
type view struct {
	s        control.Status
	began    time.Time
	away     error // the daemon does not answer
	attacks  map[attackKey]*attack
	jails    map[string]*rate
	failures rate
	bans     rate
	recent   []control.Event // bans, the newest first
	missed   uint64
	crowd    bool // more addresses attack than are kept
}

type attackKey struct{ jail, prefix string }

type attack struct {
	rate       rate
	last       time.Time
	count, max int
	banned     bool
}

func newView(s *control.Status, now time.Time) *view {
	v := &view{began: now, attacks: make(map[attackKey]*attack), jails: make(map[string]*rate)}
	v.status(s)
	return v
}

// status takes the daemon's own numbers, which count from its start.
func (v *view) status(s *control.Status) {
	v.s = *s
	v.s.Jails = slices.Clone(s.Jails)
}

// second returns the number of seconds since the view began, which setting the clock does not change.
func (v *view) second(now time.Time) int64 { return int64(now.Sub(v.began) / time.Second) }

// take notes an event, and reports whether the daemon's numbers should be asked for again.
func (v *view) take(x *message, now time.Time) (ask bool) {
	sec := v.second(now)
	if x.event == nil {
		v.away = x.lost
		return false
	}
	e := x.event
	jail := func() *control.JailStatus {
		for i := range v.s.Jails {
			if v.s.Jails[i].Name == e.Jail {
				return &v.s.Jails[i]
			}
		}
		return &control.JailStatus{} // one that came with a reload: its numbers will be asked for
	}
	switch e.Kind {
	case "status":
		v.away = nil
		v.status(e.Status)
	case "failure":
		n := max(1, e.Attempts)
		v.failures.add(sec, n)
		v.rateOf(e.Jail).add(sec, n)
		j := jail()
		j.Failures++
		at := e.Time
		j.Last = &at
		k := attackKey{e.Jail, e.Prefix}
		a := v.attacks[k]
		if a == nil {
			if len(v.attacks) >= maxAttacks {
				v.forget(sec)
			}
			if v.crowd = len(v.attacks) >= maxAttacks; v.crowd {
				return false
			}
			a = &attack{}
			v.attacks[k] = a
		}
		a.rate.add(sec, n)
		a.last, a.count, a.max, a.banned = now, e.Count, e.MaxRetry, false
	case "ban", "extend":
		v.bans.add(sec, 1)
		if e.Kind == "ban" {
			v.s.Bans++
			v.s.BansTotal++
			jail().Bans++
		}
		v.recent = slices.Insert(v.recent, 0, *e)
		v.recent = v.recent[:min(len(v.recent), maxBans)]
		if a := v.attacks[attackKey{e.Jail, e.Prefix}]; a != nil {
			a.banned = true
		}
	case "unban":
		v.s.Bans = max(0, v.s.Bans-1)
		j := jail()
		j.Bans = max(0, j.Bans-1)
		v.recent = slices.DeleteFunc(v.recent, func(b control.Event) bool { return b.ID == e.ID && b.Jail == e.Jail })
	case "missed":
		v.missed += e.Missed
		v.failures.add(sec, int(min(e.Missed, 1<<20)))
		return true
	case "state":
		return true
	}
	return false
}

func (v *view) rateOf(jail string) *rate {
	r := v.jails[jail]
	if r == nil {
		r = &rate{}
		v.jails[jail] = r
	}
	return r
}

// forget drops attacks that are over.
func (v *view) forget(sec int64) {
	for k, a := range v.attacks {
		if sec-v.second(a.last) >= window {
			delete(v.attacks, k)
		}
	}
}

// pause is how long the view may stay as it is: a second while something goes on, longer when it is quiet.
func (v *view) pause(now time.Time) time.Duration {
	if sec := v.second(now); v.failures.in(sec, window) > 0 || v.bans.in(sec, window) > 0 || v.away != nil {
		return time.Second
	}
	return 15 * time.Second
}
