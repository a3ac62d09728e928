package firewalld

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"bailiff/firewall"

	"github.com/godbus/dbus/v5"
)

// loaded is what a firewalld has loaded from its permanent configuration, as far as this package uses it with method rich.
type loaded struct {
	*permanent
	sets  map[string][]string // entries
	rules map[string][]string // by zone

	reloads, failures int // failures: reloads that fail from now on
}

// newLoaded serves it on a bus of its own.
func newLoaded(t *testing.T, zones ...string) *loaded {
	l := &loaded{permanent: newPermanent(t, zones...), rules: make(map[string][]string)}
	locked := func(f func() *dbus.Error) *dbus.Error {
		l.mu.Lock()
		defer l.mu.Unlock()
		return f()
	}
	for iface, methods := range map[string]map[string]any{
		busName + ".": {
			"reload": func() *dbus.Error {
				return locked(func() *dbus.Error {
					if l.reloads++; l.failures > 0 {
						l.failures--
						return dbus.NewError(busName+".Exception", []any{"COMMAND_FAILED: no"})
					}
					l.sets = make(map[string][]string)
					for name := range l.permanent.sets {
						l.sets[name] = nil
					}
					for zone, items := range l.zones {
						l.rules[zone] = slices.Clone(items["RichRule"])
					}
					return nil
				})
			},
		},
		ipsetIface: {
			"getIPSets": func() (names []string, e *dbus.Error) {
				return names, locked(func() *dbus.Error { names = slices.Sorted(maps.Keys(l.sets)); return nil })
			},
			"getEntries": func(set string) (entries []string, e *dbus.Error) {
				return entries, locked(func() *dbus.Error { entries = slices.Clone(l.sets[set]); return nil })
			},
			"addEntry": func(set, entry string) *dbus.Error {
				return locked(func() *dbus.Error { l.sets[set] = append(l.sets[set], entry); return nil })
			},
		},
		zoneIface: {
			"queryRichRule": func(zone, rule string) (yes bool, e *dbus.Error) {
				return yes, locked(func() *dbus.Error { yes = slices.Contains(l.rules[zone], rule); return nil })
			},
		},
	} {
		if err := l.ExportMethodTable(methods, mainPath, iface[:len(iface)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.ExportMethodTable(map[string]any{
		"Get": func(string, string) (dbus.Variant, *dbus.Error) { return dbus.MakeVariant("iptables"), nil },
	}, configPath, "org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	return l
}

// is checks what is loaded (rules in the zones public and trusted, sets, and bans) and the number of reloads.
func (l *loaded) is(t *testing.T, when string, public, trusted, sets, bans, reloads int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := 0
	for _, s := range l.sets {
		entries += len(s)
	}
	if got := [...]int{len(l.rules["public"]), len(l.rules["trusted"]), len(l.sets), entries, l.reloads}; got != [...]int{public, trusted, sets, bans, reloads} {
		t.Errorf("%s: rules in public, rules in trusted, sets, bans, reloads: %v, want %v", when, got, [...]int{public, trusted, sets, bans, reloads})
	}
}

// TestReloadFails: after a removal from the permanent configuration, firewalld is reloaded until that has succeeded once. Bans are in
// effect meanwhile.
func TestReloadFails(t *testing.T) {
	fewSets(t)
	l := newLoaded(t, "drop", "public", "trusted")
	fail := func(n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failures = n
	}
	backend := func(zones ...string) *Backend {
		t.Helper()
		b, err := New(Options{Scopes: []firewall.Scope{{}}, Method: "rich", Zones: zones})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	}
	bans := []firewall.Ban{{Prefix: netip.MustParsePrefix("192.0.2.7/32")}}
	if _, err := backend("public", "trusted").Reconcile(t.Context(), bans); err != nil {
		t.Fatal(err)
	}
	n := 2 * int(allSets) // sets, and rules of a zone
	l.is(t, "at first", n, n, n, 1, 1)

	// One zone fewer.
	b := backend("trusted")
	fail(2)
	bans = append(bans, firewall.Ban{Prefix: netip.MustParsePrefix("192.0.2.8/32")})
	for i := range 2 {
		if _, err := b.Reconcile(t.Context(), bans); err == nil {
			t.Error("no error, although firewalld has not loaded what was changed")
		}
		l.is(t, "not loaded", n, n, n, 2, 2+i)
		if err := b.Add(t.Context(), bans); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if _, err := b.Reconcile(t.Context(), bans); err != nil {
			t.Error(err)
		}
		l.is(t, "loaded", 0, n, n, 2, 4)
	}

	fail(2)
	for i := range 2 {
		if err := b.Cleanup(t.Context()); err == nil {
			t.Error("Cleanup: no error, although firewalld has not loaded what was changed")
		}
		l.is(t, "cleanup not loaded", 0, n, n, 2, 5+i)
	}
	for range 2 {
		if err := backend("trusted").Cleanup(t.Context()); err != nil { // after a restart, too
			t.Error(err)
		}
		l.is(t, "removed", 0, 0, 0, 0, 7)
	}
}
