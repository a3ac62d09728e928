package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"bailiff/units/hub"
)

// Times of the connection to the hub. A hub that vanishes without a word is noticed after two or three pings.
const (
	dialTime     = 2 * time.Second
	pingInterval = 2 * time.Second
	firstWait    = 100 * time.Millisecond // before the second attempt to connect
	longestWait  = 2 * time.Second        // before each later one, or a fifth more: hosts equal again soon after a hub's return
)

// maxHubs bounds the addresses of the hub that are remembered. A name may have others each time.
const maxHubs = 64

// Bounds of what is kept of the hub's messages while earlier ones are being handed on. What is over them is read again later.
const (
	pendingMessages = 32 << 10
	pendingBytes    = 16 << 20
)

// Connect connects to the servers of a fleet by the user whose seed is given. It returns at once; the connection is made, and made
// again, in the background.
func Connect(name string, servers []string, ca, seed string, o ...nats.Option) (*nats.Conn, error) {
	pool, err := hub.Pool(ca)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	user, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return nil, fmt.Errorf("nkey: %w", err)
	}
	public, err := user.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("nkey: %w", err)
	}
	return nats.Connect(strings.Join(servers, ","), append([]nats.Option{
		nats.Name(name),
		nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}),
		nats.Nkey(public, user.Sign),
		nats.Timeout(dialTime), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2), nats.FlusherTimeout(dialTime),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.CustomReconnectDelay(reconnectDelay),
		// What cannot be sent now is sent after a comparison with what the hub holds then.
		nats.ReconnectBufSize(-1),
	}, o...)...)
}

// reconnectDelay is the pause after all servers have been tried so many times.
func reconnectDelay(attempts int) time.Duration {
	d := longestWait
	if attempts < 5 {
		d = min(d, firstWait<<max(attempts-1, 0))
	}
	return d + rand.N(d/5)
}

// link is the connection to the hub and what it tells of itself.
type link struct {
	nc    *nats.Conn
	inbox chan *nats.Msg // republished messages
	again chan struct{}  // a connection was made

	mu    sync.Mutex
	url   string // of the server; "": not connected
	since time.Time
	err   error               // why it is not connected
	hubs  map[netip.Addr]bool // addresses of the hub that are known
	log   func(string)
}

func (l *link) state() (url string, since time.Time, err error) {
	l.mu.Lock()
	nc := l.nc
	l.mu.Unlock()
	if nc != nil && !nc.IsConnected() { // no handler is told of this one
		if err := nc.LastError(); errors.Is(err, nats.ErrAuthorization) {
			l.down(nc, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.url, l.since, l.err
}

// connected reports whether there is a connection.
func (l *link) connected() bool { url, _, _ := l.state(); return url != "" }

func (l *link) up(nc *nats.Conn) {
	l.mu.Lock()
	l.url, l.since, l.err = nc.ConnectedUrlRedacted(), time.Now(), nil
	l.know(nc.ConnectedAddr())
	for _, s := range nc.Servers() {
		if u, err := url.Parse(s); err == nil {
			l.know(u.Host)
		}
	}
	l.log(fmt.Sprintf("connected to %s (nats-server %s)", l.url, nc.ConnectedServerVersion()))
	l.mu.Unlock()
	signal(l.again)
}

// know remembers an address of the hub, HOST:PORT. Names are of no use here.
func (l *link) know(s string) {
	if a, err := netip.ParseAddrPort(s); err == nil && len(l.hubs) < maxHubs {
		l.hubs[a.Addr().Unmap().WithZone("")] = true
	}
}

// isHub reports whether a prefix holds an address of the hub. A host that could ban it would cut the others off, and keep them from
// hearing that it is no longer believed.
func (l *link) isHub(p netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for a := range l.hubs {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// errRefused means that the hub does not know this host's key. Later attempts may end as EOF, which says nothing.
var errRefused = errors.New("the hub refuses this host: it was revoked, has left the fleet, or needs a new file to join")

// down takes an error of the connection. Of an outage the first one is logged, and that the hub refuses this host.
func (l *link) down(_ *nats.Conn, err error) {
	if err == nil { // this program ends
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	first, refused := l.url != "" || l.err == nil, errors.Is(l.err, errRefused)
	if first {
		l.url, l.since = "", time.Now()
	}
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		err, first = errRefused, first || !refused
	case refused && errors.Is(err, io.EOF):
		return
	}
	if first {
		l.log(fmt.Sprintf("the hub cannot be reached: %v; trying again until it can", err))
	}
	l.err = err
}

// open connects and subscribes to what the hub republishes.
func (l *link) open(ctx context.Context, m *hub.Member) (err error) {
	l.hubs = make(map[netip.Addr]bool)
	for _, s := range m.Servers {
		if u, err := url.Parse(s); err == nil {
			l.know(u.Host)
		}
	}
	l.since, l.inbox, l.again = time.Now(), make(chan *nats.Msg, 64), make(chan struct{}, 1)
	nc, err := Connect("bailiff-fleet "+m.Host, m.Servers, m.CA, m.NKey,
		nats.ConnectHandler(l.up), nats.ReconnectHandler(l.up), nats.DisconnectErrHandler(l.down), nats.ReconnectErrHandler(l.down),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // a message that was dropped shows as a gap
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.nc = nc
	l.mu.Unlock()
	sub, err := nc.Subscribe(republished+">", func(m *nats.Msg) {
		select {
		case l.inbox <- m:
		case <-ctx.Done():
		}
	})
	if err == nil {
		err = sub.SetPendingLimits(pendingMessages, pendingBytes)
	}
	return err
}

// signal leaves a mark in a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
