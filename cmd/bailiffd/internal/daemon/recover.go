package daemon

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"bailiff/firewall"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/allow"
	"bailiff/policy/state"
	"bailiff/units/notify"
)

// jailRecovered is the jail of bans that stood in the firewall's sets but in no audit entry.
const jailRecovered = "recovered"

// own selects our own entries of some kinds: our unit, our user or root, by the fields that journald vouches for.
func own(kinds ...audit.Kind) journal.Matches {
	g := journal.Group{{Field: "_SYSTEMD_UNIT", Value: audit.Unit}, {Field: "_UID", Value: fmt.Sprint(os.Getuid())}, {Field: "_UID", Value: "0"}}
	for _, k := range kinds {
		g = append(g, journal.Match{Field: "MESSAGE_ID", Value: k.ID()})
	}
	return journal.Matches{g}
}

// fieldsOf collects the fields of an entry, the first value of each.
func fieldsOf(e *journal.Entry) func(string) string {
	m := make(map[string]string)
	e.Each(func(field string, value []byte) bool {
		if _, ok := m[field]; !ok {
			m[field] = string(value)
		}
		return true
	})
	return func(f string) string { return m[f] }
}

// announcement names what the audit trail says of a ban, an extension or an observation, so that it is said once.
func announcement(kind audit.Kind, id string, until time.Time) string {
	if kind != audit.KindExtend {
		return id
	}
	return id + " " + fmt.Sprint(until.UnixMicro()) // of one ban there may be several
}

// readAnnounced collects what the audit trail has from a moment (µs) on. After a crash the entries behind the saved position
// are judged again; what was announced then is not announced twice.
func (d *daemon) readAnnounced(ctx context.Context, since uint64) (map[string]bool, error) {
	said := make(map[string]bool)
	j, err := journal.Open(d.source(), journal.Options{Matches: own(audit.KindBan, audit.KindObserved, audit.KindExtend)})
	if err != nil {
		return said, nil // the reader tells of a journal that cannot be opened
	}
	defer j.Close()
	var e extender
	for j.SeekRealtime(since); j.Next(); {
		if err := e.more(ctx, "reading what the audit trail has already"); err != nil {
			return nil, err
		}
		get := fieldsOf(j.Entry())
		kind, _ := audit.KindOf(get("MESSAGE_ID"))
		if ev, err := audit.ParseBan(get); err == nil {
			said[announcement(kind, ev.ID, ev.Until)] = true
		}
	}
	return said, nil
}

// extender asks systemd for more time while the start reads much.
type extender struct {
	n    int
	last time.Time
}

func (e *extender) more(ctx context.Context, what string) error {
	if e.n++; e.n%256 != 0 {
		return nil
	}
	if now := time.Now(); now.Sub(e.last) > 5*time.Second {
		e.last = now
		notify.Extend(time.Minute)
		notify.Status(fmt.Sprintf("%s: %d entries", what, e.n))
	}
	return ctx.Err()
}

// trailReport is what reading the audit trail came to.
type trailReport struct {
	entries int // about bans and allow entries
	changes int // that were taken over
	problem string
}

// replayTrail repeats on the state what our own entries say: all of them where the state is lost. Else those by hand that
// are younger than the state, which could not be saved then; the others follow from reading the journal on.
func (d *daemon) replayTrail(ctx context.Context, saved *savedState, pos journal.Position, now time.Time) (r trailReport, err error) {
	j, err := journal.Open(d.source(), journal.Options{Matches: own(audit.KindBan, audit.KindExtend, audit.KindUnban, audit.KindAllow, audit.KindDisallow)})
	if err != nil {
		return trailReport{problem: "the audit trail cannot be read: " + err.Error()}, nil
	}
	defer j.Close()
	byHand := !saved.lost()
	if j.SeekHead(); byHand {
		from := saved.at
		if !pos.IsZero() && time.UnixMicro(int64(pos.Last().Realtime)).Before(from) { // the file may have been put back
			from = time.UnixMicro(int64(pos.Last().Realtime))
		}
		if from.After(now) { // the clock was set back since
			from = now.Add(-trailOverlap)
		}
		j.SeekRealtime(uint64(max(from.Add(-trailOverlap).UnixMicro(), 0)))
	}
	bad := 0
	var more extender
	for j.Next() {
		if err := more.more(ctx, "rebuilding the state from the audit trail"); err != nil {
			return r, err
		}
		r.entries++
		e := j.Entry()
		changed, err := replayEntry(d.led, fieldsOf(e), e.Realtime, byHand, now.UnixMicro())
		if err != nil {
			bad++
		}
		if changed {
			r.changes++
		}
	}
	for _, err := range j.Problems() {
		if journal.Incomplete(err) {
			r.problem = "the audit trail was not read as a whole: " + journalProblem(err)
		}
	}
	if bad > 0 && r.problem == "" {
		r.problem = fmt.Sprintf("%d entries of the audit trail could not be read", bad)
	}
	return r, nil
}

// trailOverlap is how much older than the state entries are looked at: journald stamps an entry when it takes it.
const trailOverlap = time.Minute

// replayEntry repeats one entry. What the state has already, or has something younger in place of, changes nothing.
func replayEntry(led *state.State, get func(string) string, at uint64, byHand bool, now int64) (changed bool, err error) {
	kind, _ := audit.KindOf(get("MESSAGE_ID"))
	switch kind {
	case audit.KindBan, audit.KindExtend:
		ev, err := audit.ParseBan(get)
		if err != nil || byHand && ev.By == "" {
			return false, err
		}
		b := state.Ban{Prefix: ev.Prefix, Jail: ev.Jail, Since: ev.Since.UnixMicro(), Failures: ev.Failures, Count: ev.Count, Reason: ev.Reason, By: ev.By, Scope: ev.Scope}
		if !ev.Until.IsZero() {
			b.Until = ev.Until.UnixMicro()
		}
		led.Remember(b)
		old, ok := led.Get(b.Prefix, b.Jail)
		if b.Until != 0 && b.Until <= now || byHand && ok && old.Since >= b.Since {
			return false, nil
		}
		led.Add(b)
		return true, nil
	case audit.KindUnban:
		ev, err := audit.ParseUnban(get)
		if err != nil {
			return false, err
		}
		if b, ok := led.Get(ev.Prefix, ev.Jail); ok && (!byHand || b.ID() == ev.ID) {
			changed = led.Remove(ev.Prefix, ev.Jail)
		}
		if ev.By != "" {
			led.Pardon(ev.Prefix, int64(at))
		}
		return changed, nil
	case audit.KindAllow:
		ev, err := audit.ParseAllow(get)
		if err != nil {
			return false, err
		}
		e := allow.Entry{Prefix: ev.Prefix, Origin: allow.OriginRuntime, Comment: ev.Comment, Until: ev.Until}
		changed = !slices.ContainsFunc(led.Allowed(), func(x allow.Entry) bool { return x.Prefix == e.Prefix })
		led.Allow(e)
		return changed, nil
	case audit.KindDisallow:
		ev, err := audit.ParseAllow(get)
		if err != nil {
			return false, err
		}
		return led.Disallow(ev.Prefix), nil
	}
	return false, nil
}

// listLimit is how long the start waits for the firewall's sets where the state is lost.
const listLimit = 10 * time.Second

// recoverSets takes over what stands in the firewall's sets and in no audit entry.
func (d *daemon) recoverSets(ctx context.Context, be firewall.Backend, now time.Time) (found int, err error) {
	c, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	notify.Extend(time.Minute)
	held, err := be.List(c)
	if err != nil {
		return 0, err
	}
	for _, e := range held {
		known := false
		for range d.led.Of(e.Prefix) {
			known = true
		}
		if !known {
			b := state.Ban{Prefix: e.Prefix, Jail: jailRecovered, Since: now.UnixMicro(), Count: 1, Reason: "found in the firewall's set", Scope: d.scopes.text(e.Scope)}
			if !e.Until.IsZero() {
				b.Until = e.Until.UnixMicro()
			}
			d.led.Add(b)
		}
	}
	return len(held), nil
}
