package daemon

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/journal/audit"
	"bailiff/policy"
	"bailiff/units/control"
)

// hub hands what happens to those who watch over the control socket. While nobody does, it costs the owner of the state
// one look at a number.
type hub struct {
	watchers atomic.Int32
	mu       sync.Mutex
	subs     map[*subscriber]struct{}

	second int64 // the owner's: in which failures were told last, and how many
	told   int
}

type subscriber struct {
	ch     chan control.Event
	missed uint64 // what did not fit since
}

const (
	// eventRoom is how many events wait for one watcher: 300 KiB.
	eventRoom = 1024

	// eventRate is how many failures a second are told. Nobody reads more of them, and in a storm the owner of the state
	// has better things to do than to write them down; the rest is told as missed.
	eventRate = 500
)

// watched says whether anybody watches.
func (h *hub) watched() bool { return h.watchers.Load() > 0 }

// subscribe returns a channel of what happens from now on, until ctx ends.
func (h *hub) subscribe(ctx context.Context) <-chan control.Event {
	s := &subscriber{ch: make(chan control.Event, eventRoom)}
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

// tell gives an event to all who watch; without a kind it only says what was missed. It waits for nobody.
func (h *hub) tell(e control.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if e.Missed > 0 { // told with the next event, not by an event for each
			s.missed += e.Missed
			continue
		}
		if s.missed > 0 && len(s.ch) < eventRoom-1 {
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

// flush tells who missed something that they did, once a storm is over.
func (h *hub) flush() {
	if h.watched() {
		h.tell(control.Event{Time: time.Now()})
	}
}

// failures tells what one entry counted; limit is the max_retry of a jail.
func (h *hub) failures(fs []policy.Failure, now time.Time, limit func(jail string) int) {
	if s := now.Unix(); s != h.second {
		h.second, h.told = s, 0
	}
	for i := range fs {
		f := &fs[i]
		if h.told >= eventRate {
			h.tell(control.Event{Missed: uint64(len(fs) - i)})
			return
		}
		h.told++
		h.tell(control.Event{Kind: "failure", Time: time.UnixMicro(f.Time), Jail: f.Jail, Pattern: f.Pattern, Address: f.Addr.String(), Prefix: f.Prefix.String(),
			Attempts: f.Attempts, Count: f.Count, MaxRetry: limit(f.Jail)})
	}
}

// record tells what goes into the audit trail.
func (h *hub) record(r *record) {
	if !h.watched() {
		return
	}
	e := control.Event{Kind: r.kind.String(), Time: time.Now()}
	if r.kind == audit.KindUnban {
		u := &r.unban
		e.Jail, e.Prefix, e.ID, e.Reason, e.By = u.Jail, u.Prefix.String(), u.ID, u.Reason, u.By
	} else {
		b := &r.ban
		e.Time, e.Jail, e.Prefix, e.ID, e.Failures, e.Count, e.Reason, e.By = b.Since, b.Jail, b.Prefix.String(), b.ID, b.Failures, b.Count, b.Reason, b.By
		if len(b.Addresses) > 0 && b.Addresses[0] != (netip.Addr{}) {
			e.Address = b.Addresses[0].String()
		}
		if !b.Until.IsZero() {
			until := b.Until
			e.Until = &until
		}
	}
	h.tell(e)
}

// state tells that what systemctl status shows has changed.
func (h *hub) state(text string) {
	if h.watched() {
		h.tell(control.Event{Kind: "state", Time: time.Now(), Text: text})
	}
}

func (a *asker) Events(ctx context.Context) (<-chan control.Event, error) {
	return a.d.hub.subscribe(ctx), nil
}
