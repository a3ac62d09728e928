package logind

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"

	"bailiff/policy/operator"
	"bailiff/units/bustest"
)

// login1 answers as logind does. units/e2e tests with the real one.
type login1 struct {
	t    *testing.T
	conn *dbus.Conn
	mu   sync.Mutex
	list []entry

	asked atomic.Int64 // times
	busy  atomic.Int64 // number of questions that it does not answer first
}

type entry struct {
	ID   string
	UID  uint32
	User string
	Seat string
	Path dbus.ObjectPath
}

func serve(t *testing.T, address string) *login1 {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	l := &login1{t: t, conn: conn}
	if err := conn.Export(l, busPath, manager); err != nil {
		t.Fatal(err)
	}
	if r, err := conn.RequestName(busName, dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(r, err)
	}
	return l
}

func (l *login1) ListSessions() ([]entry, *dbus.Error) {
	l.asked.Add(1)
	if l.busy.Add(-1) >= 0 {
		return nil, dbus.NewError("org.freedesktop.DBus.Error.NoReply", []any{"busy"})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list), nil
}

// set replaces the session with this id without a signal, as when its state changes.
func (l *login1) set(id, user string, uid uint32, seat string, props map[string]any) {
	l.t.Helper()
	all := map[string]any{"Remote": true, "Service": "sshd", "Class": "user", "State": "active", "Leader": uint32(100 + uid), "TTY": "pts/1", "Timestamp": uint64(1700000000000000), "RemoteHost": "198.51.100.7"}
	for k, v := range props {
		all[k] = v
	}
	m := make(map[string]*prop.Prop)
	for k, v := range all {
		m[k] = &prop.Prop{Value: v}
	}
	path := dbus.ObjectPath("/org/freedesktop/login1/session/" + id)
	if _, err := prop.Export(l.conn, path, prop.Map{object: m}); err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(e entry) bool { return e.ID == id })
	l.list = append(l.list, entry{id, uid, user, seat, path})
}

func (l *login1) begin(id, user string, uid uint32, seat string, props map[string]any) {
	l.t.Helper()
	l.set(id, user, uid, seat, props)
	if err := l.conn.Emit(busPath, manager+".SessionNew", id, dbus.ObjectPath("/x")); err != nil {
		l.t.Fatal(err)
	}
}

func (l *login1) end(id string) {
	l.mu.Lock()
	l.list = slices.DeleteFunc(l.list, func(e entry) bool { return e.ID == id })
	l.mu.Unlock()
	if err := l.conn.Emit(busPath, manager+".SessionRemoved", id, dbus.ObjectPath("/x")); err != nil {
		l.t.Fatal(err)
	}
}

// next waits for a list of sessions as wanted.
func next(t *testing.T, out <-chan []operator.Session, want ...string) {
	t.Helper()
	limit := time.After(time.Minute)
	var got []string
	for {
		select {
		case l := <-out:
			got = nil
			for _, s := range l {
				got = append(got, fmt.Sprintf("%s/%d %s %d %s %v", s.User, s.UID, s.ID, s.PID, s.TTY, s.Addr))
			}
			slices.Sort(got)
			if slices.Equal(got, want) {
				return
			}
		case <-limit:
			t.Fatalf("sessions are %q, want %q", got, want)
		}
	}
}

func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	address, stop := bustest.Start(t, dir)
	l := serve(t, address)
	l.set("1", "root", 0, "", map[string]any{"Class": "user-early"})
	w := New(func(user string, uid int64) bool { return user != "bob" })
	w.address = address
	ctx, cancel := context.WithCancel(t.Context())
	out := make(chan []operator.Session)
	done := make(chan struct{})
	go func() { w.Run(ctx, out); close(done) }()
	defer func() { cancel(); <-done }()

	next(t, out, "root/0 1 100 pts/1 198.51.100.7")
	l.begin("2", "alice", 1000, "", map[string]any{"RemoteHost": "::ffff:203.0.113.9"})
	next(t, out, "alice/1000 2 1100 pts/1 203.0.113.9", "root/0 1 100 pts/1 198.51.100.7")
	// A name is not resolved.
	l.begin("3", "carol", 1002, "", map[string]any{"RemoteHost": "client.example.org", "TTY": ""})
	next(t, out, "alice/1000 2 1100 pts/1 203.0.113.9", "carol/1002 3 1102  invalid IP", "root/0 1 100 pts/1 198.51.100.7")
	// Everything that is not an open ssh session of a member.
	l.set("4", "bob", 1001, "", nil)
	l.set("5", "dave", 1003, "seat0", nil)
	l.set("6", "dave", 1004, "", map[string]any{"Remote": false})
	l.set("7", "dave", 1005, "", map[string]any{"Service": "cockpit"})
	l.set("8", "dave", 1006, "", map[string]any{"Class": "manager"})
	l.set("9", "dave", 1007, "", map[string]any{"Leader": uint32(0)})
	l.set("10", "dave", 1008, "", map[string]any{"Remote": "yes"})
	l.end("3")
	next(t, out, "alice/1000 2 1100 pts/1 203.0.113.9", "root/0 1 100 pts/1 198.51.100.7")
	// Alice left something running: logind does not signal the end of her login, but shows it when asked.
	l.set("2", "alice", 1000, "", map[string]any{"State": "closing"})
	w.Ask()
	next(t, out, "root/0 1 100 pts/1 198.51.100.7")

	// The bus is restarted.
	stop()
	bustest.Start(t, dir)
	l = serve(t, address)
	l.set("1", "root", 0, "", map[string]any{"RemoteHost": "198.51.100.8"})
	next(t, out, "root/0 1 100 pts/1 198.51.100.8")
}

// TestTried: who waits for the first list of sessions does not wait for more than one attempt.
func TestTried(t *testing.T) {
	dir := t.TempDir()
	address, stop := bustest.Start(t, dir)
	for _, how := range []string{"without a bus", "without logind", "logind is busy", "answered"} {
		switch how {
		case "without a bus":
			stop()
		case "without logind":
			bustest.Start(t, dir)
		case "logind is busy":
			serve(t, address).busy.Store(1)
		}
		w := New(func(string, int64) bool { return true })
		w.address = address
		ctx, cancel := context.WithCancel(t.Context())
		out, done := make(chan []operator.Session), make(chan struct{})
		go func() { w.Run(ctx, out); close(done) }()
		if how == "answered" {
			select {
			case <-w.Tried():
				t.Error("nobody took the answer")
			case <-out:
			}
		}
		select {
		case <-w.Tried():
		case <-out:
			t.Errorf("%s: an answer", how)
		case <-time.After(time.Minute):
			t.Errorf("%s: still waiting", how)
		}
		cancel()
		<-done
	}
}

// TestForgedSignals: a flood of signals from other senders leads to no question to logind, and takes no memory.
func TestForgedSignals(t *testing.T) {
	address, _ := bustest.Start(t, t.TempDir())
	l := serve(t, address)
	w := New(func(string, int64) bool { return true })
	w.address = address
	out := make(chan []operator.Session)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx, out); close(done) }()
	defer func() { cancel(); <-done }()
	next(t, out)

	mallory, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer mallory.Close()
	var names []string
	if err := mallory.BusObject().Call(driver+".ListNames", 0).Store(&names); err != nil {
		t.Fatal(err)
	}
	asked, goroutines := l.asked.Load(), runtime.NumGoroutine()
	for range 20_000 {
		for _, s := range []struct {
			path dbus.ObjectPath
			name string
			body []any
		}{
			{busPath, manager + ".SessionNew", []any{"9", dbus.ObjectPath("/x")}},
			{driverPath, nameOwnerChanged, []any{busName, "", ":1.1"}},
		} {
			for _, to := range names {
				if !strings.HasPrefix(to, ":") || to == mallory.Names()[0] || to == l.conn.Names()[0] {
					continue
				}
				i := strings.LastIndexByte(s.name, '.')
				mallory.Send(&dbus.Message{Type: dbus.TypeSignal, Body: s.body, Headers: map[dbus.HeaderField]dbus.Variant{
					dbus.FieldDestination: dbus.MakeVariant(to), dbus.FieldPath: dbus.MakeVariant(s.path), dbus.FieldInterface: dbus.MakeVariant(s.name[:i]),
					dbus.FieldMember: dbus.MakeVariant(s.name[i+1:]), dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(s.body...)),
				}}, nil)
			}
		}
	}
	if err := mallory.BusObject().Call(driver+".GetId", 0).Err; err != nil { // the bus has delivered everything before
		t.Fatal(err)
	}
	l.begin("1", "alice", 1000, "", nil) // after all of it
	next(t, out, "alice/1000 1 1100 pts/1 198.51.100.7")
	if n := l.asked.Load() - asked; n != 1 {
		t.Errorf("logind was asked %d times, want once", n)
	}
	// Goroutines that deliver the last signals may not have ended yet.
	n := runtime.NumGoroutine()
	for end := time.Now().Add(10 * time.Second); n > goroutines && time.Now().Before(end); n = runtime.NumGoroutine() {
		time.Sleep(10 * time.Millisecond)
	}
	if n > goroutines {
		t.Errorf("%d goroutines before, %d after a flood", goroutines, n)
	}
}

// TestBusy: if logind does not answer, it is asked again, although no session begins or ends.
func TestBusy(t *testing.T) {
	address, _ := bustest.Start(t, t.TempDir())
	l := serve(t, address)
	l.set("1", "root", 0, "", nil)
	l.busy.Store(1)
	w := New(func(string, int64) bool { return true })
	w.address = address
	ctx, cancel := context.WithCancel(t.Context())
	out, done := make(chan []operator.Session), make(chan struct{})
	go func() { w.Run(ctx, out); close(done) }()
	defer func() { cancel(); <-done }()
	next(t, out, "root/0 1 100 pts/1 198.51.100.7")
}

// Without a bus nothing is sent.
func TestNoBus(t *testing.T) {
	w := New(func(string, int64) bool { return true })
	w.address = "unix:path=" + filepath.Join(t.TempDir(), "none")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	out := make(chan []operator.Session, 1)
	w.Run(ctx, out)
	if len(out) > 0 {
		t.Errorf("sessions without a bus: %v", <-out)
	}
}
