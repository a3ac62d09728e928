// Package dispatch delivers reports of bans. It follows the daemon's audit entries in the journal (follow.go), builds a report of
// each ban with its evidence (builder.go), keeps reports in a queue that survives a crash at any moment (queue.go, logfile.go) and
// delivers them (deliveries.go). It opens no connection and holds no secret: package deliver does.
//
// One goroutine, the dispatcher, owns the queue and all deliveries. Workers deliver, look addresses up and search the journal. They
// send back functions, which the dispatcher runs. The states of a delivery are in state.go.
//
// In each turn, the dispatcher applies what has happened, decides what to start, and writes all of it to the disk in one frame.
// Only then does it start workers and answer callers. So nothing happens that is not on the disk.
//
// The queue's file is written by hand because a report must be recorded before its delivery and a damaged file must be repaired
// from the journal; a database would add its own format and no safety.
//
// Start reading at Dispatcher.Run.
package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/bucket"
	"bailiff/policy/config"
	"bailiff/units/notify"
)

// How our entries are recognized.
const (
	Unit       = "bailiff-report.service"
	Identifier = "bailiff-report" // SYSLOG_IDENTIFIER of our entries
)

// Pauses are the pauses between attempts. They double from First to Max. Each is up to a quarter longer or shorter, so that hosts that
// were refused at the same moment do not come back at the same moment.
type Pauses struct{ First, Max time.Duration }

const (
	lingerTime = 5 * time.Second  // without destinations, the process ends this long after the last call
	fullPause  = 30 * time.Second // before a full disk is tried again
	tick       = 10 * time.Second
	saveEvery  = time.Minute            // between writes of the position alone
	busyPause  = 100 * time.Millisecond // before journald is tried again
	maxLookups = 64                     // at the same time
	maxTurn    = 256                    // events in one turn
	stopGrace  = 3 * time.Second        // for deliveries under way at a stop; then they are interrupted
	stopLimit  = 8 * time.Second        // for deliveries that were interrupted; TimeoutStopSec= is longer
)

// Trail is where audit entries go: *audit.Writer.
type Trail interface {
	Send(audit.Entry)
	Busy() bool                     // its queue is nearly full: start nothing that needs an entry
	Wait(ctx context.Context) error // until its queue has room
}

// Options are what a Dispatcher gets from its process.
type Options struct {
	Dir       string         // of the queue
	Source    journal.Source // of the daemon's entries and of the evidence
	Daemon    []uint32       // users whose entries in the daemon's unit are trusted
	Self      uint32         // the user of this process
	Load      func() (*config.Config, error)
	New       func(*config.Destination, deliver.Env) (deliver.Destination, error)
	Env       func(*config.Config) (deliver.Env, error) // for destinations; its Lookup may be nil
	Audit     Trail
	Pauses    Pauses        // zero: 30 s to 1 h
	Linger    time.Duration // zero: lingerTime
	SettleFor time.Duration // zero: resolveWait
	MaxBytes  int64         // of reports that wait for one destination; zero: maxBytes
	MaxCount  int           // deliveries that wait for one destination; zero: maxCount
	Now       func() time.Time
}

// Limits of the reports that wait for one destination. Further bans wait in the journal, for this destination only.
const (
	maxBytes = 64 << 20
	maxCount = 50_000 // some 600 bytes of memory each
)

// Dispatcher owns the queue. Only the goroutine of Run uses its fields, except those in the first group, which never change.
type Dispatcher struct {
	o      Options
	began  time.Time
	events chan func()   // run by the dispatcher, in order
	ended  chan struct{} // closed when no more events are taken
	post   func(func())  // sends a function to the dispatcher
	spawn  func(func())  // starts a worker
	probe  prober
	// startCatchUp starts to read the bans that wait in the journal for a destination.
	startCatchUp func(set *configuration, conf *config.Destination, from, stop position)
	reload       sync.Mutex         // held while a configuration is loaded and applied
	context      context.Context    // of deliveries
	interrupt    context.CancelFunc // ends context

	q        *queue
	set      *configuration
	confErr  string
	effects  []func() // to run after the commit
	intakes  []*intake
	lookups  []*queuedReport // waiting for a worker
	looking  int
	callers  bucket.Bucket    // of lookups for callers of the control socket
	inFlight int              // deliveries and tests
	known    map[string]int64 // after damage: deliveries that are over according to the journal, and when; nil: not read yet
	caughtUp bool
	active   time.Time // of the last call
	pos      position  // in the journal, which may be ahead of the saved one
	saved    time.Time
	ticked   time.Time
	fatal    error     // the content of the disk is unknown
	diskFull bool      // pending records could not be written
	noRoom   string    // why no reports are taken; "": they are taken
	retryAt  time.Time // of the next attempt if diskFull or noRoom
	compact  time.Time // not compacted before
	stopping bool
	problems []problem
	status   string
	count    uint64 // of reports delivered
}

// problem is shown in status until its source clears it.
type problem struct{ source, text string }

// New loads the configuration and opens the queue.
func New(o Options) (*Dispatcher, error) {
	o.Pauses = cmp.Or(o.Pauses, Pauses{First: 30 * time.Second, Max: time.Hour})
	o.Linger, o.SettleFor = cmp.Or(o.Linger, lingerTime), cmp.Or(o.SettleFor, resolveWait)
	o.MaxBytes, o.MaxCount = cmp.Or(o.MaxBytes, maxBytes), cmp.Or(o.MaxCount, maxCount)
	if o.Now == nil {
		o.Now = time.Now
	}
	now := o.Now()
	d := &Dispatcher{o: o, began: now, events: make(chan func()), ended: make(chan struct{}), set: &configuration{}, active: now, saved: now, ticked: now}
	d.post = func(f func()) {
		select {
		case d.events <- f:
		case <-d.ended:
		}
	}
	d.spawn = func(f func()) { go f() }
	d.probe, d.startCatchUp = d.searchLog, d.readBehind
	s, err := d.load()
	if err != nil {
		return nil, err
	}
	if d.q, err = openQueue(o.Dir, o.Now); err != nil {
		return nil, err
	}
	d.pos = d.q.pos
	for _, text := range d.q.news {
		d.event(audit.KindReportQueue, text)
		d.problem("damage", text)
	}
	d.context, d.interrupt = context.WithCancel(context.Background())
	d.configure(s)
	return d, nil
}

// Run works until ctx ends or no destination is left. It returns when deliveries under way have ended or were interrupted.
func (d *Dispatcher) Run(ctx context.Context) error {
	inner, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer d.interrupt()
	defer close(d.ended)
	go d.follow(inner)
	_ = notify.Ready(d.statusLine()) // fails without systemd, which is fine
	watchdog, guarded, err := notify.Watchdog()
	if err != nil {
		d.log(audit.Warning, err.Error())
	}
	var pinged time.Time
	var grace, limit <-chan time.Time
	stop := ctx.Done()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		wait, err := d.turn()
		if err != nil {
			return errors.Join(err, d.q.close())
		}
		if d.idle() {
			break
		}
		if d.stopping && d.inFlight == 0 {
			break
		}
		d.tellStatus()
		if guarded && time.Since(pinged) >= watchdog/2 {
			pinged = time.Now()
			_ = notify.Ping()
			wait = min(wait, watchdog/2)
		}
		t.Reset(max(wait, 0))
		select {
		case f := <-d.events:
			f()
			for n := 0; n < maxTurn; n++ { // further events go into the same frame
				select {
				case f := <-d.events:
					f()
					continue
				default:
				}
				break
			}
		case <-t.C:
		case <-stop:
			stop = nil
			d.stopping = true
			cancel()
			_ = notify.Stopping("finishing deliveries under way")
			grace, limit = time.After(stopGrace), time.After(stopLimit)
		case <-grace:
			d.interrupt()
		case <-limit:
			return errors.Join(errors.New("a delivery did not end when it was interrupted"), d.q.close())
		}
	}
	d.savePosition()
	err = d.q.commit()
	if full := (*fullError)(nil); errors.As(err, &full) {
		err = nil // the entries since the saved position are read again and recognized
	}
	return errors.Join(err, d.q.close())
}

// turn decides what to do next, writes that to the disk, and does it. It returns the time until more is due.
func (d *Dispatcher) turn() (wait time.Duration, err error) {
	now := d.o.Now()
	if d.diskFull { // pending records go first
		if now.Before(d.retryAt) {
			return d.retryAt.Sub(now), nil
		}
		if err := d.commit(); err != nil || d.diskFull {
			return fullPause, err
		}
	}
	wait = tick
	if !d.stopping {
		wait = d.dispatch(now)
	}
	if d.fatal != nil {
		return 0, d.fatal
	}
	if err := d.commit(); err != nil || d.diskFull {
		return fullPause, err
	}
	effects := d.effects
	d.effects = nil
	for _, f := range effects {
		f()
	}
	return wait, d.tidy(now)
}

// commit writes pending records. A full disk is noted and tried again; any other error ends the process, since it is not known what
// is on the disk then.
func (d *Dispatcher) commit() error {
	err := d.q.commit()
	var full *fullError
	if errors.As(err, &full) {
		d.diskFull, d.retryAt = true, d.o.Now().Add(fullPause)
		d.refuse(full)
		return nil
	}
	if d.diskFull && err == nil && len(d.intakes) == 0 { // otherwise admitIntakes finds out whether there is room
		d.roomAgain()
	}
	d.diskFull = false
	return err
}

// refuse reports that no reports are taken, and why.
func (d *Dispatcher) refuse(err *fullError) {
	if d.noRoom == "" {
		d.event(audit.KindReportQueue, err.Error()+": new bans wait in the journal until there is room")
	}
	d.noRoom = err.Error()
}

// roomAgain reports that reports are taken again.
func (d *Dispatcher) roomAgain() {
	if d.noRoom != "" {
		d.noRoom = ""
		d.event(audit.KindReportQueue, "the queue has room again: bans that waited in the journal are reported now")
	}
}

// tidy compacts the file if most of it is no longer needed.
func (d *Dispatcher) tidy(now time.Time) error {
	if !d.q.wasteful() || now.Before(d.compact) {
		return nil
	}
	d.compact = now.Add(tick)
	err := d.q.compact()
	if full := (*fullError)(nil); errors.As(err, &full) {
		d.compact = now.Add(time.Minute)
		return nil
	}
	return err
}

func (d *Dispatcher) savePosition() {
	if d.pos != d.q.pos {
		d.writePosition(d.pos)
	}
}

func (d *Dispatcher) writePosition(pos position) {
	rebuild := d.q.rebuild
	over := rebuild != 0 && pos.Realtime > rebuild
	for _, x := range d.q.dests {
		over = over && (x.behind == nil || x.behind.Realtime > rebuild)
	}
	if over {
		rebuild, d.known = 0, nil
	}
	d.pos, d.saved = pos, d.o.Now()
	d.q.write(kindPosition, recPosition{pos, rebuild}, nil)
}

// afterCommit runs f when all that was decided is on the disk.
func (d *Dispatcher) afterCommit(f func()) { d.effects = append(d.effects, f) }

// call has the dispatcher run f. It returns when f has run and its records are on the disk, or with an error if f will not run.
func (d *Dispatcher) call(ctx context.Context, f func()) error {
	const (
		queued = iota
		taken
		withdrawn
	)
	var mu sync.Mutex
	state := queued
	done := make(chan struct{})
	run := func() {
		mu.Lock()
		defer mu.Unlock()
		if state == withdrawn {
			return
		}
		state = taken
		f()
		d.afterCommit(func() { close(done) })
	}
	select {
	case d.events <- run:
	case <-ctx.Done():
		return ctx.Err()
	case <-d.ended:
		return errEnded
	}
	select {
	case <-done:
		return nil
	case <-d.ended:
		return errEnded
	case <-ctx.Done():
		mu.Lock()
		defer mu.Unlock()
		if state == queued {
			state = withdrawn
			return ctx.Err()
		}
		return errUnsaved
	}
}

var (
	errEnded   = errors.New("bailiff-report is stopping")
	errUnsaved = errors.New("the queue cannot be written now; the change takes effect when the disk has room")
)

// idle reports whether there are no destinations, nothing waits, and the last call was a while ago.
func (d *Dispatcher) idle() bool {
	if len(d.set.endpoints) > 0 || d.inFlight > 0 || len(d.intakes) > 0 || d.o.Now().Sub(d.active) < d.o.Linger {
		return false
	}
	for _, x := range d.q.dests {
		if len(x.all) > 0 {
			return false
		}
	}
	return true
}

// problem sets the problem that status shows for a source; "" clears it. It returns whether the problem is new.
func (d *Dispatcher) problem(source, text string) bool {
	i := slices.IndexFunc(d.problems, func(p problem) bool { return p.source == source })
	switch {
	case i < 0 && text == "" || i >= 0 && d.problems[i].text == text:
		return false
	case i < 0:
		d.problems = append(d.problems, problem{source, text})
	case text == "":
		d.problems = slices.Delete(d.problems, i, i+1)
		return false
	default:
		d.problems[i].text = text
	}
	return true
}

func (d *Dispatcher) event(k audit.Kind, message string, fields ...audit.Field) {
	d.o.Audit.Send(audit.Event(k, message, fields...))
}

func (d *Dispatcher) log(p audit.Priority, message string, fields ...audit.Field) {
	d.o.Audit.Send(audit.Entry{Priority: p, Message: message, Fields: fields})
}

const (
	maxNamed   = 64             // reports of a digest whose bans and addresses an audit entry names
	maxReports = maxNotice * 64 // bytes of FieldReports at most: a key has up to 49, and a newline
)

// auditDelivery writes an audit entry about a delivery.
func (d *Dispatcher) auditDelivery(k audit.Kind, it *delivery, what string, more ...audit.Field) {
	reports := it.reports
	about := fmt.Sprintf("%d bans", len(reports))
	if len(reports) == 1 {
		about = cmp.Or(reports[0].Event, "ban") + " of " + reports[0].about()
		if reports[0].Jail != "" {
			about += " (" + reports[0].Jail + ")"
		}
	}
	f := []audit.Field{{Name: audit.FieldDestination, Value: it.dest.name}, {Name: audit.FieldItem, Value: it.key}}
	for _, rp := range reports[:min(len(reports), maxNamed)] {
		f = append(f, audit.Field{Name: audit.FieldBanID, Value: rp.ID})
		if rp.Address.IsValid() {
			f = append(f, audit.Field{Name: audit.FieldAddress, Value: rp.Address.String()})
		}
	}
	if len(reports) == 1 {
		f = append(f, audit.Field{Name: audit.FieldJail, Value: reports[0].Jail})
	}
	if it.digest {
		f = append(f, audit.Field{Name: audit.FieldReports, Value: strings.Join(keysOf(reports), "\n")})
	}
	d.event(k, fmt.Sprintf("report to %s, %s: %s", it.dest.name, about, what), append(f, more...)...)
}

// oneLine makes a foreign text safe for a field of an audit entry.
func oneLine(s string) string { return safetext.Line(s, 1000) }

// statusLine is what systemctl status shows: "3 waiting for admin, last error …".
func (d *Dispatcher) statusLine() string {
	var parts []string
	if d.confErr != "" {
		parts = append(parts, "CONFIGURATION NOT RELOADED: "+d.confErr)
	}
	if d.noRoom != "" {
		parts = append(parts, "QUEUE FULL: bans wait in the journal")
	}
	if !d.caughtUp {
		parts = append(parts, "reading the journal")
	}
	for _, x := range d.q.sorted() {
		held := x.held()
		if len(x.all) == 0 && held == "" {
			continue
		}
		s := fmt.Sprintf("%d waiting for %s", len(x.all), x.name)
		switch {
		case held != "":
			s += ", HELD: " + held
		case x.ep == nil:
			s += ", which is not configured"
		case x.lastErr != "":
			s += ", last error: " + x.lastErr
		}
		parts = append(parts, s)
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing waits")
	}
	return fmt.Sprintf("%s; %d delivered since start", strings.Join(parts, "; "), d.count)
}

func (d *Dispatcher) tellStatus() {
	if s := d.statusLine(); s != d.status {
		d.status = s
		_ = notify.Status(s)
	}
}
