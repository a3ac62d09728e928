package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"bailiff/policy/fleet"
	"bailiff/units/control"
)

const (
	maxBatch = control.MaxFleetNews

	// fresh is the age up to which a ban counts against its host's rate limit. Older ones, sent all at once by a host that was cut off,
	// count against the number only. (A host that lies about the time gains no more than that.)
	fresh = 5 * time.Minute

	// reportInterval is how often the daemon gets the state of the connection.
	reportInterval = 10 * time.Second
)

// apply passes other hosts' messages and this program's status to the daemon until ctx ends.
func (a *Agent) apply(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var told control.FleetAgent
	var at time.Time
	for {
		newRoster := a.newRoster
		if !a.daemonUp.Load() { // a call would start a daemon that was stopped; the roster waits
			newRoster = nil
		}
		select {
		case <-ctx.Done():
			return
		case news := <-a.toDaemon:
			a.deliver(ctx, news)
		case <-newRoster:
			a.tellRoster(ctx)
		case <-tick.C:
		}
		if s := a.state(); a.daemonUp.Load() && (time.Since(at) > reportInterval || s.Hub != told.Hub || s.Error != told.Error) {
			told, at = s, time.Now()
			_, _ = a.Daemon.SetFleetAgent(ctx, s) // messages that it does not take show the same error
		}
	}
}

// deliver sends messages until the daemon takes them.
func (a *Agent) deliver(ctx context.Context, news []fleet.News) {
	var l [2]control.FleetNews // missed, live
	l[1].Live = true
	flush := func(i int) {
		if len(l[i].News) > 0 {
			a.send(ctx, l[i])
			l[i].News = l[i].News[:0]
		}
	}
	for more := true; more; {
		now := time.Now()
		for i := range news {
			n, live := &news[i], 0
			if n.Since > now.Add(-a.fresh).UnixMicro() {
				live = 1
			}
			l[live].News = append(l[live].News, controlBan(n))
			if len(l[live].News) == maxBatch {
				flush(live)
			}
		}
		select {
		case news = <-a.toDaemon:
		default:
			more = false
		}
	}
	flush(0)
	flush(1)
}

func controlBan(n *fleet.News) control.FleetBan {
	b := control.FleetBan{Host: n.Host, Prefix: n.Prefix.String(), Jail: n.Jail, Since: time.UnixMicro(n.Since).UTC(), Lifted: n.Lifted, Reason: n.Reason, Failures: n.Failures}
	if n.Until != fleet.Forever {
		t := time.UnixMicro(n.Until).UTC()
		b.Until = &t
	}
	return b
}

// send passes on messages until the daemon has taken them. Until then, nothing more is read from the hub.
func (a *Agent) send(ctx context.Context, n control.FleetNews) {
	pause := firstDaemonPause
	for ctx.Err() == nil {
		if a.daemonUp.Load() { // a call would start a daemon that was stopped
			select {
			case <-a.newRoster: // first: messages of unknown hosts are refused
				a.tellRoster(ctx)
			default:
			}
			var r control.FleetApplied
			err := a.call(ctx, n, &r)
			if err == nil {
				a.accepted.Add(int64(r.Accepted))
				if r.Refused[fleet.ErrTooFast.Error()] > 0 {
					a.readLater()
				}
				a.latest.Store(time.Now().UnixMicro())
				return
			}
			if e := control.AsError(err); e.Status == http.StatusBadRequest || e.Status == http.StatusRequestEntityTooLarge {
				// A bad message must not block other hosts' messages.
				if len(n.News) == 1 {
					a.rejected.Add(1)
					return
				}
				half := len(n.News) / 2
				a.send(ctx, control.FleetNews{Live: n.Live, News: n.News[:half]})
				a.send(ctx, control.FleetNews{Live: n.Live, News: n.News[half:]})
				return
			}
		}
		sleep(ctx, pause)
		pause = min(2*pause, awayPause)
	}
}

// readLater schedules another full read once messages that the daemon refused as too fast are no longer fresh, less and less often if a
// host keeps that up. Only the applier calls it.
func (a *Agent) readLater() {
	now := time.Now()
	if now.Before(a.laterAt) {
		return
	}
	if now.Sub(a.laterAt) > readAgain {
		a.laterWait = a.fresh
	}
	a.laterAt = now.Add(a.laterWait + rand.N(a.laterWait))
	time.AfterFunc(time.Until(a.laterAt), func() { signal(a.reread) })
	a.laterWait = min(2*a.laterWait, readAgain)
}

func (a *Agent) call(ctx context.Context, n control.FleetNews, r *control.FleetApplied) error {
	v, err := a.Daemon.ApplyFleet(ctx, n)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.applyErr.set(wrap("the daemon takes no news", err))
	if err == nil && r != nil {
		*r = *v
	}
	return err
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
