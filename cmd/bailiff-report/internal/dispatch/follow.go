package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/config"
)

// Limits of what is read from the journal for one frame.
const (
	batchBans  = 64
	batchBytes = 4 << 20
)

// quiet is the longest wait for a new entry, and with it the longest delay if no watch reports a new file.
const quiet = 30 * time.Second

// builtReport is a ban with its report.
type builtReport struct {
	ban    *Ban
	before position // of the previous entry
	report *report.Report
	body   []byte // as JSON
}

// intake asks the dispatcher to take reports into the queue and to record that the journal was read up to pos.
type intake struct {
	set  *configuration // that the reports were chosen for
	only string         // destination whose bans waited in the journal; "": all
	pos  position
	bans []builtReport
	done chan bool // gets a value when it is on the disk; false: another configuration is in effect, or there is no more room for that destination
}

// follow reads bans from the journal until ctx ends. Errors are reported and tried again.
func (d *Dispatcher) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.read(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if d.call(ctx, func() {
			text := "the journal cannot be read: " + err.Error()
			if d.problem("journal", text) {
				d.event(audit.KindJournalProblem, text)
			}
		}) != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(fullPause):
		}
	}
}

// read follows the journal until an error, or until another configuration is in effect than the bans read were chosen for.
func (d *Dispatcher) read(ctx context.Context) error {
	h := &banReader{d: d}
	defer h.close()
	var rebuild uint64
	if err := d.call(ctx, func() { h.pos, rebuild, h.set, h.caughtUp = d.pos, d.q.rebuild, d.set, d.caughtUp }); err != nil {
		return err
	}
	if rebuild != 0 {
		known, err := d.outcomes(time.Now().Add(-h.set.conf.Report.RetryFor - day))
		if err != nil {
			return err
		}
		if err := d.call(ctx, func() { d.remember(known) }); err != nil {
			return err
		}
	}
	if err := h.open(rebuild != 0); err != nil {
		return err
	}
	// If it is read again, it begins here, not at a later start or reload.
	if err := d.call(ctx, func() { d.pos = h.pos }); err != nil {
		return err
	}
	for {
		bans, reload, end := h.batch(nil, nil)
		if ok, err := d.take(ctx, &intake{set: h.set, pos: h.pos, bans: bans}); err != nil || !ok {
			return err
		}
		if reload {
			_ = d.Reload(ctx) // the error is in status and in the journal
			if err := d.call(ctx, func() { h.set = d.set }); err != nil {
				return err
			}
			h.closeBuilder()
		}
		if !end {
			continue
		}
		h.caughtUp = true
		h.closeBuilder()
		problems := h.stream.Problems()
		if err := d.call(ctx, func() {
			d.caughtUp = true
			d.problem("journal", "")
			d.problems = slices.DeleteFunc(d.problems, func(p problem) bool {
				return p.source == p.text && !slices.ContainsFunc(problems, func(e error) bool { return p.text == "journal file: "+e.Error() })
			})
			for _, p := range problems {
				if text := "journal file: " + p.Error(); d.problem(text, text) {
					d.event(audit.KindJournalProblem, "reports: "+text)
				}
			}
		}); err != nil {
			return err
		}
		if err := h.stream.Wait(ctx, quiet); err != nil {
			return err
		}
	}
}

// take passes an intake to the dispatcher and returns when it is done, which may take until there is room. ok is as in intake.done.
func (d *Dispatcher) take(ctx context.Context, in *intake) (ok bool, err error) {
	if len(in.bans) == 0 && in.only == "" {
		if in.pos == (position{}) {
			return true, nil
		}
		err := d.call(ctx, func() {
			if ok = in.set == d.set; ok {
				d.pos = in.pos
			}
		})
		return ok, err
	}
	in.done = make(chan bool, 1)
	if err := d.call(ctx, func() { d.intakes = append(d.intakes, in) }); err != nil {
		return false, err
	}
	select {
	case ok := <-in.done:
		return ok, nil
	case <-ctx.Done():
		return false, ctx.Err()
	case <-d.ended:
		return false, errEnded
	}
}

// admitIntakes admits waiting intakes while there is room.
func (d *Dispatcher) admitIntakes(now time.Time) {
	if d.noRoom != "" && now.Before(d.retryAt) {
		return
	}
	for len(d.intakes) > 0 && len(d.q.pending) < maxFrame/4 {
		in := d.intakes[0]
		size := int64(1 << 10)
		for i := range in.bans {
			size += int64(len(in.bans[i].body)) + 1<<10
		}
		var full *fullError
		if err := d.q.room(size); errors.As(err, &full) {
			d.retryAt = now.Add(fullPause)
			d.refuse(full)
			return
		} else if err != nil {
			d.fatal = err
			return
		}
		d.roomAgain()
		d.intakes = d.intakes[1:]
		ok := in.set == d.set && d.admit(in) // otherwise it may lack bans that are wanted now: they are read again
		d.afterCommit(func() { in.done <- ok })
	}
}

// admit decides to which destinations each ban is reported. ok is false if the destination of a catch-up has no more room.
func (d *Dispatcher) admit(in *intake) (ok bool) {
	ok = true
	for i := range in.bans {
		b := &in.bans[i]
		at := b.ban.Time.UnixMicro()
		rebuilding := uint64(at) <= d.q.rebuild
		key := b.ban.Key()
		for _, x := range d.q.sorted() {
			switch {
			case x.ep == nil, in.only != "" && x.name != in.only, in.only == "" && x.behind != nil, !accepts(&x.ep.conf, b.ban),
				d.knows(x, key, rebuilding), x.reportedLately(b.ban, b.report.Address, rebuilding):
				continue
			case d.backlogged(x, false):
				d.q.write(kindBehind, recBehind{x.name, &b.before}, nil)
				if in.only != "" {
					return false
				}
				d.event(audit.KindReportQueue, fmt.Sprintf("%d reports wait for %s: newer bans wait in the journal for this destination", len(x.all), x.name),
					audit.Field{Name: audit.FieldDestination, Value: x.name})
				continue
			}
			now := d.o.Now().UnixMicro()
			if d.q.reports[key] == nil {
				d.q.write(kindReport, facts{Key: key, ID: b.ban.ID, Event: b.ban.Event, Address: b.report.Address, Jail: b.ban.Jail, Time: at, Since: now}, b.body)
			}
			rec := recDelivery{Dest: x.name, Key: itemKey(key, x.name), State: waiting, Reports: []string{key}, Since: now, Time: now}
			switch {
			case x.ep.conf.Notice():
				rec.State = collecting
				x.notices.urgent = x.notices.urgent || urgent(b.ban.Event)
			case x.ep.conf.Digest != "off" && x.ep.conf.Digest != "":
				rec.State = collecting
			case rebuilding:
				rec.State, rec.Started = uncertain, at
			}
			d.q.write(kindDelivery, rec, nil)
		}
		if rp := d.q.reports[key]; rp != nil {
			d.lookUp(rp)
		}
	}
	if in.only != "" {
		d.q.write(kindBehind, recBehind{in.only, &in.pos}, nil)
	} else {
		d.writePosition(in.pos)
	}
	return true
}

// knows reports whether the queue has a report for a destination or, after damage, had it.
func (d *Dispatcher) knows(x *destination, key string, rebuilding bool) bool {
	if rp := d.q.reports[key]; rp != nil && slices.ContainsFunc(rp.in, func(it *delivery) bool { return it.dest == x }) {
		return true
	}
	_, over := d.known[doneKey(x.name, itemKey(key, x.name))]
	return rebuilding && over
}

// doneKey is the key of a delivery in Dispatcher.known.
func doneKey(dest, key string) string { return dest + "\x00" + key }

// outcomes reads from bailiff-report's own entries which deliveries were made or dropped, with the times.
func (d *Dispatcher) outcomes(since time.Time) (known map[string]int64, err error) {
	j, err := journal.Open(d.o.Source, journal.Options{
		Matches: journal.Matches{audit.Matches(Unit, []uint32{d.o.Self}, audit.KindReported, audit.KindReportDropped)},
		Fields:  []string{audit.FieldDestination, audit.FieldItem, audit.FieldReports}, MaxValue: maxReports,
	})
	if err != nil {
		return nil, err
	}
	defer j.Close()
	known = map[string]int64{}
	for j.SeekRealtime(uint64(since.UnixMicro())); j.Next(); {
		entry := j.Entry()
		dest, key := string(entry.Field(0)), string(entry.Field(1))
		if dest == "" || key == "" {
			continue
		}
		at := int64(entry.Realtime)
		known[doneKey(dest, key)] = at
		if reports := string(entry.Field(2)); reports != "" {
			for key := range strings.SplitSeq(reports, "\n") {
				known[doneKey(dest, itemKey(key, dest))] = at
			}
		} else if strings.HasPrefix(key, digestPrefix) { // of an earlier version: it has the bans only
			entry.Each(func(field string, id []byte) bool {
				if field == audit.FieldBanID {
					known[doneKey(dest, itemKey(string(id), dest))] = at
				}
				return true
			})
		}
	}
	return known, nil
}

// remember applies the outcomes of deliveries that the queue lost.
func (d *Dispatcher) remember(known map[string]int64) {
	d.known = known
	for _, x := range d.q.sorted() {
		for _, it := range x.sorted() {
			if at, ok := known[doneKey(x.name, it.key)]; ok && it.state.may(done) && it.state != delivering {
				d.change(it, done, func(r *recDelivery) { r.Time = at })
			}
		}
	}
}

// catchUp starts to read the bans that wait in the journal for a destination, if there is room for them now.
func (d *Dispatcher) catchUp(x *destination) {
	if x.behind == nil || x.catching || !d.caughtUp || d.backlogged(x, true) || d.o.Now().Before(x.catchAt) {
		return
	}
	x.catching = true
	set, conf, from, stop := d.set, &x.ep.conf, *x.behind, d.pos
	d.afterCommit(func() { d.startCatchUp(set, conf, from, stop) })
}

// readBehind implements Dispatcher.startCatchUp.
func (d *Dispatcher) readBehind(set *configuration, conf *config.Destination, from, stop position) {
	h := &banReader{d: d, pos: from, set: set}
	d.spawn(func() {
		ok, err := h.catchUp(d.context, conf, stop)
		d.post(func() { d.caught(conf.Name, stop, ok, err) })
	})
}

// caught ends a catch-up. ok reports whether it reached stop.
func (d *Dispatcher) caught(name string, stop position, ok bool, err error) {
	x := d.q.destination(name)
	x.catching = false
	if err != nil {
		x.catchAt = d.o.Now().Add(fullPause)
		d.problem("behind "+name, fmt.Sprintf("bans for %s wait in the journal, which cannot be read: %v", name, err))
		return
	}
	d.problem("behind "+name, "")
	if ok && d.pos == stop { // otherwise there are newer ones
		d.q.write(kindBehind, recBehind{name, nil}, nil)
	}
}

// catchUp reads bans for one destination, up to where the others are. ok is false if there was no room for all, or if another
// configuration is in effect.
func (h *banReader) catchUp(ctx context.Context, dest *config.Destination, stop position) (ok bool, err error) {
	defer h.close()
	if err := h.open(false); err != nil {
		return false, err
	}
	last, err := journal.ParsePosition(stop.Cursor)
	if err != nil {
		return false, err
	}
	for {
		bans, _, end := h.batch(dest, &last)
		if end {
			h.pos = stop
		}
		if ok, err := h.d.take(ctx, &intake{set: h.set, only: dest.Name, pos: h.pos, bans: bans}); err != nil || !ok || end {
			return ok, err
		}
	}
}

// banReader reads bans from the journal and builds their reports. It is not safe for concurrent use.
type banReader struct {
	d        *Dispatcher
	stream   *journal.Reader
	set      *configuration
	pos      position
	caughtUp bool // the end of the journal was reached once: what is read now was written after New
	builder  *builder
}

func (h *banReader) close() {
	if h.stream != nil {
		h.stream.Close()
	}
	h.closeBuilder()
}

// closeBuilder closes the reader of the evidence, which keeps vacuumed files open.
func (h *banReader) closeBuilder() {
	if h.builder != nil {
		h.builder.evidence.Close()
		h.builder = nil
	}
}

// open opens the journal at the position. Without one, it sets it: to the last start or reload of the daemon, or to how far bans are rebuilt.
func (h *banReader) open(rebuilding bool) error {
	d := h.d
	o := journal.Options{Matches: d.matches(), Fields: []string{"MESSAGE_ID"}}
	pos := h.pos
	if rebuilding && pos == (position{}) {
		pos.Realtime = uint64(time.Now().Add(-h.set.conf.Report.RetryFor).UnixMicro())
		h.pos = pos
	}
	j, err := journal.Open(d.o.Source, o)
	if err != nil {
		return err
	}
	h.stream = j
	read, err := journal.ParsePosition(pos.Cursor)
	known := err == nil
	if known {
		if _, ok := j.At(read.Last()); !ok {
			what := fmt.Sprintf("the entry that was read last (%s) is no longer in the journal: bans that were deleted with it are not reported", read.Last())
			if ahead := time.Until(time.UnixMicro(int64(read.Last().Realtime))); ahead > time.Minute {
				what = "the entry that was read last is in the future (the clock was set back, or the machine was restored): continuing from the last start of the daemon"
				known, pos = false, position{}
			}
			d.event(audit.KindJournalProblem, "reports: "+what)
		}
	}
	switch {
	case known:
		j.SeekPosition(read)
		return nil
	case pos.Realtime != 0:
		j.SeekRealtime(pos.Realtime)
		return nil
	}
	// Bans from before reports were configured are not reported.
	start, err := journal.Open(d.o.Source, journal.Options{Matches: journal.Matches{audit.Matches(audit.Unit, d.o.Daemon, audit.KindStart, audit.KindReload)}})
	if err != nil {
		return err
	}
	defer start.Close()
	if start.SeekTail(); start.Previous() {
		e := start.Entry()
		h.pos = position{e.Cursor.String(), e.Realtime}
		return j.SeekCursor(e.Cursor)
	}
	h.pos = position{Realtime: uint64(d.began.UnixMicro())}
	j.SeekRealtime(h.pos.Realtime)
	return nil
}

// batch reads bans that any destination wants, or dest if it is not nil. reload says that the configuration changed after them; end
// says that there are no more up to stop, or at all.
func (h *banReader) batch(dest *config.Destination, stop *journal.Position) (bans []builtReport, reload, end bool) {
	size := 0
	for len(bans) < batchBans && size < batchBytes {
		if !h.stream.Next() {
			return bans, false, true
		}
		if stop != nil && !h.stream.Reached(*stop) {
			return bans, false, true
		}
		entry := h.stream.Entry()
		before := h.pos
		h.pos = position{h.stream.Position().String(), entry.Realtime}
		switch kind, _ := audit.KindOf(string(entry.Field(0))); kind {
		case audit.KindReload, audit.KindStart:
			// New has loaded a configuration at least as new as that of an earlier entry. If the clock was set back, later entries have
			// earlier times, too.
			if dest == nil && (h.caughtUp || entry.Realtime > uint64(h.d.began.UnixMicro())) {
				return bans, true, false
			}
		default:
			if b := h.ban(kind, entry, dest); b != nil {
				b.before = before
				bans = append(bans, *b)
				size += len(b.body)
			}
		}
	}
	return bans, false, false
}

// ban builds the report of a ban, or of an event, if a destination wants it.
func (h *banReader) ban(kind audit.Kind, entry *journal.Entry, dest *config.Destination) *builtReport {
	b, err := parse(kind, entry)
	if err != nil {
		h.d.log(audit.Warning, fmt.Sprintf("%s cannot be reported (%s): %v", kind, entry.Cursor, err))
	}
	if b == nil {
		return nil
	}
	wanted := dest != nil && accepts(dest, b)
	for _, ep := range h.set.endpoints {
		wanted = wanted || dest == nil && accepts(&ep.conf, b)
	}
	if !wanted {
		return nil
	}
	var r *report.Report
	if b.Event != report.Ban {
		r = eventReport(b, h.set.env.Host)
	} else {
		if h.builder == nil {
			h.builder = newBuilder(h.d.o.Source, h.set.conf, h.set.env.Host)
		}
		r = h.builder.build(b)
	}
	body, err := json.Marshal(r)
	if err != nil {
		h.d.log(audit.Warning, fmt.Sprintf("ban cannot be reported (%s): %v", entry.Cursor, err))
		return nil
	}
	return &builtReport{ban: b, report: r, body: body}
}
