package courier

import (
	"bytes"
	"strings"
	"time"

	"bailiff/journal"
	"bailiff/policy/report"
)

// After a crash in the middle of a delivery the journal is asked whether the mail system took it: its log names the message.
// Where it does not, nothing is repeated before the mail system has been at work for settleWait: one that is down may have
// the message in a folder that it has not looked into yet. A mail system that says nothing at all for settleMost (its log does
// not go to the journal) is believed to have nothing.
const (
	settleWait = 3 * time.Minute
	settleMost = 6 * time.Hour
	settlePoll = 2 * time.Second
)

// verdict says what the journal knows of a delivery.
type verdict uint8

const (
	verdictDone verdict = iota // the other side took it
	verdictWait                // not known yet
	verdictGone                // it did not
)

// tracer reads the journal for traces of deliveries.
type tracer struct {
	r      *journal.Reader
	since  int64                // µs
	traces map[string][]byte    // by item
	found  map[string]bool      //
	suffix []byte               // that all traces end in
	alive  map[string]time.Time // by item: entry of a mail system at work since its delivery began
	begun  map[string]int64     // µs
	opened time.Time
}

const (
	trMessage = iota
	trUID
	trFacility
	trIdentifier
)

var tracerFields = []string{"MESSAGE", "_UID", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER"}

func (t *tracer) close() { t.r.Close() }

// settle finds out what became of a delivery that was cut off.
func (r *runner) settle(it *item, what *report.Item) verdict {
	if r.tracer == nil || r.tracer.traces[it.key] == nil || r.tracer.begun[it.key] != it.doubt {
		switch err := r.trace(); {
		case err == nil && r.tracer.traces[it.key] == nil && r.traced.Trace(what) == "":
			return verdictGone // the destination knows what it has done
		case err != nil || r.tracer.traces[it.key] == nil:
			return r.unknown(it)
		}
	}
	t := r.tracer
	t.read(r.e.o.Self)
	if t.found[it.key] {
		delete(t.traces, it.key)
		return verdictDone
	}
	if at, ok := t.alive[it.key]; ok {
		if time.Since(at) < r.e.o.SettleFor { // at is when we saw it, or earlier
			return verdictWait
		}
		delete(t.traces, it.key)
		return verdictGone
	}
	return r.unknown(it)
}

// unknown is the verdict where the journal says nothing of the mail system.
func (r *runner) unknown(it *item) verdict {
	if r.tracer != nil && time.Since(r.tracer.opened) > r.e.o.SettleFor && time.Since(time.UnixMicro(it.doubt)) > settleMost {
		return verdictGone
	}
	return verdictWait
}

// trace begins to look for all deliveries that are in doubt.
func (r *runner) trace() error {
	e := r.e
	e.mu.Lock()
	t := &tracer{traces: map[string][]byte{}, found: map[string]bool{}, alive: map[string]time.Time{}, begun: map[string]int64{}, opened: time.Now()}
	for _, it := range r.d.items {
		if it.doubt == 0 || it.begun != 0 {
			continue
		}
		what, err := e.assemble(it)
		if err != nil {
			continue
		}
		text := r.traced.Trace(what)
		if text == "" {
			continue
		}
		t.begun[it.key], t.traces[it.key] = it.doubt, []byte(text)
		if t.since == 0 || it.doubt < t.since {
			t.since = it.doubt
		}
		if len(t.traces) == 1 {
			t.suffix = []byte(text)
		}
		for !strings.HasSuffix(text, string(t.suffix)) {
			t.suffix = t.suffix[1:]
		}
	}
	e.mu.Unlock()
	if r.tracer != nil {
		t.opened = r.tracer.opened
		r.tracer.close()
		r.tracer = nil
	}
	j, err := journal.Open(e.o.Source, journal.Options{Fields: tracerFields, MaxValue: 8 << 10})
	if err != nil {
		return err
	}
	// A little earlier: the clock of the entry is journald's.
	j.SeekRealtime(uint64(max(0, t.since-time.Second.Microseconds())))
	t.r, r.tracer = j, t
	return nil
}

// read looks at what is new in the journal. What users write does not count, nor do our own entries.
func (t *tracer) read(self uint32) {
	for t.r.Next() {
		e := t.r.Entry()
		uid, ok := number(e.Field(trUID))
		ident := e.Field(trIdentifier)
		if !ok || uid >= 1000 || uid == self && string(ident) == Identifier {
			continue
		}
		msg := e.Field(trMessage)
		if bytes.Contains(msg, t.suffix) {
			for key, text := range t.traces {
				if !t.found[key] && bytes.Contains(msg, text) {
					t.found[key] = true
				}
			}
		}
		if string(e.Field(trFacility)) == "2" && uid != self && atWork(ident) {
			for key := range t.traces {
				if _, ok := t.alive[key]; !ok && int64(e.Realtime) >= t.begun[key] {
					t.alive[key] = time.UnixMicro(int64(e.Realtime))
				}
			}
		}
	}
}

// atWork says whether an entry of the mail facility shows that the mail system looks at what it was given: not the program that
// takes messages in on its own, nor what starts and stops the rest.
func atWork(ident []byte) bool {
	name := ident[bytes.LastIndexByte(ident, '/')+1:]
	switch string(name) {
	case "postdrop", "sendmail", "postfix-script", "master", "postlog", "postmulti":
		return false
	}
	return true
}

func number(b []byte) (uint32, bool) {
	if len(b) == 0 || len(b) > 10 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), n <= 1<<32-1
}
