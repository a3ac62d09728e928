package daemon

import (
	"fmt"
	"time"

	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
	"bailiff/policy/jail"
	"bailiff/units/control"
)

// lateAfter is how old the newest entry read must be for reading to count as lagging, if more entries are waiting.
const lateAfter = 15 * time.Second

// Sources of problems with the journal.
const (
	journalReading = "journal"
	journalFiles   = "journal files"
)

// journalProgress is how far the journal has been read, and what is wrong with it.
type journalProgress struct {
	pos      journal.Position
	status   control.JournalStatus
	sources  []journal.ID128 // that refs of entries point to
	caughtUp bool            // all entries from before the start have been judged
	readAll  bool            // no entries are waiting
	readTo   int64           // time of the last entry read, µs since 1970
	lagging  bool
	dropped  time.Time // when journald last suppressed messages
}

// advance takes over what a batch says about the journal, once its entries have been judged. It returns whether the position has moved.
func (p *journalProgress) advance(b *batch, now time.Time) (moved bool) {
	if n := len(b.entries); n > 0 {
		p.readTo = b.entries[n-1].Realtime
	}
	p.readAll = !b.behind && !b.rebuild
	p.status.Entries += uint64(len(b.entries))
	if b.rebuild {
		return false
	}
	if b.moved {
		p.pos = b.pos
		p.status.Time = time.UnixMicro(int64(b.pos.Last().Realtime))
	}
	if b.dropped > 0 {
		p.status.Dropped += b.dropped
		p.dropped = now
	}
	p.status.Lag = 0
	if b.behind && b.moved {
		p.status.Lag = max(0, now.Sub(p.status.Time).Seconds())
	}
	return b.moved
}

// lagChanged returns what to announce when reading starts or stops lagging, else "".
func (p *journalProgress) lagChanged(b *batch) string {
	switch late := p.status.Lag > lateAfter.Seconds(); {
	case b.rebuild:
	case late && !p.lagging && p.caughtUp:
		p.lagging = true
		return fmt.Sprintf("reading the journal %.0f s behind", p.status.Lag)
	case !b.behind && p.lagging:
		p.lagging = false
		return "reading the journal without delay again"
	}
	return ""
}

// judgedUpTo is the time up to which every entry has been judged, µs since 1970; 0 if that is not known yet. now is the present
// time by the clock of the last entry.
func (p *journalProgress) judgedUpTo(now time.Time) int64 {
	if p.readAll {
		return now.UnixMicro()
	}
	return p.readTo
}

// evidence names the entries of failures.
func (p *journalProgress) evidence(fs []jail.Failure) []evidence.Evidence {
	l := make([]evidence.Evidence, 0, len(fs))
	for _, f := range fs {
		if e, ok := evidence.Of(f.Ref, p.sources); ok {
			l = append(l, e)
		}
	}
	return l
}

// journalNews records what a batch says about the journal itself.
func (d *daemon) journalNews(b *batch, now time.Time) {
	if b.dropped > 0 && !b.rebuild {
		d.problems.tell(audit.KindSuppressed, "rate limit", fmt.Sprintf("journald suppressed %d messages by its rate limit: evidence may be missing (LogRateLimitIntervalSec=0 in the unit concerned prevents this)", b.dropped),
			audit.Field{Name: "BAILIFF_DROPPED", Value: fmt.Sprint(b.dropped)})
	}
	for _, n := range b.notices {
		d.problems.happened(audit.KindJournalProblem, "journal position", n)
	}
	if b.listed {
		d.problems.end(journalReading)
		p := &d.journal.status
		p.Files, p.Problems = b.files, nil
		for _, err := range b.problems {
			p.Problems = append(p.Problems, journalProblem(err))
		}
		d.journalFileProblems(now)
	}
	if text := d.journal.lagChanged(b); text != "" {
		d.aud.Event(audit.KindLag, text)
	}
}

// journalProblem is how status and the audit trail report a problem with the journal.
func journalProblem(err error) string {
	text := "journal file: " + err.Error()
	if hint := journal.Hint(err); hint != "" {
		text += " (" + hint + ")"
	}
	return text
}
