package firewalld

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// rejoin is the pause before a bus that went away is tried again.
const rejoin = time.Second

// Watch calls changed whenever somebody else may have changed what is ours, within milliseconds: a reload, firewalld's
// start or end, an entry taken out or put in, a set or a policy changed. What to do then is Verify. While it runs, Verify
// costs nothing when nothing was heard. It may run beside all other methods, and returns when ctx is done.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	for {
		err := b.listen(ctx, changed)
		b.mu.Lock()
		b.heard, b.dirty = false, true
		b.mu.Unlock()
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		changed()
		select {
		case <-time.After(rejoin):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listen hears signals until the bus goes away.
func (b *Backend) listen(ctx context.Context, changed func()) error {
	var own bus
	c, err := own.open(ctx)
	if err != nil {
		return err
	}
	defer own.close()
	signals := make(chan *dbus.Signal, 4096)
	c.Signal(signals)
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
	b.mu.Lock()
	b.heard, b.dirty = true, true // what happened before we listened is for Verify to find
	b.mu.Unlock()
	changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case s, ok := <-signals:
			if !ok {
				return errors.New("firewalld: watch: the bus went away")
			}
			if !b.news(s) {
				continue
			}
			b.mu.Lock()
			b.dirty = true
			b.lost = b.lost || s.Name == busName+".Reloaded" || s.Name == nameOwnerChanged
			switch s.Name {
			case busName + ".PanicModeDisabled":
				b.upset = "panic mode has ended"
			case busName + ".DefaultZoneChanged":
				b.upset = "the default zone was changed"
			}
			b.mu.Unlock()
			changed()
		}
	}
}

// news tells whether a signal is about something of ours that we did not do ourselves.
func (b *Backend) news(s *dbus.Signal) bool {
	switch s.Name {
	case busName + ".Reloaded", busName + ".PanicModeDisabled", busName + ".DefaultZoneChanged", nameOwnerChanged,
		busName + ".policy.PolicyUpdated":
		return true
	case busName + ".zone.SourceRemoved", busName + ".zone.RichRuleRemoved", busName + ".zone.ZoneUpdated":
		return b.via != "policy"
	case busName + ".ipset.EntryAdded", busName + ".ipset.EntryRemoved":
		if len(s.Body) < 2 {
			return true
		}
		name, _ := s.Body[0].(string)
		text, _ := s.Body[1].(string)
		if !ourName(name) {
			return false
		}
		p, ok := parseEntry(text)
		if !ok {
			return true
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for k, set := range b.sets {
			if b.setName(k) == name {
				return set[p] != (s.Name == busName+".ipset.EntryAdded")
			}
		}
	}
	return false
}

// Presence tells over c whether firewalld runs: first when it knows, and whenever that changes. It returns when ctx is done.
// A host without a system bus has no firewalld.
func Presence(ctx context.Context, c chan<- bool) {
	for {
		presence(ctx, c)
		select {
		case <-time.After(absent):
		case <-ctx.Done():
			return
		}
	}
}

// absent is the pause before a bus that is not there is tried again.
const absent = time.Minute

func presence(ctx context.Context, c chan<- bool) {
	var own bus
	conn, err := own.open(ctx)
	if err != nil {
		return
	}
	defer own.close()
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	if err := conn.AddMatchSignalContext(ctx, ownerChanged...); err != nil {
		return
	}
	var on bool
	if err := conn.BusObject().CallWithContext(ctx, hasOwner, 0, busName).Store(&on); err != nil {
		return
	}
	for ok := true; ok; {
		select {
		case c <- on:
		case <-ctx.Done():
			return
		}
		select {
		case s, open := <-signals:
			if ok = open; ok && len(s.Body) == 3 {
				owner, _ := s.Body[2].(string)
				on = owner != ""
			}
		case <-ctx.Done():
			return
		}
	}
}

const (
	hasOwner         = "org.freedesktop.DBus.NameHasOwner"
	nameOwnerChanged = "org.freedesktop.DBus.NameOwnerChanged"
)

var ownerChanged = []dbus.MatchOption{
	dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, busName),
}
