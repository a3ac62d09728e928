package dispatch

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
)

// If the delivery of a mail was interrupted, the log of the mail system shows whether it was taken: it contains the Message-ID. If it
// does not, the mail is sent again once the mail system has been working for resolveWait: before that, the mail may be in a folder
// that it has not read yet. If the mail system logs nothing at all for resolveLimit (its log is not in the journal), the mail is sent
// again, too.
//
// This keeps a crash from duplicating mails. (Duplicates have the same Message-ID.)
const (
	resolveWait  = 3 * time.Minute
	resolveLimit = 6 * time.Hour
	resolvePoll  = 2 * time.Second
)

// outcome is what the log says about a delivery.
type outcome uint8

const (
	unknown  outcome = iota
	wasTaken         // the other side has it
	wasLost
)

// search is a delivery to be found.
type search struct {
	key   string
	trace string // text in the log
	since int64  // µs
}

// prober looks for deliveries in a log, which is nil in the first call. One call at a time may use a log.
type prober func(log *mailLog, all []search) (*mailLog, map[string]outcome, error)

// resolveUncertain looks for interrupted deliveries if it is time; otherwise it returns when it is. Deliveries without a trace are
// made again at once.
func (d *Dispatcher) resolveUncertain(x *destination, now time.Time) (at time.Time) {
	if len(x.uncertain) == 0 {
		if x.mailLog != nil && !x.probing {
			x.mailLog.close()
			x.mailLog = nil
		}
		return at
	}
	for it := range x.uncertain {
		if it.trace != "" {
			continue
		}
		if x.ep.traced != nil {
			what := d.item(x, it.key, it.reports, it)
			if what == nil {
				continue // it was dropped, or cannot be read now
			}
			it.trace = x.ep.traced.Trace(what)
		}
		if it.trace == "" {
			d.requeue(it)
		}
	}
	switch {
	case x.probing || len(x.uncertain) == 0:
		return at
	case now.Before(x.probeAt):
		return x.probeAt
	case d.o.Audit.Busy(): // each delivery found needs an entry
		return now.Add(busyPause)
	}
	var all []search
	for it := range x.uncertain {
		if it.trace != "" { // else it cannot be read now
			all = append(all, search{it.key, it.trace, it.started})
		}
	}
	if len(all) == 0 {
		return at
	}
	slices.SortFunc(all, func(a, b search) int { return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.key, b.key)) })
	all = all[:min(len(all), maxDrops)]
	x.probing = true
	log := x.mailLog
	d.afterCommit(func() {
		d.spawn(func() {
			log, verdicts, err := d.probe(log, all)
			d.post(func() { d.resolved(x, log, verdicts, err) })
		})
	})
	return at
}

// requeue has an interrupted delivery made again, not earlier than was decided before.
func (d *Dispatcher) requeue(it *delivery) {
	if it.state != uncertain { // it was dropped
		return
	}
	now, notBefore, serverSet := d.o.Now(), it.notBefore, it.serverSet
	pause := max(0, notBefore.Sub(now))
	d.change(it, waiting, func(r *recDelivery) { r.Pause = pause.Microseconds() })
	it.postpone(now.Add(pause), serverSet)
	for _, rp := range it.reports {
		d.lookUp(rp)
	}
}

// resolved applies what was found about interrupted deliveries.
func (d *Dispatcher) resolved(x *destination, log *mailLog, verdicts map[string]outcome, err error) {
	x.mailLog, x.probing = log, false
	x.probeAt = d.o.Now().Add(resolvePoll)
	if err != nil {
		if d.problem("mail log", "the log of the mail system cannot be read: "+err.Error()) {
			d.event(audit.KindJournalProblem, "reports: the log of the mail system cannot be read: "+err.Error())
		}
	} else {
		d.problem("mail log", "")
	}
	for key, v := range verdicts {
		it := x.all[key]
		if it == nil || it.state != uncertain {
			continue
		}
		switch v {
		case wasTaken:
			d.delivered(it, report.Receipt{Answer: "found in the journal: taken before bailiff-report was interrupted"})
		case wasLost:
			d.requeue(it)
		}
	}
}

// mailLog searches the journal for deliveries.
type mailLog struct {
	r        *journal.Reader
	searches map[string]search
	suffix   []byte               // of all traces
	found    map[string]bool      // by key
	alive    map[string]time.Time // by key: of the first entry since the delivery began that shows the mail system working
	opened   time.Time            // when the first search began
	caughtUp bool                 // all older entries were read: those to come are newer than each delivery that is looked for
}

const (
	logMessage = iota
	logUID
	logFacility
	logIdentifier
)

var logFields = []string{"MESSAGE", "_UID", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER"}

func (l *mailLog) close() {
	if l.r != nil {
		l.r.Close()
	}
}

// searchLog is the prober.
func (d *Dispatcher) searchLog(log *mailLog, all []search) (*mailLog, map[string]outcome, error) {
	fresh := log == nil
	for _, s := range all {
		fresh = fresh || log.searches[s.key] != s
	}
	if fresh {
		next := &mailLog{searches: map[string]search{}, found: map[string]bool{}, alive: map[string]time.Time{}, opened: time.Now()}
		if log != nil {
			next.opened = log.opened
			log.close()
		}
		log = next
		since := all[0].since
		log.suffix = []byte(all[0].trace)
		for _, s := range all {
			log.searches[s.key] = s
			since = min(since, s.since)
			for !strings.HasSuffix(s.trace, string(log.suffix)) {
				log.suffix = log.suffix[1:]
			}
		}
		r, err := journal.Open(d.o.Source, journal.Options{Fields: logFields, MaxValue: 8 << 10})
		if err != nil {
			log.searches = nil
			return log, nil, err
		}
		log.r = r
		if err := log.seek(d.o.Self, since); err != nil {
			log.searches = nil
			return log, nil, err
		}
	}
	log.read(d.o.Self)
	verdicts := map[string]outcome{}
	for _, s := range all {
		at, alive := log.alive[s.key]
		switch {
		case log.found[s.key]:
			verdicts[s.key] = wasTaken
		case alive && time.Since(at) >= d.o.SettleFor,
			!alive && time.Since(log.opened) > d.o.SettleFor && time.Since(time.UnixMicro(s.since)) > resolveLimit:
			verdicts[s.key] = wasLost
		}
	}
	return log, verdicts, nil
}

// seek goes to the first entry since a time (µs since 1970). From there on the journal is read in its own order: if the clock was set
// back, later entries have earlier times.
func (l *mailLog) seek(self uint32, since int64) error {
	// A second earlier, since journald stamps an entry when it receives it.
	l.r.SeekRealtime(uint64(max(0, since-time.Second.Microseconds())))
	if l.r.Next() {
		l.entry(self)
		return l.r.SeekCursor(l.r.Entry().Cursor) // continues after that entry
	}
	l.r.SeekRealtime(uint64(max(0, time.Now().Add(-day).UnixMicro())))
	return nil
}

// read reads new entries.
func (l *mailLog) read(self uint32) {
	for l.r.Next() {
		l.entry(self)
	}
	l.caughtUp = true
}

// entry looks at one entry. Entries of users do not count, nor do those of bailiff-report itself.
func (l *mailLog) entry(self uint32) {
	e := l.r.Entry()
	uid, ok := evidence.Number(e.Field(logUID))
	ident := e.Field(logIdentifier)
	if !ok || uid >= 1000 || uid == self && string(ident) == Identifier {
		return
	}
	msg := e.Field(logMessage)
	if bytes.Contains(msg, l.suffix) {
		for key, s := range l.searches {
			if !l.found[key] && bytes.Contains(msg, []byte(s.trace)) {
				l.found[key] = true
			}
		}
	}
	if string(e.Field(logFacility)) != "2" || uid == self || !showsWork(ident) {
		return
	}
	now := time.Now()
	for key, s := range l.searches {
		at := time.UnixMicro(int64(e.Realtime))
		if int64(e.Realtime) < s.since || at.After(now) { // written before the delivery began, or the clock was set back since
			if !l.caughtUp {
				continue
			}
			at = now
		}
		if _, ok := l.alive[key]; !ok {
			l.alive[key] = at
		}
	}
}

// showsWork reports whether an entry of the mail facility shows that the mail system processes mails. Entries of the programs that accept
// mails, and of those that start and stop the others, do not.
func showsWork(ident []byte) bool {
	name := ident[bytes.LastIndexByte(ident, '/')+1:]
	switch string(name) {
	case "postdrop", "sendmail", "postfix-script", "master", "postlog", "postmulti":
		return false
	}
	return true
}
