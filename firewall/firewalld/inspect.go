package firewalld

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/firewall"

	"github.com/godbus/dbus/v5"
)

// Inspect compares our sets, what refers to them and their entries with what Reconcile(want) would leave, at run time and in
// the permanent configuration, and the rules in the kernel; of entries firewalld's word has to do.
func (b *Backend) Inspect(ctx context.Context, want []firewall.Ban) (*firewall.Inspection, error) {
	now := time.Now()
	wanted := make(map[firewall.Key]time.Time, len(want))
	over := make(map[firewall.Key]bool)
	for _, w := range want {
		if _, err := b.locate(w.Key()); err != nil {
			return nil, err
		}
		if w.Until.IsZero() || w.Until.After(now) {
			wanted[w.Key()] = w.Until
		} else {
			over[w.Key()] = true // it goes with the next Verify
		}
	}
	in := &firewall.Inspection{}
	var names []string
	if err := b.bus.call(ctx, mainPath, ipsetIface+"getIPSets", []any{&names}); err != nil {
		return nil, err
	}
	part := func(p firewall.Object, err error) error {
		var foreign *firewall.ForeignError
		if errors.As(err, &foreign) {
			p.Problem, p.Foreign, p.Present = "is not ours: "+foreign.Why, true, true
			err = nil
		}
		in.Objects = append(in.Objects, p)
		return err
	}
	var early []firewall.Object
	if b.via == "policy" {
		p, before, err := b.inspectPolicy(ctx)
		if err != nil {
			return nil, err
		}
		in.Objects, early = append(in.Objects, p), before
		if err := part(b.inspectPermanentPolicy(ctx)); err != nil {
			return nil, err
		}
	} else {
		parts, err := b.inspectZones(ctx)
		if err != nil {
			return nil, err
		}
		in.Objects = append(in.Objects, parts...)
	}
	b.gen = 0
	if harm, err := b.flushed(ctx); err != nil {
		return nil, err
	} else if b.backendType == "nftables" {
		in.Objects = append(in.Objects, firewall.Object{Name: "table inet " + tableName, Want: "in the kernel, with rules that look into our sets", Problem: harm})
	}
	permanent, err := b.inspectPermanentSets(ctx)
	if err := part(permanent, err); err != nil {
		return nil, err
	}
	for _, n := range names {
		if ourName(n) && !slices.ContainsFunc(b.keys(), func(k setKey) bool { return b.setName(k) == n }) {
			in.Objects = append(in.Objects, firewall.Object{Name: "ipset " + n, Present: true}) // empty, and nothing refers to it
		}
	}
	target := b.target(wanted)
	for _, k := range b.keys() {
		s, err := b.inspectSet(ctx, k, slices.Contains(names, b.setName(k)), target[k], wanted, over)
		if err != nil {
			return nil, err
		}
		in.Sets = append(in.Sets, s)
	}
	in.Sort()
	b.checkReason = ""
	for _, p := range in.Objects {
		if p.Problem != "" {
			b.checkReason = p.Name + " " + p.Problem
		}
	}
	for _, s := range in.Sets {
		if s.Problem != "" {
			b.checkReason = s.Name + " " + s.Problem
		}
	}
	in.Objects = append(in.Objects, early...) // nothing that we could mend
	return in, nil
}

// inspectPolicy looks at our policy at run time, and at those of others that are asked before it.
func (b *Backend) inspectPolicy(ctx context.Context) (p firewall.Object, early []firewall.Object, err error) {
	p = firewall.Object{Name: "policy " + policyName, Want: fmt.Sprintf("from ANY to HOST, priority %d, %d rich rules", priority, len(b.richRules())), Problem: "is gone"}
	var names []string
	if err := b.bus.call(ctx, mainPath, policyIface+"getPolicies", []any{&names}); err != nil {
		return p, nil, err
	}
	for _, name := range names {
		var have map[string]dbus.Variant
		if err := b.bus.call(ctx, mainPath, policyIface+"getPolicySettings", []any{&have}, name); is(err, "INVALID_POLICY") {
			continue
		} else if err != nil {
			return p, nil, err
		}
		if name == policyName {
			p.Present, p.Problem = true, b.samePolicy(have)
			continue
		}
		n, _ := have["priority"].Value().(int32)
		to, _ := have["egress_zones"].Value().([]string)
		if n < priority && (slices.Contains(to, "HOST") || slices.Contains(to, "ANY")) {
			early = append(early, firewall.Object{Name: "policy " + name, Problem: fmt.Sprintf("of priority %d is asked before ours, and may let banned addresses in", n)})
		}
	}
	return p, early, nil
}

func (b *Backend) inspectPermanentPolicy(ctx context.Context) (firewall.Object, error) {
	p := firewall.Object{Name: "policy " + policyName + " (permanent)", Want: "as at run time"}
	var names []string
	if err := b.bus.call(ctx, configPath, configIface+"getPolicyNames", []any{&names}); err != nil {
		return p, err
	}
	if p.Present = slices.Contains(names, policyName); !p.Present {
		p.Problem = "is gone"
		return p, nil
	}
	_, have, err := b.configuredPolicy(ctx)
	if err == nil {
		p.Problem = b.samePolicy(have)
	}
	return p, err
}

// inspectZones looks at what zones should hold of ours, where no policy does.
func (b *Backend) inspectZones(ctx context.Context) (parts []firewall.Object, err error) {
	for zone, want := range b.zoneRules() {
		var path dbus.ObjectPath
		if err := b.bus.call(ctx, configPath, configIface+"getZoneByName", []any{&path}, zone); err != nil {
			return nil, fmt.Errorf("zone %s: %w", zone, err)
		}
		for _, at := range []struct {
			path              dbus.ObjectPath
			iface, zone, name string
		}{
			{mainPath, zoneIface, zone, "zone " + zone}, {path, configZoneIface, "", "zone " + zone + " (permanent)"},
		} {
			missing, err := b.missing(ctx, at.path, at.iface, at.zone, want)
			if err != nil {
				return nil, fmt.Errorf("zone %s: %w", zone, err)
			}
			p := firewall.Object{Name: at.name, Want: fmt.Sprintf("%d of our sources or rules", len(want)), Present: len(missing) < len(want)}
			if len(missing) > 0 {
				p.Problem = fmt.Sprintf("%d of them are gone, %s among them", len(missing), missing[0])
			}
			parts = append(parts, p)
		}
	}
	slices.SortFunc(parts, func(x, y firewall.Object) int { return strings.Compare(x.Name, y.Name) })
	return parts, nil
}

// inspectPermanentSets looks at the permanent configuration of all our sets.
func (b *Backend) inspectPermanentSets(ctx context.Context) (firewall.Object, error) {
	p := firewall.Object{Name: "ipsets (permanent)", Want: fmt.Sprintf("%d sets of ours, empty", len(b.keys()))}
	var names []string
	if err := b.bus.call(ctx, configPath, configIface+"getIPSetNames", []any{&names}); err != nil {
		return p, err
	}
	p.Present = slices.ContainsFunc(names, ourName)
	var harm []string
	for _, k := range b.keys() {
		name := b.setName(k)
		if !slices.Contains(names, name) {
			harm = append(harm, name+" is gone")
			continue
		}
		_, have, err := b.configured(ctx, name)
		if err != nil {
			return p, err
		}
		if why := have.foreign(newSettings(k)); why != "" {
			return p, &firewall.ForeignError{Name: "set " + name, Why: name + ": " + why}
		}
		if len(have.Entries) > 0 {
			harm = append(harm, fmt.Sprintf("%s holds %d entries", name, len(have.Entries)))
		}
	}
	if more := len(harm) - 3; more > 0 {
		harm = append(harm[:3], fmt.Sprintf("and so on with %d more", more))
	}
	p.Problem = strings.Join(harm, ", ")
	return p, nil
}

// inspectSet looks at a set at run time. When entries end is known of what is wanted alone: firewalld keeps no time.
func (b *Backend) inspectSet(ctx context.Context, k setKey, there bool, target map[netip.Prefix]bool, want map[firewall.Key]time.Time, over map[firewall.Key]bool) (firewall.Set, error) {
	scope := b.scopes[k.scope].Name
	s := firewall.Set{Object: firewall.Object{Name: b.setName(k), Want: "hash:net", Present: there}, Scope: scope, Want: len(target)}
	var have map[string]netip.Prefix
	if !there {
		s.Problem = "is gone"
	} else {
		var set setSettings
		if err := b.bus.call(ctx, mainPath, ipsetIface+"getIPSetSettings", []any{&set}, s.Name); err != nil {
			return s, fmt.Errorf("set %s: %w", s.Name, err)
		}
		if why := set.foreign(newSettings(k)); why != "" {
			s.Problem, s.Foreign = "is not ours: "+why, true
			return s, nil
		}
		var err error
		have, err = b.entries(ctx, k)
		var foreign *firewall.ForeignError
		if errors.As(err, &foreign) {
			s.Problem, s.Foreign = "is not ours: "+foreign.Why, true
			return s, nil
		} else if err != nil {
			return s, err
		}
	}
	s.Have = len(have)
	held := make(map[netip.Prefix]bool, len(have))
	for _, p := range have {
		held[p] = true
		key := firewall.Key{Prefix: p, Scope: scope}
		until, ok := want[key]
		if ok {
			s.NoteEnd(until)
		}
		if !target[p] && !over[key] {
			s.Unexpected.Add(p)
		}
	}
	for p := range target {
		if !held[p] {
			s.Missing.Add(p)
		}
	}
	return s, nil
}

// RemoveForeign takes what is not ours, but has a name of ours, out of firewalld's permanent configuration, and entries that we would
// never have made out of our sets. At run time it goes with the reload of the next Reconcile, which has put ours in its
// place by then: a policy without its sets makes a reload fail.
func (b *Backend) RemoveForeign(ctx context.Context) (gone []string, err error) {
	var names []string
	if err := b.bus.call(ctx, configPath, configIface+"getIPSetNames", []any{&names}); err != nil {
		return nil, err
	}
	var foreign *firewall.ForeignError
	for _, k := range b.keys() {
		name := b.setName(k)
		if !slices.Contains(names, name) {
			continue
		}
		path, have, err := b.configured(ctx, name)
		if err != nil {
			return gone, err
		}
		if have.foreign(newSettings(k)) == "" {
			continue
		}
		if err := b.bus.call(ctx, path, configSetIface+"remove", nil); err != nil {
			return gone, fmt.Errorf("set %s: %w", name, err)
		}
		gone = append(gone, "set "+name)
	}
	if err := b.bus.call(ctx, configPath, configIface+"getPolicyNames", []any{&names}); err != nil {
		return gone, err
	}
	if slices.Contains(names, policyName) {
		path, _, err := b.configuredPolicy(ctx)
		if errors.As(err, &foreign) {
			err = b.bus.call(ctx, path, configPolicyIface+"remove", nil)
			gone = append(gone, "policy "+policyName)
		}
		if err != nil {
			return gone, fmt.Errorf("policy %s: %w", policyName, err)
		}
	}
	if len(gone) > 0 {
		b.checkReason = strings.Join(gone, ", ") + " was not ours"
		return gone, nil
	}
	if err := b.bus.call(ctx, mainPath, ipsetIface+"getIPSets", []any{&names}); err != nil {
		return nil, err
	}
	for _, k := range b.keys() { // an entry that we would never have made
		if !slices.Contains(names, b.setName(k)) {
			continue
		}
		if _, err := b.entries(ctx, k); errors.As(err, &foreign) {
			if err := b.put(ctx, k, "setEntries", []string{}); err != nil {
				return gone, err
			}
			gone = append(gone, "entries of set "+b.setName(k))
		} else if err != nil {
			return gone, err
		}
	}
	return gone, nil
}

// Dir is where firewalld keeps its permanent configuration.
const Dir = "/etc/firewalld"

// Traces lists files of ours in firewalld's permanent configuration below dir: sets and the policy, and the copies that
// firewalld keeps as .old of what was taken out of it.
func Traces(dir string) (files, old []string, err error) {
	for _, pattern := range []string{"ipsets/bailiff4-*", "ipsets/bailiff6-*", "policies/" + policyName + ".xml*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, nil, err
		}
		for _, f := range found {
			data, err := os.ReadFile(f)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				return nil, nil, err
			case !strings.Contains(string(data), mark):
			case strings.HasSuffix(f, ".xml.old"):
				old = append(old, f)
			case strings.HasSuffix(f, ".xml"):
				files = append(files, f)
			}
		}
	}
	return files, old, nil
}
