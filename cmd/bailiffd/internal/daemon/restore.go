package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bailiff/firewall"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy"
	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/fleet"
	"bailiff/policy/state"
	"bailiff/units/notify"
)

const (
	// jailRecovered is the jail of bans that were found in the firewall's sets but in no audit entry.
	jailRecovered = "recovered"

	// listLimit bounds how long the start waits for the firewall's sets if the state is lost.
	listLimit = 10 * time.Second

	// trailOverlap is how far before the state's time audit entries are read, since journald stamps an entry when it receives it.
	trailOverlap = time.Minute
)

// restore loads the state, opens the firewall and returns where to continue reading the journal. A lost state is rebuilt from the
// audit trail and from the firewall's sets.
func (d *daemon) restore(ctx context.Context) (be firewall.Backend, start position, err error) {
	saved, err := loadState(d.opt.state)
	if err != nil {
		return nil, start, err
	}
	now := time.Now()
	d.state = saved.state
	if jump := d.clock.start(now, sinceBoot(), saved.at); jump > 0 {
		d.reportJump(jump)
	}
	if err := d.others.load(d.opt.state, d.conf.Fleet, d.clock.over(now)); err != nil {
		d.problems.happened(audit.KindError, "bans of other hosts", err.Error()+": they send them again")
	}
	pos, lost := d.savedPosition(now)
	if pos.IsZero() {
		d.state.TakeCounts() // what was counted belongs to the lost position and would be counted again
	}
	d.steps.start(journal.CurrentBoot(), pos.Last(), sinceBoot()-monotonic())
	trail, err := d.replayTrail(ctx, &saved, pos, now)
	if err != nil {
		return nil, start, err
	}
	if be, err = d.firewall.open(d.conf, d.state); err != nil {
		return nil, start, err
	}
	defer func() {
		if err != nil {
			be.Close()
		}
	}()
	inSets, listErr := 0, error(nil)
	if saved.lost() {
		inSets, listErr = d.recoverSets(ctx, be, now)
	}
	if d.eng, err = policy.New(d.conf, d.state); err != nil {
		return nil, start, err
	}
	if err := d.eng.RestoreError(); err != nil {
		d.problems.happened(audit.KindJournalProblem, "state", fmt.Sprintf("%v: only entries of the last %s count", err, d.eng.Window()))
	}
	d.saveRestored(&saved, &trail, inSets, listErr, now)
	if lost != "" {
		d.problems.happened(audit.KindJournalProblem, "journal position", fmt.Sprintf("%s: reading the last %s of the journal again", lost, d.eng.Window()))
	}
	start = d.startPosition(&saved, pos, lost, now)
	d.announced, err = d.readAnnounced(ctx, start)
	return be, start, err
}

// savedPosition is how far the journal was read when the state was saved. lost says why the position cannot be used. A position in the
// future is used if its entry is in the journal: then the clock was set back.
func (d *daemon) savedPosition(now time.Time) (p journal.Position, lost string) {
	if d.state.Cursor() == "" {
		return p, ""
	}
	p, err := journal.ParsePosition(d.state.Cursor())
	if err != nil {
		return p, fmt.Sprintf("the state file's cursor %q: %v", d.state.Cursor(), err)
	}
	if ahead := time.UnixMicro(int64(p.Last().Realtime)).Sub(now); ahead > time.Minute && !d.inJournal(p.Last()) {
		return journal.Position{}, fmt.Sprintf("the state file's cursor is %s in the future (the clock was set back, or the machine restored)", ahead.Round(time.Second))
	}
	return p, ""
}

// inJournal reports whether an entry is in the journal.
func (d *daemon) inJournal(c journal.Cursor) bool {
	j, err := journal.Open(d.source, journal.Options{})
	if err != nil {
		return false // the reader reports a journal that cannot be opened
	}
	defer j.Close()
	_, ok := j.At(c)
	return ok
}

// startPosition is where reading begins.
func (d *daemon) startPosition(saved *savedState, pos journal.Position, lost string, now time.Time) position {
	window := uint64(d.eng.Window().Microseconds())
	if !pos.IsZero() {
		d.journal.pos = pos
		at := pos.Last().Realtime
		return position{pos: pos, rebuild: at - min(window, at)}
	}
	since := now
	if !saved.lost() && lost == "" && saved.at.Before(now) {
		since = saved.at // of the first start: until a position is saved, each start continues from there
	}
	return position{since: uint64(since.UnixMicro()) - window}
}

// saveRestored reports what was rebuilt, and saves it before anything else happens.
func (d *daemon) saveRestored(saved *savedState, trail *trailReport, inSets int, listErr error, now time.Time) {
	first := saved.missing && trail.entries == 0 && inSets == 0 && trail.problem == ""
	rebuilt := fmt.Sprintf("rebuilt %s from the audit trail and the firewall's sets", diag.Count(d.state.Len(), "ban"))
	if listErr != nil && !first {
		rebuilt += fmt.Sprintf(" (the firewall's sets cannot be listed: %v)", listErr)
	}
	if trail.problem != "" {
		d.problems.happened(audit.KindJournalProblem, "audit trail", trail.problem)
		rebuilt += "; only a part of the audit trail could be read"
	}
	switch {
	case saved.missing:
		d.saver.err = saveState(d.opt.state, d.saver.snapshot())
		if !first {
			d.problems.happened(audit.KindStateSetAside, "state", fmt.Sprintf("%s was missing; %s", filepath.Join(d.opt.state, stateName), rebuilt))
		}
	case saved.damaged != nil:
		var aside string
		if aside, d.saver.err = replaceDamaged(d.opt.state, d.saver.snapshot(), now); d.saver.err == nil {
			d.problems.happened(audit.KindStateSetAside, "state", fmt.Sprintf("the state file was damaged (%v) and is kept as %s; %s", saved.damaged, aside, rebuilt))
		} else {
			d.problems.happened(audit.KindStateSetAside, "state", fmt.Sprintf("the state file is damaged (%v); %s", saved.damaged, rebuilt))
		}
	case trail.changes > 0:
		d.saver.dirtyBans = true
		d.aud.Log(audit.Notice, fmt.Sprintf("took %s made by hand since the state was last saved from the audit trail", diag.Count(trail.changes, "change")))
	}
	if d.saver.err != nil {
		d.saver.dirtyBans = true
		d.saver.failed(d.saver.err)
	}
}

// auditMatches selects our own entries of some kinds: of our unit and of our user or root, as journald reports them.
func auditMatches(kinds ...audit.Kind) journal.Matches {
	return journal.Matches{audit.Matches(audit.Unit, []uint32{uint32(os.Getuid()), 0}, kinds...)}
}

// announcement identifies the audit entry about a ban, an extension or an observation, so that none is written twice.
func announcement(kind audit.Kind, id string, until time.Time) string {
	if kind != audit.KindExtend {
		return id
	}
	return id + " " + fmt.Sprint(until.UnixMicro()) // a ban may be extended several times
}

// readAnnounced collects the announcements in the audit trail after the position where reading begins. After a crash, entries after the
// saved position are judged again, and their bans must not be announced twice. Their announcements also come after that position, whatever
// the clock said: saving waits until earlier announcements are in the journal.
func (d *daemon) readAnnounced(ctx context.Context, start position) (map[string]bool, error) {
	announced := make(map[string]bool)
	j, err := journal.Open(d.source, journal.Options{Matches: auditMatches(audit.KindBan, audit.KindObserved, audit.KindExtend)})
	if err != nil {
		return announced, nil // the reader reports a journal that cannot be opened
	}
	defer j.Close()
	if start.pos.IsZero() {
		j.SeekRealtime(start.since - min(rebuildBeyond, start.since))
	} else {
		j.SeekPosition(start.pos)
	}
	var t startTimer
	for j.Next() {
		if err := t.extend(ctx, "reading the audit trail"); err != nil {
			return nil, err
		}
		get := audit.ValuesOf(j.Entry()).Get
		kind, _ := audit.KindOf(get("MESSAGE_ID"))
		if ev, err := audit.ParseBan(get); err == nil {
			announced[announcement(kind, ev.ID, ev.Until)] = true
		}
	}
	return announced, nil
}

// startTimer asks systemd for more time while the start, or a reload, reads many entries.
type startTimer struct {
	entries int
	last    time.Time
}

// extend counts an entry. It fails if the daemon is to stop.
func (t *startTimer) extend(ctx context.Context, what string) error {
	if t.entries++; t.entries%256 != 0 {
		return nil
	}
	if now := time.Now(); now.Sub(t.last) > 5*time.Second {
		t.last = now
		notify.Extend(time.Minute)
		notify.Ping() // in a reload
		notify.Status(fmt.Sprintf("%s: %d entries", what, t.entries))
	}
	return ctx.Err()
}

// trailReport is the result of reading the audit trail.
type trailReport struct {
	entries int // about bans and allow entries
	changes int // to the state
	problem string
}

// replayTrail applies audit entries to the state: all of them if the state is lost, otherwise only those about operators' commands that are
// newer than the state, which could not be saved. Automatic bans follow when the journal is read further.
func (d *daemon) replayTrail(ctx context.Context, saved *savedState, pos journal.Position, now time.Time) (r trailReport, err error) {
	j, err := journal.Open(d.source, journal.Options{Matches: auditMatches(audit.KindBan, audit.KindExtend, audit.KindUnban, audit.KindAllow, audit.KindDisallow)})
	if err != nil {
		return trailReport{problem: "the audit trail cannot be read: " + err.Error()}, nil
	}
	defer j.Close()
	byHand := !saved.lost()
	if j.SeekHead(); byHand {
		from := saved.at
		if !pos.IsZero() && time.UnixMicro(int64(pos.Last().Realtime)).Before(from) { // the file may come from a backup
			from = time.UnixMicro(int64(pos.Last().Realtime))
		}
		switch {
		case !from.After(now):
			j.SeekRealtime(uint64(max(from.Add(-trailOverlap).UnixMicro(), 0)))
		case !pos.IsZero(): // the clock was set back
			j.SeekPosition(pos)
		default:
			j.SeekRealtime(uint64(max(now.Add(-2*trailOverlap).UnixMicro(), 0)))
		}
	}
	bad := 0
	var t startTimer
	for j.Next() {
		if err := t.extend(ctx, "rebuilding the state from the audit trail"); err != nil {
			return r, err
		}
		r.entries++
		e := j.Entry()
		changed, err := replayEntry(d.state, audit.ValuesOf(e).Get, d.steps.timeOf(&e.Cursor).UnixMicro(), byHand, d.clock.over(now).UnixMicro())
		if err != nil {
			bad++
		}
		if changed {
			r.changes++
		}
	}
	for _, err := range j.Problems() {
		if journal.Incomplete(err) {
			r.problem = "only a part of the audit trail was read: " + journalProblem(err)
		}
	}
	if bad > 0 && r.problem == "" {
		r.problem = fmt.Sprintf("the audit trail has %d entries that cannot be read", bad)
	}
	return r, nil
}

// replayEntry applies one audit entry. It changes nothing that the state already has in this version or a newer one.
func replayEntry(led *state.State, get func(string) string, at int64, byHand bool, now int64) (changed bool, err error) {
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
			led.Pardon(ev.Prefix, at)
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

// recoverSets takes over the bans that are in the firewall's sets but in no audit entry. It returns how many elements the sets hold.
//
// firewalld's elements have no end and stay while the daemon is down: one that an audit entry is about is not in force any more, and others
// get the duration of a first ban.
func (d *daemon) recoverSets(ctx context.Context, be firewall.Backend, now time.Time) (found int, err error) {
	c, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	notify.Extend(time.Minute)
	held, err := be.List(c)
	if err != nil {
		return 0, err
	}
	for _, e := range held {
		known := e.Scope == fleet.Scope || isCarried(e.Scope)
		for range d.state.Of(e.Prefix) {
			known = true
		}
		if be.Name() == "firewalld" && e.Until.IsZero() {
			known = known || slices.ContainsFunc(d.state.HistoryOf(e.Prefix), func(h state.History) bool { return h.Prefix == e.Prefix })
			if long := d.conf.Defaults.BanTime; long != config.Forever {
				e.Until = now.Add(long)
			}
		}
		if !known {
			b := state.Ban{Prefix: e.Prefix, Jail: jailRecovered, Since: now.UnixMicro(), Count: 1, Reason: "found in the firewall's set", Scope: d.firewall.scopes.text(e.Scope)}
			if !e.Until.IsZero() {
				b.Until = e.Until.UnixMicro()
			}
			d.state.Add(b)
		}
	}
	return len(held), nil
}
