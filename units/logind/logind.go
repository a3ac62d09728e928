// Package logind tells which ssh sessions are open, as systemd-logind knows them. It asks over D-Bus, is told of sessions
// that come and go, and never asks logind to do anything. A host without logind or without D-Bus loses nothing but this
// source: the journal tells of logins, too.
//
// Start reading at Watcher.Run.
package logind

import (
	"context"
	"net/netip"
	"slices"
	"strings"
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
	callLimit   = 5 * time.Second        // for all that logind is asked at once; it answers in milliseconds
	gather      = 200 * time.Millisecond // sessions come in bursts (ansible, cluster shells): they are asked for together
	firstPause  = 2 * time.Second        // before another try at a bus that is not there, or went away; doubled each time
	longPause   = 5 * time.Minute
	maxSessions = 256 // that are looked at
)

// Watcher follows logind.
type Watcher struct {
	address string // of the bus; "" the system's
	member  func(user string, uid int64) bool
	nudge   chan struct{}
}

// New makes a Watcher. Of users for whom member is false nothing but the list is asked for: however many sessions they
// have, they keep nobody else's from being seen.
func New(member func(user string, uid int64) bool) *Watcher {
	return &Watcher{member: member, nudge: make(chan struct{}, 1)}
}

// Ask has the sessions looked at anew. logind tells of new sessions and of those that are gone, but not when a session's
// login ends while processes of it live on.
func (w *Watcher) Ask() {
	select {
	case w.nudge <- struct{}{}:
	default:
	}
}

// Run sends the open ssh sessions of members whenever they may have changed, until ctx ends. While logind cannot be asked
// it sends nothing: what was known stays.
func (w *Watcher) Run(ctx context.Context, out chan<- []operator.Session) {
	pause := firstPause
	for ctx.Err() == nil {
		if w.follow(ctx, out) {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longPause)
	}
}

// listener is the dbus.SignalHandler of a connection. Every local user may send any signal to any connection of the system
// bus; only the sender cannot be forged. So it takes signals of the bus and of logind alone, as a reason to ask. It keeps none
// of them: a flood costs the reading of it and no memory. (godbus' own handlers queue signals without a bound.)
type listener struct {
	owner atomic.Value  // string: unique name of logind, "" while it does not run or is not known
	heard chan struct{} // has room for one
}

// DeliverSignal fulfils dbus.SignalHandler.
func (l *listener) DeliverSignal(_, _ string, s *dbus.Signal) {
	switch {
	case s.Sender == driver && s.Path == driverPath && s.Name == nameOwnerChanged && len(s.Body) > 0 && s.Body[0] == busName:
	case s.Sender != "" && s.Sender == l.owner.Load() && s.Path == busPath && (s.Name == manager+".SessionNew" || s.Name == manager+".SessionRemoved"):
	default:
		return
	}
	select {
	case l.heard <- struct{}{}:
	default: // another waits already
	}
}

// follow works over one connection; worked says that logind answered at least once.
func (w *Watcher) follow(ctx context.Context, out chan<- []operator.Session) (worked bool) {
	l := &listener{heard: make(chan struct{}, 1)}
	l.owner.Store("")
	var conn *dbus.Conn
	var err error
	// A bus that takes the connection and then keeps silent holds up this goroutine, and nothing else.
	if w.address == "" {
		conn, err = dbus.ConnectSystemBus(dbus.WithContext(ctx), dbus.WithSignalHandler(l))
	} else {
		conn, err = dbus.Connect(w.address, dbus.WithContext(ctx), dbus.WithSignalHandler(l))
	}
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
	for {
		// First the owner, then the sessions: those that it tells of before its name is known are in the list.
		var owner string
		conn.BusObject().CallWithContext(ctx, driver+".GetNameOwner", 0, busName).Store(&owner) // it may not run yet: asked for sessions, the bus starts it
		l.owner.Store(owner)
		if open, err := w.sessions(ctx, conn); err == nil {
			worked = true
			select {
			case out <- open:
			case <-ctx.Done():
				return worked
			}
		} else if !conn.Connected() {
			return worked
		}
		select {
		case <-w.nudge:
		case <-l.heard:
			select {
			case <-time.After(gather):
			case <-ctx.Done():
				return worked
			}
			select {
			case <-l.heard:
			default:
			}
		case <-conn.Context().Done():
			return worked
		case <-ctx.Done():
			return worked
		}
	}
}

// sessions asks for all sessions, and of those of members for what they are.
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
	for _, l := range slices.Backward(list) { // the newest last
		// A session on a seat is not remote.
		if l.Seat != "" || !w.member(l.User, int64(l.UID)) {
			continue
		}
		var props map[string]dbus.Variant
		if err := conn.Object(busName, l.Path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", 0, object).Store(&props); err != nil {
			if ctx.Err() != nil || !conn.Connected() {
				return nil, err
			}
			continue // it has ended meanwhile
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

// remote reads a session's properties; ok is false for one that is not of ssh, or whose login has ended.
func remote(props map[string]dbus.Variant) (s operator.Session, ok bool) {
	service, class := value[string](props, "Service"), value[string](props, "Class")
	// The class of root's sessions is user-early since systemd 256; manager, greeter and background are none of users.
	if !value[bool](props, "Remote") || service != "sshd" && service != "ssh" || !strings.HasPrefix(class, "user") || value[string](props, "State") == "closing" {
		return s, false
	}
	s = operator.Session{PID: value[uint32](props, "Leader"), TTY: value[string](props, "TTY"), Since: int64(value[uint64](props, "Timestamp"))}
	if a, err := netip.ParseAddr(value[string](props, "RemoteHost")); err == nil {
		s.Addr = a.Unmap().WithZone("")
	}
	return s, s.PID != 0
}

// value reads a property; the zero value stands for one that is missing or of another type.
func value[T any](props map[string]dbus.Variant, name string) T {
	v, _ := props[name].Value().(T)
	return v
}
