package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/policy/fleet"
	"bailiff/policy/state"
	"bailiff/units/control"
	"bailiff/units/hub"
)

// fakeDaemon has bans of its own and takes those of others, by the rules of policy/fleet, over a real control socket.
type fakeDaemon struct {
	control.Daemon // for the calls that nobody makes
	t              *testing.T
	path           string
	answers        control.Daemon

	mu     sync.Mutex
	own    map[string]control.Ban
	lifted []control.HistoryLine
	busy   int // searches in lifted that are refused first
	others *fleet.Bans
	subs   map[chan control.Event]context.Context
	agent  control.FleetAgent
	serial uint64 // of the roster
	posted int
	told   int // of the roster, how often
	stop   func()

	reloaded *time.Time
}

func newDaemon(t *testing.T, r fleet.Rules) *fakeDaemon {
	d := stoppedDaemon(t, r)
	d.start()
	return d
}

func stoppedDaemon(t *testing.T, r fleet.Rules) *fakeDaemon {
	d := &fakeDaemon{t: t, path: filepath.Join(t.TempDir(), "control"), own: map[string]control.Ban{}, others: fleet.New(r, nil), subs: map[chan control.Event]context.Context{}}
	d.answers = d
	t.Cleanup(func() { d.end() })
	return d
}

func (d *fakeDaemon) start() {
	l, err := net.Listen("unix", d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	s := control.NewServer(d.answers, control.Options{})
	go s.Serve(l)
	d.stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
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

func (d *fakeDaemon) Status(context.Context) (*control.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &control.Status{Reloaded: d.reloaded}, nil
}

func (d *fakeDaemon) Bans(_ context.Context, q control.BanQuery, _ netip.Prefix) (*control.BanList, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := &control.BanList{Total: len(d.own)}
	for _, b := range d.own {
		l.Bans = append(l.Bans, b)
	}
	return l, nil
}

func (d *fakeDaemon) History(_ context.Context, q control.HistoryQuery, _ netip.Prefix, emit func(*control.HistoryLine) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !q.Lifted || q.Limit != control.MaxLifted {
		d.t.Errorf("history: %+v", q)
	}
	if d.busy > 0 {
		d.busy--
		return &control.Error{Status: http.StatusServiceUnavailable, Message: "other searches in the audit trail are running"}
	}
	for i := range d.lifted {
		if err := emit(&d.lifted[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *fakeDaemon) Events(ctx context.Context, quiet bool) (<-chan control.Event, error) {
	if !quiet {
		d.t.Error("failures are followed")
	}
	c := make(chan control.Event, 100)
	d.mu.Lock()
	d.subs[c] = ctx
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
	d.told++
	if _, err := d.others.SetRoster(r, time.Now().UnixMicro()); err != nil {
		return nil, &control.Error{Status: 400, Message: err.Error()}
	}
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
	for c, ctx := range d.subs {
		select {
		case c <- e:
		case <-ctx.Done(): // it has left
		}
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

// unban lifts a ban, with or without an event.
func (d *fakeDaemon) unban(addr string, told bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.own[addr]
	delete(d.own, addr)
	d.lifted = append(d.lifted, control.HistoryLine{Kind: "unban", Time: time.Now(), Prefix: b.Prefix, Jail: "sshd", ID: b.ID, Since: &b.Since, Until: b.Until})
	if told {
		d.send(control.Event{Kind: "unban", Time: time.Now(), Prefix: b.Prefix, Jail: "sshd", ID: b.ID})
	}
}

// banned lists the addresses that other hosts ban here.
func (d *fakeDaemon) banned() (l []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.others.Effects(time.Now().UnixMicro()) {
		if c.Banned {
			l = append(l, c.Prefix.Addr().String())
		}
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
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// state is what host a's agent has written.
func (h *testHub) state(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.stateDir("a"), rosterName))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return b
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
	a = New(Options{Member: h.members[name], State: h.stateDir(name), Daemon: control.Dial(d.path), Log: func(s string) {
		if h.t.Context().Err() == nil {
			h.t.Logf("%s: %s", name, s)
		}
	}})
	if h.pageInterval != 0 {
		a.pageInterval = h.pageInterval
	}
	if h.fresh != 0 {
		a.fresh = h.fresh
	}
	if h.answerTime != 0 {
		a.link.answerTime = h.answerTime
	}
	if h.rosterInterval != 0 {
		a.rosterInterval = func(int) time.Duration { return h.rosterInterval }
	}
	if h.lookup != nil {
		a.link.lookup = h.lookup
	}
	a.countEvery = 100 * time.Millisecond
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

// TestShared: a ban of one host applies on the others until it is lifted. It survives the hub's end, the loss of its store, and a daemon's
// absence.
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
	h.run("c", late) // the same name again: a host that was set up anew
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

// TestLies: what a member can send, and what somebody who controls the hub can send.
func TestLies(t *testing.T) {
	h := newHub(t, "a", "b", "liar")
	a, b := newDaemon(t, rules("b", "liar")), newDaemon(t, rules("a", "liar"))
	h.run("a", a)
	h.run("b", b)
	a.ban("192.0.2.1", time.Hour)
	b.wait("192.0.2.1")

	now := time.Now()
	say := func(addr string) *nats.Msg {
		p := netip.MustParseAddr(addr)
		return h.message("liar", &fleet.News{Host: "liar", Prefix: netip.PrefixFrom(p, p.BitLen()), Jail: "sshd", Since: now.UnixMicro(), Until: now.Add(time.Hour).UnixMicro()})
	}
	nc := h.client("liar")
	send := func(l ...*nats.Msg) {
		t.Helper()
		for _, m := range l {
			if err := nc.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.FlushTimeout(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	other := say("192.0.2.20")
	other.Subject = strings.Replace(other.Subject, "liar", "a", 1)
	unsigned := say("192.0.2.21")
	unsigned.Header = nil
	// The number of another message, and a status that looks like the end of a batch.
	numbered := say("192.0.2.22")
	numbered.Header.Set("Nats-Sequence", "1000000")
	numbered.Header.Set("Nats-Subject", "ban.a.sshd.192_0_2_23/32")
	numbered.Header.Set("Status", "204")
	reply := say("192.0.2.24")
	reply.Reply = "fleet.ban.a.sshd.192_0_2_25/32"
	again := say("192.0.2.24")
	again.Subject, again.Data, again.Header, again.Reply = "hub.DIRECT.GET.BANS."+reply.Subject, nil, nil, "ban.a.sshd.192_0_2_26/32"
	send(other, unsigned, numbered, reply, again, say("127.0.0.1"))
	// The hub itself, by its address: 127.0.0.1 here.
	b.wait("192.0.2.1", "192.0.2.22", "192.0.2.24")
	a.wait("192.0.2.22", "192.0.2.24")
	eventually(t, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.agent.Rejected < 2 || !strings.Contains(b.agent.Error, "host liar bans 127.0.0.1/32, an address of the hub") {
			return fmt.Errorf("%+v", b.agent)
		}
		return nil
	})

	// Entries that do not fit into the daemon's call do not affect anybody else's.
	var odd []*nats.Msg
	for i := range 700 {
		n := fleet.News{Host: "liar", Prefix: netip.MustParsePrefix(fmt.Sprintf("198.51.%d.%d/32", 100+i/250, i%250)), Jail: "sshd", Since: now.UnixMicro(), Until: now.Add(time.Hour).UnixMicro(), Reason: strings.Repeat("<", fleet.MaxReason)}
		switch i {
		case 100:
			n.Until = now.AddDate(8000, 0, 0).UnixMicro()
		case 200:
			n.Since = now.AddDate(8000, 0, 0).UnixMicro()
		case 300:
			n.Since = -now.AddDate(8000, 0, 0).UnixMicro()
		case 400:
			n.Reason = strings.Repeat("x", 2*fleet.MaxReason)
		}
		odd = append(odd, h.message("liar", &n))
	}
	h.publish("liar", odd...)
	late := newDaemon(t, rules("a", "b", "liar"))
	h.run("b", late) // which reads them all at once
	eventually(t, func() error {
		if l := late.banned(); len(l) != 697+3 || !slices.Contains(l, "192.0.2.1") {
			return fmt.Errorf("%d are banned: %.200q", len(l), l)
		}
		return nil
	})
	for i := range odd { // and lifts them again
		p, _ := netip.ParsePrefix(fmt.Sprintf("198.51.%d.%d/32", 100+i/250, i%250))
		odd[i] = h.message("liar", &fleet.News{Host: "liar", Prefix: p, Jail: "sshd", Since: now.UnixMicro(), Until: now.Add(time.Hour).UnixMicro(), Lifted: true})
	}
	h.publish("liar", odd...)
	b.wait("192.0.2.1", "192.0.2.22", "192.0.2.24")

	// Somebody who controls the hub can write anything, but cannot sign. The numbers may be anything.
	admin := h.connect(h.admin.NKey)
	for i, seq := range []string{"", "x", "0", "1", "99999999999999999999999", "18446744073709551615", "500"} {
		m := say(fmt.Sprintf("192.0.2.%d", 40+i))
		m.Subject = "fleet." + strings.Replace(m.Subject, "liar", "a", 1)
		m.Header.Set("Nats-Sequence", seq)
		if err := admin.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	a.ban("192.0.2.2", time.Hour)
	b.wait("192.0.2.1", "192.0.2.2", "192.0.2.22", "192.0.2.24")

	// A late host, which reads all of it, sees the same.
	c := newDaemon(t, rules("a", "b", "liar"))
	h.run("b", c)
	c.wait("192.0.2.1", "192.0.2.2", "192.0.2.22", "192.0.2.24")

	// The operator revokes the liar: hosts learn of it at once, and know it after a restart of a hub that has forgotten it.
	delete(h.roster.Hosts, "liar")
	h.roster.Serial++
	old := h.admin.Roster
	h.admin.Roster = *h.sign()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if said, err := MakeStream(ctx, h.admin); err != nil || !strings.HasSuffix(said, "roster 2 stored") {
		t.Fatal(said, err)
	}
	for _, d := range []*fakeDaemon{a, b, c} {
		eventually(t, func() error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.serial != 2 {
				return fmt.Errorf("roster %d", d.serial)
			}
			return nil
		})
	}
	send(say("192.0.2.60"))
	a.ban("192.0.2.3", time.Hour)
	b.wait("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.22", "192.0.2.24") // the real daemon drops the last two by the roster
	h.stop()
	h.wipe()
	h.admin.Roster = old
	h.start()
	d := newDaemon(t, rules("a", "liar"))
	h.run("b", d)
	send2 := h.client("liar")
	if err := send2.PublishMsg(say("192.0.2.61")); err != nil {
		t.Fatal(err)
	}
	d.wait("192.0.2.1", "192.0.2.2", "192.0.2.3")
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.serial != 2 {
		t.Errorf("roster %d", d.serial)
	}
}

// TestDayAway: the hub is away while a busy host makes and lifts as many bans as in a day or more. The host keeps only what is in force and
// what was lifted early, and writes nothing. When the hub returns, the hosts are equal.
func TestDayAway(t *testing.T) {
	h := newHub(t, "a", "b")
	a, b := newDaemon(t, rules()), newDaemon(t, rules("a"))
	agentA, _ := h.run("a", a)
	h.run("b", b)
	want := []string{"192.0.2.1", "192.0.2.2"}
	for _, addr := range want {
		a.ban(addr, time.Hour)
	}
	b.wait(want...)
	h.stop()
	eventually(t, func() error {
		if s := agentA.state(); s.Hub != "" || s.Error == "" || strings.Contains(s.Error, "\n") {
			return fmt.Errorf("state %+v", s)
		}
		return nil
	})
	memory := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, files := memory(), len(h.state(t))
	const day = 2 * maxOwn // bans
	begin := time.Now().UTC().Truncate(time.Microsecond)
	until := begin.Add(time.Hour)
	for i := range day {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		since := begin.Add(time.Duration(i) * time.Microsecond)
		id := (&state.Ban{Prefix: p, Jail: "sshd", Since: since.UnixMicro()}).ID()
		a.mu.Lock()
		a.send(control.Event{Kind: "ban", Time: since, Prefix: p.String(), Jail: "sshd", ID: id, Until: &until, Failures: 5})
		a.send(control.Event{Kind: "unban", Time: since, Prefix: p.String(), Jail: "sshd", ID: id})
		a.mu.Unlock()
	}
	a.ban("192.0.2.3", time.Hour)
	a.unban("192.0.2.1", true)
	eventually(t, func() error {
		if n := len(agentA.changes); n > 0 {
			return fmt.Errorf("%d events wait", n)
		}
		return nil
	})
	grown := memory() - before
	t.Logf("%d bans that were made and lifted while the hub was away take %.1f MiB", day, float64(grown)/(1<<20))
	if grown > 48<<20 {
		t.Error("more than 48 MiB")
	}
	if n := len(h.state(t)); n != files {
		t.Errorf("%d bytes are kept on disk, %d before", n, files)
	}
	h.start()
	b.wait("192.0.2.2", "192.0.2.3")
	eventually(t, func() error {
		if s := agentA.state(); s.Waiting != 0 || s.Hub == "" {
			return fmt.Errorf("state %+v", s)
		}
		return nil
	})
}

// TestRefused: a host whose key the hub no longer knows shows that, and takes part again once the key is known.
func TestRefused(t *testing.T) {
	h := newHub(t, "a", "b")
	a, b := newDaemon(t, rules()), newDaemon(t, rules("a"))
	agentA, _ := h.run("a", a)
	h.run("b", b)
	conf, err := os.ReadFile(filepath.Join(h.dir, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := hub.NewNKey()
	if err != nil {
		t.Fatal(err)
	}
	known, err := hub.NKeyPublic(h.members["a"].NKey)
	if err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.write("nats.conf", []byte(strings.ReplaceAll(string(conf), known, stranger)))
	h.start()
	eventually(t, func() error {
		if s := agentA.state(); s.Hub != "" || s.Error != errRefused.Error() {
			return fmt.Errorf("state %+v", s)
		}
		return nil
	})
	a.ban("192.0.2.1", time.Hour)
	h.stop()
	h.write("nats.conf", conf)
	h.start()
	b.wait("192.0.2.1")
}

// TestReloaded: a daemon gets the list of hosts again after a reload, since it forgets it while no fleet is configured.
func TestReloaded(t *testing.T) {
	h := newHub(t, "a", "b")
	b := newDaemon(t, rules("a"))
	h.run("b", b)
	told := func(more int) {
		t.Helper()
		eventually(t, func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.told < more || len(b.subs) == 0 {
				return fmt.Errorf("told %d times, want %d", b.told, more)
			}
			return nil
		})
	}
	told(1)
	for range 5 { // it may be told again for other reasons: twice, at the start
		b.mu.Lock()
		before := b.told
		b.send(control.Event{Kind: "state", Text: "reloaded"})
		b.mu.Unlock()
		told(before + 1)
	}
}

// TestStoppedDaemon: a daemon that was stopped is not called, which would start it through its socket. It gets the list of hosts when it is back.
func TestStoppedDaemon(t *testing.T) {
	t.Parallel()
	h := newHub(t, "a", "b")
	b := stoppedDaemon(t, rules("a"))
	l, err := net.Listen("unix", b.path)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	looked, called := 0, []string(nil)
	socket := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodGet && r.URL.Path == "/v1/events" { // the real client asks systemd before
			looked++
		} else {
			called = append(called, r.Method+" "+r.URL.Path)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})}
	go socket.Serve(l)
	agent, _ := h.run("b", b)
	until := func(n int) {
		t.Helper()
		eventually(t, func() error {
			mu.Lock()
			defer mu.Unlock()
			if looked < n {
				return fmt.Errorf("looked for the daemon %d times, want %d", looked, n)
			}
			return nil
		})
	}
	until(1)
	h.roster.Serial++
	h.store(h.sign(), h.trust)
	isAt(t, agent, 2, h.server.URL())
	question := &fleet.Question{ID: "x", At: time.Now().UnixMicro(), Prefix: netip.MustParsePrefix("192.0.2.1/32"), Jail: "sshd"}
	m, err := fleet.SignQuestion("a", "b", question, h.members["a"].Key.Private())
	if err != nil {
		t.Fatal(err)
	}
	h.publish("a", h.signed(m))
	mu.Lock()
	more := looked + 4
	mu.Unlock()
	until(more)
	mu.Lock()
	if len(called) > 0 {
		t.Errorf("a daemon that was stopped was called: %q", called)
	}
	mu.Unlock()
	socket.Close()
	b.start()
	eventually(t, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.serial != 2 {
			return fmt.Errorf("the daemon has roster %d", b.serial)
		}
		return nil
	})
}

// newcomer is a daemon that knows no hosts until it gets the roster.
type newcomer struct {
	*fakeDaemon
	told atomic.Bool
}

func (d *newcomer) SetFleetHosts(ctx context.Context, r fleet.Roster) (*control.FleetHostsSet, error) {
	d.told.Store(true)
	return d.fakeDaemon.SetFleetHosts(ctx, r)
}

func (d *newcomer) ApplyFleet(ctx context.Context, news []fleet.News, live bool) (*control.FleetApplied, error) {
	if !d.told.Load() {
		d.t.Errorf("%d pieces of news before the hosts", len(news))
	}
	return d.fakeDaemon.ApplyFleet(ctx, news, live)
}

// TestRosterFirst: a daemon that starts gets the list of hosts before their bans, which it would refuse otherwise.
func TestRosterFirst(t *testing.T) {
	h := newHub(t, "a", "b")
	a := newDaemon(t, rules())
	h.run("a", a)
	a.ban("192.0.2.1", time.Hour)
	for range 3 {
		b := &newcomer{fakeDaemon: stoppedDaemon(t, rules("a"))}
		b.answers = b
		_, stop := h.run("b", b.fakeDaemon)
		time.Sleep(600 * time.Millisecond) // bailiff-fleet has read the ban by then, mostly
		b.start()
		b.wait("192.0.2.1")
		stop()
	}
}

// TestForgotten: a ban was lifted while nobody listened, and the hub no longer knows that it existed. The daemon is busy at first.
func TestForgotten(t *testing.T) {
	t.Parallel()
	h := newHub(t, "a", "b")
	a, b := newDaemon(t, rules()), newDaemon(t, rules("a"))
	_, stop := h.run("a", a)
	h.run("b", b)
	a.ban("192.0.2.1", time.Hour)
	a.ban("192.0.2.2", time.Hour)
	b.wait("192.0.2.1", "192.0.2.2")
	stop()
	h.stop()
	h.wipe()
	a.unban("192.0.2.1", false)
	a.mu.Lock()
	a.busy = 2
	a.mu.Unlock()
	h.start()
	h.run("a", a)
	b.wait("192.0.2.2")
}

// TestGivenOnce: a daemon is not given again what it has when the hub has lost its data and gets it again. A daemon that was started is.
func TestGivenOnce(t *testing.T) {
	h := newHub(t, "a", "b")
	b := newDaemon(t, rules("a"))
	b.ban("198.51.100.1", time.Hour)
	agent, _ := h.run("b", b)
	read := func(n int) {
		t.Helper()
		eventually(t, func() error {
			if got := agent.read.Load(); got < uint64(n) || len(agent.reread) > 0 {
				return fmt.Errorf("%d messages are read, want %d or more", got, n)
			}
			return nil
		})
	}
	read(1) // b's own: it has had the daemon's bans, and the order to read everything that comes with them
	var l []*nats.Msg
	var want []string
	ban := func() {
		now := time.Now().UTC().Add(-time.Hour).UnixMicro()
		want = append(want, fmt.Sprintf("192.0.2.%d", 1+len(want)))
		l = append(l, h.message("a", &fleet.News{Host: "a", Prefix: netip.MustParsePrefix(want[len(want)-1] + "/32"), Jail: "sshd", Since: now,
			Until: now + 2*time.Hour.Microseconds(), Failures: 5, Reason: state.Failures}))
	}
	for range 3 {
		ban()
	}
	h.publish("a", l...)
	b.wait(want...)
	h.stop()
	h.wipe()
	h.start()
	for range 4 {
		ban()
	}
	h.publish("a", l...)
	read(len(l)) // more than the hub had before
	ban()
	h.publish("a", l[len(l)-1])
	b.wait(want...)
	b.mu.Lock()
	posted := b.posted
	b.mu.Unlock()
	if posted != len(l) {
		t.Errorf("the daemon was given %d pieces of news, want %d", posted, len(l))
	}
	b.end()
	b.others = fleet.New(rules("a"), nil)
	b.start()
	b.wait(want...)
}

// reader returns what reads the hub for a host, without the rest of its agent.
func (h *testHub) reader(name string) *reader {
	h.t.Helper()
	a := New(Options{Member: h.members[name], Log: func(string) {}})
	if err := a.link.open(h.t.Context(), a.Member, a.roster.Load); err != nil {
		h.t.Fatal(err)
	}
	js, err := jetstream.NewWithAPIPrefix(a.link.nc, apiPrefix)
	if err != nil {
		h.t.Fatal(err)
	}
	r := &reader{Agent: a, js: js}
	if err := r.fetchRoster(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	return r
}

// pages returns what the pages in the hub say, as a member reads them, and the messages.
func (h *testHub) pages(name string) (map[string]fleet.News, []*nats.Msg) {
	h.t.Helper()
	r := h.reader(name)
	defer r.link.nc.Close()
	all, raw := map[string]fleet.News{}, []*nats.Msg{}
	stream, err := r.js.Stream(h.t.Context(), streamName)
	if err != nil {
		h.t.Fatal(err)
	}
	err = r.link.fetchPages(h.t.Context(), slices.Collect(maps.Keys(r.roster.Load().groups)), stream.CachedInfo().State.LastSeq, func(l []stored) error {
		for i := range l {
			m := l[i].message()
			raw = append(raw, h.signed(&m))
			pages, rejected := fleet.OpenPages([]fleet.Message{m}, r.roster.Load().of)
			if rejected > 0 {
				return fmt.Errorf("%s is rejected", l[i].subject)
			}
			for _, n := range pages[0].News {
				all[n.Prefix.Addr().String()] = n
			}
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all, raw
}

// TestPages: a host writes its bans to pages, and a host that reads everything reads these first; what they say is not given to the daemon
// again. A page names no ban that was lifted, whatever the hub makes of the pages.
func TestPages(t *testing.T) {
	t.Parallel()
	h := newHub(t, "a", "b", "c")
	h.pageInterval = time.Millisecond
	a := newDaemon(t, rules())
	var want []string
	for i := range 2*leastPaged + 7 {
		want = append(want, fmt.Sprintf("192.0.%d.%d", i/250, i%250))
		a.ban(want[i], time.Hour)
	}
	_, stop := h.run("a", a)
	shows := func(want []string) {
		t.Helper()
		eventually(t, func() error {
			all, _ := h.pages("b")
			for _, addr := range want {
				if _, ok := all[addr]; !ok {
					return fmt.Errorf("%s of %d is not on %d pages", addr, len(want), len(all))
				}
			}
			if len(all) != len(want) {
				return fmt.Errorf("%d bans are on pages, want %d", len(all), len(want))
			}
			return nil
		})
	}
	joins := func(name string, messages int, want []string) {
		t.Helper()
		d := newDaemon(t, rules("a"))
		agent, _ := h.run(name, d)
		d.wait(want...)
		eventually(t, func() error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if got, last := agent.read.Load(), agent.last.Load(); last == 0 || got != last || d.posted < messages {
				return fmt.Errorf("%d of %d messages are read, the daemon was given %d of %d", got, last, d.posted, messages)
			}
			return nil
		})
		d.mu.Lock()
		defer d.mu.Unlock()
		if n := agent.rejected.Load(); d.posted != messages || n > 0 {
			t.Errorf("the daemon was given %d pieces of news, want %d; %d messages are rejected", d.posted, messages, n)
		}
	}
	shows(want)
	joins("b", len(want), want)

	// Lifted: at once, and while the program did not run.
	for _, addr := range want[2*leastPaged:] {
		a.unban(addr, true)
	}
	shows(want[:2*leastPaged])
	_, old := h.pages("b")
	stop()
	for _, addr := range want[leastPaged : 2*leastPaged] {
		a.unban(addr, true)
	}
	_, stop = h.run("a", a)
	defer stop()
	shows(want[:leastPaged])

	// The hub brings old pages back.
	h.publish("a", old...)
	shows(want[:leastPaged])
	joins("c", len(want), want[:leastPaged])

	// Pages that are read again, since the hub has lost some of its data, are not given to the daemon again.
	r := h.reader("b")
	defer r.link.nc.Close()
	r.seed = maphash.MakeSeed()
	r.readAll()
	for _, n := range []int{leastPaged, 0} {
		given := make(chan int)
		go func() {
			sum := 0
			for l := range r.toDaemon {
				sum += len(l)
			}
			given <- sum
		}()
		r.fetchPages(t.Context(), t.Context(), math.MaxUint64)
		close(r.toDaemon)
		if got := <-given; got != n {
			t.Errorf("the daemon was given %d pieces of news, want %d", got, n)
		}
		r.toDaemon = make(chan []fleet.News)
	}
}

// TestTooFast: bans that a daemon refuses because a host bans too fast are offered again once they are no longer fresh.
func TestTooFast(t *testing.T) {
	t.Parallel()
	h := newHub(t, "a", "b")
	h.fresh = 5 * time.Second
	r := rules("a")
	r.Rate = 3
	a, b := newDaemon(t, rules("b")), newDaemon(t, r)
	h.run("b", b)
	eventually(t, func() error { // everything that it gets from now on is live
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.agent.Hub == "" {
			return errors.New("not connected")
		}
		return nil
	})
	h.run("a", a)
	var all []string
	for i := range 10 {
		all = append(all, fmt.Sprintf("192.0.2.%d", i))
		a.ban(all[i], time.Hour)
	}
	b.wait(all...)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.others.Hosts()[0].Refused[fleet.ErrTooFast.Error()] == 0 {
		t.Error("nothing was refused")
	}
}

// lone returns an agent that is not connected.
func lone(d *fakeDaemon) *Agent {
	m := &hub.Member{Version: 1, Fleet: "test", Host: "a", Group: "a", Key: hub.Key(make([]byte, ed25519.SeedSize))}
	return New(Options{Member: m, Daemon: control.Dial(d.path), Log: func(string) {}})
}

// TestReloadMissed: if the event that the daemon was reloaded is lost in a flood, everything is read again all the same, since it may accept
// now what it refused before. Without a reload a flood changes nothing.
func TestReloadMissed(t *testing.T) {
	d := newDaemon(t, rules())
	a := lone(d)
	go a.follow(t.Context())
	starts := func() (reread bool) {
		t.Helper()
		select {
		case <-a.changes:
		case <-time.After(time.Minute):
			t.Fatal("the daemon is not followed")
		}
		select {
		case <-a.reread:
			return true
		default:
			return false
		}
	}
	if !starts() {
		t.Error("not read at the start")
	}
	reloaded := time.Now()
	for i, want := range []bool{false, true, false} {
		d.mu.Lock()
		if want {
			d.reloaded = &reloaded
		}
		d.send(control.Event{Kind: "missed", Missed: 7})
		d.mu.Unlock()
		if starts() != want {
			t.Errorf("flood %d: read again: %v", i, !want)
		}
	}
}

// TestOldEvents: the daemon's restart, or a flood, ends the stream of events. An event before that which the publisher has not handled yet
// does not bring back a ban that has been lifted since, as the list of bans that is read afterwards says.
func TestOldEvents(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, rules())
	a := lone(d)
	p := &publisher{Agent: a, own: newOwn("a"), sent: make(map[ownKey]sentNews), lostWait: lostAfter}
	go a.follow(t.Context())
	publish := func(until func() error) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.run(ctx)
		}()
		eventually(t, until)
		cancel()
		<-done
	}
	waits := func(n int) func() error {
		return func() error {
			if got := len(a.changes); got != n {
				return fmt.Errorf("%d changes wait, want %d", got, n)
			}
			return nil
		}
	}
	eventually(t, waits(1))
	publish(waits(0))
	for i := range 10 {
		d.ban(fmt.Sprintf("192.0.2.%d", i), time.Hour)
		eventually(t, waits(1))
		d.end()
		d.mu.Lock()
		clear(d.own)
		d.mu.Unlock()
		d.start()
		eventually(t, waits(2))
		publish(waits(0))
		if n := len(p.own.wanted); n != 0 {
			t.Fatalf("%d bans are wanted: %v", n, p.own.wanted)
		}
	}
}
