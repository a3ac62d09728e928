package dispatch

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/config"
)

// Notices are short messages about bans, unbans, problems and their ends, to destinations of a form (config.Destination.Notice). Events are
// collected, as for a digest, and become one notice when it is due: see noticeAt.

// Limits of notices.
const (
	maxNotice    = 5000 // bans in one; the rest go into the next
	maxRead      = 10   // of these that are read from the queue, to be named
	maxNoticeGap = time.Hour
)

// noticeTimes says when a destination had its last notice. It is not saved.
type noticeTimes struct {
	last   time.Time
	gap    time.Duration // after the last one, until the next
	urgent bool          // a problem, or its end, is among what is collected
	known  bool          // urgent includes what an earlier run had collected
}

// urgent reports whether an event bypasses quiet times and digests.
func urgent(event string) bool { return event == report.Problem || event == report.Recovery }

// notifies reports whether a destination wants notices of an event.
func notifies(c *config.Destination, b *Ban) bool {
	kind := config.EventBans
	switch b.Event {
	case report.Unban:
		kind = config.EventUnbans
	case report.Problem, report.Recovery:
		kind = config.EventProblems
	}
	switch {
	case !c.Notice(), !slices.Contains(c.Events, kind), b.About == c.Name,
		b.Event == report.Ban && c.Only == config.OnlyNew && (b.Count > 1 || b.Extended),
		b.Event == report.Ban && c.Only == config.OnlyNetworks && !b.Wide,
		b.Event == report.Unban && c.Only == config.OnlyNetworks && b.Prefix.IsSingleIP():
		return false
	}
	return true
}

// noticeAt is when the next notice is due; zero if nothing is collected. Events close together share a notice. While there is always
// something new, the pause between notices grows, up to an hour: a flood of bans becomes few notices. Quiet times and digests hold back
// bans and unbans, not problems.
func (x *destination) noticeAt(now time.Time) (at time.Time) {
	if len(x.collecting) == 0 {
		return at
	}
	n, c := &x.notices, &x.ep.conf
	if !n.known {
		n.known = true
		n.urgent = n.urgent || slices.ContainsFunc(x.collecting, func(it *delivery) bool { return urgent(it.reports[0].Event) })
	}
	first := x.collecting[0].created
	at = first.Add(c.Gather)
	if n.urgent {
		at = first
	} else if c.Digest != "off" && c.Digest != "" {
		at = periodEnd(c.Digest, first, now)
	}
	if next := n.last.Add(n.gap); at.Before(next) && next.Sub(now) <= maxNoticeGap { // else the clock was set back
		at = next
	}
	if at.Before(now) {
		at = now
	}
	if end := c.Quiet.Until(at.Local()); !n.urgent && !end.IsZero() {
		at = end
	}
	return at
}

// periodEnd is when a digest is due that has collected reports since first: at the end of that hour or day, in local time, or now if the
// clock was set back since then.
func periodEnd(kind string, first, now time.Time) time.Time {
	t := first.Round(0).Local() // without the monotonic clock, which is not set back
	if now.Before(t) {
		return now
	}
	if kind == "hourly" {
		return t.Truncate(time.Minute).Add(time.Duration(60-t.Minute()) * time.Minute)
	}
	return time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, t.Location())
}

// notice returns what the next notice is about, if it is due.
func (x *destination) notice(now time.Time) (reports []*queuedReport) {
	if at := x.noticeAt(now); at.IsZero() || at.After(now) {
		return nil
	}
	limit := maxNotice
	if q := x.ep.conf.Quota; q > 0 {
		limit = min(limit, q-x.sentLately(now))
	}
	for _, it := range x.collecting[:min(limit, len(x.collecting))] {
		reports = append(reports, it.reports[0])
	}
	n := &x.notices
	if quiet := now.Sub(n.last); quiet < 0 || quiet > 2*n.gap {
		n.gap = 0
	}
	n.gap = min(max(2*n.gap, x.ep.conf.Gather, time.Second), maxNoticeGap)
	n.last, n.urgent, n.known = now, false, false
	return reports
}

// named are the reports of a notice that are read: the newest, and the newest of problems.
func named(reports []*queuedReport) (l []*queuedReport) {
	problems, changes := 0, 0
	for _, rp := range slices.Backward(reports) {
		n := &changes
		if urgent(rp.Event) {
			n = &problems
		}
		if *n++; *n <= maxRead {
			l = append(l, rp)
		}
	}
	slices.Reverse(l)
	return l
}

// counts counts the bans and unbans of a notice.
func counts(reports []*queuedReport) (l []report.Count) {
	at := map[[2]string]int{}
	for _, rp := range reports {
		if urgent(rp.Event) {
			continue
		}
		k := [2]string{rp.Event, rp.Jail}
		i, ok := at[k]
		if !ok {
			i, at[k] = len(l), len(l)
			l = append(l, report.Count{Event: rp.Event, Jail: rp.Jail})
		}
		l[i].N++
	}
	return l
}

// about is the address of a report; for a problem, "this host".
func (f *facts) about() string {
	if f.Address.IsValid() {
		return f.Address.String()
	}
	return "this host"
}

// problemKinds are the daemon's entries about problems. The first about each, and its end, have audit.FieldProblem.
var problemKinds = []audit.Kind{audit.KindError, audit.KindFirewallError, audit.KindJournalProblem, audit.KindReloadRefused, audit.KindStateSetAside,
	audit.KindSuppressed, audit.KindRecovered}

// holdOf is audit.FieldProblem of a destination that is held.
func holdOf(destination string) string { return "reports to " + destination }

// matches selects the entries that are read: of the daemon, and of this program about itself.
func (d *Dispatcher) matches() journal.Matches {
	kinds := append([]audit.Kind{audit.KindBan, audit.KindExtend, audit.KindUnban, audit.KindStart, audit.KindReload}, problemKinds...)
	return journal.Matches{
		audit.Matches(audit.Unit, d.o.Daemon, kinds...),
		audit.Matches(Unit, []uint32{d.o.Self}, audit.KindReportsHeld, audit.KindReportsResumed),
	}
}

// parse reads an entry; nil if there is nothing to report.
func parse(kind audit.Kind, e *journal.Entry) (*Ban, error) {
	if kind == audit.KindBan || kind == audit.KindExtend {
		return parseBan(e)
	}
	values := audit.ValuesOf(e)
	b := &Ban{Cursor: e.Cursor, Time: time.UnixMicro(int64(e.Realtime)), Text: values.Get("MESSAGE"), Problem: values.Get(audit.FieldProblem)}
	switch kind {
	case audit.KindUnban:
		u, err := audit.ParseUnban(values.Get)
		if err != nil {
			return nil, err
		}
		b.BanEvent = audit.BanEvent{Prefix: u.Prefix, Jail: u.Jail, ID: u.ID, Since: u.Since, Until: u.Until, By: u.By}
		b.Event, b.Text = report.Unban, u.Reason
		if u.By != "" {
			b.Text += " (" + u.By + ")"
		}
		return b, nil
	case audit.KindReportsHeld, audit.KindReportsResumed:
		b.About = values.Get(audit.FieldDestination)
	}
	if b.Problem == "" {
		return nil, nil
	}
	if b.Event = report.Problem; kind == audit.KindRecovered || kind == audit.KindReportsResumed {
		b.Event = report.Recovery
	}
	sum := sha256.Sum256([]byte(e.Cursor.String()))
	b.ID = hex.EncodeToString(sum[:8])
	return b, nil
}

// eventReport is the report of an event other than a ban.
func eventReport(b *Ban, host string) *report.Report {
	r := &report.Report{ID: b.ID, Cursor: b.Cursor.String(), Time: b.Time, Prefix: b.Prefix, Jail: b.Jail, Since: b.Since, Until: b.Until, By: b.By,
		Event: b.Event, Problem: b.Problem, Text: b.Text, Host: host}
	if b.Prefix.IsValid() {
		r.Address = b.Prefix.Addr()
	}
	return r
}
