package firewalld

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"

	"bailiff/firewall"

	"github.com/godbus/dbus/v5"
)

// permanent is firewalld's permanent configuration, as far as this package uses it.
type permanent struct {
	*peer
	mu     sync.Mutex
	sets   map[string]setSettings
	policy map[string]dbus.Variant // ours; nil: none
	zones  map[string]map[string][]string
}

// newPermanent serves it on a bus of its own, with zones that are empty.
func newPermanent(t *testing.T, zones ...string) *permanent {
	privateBus(t)
	p := &permanent{peer: newPeer(t), sets: make(map[string]setSettings), zones: make(map[string]map[string][]string)}
	export := func(path dbus.ObjectPath, iface string, methods map[string]any) {
		t.Helper()
		for name, f := range methods {
			v := reflect.ValueOf(f)
			methods[name] = reflect.MakeFunc(v.Type(), func(args []reflect.Value) []reflect.Value {
				p.mu.Lock()
				defer p.mu.Unlock()
				return v.Call(args)
			}).Interface()
		}
		if err := p.ExportMethodTable(methods, path, iface[:len(iface)-1]); err != nil {
			t.Fatal(err)
		}
	}
	at := func(kind, name string) dbus.ObjectPath {
		return configPath + dbus.ObjectPath(fmt.Sprintf("/%s/%x", kind, name))
	}
	export(configPath, configIface, map[string]any{
		"getIPSetNames": func() ([]string, *dbus.Error) { return slices.Sorted(maps.Keys(p.sets)), nil },
		"addIPSet": func(name string, s setSettings) *dbus.Error {
			p.sets[name] = s
			export(at("ipset", name), configSetIface, map[string]any{
				"getSettings": func() (setSettings, *dbus.Error) { return p.sets[name], nil },
				"remove":      func() *dbus.Error { delete(p.sets, name); return nil },
			})
			return nil
		},
		"getIPSetByName": func(name string) (dbus.ObjectPath, *dbus.Error) { return at("ipset", name), nil },
		"getPolicyNames": func() ([]string, *dbus.Error) {
			if p.policy == nil {
				return []string{"other"}, nil
			}
			return []string{policyName, "other"}, nil
		},
		"addPolicy":       func(_ string, s map[string]dbus.Variant) *dbus.Error { p.policy = s; return nil },
		"getPolicyByName": func(name string) (dbus.ObjectPath, *dbus.Error) { return at("policy", name), nil },
		"getZoneNames":    func() ([]string, *dbus.Error) { return zones, nil },
		"getZoneByName":   func(name string) (dbus.ObjectPath, *dbus.Error) { return at("zone", name), nil },
	})
	export(at("policy", policyName), configPolicyIface, map[string]any{
		"getSettings": func() (map[string]dbus.Variant, *dbus.Error) { return maps.Clone(p.policy), nil },
		"update":      func(s map[string]dbus.Variant) *dbus.Error { p.policy = s; return nil },
		"remove":      func() *dbus.Error { p.policy = nil; return nil },
	})
	for _, z := range zones {
		items, methods := make(map[string][]string), make(map[string]any)
		p.zones[z] = items
		for _, kind := range []string{"Source", "RichRule"} {
			methods["query"+kind] = func(x string) (bool, *dbus.Error) { return slices.Contains(items[kind], x), nil }
			methods["add"+kind] = func(x string) *dbus.Error { items[kind] = append(items[kind], x); return nil }
			methods["get"+kind+"s"] = func() ([]string, *dbus.Error) { return slices.Clone(items[kind]), nil }
			methods["remove"+kind] = func(x string) *dbus.Error {
				items[kind] = slices.DeleteFunc(items[kind], func(y string) bool { return x == y })
				return nil
			}
		}
		export(at("zone", z), configZoneIface, methods)
	}
	p.own()
	return p
}

// TestOtherMethod: with another method, other zones or other rules, no reference that an earlier configuration needed remains. Those that
// somebody else has made stay.
func TestOtherMethod(t *testing.T) {
	fewSets(t)
	p := newPermanent(t, "drop", "public", "trusted")
	foreign := map[string]map[string][]string{
		"drop":   {"Source": {"ipset:mine", "192.0.2.1"}},
		"public": {"Source": {"ipset:bailiff4-0"}, "RichRule": {`rule family="ipv4" source ipset="bailiff4-0" log prefix="banned" drop`, `rule family="ipv4" source ipset="mine" drop`}},
	}
	p.mu.Lock()
	for z, items := range foreign {
		for kind, l := range items {
			p.zones[z][kind] = slices.Clone(l)
		}
	}
	p.mu.Unlock()
	scopes := []firewall.Scope{{}, {Name: "mail", Ports: []firewall.Port{{Proto: "tcp", From: 25, To: 25}, {Proto: "udp", From: 500, To: 510}}}, {Name: "-jails"}}
	for i, o := range []Options{
		{Scopes: scopes},
		{Scopes: scopes, Method: "rich", Zones: []string{"public", "trusted"}},
		{Scopes: scopes, Method: "rich", Zones: []string{"trusted"}},
		{Scopes: scopes, Method: "rich", Zones: []string{"trusted"}, Block: "reject"},
		{Scopes: scopes[:1], Method: "rich", Zones: []string{"trusted"}, Block: "reject"},
		{Scopes: scopes[:1], Method: "zone"},
		{Scopes: scopes, Method: "rich", Zones: []string{"public"}},
		{Scopes: scopes, Block: "reject"},
	} {
		b, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		in := &firewall.Inspection{}
		if err := b.inspectOutdated(t.Context(), in); err != nil || (len(in.Objects) > 0) != (i > 0) || in.OK() != (i == 0) {
			t.Errorf("%d: before: %+v, %v", i, in.Objects, err)
		}
		if changed, err := b.ensurePermanent(t.Context()); err != nil || len(changed) == 0 {
			t.Fatalf("%d: changed %q, %v", i, changed, err)
		}
		p.mu.Lock()
		for z, items := range p.zones {
			for _, kind := range []string{"Source", "RichRule"} {
				all := slices.Clone(foreign[z][kind])
				if kind == b.zoneItemKind() {
					all = append(all, b.zoneRules()[z]...)
				}
				slices.Sort(all)
				if got := slices.Sorted(slices.Values(items[kind])); !slices.Equal(got, all) {
					t.Errorf("%d: zone %s has %q, want %q", i, z, got, all)
				}
			}
		}
		if (p.policy != nil) != (b.method == "policy") {
			t.Errorf("%d: policy %v", i, p.policy)
		}
		p.mu.Unlock()
		if changed, err := b.ensurePermanent(t.Context()); err != nil || len(changed) > 0 {
			t.Errorf("%d: changed again: %q, %v", i, changed, err)
		}
		in = &firewall.Inspection{}
		if err := b.inspectOutdated(t.Context(), in); err != nil || len(in.Objects) > 0 {
			t.Errorf("%d: after: %+v, %v", i, in.Objects, err)
		}
	}

	// A policy of our name that is not ours does not concern other methods.
	p.mu.Lock()
	p.policy["description"] = dbus.MakeVariant("mine")
	p.mu.Unlock()
	b, err := New(Options{Scopes: scopes, Method: "rich", Zones: []string{"public"}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_, err = b.ensurePermanent(t.Context())
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || p.policy == nil {
		t.Errorf("policy %v, %v", p.policy, err)
	}
}
