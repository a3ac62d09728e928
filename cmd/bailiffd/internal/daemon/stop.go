package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"bailiff/journal/audit"
	"bailiff/policy/diag"
	"bailiff/units/control"
	"bailiff/units/notify"
)

// The unit's TimeoutStopSec= is 30 s. The state is saved first. After that each step has until the given time since the stop began.
const (
	stopCalls    = 2 * time.Second  // control calls that are being answered
	stopFirewall = 9 * time.Second  // changes that are queued for the firewall
	stopGiveUp   = 11 * time.Second // the firewall's answer after it was told to give up
	stopEmpty    = 17 * time.Second // removing all bans, if that is configured
	stopTrail    = 24 * time.Second // writing the audit trail
)

// stop ends the daemon: it saves the state, applies what was decided, and leaves the bans in effect unless configured otherwise.
func (d *daemon) stop(srv *control.Server, cancel context.CancelFunc, firewallDone <-chan struct{}) error {
	began := time.Now()
	notify.Stopping("saving the state")
	saveErr := d.saver.saveNow()
	by := func(limit time.Duration) (context.Context, context.CancelFunc) {
		return context.WithDeadline(context.Background(), began.Add(limit))
	}
	c, done := by(stopCalls)
	d.shutServer(c, srv)
	done()
	if d.saver.dirtyBans || saveErr != nil { // a call was answered meanwhile
		saveErr = d.saver.saveNow()
	}
	d.others.saveNow()
	d.firewall.worker.finish()
	ended := d.drain(firewallDone, began.Add(stopFirewall))
	cancel()
	if !ended {
		ended = d.drain(firewallDone, began.Add(stopGiveUp))
	}
	c, done = by(stopEmpty)
	bans := d.leaveFirewall(c, ended)
	done()
	c, done = by(stopTrail)
	defer done()
	d.audit.finish(c)
	d.aud.Event(audit.KindStop, fmt.Sprintf("bailiff stopped: %s, %s", diag.Count(d.state.Len(), "ban"), bans))
	if err := d.aud.Close(c); err != nil {
		diag.Print(os.Stderr, "bailiffd", err) // no reason for the unit to fail: journald is not running
	}
	if saveErr != nil {
		return fmt.Errorf("save the state: %w", saveErr)
	}
	return nil
}

// drain handles the firewall worker's events until it has ended or until a given time. It returns whether it ended.
func (d *daemon) drain(firewallDone <-chan struct{}, until time.Time) bool {
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	for {
		select {
		case e := <-d.firewall.events:
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

// leaveFirewall closes the backends, empties the firewall if that is configured, and returns what has become of the bans. ended
// reports whether the worker has ended; if not, it still uses the backend.
func (d *daemon) leaveFirewall(ctx context.Context, ended bool) (bans string) {
	const kept, removed, stuck = "kept in the firewall", "removed from the firewall (keep_on_stop: false)", "not removed: the firewall failed"
	keep := d.conf.Firewall.KeepOnStop
	lists := make(chan error, 1)
	go func() { lists <- d.leaveLists(ctx, keep) }() // beside the backends, which may not answer
	var err error
	if ended {
		err = d.firewall.worker.close(ctx, !keep)
	} else {
		d.aud.Event(audit.KindFirewallError, "firewall, while stopping: it does not answer; the next start repairs it")
	}
	err = errors.Join(err, <-lists)
	switch {
	case keep:
		return kept
	case err != nil:
		d.aud.Event(audit.KindFirewallError, "firewall: rules and sets could not be removed: "+err.Error())
		return stuck
	case !ended:
		return stuck
	}
	return removed
}

// leaveLists removes the block lists, unless they are to be kept or belong to another daemon or to the backend.
func (d *daemon) leaveLists(ctx context.Context, keep bool) error {
	if keep || d.firewall.trial() || d.firewall.host.confined {
		return nil
	}
	select {
	case <-d.blocks.done: // its context has ended
	case <-ctx.Done():
		return errors.New("block lists: still being read")
	}
	_, err := d.blocks.table.Remove(ctx)
	return err
}

// shutServer ends the control server. Calls that are being answered come first; they need the owner of the state.
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
