// Package lookup asks systemd over D-Bus which of the units that a filter trusts this host has. It only informs: what is
// read from the journal never depends on it, so a host without D-Bus loses nothing but a shorter list in status.
package lookup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// callLimit bounds one lookup. systemd answers within milliseconds; one that does not is busy with other things.
const callLimit = 2 * time.Second

// keep is how long an answer holds, so that a status asked for in a loop does not keep PID 1 busy.
const keep = 30 * time.Second

const (
	busName = "org.freedesktop.systemd1"
	busPath = "/org/freedesktop/systemd1"
	manager = "org.freedesktop.systemd1.Manager."
)

// Finder looks units up. Its methods may be called from any goroutine.
type Finder struct {
	address string // of the bus; "" the system's

	mu    sync.Mutex
	conn  *dbus.Conn
	asked map[string]answer
}

type answer struct {
	real string // "" when the host has no such unit
	at   time.Time
}

// New returns a Finder. It connects when it is first asked.
func New() *Finder { return &Finder{asked: make(map[string]answer)} }

// Close ends the connection to the bus.
func (f *Finder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drop()
}

func (f *Finder) drop() error {
	c := f.conn
	f.conn = nil
	if c == nil {
		return nil
	}
	return c.Close()
}

// Find tells which of the names this host has, and what each is really called: sshd.service is ssh.service on Debian, and
// _SYSTEMD_UNIT= never holds an alias. Names are those of units (ssh.service, postfix@-.service) or of the slices of
// instances (system-sshd.slice, which is there when the template sshd@.service is: that is its real name then).
//
// An error means that nothing is known; then every name may be there.
func (f *Finder) Find(ctx context.Context, names []string) (map[string]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(f.asked, func(_ string, a answer) bool { return now.Sub(a.at) > keep })
	var open []string
	for _, n := range names {
		if _, ok := f.asked[n]; !ok && !slices.Contains(open, n) {
			open = append(open, n)
		}
	}
	if len(open) > 0 {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		had := f.conn != nil
		found, err := f.ask(ctx, open)
		if err != nil && had && ctx.Err() == nil { // the bus was restarted since
			found, err = f.ask(ctx, open)
		}
		if err != nil {
			return nil, fmt.Errorf("unit look-up over D-Bus: %w", err)
		}
		for _, n := range open {
			f.asked[n] = answer{found[n], now}
		}
	}
	out := make(map[string]string)
	for _, n := range names {
		if a := f.asked[n]; a.real != "" {
			out[n] = a.real
		}
	}
	return out, nil
}

// Used tells whether this host has a unit that is active, or enabled to be at the next boot.
func (f *Finder) Used(ctx context.Context, name string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	had := f.conn != nil
	used, err := f.askUsed(ctx, name)
	if err != nil && had && ctx.Err() == nil { // the bus was restarted since
		used, err = f.askUsed(ctx, name)
	}
	if err != nil {
		return false, fmt.Errorf("unit look-up over D-Bus: %w", err)
	}
	return used, nil
}

func (f *Finder) askUsed(ctx context.Context, name string) (used bool, err error) {
	defer func() {
		if err != nil {
			f.drop()
		}
	}()
	if err = f.open(ctx); err != nil {
		return false, err
	}
	bus := f.conn.Object(busName, busPath)
	var units []unit
	if err = bus.CallWithContext(ctx, manager+"ListUnitsByNames", 0, []string{name}).Store(&units); err != nil {
		return false, err
	}
	if len(units) != 1 {
		return false, fmt.Errorf("ListUnitsByNames: %d answers to one name", len(units))
	}
	if s := units[0].Active; s == "active" || s == "activating" || s == "reloading" {
		return true, nil
	}
	var files []struct{ Path, State string }
	if err = bus.CallWithContext(ctx, manager+"ListUnitFilesByPatterns", 0, []string{}, []string{name}).Store(&files); err != nil {
		return false, err
	}
	return slices.ContainsFunc(files, func(f struct{ Path, State string }) bool { return strings.HasPrefix(f.State, "enabled") }), nil
}

// Stopped tells whether a unit neither runs nor is about to: its state is then "inactive" or "failed", else "".
func (f *Finder) Stopped(ctx context.Context, name string) (state string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if err := f.open(ctx); err != nil {
		return "", fmt.Errorf("unit look-up over D-Bus: %w", err)
	}
	var units []unit
	if err := f.conn.Object(busName, busPath).CallWithContext(ctx, manager+"ListUnitsByNames", 0, []string{name}).Store(&units); err != nil {
		f.drop()
		return "", fmt.Errorf("unit look-up over D-Bus: %w", err)
	}
	if len(units) == 1 && units[0].Load == "loaded" && units[0].JobID == 0 && (units[0].Active == "inactive" || units[0].Active == "failed") {
		return units[0].Active, nil
	}
	return "", nil
}

// open connects unless that is done. The caller holds f.mu.
func (f *Finder) open(ctx context.Context) (err error) {
	if f.conn == nil || !f.conn.Connected() {
		f.conn, err = connect(ctx, f.address)
	}
	return err
}

// unit is a row of ListUnitsByNames.
type unit struct {
	Name, Description, Load, Active, Sub, Following string
	Path                                            dbus.ObjectPath
	JobID                                           uint32
	JobType                                         string
	JobPath                                         dbus.ObjectPath
}

func (f *Finder) ask(ctx context.Context, names []string) (found map[string]string, err error) {
	defer func() {
		if err != nil {
			f.drop()
		}
	}()
	if err = f.open(ctx); err != nil {
		return nil, err
	}
	found = make(map[string]string)
	bus := f.conn.Object(busName, busPath)
	var units, templates []string
	slice := make(map[string]string) // template → slice
	for _, n := range names {
		switch t := Template(n); {
		case t != "":
			templates = append(templates, t)
			slice[t] = n
		case loadable(n):
			units = append(units, n)
		}
	}
	if len(units) > 0 {
		var list []unit
		if err = bus.CallWithContext(ctx, manager+"ListUnitsByNames", 0, units).Store(&list); err != nil {
			return nil, err
		}
		// The answers stand in the order of the names, each under its real name.
		if len(list) != len(units) {
			return nil, fmt.Errorf("ListUnitsByNames: %d answers to %d names", len(list), len(units))
		}
		for i, u := range list {
			if u.Load == "loaded" {
				found[units[i]] = u.Name
			}
		}
	}
	if len(templates) > 0 {
		var list []struct{ Path, State string }
		if err = bus.CallWithContext(ctx, manager+"ListUnitFilesByPatterns", 0, []string{}, templates).Store(&list); err != nil {
			return nil, err
		}
		for _, l := range list {
			t := l.Path[strings.LastIndexByte(l.Path, '/')+1:]
			if s := slice[t]; s != "" && l.State != "masked" && l.State != "masked-runtime" {
				found[s] = t
			}
		}
	}
	return found, nil
}

// loadable tells whether systemd can be asked for a unit of that name. One bad name would spoil the whole call.
func loadable(name string) bool {
	kind := path.Ext(name)
	if len(name) > 255 || kind == name || strings.HasSuffix(name, "@"+kind) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(`:-_.\@`, rune(c)) {
			return false
		}
	}
	return slices.Contains([]string{".service", ".socket", ".slice", ".scope", ".target", ".timer", ".mount", ".path"}, kind)
}

// connect opens a connection of our own, so that closing it disturbs nobody.
func connect(ctx context.Context, address string) (*dbus.Conn, error) {
	type result struct {
		c   *dbus.Conn
		err error
	}
	done := make(chan result, 1)
	go func() { // godbus cannot be told to give up in the middle of the greeting
		var c *dbus.Conn
		var err error
		if address == "" {
			c, err = dbus.ConnectSystemBus()
		} else {
			c, err = dbus.Connect(address)
		}
		done <- result{c, err}
	}()
	select {
	case r := <-done:
		return r.c, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				r.c.Close()
			}
		}()
		return nil, errors.New("the bus does not answer")
	}
}

// Template is the unit whose instances live in a slice: sshd@.service of system-sshd.slice (systemd.slice(5); a dash in
// the name is escaped as \x2d). It is "" for what is no such slice.
func Template(slice string) string {
	name, ok := strings.CutPrefix(slice, "system-")
	if !ok {
		return ""
	}
	if name, ok = strings.CutSuffix(name, ".slice"); !ok || name == "" || strings.Contains(name, "-") {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' && i+3 < len(name) && name[i+1] == 'x' {
			if c, err := strconv.ParseUint(name[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(name[i])
	}
	return b.String() + "@.service"
}
