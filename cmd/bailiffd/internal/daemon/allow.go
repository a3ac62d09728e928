package daemon

import (
	"net/netip"
	"time"

	"bailiff/journal/audit"
	"bailiff/policy/allow"
	"bailiff/policy/state"
)

// tickAllow rebuilds the allow list when it is time, or when something that it is built from has changed. judged is the time up to which
// all entries have been judged, µs since 1970.
func (d *daemon) tickAllow(now time.Time, judged int64) {
	due := now.Sub(d.self.read) > addressInterval
	if due {
		d.self.ask()
	}
	if d.ops != nil && d.ops.tick(now, judged) {
		due = true
	}
	if d.readLists() {
		due = true
	}
	if due {
		d.refreshAllow(now)
	}
}

// readLists reads published lists that have changed on disk.
func (d *daemon) readLists() (changed bool) {
	notes, changed := d.lists.Update(d.conf.Allow.Lists)
	for _, n := range notes {
		k := audit.KindAllowList
		if n.Refused {
			k = audit.KindAllowListRefused
		}
		d.aud.Event(k, n.Text, audit.Field{Name: audit.FieldList, Value: n.Name})
	}
	return changed
}

// refreshAllow builds the allow list from the configuration, published lists, run-time entries, operators' sessions and the host's
// own addresses. It returns the bans that this has lifted.
func (d *daemon) refreshAllow(now time.Time) []state.Ban {
	d.self.read = now
	var entries, sessions []allow.Entry
	entries = append(entries, d.conf.Allow.Entries...)
	entries = append(entries, d.lists.Entries()...)
	entries = append(entries, d.state.Allowed()...)
	if d.conf.Fleet.Roster {
		entries = append(entries, d.others.bans.Roster().Entries()...)
	}
	var own []netip.Addr
	if d.conf.Allow.Self {
		own = d.self.current()
	}
	entries = append(entries, allow.SelfEntries(own)...) // loopback and link-local addresses are always allowed
	var stays func(*state.Ban) bool
	if d.ops != nil {
		sessions = d.ops.Entries()
		if !d.journal.caughtUp {
			stays = d.ops.stays(entries, now.UnixMicro())
		}
	}
	l := allow.NewList(append(entries[:len(entries):len(entries)], sessions...))
	lifted := d.eng.SetAllow(l, now.UnixMicro(), stays)
	for i := range lifted {
		d.released(lifted[i:i+1], allowedBy(l, lifted[i].Prefix, now), "")
	}
	d.configureFleet(now)
	d.configureBlocks(now)
	return lifted
}

// allowedBy is the reason why a prefix is not banned.
func allowedBy(l *allow.List, p netip.Prefix, now time.Time) string {
	text := "allowed"
	if hit := l.Overlapping(p, now.UnixMicro()); len(hit) > 0 {
		text += " by " + hit[0].Where()
		if c := hit[0].Comment; c != "" {
			text += ": " + c
		}
	}
	return text
}
