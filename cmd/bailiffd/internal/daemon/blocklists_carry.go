package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"bailiff/firewall"
	"bailiff/policy/blocklist"
	"bailiff/policy/config"
	"bailiff/policy/prefix"
	"bailiff/units/published"
)

// A daemon that must not use netlink has no table of its own for block lists: firewalld carries them, like bans that never end, in sets of
// their own. They leave out allowed prefixes, since no rule can come before them.

// maxCarried is how many prefixes of block lists firewalld carries, of all lists together. At each reload, 10,000 take firewalld some
// seconds, and 100,000 a minute.
const maxCarried = 10_000

// The scopes of carried lists. No jail has such a name.
const (
	carriedJails = "-jails"
	carriedAll   = "-all"
)

func isCarried(scope string) bool { return scope == carriedJails || scope == carriedAll }

// carryScopes are the scopes that the lists of a configuration need.
func carryScopes(c *config.Config) (l []firewall.Scope) {
	for _, s := range []struct{ ports, name string }{{blocklist.PortsJails, carriedJails}, {blocklist.PortsAll, carriedAll}} {
		if !slices.ContainsFunc(c.Lists, func(l blocklist.List) bool { return l.Ports == s.ports && l.Mode == blocklist.ModeDrop }) {
			continue
		}
		x := firewall.Scope{Name: s.name}
		if s.ports == blocklist.PortsJails && c.Firewall.Method != "zone" { // the zone drop blocks all ports
			x.Ports = closes(c, &blocklist.List{Ports: s.ports}).ports
		}
		l = append(l, x)
	}
	return l
}

// carriedNow are the carried prefixes whose scope the backend knows: after a reload it may not, until the worker has looked.
func (f *firewallControl) carriedNow() (l []firewall.Ban) {
	for _, b := range f.carried {
		if slices.ContainsFunc(f.scopes.list, func(s firewall.Scope) bool { return s.Name == b.Scope }) {
			l = append(l, b)
		}
	}
	return l
}

// carryLists reads the lists that fit, and passes them on if they have changed.
func (w *blockWorker) carryLists(now time.Time) {
	all := []firewall.Ban{}
	for i := range w.want.lists {
		conf := &w.want.lists[i]
		h := w.held[conf.Name]
		if conf.Mode == blocklist.ModeDouble {
			continue
		}
		before, entries := h.rejected, h.entries
		h.entries, h.allowed, h.rejected = 0, 0, ""
		part, err := w.carryList(conf, h, maxCarried-len(all))
		switch {
		case errors.Is(err, fs.ErrNotExist): // not fetched yet
		case err != nil:
			h.rejected = err.Error()
		default:
			all, h.entries, h.loaded = append(all, part...), len(part), now
		}
		if h.rejected != before || h.entries != entries {
			w.carryNote(h)
		}
	}
	slices.SortFunc(all, func(a, b firewall.Ban) int { return prefix.Compare(a.Prefix, b.Prefix) })
	all = slices.CompactFunc(all, func(a, b firewall.Ban) bool { return a.Key() == b.Key() })
	if slices.Equal(all, w.carried) {
		return
	}
	w.carried = all
	select {
	case <-w.carry:
	default:
	}
	w.carry <- all
}

func (w *blockWorker) carryList(conf *blocklist.List, h *blockHeld, room int) (l []firewall.Ban, err error) {
	if conf.Mode != blocklist.ModeDrop {
		return nil, errors.New("firewalld cannot count the packets of a list: mode log needs netlink, which firewalld-only.conf denies")
	}
	if conf.Ports == blocklist.PortsJails && len(conf.Jails) > 0 {
		return nil, errors.New("firewalld carries lists for the ports of all jails, or for all: leave jails out, or write ports: all")
	}
	if h.file != nil {
		if err := w.fit(h); err != nil {
			return nil, err
		}
	}
	scope := carriedJails
	if conf.Ports == blocklist.PortsAll {
		scope = carriedAll
	}
	b, err := w.store.OpenBlock(conf)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	allowed := overlaps(w.want.allow)
	err = b.Each(func(p netip.Prefix) error {
		if allowed(p) {
			h.allowed++
			return nil
		}
		if len(l) >= room {
			return fmt.Errorf("does not fit: without netlink, which firewalld-only.conf denies, firewalld carries %d entries of all lists together", maxCarried)
		}
		l = append(l, firewall.Ban{Prefix: p, Scope: scope})
		return nil
	})
	return l, err
}

// overlaps returns a function that takes ascending prefixes and reports whether one overlaps any of l, which is sorted.
func overlaps(l []netip.Prefix) func(netip.Prefix) bool {
	return func(p netip.Prefix) bool {
		for len(l) > 0 && l[0].Addr().Compare(p.Addr()) < 0 && !l[0].Overlaps(p) {
			l = l[1:]
		}
		return len(l) > 0 && l[0].Overlaps(p)
	}
}

func (w *blockWorker) carryNote(h *blockHeld) {
	if h.rejected != "" {
		w.noteRejected(h.conf.Name, h.rejected, published.Keeping(0))
		return
	}
	w.noteLoaded(h)
}
