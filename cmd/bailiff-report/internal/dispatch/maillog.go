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

// When an attempt to deliver a mail was cut off, the log of the mail system tells whether it has the mail: it names the Message-ID.
// If it does not, the mail is sent again once the mail system has been at work for settleWait, since one that is down may have
// the mail in a folder that it has not looked into yet. A mail system that logs nothing at all for settleMost (its log does not
// go to the journal) is believed to have nothing.
const (
	settleWait = 3 * time.Minute
	settleMost = 6 * time.Hour
	settlePoll = 2 * time.Second
)

// verdict is what the log says of a delivery.
type verdict uint8

const (
	unknown verdict = iota
	hasIt           // the other side has it
	hasNot
)

// search is a delivery that is looked for.
type search struct {
	key   string
	trace string // what the log holds of it
	since int64  // µs
}

// prober looks for deliveries. It works in log, which one call at a time uses; nil for the first call.
type prober func(log *mailLog, all []search) (*mailLog, map[string]verdict, error)

// settle looks for deliveries that were cut off, if it is time, and else returns when it is. The deliveries of a destination that
// leaves no trace are made again at once.
func (d *Dispatcher) settle(x *destination, now time.Time) (at time.Time) {
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
				continue // it was dropped, or cannot be read for now
			}
			it.trace = x.ep.traced.Trace(what)
		}
		if it.trace == "" {
			d.again(it)
		}
	}
	switch {
	case x.probing || len(x.uncertain) == 0:
		return at
	case now.Before(x.probeAt):
		return x.probeAt
	case d.o.Audit.Busy(): // each that is found has an entry
		return now.Add(busyPause)
	}
	var all []search
	for it := range x.uncertain {
		all = append(all, search{it.key, it.trace, it.started})
	}
	slices.SortFunc(all, func(a, b search) int { return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.key, b.key)) })
	all = all[:min(len(all), maxDrops)]
	x.probing = true
	log := x.mailLog
	d.then(func() {
		d.spawn(func() {
			log, verdicts, err := d.probe(log, all)
			d.post(func() { d.settled(x, log, verdicts, err) })
		})
	})
	return at
}

// again has a delivery that was cut off made again, not earlier than was decided before.
func (d *Dispatcher) again(it *delivery) {
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

// settled decides about the deliveries that were looked for.
func (d *Dispatcher) settled(x *destination, log *mailLog, verdicts map[string]verdict, err error) {
	x.mailLog, x.probing = log, false
	x.probeAt = d.o.Now().Add(settlePoll)
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
		case hasIt:
			d.delivered(it, report.Receipt{Answer: "found in the journal: taken before bailiff-report was cut off"})
		case hasNot:
			d.again(it)
		}
	}
}

// mailLog searches the journal for deliveries.
type mailLog struct {
	r        *journal.Reader
	searches map[string]search
	suffix   []byte               // that all traces end in
	found    map[string]bool      // by key
	alive    map[string]time.Time // by key: of an entry that shows the mail system at work since the delivery began
	opened   time.Time            // when the first search began
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
func (d *Dispatcher) searchLog(log *mailLog, all []search) (*mailLog, map[string]verdict, error) {
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
		// A little earlier: the clock of the entry is journald's.
		r.SeekRealtime(uint64(max(0, since-time.Second.Microseconds())))
		log.r = r
	}
	log.read(d.o.Self)
	verdicts := map[string]verdict{}
	for _, s := range all {
		at, alive := log.alive[s.key]
		switch {
		case log.found[s.key]:
			verdicts[s.key] = hasIt
		case alive && time.Since(at) >= d.o.SettleFor,
			!alive && time.Since(log.opened) > d.o.SettleFor && time.Since(time.UnixMicro(s.since)) > settleMost:
			verdicts[s.key] = hasNot
		}
	}
	return log, verdicts, nil
}

// read looks at what is new in the journal. What users log does not count, nor do our own entries.
func (l *mailLog) read(self uint32) {
	for l.r.Next() {
		e := l.r.Entry()
		uid, ok := evidence.Number(e.Field(logUID))
		ident := e.Field(logIdentifier)
		if !ok || uid >= 1000 || uid == self && string(ident) == Identifier {
			continue
		}
		msg := e.Field(logMessage)
		if bytes.Contains(msg, l.suffix) {
			for key, s := range l.searches {
				if !l.found[key] && bytes.Contains(msg, []byte(s.trace)) {
					l.found[key] = true
				}
			}
		}
		if string(e.Field(logFacility)) == "2" && uid != self && atWork(ident) {
			for key, s := range l.searches {
				if _, ok := l.alive[key]; !ok && int64(e.Realtime) >= s.since {
					l.alive[key] = time.UnixMicro(int64(e.Realtime))
				}
			}
		}
	}
}

// atWork tells whether an entry of the mail facility shows that the mail system looks at what it was given. Neither the program
// that takes mails does, nor what starts and stops the rest.
func atWork(ident []byte) bool {
	name := ident[bytes.LastIndexByte(ident, '/')+1:]
	switch string(name) {
	case "postdrop", "sendmail", "postfix-script", "master", "postlog", "postmulti":
		return false
	}
	return true
}
