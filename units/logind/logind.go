// Package logind reports which ssh sessions are open according to systemd-logind. It reads over D-Bus and never asks logind to do
// anything. Without logind or D-Bus the journal is the only source about logins.
//
// It uses godbus instead of go-systemd's login1 package for safety: every local user may send any signal to any connection. login1
// passes all of them on, through a queue of godbus that has no bound, and connects without a deadline. Here a signal counts only if
// the bus or logind itself has sent it, and then only as a reason to ask again; none is kept.
//
// Start reading at Watcher.Run.
package logind

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"bailiff/policy/operator"
)

// Names of org.freedesktop.login1(5).
const (
	busName = "org.freedesktop.login1"
	busPath = "/org/freedesktop/login1"
	manager = busName + ".Manager"
	object  = busName + ".Session"
)

// The bus itself, as a sender of signals.
const (
	driver           = "org.freedesktop.DBus"
	driverPath       = dbus.ObjectPath("/org/freedesktop/DBus")
	nameOwnerChanged = driver + ".NameOwnerChanged"
)

const (
	callLimit   = 5 * time.Second        // for connecting, and for one list of sessions; logind answers in milliseconds
	burstTime   = 200 * time.Millisecond // sessions come in bursts (ansible, cluster shells); one question serves all of them
	minPause    = 2 * time.Second        // before the next attempt to connect, or to get an answer; doubled each time
	maxPause    = 5 * time.Minute
	maxSessions = 256
)

// Watcher follows logind.
type Watcher struct {
	address string // of the bus; "" the system's
	member  func(user string, uid int64) bool
	wake    chan struct{}
	tried   chan struct{}
	once    sync.Once // closes tried
}

// New returns a Watcher for the sessions of users for whom member returns true. Sessions of other users are not looked at, so
// their number does not matter.
func New(member func(user string, uid int64) bool) *Watcher {
	return &Watcher{member: member, wake: make(chan struct{}, 1), tried: make(chan struct{})}
}

// Tried is closed when the first list of sessions has been sent, or could not be had.
func (w *Watcher) Tried() <-chan struct{} { return w.tried }

func (w *Watcher) triedOnce() { w.once.Do(func() { close(w.tried) }) }

// Ask makes Run list the sessions again. logind signals new and removed sessions, but not a logout from a session in which
// processes stay.
func (w *Watcher) Ask() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run sends the open ssh sessions of members whenever they may have changed, until ctx ends. While logind does not answer it sends
// nothing.
func (w *Watcher) Run(ctx context.Context, out chan<- []operator.Session) {
	pause := minPause
	for ctx.Err() == nil {
		if w.follow(ctx, out) {
			pause = minPause
		}
		w.triedOnce()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// listener is the dbus.SignalHandler of a connection. Only the sender of a signal cannot be forged, so it accepts signals of the
// bus and of logind. It keeps none of them: a flood takes time, but no memory.
type listener struct {
	owner   atomic.Value  // string: unique name of logind; "" while it does not run or is not known
	changed chan struct{} // has room for one
}

// DeliverSignal implements dbus.SignalHandler.
func (l *listener) DeliverSignal(_, _ string, s *dbus.Signal) {
	switch {
	case s.Sender == driver && s.Path == driverPath && s.Name == nameOwnerChanged && len(s.Body) > 0 && s.Body[0] == busName:
	case s.Sender != "" && s.Sender == l.owner.Load() && s.Path == busPath && (s.Name == manager+".SessionNew" || s.Name == manager+".SessionRemoved"):
	default:
		return
	}
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// follow works over one connection, until it fails or ctx ends. worked means that logind has answered at least once.
func (w *Watcher) follow(ctx context.Context, out chan<- []operator.Session) (worked bool) {
	l := &listener{changed: make(chan struct{}, 1)}
	l.owner.Store("")
	conn, err := w.connect(ctx, l)
	if err != nil {
		return false
	}
	defer conn.Close()
	for _, m := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(busName), dbus.WithMatchInterface(manager), dbus.WithMatchMember("SessionNew")},
		{dbus.WithMatchSender(busName), dbus.WithMatchInterface(manager), dbus.WithMatchMember("SessionRemoved")},
		{dbus.WithMatchSender(driver), dbus.WithMatchInterface(driver), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, busName)},
	} {
		if err := conn.AddMatchSignalContext(ctx, m...); err != nil {
			return false
		}
	}
	pause := minPause
	for {
		// First the owner, then the sessions: those that it signals before its name is known are in the list.
		var owner string
		conn.BusObject().CallWithContext(ctx, driver+".GetNameOwner", 0, busName).Store(&owner) // no error matters: the bus starts logind for the next call
		l.owner.Store(owner)
		var again <-chan time.Time // blocks forever after an answer
		if open, err := w.sessions(ctx, conn); err == nil {
			worked, pause = true, minPause
			select {
			case out <- open:
			case <-ctx.Done():
				return worked
			}
		} else if !conn.Connected() {
			return worked
		} else {
			again, pause = time.After(pause), min(2*pause, maxPause)
		}
		w.triedOnce()
		select {
		case <-w.wake:
		case <-again:
		case <-l.changed:
			select {
			case <-time.After(burstTime):
			case <-ctx.Done():
				return worked
			}
			select {
			case <-l.changed:
			default:
			}
		case <-conn.Context().Done():
			return worked
		case <-ctx.Done():
			return worked
		}
	}
}

// connect connects to the bus within callLimit. The connection lasts until ctx ends.
func (w *Watcher) connect(ctx context.Context, l *listener) (*dbus.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(callLimit, cancel)
	var conn *dbus.Conn
	var err error
	if w.address == "" {
		conn, err = dbus.ConnectSystemBus(dbus.WithContext(ctx), dbus.WithSignalHandler(l))
	} else {
		conn, err = dbus.Connect(w.address, dbus.WithContext(ctx), dbus.WithSignalHandler(l))
	}
	late.Stop()
	if err != nil {
		cancel()
		return nil, err
	}
	context.AfterFunc(conn.Context(), cancel)
	return conn, nil
}

// sessions lists the open ssh sessions of members.
func (w *Watcher) sessions(ctx context.Context, conn *dbus.Conn) ([]operator.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var list []struct {
		ID   string
		UID  uint32
		User string
		Seat string
		Path dbus.ObjectPath
	}
	if err := conn.Object(busName, busPath).CallWithContext(ctx, manager+".ListSessions", 0).Store(&list); err != nil {
		return nil, err
	}
	open := []operator.Session{}
	for _, l := range slices.Backward(list) { // the newest is the last one
		// A session on a seat is not remote.
		if l.Seat != "" || !w.member(l.User, int64(l.UID)) {
			continue
		}
		var props map[string]dbus.Variant
		if err := conn.Object(busName, l.Path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", 0, object).Store(&props); err != nil {
			if ctx.Err() != nil || !conn.Connected() {
				return nil, err
			}
			continue // it has just ended
		}
		if s, ok := remote(props); ok {
			s.User, s.UID, s.ID = l.User, int64(l.UID), l.ID
			if open = append(open, s); len(open) == maxSessions {
				break
			}
		}
	}
	return open, nil
}

// remote reads a session's properties. ok is false if it is no ssh session, or if the user has logged out.
func remote(props map[string]dbus.Variant) (s operator.Session, ok bool) {
	service, class := value[string](props, "Service"), value[string](props, "Class")
	// The class of root's sessions is user-early since systemd 256. manager, greeter and background are not sessions of users.
	if !value[bool](props, "Remote") || service != "sshd" && service != "ssh" || !strings.HasPrefix(class, "user") || value[string](props, "State") == "closing" {
		return s, false
	}
	s = operator.Session{PID: value[uint32](props, "Leader"), TTY: value[string](props, "TTY"), Since: int64(value[uint64](props, "Timestamp"))}
	if a, err := netip.ParseAddr(value[string](props, "RemoteHost")); err == nil {
		s.Addr = a.Unmap().WithZone("")
	}
	return s, s.PID != 0
}

// value returns a property, or the zero value if it is missing or of another type.
func value[T any](props map[string]dbus.Variant, name string) T {
	v, _ := props[name].Value().(T)
	return v
}
