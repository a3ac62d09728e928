package agent

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"bailiff/units/atomicfile"
	"bailiff/units/hub"
	"bailiff/units/hub/login"
)

// Times of the connection to the hub.
const (
	dialTime = 2 * time.Second

	// The kernel notices a dead path: no acknowledgment of a ping for deadAfter. A server that hangs is noticed by maxPings pings without
	// an answer.
	pingInterval = time.Second
	deadAfter    = 3 * time.Second
	maxPings     = 5

	// Pauses between attempts to connect: the first, the longest in a small fleet, and in a large one the time per host. All hosts come
	// back at once, and each costs the server a handshake of a millisecond.
	firstWait   = 100 * time.Millisecond
	longestWait = 400 * time.Millisecond
	waitPerHost = time.Millisecond
)

var errNoAddress = errors.New("it has none")

// errLost ends calls whose answer can no longer come.
var errLost = errors.New("the connection to the hub was lost")

// Bounds of the protected addresses: those that the hub has told of or was reached at, those of each name in the roster, and those of this
// host's name servers. (With 16 servers of the hub, there are fewer than fleet.MaxHub.)
const (
	maxHubs        = 64
	maxNamed       = 32
	maxNameServers = 32
)

// Times of looking up the hub's names: how long one look-up may take, the pauses after one that failed, and after others.
const (
	lookupTime     = 10 * time.Second
	firstLookup    = time.Second
	longestLookup  = time.Minute
	lookupInterval = 10 * time.Minute
)

// Bounds of the hub's messages that wait while earlier ones are passed on. Any others are read again later.
const (
	pendingMessages = 32 << 10
	pendingBytes    = 16 << 20
)

// dialer makes connections that end when the other side has acknowledged nothing for deadAfter, however many retransmissions that is.
var dialer = &net.Dialer{Timeout: dialTime, Control: func(_, _ string, c syscall.RawConn) (err error) {
	if failed := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadAfter.Milliseconds()))
	}); failed != nil {
		return failed
	}
	return err
}}

// Connect connects to the servers of a fleet by the user whose seed is given. It returns at once; the connection is made, and made
// again, in the background.
func Connect(name string, servers []string, ca, seed string, o ...nats.Option) (*nats.Conn, error) {
	options, err := login.Options(ca, seed)
	if err != nil {
		return nil, err
	}
	options = append(options,
		nats.Name(name),
		nats.Timeout(dialTime), nats.SetCustomDialer(dialer), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(maxPings), nats.FlusherTimeout(dialTime),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(func(attempts int) time.Duration { return reconnectDelay(attempts, 1) }),
		// Nothing is buffered: the next comparison with the hub finds what is missing.
		nats.ReconnectBufSize(-1))
	return nats.Connect(strings.Join(servers, ","), append(options, o...)...)
}

// reconnectDelay is the pause after this many attempts at all servers, in a fleet of this many hosts.
func reconnectDelay(attempts, hosts int) time.Duration {
	d := max(longestWait, time.Duration(hosts)*waitPerHost)
	if attempts < 10 {
		d = min(d, firstWait<<max(attempts-1, 0))
	}
	return d + rand.N(d/5)
}

// link is the connection to the hub and its state.
type link struct {
	nc    *nats.Conn
	inbox chan *nats.Msg // republished messages
	again chan struct{}  // a connection was made, or messages were dropped

	replies string     // where the hub answers to published bans
	answers chan error // nil: a message was stored
	batch   int        // messages that are read at a time; only the reader reads

	answerTime time.Duration // fetchTime, except in tests

	ask    chan struct{}                                                         // look up the hub's names now
	lookup func(ctx context.Context, network, name string) ([]netip.Addr, error) // of net.Resolver, except in tests

	resolvConfs []string // name this host's name servers

	mu    sync.Mutex
	url   string // of the server; "": not connected
	since time.Time
	err   error                   // why it is not connected
	hubs  map[netip.Addr]bool     // addresses that the hub has told of or was reached at, or that the roster names
	named map[string][]netip.Addr // the latest known addresses of the roster's servers, by name
	log   func(string)
	conn  context.Context    // ends with the connection; nil: there was none yet
	lost  context.CancelFunc // ends conn

	nameServers []netip.Addr // of this host, the latest known
}

func newLink(log func(string)) *link {
	return &link{log: log, answerTime: fetchTime, ask: make(chan struct{}, 1), lookup: net.DefaultResolver.LookupNetIP, resolvConfs: []string{"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"}}
}

func (l *link) state() (url string, since time.Time, err error) {
	l.mu.Lock()
	nc := l.nc
	l.mu.Unlock()
	if nc != nil && !nc.IsConnected() { // no handler is called for this
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
	if len(l.hubs) >= maxHubs { // a name whose addresses change all the time
		clear(l.hubs)
	}
	l.know(nc.ConnectedAddr())
	for _, s := range nc.Servers() {
		if u, err := url.Parse(s); err == nil {
			l.know(u.Host)
		}
	}
	l.log(fmt.Sprintf("connected to %s (nats-server %s)", l.url, nc.ConnectedServerVersion()))
	l.end()
	l.conn, l.lost = context.WithCancel(context.Background())
	l.mu.Unlock()
	signal(l.ask)
	signal(l.again)
}

// end ends the calls that wait for an answer over this connection. l.mu is held.
func (l *link) end() {
	if l.lost != nil {
		l.lost()
	}
}

// during returns a context that ends with the present connection: requests over it get no answer over the next one.
func (l *link) during(ctx context.Context) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	if conn == nil || conn.Err() != nil {
		cancel(errLost)
		return ctx, func() {}
	}
	stop := context.AfterFunc(conn, func() { cancel(errLost) })
	return ctx, func() { stop(); cancel(nil) }
}

// knowAll replaces the known addresses of the hub with those of these servers. resolve looks up the names among them.
func (l *link) knowAll(servers []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hubs = make(map[netip.Addr]bool)
	named := make(map[string][]netip.Addr, len(servers))
	for _, s := range servers {
		if u, err := url.Parse(s); err == nil {
			l.know(u.Host)
			named[u.Hostname()] = l.named[u.Hostname()]
		}
	}
	l.named = named
	signal(l.ask)
}

// resolve looks up the addresses of the hub's servers, and of this host's name servers, until ctx ends: at the start, when the hub moves, at
// each connection and at an interval. It calls changed when they have changed. Others never wait for it.
func (l *link) resolve(ctx context.Context, changed func()) {
	unknown := fault{log: l.log}
	var told []netip.Addr
	tell := func() {
		if now := l.addresses(); !slices.Equal(now, told) {
			told = now
			changed()
		}
	}
	for pause := firstLookup; ctx.Err() == nil; {
		l.readNameServers()
		tell() // look-ups take seconds while a name server is away
		err := l.lookUp(ctx)
		tell()
		if ctx.Err() != nil {
			return
		}
		unknown.set(err)
		wait := lookupInterval
		if err != nil {
			wait, pause = pause, min(2*pause, longestLookup)
		} else {
			pause = firstLookup
		}
		select {
		case <-ctx.Done():
		case <-l.ask:
		case <-time.After(wait + rand.N(wait/4)):
		}
	}
}

// readNameServers reads which name servers this host has: those that systemd-resolved asks, and those that programs ask. If the files name none,
// the latest known ones stay.
func (l *link) readNameServers() {
	var found []netip.Addr
	for _, file := range l.resolvConfs {
		data, err := atomicfile.Read(file, 64<<10, 0)
		if err != nil { // the host does without
			continue
		}
		for line := range strings.Lines(string(data)) {
			word := strings.Fields(line)
			if len(word) < 2 || word[0] != "nameserver" || len(found) == maxNameServers {
				continue
			}
			if a, err := netip.ParseAddr(word[1]); err == nil {
				found = append(found, a.Unmap().WithZone(""))
			}
		}
	}
	if len(found) > 0 {
		l.mu.Lock()
		l.nameServers = found
		l.mu.Unlock()
	}
}

// lookUp looks up the names of the hub's servers once. A name that has no answer keeps its addresses.
func (l *link) lookUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	l.mu.Lock()
	names := slices.Sorted(maps.Keys(l.named))
	l.mu.Unlock()
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Add(1)
		go func() {
			defer wg.Done()
			found, err := l.lookup(ctx, "ip", name)
			if err != nil || len(found) == 0 {
				errs[i] = fmt.Errorf("the addresses of the hub's server %s are not known, so bans of them would not be recognized: %w", name, cmp.Or(err, errNoAddress))
				return
			}
			for i := range found {
				found[i] = found[i].Unmap().WithZone("")
			}
			slices.SortFunc(found, netip.Addr.Compare)
			l.mu.Lock()
			defer l.mu.Unlock()
			if _, still := l.named[name]; still {
				l.named[name] = found[:min(len(found), maxNamed)]
			}
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// addresses returns the known addresses of the hub and of this host's name servers, in order.
func (l *link) addresses() []netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := append(slices.Collect(maps.Keys(l.hubs)), l.nameServers...)
	for _, some := range l.named {
		all = append(all, some...)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// know remembers an address of the hub, HOST:PORT. It ignores host names.
func (l *link) know(s string) {
	if a, err := netip.ParseAddrPort(s); err == nil && len(l.hubs) < maxHubs {
		l.hubs[a.Addr().Unmap().WithZone("")] = true
	}
}

// needs reports whether a prefix contains an address of the hub, or of a name server, without which its names are not known. By banning it, a
// host could cut the others off and keep them from learning that it is no longer trusted.
func (l *link) needs(p netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for a := range l.hubs {
		if p.Contains(a) {
			return true
		}
	}
	for _, some := range l.named {
		if slices.ContainsFunc(some, p.Contains) {
			return true
		}
	}
	return slices.ContainsFunc(l.nameServers, p.Contains)
}

// errRefused means that the hub does not know this host's key. Later attempts may end as EOF, which says nothing.
var errRefused = errors.New("the hub refuses this host: it was revoked, has left the fleet, or needs a new file to join")

// down handles an error of the connection. It logs the first one of an outage, and a refusal by the hub.
func (l *link) down(_ *nats.Conn, err error) {
	if err == nil { // this program ends
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
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

// failed handles an error that ends nothing. If too many messages waited, some were dropped: a gap shows it, unless one was the roster.
func (l *link) failed(_ *nats.Conn, s *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) && s.Subject == republished+">" {
		signal(l.again)
	}
}

// open connects to the hub that the roster names, and subscribes to what it republishes.
func (l *link) open(ctx context.Context, m *hub.Member, current func() *roster) (err error) {
	r := current()
	l.knowAll(r.servers)
	l.mu.Lock() // the status may be asked for already
	l.since = time.Now()
	l.mu.Unlock()
	l.inbox, l.again, l.answers, l.batch = make(chan *nats.Msg, 64), make(chan struct{}, 1), make(chan error, window), fetchBatch
	l.replies = nats.NewInbox()
	nc, err := Connect("bailiff-fleet "+m.Host, r.servers, r.ca, m.NKey,
		func(o *nats.Options) error { // the roster's at each attempt
			o.RootCAsCB = func() (*x509.CertPool, error) { return hub.Pool(current().ca) }
			return nil
		},
		nats.CustomReconnectDelay(func(attempts int) time.Duration { return reconnectDelay(attempts, len(current().groups)) }),
		nats.ConnectHandler(l.up), nats.ReconnectHandler(l.up), nats.DisconnectErrHandler(l.down), nats.ReconnectErrHandler(l.down),
		nats.ErrorHandler(l.failed))
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
	if err == nil {
		_, err = nc.Subscribe(l.replies, func(m *nats.Msg) {
			select {
			case l.answers <- answer(m):
			default: // there are others
			}
		})
	}
	return err
}

// answer reads the hub's answer to a message that was published: an error if it was not stored.
func answer(m *nats.Msg) error {
	if header(m.Header, "Status") != "" {
		return errors.New("it has no stream for them; run systemctl reload nats-server on the hub")
	}
	var a struct {
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &a); {
	case err != nil:
		return errors.New("its answer cannot be read")
	case a.Error == nil:
		return nil
	case strings.Contains(a.Error.Description, syscall.ENOSPC.Error()), slices.Contains(outOfSpace, a.Error.ErrorCode):
		return fmt.Errorf("%s; free space in /var/lib/bailiff-hub on the hub", a.Error.Description)
	}
	return errors.New(a.Error.Description)
}

// outOfSpace are the codes of JetStream's errors "insufficient resources" and "insufficient storage resources available".
var outOfSpace = []jetstream.ErrorCode{10023, 10047}

// move connects to the servers that the roster names now, and to no others. Hosts do that at different times.
func (l *link) move(current func() *roster) {
	time.AfterFunc(rand.N(firstWait+time.Duration(len(current().groups))*waitPerHost), func() {
		r := current()
		l.knowAll(r.servers)
		l.mu.Lock()
		nc := l.nc
		l.mu.Unlock()
		err := nc.SetServerPool(r.servers)
		if err == nil {
			err = nc.ForceReconnect()
		}
		if err != nil && !errors.Is(err, nats.ErrConnectionClosed) { // this program ends
			l.log(fmt.Sprintf("the servers %v of the roster are not used: %v", r.servers, err))
		}
	})
}

// signal leaves a mark in a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
