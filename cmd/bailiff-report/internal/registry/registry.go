// Package registry asks the Internet's registries whose an address is and who takes complaints about it: RDAP first, then
// whois on port 43, then a DNS zone of abuse contacts. It never holds a report up longer than it is allowed to, never asks
// one server more often than that one likes, and follows no referral of a stranger into the host's own network.
//
// What answers say is read by its subfolders rdap and whois. Start reading at Lookup.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"bailiff/cmd/bailiff-report/internal/registry/rdap"
	"bailiff/cmd/bailiff-report/internal/registry/whois"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

const (
	// defaultServer and defaultZone are the world's: they are not asked about what is in nobody's registry.
	defaultServer = "whois.iana.org"
	defaultZone   = "abuse-contacts.abusix.zone"

	maxAtOnce = 8 // look-ups
	grace     = 200 * time.Millisecond
	failedFor = time.Minute // a network of which nothing could be learnt is not asked about again for so long
)

// Options are what a Registry takes from the process it lives in. The zero value asks the world.
type Options struct {
	Client   *http.Client     // whose TLS configuration is taken; nil: the default one
	Resolver string           // HOST:PORT of the DNS server for abuse contacts; "": the system's
	Agent    string           // User-Agent
	File     string           // where answers outlive the process; "": nowhere
	Now      func() time.Time // nil: time.Now
}

// Registry asks and remembers. It is safe for use by several goroutines.
type Registry struct {
	cfg       config.Lookup
	bootstrap *rdap.Bootstrap
	client    *http.Client
	resolver  *net.Resolver
	dns       bool // a resolver of its own is set
	agent     string
	now       func() time.Time
	slots     chan struct{}
	file      string

	mu      sync.Mutex
	keeping bool // the file is about to be written
	cache   cache
	flights map[netip.Prefix]*flight
	servers map[string]*server
}

// flight is a look-up under way, which those about its neighbours wait for: their network is most likely the same.
type flight struct {
	done chan struct{}
	w    *report.Whois // not read before done
}

// New makes a Registry. An error is about the bootstrap file, and names it.
func New(cfg config.Lookup, o Options) (*Registry, error) {
	r := &Registry{cfg: cfg, agent: o.Agent, file: o.File, now: o.Now, slots: make(chan struct{}, maxAtOnce),
		flights: make(map[netip.Prefix]*flight), servers: make(map[string]*server), resolver: net.DefaultResolver, dns: o.Resolver != ""}
	if r.now == nil {
		r.now = time.Now
	}
	if r.file != "" {
		r.load()
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
	f, err := os.Open(cfg.Bootstrap)
	if err != nil {
		return nil, fmt.Errorf("report.lookup.bootstrap: %w", err)
	}
	defer f.Close()
	data, err := readAll(f, rdap.MaxBootstrap)
	if err == nil {
		r.bootstrap, err = rdap.ParseBootstrap(data)
	}
	if err != nil {
		return nil, fmt.Errorf("report.lookup.bootstrap: %s: %w", cfg.Bootstrap, err)
	}
	return r, nil
}

// Lookup says whose addr is. It never fails and never returns nil: where there is no answer within the configured time, or
// before ctx ends, Failed says why. The answer must not be changed; others have the same one.
func (r *Registry) Lookup(ctx context.Context, addr netip.Addr) *report.Whois {
	addr = addr.Unmap().WithZone("")
	if !r.known(addr) {
		return r.failed(errors.New("no public address"))
	}
	// What is under way ends by itself in time, and says more about what failed.
	ctx, cancel := context.WithTimeout(ctx, r.cfg.TimeLimit+grace)
	defer cancel()
	for {
		r.mu.Lock()
		if w := r.cache.get(addr, r.now()); w != nil {
			r.mu.Unlock()
			return w
		}
		key := neighbours(addr)
		f := r.flights[key]
		if f == nil {
			f = &flight{done: make(chan struct{})}
			r.flights[key] = f
			// The look-up goes on if who asked goes away: others may wait for it, and the next one finds it remembered.
			go r.fly(context.WithoutCancel(ctx), f, key, addr)
		}
		r.mu.Unlock()
		select {
		case <-f.done:
			// A neighbour's answer is ours if its network is; what failed for a neighbour failed for us.
			if f.w.Network.Contains(addr) || f.w.Failed != "" {
				return f.w
			}
		case <-ctx.Done():
			return r.failed(errors.New("no answer in time"))
		}
	}
}

// known says whether addr can be asked about at all.
func (r *Registry) known(addr netip.Addr) bool {
	return addr.IsValid() && (report.Public(addr) || r.cfg.RDAP && r.own(addr) || r.cfg.Whois && private(r.cfg.WhoisServer))
}

// own says whether a bootstrap file of the administrator's names a server for addr: that is a registry of theirs, which may
// know about private networks, too.
func (r *Registry) own(addr netip.Addr) bool {
	return r.cfg.Bootstrap != "" && len(r.bootstrap.Servers(addr)) > 0
}

// private says whether a configured server is one of the host's own network, by its address.
func private(server string) bool {
	host, _, err := net.SplitHostPort(whois.Server(server))
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && !report.Public(a)
}

// neighbours is the network whose addresses wait for each other's look-ups. Registries hand out no smaller ones.
func neighbours(addr netip.Addr) netip.Prefix {
	bits := 24
	if addr.Is6() {
		bits = 48
	}
	p, _ := addr.Prefix(bits)
	return p
}

func (r *Registry) fly(ctx context.Context, f *flight, key netip.Prefix, addr netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.TimeLimit)
	defer cancel()
	var w *report.Whois
	hold := r.cfg.Cache
	select {
	case r.slots <- struct{}{}:
		var whole bool
		if w, whole = r.ask(ctx, addr); !whole {
			hold = min(hold, failedFor)
		}
		<-r.slots
	case <-ctx.Done():
		w = r.failed(errors.New("too many look-ups at once"))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache.put(w, key, r.now(), hold)
	if w.Failed == "" {
		r.keepSoon()
	}
	delete(r.flights, key)
	f.w = w
	close(f.done)
}

// ask asks one after the other, each in a part of the time, so that one that hangs leaves some to the next. An answer is
// whole if all who had something to say were reached.
func (r *Registry) ask(ctx context.Context, addr netip.Addr) (w *report.Whois, whole bool) {
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
	if r.cfg.RDAP && (report.Public(addr) || r.own(addr)) {
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
			errs = append(errs, err)
		}
		cancel()
	}
	if w == nil {
		if len(errs) == 0 {
			errs = append(errs, errors.New("no registry is asked"))
		}
		w = r.failed(errors.Join(errs...))
	}
	whole = w.Failed == ""
	if len(w.Abuse) == 0 && contacts {
		// What it cannot say, nobody says: no address is guessed.
		var err error
		w.Abuse, err = r.contacts(ctx, addr)
		whole = whole && err == nil
	}
	return w, whole
}

// failed is an answer that says why there is none.
func (r *Registry) failed(err error) *report.Whois {
	reason := strings.ReplaceAll(err.Error(), "\n", "; ")
	return &report.Whois{Asked: r.now(), Failed: safetext.Line(reason, 400)}
}

// usable refuses answers about more than a registry ever gave to one holder: those are about all the rest.
func usable(p netip.Prefix) bool {
	return p.Bits() >= 8 && p.Addr().Is4() || p.Bits() >= 16 && p.Addr().Is6()
}
