package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bailiff/firewall"
)

// backendSwitch is a backend that is to take over.
type backendSwitch struct {
	to   firewall.Backend
	keep bool // leave the rules of the former one alone: the program that manages them is gone
}

// retired is another backend whose rules are to be removed.
type retired struct {
	name     string // of the backend
	remove   func(context.Context) (found string, err error)
	close    func() error
	quiet    bool // why it cannot be removed is reported elsewhere
	failures int
	at       time.Time // of the next attempt

	// Of the present attempt.
	cancel context.CancelFunc
	found  string
	err    error
}

// former is a backend that was in use. keep leaves its rules.
func former(be firewall.Backend, keep bool) *retired {
	return &retired{name: be.Name(), close: be.Close, remove: func(ctx context.Context) (string, error) {
		if keep {
			return "", nil
		}
		return "", firewall.Remove(ctx, be)
	}}
}

// leftover is a backend that an earlier start may have used.
func leftover(be firewall.Backend) *retired {
	return &retired{name: be.Name(), close: be.Close, remove: func(ctx context.Context) (string, error) {
		if found, err := firewall.RemoveLeftovers(ctx, be); err != nil || !found {
			return "", err
		}
		return be.Name(), nil
	}}
}

// begin makes a backend the candidate. A backend with the same name as the present one replaces it at once: the rules are the same and must
// not be removed.
func (w *firewallWorker) begin(s *backendSwitch) {
	name := s.to.Name()
	if r := w.removing; r != nil && r.name == name {
		r.cancel()
		<-w.removed
		w.setRemoving(nil)
	}
	w.failures, w.batchFailures, w.retryAt, w.failing, w.reason = 0, 0, time.Time{}, nil, "" // failures of the former one do not count
	w.retired = slices.DeleteFunc(w.retired, func(r *retired) bool {
		if r.name == name {
			w.solved(r)
			r.close()
		}
		return r.name == name
	})
	if c := w.candidate; c != nil {
		w.candidate = nil
		if c.Name() == name {
			c.Close()
		} else {
			w.retired = append(w.retired, former(c, false)) // it may hold a part of the bans
		}
	}
	if w.be != nil && w.be.Name() == name {
		w.be.Close()
		w.be = s.to
		return
	}
	w.candidate = s.to
	if s.keep && w.be != nil {
		w.retired = append(w.retired, former(w.be, true))
		w.gone, w.be = w.be.Name(), nil
	}
}

// removeRetired begins to remove the rules of another backend, once the present one holds all bans. That has a goroutine of its own,
// since the other one may not answer; its result comes over removed.
func (w *firewallWorker) removeRetired(ctx context.Context) {
	if w.removing != nil || w.be == nil || w.candidate != nil || w.failing != nil || ctx.Err() != nil {
		return
	}
	now := w.now()
	i := slices.IndexFunc(w.retired, func(r *retired) bool { return !r.at.After(now) })
	if i < 0 {
		return
	}
	r := w.retired[i]
	ctx, r.cancel = context.WithTimeout(ctx, reconcileLimit)
	w.setRemoving(r)
	go func() {
		defer r.cancel()
		r.found, r.err = r.remove(ctx)
		w.removed <- r
	}()
}

// retiredRemoved takes the result of removeRetired.
func (w *firewallWorker) retiredRemoved(r *retired) {
	defer w.setRemoving(nil)
	if r.err != nil {
		r.failures++
		r.at = w.now().Add(backoff(r.failures))
		if r.failures == 1 && !r.quiet {
			w.report(firewallEvent{source: "backend " + r.name, notice: fmt.Errorf("rules of the %s backend could not be removed and may still block addresses: %w; trying again", r.name, r.err)})
		}
		return
	}
	w.solved(r)
	if r.found != "" {
		w.report(firewallEvent{removed: r.found})
	}
	r.close()
	w.retired = slices.DeleteFunc(w.retired, func(x *retired) bool { return x == r })
}

// solved ends the problem that rules could not be removed, if it was reported.
func (w *firewallWorker) solved(r *retired) {
	if r.failures > 0 && !r.quiet {
		w.report(firewallEvent{source: "backend " + r.name, solved: true})
	}
}

func (w *firewallWorker) setRemoving(r *retired) {
	w.mu.Lock()
	w.removing = r
	w.mu.Unlock()
}

// close closes the backends, once run has returned. Their rules stay unless empty is set, which removes all bans, those of an
// earlier start included.
func (w *firewallWorker) close(ctx context.Context, empty bool) error {
	used := w.be
	if used == nil {
		used = w.candidate
	} else if w.candidate != nil {
		w.retired = append(w.retired, former(w.candidate, false)) // it may hold a part of the bans
	}
	var removals []func() error
	if used != nil {
		removals = append(removals, func() error { return used.Empty(ctx) })
		defer used.Close()
	}
	for _, r := range w.retired {
		removals = append(removals, func() error {
			if _, err := r.remove(ctx); !r.quiet {
				return err
			}
			return nil
		})
		defer r.close()
	}
	if !empty {
		return nil
	}
	// Side by side, since one that does not answer uses up the time.
	errs := make([]error, len(removals))
	var all sync.WaitGroup
	for i, remove := range removals {
		all.Add(1)
		go func() { defer all.Done(); errs[i] = remove() }()
	}
	all.Wait()
	return errors.Join(errs...)
}
