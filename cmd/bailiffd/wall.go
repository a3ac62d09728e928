package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/conn"
)

// wall is the goroutine that talks to the firewall. The owner of the state gives it orders and never waits for it:
// orders lie in a queue, runs of additions and of removals become one batch each. When a batch fails, or Verify finds
// that somebody else was at our rules, it asks the owner for the whole wanted set and reconciles.
type wall struct {
	be     firewall.Backend // of the goroutine in run
	events chan<- wallEvent

	mu      sync.Mutex
	kill    bool // close open connections of banned prefixes
	queue   []order
	full    []firewall.Ban // the wanted set, when fullSet
	fullSet bool
	check   bool
	looks   []*look
	asked   bool // a wanted set was asked for and has not come yet
	closing bool
	next    firewall.Backend // to be used from now on
	clean   bool             // the one before is of another kind: its rules and sets go
	wake    chan struct{}

	killer     func(context.Context, []netip.Prefix) (int, error) // conn.Kill, or who does it for us
	killWarned bool

	tracks  []netip.Prefix // banned, and perhaps still known to conntrack
	tracked chan struct{}  // tracks has something; nil: whoever is the killer does that, too
}

type order struct {
	del bool
	ban firewall.Ban
}

// look is a question about all that the firewall holds, and an order to make it right. It is answered between the orders
// that were given before it and those that came later, so that what it finds different is different.
type look struct {
	want   []firewall.Ban
	mend   bool
	force  bool        // mend: take away what stands in the place of ours
	by     string      // mend: who asked
	at     int         // orders in the queue before it
	answer chan looked // with room for one
}

// looked is the answer.
type looked struct {
	at            time.Time
	before, after *firewall.Inspection // after: of a look that mends
	took, again   time.Duration        // that the two took
	change        firewall.Change
	evicted       []string
	err           error
}

// wallEvent is what the wall tells the owner.
type wallEvent struct {
	by      string           // a reconcile was done that this user asked for
	evicted []string         // by force
	want    bool             // the whole wanted set is needed
	err     error            // why, or why a reconcile failed
	ok      bool             // everything stands
	change  *firewall.Change // a reconcile was done
	checked time.Time
}

// maxQueue bounds what waits for a firewall that does not answer. Beyond it single orders are dropped, and the wanted
// set as a whole is asked for instead: nothing is lost, since the ledger has it all.
const maxQueue = 1 << 16

// Time limits for the firewall's answers. The kernel takes half a second for a reconcile of 100,000 entries, and ten times as
// long when it is busy; firewalld six seconds for one of 50,000, or for a batch of many into so many. What takes longer hangs.
const (
	reconcileLimit = 60 * time.Second
	batchLimit     = 30 * time.Second
	leaveLimit     = 15 * time.Second // at the end, to take all bans out: the unit's TimeoutStopSec= is near
)

func newWall(be firewall.Backend, events chan<- wallEvent, kill bool) *wall {
	return &wall{be: be, events: events, kill: kill, killer: conn.Kill, wake: make(chan struct{}, 1), tracked: make(chan struct{}, 1)}
}

func (w *wall) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// add and remove give single orders.
func (w *wall) add(b ...firewall.Ban) {
	w.put(false, b)
}

func (w *wall) remove(keys ...firewall.Key) {
	b := make([]firewall.Ban, len(keys))
	for i, k := range keys {
		b[i] = firewall.Ban{Prefix: k.Prefix, Scope: k.Scope}
	}
	w.put(true, b)
}

func (w *wall) put(del bool, bans []firewall.Ban) {
	w.mu.Lock()
	for _, b := range bans {
		w.queue = append(w.queue, order{del, b})
	}
	w.mu.Unlock()
	w.nudge()
}

// reconcile gives the wanted set as a whole; orders that were waiting are part of it and fall away.
func (w *wall) reconcile(want []firewall.Ban) {
	w.mu.Lock()
	w.queue, w.full, w.fullSet, w.asked = nil, want, true, false
	for _, l := range w.looks {
		l.at, l.want = 0, want
	}
	w.mu.Unlock()
	w.nudge()
}

// use puts another backend in place; leave, before it, has the old one take its rules and sets away.
func (w *wall) use(be firewall.Backend) {
	w.mu.Lock()
	w.next = be
	w.mu.Unlock()
}

func (w *wall) leave() {
	w.mu.Lock()
	w.clean = true
	w.mu.Unlock()
}

// change carries out use and leave. The new backend has its elements before the old one's go: no gap.
func (w *wall) change(ctx context.Context, full []firewall.Ban) {
	w.mu.Lock()
	next, clean := w.next, w.clean
	w.next, w.clean = nil, false
	w.mu.Unlock()
	if next == nil {
		return
	}
	old := w.be
	w.be = next
	if clean {
		c, cancel := context.WithTimeout(ctx, reconcileLimit)
		defer cancel()
		if _, err := next.Reconcile(c, full); err == nil {
			var lack *firewall.UnsupportedError // then there is nothing of it
			if err := old.Cleanup(c); err != nil && !errors.As(err, &lack) && !errors.Is(err, firewall.ErrAbsent) {
				w.tell(wallEvent{ok: true, err: fmt.Errorf("the former backend's rules may still stand: %w", err)})
			}
		}
	}
	old.Close()
}

// cuts says whether open connections of banned prefixes are closed.
func (w *wall) cuts(yes bool) {
	w.mu.Lock()
	w.kill = yes
	w.mu.Unlock()
}

// verify asks for a look at rules and sets.
func (w *wall) verify() {
	w.mu.Lock()
	w.check = true
	w.mu.Unlock()
	w.nudge()
}

// look asks a question. It is answered over l.answer.
func (w *wall) look(l *look) {
	w.mu.Lock()
	l.at = len(w.queue)
	w.looks = append(w.looks, l)
	w.mu.Unlock()
	w.nudge()
}

// finish lets the goroutine carry out what waits and end.
func (w *wall) finish() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.nudge()
}

func (w *wall) run(ctx context.Context) {
	for {
		w.mu.Lock()
		queue, full, fullSet, check, looks, closing := w.queue, w.full, w.fullSet, w.check, w.looks, w.closing
		w.queue, w.full, w.fullSet, w.check, w.looks = nil, nil, false, false, nil
		w.mu.Unlock()
		switch {
		case fullSet:
			w.change(ctx, full)
			c, cancel := context.WithTimeout(ctx, reconcileLimit)
			ch, err := w.be.Reconcile(c, full)
			cancel()
			w.tell(wallEvent{change: &ch, err: err, ok: err == nil, checked: time.Now()})
			full = nil
			// Orders that came in between are newer than the set.
			if err != nil {
				queue = nil
			}
			w.serve(ctx, queue, looks)
		case len(queue) > maxQueue:
			w.ask(errors.New("more orders than the firewall takes were waiting"))
			w.serve(ctx, nil, looks)
		default:
			w.serve(ctx, queue, looks)
		}
		if check && !fullSet {
			c, cancel := context.WithTimeout(ctx, batchLimit)
			err := w.be.Verify(c)
			cancel()
			if err != nil {
				w.ask(err)
			} else {
				w.tell(wallEvent{ok: true, checked: time.Now()})
			}
		}
		w.mu.Lock()
		more := len(w.queue) > 0 || w.fullSet || w.check || len(w.looks) > 0
		w.mu.Unlock()
		if more {
			continue
		}
		if closing || ctx.Err() != nil {
			return
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}

// serve carries out orders, and answers each look at its place among them.
func (w *wall) serve(ctx context.Context, queue []order, looks []*look) {
	done, ok := 0, true
	for _, l := range looks {
		if at := min(l.at, len(queue)); ok && at > done {
			ok = w.batches(ctx, queue[done:at])
			done = at
		}
		w.inspect(ctx, l)
	}
	if ok {
		w.batches(ctx, queue[done:])
	}
}

// inspect answers a look.
func (w *wall) inspect(ctx context.Context, l *look) {
	ctx, cancel := context.WithTimeout(ctx, reconcileLimit)
	defer cancel()
	var r looked
	see := func(took *time.Duration) (*firewall.Inspection, error) {
		r.at = time.Now()
		in, err := w.be.Inspect(ctx, l.want)
		*took = time.Since(r.at)
		return in, err
	}
	r.before, r.err = see(&r.took)
	if l.mend {
		r.err = nil
		if l.force {
			r.evicted, r.err = w.be.Evict(ctx)
		}
		if r.err == nil {
			r.change, r.err = w.be.Reconcile(ctx, l.want)
		}
		w.tell(wallEvent{by: l.by, evicted: r.evicted, change: &r.change, err: r.err, ok: r.err == nil, checked: time.Now()})
		if after, err := see(&r.again); err == nil {
			r.after = after
		} else if r.err == nil {
			r.err = err
		}
	}
	l.answer <- r
}

// batches carries out orders, runs of a kind at once. It gives up at the first that fails: the wanted set that is asked for
// then holds the others, too.
func (w *wall) batches(ctx context.Context, queue []order) bool {
	for len(queue) > 0 {
		n := 1
		for n < len(queue) && queue[n].del == queue[0].del {
			n++
		}
		run, del := queue[:n], queue[0].del
		queue = queue[n:]
		c, cancel := context.WithTimeout(ctx, batchLimit)
		var err error
		if del {
			keys := make([]firewall.Key, n)
			for i, o := range run {
				keys[i] = o.ban.Key()
			}
			err = w.be.Remove(c, keys)
		} else {
			bans := make([]firewall.Ban, n)
			for i, o := range run {
				bans[i] = o.ban
			}
			err = w.be.Add(c, bans)
			if err == nil {
				w.tell(wallEvent{ok: true, checked: time.Now()})
			}
			w.cut(c, bans)
		}
		cancel()
		if err != nil {
			w.ask(err)
			return false
		}
	}
	return true
}

// cut closes connections that were open before the ban. Where the rule stands before any "established" rule they are dead
// already, and this ends the server's side of them at once instead of after its time-outs; through firewalld, which lets
// them pass, it is this that ends them.
func (w *wall) cut(ctx context.Context, bans []firewall.Ban) {
	w.mu.Lock()
	kill := w.kill
	w.mu.Unlock()
	if !kill {
		return
	}
	ps := make([]netip.Prefix, len(bans))
	for i, b := range bans {
		ps[i] = b.Prefix
	}
	if _, err := w.killer(ctx, ps); err != nil && !w.killWarned {
		w.killWarned = true
		w.tell(wallEvent{ok: true, err: err})
	}
	if w.tracked == nil {
		return
	}
	// Only now: what the closing of a connection sends would be tracked anew.
	w.mu.Lock()
	w.tracks = append(w.tracks, ps...)
	if n := len(w.tracks) - maxQueue; n > 0 {
		w.tracks = w.tracks[n:] // the oldest are in force for longest, and what conntrack knows of them ends by itself
	}
	w.mu.Unlock()
	select {
	case w.tracked <- struct{}{}:
	default:
	}
}

// forgetRest is how long a walk through conntrack's table is rested from, in times of what it took: a table of a million entries
// takes two seconds, and in a storm of bans a batch follows the other.
const forgetRest = 9

// forget makes conntrack forget connections that pass through this host (those of containers, of forwarded ports), beside
// the wall's own work, which it never holds up.
func (w *wall) forget(ctx context.Context, walk func(context.Context, []netip.Prefix) (int, error)) {
	warned := false
	for {
		select {
		case <-w.tracked:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		ps := w.tracks
		w.tracks = nil
		w.mu.Unlock()
		began := time.Now()
		if _, err := walk(ctx, ps); err != nil && ctx.Err() == nil && !warned {
			warned = true
			w.tell(wallEvent{ok: true, err: err})
		}
		select {
		case <-time.After(forgetRest * time.Since(began)):
		case <-ctx.Done():
			return
		}
	}
}

func (w *wall) ask(err error) {
	w.mu.Lock()
	again := w.asked
	w.asked = true
	w.mu.Unlock()
	w.tell(wallEvent{want: !again, err: err, checked: time.Now()})
}

func (w *wall) tell(e wallEvent) { w.events <- e }
