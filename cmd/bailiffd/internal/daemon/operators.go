package daemon

import (
	"context"
	"net/netip"
	"time"

	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
	"bailiff/policy/allow"
	"bailiff/policy/filter"
	"bailiff/policy/operator"
	"bailiff/policy/state"
	"bailiff/units/logind"
	"bailiff/units/operators"
)

const (
	// logindInterval is how often logind is asked while an operator's session is open, for changes that it sends no signal about.
	logindInterval = time.Minute

	// logindWait is how long entries wait for logind's first answer. It takes milliseconds, and is the only one to know sessions that
	// began before operator.MaxUnseen.
	logindWait = 5 * time.Second

	// maxSessionEntries bounds how many entries of sshd readSessions reads, the latest ones: about a second's work.
	maxSessionEntries = 1 << 18

	findingSessions = "finding operators' sessions in the journal"
)

// operatorWatch follows who is logged in and may administer this host. It is nil if the configuration protects no operators.
type operatorWatch struct {
	*operator.Tracker
	sessions chan []operator.Session // from logind
	logind   *logind.Watcher
	asked    time.Time
	awaited  time.Time          // until when entries wait for logind's first answer; zero: no longer
	read     int64              // time of the entry judged last, µs since 1970; 0: none that the saved state does not know
	stop     context.CancelFunc // ends following logind
}

// followOperators starts, changes or ends following operators, as the configuration says. The entries that follow begin at a time
// (microseconds since 1970). It fails if ctx ends.
func (d *daemon) followOperators(ctx context.Context, now time.Time, begin uint64) error {
	c := d.conf.Allow.Operators
	if !c.Enabled {
		d.leaveOperators()
		d.problems.end("operators")
		return nil
	}
	o := operators.Options(c)
	if d.ops != nil {
		d.ops.stop()
		d.ops.Configure(o, now.UnixMicro())
	} else {
		t, err := operators.New(c)
		if err != nil {
			d.problems.begin(audit.KindError, "operators", "operators: "+err.Error())
			return nil
		}
		if err := d.readSessions(ctx, t, begin); err != nil {
			return err
		}
		d.ops = &operatorWatch{Tracker: t, awaited: now.Add(logindWait)}
	}
	d.problems.end("operators")
	ctx, d.ops.stop = context.WithCancel(context.Background())
	d.ops.sessions = make(chan []operator.Session)
	d.ops.logind = logind.New(func(user string, uid int64) bool { _, ok := o.Member(user, uid); return ok })
	go d.ops.logind.Run(ctx, d.ops.sessions)
	return nil
}

// readSessions reads from the journal which sessions were open or had ended before a time (microseconds since 1970). logind does not know
// those that have ended, and on some hosts none. It fails if ctx ends.
func (d *daemon) readSessions(ctx context.Context, ops *operator.Tracker, before uint64) error {
	j, err := journal.Open(d.source, journal.Options{Matches: evidence.Matches([]*filter.Matcher{ops.Matcher()}), Fields: evidence.Fields, MaxValue: evidence.MaxValue})
	if err != nil {
		return nil // the reader reports a journal that cannot be opened
	}
	defer j.Close()
	var t startTimer
	first, n := before-min(uint64(operator.MaxUnseen.Microseconds()), before), 0
	for j.SeekRealtime(before); j.Previous() && j.Entry().Realtime >= first; n++ {
		if err := t.extend(ctx, findingSessions); err != nil {
			return err
		}
		if n == maxSessionEntries {
			first = j.Entry().Realtime
			break
		}
	}
	j.SeekRealtime(first)
	for ; n > 0 && j.Next() && j.Entry().Realtime < before; n-- {
		if err := t.extend(ctx, findingSessions); err != nil {
			return err
		}
		var e filter.Entry
		evidence.Convert(j.Entry(), &e)
		ops.Entry(&e)
	}
	ops.Expire(int64(before))
	return nil
}

func (d *daemon) leaveOperators() {
	if d.ops != nil {
		d.ops.stop()
		d.ops = nil
	}
}

// sessions is where logind's answers come from. It blocks forever if operators are not followed.
func (d *daemon) sessions() <-chan []operator.Session {
	if d.ops == nil {
		return nil
	}
	return d.ops.sessions
}

// batches is where journal entries come from. It blocks while they wait for logind's first answer.
func (d *daemon) batches() <-chan *batch {
	if d.ops != nil && !d.ops.awaited.IsZero() {
		return nil
	}
	return d.reader.out
}

// logindTried is closed when logind need not be waited for. It blocks forever if it is not.
func (d *daemon) logindTried() <-chan struct{} {
	if d.ops == nil || d.ops.awaited.IsZero() {
		return nil
	}
	return d.ops.logind.Tried()
}

// operatorSessions takes logind's answer.
func (d *daemon) operatorSessions(open []operator.Session) {
	now := time.Now()
	if d.ops == nil {
		return
	}
	d.ops.awaited = time.Time{}
	if d.ops.Logind(open, now.UnixMicro()); d.ops.Due(now.UnixMicro()) {
		d.refreshAllow(now)
	}
}

// operatorEntry takes a journal entry about a login. due means that the allow list must be rebuilt before the entry is judged. rebuild means
// that it was judged before the saved position.
func (d *daemon) operatorEntry(e *filter.Entry, rebuild bool) (due bool) {
	if d.ops == nil {
		return false
	}
	if !rebuild {
		d.ops.read = e.Realtime
	}
	d.ops.Entry(e)
	return d.ops.Due(e.Realtime)
}

// stays returns which bans operators' sessions do not lift while entries from before the start are read. Apart from those that logind lists,
// the sessions are then those of the entry judged last: a ban that began later is of an address whose operator had logged out by then.
// The other entries of the allow list lift bans as ever.
func (o *operatorWatch) stays(others []allow.Entry, now int64) func(*state.Ban) bool {
	for _, s := range o.Sessions() {
		if s.ID != "" {
			others = append(others, allow.Entry{Prefix: netip.PrefixFrom(s.Addr, s.Addr.BitLen())})
		}
	}
	l := allow.NewList(others)
	return func(b *state.Ban) bool { return b.Since > o.read && !l.Overlaps(b.Prefix, now) }
}

// tick asks logind from time to time, and reports whether the allow list has to be rebuilt. Sessions are those of the time up to which all
// entries have been judged (µs since 1970; 0: not known yet).
func (o *operatorWatch) tick(now time.Time, judged int64) (due bool) {
	if judged != 0 {
		o.Expire(judged)
	}
	if now.After(o.awaited) {
		o.awaited = time.Time{}
	}
	due = o.Stale()
	if o.Open() && now.Sub(o.asked) >= logindInterval {
		o.asked = now
		o.logind.Ask()
	}
	return due
}
