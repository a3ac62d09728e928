// Package manager asks systemd's service manager about units over D-Bus, and stops units for commands of root. It uses
// go-systemd's dbus package.
//
// What it reports is information for people and for the choice of a firewall backend; whether a journal entry counts as evidence
// never depends on it. Without D-Bus every function returns an error.
//
// Every question opens a connection of its own. The context's deadline then covers connecting and authentication as well, a
// restarted bus needs no care, and no connection stays open on which other users could queue signals. Start reading at Find.
package manager

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/unit"
)

const (
	// callLimit bounds one question. systemd answers within milliseconds unless it is busy.
	callLimit = 2 * time.Second

	// cacheTime is how long a Finder keeps an answer, so that frequent status calls do not load PID 1.
	cacheTime = 30 * time.Second
)

// Find returns which of the names exist on this host, each with the primary name of its unit: sshd.service is an alias of
// ssh.service on Debian, and _SYSTEMD_UNIT= never holds an alias. A name is that of a unit (ssh.service, postfix@-.service) or of
// the slice of a template's instances (system-sshd.slice). Such a slice exists if its template does, and sshd@.service is then
// returned for it.
//
// After an error nothing is known, so every unit may exist.
func Find(ctx context.Context, names []string) (found map[string]string, err error) {
	err = ask(ctx, func(ctx context.Context, c *dbus.Conn) error {
		found, err = find(ctx, c, names)
		return err
	})
	return found, err
}

// Finder is Find with a memory of 30 seconds. Its methods may be called from any goroutine.
type Finder struct {
	mu    sync.Mutex
	cache map[string]answer
}

type answer struct {
	unit string // "" if the host has no such unit
	at   time.Time
}

// NewFinder returns a Finder.
func NewFinder() *Finder { return &Finder{cache: make(map[string]answer)} }

// Find is the package's Find, asking only about names that were not asked about recently.
func (f *Finder) Find(ctx context.Context, names []string) (map[string]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(f.cache, func(_ string, a answer) bool { return now.Sub(a.at) > cacheTime })
	var missing []string
	for _, n := range names {
		if _, ok := f.cache[n]; !ok && !slices.Contains(missing, n) {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		found, err := Find(ctx, missing)
		if err != nil {
			return nil, err
		}
		for _, n := range missing {
			f.cache[n] = answer{found[n], now}
		}
	}
	out := make(map[string]string)
	for _, n := range names {
		if a := f.cache[n]; a.unit != "" {
			out[n] = a.unit
		}
	}
	return out, nil
}

func find(ctx context.Context, c *dbus.Conn, names []string) (map[string]string, error) {
	found := make(map[string]string)
	var units, templates []string
	slice := make(map[string]string) // template → slice
	for _, n := range names {
		switch t := template(n); {
		case t != "":
			templates = append(templates, t)
			slice[t] = n
		case valid(n):
			units = append(units, n)
		}
	}
	if len(units) > 0 {
		list, err := c.ListUnitsByNamesContext(ctx, units)
		if err != nil {
			return nil, err
		}
		// The answers are in the order of the names, each under its primary name.
		if len(list) != len(units) {
			return nil, fmt.Errorf("ListUnitsByNames: %d answers to %d names", len(list), len(units))
		}
		for i, u := range list {
			if u.LoadState == "loaded" {
				found[units[i]] = u.Name
			}
		}
	}
	if len(templates) > 0 {
		list, err := c.ListUnitFilesByPatternsContext(ctx, nil, templates)
		if err != nil {
			return nil, err
		}
		for _, l := range list {
			t := path.Base(l.Path)
			if s := slice[t]; s != "" && !strings.HasPrefix(l.Type, "masked") {
				found[s] = t
			}
		}
	}
	return found, nil
}

// template returns the template unit whose instances are in a slice: sshd@.service for system-sshd.slice (systemd.slice(5); a
// dash in the name is escaped as \x2d). It returns "" for any other slice.
func template(slice string) string {
	name, ok := strings.CutPrefix(slice, "system-")
	if !ok {
		return ""
	}
	if name, ok = strings.CutSuffix(name, ".slice"); !ok || name == "" || strings.Contains(name, "-") {
		return ""
	}
	return unit.UnitNameUnescape(name) + "@.service"
}

// valid reports whether systemd accepts a question about a unit of this name. One invalid name fails the whole call.
func valid(name string) bool {
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

// Used reports whether a unit is active, or enabled to start at the next boot.
func Used(ctx context.Context, name string) (used bool, err error) {
	err = ask(ctx, func(ctx context.Context, c *dbus.Conn) error {
		u, err := status(ctx, c, name)
		if err != nil {
			return err
		}
		if s := u.ActiveState; s == "active" || s == "activating" || s == "reloading" {
			used = true
			return nil
		}
		files, err := c.ListUnitFilesByPatternsContext(ctx, nil, []string{name})
		used = slices.ContainsFunc(files, func(f dbus.UnitFile) bool { return strings.HasPrefix(f.Type, "enabled") })
		return err
	})
	return used, err
}

// Stopped returns "inactive" or "failed" if a unit exists and is neither running nor about to run, else "". A unit that is being
// stopped is inactive: a connection to its socket would start it again. One that is being restarted is not.
func Stopped(ctx context.Context, name string) (state string, err error) {
	err = ask(ctx, func(ctx context.Context, c *dbus.Conn) error {
		u, err := status(ctx, c, name)
		switch {
		case err != nil || u.LoadState != "loaded":
		case u.JobId == 0 && stopped(u):
			state = u.ActiveState
		case u.JobId != 0 && u.JobType == "stop":
			state = "inactive"
		}
		return err
	})
	return state, err
}

// Active returns those of the units that are running, starting or stopping. A unit that does not exist is none of them.
func Active(ctx context.Context, units ...string) (active []string, err error) {
	err = ask(ctx, func(ctx context.Context, c *dbus.Conn) error {
		active, err = running(ctx, c, units)
		return err
	})
	return active, err
}

// Stop stops those of the units that are running and returns when they have stopped. Only ctx bounds the wait: a service may take
// its TimeoutStopSec=.
func Stop(ctx context.Context, units ...string) error {
	c, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("systemd over D-Bus: %w", err)
	}
	defer c.Close()
	active, err := running(ctx, c, units)
	if err != nil {
		return fmt.Errorf("systemd over D-Bus: %w", err)
	}
	for _, u := range active {
		done := make(chan string, 1)
		if _, err := c.StopUnitContext(ctx, u, "replace", done); err != nil {
			return fmt.Errorf("stop %s: %w", u, err)
		}
		select {
		case result := <-done:
			if result != "done" {
				return fmt.Errorf("stop %s: %s", u, result)
			}
		case <-ctx.Done():
			return fmt.Errorf("stop %s: %w", u, ctx.Err())
		}
	}
	return nil
}

// ask runs a question over a connection of its own, within callLimit.
func ask(ctx context.Context, question func(context.Context, *dbus.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	c, err := dbus.NewSystemConnectionContext(ctx)
	if err == nil {
		defer c.Close()
		err = question(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("systemd over D-Bus: %w", err)
	}
	return nil
}

func status(ctx context.Context, c *dbus.Conn, name string) (dbus.UnitStatus, error) {
	list, err := c.ListUnitsByNamesContext(ctx, []string{name})
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("ListUnitsByNames: %d answers to one name", len(list))
	}
	if err != nil {
		return dbus.UnitStatus{}, err
	}
	return list[0], nil
}

func running(ctx context.Context, c *dbus.Conn, units []string) (l []string, err error) {
	list, err := c.ListUnitsByNamesContext(ctx, units)
	for _, u := range list {
		if !stopped(u) {
			l = append(l, u.Name)
		}
	}
	return l, err
}

func stopped(u dbus.UnitStatus) bool { return u.ActiveState == "inactive" || u.ActiveState == "failed" }
