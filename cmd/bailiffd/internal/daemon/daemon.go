package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"bailiff/cmd/internal/nlhelper"
	"bailiff/firewall"
	"bailiff/firewall/conn"
	"bailiff/firewall/firewalld"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
	"bailiff/policy"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/jail"
	"bailiff/policy/state"
	"bailiff/units/activation"
	"bailiff/units/allowlists"
	"bailiff/units/control"
	"bailiff/units/manager"
	"bailiff/units/notify"
	"bailiff/units/version"
)

// tick is the daemon's only clock when nothing happens: bans that ran out, the watchdog, a look at the firewall, the
// state. Five seconds keep a flushed set from lasting (of flushed rules the kernel tells at once), and an idle host asleep.
const tick = 5 * time.Second

// An idle Go program with several processors wakes some of their threads at each tick. One processor judges half a million
// entries a second, so more are used only while the journal is far behind: after this many full batches.
const farBehind = 64

// How often the state file is written: soon after a ban, seldom when only the position in the journal moved on (a crash
// then only means that some entries are read again, and lead to what they led to before).
const (
	saveBans   = 5 * time.Second
	saveCursor = 60 * time.Second

	// saveWait is how long a save waits at most for journald to take the announcements of the bans in it.
	saveWait = 5 * time.Second
)

// saveShare keeps a large state (a million addresses are 20 MB) from being written all the time: no more than one part in
// so many goes into making it up, during which nothing is judged.
const saveShare = 200

// lateAfter is when reading counts as lagging: then the newest entry read is that old and more are waiting.
const lateAfter = 15 * time.Second

// daemon owns the state. All its fields belong to the goroutine in run, but for the channels and what says otherwise.
type daemon struct {
	opt  options
	conf *config.Config
	eng  *policy.Engine
	led  *state.State

	firewall       *firewallWorker
	firewallEvents chan firewallEvent
	closer         *connCloser
	unwatch        context.CancelFunc
	counter        firewall.Counter // the backend, where it is one
	inspecting     chan struct{}    // holds one while the firewall is inspected
	host           hostFacts
	presence       chan bool // firewalld came or went
	fw             control.FirewallStatus
	scopes         scopes
	newRules       bool      // a reload asks for other rules and sets: what the next reconcile makes of them is no repair
	chosen, why    string    // the backend that is to be in force, and why; fw has the one that is
	fwFirst        bool      // the first reconcile is still to come, or under way
	fwFull         time.Time // the full set of bans was last gone through

	reader   *reader
	sources  []journal.ID128
	trail    evidence.Trail
	scribe   *scribe
	reporter *reporter
	aud      *audit.Writer
	units    *manager.Finder
	ops      *operatorWatch
	lists    *allowlists.Watch
	helper   *nlhelper.Client // does what takes netlink, where the daemon must not; nil: it may
	self     self

	calls chan func()
	saved chan error
	hub   hub

	pos       journal.Position
	js        control.JournalStatus
	lagging   bool
	behind    int // batches in a row behind which more were waiting
	caughtUp  bool
	readAll   bool            // no entries are waiting
	readTo    int64           // time of the last entry read, µs
	announced map[string]bool // bans that the audit trail has already, while entries from before a crash are read again

	dirtyBans, dirtyCursor bool
	lastSave               time.Time
	saveHurry              context.CancelFunc // has the save that goes on wait for nothing
	saveCost               time.Duration      // what making up the last snapshot took
	saveSize               int                // of it, in bytes
	saveBuf                []byte             // it, until it is calm
	saving                 bool
	saveErr                error
	stirred                bool // memory was taken since it was given back
	lastStir               time.Time

	started, reloaded time.Time
	configErr         string
	bansTotal         uint64
	lastStatus        string
	selfChecked       time.Time
	problems          problems
	clock             clockGuard
	droppedAt         time.Time // when journald last suppressed messages
}

func newDaemon(o options) (*daemon, error) {
	d := &daemon{opt: o, started: time.Now(), calls: make(chan func()), saved: make(chan error, 1), firewallEvents: make(chan firewallEvent, 16), inspecting: make(chan struct{}, 1), fwFirst: true,
		lists: allowlists.NewWatch(allowlists.Store{Dir: o.lists}), self: self{from: make(chan selfAnswer, 1)}, host: hostFacts{lacks: map[string]string{}, ipsetTool: ipsetTool}}
	c, err := d.load()
	if err != nil {
		return nil, err
	}
	d.conf = c
	return d, nil
}

// load reads the configuration as it is on disk now.
func (d *daemon) load() (*config.Config, error) {
	var l config.Loader
	if d.opt.config != "" {
		return l.LoadFile(d.opt.config)
	}
	return l.Load()
}

func (d *daemon) run(ctx context.Context) (err error) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	d.aud = audit.Open(audit.Options{Socket: d.opt.audit, Stderr: audit.Stderr()})
	defer func() { // where the start failed; else stop has done it
		c, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		d.aud.Close(c)
	}()

	ln, _, err := activation.Listener("control", d.opt.socket)
	if err != nil {
		return err
	}
	d.lookForFirewalld(ctx)
	if d.host.confined = confined(); d.host.confined {
		d.helper = nlhelper.New(nlhelper.Path)
		d.askSelf() // systemd starts it while we read the state
	}
	saved, err := loadState(d.opt.state)
	if err != nil {
		ln.Close()
		return err
	}
	d.units = manager.NewFinder()
	d.host.nftService = d.nftService
	be, pos, err := d.restore(ctx, &saved)
	if err != nil {
		ln.Close()
		if ctx.Err() != nil {
			return nil // stopped while the state was rebuilt: the next start does it again
		}
		return err
	}
	inner, cancel := context.WithCancel(context.Background())
	defer cancel()
	// Neither the helper nor the firewall keeps us from starting for longer than this, together.
	patience, ready := context.WithTimeout(ctx, startLimit)
	defer ready()

	src := d.source()
	d.reporter = &reporter{path: d.opt.report}
	d.reporter.configure(d.conf)
	d.scribe = newScribe(d.aud, src)
	d.scribe.reporter = d.reporter
	go d.scribe.run()
	kill, track := conn.Kill, conn.Forget
	if d.helper != nil {
		kill, track = d.helper.Kill, nil
		select {
		case a := <-d.self.from:
			d.knowSelf(a)
		case <-patience.Done(): // the loop takes its answer
		}
	}
	d.closer = newConnCloser(d.conf.Firewall.Close, kill, track, d.connectionsStay)
	go d.closer.run(inner)
	d.firewall = newFirewallWorker(be, d.host.others(d.chosen, d.opt.backend, d.helper), d.closer, d.firewallEvents)
	d.tryOperators(time.Now())
	defer d.leaveOperators()
	d.lookAtLists()
	d.refreshAllow(time.Now())
	d.liftOrphans()
	d.fwFull = time.Now()
	d.firewall.first(d.wanted())
	firewallDone := make(chan struct{})
	go func() { d.firewall.run(inner); close(firewallDone) }()
	d.watch(be)
	d.presence = make(chan bool)
	go firewalld.Presence(inner, d.host.fwd, d.presence)
	defer func() {
		if d.unwatch != nil {
			d.unwatch()
		}
	}()
	// Whoever is ordered after us (sshd, say) shall find the bans in place. A firewall that hangs does not keep the
	// daemon from starting: counting and the audit trail work without it, and status tells.
	for d.fwFirst {
		select {
		case e := <-d.firewallEvents:
			d.firewallEvent(e)
		case <-patience.Done():
			d.fwFirst = false
		}
	}
	ready()

	srv := control.NewServer(&asker{d}, control.Options{Log: func(s string) { d.aud.Log(audit.Warning, "control socket: "+s) }})
	go srv.Serve(ln)

	d.reader = newReader(src)
	go d.reader.run(inner, d.matches(), pos)

	d.aud.Event(audit.KindStart, fmt.Sprintf("bailiff %s started: %d bans in force, firewall backend %s (%s), %d jails on",
		version.String(), d.led.Len(), d.fw.Backend, d.fw.Why, len(d.jailNames())), audit.Field{Name: audit.FieldBackend, Value: d.fw.Backend})
	d.reporter.start()
	notify.Ready(d.statusLine())

	d.loop(ctx, hup)

	return d.stop(srv, cancel, firewallDone)
}

// The unit's TimeoutStopSec= is 30 s. The state is saved first; what others hold up after that has these times since the stop
// began, one after the other.
const (
	stopCalls    = 2 * time.Second  // for calls under way
	stopFirewall = 9 * time.Second  // to carry out what was decided
	stopGiveUp   = 11 * time.Second // for the firewall's answer once it is told to give up
	stopEmpty    = 17 * time.Second // to take all bans out, where that is asked for
	stopTrail    = 24 * time.Second // to write the audit trail
)

// stop ends the daemon: the state is saved, what was decided is carried out, and the bans stay unless asked otherwise.
func (d *daemon) stop(srv *control.Server, cancel context.CancelFunc, firewallDone <-chan struct{}) error {
	began := time.Now()
	notify.Stopping("saving the state")
	saveErr := d.saveNow()
	by := func(limit time.Duration) (context.Context, context.CancelFunc) {
		return context.WithDeadline(context.Background(), began.Add(limit))
	}
	c, done := by(stopCalls)
	d.shutServer(c, srv)
	done()
	if d.dirtyBans || saveErr != nil { // a call was answered meanwhile
		saveErr = d.saveNow()
	}
	d.firewall.finish()
	ended := d.drain(firewallDone, began.Add(stopFirewall))
	cancel()
	if !ended {
		ended = d.drain(firewallDone, began.Add(stopGiveUp))
	}
	left := "they stay in force"
	switch {
	case !ended: // its goroutine still uses the backend
		d.aud.Event(audit.KindFirewallError, "firewall, while stopping: it does not answer; the next start repairs it")
		if !d.conf.Firewall.KeepOnStop {
			left = "which could not be taken out of the firewall"
		}
	case d.conf.Firewall.KeepOnStop:
		c, done := by(stopEmpty)
		d.firewall.close(c, false)
		done()
	default:
		left = "taken out of the firewall, as keep_on_stop: false asks"
		c, done := by(stopEmpty)
		if err := d.firewall.close(c, true); err != nil {
			left = "which could not be taken out of the firewall"
			d.aud.Event(audit.KindFirewallError, "firewall: rules and sets could not be removed: "+err.Error())
		}
		done()
	}
	c, done = by(stopTrail)
	defer done()
	d.scribe.finish(c)
	d.aud.Event(audit.KindStop, fmt.Sprintf("bailiff stopped: %d bans, %s", d.led.Len(), left))
	if err := d.aud.Close(c); err != nil {
		diag.Print(os.Stderr, "bailiffd", err) // no reason for the unit to fail: journald is away, and stderr goes there too
	}
	if saveErr != nil {
		return fmt.Errorf("save the state: %w", saveErr)
	}
	return nil
}

// drain takes what the firewall worker tells until it has ended, or until a moment. It says whether it has ended.
func (d *daemon) drain(firewallDone <-chan struct{}, until time.Time) bool {
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	for {
		select {
		case e := <-d.firewallEvents:
			if err := cmp.Or(e.err, e.notice); err != nil {
				d.aud.Event(audit.KindFirewallError, "firewall, while stopping: "+err.Error()+"; the next start repairs it")
			}
		case <-firewallDone:
			return true
		case <-late.C:
			return false
		}
	}
}

// shutServer ends the control server. Calls under way are answered first: they still need the owner of the state.
func (d *daemon) shutServer(ctx context.Context, srv *control.Server) {
	done := make(chan struct{})
	go func() {
		srv.Shutdown(ctx)
		close(done)
	}()
	for {
		select {
		case f := <-d.calls:
			f()
		case <-done:
			return
		}
	}
}

// source is where the journal is read from.
func (d *daemon) source() journal.Source {
	if d.opt.journal != "" {
		return journal.Dir(d.opt.journal)
	}
	return journal.Host("")
}

// restore brings back the state, opens the firewall, and says where to go on reading. A state that is lost is rebuilt from
// the audit trail and from what the firewall holds.
func (d *daemon) restore(ctx context.Context, saved *savedState) (be firewall.Backend, start position, err error) {
	now, led := time.Now(), saved.state
	d.led = led
	if jump := d.clock.start(now, sinceBoot(), saved.at); jump > 0 {
		d.tellJump(jump)
	}
	pos, lost := savedPosition(led, now)
	if pos.IsZero() {
		led.TakeCounts() // what was counted belongs to that position, and would be counted again
	}
	trail, err := d.replayTrail(ctx, saved, pos, now)
	if err != nil {
		return nil, start, err
	}
	d.scopes = newScopes(d.conf, led)
	be, d.why, err = d.host.open(d.conf, d.opt.backend, d.scopes)
	if err != nil {
		return nil, start, err
	}
	d.chosen = be.Name()
	d.fw = control.FirewallStatus{Backend: d.chosen, Why: d.why}
	defer func() {
		if err != nil {
			be.Close()
		}
	}()
	inSets, listErr := 0, error(nil)
	if saved.lost() {
		inSets, listErr = d.recoverSets(ctx, be, now)
	}
	if d.eng, err = policy.New(d.conf, led); err != nil {
		return nil, start, err
	}
	if err := d.eng.RestoreError(); err != nil {
		d.happened(audit.KindJournalProblem, "state", fmt.Sprintf("%v: only what the journal says of the last %s counts", err, d.eng.Window()))
	}
	d.keepRestored(saved, &trail, inSets, listErr, now)
	if lost != "" {
		d.happened(audit.KindJournalProblem, "journal position", fmt.Sprintf("%s: the journal is read from %s back", lost, d.eng.Window()))
	}
	window := uint64(d.eng.Window().Microseconds())
	since := now
	if !saved.lost() && lost == "" && saved.at.Before(now) {
		since = saved.at // of the first start: until a position was saved, each one goes on from there
	}
	start = position{since: uint64(since.UnixMicro()) - window}
	again := start.since
	if !pos.IsZero() {
		d.pos = pos
		at := pos.Last().Realtime
		start = position{pos: pos, rebuild: at - min(window, at)}
		again = at
	}
	d.announced, err = d.readAnnounced(ctx, again-min(rebuildBeyond, again))
	return be, start, err
}

// keepRestored tells what was rebuilt, and saves it before anything else happens.
func (d *daemon) keepRestored(saved *savedState, trail *trailReport, inSets int, listErr error, now time.Time) {
	first := saved.missing && trail.entries == 0 && inSets == 0 && trail.problem == ""
	rebuilt := fmt.Sprintf("%d bans were rebuilt from the audit trail and the firewall's sets", d.led.Len())
	if listErr != nil && !first {
		rebuilt += fmt.Sprintf(" (the firewall's sets cannot be listed: %v)", listErr)
	}
	if trail.problem != "" {
		d.happened(audit.KindJournalProblem, "audit trail", trail.problem)
		rebuilt += "; the audit trail could be read in part only"
	}
	switch {
	case first:
		d.saveErr = saveState(d.opt.state, d.snapshot())
	case saved.missing:
		d.saveErr = saveState(d.opt.state, d.snapshot())
		d.happened(audit.KindStateSetAside, "state", fmt.Sprintf("%s was missing; %s", filepath.Join(d.opt.state, stateName), rebuilt))
	case saved.damaged != nil:
		var aside string
		if aside, d.saveErr = replaceDamaged(d.opt.state, d.snapshot(), now); d.saveErr == nil {
			d.happened(audit.KindStateSetAside, "state", fmt.Sprintf("the state file was damaged (%v) and is set aside as %s; %s", saved.damaged, aside, rebuilt))
		} else {
			d.happened(audit.KindStateSetAside, "state", fmt.Sprintf("the state file is damaged (%v); %s", saved.damaged, rebuilt))
		}
	case trail.changes > 0:
		d.dirtyBans = true
		d.aud.Log(audit.Notice, fmt.Sprintf("%d changes made by hand since the state was last saved were taken from the audit trail", trail.changes))
	}
	if d.saveErr != nil {
		d.dirtyBans = true
		d.aud.Event(audit.KindError, "the state cannot be saved: "+d.saveErr.Error())
	}
}

// savedPosition is how far the state file says that the journal was read; lost says why that cannot be used.
func savedPosition(led *state.State, now time.Time) (p journal.Position, lost string) {
	if led.Cursor() == "" {
		return p, ""
	}
	p, err := journal.ParsePosition(led.Cursor())
	if err != nil {
		return p, fmt.Sprintf("the saved cursor %q: %v", led.Cursor(), err)
	}
	if ahead := time.UnixMicro(int64(p.Last().Realtime)).Sub(now); ahead > time.Minute {
		return journal.Position{}, fmt.Sprintf("the saved cursor lies %s in the future (the clock was set back, or the machine restored)", ahead.Round(time.Second))
	}
	return p, ""
}

// loop is the owner of the state at work.
func (d *daemon) loop(ctx context.Context, hup <-chan os.Signal) {
	t := time.NewTicker(tick)
	defer t.Stop()
	watchdog, guarded, err := notify.Watchdog()
	if err != nil {
		d.aud.Log(audit.Warning, err.Error())
	}
	lastPing := time.Time{}
	for {
		select {
		case b := <-d.reader.out:
			d.entries(b)
			d.reader.free <- b
		case e := <-d.firewallEvents:
			d.firewallEvent(e)
		case f := <-d.calls:
			f()
		case open := <-d.sessions():
			d.loggedIn(open)
		case a := <-d.self.from:
			if d.knowSelf(a) {
				d.refreshAllow(time.Now())
			}
		case err := <-d.saved:
			d.saveDone(err)
		case d.host.fwd = <-d.presence:
			d.choose()
		case err := <-d.reader.failed:
			d.problem(audit.KindJournalProblem, journalReading, "the journal cannot be read: "+err.Error())
		case <-hup:
			notify.Reloading("reloading")
			if _, err := d.reload("SIGHUP"); err != nil {
				diag.Print(os.Stderr, "bailiffd", err)
			}
			notify.Ready(d.statusLine())
		case <-t.C:
			d.tick(time.Now())
		case <-ctx.Done():
			return
		}
		if guarded && time.Since(lastPing) >= watchdog-tick {
			lastPing = time.Now()
			notify.Ping()
		}
	}
}

// entries judges a batch.
func (d *daemon) entries(b *batch) {
	now := time.Now()
	if len(b.entries) > 0 {
		d.stir()
		d.sources = b.sources // a batch without entries, of a journal that only woke us, knows none
	}
	d.eng.Reread(b.rebuild)
	var adds []firewall.Ban
	for i := range b.entries {
		if d.loggedBy(&b.entries[i]) {
			if len(adds) > 0 { // what is lifted now must not be put in place later
				d.firewall.add(adds...)
				adds = nil
			}
			d.refreshAllow(now)
		}
		out := d.eng.Entry(&b.entries[i], b.refs[i])
		if out.Hits > 0 {
			d.trail.Keep(b.refs[i], &b.cursors[i])
			d.dirtyCursor = true
		}
		if len(out.Failures) > 0 && !b.rebuild && d.hub.watched() {
			d.hub.failures(out.Failures, now, d.maxRetry)
		}
		adds = d.decided(adds, out.Bans, now)
	}
	if len(adds) > 0 {
		d.firewall.add(adds...)
	}
	if n := len(b.entries); n > 0 {
		d.readTo = b.entries[n-1].Realtime
	}
	d.readAll = !b.behind && !b.rebuild
	d.js.Entries += uint64(len(b.entries))
	if b.moved && !b.rebuild {
		d.pos, d.dirtyCursor = b.pos, true
		d.js.Time = time.UnixMicro(int64(b.pos.Last().Realtime))
	}
	if b.dropped > 0 && !b.rebuild {
		d.js.Dropped += b.dropped
		d.droppedAt = now
		d.aud.Event(audit.KindDropped, fmt.Sprintf("journald suppressed %d messages by its rate limit: evidence may be missing (LogRateLimitIntervalSec=0 in the unit concerned ends that)", b.dropped),
			audit.Field{Name: "BAILIFF_DROPPED", Value: fmt.Sprint(b.dropped)})
	}
	for _, n := range b.notices {
		d.happened(audit.KindJournalProblem, "journal position", n)
	}
	if b.listed {
		d.solved(journalReading)
		d.js.Files = b.files
		d.troubles(b.troubles)
	}
	d.lag(b, now)
	d.processors(b.behind)
	if !b.behind && !b.rebuild && !d.caughtUp {
		d.caughtUp, d.dirtyCursor = true, true
		d.announced = nil
		d.maybeSave(now) // a daemon that is killed again and again gets on all the same
		d.firewall.reconcile(d.wanted())
		d.tellStatus()
	}
}

// processors sets how many processors the program uses.
func (d *daemon) processors(behind bool) {
	n := 1
	if behind {
		if d.behind++; d.behind < farBehind && d.caughtUp {
			return
		}
		n = runtime.NumCPU()
	} else {
		d.behind = 0
	}
	if n != runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(n)
	}
}

// decided makes bans known, and appends what the firewall is to hold for them. A ban that is over already was missed while
// the daemon was down.
func (d *daemon) decided(adds []firewall.Ban, bans []policy.Ban, now time.Time) []firewall.Ban {
	for i := range bans {
		b := &bans[i]
		d.dirtyBans = true
		if b.Until != 0 && b.Until <= now.UnixMicro() {
			if !b.Observed {
				d.eng.ExpireBan(b.Ban)
			}
			continue
		}
		kind := audit.KindBan
		switch {
		case b.Observed:
			kind = audit.KindObserved
		case b.Extended:
			kind = audit.KindExtend
		default:
			d.bansTotal++
		}
		if len(d.announced) == 0 || !d.announced[announcement(kind, b.ID(), whenMicro(b.Until))] {
			ev := banEvent(&b.Ban, d.fw.Backend)
			ev.Wide, ev.Addresses = b.Wide, append(b.Addresses(), b.Addr)
			ev.Unreported = b.Extended // one attack, one report
			if len(b.Evidence) > 0 {
				ev.First = time.UnixMicro(b.Evidence[0].At)
			}
			d.record(record{kind: kind, ban: ev, evidence: d.evidence(b.Evidence)})
		}
		if !b.Observed {
			adds = append(adds, d.elements(&b.Ban)...)
		}
	}
	return adds
}

// record writes into the audit trail, and tells those who watch.
func (d *daemon) record(r record) {
	d.hub.record(&r)
	d.scribe.put(r)
}

func (d *daemon) maxRetry(jail string) int {
	j, _ := d.eng.Jail(jail)
	return j.MaxRetry
}

// evidence names the entries that a ban stands on.
func (d *daemon) evidence(fs []jail.Failure) []evidence.Evidence {
	l := make([]evidence.Evidence, 0, len(fs))
	for _, f := range fs {
		if e, ok := d.trail.Evidence(f.Ref, d.sources); ok {
			l = append(l, e)
		}
	}
	return l
}

// banEvent is a ban of the state as the audit trail tells it.
func banEvent(b *state.Ban, backend string) audit.BanEvent {
	return audit.BanEvent{
		Prefix: b.Prefix, Jail: b.Jail, ID: b.ID(), Since: time.UnixMicro(b.Since), Until: whenMicro(b.Until),
		Failures: b.Failures, Count: b.Count, Scope: b.Scope, Backend: backend, Reason: b.Reason, By: b.By,
	}
}

// whenMicro turns microseconds into a time; 0 is the zero time, which means for ever.
func whenMicro(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us)
}

// elements are what the firewall should hold for a ban: one element for each scope.
func (d *daemon) elements(b *state.Ban) (l []firewall.Ban) {
	for _, scope := range d.scopes.of(b.Scope) {
		if e, ok := d.element(b.Prefix, scope); ok {
			l = append(l, e)
		}
	}
	return l
}

// element is what the firewall should hold for a prefix in a scope: the longest of the bans that share it. ok is false when
// no ban asks for it any more.
func (d *daemon) element(prefix netip.Prefix, scope string) (e firewall.Ban, ok bool) {
	e = firewall.Ban{Prefix: prefix, Scope: scope}
	for b := range d.led.Of(prefix) {
		if !slices.Contains(d.scopes.of(b.Scope), scope) {
			continue
		}
		until := d.clock.end(whenMicro(b.Until))
		switch {
		case !ok, until.IsZero(), !e.Until.IsZero() && until.After(e.Until):
			e.Until = until
		}
		ok = true
		if e.Until.IsZero() {
			break
		}
	}
	return e, ok
}

// wanted is everything that the firewall should hold.
func (d *daemon) wanted() []firewall.Ban {
	d.stir()
	want := make([]firewall.Ban, 0, d.led.Len())
	for b := range d.led.All() { // in the order of prefixes, so that bans of one prefix stand together
		for _, scope := range d.scopes.of(b.Scope) {
			e := firewall.Ban{Prefix: b.Prefix, Scope: scope, Until: d.clock.end(whenMicro(b.Until))}
			merged := false
			for i := len(want) - 1; i >= 0 && want[i].Prefix == e.Prefix; i-- {
				if w := &want[i]; w.Scope == e.Scope {
					if !w.Until.IsZero() && (e.Until.IsZero() || e.Until.After(w.Until)) {
						w.Until = e.Until
					}
					merged = true
					break
				}
			}
			if !merged {
				want = append(want, e)
			}
		}
	}
	return want
}

// released tells firewall and audit trail of bans that are over.
func (d *daemon) released(bans []state.Ban, reason, by string) {
	for i := range bans {
		b := &bans[i]
		for _, scope := range d.scopes.of(b.Scope) {
			if e, ok := d.element(b.Prefix, scope); ok {
				d.firewall.add(e) // another ban asks for the same element, until another time
			} else {
				d.firewall.remove(e.Key())
			}
		}
		d.record(record{kind: audit.KindUnban, unban: audit.UnbanEvent{
			Prefix: b.Prefix, Jail: b.Jail, ID: b.ID(), Since: time.UnixMicro(b.Since), Until: whenMicro(b.Until), Reason: reason, By: by,
		}})
		d.dirtyBans = true
	}
}

// startLimit is how long the start waits for others. 100,000 bans take the kernel half a second, and 50,000 take firewalld six.
const startLimit = 10 * time.Second

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// troubles takes over what is not read of the journal. Each problem is written to the audit trail when it comes up.
func (d *daemon) troubles(errs []error) {
	d.js.Problems = d.js.Problems[:0:0]
	for _, e := range errs {
		d.js.Problems = append(d.js.Problems, journalProblem(e))
	}
	for _, text := range d.problems.set(time.Now(), time.Time{}, journalFiles, d.js.Problems...) {
		d.aud.Event(audit.KindJournalProblem, text)
	}
}

// Sources of problems of the journal.
const (
	journalReading = "journal"
	journalFiles   = "journal files"
)

// journalProblem is how status and the audit trail name a problem of the journal.
func journalProblem(err error) string {
	text := "journal file: " + err.Error()
	if hint := journal.Hint(err); hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

// present finds which of the jails' units this host has. It asks systemd once for all: a bus that hangs costs one wait.
func (d *daemon) present(ctx context.Context, jails []policy.JailInfo) func(policy.JailInfo) []string {
	var names []string
	for _, j := range jails {
		names = append(names, j.Trust.Names()...)
	}
	found, err := d.units.Find(ctx, names)
	return func(j policy.JailInfo) []string {
		names := j.Trust.Names()
		if err != nil { // then all may be there
			return names
		}
		units := []string{}
		for _, n := range names {
			if real := found[n]; real != "" {
				units = append(units, real)
			}
		}
		slices.Sort(units)
		return slices.Compact(units)
	}
}

// lag notices when reading falls behind what is written.
func (d *daemon) lag(b *batch, now time.Time) {
	if b.rebuild {
		return
	}
	d.js.Lag = 0
	if b.behind && b.moved {
		d.js.Lag = max(0, now.Sub(time.UnixMicro(int64(b.pos.Last().Realtime))).Seconds())
	}
	switch late := d.js.Lag > lateAfter.Seconds(); {
	case late && !d.lagging && d.caughtUp:
		d.lagging = true
		d.aud.Event(audit.KindLag, fmt.Sprintf("reading the journal %.0f s behind", d.js.Lag))
	case !b.behind && d.lagging:
		d.lagging = false
		d.aud.Event(audit.KindLag, "reading the journal without delay again")
	}
}

// tick does what time brings.
func (d *daemon) tick(now time.Time) {
	over := d.lookAtClock(now)
	read := d.readTo
	if d.readAll {
		read = over.UnixMicro()
	}
	if read != 0 {
		if adds := d.decided(nil, d.eng.Settle(read).Bans, now); len(adds) > 0 {
			d.firewall.add(adds...)
		}
	}
	if ended := d.eng.Expire(over.UnixMicro(), read); len(ended) > 0 {
		d.released(ended, "expired", "")
	}
	if now.Sub(d.fwFull) > fwDaily {
		// The kernel's timeouts end after 24 days at most: longer bans are refreshed well before.
		d.fwFull = now
		d.firewall.reconcile(d.wanted())
	} else {
		d.firewall.check()
	}
	d.tickAllow(now)
	d.lookAtProblems(now)
	d.maybeSave(now)
	d.tellStatus()
	d.hub.flush()
	// When a storm is over, what it took goes back to the system at once, not when the next one comes.
	if d.stirred && now.Sub(d.lastStir) > calm {
		d.stirred = false
		d.saveBuf = nil
		debug.FreeOSMemory()
	}
}

// stir notes that something happened which takes memory for a while.
func (d *daemon) stir() { d.stirred, d.lastStir = true, time.Now() }

// calm is how long it must be quiet before memory is given back, which costs some milliseconds.
const calm = 10 * time.Second

// fwDaily is how often the wanted set is gone through as a whole though nothing seems wrong, selfEvery how often the
// host's own addresses are looked at (they change with DHCP and the like).
const (
	fwDaily   = 24 * time.Hour
	selfEvery = 5 * time.Minute
)

// maybeSave writes the state file when it is time.
func (d *daemon) maybeSave(now time.Time) {
	since := now.Sub(d.lastSave)
	if since < saveShare*d.saveCost {
		return
	}
	if d.saving || !(d.dirtyBans && since >= saveBans || d.dirtyCursor && since >= saveCursor) {
		return
	}
	d.saving, d.dirtyBans, d.dirtyCursor, d.lastSave = true, false, false, now
	begin := time.Now()
	data := d.snapshot()
	d.saveCost = time.Since(begin)
	// What the state holds has been announced, in whatever moment the daemon is killed: behind the saved position nobody
	// would announce it again. A journald that hangs delays a save, and prevents none.
	ctx, cancel := context.WithTimeout(context.Background(), saveWait)
	d.saveHurry = cancel
	go func() {
		defer cancel()
		_ = d.scribe.flush(ctx)
		d.saved <- saveState(d.opt.state, data)
	}()
}

func (d *daemon) snapshot() []byte {
	if !d.pos.IsZero() {
		d.led.SetCursor(d.pos.String())
	}
	// In the place of the last one, or in one piece with room to grow: what is grown by appending leaves several times its
	// size behind. The last one is saved: else there would be none now.
	if n := d.saveSize + d.saveSize/16; cap(d.saveBuf) < n {
		d.saveBuf = nil
		d.saveBuf = make([]byte, 0, n+n/8)
	}
	b := d.eng.Snapshot(d.saveBuf[:0])
	d.saveBuf, d.saveSize = b, len(b)
	return b
}

func (d *daemon) saveDone(err error) {
	d.saving = false
	if err != nil {
		d.dirtyBans = true
		if d.saveErr == nil || d.saveErr.Error() != err.Error() {
			d.aud.Event(audit.KindError, "the state cannot be saved: "+err.Error())
		}
	}
	d.saveErr = err
}

// saveNow writes the state file before an operator's command is answered.
func (d *daemon) saveNow() error {
	if d.saving {
		d.saveHurry()
		d.saveDone(<-d.saved)
	}
	d.dirtyBans, d.dirtyCursor, d.lastSave = false, false, time.Now()
	err := saveState(d.opt.state, d.snapshot())
	d.saveDone(err)
	return err
}

// reload loads the configuration anew and swaps it in; on any error the old one stays.
func (d *daemon) reload(by string) (*control.Reloaded, error) {
	c, err := d.load()
	var be firewall.Backend
	var why string
	var s scopes
	if err == nil {
		if s = newScopes(c, d.led); !sameFirewall(d.conf, c) || !reflect.DeepEqual(s, d.scopes) {
			be, why, err = d.host.open(c, d.opt.backend, s)
		}
	}
	if err == nil {
		if err = d.eng.Configure(c); err != nil && be != nil {
			be.Close()
		}
	}
	if err != nil {
		d.configErr = strings.ReplaceAll(err.Error(), "\n", "; ")
		d.aud.Event(audit.KindReloadRefused, "reload refused, the old configuration stays: "+err.Error(), audit.Field{Name: audit.FieldBy, Value: by})
		return nil, err
	}
	d.conf, d.configErr, d.reloaded = c, "", time.Now()
	d.reporter.configure(c)
	if be != nil {
		d.scopes = s
		d.useBackend(be, why, false)
	}
	d.liftOrphans()
	d.tryOperators(d.reloaded)
	d.lookAtLists()
	if d.helper != nil {
		d.askSelf()
	}
	d.closer.enable(c.Firewall.Close)
	d.refreshAllow(d.reloaded)
	d.reader.reload(d.matches())
	d.firewall.reconcile(d.wanted())
	d.aud.Event(audit.KindReload, fmt.Sprintf("reloaded by %s: %d jails, %d files", by, len(d.eng.Jails()), len(c.Files)), audit.Field{Name: audit.FieldBy, Value: by})
	d.reporter.start() // this may be the first configuration with a destination
	d.dirtyBans = true
	d.hub.state("reloaded")
	return &control.Reloaded{Jails: d.jailNames(), Config: slices.Clone(c.Files), Notices: slices.Clone(c.Notices)}, nil
}

// liftOrphans lifts the bans of jails that are switched off, or only observe now.
func (d *daemon) liftOrphans() {
	gone := d.eng.TakeOrphans(func(jail string) bool { return jail == jailManual || jail == jailRecovered })
	d.released(gone, "the jail is not enabled any more", "")
}

func (d *daemon) matches() journal.Matches {
	ms := d.eng.Matchers()
	if d.ops != nil {
		ms = append(ms, d.ops.Matcher())
	}
	return evidence.Matches(ms, droppedGroup)
}

func (d *daemon) jailNames() []string {
	names := []string{}
	for _, j := range d.eng.Jails() {
		names = append(names, j.Name)
	}
	return names
}

// statusLine is what systemctl status shows.
func (d *daemon) statusLine() string {
	var b strings.Builder
	switch {
	case !d.caughtUp:
		b.WriteString("catching up with the journal; ")
	case d.lagging:
		fmt.Fprintf(&b, "LAGGING %.0f s behind the journal; ", d.js.Lag)
	}
	if d.fw.Error != "" {
		fmt.Fprintf(&b, "FIREWALL: %s; ", d.fw.Error)
	}
	if d.configErr != "" {
		fmt.Fprintf(&b, "CONFIGURATION NOT RELOADED: %s; ", d.configErr)
	}
	if d.saveErr != nil {
		fmt.Fprintf(&b, "STATE NOT SAVED: %v; ", d.saveErr)
	}
	tracked, _, _ := d.eng.Tracked()
	fmt.Fprintf(&b, "%d banned, %d watched, %d bans since start; %s", d.led.Len(), tracked, d.bansTotal, d.fw.Backend)
	return b.String()
}

func (d *daemon) tellStatus() {
	if s := d.statusLine(); s != d.lastStatus {
		d.lastStatus = s
		notify.Status(s)
		d.hub.state(s)
	}
}
