package daemon

import (
	"time"

	"bailiff/journal/audit"
	"bailiff/policy"
	"bailiff/policy/state"
)

// entries judges a batch of journal entries.
func (d *daemon) entries(b *batch) {
	now := time.Now()
	if len(b.entries) > 0 {
		d.memory.noteAlloc()
		d.journal.sources = b.sources // a batch without entries has none
	}
	over := d.checkClock(now)
	d.steps.sleep(sinceBoot() - monotonic())
	d.eng.Reread(b.rebuild)
	var adds []change
	for i := range b.entries {
		if step := d.steps.entry(&b.cursors[i]); step != 0 {
			d.eng.ClockSet(step)
		}
		if d.operatorEntry(&b.entries[i], b.rebuild) {
			if len(adds) > 0 { // first, so that a ban lifted by refreshAllow is not put in place afterwards
				d.firewall.worker.put(adds)
				adds = nil
			}
			d.refreshAllow(now)
		}
		out := d.eng.Entry(&b.entries[i], b.refs[i])
		if out.Hits > 0 {
			d.saver.dirtyCursor = true
		}
		if len(out.Failures) > 0 && !b.rebuild {
			if d.conf.Metrics.Patterns {
				d.counts.patternFailures(out.Failures)
			}
			if d.hub.watched() {
				d.hub.failures(out.Failures, now, func(jail string) int { j, _ := d.eng.Jail(jail); return j.MaxRetry })
			}
		}
		if !b.rebuild {
			d.tallied(out, now)
		}
		adds = d.decided(adds, out.Bans, over)
	}
	if len(adds) > 0 {
		d.firewall.worker.put(adds)
	}
	if d.journal.advance(b, now) {
		d.saver.dirtyCursor = true
	}
	d.journalNews(b, now)
	d.memory.processors(b.behind, !d.journal.caughtUp)
	if d.journal.readAll && !d.journal.caughtUp {
		d.caughtUp(now)
	}
}

// caughtUp is called when all entries from before the start have been judged.
func (d *daemon) caughtUp(now time.Time) {
	d.journal.caughtUp, d.saver.dirtyCursor = true, true
	d.announced = nil
	if d.ops != nil {
		d.ops.Expire(d.journal.judgedUpTo(d.entryTime(now)))
		d.refreshAllow(now) // operators who are logged in now lift every ban of their addresses
	}
	d.saver.saveIfDue(now) // so that a daemon that is killed again and again makes progress
	d.firewall.reconcile()
	d.updateStatus()
}

// decided announces bans and appends to adds what the firewall should hold for them. over is the time by which bans end, from
// checkClock: a ban that is over already was missed while the daemon was down.
func (d *daemon) decided(adds []change, bans []policy.Ban, over time.Time) []change {
	for i := range bans {
		b := &bans[i]
		d.saver.dirtyBans = true
		if b.Until != 0 && b.Until <= over.UnixMicro() {
			if !b.Observed {
				d.eng.ExpireBan(b.Ban)
			}
			continue
		}
		kind, entry := audit.KindBan, int64(0)
		switch {
		case b.Observed:
			kind = audit.KindObserved
			d.counts.observed(&b.Ban)
		case b.Extended:
			kind = audit.KindExtend
		default:
			d.counts.ban(&b.Ban)
			if d.journal.caughtUp {
				entry = b.Since
			}
		}
		if len(d.announced) == 0 || !d.announced[announcement(kind, b.ID(), timeOf(b.Until))] {
			ev := banEvent(&b.Ban, d.firewall.status.Backend)
			ev.Wide, ev.Addresses = b.Wide, append(b.Addresses(), b.Addr)
			ev.Unreported = b.Extended // one attack, one report
			if len(b.Evidence) > 0 {
				ev.First = time.UnixMicro(b.Evidence[0].At)
			}
			d.record(auditRecord{kind: kind, ban: ev, evidence: d.journal.evidence(b.Evidence)})
		}
		if !b.Observed {
			adds = d.firewall.additions(adds, &b.Ban, entry)
		}
	}
	return adds
}

// Reasons of unbans in the audit trail. For an allowed address the reason names the allow entry.
const (
	expired      = "expired"
	liftedByHand = "lifted by hand"
	jailDisabled = "the jail is no longer enabled"
)

// released removes bans from the firewall that are no longer part of the state, and announces that.
func (d *daemon) released(bans []state.Ban, reason, by string) {
	for i := range bans {
		b := &bans[i]
		d.firewall.release(b)
		d.record(auditRecord{kind: audit.KindUnban, unban: &audit.UnbanEvent{
			Prefix: b.Prefix, Jail: b.Jail, ID: b.ID(), Since: time.UnixMicro(b.Since), Until: timeOf(b.Until), Reason: reason, By: by,
		}})
		d.saver.dirtyBans = true
	}
	d.counts.unban(reason, len(bans))
}

// record writes to the audit trail and to clients that follow events.
func (d *daemon) record(r auditRecord) {
	d.hub.record(&r)
	d.audit.put(r)
}

// banEvent is a ban of the state as the audit trail records it.
func banEvent(b *state.Ban, backend string) *audit.BanEvent {
	return &audit.BanEvent{
		Prefix: b.Prefix, Jail: b.Jail, ID: b.ID(), Since: time.UnixMicro(b.Since), Until: timeOf(b.Until),
		Failures: b.Failures, Count: b.Count, Scope: b.Scope, Backend: backend, Reason: b.Reason, By: b.By,
	}
}

// timeOf turns µs since 1970 into a time; 0 is the zero time, which means forever.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us)
}
