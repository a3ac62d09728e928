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
func (j *jailConfig) standsFor(f *filter.Filter) bool {
	return j.filter == f.Name && j.name != f.Name && j.enabled == "true" && !j.observe && !j.trust.isSet() && countsDefault(f, j.mode)
}

// document is a YAML file that is written line by line.
type document struct{ strings.Builder }

func (d *document) line(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

// set writes a setting. The key is indented; an empty value writes nothing.
func (d *document) set(key, value string) {
	if value != "" {
		d.line("%s: %s", key, value)
	}
}

// list writes a list of texts; an empty one writes nothing.
func (d *document) list(key string, l []string) {
	var q []string
	for _, s := range l {
		q = append(q, quote(s))
	}
	if len(q) > 0 {
		d.line("%s: [%s]", key, strings.Join(q, ", "))
	}
}

func (d *document) thresholds(indent string, t thresholds) {
	d.set(indent+"find_time", t.find)
	if t.retry > 0 {
		d.line("%smax_retry: %d", indent, t.retry)
	}
	d.set(indent+"ban_time", t.ban)
}

// write builds the files.
func (im *importer) write() {
	d := &document{}
	d.line("# Written by bailiff import from %s. You may edit this file: bailiff.yaml(5).", printable(im.root))
	if im.defaults != (thresholds{}) {
		d.line("\ndefaults:")
		d.thresholds("  ", im.defaults)
	}
	if e := im.escalation; e != (escalation{}) {
		d.line("\nescalate:")
		d.set("  factor", e.factor)
		d.set("  max", e.max)
		d.set("  forget", e.forget)
		d.set("  random_extra", e.randomExtra)
	}
	d.set("\nallow:\n  self", im.self)
	im.firewall(d)
	im.destinations.write(d, im)
	if slices.ContainsFunc(im.output, func(j *jailConfig) bool { return len(j.ports) > 0 }) {
		im.note("bans block the ports that fail2ban blocked; a jail without ports: blocks all, which is bailiff's default")
	}
	if len(im.output)+len(im.disabledBuiltins) > 0 {
		d.line("\njails:")
	}
	slices.SortFunc(im.output, func(x, y *jailConfig) int { return strings.Compare(x.name, y.name) })
	var translated, off []string
	for _, j := range im.output {
		for _, c := range j.comments {
			d.line("  # %s", printable(c))
		}
		d.line("  %s:", j.name)
		d.set("    enabled", j.enabled)
		if j.filter != j.name {
			d.set("    filter", j.filter)
		}
		d.set("    mode", j.mode)
		if j.observe {
			d.line("    observe: true")
		}
		d.list("    units", slices.Concat(j.trust.units, j.trust.slices))
		d.list("    containers", j.trust.containers)
		d.list("    user_units", j.trust.userUnits)
		d.thresholds("    ", j.thresholds)
		if !slices.Contains(filter.Builtin(), j.filter) {
			// The default is meant for failed logins. An administrator's expressions may match what harmless clients do all day.
			d.line("    slow: {max_retry: off}")
			translated = append(translated, j.name)
		}
		if f, err := filter.LoadBuiltin(j.filter); err == nil && f.Off {
			appendNew(&off, j.filter)
		}
		if len(j.ports) > 0 {
			d.line("    ports: [%s]", strings.Join(j.ports, ", "))
		}
	}
	if len(translated) > 0 {
		im.note("jails with translated filters (%s) count within find_time only, as in fail2ban: the slow window is off", strings.Join(translated, ", "))
	}
	for _, f := range off {
		im.note("filter %s has no jail by default, but is used as in fail2ban; bailiff filter show %s says what to consider", f, f)
	}
	slices.Sort(im.disabledBuiltins)
	for _, n := range im.disabledBuiltins {
		d.line("  %s:\n    enabled: false", n)
	}
	besides := 0
	for _, name := range filter.Builtin() {
		f, err := filter.LoadBuiltin(name)
		if err != nil || f.Off || im.names[name] {
			continue
		}
		if i := slices.IndexFunc(im.output, func(j *jailConfig) bool { return j.standsFor(f) }); i >= 0 {
			d.line("  %s:\n    enabled: false # jail %s uses this filter with its own thresholds", name, im.output[i].name)
		} else {
			besides++
		}
	}
	if besides > 0 {
		im.note("%d other jails are on by default if the host has their service; bailiff filter list shows them, enabled: false disables one", besides)
	}
	im.result.Files = append(im.result.Files, File{"bailiff.d/50-fail2ban.yaml", []byte(d.String())})
	for _, key := range slices.Sorted(maps.Keys(im.filters)) {
		if tr := im.filters[key]; tr.data != nil && slices.ContainsFunc(im.output, func(j *jailConfig) bool { return j.filter == tr.name }) {
			im.result.Files = append(im.result.Files, File{"filters.d/" + tr.name + ".yaml", tr.data})
		}
	}
	if len(im.allowed) > 0 {
		var l document
		l.line("# Written by bailiff import from ignoreip of %s. You may edit this file: one address or prefix per line.", printable(im.root))
		for _, a := range im.allowed {
			l.line("%s # %s", a.entry, printable(a.from))
		}
		im.result.Files = append(im.result.Files, File{"allow.d/fail2ban.list", []byte(l.String())})
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
func (im *importer) firewall(d *document) {
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
	if backend != "" || block != "" {
		d.line("\nfirewall:")
		d.set("  backend", backend)
		d.set("  block", block)
	}
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
