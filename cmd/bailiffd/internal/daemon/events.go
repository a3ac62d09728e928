package daemon

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/policy"
	"bailiff/units/control"
)

// hub sends events to the clients that follow them over the control socket. Without clients, an event costs the owner of the state one
// atomic load.
type hub struct {
	watchers atomic.Int32
	mu       sync.Mutex
	subs     map[*subscriber]struct{}

	// Of the owner: the second in which failures were sent last, and how many.
	second int64
	sent   int
}

type subscriber struct {
	ch     chan control.Event
	quiet  bool   // it gets no failures
	missed uint64 // events that did not fit since the last one
}

const (
	// eventQueue is how many events are queued for one subscriber: 300 KiB.
	eventQueue = 1024

	// eventRate is how many failures are sent in a second; the rest is reported as missed. Nobody reads more, and in a storm the
	// owner of the state has more important work.
	eventRate = 500
)

// watched reports whether there are subscribers.
func (h *hub) watched() bool { return h.watchers.Load() > 0 }

// subscribe returns a channel of events from now on, until ctx ends; without failures if quiet.
func (h *hub) subscribe(ctx context.Context, quiet bool) <-chan control.Event {
	s := &subscriber{ch: make(chan control.Event, eventQueue), quiet: quiet}
	h.mu.Lock()
	if h.subs == nil {
		h.subs = make(map[*subscriber]struct{})
	}
	h.subs[s] = struct{}{}
	h.mu.Unlock()
	h.watchers.Add(1)
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		delete(h.subs, s)
		h.mu.Unlock()
		h.watchers.Add(-1)
	})
	return s.ch
}

// send sends an event to all subscribers, and never waits. An event without a kind only reports missed events. Only failures come in
// storms, so a nonzero Missed counts failures.
func (h *hub) send(e control.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if s.quiet && (e.Kind == "failure" || e.Missed > 0) {
			continue
		}
		if e.Missed > 0 { // reported with the next event
			s.missed += e.Missed
			continue
		}
		if s.missed > 0 && len(s.ch) < eventQueue-1 {
			s.ch <- control.Event{Kind: "missed", Time: e.Time, Missed: s.missed}
			s.missed = 0
		}
		if e.Kind == "" {
			continue
		}
		select {
		case s.ch <- e:
		default:
			s.missed++
		}
	}
}

// flush reports missed events once a storm is over.
func (h *hub) flush() {
	if h.watched() {
		h.send(control.Event{Time: time.Now()})
	}
}

// failures sends what one entry counted. limit returns the max_retry of a jail.
func (h *hub) failures(fs []policy.Failure, now time.Time, limit func(jail string) int) {
	if s := now.Unix(); s != h.second {
		h.second, h.sent = s, 0
	}
	for i := range fs {
		f := &fs[i]
		if h.sent >= eventRate {
			h.send(control.Event{Missed: uint64(len(fs) - i)})
			return
		}
		h.sent++
		h.send(control.Event{Kind: "failure", Time: time.UnixMicro(f.Time), Jail: f.Jail, Pattern: f.Pattern, Address: f.Addr.String(), Prefix: f.Prefix.String(),
			Attempts: f.Attempts, Count: f.Count, MaxRetry: limit(f.Jail)})
	}
}

// record sends an audit record as an event.
func (h *hub) record(r *auditRecord) {
	if !h.watched() {
		return
	}
	e := control.Event{Kind: r.kind.String(), Time: time.Now()}
	if u := r.unban; u != nil {
		e.Jail, e.Prefix, e.ID, e.Reason, e.By = u.Jail, u.Prefix.String(), u.ID, u.Reason, u.By
	} else {
		b := r.ban
		e.Time, e.Jail, e.Prefix, e.ID, e.Failures, e.Count, e.Reason, e.By = b.Since, b.Jail, b.Prefix.String(), b.ID, b.Failures, b.Count, b.Reason, b.By
		if len(b.Addresses) > 0 && b.Addresses[0] != (netip.Addr{}) {
			e.Address = b.Addresses[0].String()
		}
		e.Until = control.Moment(b.Until)
	}
	h.send(e)
}

// state sends a new status line.
func (h *hub) state(text string) {
	if h.watched() {
		h.send(control.Event{Kind: "state", Time: time.Now(), Text: text})
	}
}

func (a *controlAPI) Events(ctx context.Context, quiet bool) (<-chan control.Event, error) {
	return a.d.hub.subscribe(ctx, quiet), nil
}
