// Package daemon is bailiffd: it reads the journal, lets policy decide who attacks this host, and blocks those addresses with the
// host's firewall. It makes no such decision itself, looks up no host name, and opens no network connection.
//
// One goroutine, the loop in this file, owns the policy's state. Everything that may block runs in goroutines of its own and talks
// to the loop over channels: reading the journal (reader.go), the firewall (firewall_worker.go), the audit trail (audit_queue.go),
// writing the state file (saver.go) and calls of the control socket (control.go). Start reading at run; entries.go is what happens to
// a batch of journal entries, restore.go the start, stop.go the end. bailiffd(8) describes the daemon from outside.
package daemon

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"bailiff/cmd/internal/nlhelper"
	"bailiff/firewall"
	"bailiff/firewall/conn"
	"bailiff/firewall/firewalld"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/state"
	"bailiff/units/activation"
	"bailiff/units/configdir"
	"bailiff/units/control"
	"bailiff/units/manager"
	"bailiff/units/notify"
	"bailiff/units/published"
	"bailiff/units/version"
)

// startLimit bounds how long the start waits for the firewall and the helper, together. 100,000 bans take the kernel half a second;
// 50,000 take firewalld six.
const startLimit = 10 * time.Second

// daemon owns the policy's state. Its fields belong to the goroutine in run, except for the channels.
type daemon struct {
	opt    options
	conf   *config.Config
	source journal.Source
	eng    *policy.Engine
	state  *state.State

	reader   *reader
	journal  journalProgress
	firewall firewallControl
	saver    saver
	memory   memory
	clock    clockGuard
	steps    clockSteps

	aud      *audit.Writer
	audit    *auditQueue
	problems problemLog
	hub      hub
	counts   counters
	reporter *reporter

	units *manager.Finder
	lists *published.Watch
	ops   *operatorWatch
	self  hostAddresses

	others otherHosts
	blocks *blockWorker
	double []policy.Double // as blocks read them

	calls     chan func()     // of the control socket, to be run by the owner
	announced map[string]bool // bans that are in the audit trail already, while entries from before a crash are judged again

	started, reloaded time.Time
	configErr         string // why the last reload was rejected
	lastStatus        string
}

func newDaemon(o options) (*daemon, error) {
	d := &daemon{opt: o, started: time.Now(), source: o.source(), calls: make(chan func()), lists: published.NewWatch(published.Store{Dir: o.lists}), blocks: newBlockWorker(o.blocks, o.state), units: manager.NewFinder()}
	d.self = hostAddresses{problems: &d.problems, answers: make(chan addressAnswer, 1)}
	d.firewall = firewallControl{
		events: make(chan firewallEvent, 16), presence: make(chan bool), inspecting: make(chan struct{}, 1), override: o.backend, starting: true,
		clock: &d.clock, others: &d.others, memory: &d.memory, problems: &d.problems, helper: func() error { return d.self.err },
	}
	d.saver = saver{
		dir: o.state, done: make(chan error, 1), build: d.snapshot, flush: func(ctx context.Context) error { return d.audit.flush(ctx) },
		failed: func(err error) {
			d.problems.tell(audit.KindError, "state file", "the state cannot be saved: "+err.Error())
		},
	}
	c, err := d.load()
	if err != nil {
		return nil, err
	}
	d.conf = c
	return d, nil
}

// load reads the configuration as it is on disk now.
func (d *daemon) load() (*config.Config, error) {
	return new(configdir.Loader).LoadFile(d.opt.config)
}

// snapshot appends the state, with the position in the journal that it belongs to.
func (d *daemon) snapshot(buf []byte) []byte {
	if !d.journal.pos.IsZero() {
		d.state.SetCursor(d.journal.pos.String())
	}
	return d.eng.Snapshot(buf)
}

// run starts the daemon, works until ctx ends, and stops it.
func (d *daemon) run(ctx context.Context) (err error) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	d.aud = audit.Open(audit.Options{Socket: d.opt.audit, Stderr: audit.Stderr()})
	d.firewall.aud, d.problems.aud = d.aud, d.aud
	defer func() { // after a failed start; otherwise stop has done it
		c, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		d.aud.Close(c)
	}()

	ln, _, err := activation.Listener("control", d.opt.socket)
	if err != nil {
		return err
	}
	d.firewall.host = newHostFacts(ctx)
	if d.firewall.host.confined {
		d.self.helper = nlhelper.New(nlhelper.Path)
		d.self.ask() // systemd starts it while the state is read
	}
	be, pos, err := d.restore(ctx)
	if err == nil {
		if err = d.followOperators(ctx, time.Now(), pos.begin()); err != nil {
			be.Close()
		}
	}
	if err != nil {
		ln.Close()
		if ctx.Err() != nil {
			return nil // stopped while the state was rebuilt: the next start does it again
		}
		return err
	}
	defer d.leaveOperators()
	inner, cancel := context.WithCancel(context.Background())
	defer cancel()
	startup, ready := context.WithTimeout(ctx, startLimit)
	defer ready()

	d.reporter = &reporter{path: d.opt.report}
	d.reporter.configure(d.conf)
	d.audit = newAuditQueue(d.aud, d.source)
	d.audit.reporter = d.reporter
	go d.audit.run()
	firewallDone := d.startFirewall(startup, inner, be)
	defer d.firewall.unwatch()
	d.awaitFirewall(startup)
	ready()
	d.setDouble(d.blocks.store.Doubles(d.conf.Lists)) // before the first entry
	go d.blocks.run(inner)

	srv := control.NewServer(newControlAPI(d), control.Options{Log: func(s string) { d.aud.Log(audit.Warning, "control socket: "+s) }})
	go srv.Serve(ln)

	d.reader = newReader(d.source)
	go d.reader.run(inner, d.matches(), pos)

	d.aud.Event(audit.KindStart, fmt.Sprintf("bailiff %s started: %s in effect, firewall backend %s (%s), %s enabled",
		version.String(), diag.Count(d.state.Len(), "ban"), d.firewall.status.Backend, d.firewall.status.Why, diag.Count(len(d.jailNames()), "jail")),
		audit.Field{Name: audit.FieldBackend, Value: d.firewall.status.Backend})
	d.reporter.start()
	notify.Ready(d.statusLine())

	d.loop(ctx, hup)

	return d.stop(srv, cancel, firewallDone)
}

// startFirewall puts the bans of the state into the firewall. The channel is closed when the worker has ended.
func (d *daemon) startFirewall(startup, inner context.Context, be firewall.Backend) <-chan struct{} {
	f := &d.firewall
	kill, track := conn.Kill, conn.Forget
	if h := d.self.helper; h != nil {
		kill, track = h.Kill, nil
		select {
		case a := <-d.self.answers:
			d.self.take(a)
		case <-startup.Done(): // the loop will take it
		}
	}
	f.closer = newConnCloser(d.conf.Firewall.Close, kill, track, f.connectionsStay)
	go f.closer.run(inner)
	f.worker = newFirewallWorker(be, f.host.others(f.chosen, f.override, d.self.helper), f.closer, f.events)
	now := time.Now()
	d.readLists()
	d.refreshAllow(now)
	d.liftOrphans()
	f.refreshed = now
	f.worker.first(f.wanted())
	done := make(chan struct{})
	go func() { f.worker.run(inner); close(done) }()
	f.watch(be)
	go firewalld.Presence(inner, f.host.fwd, f.presence)
	return done
}

// awaitFirewall waits until the bans are in place, for units that start after this one, such as sshd. A firewall that hangs does not
// prevent the start: counting and the audit trail work without it, and status reports it.
func (d *daemon) awaitFirewall(startup context.Context) {
	for d.firewall.starting {
		select {
		case e := <-d.firewall.events:
			d.firewall.handle(e)
		case <-startup.Done():
			d.firewall.starting = false
		}
	}
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
		case b := <-d.batches():
			d.entries(b)
			d.reader.free <- b
		case err := <-d.reader.failed:
			d.counts.journalErrors++
			d.problems.begin(audit.KindJournalProblem, journalReading, "the journal cannot be read: "+err.Error())
		case e := <-d.firewall.events:
			d.firewall.handle(e)
		case d.firewall.host.fwd = <-d.firewall.presence:
			d.firewall.chooseAgain()
		case f := <-d.calls:
			f()
		case open := <-d.sessions():
			d.operatorSessions(open)
		case <-d.logindTried():
			d.ops.awaited = time.Time{}
		case n := <-d.blocks.notes:
			d.blockNoted(n)
		case d.firewall.carried = <-d.blocks.carry:
			d.firewall.reconcile()
		case l := <-d.blocks.double:
			d.setDouble(l)
		case a := <-d.self.answers:
			if d.self.take(a) {
				d.refreshAllow(time.Now())
			}
		case err := <-d.saver.done:
			d.saver.finished(err)
			d.memory.noteAlloc() // a large state is saved rarely: its buffer may be allocated after the quiet time
		case err := <-d.others.done:
			d.others.finished(err)
			d.memory.noteAlloc()
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

// tick does what depends on the time.
func (d *daemon) tick(now time.Time) {
	over := d.checkClock(now)
	judged := d.journal.judgedUpTo(d.entryTime(now)) // windows do not stand still while bans are kept
	if judged != 0 {
		out := d.eng.Settle(judged)
		d.tallied(out, now)
		if adds := d.decided(nil, out.Bans, over); len(adds) > 0 {
			d.firewall.worker.put(adds)
		}
	}
	if ended := d.eng.Expire(over.UnixMicro(), judged); len(ended) > 0 {
		d.released(ended, expired, "")
	}
	d.decideTogether(now)
	d.others.tick(now, d.clock.holding())
	d.firewall.tick(now)
	d.tickAllow(now, judged)
	d.updateProblems(now)
	d.saver.saveIfDue(now)
	d.updateStatus()
	d.hub.flush()
	if d.memory.quiet(now) {
		d.saver.buf = nil // a save that is running keeps it until its end
		d.memory.release()
	}
}
