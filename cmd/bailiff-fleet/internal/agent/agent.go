// Package agent is bailiff-fleet: it connects the daemon of this host to those of the other hosts of its fleet, through a hub.
//
// Seven goroutines do the work, joined by bounded channels. The follower (follower.go) follows the daemon's own bans. The publisher
// (publisher.go, own.go) compares them with those on the hub and sends the difference. The reader (reader.go, fetch.go) reads what
// others have sent and checks its signatures. The applier (applier.go) passes it to the daemon, which decides what takes effect. Two
// more exchange summaries of failures that hosts count together (together.go), and the lines of bans that operators ask for
// (evidence.go). The last one looks up the hub's addresses (link.go), which no host may ban. While the daemon accepts nothing,
// reading stops; while the hub is away, nothing is queued: when it returns, the publisher compares again.
//
// Neither hub nor hosts are trusted: the hub can withhold messages but not forge any, since hosts sign them and an operator signs the
// list of hosts; policy/fleet, in the daemon, decides what a host may do here.
package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/policy/fleet"
	"bailiff/units/control"
	"bailiff/units/hub"
)

// Options of an Agent.
type Options struct {
	Member *hub.Member
	State  string          // folder that keeps the newest roster; "": none
	Daemon *control.Client // of this host
	Log    func(string)    // takes lines for the journal
}

// Agent connects a daemon to its fleet. New makes one, Run runs it.
type Agent struct {
	Options
	key    ed25519.PrivateKey
	link   *link
	roster atomic.Pointer[roster]

	changes   chan ownChange      // follower → publisher
	lifted    chan []liftedBan    // follower → publisher
	seen      chan seenNews       // reader → publisher
	toDaemon  chan []fleet.News   // reader → applier
	reread    chan struct{}       // everything is to be read again
	newRoster chan struct{}       // to be passed to the daemon
	summaries chan stored         // reader → countTogether
	asks      chan *control.Event // follower → exchangeEvidence
	evidence  chan stored         // reader → exchangeEvidence: questions and answers

	daemonUp   atomic.Bool
	liftedRead atomic.Bool
	ttl        atomic.Bool   // the stream accepts a time to live per message
	last       atomic.Uint64 // number of the latest message that the hub is known to hold
	read       atomic.Uint64 // number of the latest message that was read
	rejected   atomic.Int64  // messages that no host of the fleet has signed
	flooding   atomic.Value  // string: the host that sends too much
	waiting    atomic.Int64  // own messages that the hub does not have yet
	held       atomic.Int64  // own messages that the hub has
	alive      atomic.Int64  // when the publisher last looked

	accepted, latest atomic.Int64

	fresh          time.Duration                 // the constant, except in tests
	pageInterval   time.Duration                 // likewise
	countEvery     time.Duration                 // fleet.SummaryInterval, except in tests
	rosterInterval func(hosts int) time.Duration // the function, except in tests
	laterAt        time.Time                     // when everything is read again: see readLater
	laterWait      time.Duration
	reloaded       time.Time // when the daemon was reloaded, as it said at the start of its events; of the follower

	readErr, daemonErr, applyErr, rosterErr, hubBanned, countErr, storeErr fault
}

// New makes an agent.
func New(o Options) *Agent {
	a := &Agent{
		Options: o, key: o.Member.Key.Private(), fresh: fresh, pageInterval: pageInterval, countEvery: fleet.SummaryInterval, rosterInterval: rosterInterval, link: newLink(o.Log),
		changes: make(chan ownChange, 256), lifted: make(chan []liftedBan), seen: make(chan seenNews, 1024),
		toDaemon: make(chan []fleet.News, 2), reread: make(chan struct{}, 1), newRoster: make(chan struct{}, 1),
		summaries: make(chan stored, 1024), asks: make(chan *control.Event, 16), evidence: make(chan stored, 64),
	}
	for _, f := range []*fault{&a.readErr, &a.daemonErr, &a.applyErr, &a.rosterErr, &a.hubBanned, &a.countErr, &a.storeErr} {
		f.log = o.Log
	}
	a.flooding.Store("")
	a.loadRoster()
	return a
}

// Run works until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	if err := a.link.open(ctx, a.Member, a.roster.Load); err != nil {
		cancel()
		return err
	}
	var wg sync.WaitGroup
	start := func(f func()) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			f()
		}()
	}
	p := &publisher{Agent: a, own: newOwn(a.Member.Host), sent: make(map[ownKey]sentNews), lostWait: lostAfter}
	start(func() { p.run(ctx) })
	start(func() { a.link.resolve(ctx, func() { signal(a.newRoster) }) })
	start(func() { a.follow(ctx) })
	start(func() { a.apply(ctx) })
	start(func() { a.countTogether(ctx) })
	start(func() { a.exchangeEvidence(ctx) })
	err := (&reader{Agent: a}).run(ctx)
	if ctx.Err() != nil { // told to end
		err = nil
	}
	cancel()
	a.link.nc.Close()
	wg.Wait()
	return err
}

// state is this program's state, for the daemon.
func (a *Agent) state() control.FleetAgent {
	url, since, err := a.link.state()
	s := control.FleetAgent{Hub: url, Since: since.UTC(), Waiting: int(a.waiting.Load()), Published: int(a.held.Load()), Rejected: uint64(a.rejected.Load()), Flooding: a.flooding.Load().(string)}
	if at := a.latest.Load(); at != 0 {
		s.Latest = time.UnixMicro(at).UTC()
	}
	if last, read := a.last.Load(), a.read.Load(); last > read {
		s.Behind = last - read
	}
	for _, e := range []error{err, a.storeErr.get(), a.readErr.get(), a.rosterErr.get(), a.hubBanned.get(), a.countErr.get()} {
		if e != nil {
			s.Error = e.Error()
			break
		}
	}
	return s
}

// Status is a line for systemctl status.
func (a *Agent) Status() string {
	s := a.state()
	if s.Hub == "" {
		return "the hub cannot be reached: " + s.Error
	}
	return fmt.Sprintf("connected to %s, %d own bans shared, %d bans of others passed on", s.Hub, s.Published, a.accepted.Load())
}

// Alive reports whether the goroutines that never wait for others still run.
func (a *Agent) Alive(within time.Duration) bool {
	at := a.alive.Load()
	return at == 0 || time.Since(time.Unix(0, at)) < within
}

// tellRoster hands the daemon the list of hosts, if there is one, with the addresses of the hub: the daemon lifts bans that were passed on
// before these were known.
func (a *Agent) tellRoster(ctx context.Context) {
	r := a.roster.Load()
	if r.groups == nil {
		return
	}
	var hub []string
	for _, addr := range a.link.addresses() {
		hub = append(hub, addr.String())
	}
	_, err := a.Daemon.SetFleetHosts(ctx, control.FleetHosts{Fleet: a.Member.Fleet, Serial: r.serial, Hosts: r.groups, Allow: r.allow, Hub: hub})
	if err == nil || ctx.Err() != nil {
		return
	}
	switch e := control.AsError(err); {
	case e.Status == http.StatusConflict: // it has a newer one, from an earlier run
		a.Log(fmt.Sprintf("the daemon has a newer roster than %d: %v", r.serial, err))
	case e.Status >= http.StatusInternalServerError || errors.Is(err, control.ErrNotRunning):
		time.AfterFunc(longestDaemonPause, func() {
			signal(a.newRoster)
			signal(a.reread) // it refused messages of hosts that it did not know
		})
		fallthrough
	default:
		a.Log(fmt.Sprintf("the daemon does not take roster %d: %v", r.serial, err))
	}
}
