package firewalld

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/sets"

	"github.com/godbus/dbus/v5"
)

// Inspect compares our sets, what refers to them and their entries with what Reconcile(want) would leave, at run time and in the permanent
// configuration, and the rules in the kernel. Entries are compared as firewalld reports them.
func (b *Backend) Inspect(ctx context.Context, bans []firewall.Ban) (_ *firewall.Inspection, err error) {
	defer func() { err = held(ctx, err) }()
	now := time.Now()
	want, over := make(map[firewall.Key]time.Time, len(bans)), make(map[firewall.Key]bool)
	for _, w := range bans {
		if _, err := b.setOf(w.Key()); err != nil {
			return nil, err
		}
		if w.Over(now) {
			over[w.Key()] = true // the next Verify removes it
		} else {
			want[w.Key()] = w.Until
		}
	}
	names, err := b.names(ctx, mainPath, ipsetIface+"getIPSets")
	if err != nil {
		return nil, err
	}
	in := &firewall.Inspection{}
	inspectRules := b.inspectZones
	if b.method == "policy" {
		inspectRules = b.inspectPolicies
	}
	earlier, err := inspectRules(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := b.inspectOutdated(ctx, in); err != nil {
		return nil, err
	}
	b.gen = 0
	if problem, err := b.flushed(ctx); err != nil {
		return nil, err
	} else if b.backendType == "nftables" {
		in.Objects = append(in.Objects, firewall.Object{Name: "table inet " + tableName, Want: "in the kernel, with rules that look into our sets", Problem: problem})
	}
	permanent, err := b.inspectPermanentSets(ctx)
	if err != nil {
		return nil, err
	}
	in.Objects = append(in.Objects, permanent)
	for _, n := range names {
		if ourName(n) && !slices.ContainsFunc(b.keys(), func(k setKey) bool { return b.setName(k) == n }) {
			in.Objects = append(in.Objects, firewall.Object{Name: "ipset " + n, Present: true}) // it is empty and nothing refers to it
		}
	}
	target := b.target(want)
	for _, k := range b.keys() {
		s, err := b.inspectSet(ctx, k, slices.Contains(names, b.setName(k)), target[k], want, over)
		if err != nil {
			return nil, err
		}
		in.Sets = append(in.Sets, s)
	}
	in.Sort()
	b.checkReason = ""
	for _, o := range in.Objects {
		if o.Problem != "" {
			b.checkReason = o.Name + " " + o.Problem
		}
	}
	for _, s := range in.Sets {
		if s.Problem != "" {
			b.checkReason = s.Name + " " + s.Problem
		}
	}
	in.Objects = append(in.Objects, earlier...) // Reconcile cannot repair these
	return in, nil
}

// markForeign marks o as foreign if err is a *firewall.ForeignError, and returns any other error.
func markForeign(o *firewall.Object, err error) error {
	var foreign *firewall.ForeignError
	if errors.As(err, &foreign) {
		o.MarkForeign(foreign.Why)
		return nil
	}
	return err
}

// inspectPolicies inspects our policy, at run time and permanent. earlier are other policies that are evaluated before ours.
func (b *Backend) inspectPolicies(ctx context.Context, in *firewall.Inspection) (earlier []firewall.Object, err error) {
	ours := firewall.Object{Name: "policy " + policyName, Want: fmt.Sprintf("from ANY to HOST, priority %d, %d rich rules", priority, len(b.richRules())), Problem: "is gone"}
	names, err := b.names(ctx, mainPath, policyIface+"getPolicies")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		var have map[string]dbus.Variant
		if err := b.bus.call(ctx, mainPath, policyIface+"getPolicySettings", []any{&have}, name); is(err, "INVALID_POLICY") {
			continue
		} else if err != nil {
			return nil, err
		}
		if name == policyName {
			ours.Present, ours.Problem = true, b.samePolicy(have)
			continue
		}
		n, _ := have["priority"].Value().(int32)
		to, _ := have["egress_zones"].Value().([]string)
		if n < priority && (slices.Contains(to, "HOST") || slices.Contains(to, "ANY")) {
			earlier = append(earlier, firewall.Object{Name: "policy " + name, Problem: fmt.Sprintf("has priority %d, so it is evaluated before bailiff's policy and may accept banned addresses", n)})
		}
	}
	permanent := firewall.Object{Name: "policy " + policyName + " (permanent)", Want: "as at run time", Problem: "is gone"}
	path, have, err := b.configuredPolicy(ctx)
	if err := markForeign(&permanent, err); err != nil {
		return nil, err
	}
	if path != "" && !permanent.Foreign {
		permanent.Present, permanent.Problem = true, b.samePolicy(have)
	}
	in.Objects = append(in.Objects, ours, permanent)
	return earlier, nil
}

// inspectZones inspects our sources or rich rules in zones, for methods without a policy.
func (b *Backend) inspectZones(ctx context.Context, in *firewall.Inspection) (earlier []firewall.Object, err error) {
	var objects []firewall.Object
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
			o := firewall.Object{Name: at.name, Want: fmt.Sprintf("%d of our sources or rules", len(want)), Present: len(missing) < len(want)}
			if len(missing) > 0 {
				o.Problem = fmt.Sprintf("%d of them are gone, for example %s", len(missing), missing[0])
			}
			objects = append(objects, o)
		}
	}
	slices.SortFunc(objects, func(x, y firewall.Object) int { return strings.Compare(x.Name, y.Name) })
	in.Objects = append(in.Objects, objects...)
	return nil, nil
}

// inspectOutdated looks for references to our sets that another method, other zones or other rules have left.
func (b *Backend) inspectOutdated(ctx context.Context, in *firewall.Inspection) error {
	policy, zones, err := b.outdated(ctx)
	if err != nil {
		return err
	}
	if policy != "" {
		in.Objects = append(in.Objects, firewall.Object{Name: "policy " + policyName + " (permanent)", Present: true, Problem: "is not used by method " + b.method})
	}
	for len(zones) > 0 {
		r, n := zones[0], len(zones)
		zones = slices.DeleteFunc(zones, func(x reference) bool { return x.zone == r.zone && x.kind == r.kind })
		what := "sources"
		if r.kind == "RichRule" {
			what = "rich rules"
		}
		in.Objects = append(in.Objects, firewall.Object{Name: what + " in zone " + r.zone + " (permanent)", Present: true, Problem: fmt.Sprintf("%d of ours are not used, for example %s", n-len(zones), r.item)})
	}
	return nil
}

// inspectPermanentSets inspects our sets in the permanent configuration.
func (b *Backend) inspectPermanentSets(ctx context.Context) (firewall.Object, error) {
	o := firewall.Object{Name: "ipsets (permanent)", Want: fmt.Sprintf("%d sets of ours, empty", len(b.keys()))}
	sets, err := b.configuredSets(ctx)
	if err != nil {
		return o, err
	}
	o.Present = len(sets) > 0
	var problems []string
	for _, k := range b.keys() {
		name := b.setName(k)
		set, exists := sets[name]
		switch why := set.foreign(newSettings(k)); {
		case !exists:
			problems = append(problems, name+" is gone")
		case why != "":
			o.MarkForeign(name + ": " + why)
			return o, nil
		case len(set.Entries) > 0:
			problems = append(problems, fmt.Sprintf("%s holds %d entries", name, len(set.Entries)))
		}
	}
	if more := len(problems) - 3; more > 0 {
		problems = append(problems[:3], fmt.Sprintf("and so on with %d more", more))
	}
	o.Problem = strings.Join(problems, ", ")
	return o, nil
}

// inspectSet inspects a set at run time. The end of an entry is known only if it is wanted: firewalld has no timeouts.
func (b *Backend) inspectSet(ctx context.Context, k setKey, exists bool, target map[netip.Prefix]bool, want map[firewall.Key]time.Time, over map[firewall.Key]bool) (firewall.Set, error) {
	s := firewall.Set{Object: firewall.Object{Name: b.setName(k), Want: "hash:net", Present: exists}, Scope: b.scopes[k.scope].Name, Want: len(target)}
	var have map[netip.Prefix]string
	if !exists {
		s.Problem = "is gone"
	} else {
		var set setSettings
		if err := b.bus.call(ctx, mainPath, ipsetIface+"getIPSetSettings", []any{&set}, s.Name); err != nil {
			return s, fmt.Errorf("set %s: %w", s.Name, err)
		}
		if why := set.foreign(newSettings(k)); why != "" {
			s.MarkForeign(why)
			return s, nil
		}
		var err error
		have, err = parseEntries(s.Name, set.Entries)
		if err := markForeign(&s.Object, err); err != nil || s.Foreign {
			return s, err
		}
	}
	s.Have = len(have)
	key := func(p netip.Prefix) firewall.Key { return firewall.Key{Prefix: p, Scope: s.Scope} }
	for p := range have {
		if until, ok := want[key(p)]; ok {
			s.NoteEnd(until)
		}
	}
	diff := sets.Compare(target, have, noTimeout)
	diff.Unexpected = slices.DeleteFunc(diff.Unexpected, func(p netip.Prefix) bool { return over[key(p)] })
	diff.Report(&s, func(p netip.Prefix) netip.Prefix { return p })
	return s, nil
}

// RemoveForeign removes objects of our names that are not ours from firewalld's permanent configuration, and entries that we would never
// have added from our sets. At run time they disappear with the reload by the next Reconcile, which first puts ours in their place, since a
// policy without its sets makes a reload fail.
func (b *Backend) RemoveForeign(ctx context.Context) (gone []string, err error) {
	sets, err := b.configuredSets(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range b.keys() {
		name := b.setName(k)
		set, exists := sets[name]
		if !exists || set.foreign(newSettings(k)) == "" {
			continue
		}
		if err := b.bus.call(ctx, set.path, configSetIface+"remove", nil); err != nil {
			return gone, fmt.Errorf("set %s: %w", name, err)
		}
		gone = append(gone, "set "+name)
	}
	path, _, err := b.configuredPolicy(ctx)
	var foreign *firewall.ForeignError
	if errors.As(err, &foreign) {
		err = b.bus.call(ctx, path, configPolicyIface+"remove", nil)
		gone = append(gone, "policy "+policyName)
	}
	if err != nil {
		return gone, fmt.Errorf("policy %s: %w", policyName, err)
	}
	if len(gone) > 0 {
		b.checkReason = strings.Join(gone, ", ") + " was not ours"
		return gone, nil
	}
	names, err := b.names(ctx, mainPath, ipsetIface+"getIPSets")
	if err != nil {
		return nil, err
	}
	for _, k := range b.keys() {
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
