package fail2ban

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/regex"
	"bailiff/policy/config"
	"bailiff/policy/filter"
)

// standsFor reports whether a jail under another name replaces the default jail of a built-in filter.
func (j *jailConfig) standsFor(builtin string) bool {
	if j.filter != builtin || j.name == builtin || j.enabled != "true" || j.observe || j.trust.isSet() {
		return false
	}
	f, err := filter.LoadBuiltin(builtin)
	return err == nil && !f.Off && (j.mode == "" || slices.Contains(f.Includes(j.mode), f.Modes[0]))
}

// write builds the files.
func (im *importer) write() {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by bailiff import from %s. You may edit this file: bailiff.yaml(5).", printable(im.root))
	d := im.defaults
	if d.find != "" || d.ban != "" || d.retry > 0 {
		line("\ndefaults:")
		im.writeThresholds(&b, "  ", d)
	}
	e := im.escalation
	if e != (escalation{}) {
		line("\nescalate:")
		for _, x := range [][2]string{{"factor", e.factor}, {"max", e.max}, {"forget", e.forget}, {"random_extra", e.randomExtra}} {
			if x[1] != "" {
				line("  %s: %s", x[0], x[1])
			}
		}
	}
	if im.self != "" {
		line("\nallow:\n  self: %s", im.self)
	}
	im.firewall(&b)
	im.destinations.write(line, im)
	if slices.ContainsFunc(im.output, func(j *jailConfig) bool { return len(j.ports) > 0 }) {
		im.note("bans block the ports that fail2ban blocked; a jail without ports: blocks all, which is bailiff's default")
	}
	if len(im.output)+len(im.disabledBuiltins) > 0 {
		line("\njails:")
	}
	slices.SortFunc(im.output, func(x, y *jailConfig) int { return strings.Compare(x.name, y.name) })
	for _, j := range im.output {
		for _, c := range j.comments {
			line("  # %s", printable(c))
		}
		line("  %s:", j.name)
		if j.enabled != "" {
			line("    enabled: %s", j.enabled)
		}
		if j.filter != j.name {
			line("    filter: %s", j.filter)
		}
		if j.mode != "" {
			line("    mode: %s", j.mode)
		}
		if j.observe {
			line("    observe: true")
		}
		for _, x := range []struct {
			key  string
			list []string
		}{{"units", append(slices.Clone(j.trust.units), j.trust.slices...)}, {"containers", j.trust.containers}, {"user_units", j.trust.userUnits}} {
			if len(x.list) > 0 {
				line("    %s: [%s]", x.key, quoted(x.list))
			}
		}
		im.writeThresholds(&b, "    ", j.thresholds)
		if len(j.ports) > 0 {
			line("    ports: [%s]", strings.Join(j.ports, ", "))
		}
	}
	slices.Sort(im.disabledBuiltins)
	for _, n := range im.disabledBuiltins {
		line("  %s:\n    enabled: false", n)
	}
	for _, name := range filter.Builtin() {
		if i := slices.IndexFunc(im.output, func(j *jailConfig) bool { return j.standsFor(name) }); i >= 0 && !im.names[name] {
			im.names[name] = true
			line("  %s:\n    enabled: false # jail %s uses this filter with its own thresholds", name, im.output[i].name)
		}
	}
	var besides []string
	for _, name := range filter.Builtin() {
		if f, err := filter.LoadBuiltin(name); err == nil && !f.Off && !im.names[name] {
			besides = append(besides, name)
		}
	}
	if len(besides) > 0 {
		im.note("%d other jails are on by default if the host has their service; bailiff filter list shows them, enabled: false disables one", len(besides))
	}
	im.result.Files = append(im.result.Files, File{"bailiff.d/50-fail2ban.yaml", []byte(b.String())})
	for _, key := range slices.Sorted(maps.Keys(im.filters)) {
		if tr := im.filters[key]; tr.data != nil && slices.ContainsFunc(im.output, func(j *jailConfig) bool { return j.filter == tr.name }) {
			im.result.Files = append(im.result.Files, File{"filters.d/" + tr.name + ".yaml", tr.data})
		}
	}
	if len(im.allowed) > 0 {
		var l strings.Builder
		fmt.Fprintf(&l, "# Written by bailiff import from ignoreip of %s. You may edit this file: one address or prefix per line.\n", printable(im.root))
		for _, a := range im.allowed {
			fmt.Fprintf(&l, "%s # %s\n", a.entry, printable(a.from))
		}
		im.result.Files = append(im.result.Files, File{"allow.d/fail2ban.list", []byte(l.String())})
	}
}

func (im *importer) writeThresholds(b *strings.Builder, indent string, t thresholds) {
	if t.find != "" {
		fmt.Fprintf(b, "%sfind_time: %s\n", indent, t.find)
	}
	if t.retry > 0 {
		fmt.Fprintf(b, "%smax_retry: %d\n", indent, t.retry)
	}
	if t.ban != "" {
		fmt.Fprintf(b, "%sban_time: %s\n", indent, t.ban)
	}
}

// backend returns the backend that most jails banned with, or "". It may be one that this version does not support.
func (im *importer) backend() (best string) {
	for _, w := range slices.Sorted(maps.Keys(im.backends)) {
		if best == "" || len(im.backends[w]) > len(im.backends[best]) {
			best = w
		}
	}
	return best
}

// reportChains records the outcomes of the chains that jails used.
func (im *importer) reportChains() {
	backend := im.backend()
	for _, ch := range im.chains {
		v := clip(strings.TrimSpace(ch.Value))
		switch backend {
		case "firewalld":
			im.lost(ch, "chain "+v+": firewalld accepts packets for published container ports before bailiff's rules apply, so these ports stay open to banned addresses", "set firewall: {backend: nftables}, which blocks them and works alongside firewalld")
		case "":
			im.changed(ch, "firewall", "chain "+v+": nftables and ipset drop packets before they reach the host's own chains, including those for published container ports; firewalld does not drop the latter")
		default:
			im.changed(ch, "firewall", "chain "+v+": packets are dropped before they reach the host's own chains, including those for published container ports")
		}
	}
}

// firewall writes the section firewall of the configuration.
func (im *importer) firewall(b *strings.Builder) {
	best := im.backend()
	if len(im.backends) > 1 {
		im.note("jails used different firewalls; all use one now: %s", best)
	}
	backend := best
	if best != "" && !slices.Contains(config.Backends, best) {
		im.note("fail2ban used %s, which this version does not support: firewall.backend is auto", best)
		backend = ""
	}
	block := ""
	if len(im.reject) > 0 {
		block = "reject"
	} else if len(im.defaultBlock) > 0 {
		im.note("fail2ban's actions reject packets by default; bailiff drops them silently (set firewall: {block: reject} to reject them)")
	}
	if backend == "" && block == "" {
		return
	}
	fmt.Fprint(b, "\nfirewall:\n")
	if backend != "" {
		fmt.Fprintf(b, "  backend: %s\n", backend)
	}
	if block != "" {
		fmt.Fprintf(b, "  block: %s\n", block)
	}
}

// quoted formats the items of a YAML list.
func quoted(l []string) string {
	var q []string
	for _, s := range l {
		q = append(q, quote(s))
	}
	return strings.Join(q, ", ")
}

// quote formats a YAML string: Go's escapes are valid in YAML.
func quote(s string) string { return strconv.QuoteToASCII(s) }

// printable makes text safe for a YAML comment or a report: one line, control characters escaped.
func printable(s string) string {
	s = strings.ReplaceAll(s, string(regex.PrefixMark), "%(__prefix_line)s")
	q := strconv.Quote(s)
	q = q[1 : len(q)-1]
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(q)
}
