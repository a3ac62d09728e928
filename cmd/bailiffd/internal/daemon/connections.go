package daemon

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"bailiff/firewall"
)

// connCloser closes connections that were open before a ban, in goroutines of its own, so that no ban waits for it. Rules of ipset and
// nftables block such connections anyway: closing them only frees the server's side at once. firewalld lets established connections pass,
// so closing ends them.
type connCloser struct {
	// kill closes the connections of this host's processes. track deletes those that pass through (to containers, by forwarded
	// ports) from conntrack; it is nil if kill does that, too.
	kill, track func(context.Context, []netip.Prefix) (int, error)
	warn        func(error) // is called with the first error of each

	mu      sync.Mutex
	enabled bool
	killing prefixQueue
	tracks  prefixQueue
}

// prefixQueue is the queue of one of the goroutines.
type prefixQueue struct {
	prefixes []netip.Prefix
	wake     chan struct{}
}

func newConnCloser(enabled bool, kill, track func(context.Context, []netip.Prefix) (int, error), warn func(error)) *connCloser {
	return &connCloser{kill: kill, track: track, warn: warn, enabled: enabled,
		killing: prefixQueue{wake: make(chan struct{}, 1)}, tracks: prefixQueue{wake: make(chan struct{}, 1)}}
}

// enable sets whether connections are closed.
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
		q.prefixes = q.prefixes[n:] // drop the oldest bans, whose connections end by themselves first
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for prefixes and returns all of them, or nil when ctx ends.
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

// passRest is the pause after a pass over all connections, as a multiple of its duration: 20 ms for 16,000 sockets, two seconds for a
// million entries of conntrack. In a storm of bans, or of other hosts' bans, one batch follows the other.
const passRest = 9

// run closes connections until ctx ends.
func (c *connCloser) run(ctx context.Context) {
	if c.track == nil {
		c.work(ctx, &c.killing, c.kill, func([]netip.Prefix) {})
		return
	}
	go c.work(ctx, &c.tracks, c.track, func([]netip.Prefix) {})
	c.work(ctx, &c.killing, c.kill, func(ps []netip.Prefix) { // only now: closing a connection sends packets, which would be tracked again
		c.mu.Lock()
		c.tracks.push(ps)
		c.mu.Unlock()
	})
}

// work does something with the prefixes of a queue, calls after and rests, until ctx ends.
func (c *connCloser) work(ctx context.Context, q *prefixQueue, do func(context.Context, []netip.Prefix) (int, error), after func([]netip.Prefix)) {
	warned := false
	for {
		ps := c.take(ctx, q)
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		if _, err := do(ctx, ps); err != nil && ctx.Err() == nil && !warned {
			warned = true
			c.warn(err)
		}
		took := time.Since(began)
		after(ps)
		select {
		case <-time.After(passRest * took):
		case <-ctx.Done():
		}
	}
}
