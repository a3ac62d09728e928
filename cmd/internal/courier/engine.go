// Package courier brings reports of bans to where they shall go. It follows the daemon's audit entries in the journal, makes
// a report of each ban with the lines it stands on (maker.go), keeps it in a queue that survives a crash at any moment
// (queue.go, wal.go), and hands it to destinations until they take it (runner.go). How they are reached is for
// cmd/internal/deliver; this package opens no connection, and holds no secret.
//
// The journal is the queue before the queue: what has not been taken from it is not lost. A delivery is written down before
// it begins and after it ended; where a crash came between, the journal is asked whether it succeeded (trace.go).
//
// Start reading at Engine.Run.
package courier

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"bailiff/cmd/internal/deliver"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/config"
	"bailiff/policy/report"
	"bailiff/units/notify"
)

// Our units, by which their entries are known.
const (
	DaemonUnit = "bailiff.service"
	Unit       = "bailiff-report.service"
	Identifier = "bailiff-report" // SYSLOG_IDENTIFIER of our entries
)

// Pauses between attempts. They double from First to Most, each with up to a quarter more or less, so that hosts which were
// refused at the same moment do not come back at the same moment.
type Pauses struct{ First, Most time.Duration }

const (
	idleLimit = 5 * time.Minute  // with nothing to do the courier ends
	fullPause = 30 * time.Second // until a disk that was full is tried again
	tick      = 10 * time.Second
	saveEvery = time.Minute      // the position alone is written so often
	maxAsking = 64               // questions about addresses at once
	stopGrace = 80 * time.Second // deliveries under way may end within it; TimeoutStopSec= is longer
)

// Options are what an Engine takes from the process it lives in.
type Options struct {
	Dir       string         // of the queue
	Source    journal.Source // where the daemon's entries are, and the lines of the evidence
	Daemon    []uint32       // users whose entries in the daemon's unit are the daemon's
	Self      uint32         // the user that the courier runs as
	Load      func() (*config.Config, error)
	New       func(*report.Destination, deliver.Env) (deliver.Destination, error)
	Env       func(*config.Config) (deliver.Env, error) // what destinations get; Lookup in it may be nil
	Audit     *audit.Writer
	Pauses    Pauses        // zero: 30 s to 1 h
	Idle      time.Duration // zero: idleLimit; negative: never ends by itself
	SettleFor time.Duration // zero: settleWait
	Most      int           // reports that may wait; zero: mostWaiting
}

// Engine is the courier. Its fields are guarded by mu, but for those that never change.
type Engine struct {
	o     Options
	began time.Time
	wake  chan struct{} // for the loop in Run
	fatal chan error

	mu                sync.Mutex
	q                 *Queue
	conf              *config.Config
	confErr           string
	env               deliver.Env
	maker             *Maker
	runners           map[string]*runner
	running, stopping bool
	asks              []*rep
	asking            int
	caughtUp          bool
	active            time.Time // when something happened last
	idled             time.Time // when it was decided to end, since nothing did
	pos               position  // as read, which may be further than as saved
	saved             time.Time
	fullSaid          bool
	compactAt         time.Time // not before that
	deliverCtx        context.Context
	cutOff            context.CancelFunc // ends deliverCtx
	problems          []string
	status            string
	delivered         uint64
}

// New reads configuration and queue.
func New(o Options) (*Engine, error) {
	if o.Pauses == (Pauses{}) {
		o.Pauses = Pauses{30 * time.Second, time.Hour}
	}
	if o.Idle == 0 {
		o.Idle = idleLimit
	}
	if o.SettleFor == 0 {
		o.SettleFor = settleWait
	}
	if o.Most == 0 {
		o.Most = mostWaiting
	}
	e := &Engine{o: o, began: time.Now(), wake: make(chan struct{}, 1), fatal: make(chan error, 1), runners: map[string]*runner{}, active: time.Now(), saved: time.Now()}
	c, err := o.Load()
	if err != nil {
		return nil, err
	}
	if e.q, err = Open(o.Dir); err != nil {
		return nil, err
	}
	e.pos = e.q.pos
	now := time.Now()
	for _, d := range e.q.dest {
		for _, it := range d.items {
			it.restore(now)
		}
	}
	for _, text := range e.q.news {
		e.o.Audit.Event(audit.KindReportQueue, text)
		e.problem(text)
	}
	e.deliverCtx, e.cutOff = context.WithCancel(context.Background())
	return e, e.configure(c)
}

// mostWaiting bounds memory: 600 bytes each. What is beyond waits in the journal.
const mostWaiting = 200_000

// restore gives an item of an earlier run the times of this one. Saved times are believed only as far as a clock that was set
// can make no harm: no pause becomes longer than it was, no age negative.
func (it *item) restore(now time.Time) {
	left := time.UnixMicro(it.next).Sub(now)
	it.due = now.Add(min(max(left, 0), time.Duration(it.pause)*time.Microsecond))
	it.born = now.Add(-max(0, now.Sub(time.UnixMicro(it.since))))
	it.begun = 0
}

// Run works until ctx ends, or there is nothing to do. It returns when deliveries under way are over.
func (e *Engine) Run(ctx context.Context) error {
	inner, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer e.cutOff()
	e.mu.Lock()
	e.running = true
	for _, r := range e.runners {
		r.start()
	}
	e.wanting()
	e.mu.Unlock()
	followed := make(chan struct{})
	go func() { e.follow(inner); close(followed) }()
	notify.Ready(e.statusLine())
	watchdog, guarded, err := notify.Watchdog()
	if err != nil {
		e.o.Audit.Log(audit.Warning, err.Error())
	}
	t := time.NewTicker(tick)
	defer t.Stop()
	lastPing := time.Time{}
loop:
	for {
		select {
		case <-ctx.Done():
			break loop
		case err = <-e.fatal:
			break loop
		case <-e.wake:
		case now := <-t.C:
			e.tick(now)
		}
		e.tellStatus()
		if guarded && time.Since(lastPing) >= watchdog-tick {
			lastPing = time.Now()
			notify.Ping()
		}
		if e.idle(time.Now()) {
			break
		}
	}
	notify.Stopping("finishing what is in hand")
	e.mu.Lock()
	e.stopping = true
	runners := make([]*runner, 0, len(e.runners))
	for _, r := range e.runners {
		runners = append(runners, r)
		r.nudge()
	}
	e.mu.Unlock()
	cancel()
	grace := time.AfterFunc(stopGrace, e.cutOff)
	defer grace.Stop()
	over := make(chan struct{})
	go func() {
		<-followed
		for _, r := range runners {
			<-r.done
		}
		close(over)
	}()
	for waiting := true; waiting; {
		select {
		case <-over:
			waiting = false
		case <-t.C:
			notify.Ping()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil && e.pos != e.q.pos {
		err = e.q.Take(e.pos, nil)
		if full := (*fullError)(nil); errors.As(err, &full) {
			err = nil // some entries are read again, and known
		}
	}
	if err == nil {
		err = e.q.Sync()
	}
	return errors.Join(err, e.q.close())
}

// die ends the process: it cannot go on without knowing what is on the disk.
func (e *Engine) die(err error) {
	select {
	case e.fatal <- err:
	default:
	}
}

func (e *Engine) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// stir notes that something happened.
func (e *Engine) stir() {
	e.active = time.Now()
	e.nudge()
}

// Stir keeps the courier from ending because nothing happens.
func (e *Engine) Stir() {
	e.mu.Lock()
	e.stir()
	e.mu.Unlock()
}

func (e *Engine) idle(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.o.Idle < 0 || !e.caughtUp || !e.q.empty() || e.asking > 0 || now.Sub(e.active) <= e.o.Idle {
		return false
	}
	e.idled = now
	return true
}

// Again says, after Run, that something came between the decision to end, since there was nothing to do, and the end.
func (e *Engine) Again() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.idled.IsZero() && (e.active.After(e.idled) || !e.q.empty())
}

const maxProblems = 16

// problem keeps a text for status.
func (e *Engine) problem(text string) {
	if !slices.Contains(e.problems, text) {
		e.problems = append(e.problems[max(0, len(e.problems)-maxProblems+1):], text)
	}
}

// tick does what time brings.
func (e *Engine) tick(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pos != e.q.pos && now.Sub(e.saved) > saveEvery {
		e.saved = now
		if err := e.q.Take(e.pos, nil); err != nil {
			e.trouble(err)
		}
	}
	windows := map[string]time.Duration{}
	for name, r := range e.runners {
		windows[name] = r.conf.Window
	}
	e.q.prune(now, func(name string) time.Duration { return windows[name] })
	e.tidy(now)
	for _, d := range e.q.dest {
		limit := e.conf.Report.GiveUp
		if r := d.run; r != nil {
			if limit = r.conf.GiveUp; d.hold == nil && !r.spent(now) {
				continue // is given up after one more attempt
			}
		}
		for _, it := range d.items {
			if it.begun == 0 && !it.taken && now.Sub(it.born) > limit {
				e.drop(d, it, fmt.Sprintf("given up after %s", audit.Duration(limit)))
			}
		}
		for _, rp := range slices.Clone(d.gather) {
			if now.Sub(time.UnixMicro(rp.Since)) > limit+day {
				e.dropGathered(d, []*rep{rp}, fmt.Sprintf("given up after %s", audit.Duration(limit)))
			}
		}
	}
}

// tidy writes the file anew where most of it is over.
func (e *Engine) tidy(now time.Time) {
	if !e.q.wasteful() || now.Before(e.compactAt) {
		return
	}
	e.compactAt = now.Add(tick)
	if err := e.q.compact(); err != nil {
		e.compactAt = now.Add(time.Minute)
		e.trouble(err)
	}
}

// trouble deals with an error of the queue's file. It says whether it may be tried again.
func (e *Engine) trouble(err error) bool {
	var full *fullError
	if !errors.As(err, &full) {
		e.die(err)
		return false
	}
	if !e.fullSaid {
		e.fullSaid = true
		e.o.Audit.Event(audit.KindReportQueue, err.Error()+": new bans wait in the journal until there is room")
	}
	return true
}

// roomAgain says so, after trouble.
func (e *Engine) roomAgain() {
	if e.fullSaid {
		e.fullSaid = false
		e.o.Audit.Event(audit.KindReportQueue, "the queue has room again: bans that waited in the journal are reported now")
	}
}

// configure puts a configuration in force.
func (e *Engine) configure(c *config.Config) error {
	env, err := e.o.Env(c)
	if err != nil {
		return err
	}
	made := map[string]*runner{}
	for i := range c.Report.Destinations {
		conf := c.Report.Destinations[i]
		if !conf.Enabled {
			continue
		}
		if conf.GiveUp == 0 {
			conf.GiveUp = c.Report.GiveUp
		}
		print := fingerprint(&conf, &c.Report, &env)
		if old := e.runners[conf.Name]; old != nil && old.print == print {
			made[conf.Name] = old
			continue
		}
		dst, err := e.o.New(&conf, env)
		if err != nil {
			dst = broken{fmt.Errorf("report.destinations.%s: %w", conf.Name, err)}
		}
		made[conf.Name] = newRunner(e, conf, dst, print, limit(&conf, &c.Report))
	}
	e.conf, e.env = c, env
	e.maker = NewMaker(e.o.Source, c, env.Host)
	for name, old := range e.runners {
		if made[name] != old {
			old.retired = true
			e.q.destination(name).run = nil
			old.nudge()
			if r := made[name]; r != nil {
				r.before = old.done
			}
		}
	}
	old := e.runners
	e.runners = made
	for name, r := range made {
		if old[name] == r {
			continue
		}
		d := e.q.destination(name)
		d.run, r.d = r, d
		if d.hold != nil && d.hold.Print != r.print {
			if err := e.q.write(frHold, recHold{Dest: name, Time: time.Now().UnixMicro()}); err != nil && !e.trouble(err) {
				return err
			}
			if d.hold == nil {
				e.o.Audit.Event(audit.KindReportsFree, fmt.Sprintf("reports to %s go out again: it is set up anew", name), audit.Field{Name: audit.FieldDestination, Value: name})
			}
		}
		r.fill()
	}
	if e.running {
		for _, r := range made {
			r.start()
		}
		e.wanting()
	}
	e.nudge()
	return nil
}

// broken stands for a destination that cannot be made as it is configured, a key of its that is missing say: what it shall get
// is kept, and the others do their work.
type broken struct{ err error }

func (b broken) Deliver(context.Context, *report.Item) (report.Receipt, error) {
	return report.Receipt{}, &report.Refused{All: true, Err: b.err}
}

func (b broken) Render(*report.Item) ([]byte, error) { return nil, b.err }

// fingerprint tells whether a destination is set up as it was, secret included, without telling the secret.
func fingerprint(d *report.Destination, c *report.Config, env *deliver.Env) string {
	h := sha256.New()
	json.NewEncoder(h).Encode([]any{d, c.Host, c.Sender, c.Lookup, c.Sendmail, env.Host, env.Own})
	if name := d.CredentialName(); name != "" && env.Secret != nil {
		if b, err := env.Secret(name); err == nil {
			s := sha256.Sum256(b)
			h.Write(s[:])
		}
	}
	if d.Template != "" { // it can be mended in place
		if f, err := os.Open(d.Template); err == nil {
			io.CopyN(h, f, 1<<20)
			f.Close()
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Reload reads the configuration again. On any error the old one stays.
func (e *Engine) Reload() error {
	c, err := e.o.Load()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		err = e.configure(c)
	}
	e.confErr = ""
	if err != nil {
		e.confErr = strings.ReplaceAll(err.Error(), "\n", "; ")
		e.o.Audit.Event(audit.KindReloadRefused, "reports: the new configuration is refused, the old one stays: "+e.confErr)
	}
	e.stir()
	return err
}

// wants says whether a destination gets a report of a ban.
func (r *runner) wants(b *Ban, addr netip.Addr, again bool) bool {
	c := &r.conf
	hand := b.By != ""
	switch {
	case b.Restored, b.Unreported,
		hand && !c.Manual,
		b.Wide && !c.Wide,
		b.Extended && !c.Extended,
		!hand && b.Failures < c.MinFailures,
		len(c.Jails) > 0 && !slices.Contains(c.Jails, b.Jail):
		return false
	}
	if c.Window > 0 {
		if last, ok := r.d.window[addr]; ok {
			since := b.Time.Unix() - last
			if since < int64(c.Window/time.Second) && (since > 0 || since == 0 && !again) {
				return false
			}
		}
	}
	return true
}

// route decides where a ban is reported. Only bans that somebody wants are made reports of; window and address are looked at
// once the report is made.
func (e *Engine) route(b *Ban, addr netip.Addr) (t taken) {
	t = taken{Key: b.Key(), ID: b.ID, Address: addr, Jail: b.Jail, Time: b.Time.UnixMicro(), Since: time.Now().UnixMicro()}
	again := e.q.again(t.Time)
	for name, r := range e.runners {
		switch {
		case !r.wants(b, addr, again):
		case r.conf.Digest != "off" && r.conf.Digest != "":
			t.Gather = append(t.Gather, name)
		default:
			t.To = append(t.To, name)
		}
	}
	slices.Sort(t.To)
	slices.Sort(t.Gather)
	return e.q.missing(t)
}

// needsWhois says whether a destination tells what the registries say.
func needsWhois(d *report.Destination) bool {
	return d.Type == report.Mail && slices.Contains(d.Parts, report.PartWhois) || d.Type == report.XARF
}

// take adds reports to the queue, durably, and sets them going. It is tried until there is room.
func (e *Engine) take(ctx context.Context, pos position, batch []taken) error {
	for {
		e.mu.Lock()
		var err error = &fullError{fmt.Errorf("%d reports wait", len(e.q.reps))}
		if len(e.q.reps)+len(batch) <= e.o.Most {
			err = e.q.Take(pos, batch)
		}
		if err == nil {
			e.pos, e.saved = pos, time.Now()
			e.roomAgain()
			e.mu.Unlock()
			if err = e.q.Sync(); err != nil {
				return err
			}
			e.mu.Lock()
			for i := range batch {
				if rp := e.q.reps[batch[i].Key]; rp != nil {
					e.ask(rp)
					e.release(rp)
				}
			}
			e.stir()
			e.mu.Unlock()
			return nil
		}
		again := e.trouble(err)
		e.mu.Unlock()
		if !again {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(fullPause):
		}
	}
}

// ask has the registries asked about a report's address, if somebody wants to know.
func (e *Engine) ask(rp *rep) {
	if rp.whois {
		return
	}
	if e.env.Lookup == nil || !e.whoisWanted(rp) {
		rp.whois = true
		return
	}
	e.asks = append(e.asks, rp)
	if e.asking < maxAsking {
		e.asking++
		go e.asker()
	}
}

func (e *Engine) whoisWanted(rp *rep) bool {
	for name, r := range e.runners {
		if needsWhois(&r.conf) && (e.q.dest[name].items[itemKey(rp.Key, name)] != nil || slices.Contains(r.d.gather, rp)) {
			return true
		}
	}
	return false
}

// asker asks until nobody wants to know more.
func (e *Engine) asker() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.asks) > 0 && !e.stopping {
		rp := e.asks[0]
		e.asks = e.asks[1:]
		if rp.refs == 0 || rp.whois {
			continue
		}
		lookup, limit := e.env.Lookup, e.conf.Report.Lookup.TimeLimit
		// Time spent waiting here counts: the mail is late by the limit at most.
		left := limit - time.Since(time.UnixMicro(rp.Since))
		if left <= 0 || left > limit {
			left = limit // taken by an earlier run, or the clock was set
		}
		e.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), left)
		w := lookup(ctx, rp.Address)
		cancel()
		e.mu.Lock()
		if rp.refs == 0 {
			continue
		}
		if err := e.q.SetWhois(rp, w); err != nil {
			e.trouble(err) // the report goes without
		}
		rp.whois = true
		e.release(rp)
	}
	e.asking--
	e.nudge()
}

// wanting asks about all reports of an earlier run that lack an answer.
func (e *Engine) wanting() {
	for _, rp := range e.q.reps {
		e.ask(rp)
		e.release(rp)
	}
}

// release lets the deliveries of a report go on that waited for whois.
func (e *Engine) release(rp *rep) {
	for name, r := range e.runners {
		if it := e.q.dest[name].items[itemKey(rp.Key, name)]; it != nil {
			r.push(it)
		}
		r.nudge()
	}
}

// drop gives an item up.
func (e *Engine) drop(d *dest, it *item, why string) bool {
	rec := recItem{Dest: d.name, Key: it.key, Time: time.Now().UnixMicro(), Err: why}
	if it.digest {
		rec.Reports = keysOf(it.reps)
	}
	if err := e.q.write(frDrop, rec); err != nil {
		e.trouble(err)
		return false
	}
	if d.run != nil {
		d.run.remove(it)
	}
	last := ""
	if it.err != "" && it.err != why {
		last = ": " + it.err
	}
	e.tell(audit.KindReportDropped, d.name, it.key, it.reps, "not delivered: "+why+last, audit.Field{Name: audit.FieldError, Value: cut(cmpOr(it.err, why))})
	e.stir()
	return true
}

func (e *Engine) dropGathered(d *dest, reps []*rep, why string) bool {
	keys := keysOf(reps)
	if err := e.q.write(frDrop, recItem{Dest: d.name, Reports: keys, Time: time.Now().UnixMicro(), Err: why}); err != nil {
		e.trouble(err)
		return false
	}
	e.tell(audit.KindReportDropped, d.name, "", reps, "not delivered: "+why, audit.Field{Name: audit.FieldError, Value: cut(why)})
	return true
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// maxTold is how many reports of a digest an entry names one by one.
const maxTold = 64

// tell writes an audit entry about an item.
func (e *Engine) tell(k audit.Kind, dest, key string, reps []*rep, what string, more ...audit.Field) {
	about := fmt.Sprintf("%d bans", len(reps))
	if len(reps) == 1 {
		about = "ban of " + reps[0].Address.String()
		if reps[0].Jail != "" {
			about += " (" + reps[0].Jail + ")"
		}
	}
	f := []audit.Field{{Name: audit.FieldDestination, Value: dest}}
	if key != "" {
		f = append(f, audit.Field{Name: audit.FieldItem, Value: key})
	}
	for _, rp := range reps[:min(len(reps), maxTold)] {
		f = append(f, audit.Field{Name: audit.FieldBanID, Value: rp.ID}, audit.Field{Name: audit.FieldAddress, Value: rp.Address.String()})
	}
	if len(reps) == 1 {
		f = append(f, audit.Field{Name: audit.FieldJail, Value: reps[0].Jail})
	}
	e.o.Audit.Event(k, fmt.Sprintf("report to %s, %s: %s", dest, about, what), append(f, more...)...)
}

// cut makes a text of somebody else's fit for a field: one line, and not too long.
func cut(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), 4000)], "")))
	if len(s) > 1000 {
		return strings.ToValidUTF8(s[:1000], "") + "…"
	}
	return s
}

// statusLine is what systemctl status shows: "3 waiting at admin, last error …".
func (e *Engine) statusLine() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var parts []string
	if e.confErr != "" {
		parts = append(parts, "CONFIGURATION NOT RELOADED: "+e.confErr)
	}
	if e.fullSaid {
		parts = append(parts, "QUEUE FULL: bans wait in the journal")
	}
	if !e.caughtUp {
		parts = append(parts, "reading the journal")
	}
	names := make([]string, 0, len(e.q.dest))
	for name := range e.q.dest {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		d := e.q.dest[name]
		n := len(d.items) + len(d.gather)
		if n == 0 && d.hold == nil {
			continue
		}
		s := fmt.Sprintf("%d waiting at %s", n, name)
		switch {
		case d.hold != nil:
			s += ", HELD: " + d.hold.Why
		case d.run == nil:
			s += ", which is not configured"
		case d.run.lastErr != "":
			s += ", last error: " + d.run.lastErr
		}
		parts = append(parts, s)
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing waits")
	}
	return fmt.Sprintf("%s; %d delivered since start", strings.Join(parts, "; "), e.delivered)
}

func (e *Engine) tellStatus() {
	if s := e.statusLine(); s != e.status { // of the loop in Run alone
		e.status = s
		notify.Status(s)
	}
}
