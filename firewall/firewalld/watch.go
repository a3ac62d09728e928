package firewalld

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

// Every local user may send any signal to any connection of the system bus, whatever match rules that connection has. Only the sender
// cannot be forged: the bus fills it in. So a signal counts only if it was sent by the bus or by the current owner of firewalld's name, and
// even then it only causes a check.

const (
	driver           = "org.freedesktop.DBus" // the bus itself, as a sender of signals
	driverPath       = dbus.ObjectPath("/org/freedesktop/DBus")
	getNameOwner     = driver + ".GetNameOwner"
	nameOwnerChanged = driver + ".NameOwnerChanged"
	nameHasNoOwner   = driver + ".Error.NameHasNoOwner"
)

var ownerChanged = []dbus.MatchOption{
	dbus.WithMatchSender(driver), dbus.WithMatchObjectPath(driverPath), dbus.WithMatchInterface(driver),
	dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, busName),
}

// listener is the dbus.SignalHandler of a connection. It runs in the goroutine that reads the connection and keeps no signals,
// so a flood of them costs no memory. (godbus' own handlers queue signals without a limit.)
type listener struct {
	owner  atomic.Value      // string: unique name of firewalld's connection, "" while it does not run or is not known
	moved  chan struct{}     // capacity 1; signals that firewalld's name may have a new owner
	signal func(dbus.Signal) // called with each signal from firewalld; nil: not called
}

func newListener(signal func(dbus.Signal)) *listener {
	l := &listener{moved: make(chan struct{}, 1), signal: signal}
	l.owner.Store("")
	return l
}

// DeliverSignal implements dbus.SignalHandler.
func (l *listener) DeliverSignal(_, _ string, s *dbus.Signal) {
	switch {
	case s.Sender == driver:
		if s.Path == driverPath && s.Name == nameOwnerChanged && len(s.Body) > 0 && s.Body[0] == busName {
			select {
			case l.moved <- struct{}{}:
			default:
			}
		}
	case s.Sender != "" && s.Sender == l.owner.Load() && s.Path == mainPath && l.signal != nil:
		l.signal(*s)
	}
}

// owner asks the bus for the unique name of firewalld's connection; "" if firewalld does not run.
func owner(ctx context.Context, c *dbus.Conn) (name string, err error) {
	err = c.BusObject().CallWithContext(ctx, getNameOwner, 0, busName).Store(&name)
	var e dbus.Error
	if errors.As(err, &e) && e.Name == nameHasNoOwner {
		return "", nil
	}
	return name, err
}

// Running asks the bus whether firewalld runs.
func Running(ctx context.Context) (bool, error) {
	c, err := connect(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	name, err := owner(ctx, c)
	return name != "", err
}

// reconnectPause is the time between two attempts to connect to a bus that went away.
const reconnectPause = time.Second

// Watch calls changed whenever somebody else may have changed our objects: firewalld was reloaded, started or stopped, an entry was added
// or removed, or a set or policy was changed. While Watch runs and has noticed nothing, Verify costs nothing.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	for {
		err := b.listen(ctx, changed)
		b.mu.Lock()
		b.watching, b.dirty = false, true
		b.mu.Unlock()
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		changed()
		select {
		case <-time.After(reconnectPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listen receives signals until the bus goes away.
func (b *Backend) listen(ctx context.Context, changed func()) error {
	l := newListener(func(s dbus.Signal) {
		if b.note(s) {
			changed()
		}
	})
	c, err := connect(ctx, dbus.WithSignalHandler(l))
	if err != nil {
		return err
	}
	defer c.Close()
	for _, m := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName)},
		{dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName + ".ipset")},
		{dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName + ".policy")},
		{dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName + ".zone")},
		ownerChanged,
	} {
		if err := c.AddMatchSignalContext(ctx, m...); err != nil {
			return fmt.Errorf("firewalld: watch: %w", err)
		}
	}
	for first := true; ; first = false {
		now, err := owner(ctx, c)
		if err != nil {
			return fmt.Errorf("firewalld: watch: %w", err)
		}
		before := l.owner.Swap(now)
		// Signals that came before the listener knew the owner were dropped, so everything must be checked.
		b.mu.Lock()
		b.watching, b.dirty, b.ownLoads = true, true, 0
		b.reloaded = b.reloaded || !first && now != "" && now != before
		b.mu.Unlock()
		changed()
		select {
		case <-l.moved:
		case <-ctx.Done():
			return nil
		case <-c.Context().Done():
			return errors.New("firewalld: watch: the connection to the bus was closed")
		}
	}
}

// note records what Verify must check after a signal from firewalld, and reports whether there is anything to check. Our own changes need
// no check.
func (b *Backend) note(s dbus.Signal) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch s.Name {
	case busName + ".Reloaded":
		if b.ownLoads > 0 {
			b.ownLoads--
		} else {
			b.reloaded = true
		}
	case busName + ".PanicModeDisabled":
		b.recheck = "panic mode has ended"
	case busName + ".DefaultZoneChanged":
		b.recheck = "the default zone was changed"
	case busName + ".policy.PolicyUpdated":
	case busName + ".zone.SourceRemoved", busName + ".zone.RichRuleRemoved", busName + ".zone.ZoneUpdated":
		if b.method == "policy" {
			return false
		}
	case busName + ".ipset.EntryAdded", busName + ".ipset.EntryRemoved":
		if !b.othersEntry(s.Name == busName+".ipset.EntryAdded", s.Body) {
			return false
		}
	default:
		return false
	}
	b.dirty = true
	return true
}

// othersEntry reports whether an entry that was added or removed makes one of our sets differ from what it should hold. The
// caller holds b.mu.
func (b *Backend) othersEntry(added bool, body []any) bool {
	if len(body) < 2 {
		return true
	}
	name, _ := body[0].(string)
	text, _ := body[1].(string)
	if !ourName(name) {
		return false
	}
	p, ok := parseEntry(text)
	if !ok {
		return true
	}
	for k, set := range b.sets {
		if b.setName(k) == name {
			return set[p] != added
		}
	}
	return false
}

const (
	// settlePause is how long firewalld must have been stopped, or running, before Presence reports it: a restart takes less.
	settlePause = 2 * time.Second

	// noBusPause is the time between two attempts to connect to a bus that does not exist.
	noBusPause = time.Minute
)

// Presence sends whether firewalld is running each time that changes, until ctx is done. running is the state known at the start. A change
// is confirmed by asking the bus a second time, so a restart of firewalld is not reported. On a host without a system bus there is no
// firewalld.
func Presence(ctx context.Context, running bool, c chan<- bool) {
	p := presence{running: running, ask: owner, settle: func() <-chan time.Time { return time.After(settlePause) }}
	for {
		p.follow(ctx, c)
		select {
		case <-time.After(noBusPause):
		case <-ctx.Done():
			return
		}
	}
}

// presence is the state of Presence: the value last sent, and how it is determined.
type presence struct {
	running bool
	ask     func(context.Context, *dbus.Conn) (owner string, err error)
	settle  func() <-chan time.Time
}

// follow uses one connection to the bus until it is closed.
func (p *presence) follow(ctx context.Context, c chan<- bool) {
	l := newListener(nil)
	conn, err := connect(ctx, dbus.WithSignalHandler(l))
	if err != nil {
		return
	}
	defer conn.Close()
	if err := conn.AddMatchSignalContext(ctx, ownerChanged...); err != nil {
		return
	}
	gone := conn.Context().Done()
	for {
		name, err := p.ask(ctx, conn)
		if err != nil {
			return
		}
		if on := name != ""; on != p.running {
			select {
			case <-p.settle():
			case <-ctx.Done():
				return
			case <-gone:
				return
			}
			if name, err = p.ask(ctx, conn); err != nil {
				return
			}
			if on == (name != "") {
				select {
				case c <- on:
					p.running = on
				case <-ctx.Done():
					return
				}
			}
		}
		select {
		case <-l.moved:
		case <-ctx.Done():
			return
		case <-gone:
			return
		}
	}
}
