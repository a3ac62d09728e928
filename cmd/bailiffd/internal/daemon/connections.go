package daemon

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"bailiff/firewall"
)

// connCloser closes connections that were open before a ban, in goroutines of its own: it never delays a ban. Where the rule
// stands before any "established" rule such connections are dead already, and this ends the server's side of them at once
// instead of after its time-outs; firewalld lets them pass, and it is this that ends them.
type connCloser struct {
	// kill closes the connections of this host's processes; track has conntrack forget those that pass through (to
	// containers, by forwarded ports), and is nil where kill does that, too.
	kill, track func(context.Context, []netip.Prefix) (int, error)
	warn        func(error) // called with the first error of each of them

	mu      sync.Mutex
	enabled bool
	killing prefixQueue
	tracks  prefixQueue
}

// prefixQueue is what waits for one of the goroutines.
type prefixQueue struct {
	prefixes []netip.Prefix
	wake     chan struct{}
}

func newConnCloser(enabled bool, kill, track func(context.Context, []netip.Prefix) (int, error), warn func(error)) *connCloser {
	return &connCloser{kill: kill, track: track, warn: warn, enabled: enabled,
		killing: prefixQueue{wake: make(chan struct{}, 1)}, tracks: prefixQueue{wake: make(chan struct{}, 1)}}
}

// enable says whether connections are to be closed.
func (c *connCloser) enable(yes bool) {
	c.mu.Lock()
	c.enabled = yes
	c.mu.Unlock()
}

// put queues the prefixes of bans.
func (c *connCloser) put(bans []firewall.Ban) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.enabled {
		return
	}
	ps := make([]netip.Prefix, len(bans))
	for i, b := range bans {
		ps[i] = b.Prefix
	}
	c.killing.push(ps)
}

// push adds prefixes. The caller holds the lock.
func (q *prefixQueue) push(ps []netip.Prefix) {
	q.prefixes = append(q.prefixes, ps...)
	if n := len(q.prefixes) - maxQueue; n > 0 {
		q.prefixes = q.prefixes[n:] // the oldest are banned for longest, and their connections end by themselves
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for prefixes and takes all of them; nil when ctx is done.
func (c *connCloser) take(ctx context.Context, q *prefixQueue) []netip.Prefix {
	select {
	case <-q.wake:
	case <-ctx.Done():
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ps := q.prefixes
	q.prefixes = nil
	return ps
}

// trackRest is how long it rests after a walk through conntrack's table, in times of what that took: a table of a million
// entries takes two seconds, and in a storm of bans one batch follows the other.
const trackRest = 9

// run closes connections until ctx is done.
func (c *connCloser) run(ctx context.Context) {
	if c.track != nil {
		go c.forget(ctx)
	}
	warned := false
	for {
		ps := c.take(ctx, &c.killing)
		if ctx.Err() != nil {
			return
		}
		if _, err := c.kill(ctx, ps); err != nil && ctx.Err() == nil && !warned {
			warned = true
			c.warn(err)
		}
		if c.track != nil { // only now: what the closing of a connection sends would be tracked again
			c.mu.Lock()
			c.tracks.push(ps)
			c.mu.Unlock()
		}
	}
}

// forget has conntrack forget connections.
func (c *connCloser) forget(ctx context.Context) {
	warned := false
	for {
		ps := c.take(ctx, &c.tracks)
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		if _, err := c.track(ctx, ps); err != nil && ctx.Err() == nil && !warned {
			warned = true
			c.warn(err)
		}
		select {
		case <-time.After(trackRest * time.Since(began)):
		case <-ctx.Done():
			return
		}
	}
}
