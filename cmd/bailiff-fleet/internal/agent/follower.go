package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"
	"unique"

	"bailiff/policy/fleet"
	"bailiff/policy/prefix"
	"bailiff/policy/state"
	"bailiff/units/control"
)

const (
	bansPage = 10_000  // bans asked for at a time
	maxOwn   = 100_000 // bans of this host that are sent to others
	maxQueue = 50_000  // events that wait while the bans in force are read

	firstDaemonPause   = 200 * time.Millisecond
	longestDaemonPause = 10 * time.Second // while it has more to say than can be followed
	awayPause          = time.Second      // while it is not there
)

var errMissed = errors.New("events were missed")

// follow follows the daemon's bans until ctx ends. Each time it starts over, it reads all bans in force, so it need not remember events.
func (a *Agent) follow(ctx context.Context) {
	pause := firstDaemonPause
	for ctx.Err() == nil {
		begin := time.Now()
		err := a.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		longest := longestDaemonPause
		if !errors.Is(err, errMissed) {
			longest = awayPause
			a.daemonUp.Store(false)
			a.daemonErr.set(fmt.Errorf("the daemon: %w", err))
		}
		if time.Since(begin) > longestDaemonPause {
			pause = firstDaemonPause
		}
		pause = min(pause, longest)
		sleep(ctx, pause)
		pause *= 2
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// ownChange is what the daemon says about the bans of this host: an event, or all bans in force. Those supersede the events before them.
type ownChange struct {
	event *control.Event
	all   map[ownKey]ownBan // nil: an event
}

// followOnce follows one stream of events.
func (a *Agent) followOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type all struct {
		bans     map[ownKey]ownBan
		reloaded time.Time
		err      error
	}
	read := make(chan all, 1)
	events := make(chan *control.Event, maxQueue)
	end := make(chan error, 1)
	go func() {
		end <- a.Daemon.QuietEvents(ctx, func(e *control.Event) error {
			switch e.Kind {
			case "status":
				var reloaded time.Time
				if e.Status != nil && e.Status.Reloaded != nil {
					reloaded = *e.Status.Reloaded
				}
				go func() {
					m, err := a.bansInForce(ctx)
					read <- all{m, reloaded, err}
				}()
			case "ban", "extend", "unban":
				select {
				case events <- e:
				default:
					return errMissed
				}
			case "ask":
				select {
				case a.asks <- e:
				default: // the daemon waits for a few seconds only
				}
			case "missed":
				return errMissed
			case "state":
				if e.Text == "reloaded" { // it may accept now what it refused before, and forgets the roster while no fleet is configured
					signal(a.newRoster)
					signal(a.reread)
				}
			}
			return nil
		})
	}()
	var first all
	select {
	case first = <-read:
	case err := <-end:
		return err
	}
	if first.err != nil {
		return first.err
	}
	a.daemonErr.set(nil)
	switch {
	case !a.daemonUp.Load(): // it may have lost what it had
		signal(a.newRoster) // first: messages wait in the applier
		a.daemonUp.Store(true)
		signal(a.reread)
	case !first.reloaded.Equal(a.reloaded): // the event may be among those that were missed
		signal(a.newRoster)
		signal(a.reread)
	}
	a.reloaded = first.reloaded
	select {
	case a.changes <- ownChange{all: first.bans}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !a.liftedRead.Load() {
		go a.readLifted(ctx)
	}
	for {
		select {
		case err := <-end:
			return err
		case e := <-events:
			select {
			case a.changes <- ownChange{event: e}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// bansInForce asks for the bans of this host. Bans of other hosts are not among them.
func (a *Agent) bansInForce(ctx context.Context) (map[ownKey]ownBan, error) {
	m := make(map[ownKey]ownBan)
	for q := (control.BanQuery{Limit: bansPage}); ; {
		l, err := a.Daemon.Bans(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range l.Bans {
			b := &l.Bans[i]
			if p, err := netip.ParsePrefix(b.Prefix); err == nil && len(m) < maxOwn {
				m[ownKey{prefix.OfPrefix(p), unique.Make(b.Jail).Value()}] = ownBan{since: b.Since.UnixMicro(), until: micro(b.Until), failures: b.Failures, reason: reason(b.Reason, b.By)}
			}
		}
		if l.Next == "" {
			if l.Total > maxOwn {
				a.Log(fmt.Sprintf("this host has %d bans; others are told of the first %d", l.Total, maxOwn))
			}
			return m, nil
		}
		q.After = l.Next
	}
}

const (
	// liftedSince is how far back readLifted looks.
	liftedSince = "7d"

	// The daemon's actions are in the journal a moment later, on a busy host after seconds: so it is read after the first of these times,
	// and again.
	trailLag  = 2 * time.Second
	trailLag2 = time.Minute
)

// readLifted tells the publisher which bans were lifted before it started: the hub may have lost those messages.
func (a *Agent) readLifted(ctx context.Context) {
	for lags := []time.Duration{trailLag, trailLag2}; len(lags) > 0; {
		sleep(ctx, lags[0])
		var all []liftedBan
		err := a.Daemon.History(ctx, control.HistoryQuery{Since: liftedSince, Lifted: true, Limit: control.MaxLifted}, func(l *control.HistoryLine) error {
			if p, err := netip.ParsePrefix(l.Prefix); l.Kind == "unban" && err == nil && l.Since != nil {
				all = append(all, liftedBan{ownKey{prefix.OfPrefix(p), unique.Make(l.Jail).Value()}, ownBan{since: l.Since.UnixMicro(), until: micro(l.Until)}})
			}
			return nil
		})
		if err != nil && ctx.Err() == nil && control.AsError(err).Status == http.StatusServiceUnavailable { // others search
			lags[0] = trailLag
			continue
		}
		if err != nil { // it is read at the next connection
			return
		}
		lags = lags[1:]
		slices.Reverse(all)
		select {
		case a.lifted <- all:
		case <-ctx.Done():
			return
		}
	}
	a.liftedRead.Store(true)
}

// reason is the reason that other hosts get.
func reason(s, by string) string {
	switch {
	case by != "":
		return byHand
	case slices.Contains([]string{state.Failures, state.Slow, state.Account, state.Network}, s):
		return s
	}
	return ""
}

// changed applies an event of the daemon and returns the message, if any.
func (o *own) changed(e *control.Event, jail string, now int64) (n fleet.News, ok bool) {
	p, err := netip.ParsePrefix(e.Prefix)
	if err != nil {
		return n, false
	}
	k := ownKey{prefix.OfPrefix(p), jail}
	if e.Kind == "unban" {
		return o.ended(k, e.ID, now)
	}
	if _, known := o.wanted[k]; !known && len(o.wanted) >= maxOwn {
		return n, false
	}
	return o.banned(k, ownBan{since: e.Time.UnixMicro(), until: micro(e.Until), failures: e.Failures, reason: reason(e.Reason, e.By)}, now), true
}
