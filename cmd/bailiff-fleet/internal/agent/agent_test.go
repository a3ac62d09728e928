package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/policy/fleet"
	"bailiff/policy/state"
	"bailiff/units/control"
)

// fakeDaemon has bans of its own and takes those of others, by the rules of policy/fleet, over a real control socket.
type fakeDaemon struct {
	control.Daemon // for the calls that nobody makes
	t              *testing.T
	path           string

	mu     sync.Mutex
	own    map[string]control.Ban
	others *fleet.Bans
	subs   map[chan control.Event]bool
	agent  control.FleetAgent
	serial uint64 // of the roster
	posted int
	stop   func()
}

func newDaemon(t *testing.T, r fleet.Rules) *fakeDaemon {
	d := &fakeDaemon{t: t, path: filepath.Join(t.TempDir(), "control"), own: map[string]control.Ban{}, others: fleet.New(r, nil), subs: map[chan control.Event]bool{}}
	d.start()
	t.Cleanup(func() { d.end() })
	return d
}

func (d *fakeDaemon) start() {
	l, err := net.Listen("unix", d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	s := control.NewServer(d, control.Options{})
	go s.Serve(l)
	d.stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.Shutdown(ctx)
	}
}

func (d *fakeDaemon) end() {
	if d.stop != nil {
		d.stop()
		d.stop = nil
	}
}

func (d *fakeDaemon) Status(context.Context) (*control.Status, error) { return &control.Status{}, nil }

func (d *fakeDaemon) Bans(_ context.Context, q control.BanQuery, _ netip.Prefix) (*control.BanList, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := &control.BanList{Total: len(d.own)}
	for _, b := range d.own {
		l.Bans = append(l.Bans, b)
	}
	return l, nil
}

func (d *fakeDaemon) Events(ctx context.Context) (<-chan control.Event, error) {
	c := make(chan control.Event, 100)
	d.mu.Lock()
	d.subs[c] = true
	d.mu.Unlock()
	context.AfterFunc(ctx, func() {
		d.mu.Lock()
		delete(d.subs, c)
		d.mu.Unlock()
	})
	return c, nil
}

func (d *fakeDaemon) SetFleetAgent(_ context.Context, a control.FleetAgent) (*control.FleetAgentStatus, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.agent = a
	return &control.FleetAgentStatus{FleetAgent: a}, nil
}

func (d *fakeDaemon) SetFleetHosts(_ context.Context, r fleet.Roster) (*control.FleetHostsSet, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Serial < d.serial {
		return nil, &control.Error{Status: 409, Message: "older"}
	}
	d.serial = r.Serial
	return &control.FleetHostsSet{}, nil
}

func (d *fakeDaemon) ApplyFleet(_ context.Context, news []fleet.News, live bool) (*control.FleetApplied, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &control.FleetApplied{Refused: map[string]int{}}
	for _, n := range news {
		if _, _, err := d.others.Apply(n, time.Now().UnixMicro(), live); err != nil {
			r.Refused[err.Error()]++
		} else {
			r.Accepted++
		}
	}
	d.posted += len(news)
	return r, nil
}

func (d *fakeDaemon) send(e control.Event) {
	for c := range d.subs {
		c <- e
	}
}

// ban bans an address on this host.
func (d *fakeDaemon) ban(addr string, long time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := netip.PrefixFrom(netip.MustParseAddr(addr), netip.MustParseAddr(addr).BitLen())
	now := time.Now().UTC().Truncate(time.Microsecond)
	until := now.Add(long)
	b := control.Ban{Prefix: p.String(), Jail: "sshd", Since: now, Until: &until, Failures: 5, Reason: state.Failures}
	b.ID = (&state.Ban{Prefix: p, Jail: "sshd", Since: now.UnixMicro()}).ID()
	d.own[addr] = b
	d.send(control.Event{Kind: "ban", Time: now, Prefix: b.Prefix, Jail: "sshd", ID: b.ID, Until: &until, Failures: 5, Reason: state.Failures})
}

// unban lifts a ban, told or not.
func (d *fakeDaemon) unban(addr string, told bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.own[addr]
	delete(d.own, addr)
	if told {
		d.send(control.Event{Kind: "unban", Time: time.Now(), Prefix: b.Prefix, Jail: "sshd", ID: b.ID})
	}
}

// banned lists what other hosts ban here.
func (d *fakeDaemon) banned() (l []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.others.InEffect(time.Now().UnixMicro()) {
		l = append(l, c.Prefix.Addr().String())
	}
	slices.Sort(l)
	return l
}

// wait waits until other hosts ban exactly these addresses here.
func (d *fakeDaemon) wait(want ...string) {
	d.t.Helper()
	want = slices.Sorted(slices.Values(want))
	eventually(d.t, func() error {
		if got := d.banned(); !slices.Equal(got, want) {
			return fmt.Errorf("banned by others: %d %.300q, want %d", len(got), got, len(want))
		}
		return nil
	})
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func rules(hosts ...string) fleet.Rules {
	r := fleet.Rules{Hosts: map[string]string{}, Rate: 1 << 20, MaxBans: 1 << 20}
	for _, h := range hosts {
		r.Hosts[h] = h
	}
	return r
}

// run runs an agent until the test ends or stop is called.
func (h *testHub) run(name string, d *fakeDaemon) (a *Agent, stop func()) {
	h.t.Helper()
	a, err := New(Options{Member: h.members[name], State: h.dir, Daemon: control.Dial(d.path), Log: func(s string) {
		if h.t.Context().Err() == nil {
			h.t.Logf("%s: %s", name, s)
		}
	}})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("%s: %v", name, err)
		}
	})
	h.t.Cleanup(stop)
	return a, stop
}

// TestShared: a ban of one host is one of the others', until it is lifted; the hub's end, its loss and a daemon's absence lose none.
func TestShared(t *testing.T) {
	h := newHub(t, "a", "b", "c")
	a, b, c := newDaemon(t, rules("b", "c")), newDaemon(t, rules("a", "c")), newDaemon(t, rules("a", "b"))
	a.ban("192.0.2.1", time.Hour)
	h.run("a", a)
	_, stopB := h.run("b", b)
	b.wait("192.0.2.1")
	a.ban("192.0.2.2", time.Hour)
	a.ban("2001:db8::2", time.Hour)
	b.ban("192.0.2.9", time.Hour)
	b.wait("192.0.2.1", "192.0.2.2", "2001:db8::2")
	a.wait("192.0.2.9")
	a.unban("192.0.2.2", true)
	b.wait("192.0.2.1", "2001:db8::2")

	// A late host gets all of it.
	h.run("c", c)
	c.wait("192.0.2.1", "2001:db8::2", "192.0.2.9")

	// A host whose bridge is down catches up, and what ended meanwhile is lifted.
	stopB()
	a.ban("192.0.2.3", time.Hour)
	b.unban("192.0.2.9", false)
	c.wait("192.0.2.1", "2001:db8::2", "192.0.2.9", "192.0.2.3")
	h.run("b", b)
	b.wait("192.0.2.1", "2001:db8::2", "192.0.2.3")
	c.wait("192.0.2.1", "2001:db8::2", "192.0.2.3")

	// The hub ends; meanwhile something happens.
	h.stop()
	eventually(t, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.agent.Hub != "" || c.agent.Error == "" {
			return fmt.Errorf("state %+v", c.agent)
		}
		return nil
	})
	a.ban("192.0.2.4", time.Hour)
	a.unban("192.0.2.3", true)
	h.start()
	b.wait("192.0.2.1", "2001:db8::2", "192.0.2.4")
	c.wait("192.0.2.1", "2001:db8::2", "192.0.2.4")

	// Its store is lost.
	h.stop()
	h.wipe()
	a.ban("192.0.2.5", time.Hour)
	b.ban("192.0.2.8", time.Hour)
	h.start()
	late := newDaemon(t, rules("a", "b"))
	want := []string{"192.0.2.1", "2001:db8::2", "192.0.2.4", "192.0.2.5", "192.0.2.8"}
	c.wait(want...)
	h.run("c", late) // the same name again: one that was set up anew
	late.wait(want...)

	// The daemon is away for a while.
	c.end()
	a.ban("192.0.2.6", time.Hour)
	b.wait("192.0.2.1", "2001:db8::2", "192.0.2.4", "192.0.2.5", "192.0.2.6")
	if got := c.banned(); len(got) != 5 {
		t.Errorf("a daemon that is not there has %q", got)
	}
	c.start()
	c.wait(append(want, "192.0.2.6")...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.agent.Hub != "" && !strings.HasPrefix(c.agent.Hub, "tls://127.0.0.1") {
		t.Errorf("%+v", c.agent)
	}
}
