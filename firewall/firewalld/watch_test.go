package firewalld

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/units/bustest"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// privateBus starts a real message bus that is the system bus to this test alone.
func privateBus(t *testing.T) {
	t.Helper()
	address, _ := bustest.Start(t, t.TempDir())
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
}

// peer is some connection to the bus.
type peer struct {
	t *testing.T
	*dbus.Conn
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	c, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &peer{t, c}
}

// own makes the peer the owner of firewalld's bus name.
func (p *peer) own() {
	p.t.Helper()
	if r, err := p.RequestName(busName, dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		p.t.Fatal(r, err)
	}
}

func (p *peer) disown() {
	p.t.Helper()
	if _, err := p.ReleaseName(busName); err != nil {
		p.t.Fatal(err)
	}
}

// others are the unique names of all connections but those given.
func (p *peer) others(not ...*peer) (names []string) {
	p.t.Helper()
	var all []string
	if err := p.BusObject().Call(driver+".ListNames", 0).Store(&all); err != nil {
		p.t.Fatal(err)
	}
	for _, n := range all {
		if strings.HasPrefix(n, ":") && n != p.Names()[0] {
			names = append(names, n)
		}
	}
	for _, x := range not {
		for i, n := range names {
			if n == x.Names()[0] {
				names = append(names[:i], names[i+1:]...)
				break
			}
		}
	}
	return names
}

// send addresses a signal to one connection.
func (p *peer) send(dest string, path dbus.ObjectPath, name string, body ...any) {
	p.t.Helper()
	i := strings.LastIndexByte(name, '.')
	msg := &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(path), dbus.FieldInterface: dbus.MakeVariant(name[:i]), dbus.FieldMember: dbus.MakeVariant(name[i+1:]),
		dbus.FieldDestination: dbus.MakeVariant(dest),
	}, Body: body}
	if len(body) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	if c := p.Send(msg, nil); c != nil && c.Err != nil {
		p.t.Fatal(c.Err)
	}
}

// forge sends everything that could be taken for news of firewalld's to each of the connections, rounds times, and returns
// when the bus has passed all of it on.
func (p *peer) forge(rounds int, dests ...string) {
	p.t.Helper()
	for range rounds {
		for _, d := range dests {
			for _, owner := range []string{"", ":1.1", p.Names()[0]} {
				p.send(d, "/", "x.y.z", "", "", owner)
				p.send(d, driverPath, nameOwnerChanged, busName, owner, owner)
			}
			for _, name := range []string{".Reloaded", ".PanicModeDisabled", ".policy.PolicyUpdated"} {
				p.send(d, mainPath, busName+name)
			}
			p.send(d, mainPath, busName+".DefaultZoneChanged", "drop")
			p.send(d, mainPath, busName+".ipset.EntryAdded", "bailiff4-0", "192.0.2.66")
			p.send(d, mainPath, busName+".ipset.EntryRemoved", "bailiff4-0", "192.0.2.7")
		}
	}
	var id string
	if err := p.BusObject().Call(driver+".GetId", 0).Store(&id); err != nil {
		p.t.Fatal(err)
	}
}

// receive fails the test when nothing comes.
func receive[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatalf("%s: nothing came", what)
	}
	return v
}

// TestForgedSignals: signals of others are ignored, however many, and cost no memory; those of firewalld are not.
func TestForgedSignals(t *testing.T) {
	privateBus(t)
	fwd, mallory := newPeer(t), newPeer(t)
	fwd.own()
	b, err := New(Options{Scopes: []firewall.Scope{{}}})
	if err != nil {
		t.Fatal(err)
	}
	b.sets = map[setKey]map[netip.Prefix]bool{{0, unix.NFPROTO_IPV4, 0}: {netip.MustParsePrefix("192.0.2.7/32"): true}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	heard := make(chan struct{}, 1<<16)
	end := make(chan error, 1)
	go func() { end <- b.Watch(ctx, func() { heard <- struct{}{} }) }()
	receive(t, heard, "Watch listens")
	state := func() (dirty, reloaded bool, recheck string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		dirty, reloaded, recheck = b.dirty, b.reloaded, b.recheck
		b.dirty, b.reloaded, b.recheck = false, false, ""
		return dirty, reloaded, recheck
	}
	state()

	targets := mallory.others(fwd)
	if len(targets) != 1 {
		t.Fatalf("connections of the backend: %q", targets)
	}
	before := runtime.NumGoroutine()
	mallory.forge(2000, targets...)
	fwd.send(targets[0], mainPath, busName+".ipset.EntryRemoved", "bailiff4-0", "192.0.2.7") // after all of it
	receive(t, heard, "an entry of ours was removed")
	if dirty, reloaded, recheck := state(); !dirty || reloaded || recheck != "" || len(heard) > 0 {
		t.Errorf("forged signals were believed: reloaded %t, recheck %q, %d more", reloaded, recheck, len(heard))
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines before, %d after a flood", before, n)
	}

	// All signals of firewalld count, except those of our own changes.
	for _, c := range []struct {
		name     string
		body     []any
		news     bool
		reloaded bool
		recheck  string
	}{
		{".ipset.EntryAdded", []any{"bailiff4-0", "192.0.2.7"}, false, false, ""},
		{".ipset.EntryAdded", []any{"bailiff4-0", "192.0.2.66"}, true, false, ""},
		{".ipset.EntryAdded", []any{"others", "192.0.2.66"}, false, false, ""},
		{".zone.SourceRemoved", []any{"public", "192.0.2.66"}, false, false, ""},
		{".policy.PolicyUpdated", nil, true, false, ""},
		{".PanicModeDisabled", nil, true, false, "panic mode has ended"},
		{".DefaultZoneChanged", []any{"drop"}, true, false, "the default zone was changed"},
		{".Reloaded", nil, true, true, ""},
	} {
		fwd.send(targets[0], mainPath, busName+c.name, c.body...)
		if !c.news { // what comes next shows that it was passed over
			continue
		}
		receive(t, heard, c.name)
		if dirty, reloaded, recheck := state(); !dirty || reloaded != c.reloaded || recheck != c.recheck || len(heard) > 0 {
			t.Errorf("%s: dirty %t, reloaded %t, recheck %q, %d more", c.name, dirty, reloaded, recheck, len(heard))
		}
	}
	fwd.send(targets[0], "/x", busName+".Reloaded") // no object of firewalld's

	// A reload of our own is only a reason to look; the next one is another's.
	b.mu.Lock()
	b.ownLoads = 1
	b.mu.Unlock()
	for _, want := range []bool{false, true} {
		fwd.send(targets[0], mainPath, busName+".Reloaded")
		receive(t, heard, "a reload")
		if dirty, reloaded, _ := state(); !dirty || reloaded != want || len(heard) > 0 {
			t.Errorf("a reload: dirty %t, reloaded %t, want %t", dirty, reloaded, want)
		}
	}

	// Another firewalld: only the new one counts.
	fwd.disown()
	receive(t, heard, "firewalld stopped")
	if _, reloaded, _ := state(); reloaded {
		t.Error("reloaded, by one that has stopped")
	}
	fwd.send(targets[0], mainPath, busName+".Reloaded")
	mallory.own()
	receive(t, heard, "another firewalld started")
	if _, reloaded, _ := state(); !reloaded || len(heard) > 0 {
		t.Errorf("reloaded: %t, %d more", reloaded, len(heard))
	}
	fwd.forge(1, targets...)
	mallory.send(targets[0], mainPath, busName+".PanicModeDisabled")
	receive(t, heard, "the new one's signal")
	if _, reloaded, recheck := state(); reloaded || recheck == "" || len(heard) > 0 {
		t.Errorf("reloaded: %t, recheck %q, %d more", reloaded, recheck, len(heard))
	}
	stop()
	<-end
}

// TestPresence: the bus is asked twice, with a pause between, whatever signals say.
func TestPresence(t *testing.T) {
	privateBus(t)
	fwd, mallory := newPeer(t), newPeer(t)
	fwd.own()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	told, settling, settled := make(chan bool), make(chan struct{}), make(chan time.Time)
	answers := make(chan bool) // of the bus
	p := presence{
		settle: func() <-chan time.Time { settling <- struct{}{}; return settled },
		ask: func(ctx context.Context, c *dbus.Conn) (string, error) {
			name, err := owner(ctx, c)
			select {
			case answers <- name != "":
			case <-ctx.Done():
			}
			return name, err
		},
	}
	done := make(chan struct{})
	go func() { p.follow(ctx, told); close(done) }()
	asked := func(want bool, what string) {
		t.Helper()
		if receive(t, answers, what) != want {
			t.Fatalf("%s: the bus says otherwise", what)
		}
	}

	asked(true, "first")
	receive(t, settling, "first")
	settled <- time.Time{}
	asked(true, "first, again")
	if !receive(t, told, "firewalld runs") {
		t.Error("firewalld does not run")
	}
	mallory.forge(2000, mallory.others(fwd)...) // not even asked for: the next question is about what comes next

	// A restart: gone when asked first, there when asked again.
	fwd.disown()
	asked(false, "restart")
	receive(t, settling, "restart")
	fwd.own()
	settled <- time.Time{}
	asked(true, "restart, again")
	asked(true, "since it came back") // and nothing is told

	// It ends for good.
	fwd.disown()
	asked(false, "end")
	receive(t, settling, "end")
	mallory.forge(1, mallory.others(fwd)...)
	settled <- time.Time{}
	asked(false, "end, again")
	if receive(t, told, "end") {
		t.Error("firewalld runs")
	}
	stop()
	<-done
}

// TestSilentBus: a bus that accepts connections and says nothing delays nothing beyond the time limit.
func TestSilentBus(t *testing.T) {
	dir := t.TempDir()
	sock := filepath.Join(dir, "bus")
	l, err := net.Listen("unix", sock) // nobody accepts: the kernel does
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+sock)
	b, err := New(Options{Scopes: []firewall.Scope{{}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.List(ctx); err == nil {
		t.Error("List: no error")
	}
}
