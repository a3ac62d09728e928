package courier

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bailiff/journal"
	"bailiff/journal/audit"
)

// What is taken from the journal in one go: one fsync for all of it.
const (
	batchBans  = 64
	batchBytes = 4 << 20
)

// quiet is how long a wait for the journal may last; it bounds how late a file that no watch told us of is seen.
const quiet = 30 * time.Second

// follow takes bans from the journal until ctx ends. It survives whatever the journal does.
func (e *Engine) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := e.read(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		e.mu.Lock()
		text := "the journal cannot be read: " + err.Error()
		e.problem(text)
		e.mu.Unlock()
		e.o.Audit.Event(audit.KindJournalProblem, text)
		select {
		case <-ctx.Done():
		case <-time.After(fullPause):
		}
	}
}

// place opens the journal behind the position.
func (e *Engine) place() (*journal.Reader, error) {
	o := journal.Options{Matches: journal.Matches{own(DaemonUnit, e.o.Daemon, audit.KindBan, audit.KindExtend, audit.KindStart, audit.KindReload)}, Fields: []string{"MESSAGE_ID"}}
	e.mu.Lock()
	pos, lost := e.pos, e.q.lost
	giveUp := e.conf.Report.GiveUp
	e.mu.Unlock()
	if lost != nil && pos == (position{}) {
		pos.Realtime = uint64(time.Now().Add(-giveUp).UnixMicro())
	}
	j, err := journal.Open(e.o.Source, o)
	if err != nil {
		return nil, err
	}
	read, known := journal.Position{}, false
	if pos.Cursor != "" {
		if read, err = journal.ParsePosition(pos.Cursor); err == nil {
			known = true
		}
	}
	if known {
		cursor := read.Last()
		if _, ok := j.At(cursor); !ok {
			what := fmt.Sprintf("the entry that was read last (%s) is no longer in the journal: bans behind it that are gone, too, are not reported", cursor)
			if ahead := time.Until(time.UnixMicro(int64(cursor.Realtime))); ahead > time.Minute {
				what = "the entry that was read last lies in the future (the clock was set back, or the machine restored): going on from the daemon's last start"
				known, pos = false, position{}
			}
			e.o.Audit.Event(audit.KindJournalProblem, "reports: "+what)
		}
	}
	switch {
	case known:
		j.SeekPosition(read)
		return j, nil
	case pos.Realtime != 0:
		j.SeekRealtime(pos.Realtime)
		return j, nil
	}
	// Bans from before reports were asked for are not reported.
	j.Close()
	s := o
	s.Matches = journal.Matches{own(DaemonUnit, e.o.Daemon, audit.KindStart, audit.KindReload)}
	if j, err = journal.Open(e.o.Source, s); err != nil {
		return nil, err
	}
	j.SeekTail()
	var cursor journal.Cursor
	if j.Previous() {
		cursor, known = j.Entry().Cursor(), true
	}
	j.Close()
	if j, err = journal.Open(e.o.Source, o); err != nil {
		return nil, err
	}
	if known {
		return j, j.SeekCursor(cursor)
	}
	j.SeekRealtime(uint64(e.began.UnixMicro()))
	return j, nil
}

// read follows the journal; it returns at an error.
func (e *Engine) read(ctx context.Context) error {
	s, err := e.place()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := e.remember(); err != nil {
		return err
	}
	var maker *Maker
	defer func() {
		if maker != nil {
			maker.rest()
		}
	}()
	for ctx.Err() == nil {
		var batch []taken
		var pos position
		var reload, end bool
		size := 0
		for len(batch) < batchBans && size < batchBytes && !reload {
			if !s.Next() {
				end = true
				break
			}
			entry := s.Entry()
			before := pos
			pos = position{entry.Cursor().String(), entry.Realtime}
			switch kind, _ := audit.KindOf(string(entry.Field(0))); kind {
			case audit.KindReload, audit.KindStart:
				reload = true
			case audit.KindBan, audit.KindExtend:
				b, err := parseBan(entry)
				if err != nil {
					e.o.Audit.Log(audit.Warning, fmt.Sprintf("ban that cannot be reported (%s): %v", pos.Cursor, err))
					continue
				}
				e.mu.Lock()
				if maker != e.maker {
					if maker != nil {
						maker.rest()
					}
					maker = e.maker
				}
				some := e.wanted(b)
				e.mu.Unlock()
				if !some {
					continue
				}
				r := maker.Make(b)
				if slices.ContainsFunc(batch, func(t taken) bool { return t.Address == r.Address }) {
					// Whether its window is over is known once the one before is taken.
					if !e.keep(ctx, before, batch) {
						return nil
					}
					batch, size = nil, 0
				}
				e.mu.Lock()
				t := e.route(b, r.Address)
				e.mu.Unlock()
				if len(t.To)+len(t.Gather) == 0 {
					continue
				}
				t.report = r
				batch = append(batch, t)
				for i := range r.Lines {
					size += len(r.Lines[i].Message)
				}
			}
		}
		if len(batch) > 0 {
			if !e.keep(ctx, pos, batch) {
				return nil
			}
		} else if pos.Cursor != "" {
			e.mu.Lock()
			e.pos = pos
			e.mu.Unlock()
		}
		if reload {
			e.Reload()
		}
		if !end {
			continue
		}
		if maker != nil {
			maker.rest()
		}
		e.mu.Lock()
		for _, p := range s.Problems() {
			if text := "journal file: " + p.Error(); !slices.Contains(e.problems, text) {
				e.problem(text)
				e.o.Audit.Event(audit.KindJournalProblem, "reports: "+text)
			}
		}
		e.caughtUp = true
		e.mu.Unlock()
		e.nudge()
		if err := s.Wait(ctx, quiet); err != nil {
			return err
		}
	}
	return nil
}

// keep takes a batch; false when the courier ends.
func (e *Engine) keep(ctx context.Context, pos position, batch []taken) bool {
	err := e.take(ctx, pos, batch)
	if err != nil && ctx.Err() == nil {
		e.die(err)
	}
	return err == nil
}

// wanted says whether any destination may want a report of a ban.
func (e *Engine) wanted(b *Ban) bool {
	for _, r := range e.runners {
		w := r.conf
		w.Window = 0 // the address is not known yet
		if (&runner{conf: w, d: r.d}).wants(b, b.Prefix.Addr(), false) {
			return true
		}
	}
	return false
}

// remember reads, after part of the queue was lost, what became of reports from our own entries.
func (e *Engine) remember() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.q.lost == nil {
		return nil
	}
	j, err := journal.Open(e.o.Source, journal.Options{
		Matches: journal.Matches{own(Unit, []uint32{e.o.Self}, audit.KindReported, audit.KindReportDropped)},
		Fields:  []string{audit.FieldDestination, audit.FieldItem},
	})
	if err != nil {
		return err
	}
	defer j.Close()
	j.SeekRealtime(uint64(time.Now().Add(-e.conf.Report.GiveUp - day).UnixMicro()))
	for j.Next() {
		entry := j.Entry()
		dest, key := string(entry.Field(0)), string(entry.Field(1))
		if dest == "" || key == "" {
			continue
		}
		e.q.lost.Known[doneKey(dest, key)] = true
		entry.Each(func(field string, id []byte) bool { // of a digest the reports in it
			if field == audit.FieldBanID {
				e.q.lost.Known[doneKey(dest, itemKey(string(id), dest))] = true
			}
			return true
		})
		if d := e.q.dest[dest]; d != nil && d.items[key] != nil && d.items[key].begun == 0 && !d.items[key].taken {
			it := d.items[key]
			if err := e.q.write(frDone, recItem{Dest: dest, Key: key, Time: int64(entry.Realtime), Reports: keysOf(it.reps)}); err != nil {
				return err
			}
			if d.run != nil {
				d.run.remove(it)
			}
		}
	}
	return nil
}
