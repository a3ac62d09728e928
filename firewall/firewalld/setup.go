package firewalld

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bailiff/firewall"
	"bailiff/firewall/internal/sets"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	policyName = "bailiff"

	// priority of our policy object: before the zones and nearly all policies of others (the first is -32768).
	priority = -32000

	// mark begins the description of everything of ours in the permanent configuration.
	mark = "bailiff: "
)

// setSettings is (ssssa{ss}as) of addIPSet: version, name, description, type, options, entries.
type setSettings struct {
	Version, Short, Description, Type string
	Options                           map[string]string
	Entries                           []string
}

func newSettings(k setKey) setSettings {
	family := "inet"
	if k.family == unix.NFPROTO_IPV6 {
		family = "inet6"
	}
	// maxelem matters to firewalld's iptables backend only: nftables' sets have no limit.
	return setSettings{"", "", mark + "banned addresses, kept by bailiffd", "hash:net", map[string]string{"family": family, "maxelem": "1048576"}, []string{}}
}

// foreign returns how a set's settings differ from ours; "" when they do not.
func (s *setSettings) foreign(want setSettings) string {
	switch {
	case !strings.HasPrefix(s.Description, mark):
		return "its description does not begin with " + strconv.Quote(mark)
	case s.Type != want.Type:
		return "type is " + s.Type + ", ours is " + want.Type
	case !maps.Equal(s.Options, want.Options):
		return fmt.Sprintf("options are %v, ours %v", s.Options, want.Options)
	}
	return ""
}

// richRules are the rules that refer to our sets, sorted. Reject answers TCP with a reset and other protocols with ICMP, as the other
// backends do. The types are explicit, since firewalld 2.3 cannot compare a rule that has a type with one that has none.
func (b *Backend) richRules() (rules []string) {
	for _, k := range b.keys() {
		s := b.scopes[k.scope]
		prohibited := `reject type="icmp-admin-prohibited"`
		if k.family == unix.NFPROTO_IPV6 {
			prohibited = `reject type="icmp6-adm-prohibited"`
		}
		const reset = `reject type="tcp-reset"`
		rule := func(priority int, what, verdict string) {
			text := "rule "
			if priority != 0 {
				text += fmt.Sprintf(`priority="%d" `, priority)
			}
			text += fmt.Sprintf(`family="ipv%s" source ipset="%s" `, sets.Digit(k.family), b.setName(k))
			if b.block == "drop" {
				verdict = "drop"
			}
			rules = append(rules, text+what+verdict)
		}
		switch {
		case len(s.Ports) == 0 && b.block == "drop":
			rule(0, "", "drop")
		case len(s.Ports) == 0:
			rule(0, `protocol value="tcp" `, reset)
			rule(1, "", prohibited) // after that
		}
		for _, p := range s.Ports {
			port := strconv.Itoa(int(p.From))
			if p.To != p.From {
				port += "-" + strconv.Itoa(int(p.To))
			}
			verdict := reset
			if p.Proto == "udp" {
				verdict = prohibited
			}
			rule(0, fmt.Sprintf(`port port="%s" protocol="%s" `, port, p.Proto), verdict)
		}
	}
	slices.Sort(rules)
	return rules
}

// policySettings returns our policy in the form of addPolicy and getPolicySettings.
func (b *Backend) policySettings() map[string]dbus.Variant {
	return map[string]dbus.Variant{
		"description":   dbus.MakeVariant(mark + "keeps banned addresses out"),
		"target":        dbus.MakeVariant("CONTINUE"),
		"priority":      dbus.MakeVariant(int32(priority)),
		"ingress_zones": dbus.MakeVariant([]string{"ANY"}),
		"egress_zones":  dbus.MakeVariant([]string{"HOST"}),
		"rich_rules":    dbus.MakeVariant(b.richRules()),
	}
}

// samePolicy returns how a policy differs from ours; "" when it does not. firewalld omits what is empty and adds defaults, so
// only some keys are compared.
func (b *Backend) samePolicy(have map[string]dbus.Variant) string {
	want := b.policySettings()
	text := func(key string) string {
		s, _ := have[key].Value().(string)
		return s
	}
	list := func(m map[string]dbus.Variant, key string) []string {
		l, _ := m[key].Value().([]string)
		return slices.Sorted(slices.Values(l))
	}
	if p, _ := have["priority"].Value().(int32); p != priority {
		return fmt.Sprintf("priority is %d, ours %d", p, priority)
	}
	if t := text("target"); t != "CONTINUE" {
		return "target is " + t + ", ours CONTINUE"
	}
	for _, key := range []string{"ingress_zones", "egress_zones", "rich_rules"} {
		if !slices.Equal(list(have, key), list(want, key)) {
			return key + " are not ours"
		}
	}
	return ""
}

// ensurePermanent adds our sets, and what refers to them, to firewalld's permanent configuration, and returns what it changed.
func (b *Backend) ensurePermanent(ctx context.Context) (changed []string, err error) {
	have, err := b.configuredSets(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range b.keys() {
		name, want := b.setName(k), newSettings(k)
		set, exists := have[name]
		switch why := set.foreign(want); {
		case !exists:
			err = b.bus.call(ctx, configPath, configIface+"addIPSet", nil, name, want)
		case why != "":
			return changed, &firewall.ForeignError{Name: "set " + name, Why: why}
		case len(set.Entries) > 0: // somebody has made a ban permanent
			err = b.bus.call(ctx, set.path, configSetIface+"update", nil, want)
		default:
			continue
		}
		if err != nil {
			return changed, fmt.Errorf("set %s: %w", name, err)
		}
		changed = append(changed, "set "+name)
	}
	more, err := b.ensureReferences(ctx)
	if changed = append(changed, more...); err != nil {
		return changed, err
	}
	gone, err := b.removeOutdated(ctx)
	return append(changed, gone...), err
}

// reference is a source or a rich rule in a zone of the permanent configuration.
type reference struct {
	zone, kind, item string // kind: Source or RichRule
	path             dbus.ObjectPath
}

// references reads the sources and rich rules of all zones, and returns those that are wanted.
func (b *Backend) references(ctx context.Context, wanted func(zone, kind, item string) bool) (l []reference, err error) {
	zones, err := b.names(ctx, configPath, configIface+"getZoneNames")
	if err != nil {
		return nil, err
	}
	for _, zone := range zones {
		var path dbus.ObjectPath
		if err := b.bus.call(ctx, configPath, configIface+"getZoneByName", []any{&path}, zone); err != nil {
			return nil, fmt.Errorf("zone %s: %w", zone, err)
		}
		for _, kind := range []string{"Source", "RichRule"} {
			have, err := b.names(ctx, path, configZoneIface+"get"+kind+"s")
			if err != nil {
				return nil, fmt.Errorf("zone %s: %w", zone, err)
			}
			for _, x := range have {
				if wanted(zone, kind, x) {
					l = append(l, reference{zone, kind, x, path})
				}
			}
		}
	}
	return l, nil
}

// removeReference removes a source or a rich rule from the permanent configuration.
func (b *Backend) removeReference(ctx context.Context, r reference) error {
	if err := b.bus.call(ctx, r.path, configZoneIface+"remove"+r.kind, nil, r.item); err != nil {
		return fmt.Errorf("zone %s: %w", r.zone, err)
	}
	return nil
}

// ourRule is the form of our rich rules (see richRules). Rules of any other form that refer to our sets are somebody else's.
var ourRule = regexp.MustCompile(`^rule (priority="1" )?family="ipv[46]" source ipset="bailiff[46]-([a-z0-9-]+-)?[0-9]+" ` +
	`(protocol value="tcp" |port port="[0-9-]+" protocol="(tcp|udp)" )?(drop|reject type="[a-z0-9-]+")$`)

// ourSource is the form of our sources of the zone drop.
var ourSource = regexp.MustCompile(`^ipset:bailiff[46]-([a-z0-9-]+-)?[0-9]+$`)

// outdated returns what is ours in the permanent configuration, refers to our sets, and is not needed with the present method, zones and
// rules: the path of the policy, "" if it is needed or does not exist, and references in zones.
func (b *Backend) outdated(ctx context.Context) (policy dbus.ObjectPath, zones []reference, err error) {
	if b.method != "policy" {
		var foreign *firewall.ForeignError
		if policy, _, err = b.configuredPolicy(ctx); errors.As(err, &foreign) {
			policy, err = "", nil
		}
		if err != nil {
			return "", nil, err
		}
	}
	want := b.zoneRules()
	zones, err = b.references(ctx, func(zone, kind, item string) bool {
		ours := zone == "drop" && ourSource.MatchString(item)
		if kind == "RichRule" {
			ours = ourRule.MatchString(item)
		}
		return ours && !slices.Contains(want[zone], item)
	})
	return policy, zones, err
}

// removeOutdated removes what outdated returns, and returns what it changed.
func (b *Backend) removeOutdated(ctx context.Context) (changed []string, err error) {
	policy, zones, err := b.outdated(ctx)
	if err != nil {
		return nil, err
	}
	b.unloaded = b.unloaded || policy != "" || len(zones) > 0
	if policy != "" {
		if err := b.bus.call(ctx, policy, configPolicyIface+"remove", nil); err != nil {
			return nil, fmt.Errorf("policy %s: %w", policyName, err)
		}
		changed = append(changed, "policy "+policyName)
	}
	for _, r := range zones {
		if err := b.removeReference(ctx, r); err != nil {
			return changed, err
		}
		if what := "zone " + r.zone; !slices.Contains(changed, what) {
			changed = append(changed, what)
		}
	}
	return changed, nil
}

// configuredSet is a set in the permanent configuration.
type configuredSet struct {
	setSettings
	path dbus.ObjectPath
}

// configuredSets reads the sets with names like ours from the permanent configuration.
func (b *Backend) configuredSets(ctx context.Context) (map[string]configuredSet, error) {
	names, err := b.names(ctx, configPath, configIface+"getIPSetNames")
	if err != nil {
		return nil, err
	}
	sets := make(map[string]configuredSet)
	for _, name := range names {
		if !ourName(name) {
			continue
		}
		var s configuredSet
		if err = b.bus.call(ctx, configPath, configIface+"getIPSetByName", []any{&s.path}, name); err == nil {
			err = b.bus.call(ctx, s.path, configSetIface+"getSettings", []any{&s.setSettings})
		}
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
		sets[name] = s
	}
	return sets, nil
}

// ensureReferences adds the references to our sets to the permanent configuration: the policy object, or zones' sources or rich rules.
func (b *Backend) ensureReferences(ctx context.Context) (changed []string, err error) {
	if b.method != "policy" {
		for zone, want := range b.zoneRules() {
			var path dbus.ObjectPath
			if err := b.bus.call(ctx, configPath, configIface+"getZoneByName", []any{&path}, zone); err != nil {
				return changed, fmt.Errorf("zone %s: %w", zone, err)
			}
			missing, err := b.missing(ctx, path, configZoneIface, "", want)
			if err != nil {
				return changed, fmt.Errorf("zone %s: %w", zone, err)
			}
			for _, w := range missing {
				if err := b.bus.call(ctx, path, configZoneIface+"add"+b.zoneItemKind(), nil, w); err != nil && !is(err, "ALREADY_ENABLED") {
					return changed, fmt.Errorf("zone %s: %w", zone, err)
				}
			}
			if len(missing) > 0 {
				changed = append(changed, "zone "+zone)
			}
		}
		return changed, nil
	}
	path, have, err := b.configuredPolicy(ctx)
	switch {
	case err != nil:
		return nil, err
	case path == "":
		err = b.bus.call(ctx, configPath, configIface+"addPolicy", nil, policyName, b.policySettings())
	case b.samePolicy(have) == "":
		return nil, nil
	default:
		err = b.bus.call(ctx, path, configPolicyIface+"update", nil, b.policySettings())
	}
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", policyName, err)
	}
	return []string{"policy " + policyName}, nil
}

// configuredPolicy reads our policy from the permanent configuration; the path is "" if there is none. If it is not ours, the error is a
// *firewall.ForeignError, and the path is returned.
func (b *Backend) configuredPolicy(ctx context.Context) (path dbus.ObjectPath, s map[string]dbus.Variant, err error) {
	names, err := b.names(ctx, configPath, configIface+"getPolicyNames")
	if err != nil || !slices.Contains(names, policyName) {
		return "", nil, err
	}
	if err = b.bus.call(ctx, configPath, configIface+"getPolicyByName", []any{&path}, policyName); err == nil {
		err = b.bus.call(ctx, path, configPolicyIface+"getSettings", []any{&s})
	}
	if err != nil {
		return path, nil, fmt.Errorf("policy %s: %w", policyName, err)
	}
	if text, _ := s["description"].Value().(string); !strings.HasPrefix(text, mark) {
		return path, nil, &firewall.ForeignError{Name: "policy " + policyName, Why: "its description does not begin with " + strconv.Quote(mark)}
	}
	return path, s, nil
}

// zoneItemKind names what is added to zones: sources to the zone drop, or rich rules to the configured zones.
func (b *Backend) zoneItemKind() string {
	if b.method == "zone" {
		return "Source"
	}
	return "RichRule"
}

// zoneRules returns the sources or rich rules that each zone should have.
func (b *Backend) zoneRules() map[string][]string {
	m := make(map[string][]string)
	switch b.method {
	case "zone":
		for _, k := range b.keys() {
			m["drop"] = append(m["drop"], "ipset:"+b.setName(k))
		}
	case "rich":
		for _, z := range b.zones {
			m[z] = b.richRules()
		}
	}
	return m
}

// missing returns which of a zone's sources or rules do not exist. zone is "" for the permanent configuration, where path is
// that of the zone.
func (b *Backend) missing(ctx context.Context, path dbus.ObjectPath, iface, zone string, want []string) (l []string, err error) {
	for _, w := range want {
		args := []any{w}
		if zone != "" {
			args = []any{zone, w}
		}
		var exists bool
		if err := b.bus.call(ctx, path, iface+"query"+b.zoneItemKind(), []any{&exists}, args...); err != nil {
			return nil, err
		}
		if !exists {
			l = append(l, w)
		}
	}
	return l, nil
}

// checkRuntime returns which object of ours is missing at run time; "" if none is.
func (b *Backend) checkRuntime(ctx context.Context) (why string, err error) {
	names, err := b.names(ctx, mainPath, ipsetIface+"getIPSets")
	if err != nil {
		return "", err
	}
	for _, k := range b.keys() {
		if name := b.setName(k); !slices.Contains(names, name) {
			return "set " + name + " is gone", nil
		}
	}
	if b.method != "policy" {
		for zone, want := range b.zoneRules() {
			missing, err := b.missing(ctx, mainPath, zoneIface, zone, want)
			if err != nil {
				return "", err
			}
			if len(missing) > 0 {
				return "zone " + zone + ": " + missing[0] + " is gone", nil
			}
		}
		return "", nil
	}
	var have map[string]dbus.Variant
	if err := b.bus.call(ctx, mainPath, policyIface+"getPolicySettings", []any{&have}, policyName); is(err, "INVALID_POLICY") {
		return "policy " + policyName + " is gone", nil
	} else if err != nil {
		return "", err
	}
	if why := b.samePolicy(have); why != "" {
		return "policy " + policyName + ": " + why, nil
	}
	return "", nil
}

// removeAll removes everything of ours from the permanent configuration, whatever the options are now, and reports whether there was
// anything.
func (b *Backend) removeAll(ctx context.Context) (found bool, err error) {
	path, _, err := b.configuredPolicy(ctx)
	if err == nil && path != "" {
		found = true
		err = b.bus.call(ctx, path, configPolicyIface+"remove", nil)
	}
	if err != nil {
		return false, err
	}
	sets, err := b.configuredSets(ctx)
	if err != nil || len(sets) == 0 {
		return found, err
	}
	l, err := b.references(ctx, func(_, _, item string) bool { return refers(item, sets) })
	if err != nil {
		return found, err
	}
	for _, r := range l {
		if err := b.removeReference(ctx, r); err != nil {
			return found, err
		}
		found = true
	}
	for name, set := range sets {
		if !strings.HasPrefix(set.Description, mark) {
			return found, &firewall.ForeignError{Name: "set " + name, Why: "its description does not begin with " + strconv.Quote(mark)}
		}
		if err := b.bus.call(ctx, set.path, configSetIface+"remove", nil); err != nil {
			return found, fmt.Errorf("set %s: %w", name, err)
		}
		found = true
	}
	return found, nil
}

// refers reports whether a source or a rich rule refers to one of the sets.
func refers(x string, sets map[string]configuredSet) bool {
	for s := range sets {
		if x == "ipset:"+s || strings.Contains(x, `ipset="`+s+`"`) {
			return true
		}
	}
	return false
}
