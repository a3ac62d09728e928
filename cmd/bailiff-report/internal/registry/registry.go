// Package registry asks the Internet's registries who holds an address and who takes complaints about it: RDAP first, then whois
// (port 43), then a DNS zone of abuse contacts. Lookups have a deadline, servers are rate-limited, and referrals into the host's
// own network are not followed. Answers are cached for their whole network.
//
// It is done by hand because no library has these limits. Packages rdap and whois read the answers. Start reading at Lookup.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"bailiff/cmd/bailiff-report/internal/registry/rdap"
	"bailiff/cmd/bailiff-report/internal/registry/whois"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
	"bailiff/units/atomicfile"
)

const (
	// defaultZone is not asked about addresses that are in no registry.
	defaultZone = "abuse-contacts.abusix.zone"

	maxAtOnce = 8 // lookups
	grace     = 200 * time.Millisecond
	failedFor = time.Minute // after a failure, a network is not asked about again for this long
)

// Options are what a Registry gets from its process.
type Options struct {
	Client   *http.Client     // whose TLS configuration is taken; nil: the default one
	Resolver string           // HOST:PORT of the DNS server for abuse contacts; "": the system's
	Agent    string           // User-Agent
	Now      func() time.Time // nil: time.Now
}

// Registry looks addresses up. It is safe for use by several goroutines.
type Registry struct {
	cfg       config.Lookup
	bootstrap *rdap.Bootstrap
	client    *http.Client
	resolver  *net.Resolver
	dns       bool // Options.Resolver is set
	agent     string
	now       func() time.Time
	slots     chan struct{}

	mu      sync.Mutex
	cache   cache
	flights map[netip.Prefix]*flight
	servers map[string]*server
}

// flight is a lookup under way. Lookups about addresses nearby wait for it: their network is most likely the same.
type flight struct {
	done chan struct{}
	w    *report.Whois // not read before done
}

// New returns a Registry. Errors are about the bootstrap file and name it.
func New(cfg config.Lookup, o Options) (*Registry, error) {
	r := &Registry{cfg: cfg, agent: o.Agent, now: o.Now, cache: cache{}, slots: make(chan struct{}, maxAtOnce),
		flights: make(map[netip.Prefix]*flight), servers: make(map[string]*server), resolver: net.DefaultResolver, dns: o.Resolver != ""}
	if r.now == nil {
		r.now = time.Now
	}
	r.client = r.newClient(o.Client)
	if o.Resolver != "" {
		r.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, o.Resolver)
		}}
	}
	if cfg.Bootstrap == "" {
		r.bootstrap = rdap.IANA()
		return r, nil
	}
	data, err := atomicfile.Read(cfg.Bootstrap, rdap.MaxBootstrap, 0)
	if err != nil {
		return nil, fmt.Errorf("report.lookup.bootstrap: %w", err)
	}
	if r.bootstrap, err = rdap.ParseBootstrap(data); err != nil {
		return nil, fmt.Errorf("report.lookup.bootstrap: %s: %w", cfg.Bootstrap, err)
	}
	return r, nil
}

// Lookup returns who holds addr. It never returns nil: if there is no answer within the configured time or before ctx ends, Failed
// says why. The answer is shared and must not be changed.
func (r *Registry) Lookup(ctx context.Context, addr netip.Addr) *report.Whois {
	addr = addr.Unmap().WithZone("")
	if !r.askable(addr) {
		return r.failed(errors.New("no public address"))
	}
	// The lookup ends by itself at its limit, with a better reason than a context that ends.
	ctx, cancel := context.WithTimeout(ctx, r.cfg.TimeLimit+grace)
	defer cancel()
	for {
		r.mu.Lock()
		if w := r.cache.get(addr, r.now()); w != nil {
			r.mu.Unlock()
			return w
		}
		key := nearby(addr)
		f := r.flights[key]
		if f == nil {
			f = &flight{done: make(chan struct{})}
			r.flights[key] = f
			// The lookup goes on if its caller is gone: others may wait for it, and its answer is cached.
			go r.fly(context.WithoutCancel(ctx), f, key, addr)
		}
		r.mu.Unlock()
		select {
		case <-f.done:
			// An answer about an address nearby is also about this one if its network contains it; so is a failure.
			if f.w.Network.Contains(addr) || f.w.Failed != "" {
				return f.w
			}
		case <-ctx.Done():
			return r.failed(errors.New("no answer in time"))
		}
	}
}

// askable reports whether some server can know addr.
func (r *Registry) askable(addr netip.Addr) bool {
	return addr.IsValid() && (report.Public(addr) || r.cfg.RDAP && r.inBootstrap(addr) || r.cfg.Whois && private(r.cfg.WhoisServer))
}

// inBootstrap reports whether the configured bootstrap file names a server for addr: the administrator's own registry, which may know
// private networks.
func (r *Registry) inBootstrap(addr netip.Addr) bool {
	return r.cfg.Bootstrap != "" && len(r.bootstrap.Servers(addr)) > 0
}

// private reports whether a configured server is in the host's own network, by its address.
func private(server string) bool {
	host, _, err := net.SplitHostPort(whois.Server(server))
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && !report.Public(a)
}

// nearby is the network whose addresses wait for each other's lookups: the smallest that registries assign.
func nearby(addr netip.Addr) netip.Prefix {
	bits := 24
	if addr.Is6() {
		bits = 48
	}
	p, _ := addr.Prefix(bits)
	return p
}

// fly makes a lookup and gives its answer to all that wait for it.
func (r *Registry) fly(ctx context.Context, f *flight, key netip.Prefix, addr netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.TimeLimit)
	defer cancel()
	var w *report.Whois
	hold := r.cfg.Cache
	select {
	case r.slots <- struct{}{}:
		if w = r.ask(ctx, addr); w.Unasked != "" {
			hold = min(hold, failedFor)
		}
		<-r.slots
	case <-ctx.Done():
		w = r.failed(errors.New("too many lookups at once"))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache.put(w, key, r.now(), hold)
	delete(r.flights, key)
	f.w = w
	close(f.done)
}

// ask asks RDAP, whois and the DNS zone in turn. Each gets a part of the time, so that one that hangs leaves some to the next.
func (r *Registry) ask(ctx context.Context, addr netip.Addr) (w *report.Whois) {
	start := time.Now()
	limit := r.cfg.TimeLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	within := func(part time.Duration) (context.Context, context.CancelFunc) {
		return context.WithDeadline(ctx, start.Add(limit*part/10))
	}
	contacts := r.cfg.Contacts != "" && (report.Public(addr) || r.dns || r.cfg.Contacts != defaultZone)
	var errs []error
	if r.cfg.RDAP && (report.Public(addr) || r.inBootstrap(addr)) {
		part := time.Duration(5)
		switch {
		case !r.cfg.Whois && !contacts:
			part = 10
		case !r.cfg.Whois:
			part = 8
		}
		ctx, cancel := within(part)
		var err error
		if w, err = r.rdap(ctx, addr); err != nil {
			errs = append(errs, err)
		}
		cancel()
	}
	if w == nil && r.cfg.Whois && (report.Public(addr) || private(r.cfg.WhoisServer)) {
		part := time.Duration(10)
		if contacts {
			part = 8
		}
		ctx, cancel := within(part)
		var err error
		if w, err = r.whois(ctx, addr); err != nil {
			if errs = append(errs, err); w != nil {
				w.Unasked = reason(err)
			}
		}
		cancel()
	}
	if w == nil {
		if len(errs) == 0 {
			errs = append(errs, errors.New("no registry is configured"))
		}
		w = r.failed(errors.Join(errs...))
	}
	if len(w.Abuse) == 0 && contacts {
		// No address is guessed if the zone has none.
		var err error
		if w.Abuse, err = r.contacts(ctx, addr); err != nil {
			w.Unasked = reason(err)
		}
	}
	return w
}

// failed is the answer of a lookup that failed.
func (r *Registry) failed(err error) *report.Whois {
	return &report.Whois{Asked: r.now(), Failed: reason(err)}
}

// reason is an error in one line.
func reason(err error) string {
	return safetext.Line(strings.ReplaceAll(err.Error(), "\n", "; "), 400)
}

// usable refuses networks larger than any that a registry gave to one holder: such answers are about unassigned space.
func usable(p netip.Prefix) bool {
	return p.Bits() >= 8 && p.Addr().Is4() || p.Bits() >= 16 && p.Addr().Is6()
}
