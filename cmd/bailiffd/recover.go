package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"bailiff/firewall"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/allow"
	"bailiff/policy/ledger"
)

// unit is what journald must say that wrote an entry for it to be one of our own.
const unit = "bailiff.service"

// jailRecovered is the jail of bans that stood in the firewall's sets but in no audit entry.
const jailRecovered = "recovered"

// own selects our own entries of some kinds: our unit, our user or root, by the fields that journald vouches for.
func own(kinds ...audit.Kind) journal.Matches {
	g := journal.Group{{Field: "_SYSTEMD_UNIT", Value: unit}, {Field: "_UID", Value: fmt.Sprint(os.Getuid())}, {Field: "_UID", Value: "0"}}
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

// readAnnounced collects the ids of the bans that the audit trail has from a moment (µs) on. After a crash the entries
// behind the saved cursor are judged again; what was told of them is not told twice.
func (d *daemon) readAnnounced(since uint64) map[string]bool {
	ids := make(map[string]bool)
	j, err := journal.Open(d.source(), journal.Options{Matches: own(audit.KindBan), Fields: []string{audit.FieldBanID}})
	if err != nil {
		return ids // the reader tells of a journal that cannot be opened
	}
	defer j.Close()
	for j.SeekRealtime(since); j.Next(); {
		if id := j.Entry().Field(0); len(id) > 0 {
			ids[string(id)] = true
		}
	}
	return ids
}

// recover fills an empty ledger from the audit trail and from what the firewall holds. It returns how many bans are in
// force again.
func (d *daemon) recover(be firewall.Backend, now time.Time) int {
	us := now.UnixMicro()
	d.replayAudit(us)
	c, cancel := context.WithTimeout(context.Background(), reconcileLimit)
	defer cancel()
	held, err := be.List(c)
	if err != nil {
		d.problemAs(audit.KindFirewallError, "the firewall's sets cannot be listed: "+err.Error())
	}
	for _, e := range held {
		known := false
		for range d.led.Of(e.Prefix) {
			known = true
		}
		if !known {
			b := ledger.Ban{Prefix: e.Prefix, Jail: jailRecovered, Since: us, Count: 1, Reason: "found in the firewall's set", Scope: d.scopes.text(e.Scope)}
			if !e.Until.IsZero() {
				b.Until = e.Until.UnixMicro()
			}
			d.led.Add(b)
		}
	}
	return d.led.Len()
}

// replayAudit goes through our own entries and repeats what they say.
func (d *daemon) replayAudit(now int64) {
	j, err := journal.Open(d.source(), journal.Options{Matches: own(audit.KindBan, audit.KindExtend, audit.KindUnban, audit.KindAllow, audit.KindDisallow)})
	if err != nil {
		d.problem("the audit trail cannot be read: " + err.Error())
		return
	}
	defer j.Close()
	bad := 0
	for j.SeekHead(); j.Next(); {
		e := j.Entry()
		get := fieldsOf(e)
		kind, _ := audit.KindOf(get("MESSAGE_ID"))
		var err error
		switch kind {
		case audit.KindBan, audit.KindExtend:
			var ev audit.BanEvent
			if ev, err = audit.ParseBan(get); err == nil {
				b := ledger.Ban{Prefix: ev.Prefix, Jail: ev.Jail, Since: ev.Since.UnixMicro(), Failures: ev.Failures, Count: ev.Count, Reason: ev.Reason, By: ev.By, Scope: ev.Scope}
				if !ev.Until.IsZero() {
					b.Until = ev.Until.UnixMicro()
				}
				d.led.Remember(b)
				if b.Until == 0 || b.Until > now {
					d.led.Add(b)
				}
			}
		case audit.KindUnban:
			var ev audit.UnbanEvent
			if ev, err = audit.ParseUnban(get); err == nil {
				d.led.Remove(ev.Prefix, ev.Jail)
				if ev.By != "" {
					d.led.Pardon(ev.Prefix, int64(e.Realtime))
				}
			}
		case audit.KindAllow:
			var ev audit.AllowEvent
			if ev, err = audit.ParseAllow(get); err == nil {
				d.led.Allow(allow.Entry{Prefix: ev.Prefix, Origin: allow.OriginRuntime, Comment: ev.Comment, Until: ev.Until})
			}
		case audit.KindDisallow:
			var ev audit.AllowEvent
			if ev, err = audit.ParseAllow(get); err == nil {
				d.led.Disallow(ev.Prefix)
			}
		}
		if err != nil {
			bad++
		}
	}
	for _, err := range j.Problems() {
		if !journal.Incomplete(err) {
			continue
		}
		d.problem("the audit trail was not read as a whole: " + journalProblem(err))
	}
	if bad > 0 {
		d.problem(fmt.Sprintf("%d entries of the audit trail could not be read", bad))
	}
}
