package fail2ban

import (
	"bailiff/cmd/bailiff/internal/text"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/policy/config"
	"bailiff/policy/filter"
)

func secondsDuration(sec float64) time.Duration { return time.Duration(sec * float64(time.Second)) }

// filterOptions are options of filters that a jail may set in their place.
var filterOptions = []string{"usedns", "prefregex", "ignoreregex", "failregex", "maxlines", "datepattern", "journalmatch"}

// definition reads a filter or an action with all that it includes.
func (im *importer) definition(dir, name string, args map[string]string, backend string) (*definition, error) {
	if strings.ContainsAny(name, "\x00") || slices.Contains(strings.Split(name, "/"), "..") {
		return nil, fmt.Errorf("%q is not the name of a file in %s", clip(name), dir)
	}
	key := dir + "/" + name
	t := im.definitions[key]
	if t == nil {
		t = newTree(im.root)
		t.vars["fail2ban_version"], t.vars["fail2ban_confpath"] = version, im.root
		r := &reader{tree: t}
		r.readAll(key)
		if len(t.files) == 0 {
			return nil, fmt.Errorf("there is no %s/%s.conf", dir, name)
		}
		im.problems = append(im.problems, r.problems...)
		im.definitions[key] = t
		if dir == "filter.d" {
			t.journalPrefix()
		}
	}
	d := &definition{tree: t, args: make(map[string]string), vars: make(map[string]string)}
	for k, v := range args {
		d.args[k], d.vars[k] = v, v
	}
	if dir == "filter.d" {
		if d.args["logtype"] == "" {
			d.args["logtype"] = "journal"
		}
		d.initVars()
	}
	return d, nil
}

// initVars lets a filter's own [Init] stand before its [Definition] in %(name)s, as fail2ban has it.
func (d *definition) initVars() {
	init := d.tree.sections["Init"]
	if init == nil {
		return
	}
	for _, name := range init.order {
		if _, given := d.args[name]; given {
			continue
		}
		if v, _, err := d.tree.value("Init", name, nil); err == nil {
			d.vars[name] = strings.ReplaceAll(v, "%", "%%")
		}
	}
}

// journalPrefix puts prefixMark where fail2ban's own common.conf describes date, host and identifier.
func (t *tree) journalPrefix() {
	for _, sec := range []string{"lt_short", "lt_journal", "DEFAULT"} {
		o := t.own(sec, "__prefix_line")
		if o == nil || !strings.HasSuffix(o.file, "filter.d/common.conf") || sec == "DEFAULT" && t.sections["lt_short"] != nil || sec == "lt_journal" && t.sections["lt_short"] != nil {
			continue
		}
		marked := *o
		marked.value = string(prefixMark)
		t.sections[sec].options["__prefix_line"] = &marked
	}
}

// source gathers the expressions that are to be translated for a jail.
func (im *importer) source(name, filterName string, def *definition, from *option) *source {
	s := &source{}
	s.origin = fmt.Sprintf("fail2ban's filter.d/%s.conf", filterName)
	known := map[string]string{}
	text := func(opt string) (string, *option) {
		v, o, err := def.value(opt)
		if _, given := def.args[opt]; o == nil && !given {
			if o = def.tree.own("Init", opt); o == nil {
				o = def.tree.get("Definition", opt)
			}
		}
		if err != nil && err != errNoTag {
			if o == nil {
				o = from
			}
			im.lost(o, err.Error(), "")
			v = ""
		}
		known["known/"+opt] = strings.ReplaceAll(v, "%", "%%")
		if jo := im.jails.get(name, opt); jo != nil {
			jv, _, err := im.jails.value(name, opt, known)
			if err == nil {
				jv, err = def.tags(opt, jv) // the filter's, as fail2ban puts them in
			}
			if err != nil {
				im.lost(jo, err.Error(), "")
				return v, o
			}
			return jv, jo
		}
		return v, o
	}
	for _, opt := range []string{"datepattern", "maxlines", "usedns"} {
		if _, o := text(opt); o != nil && o.section != "DEFAULT" {
			switch opt {
			case "datepattern":
				im.moot(o, "the journal's own clock counts")
			case "maxlines":
				im.moot(o, "each line is judged by itself; those of one connection are joined")
			case "usedns":
				im.moot(o, "host names are never looked up: only an address is evidence")
			}
		}
	}
	if o := def.tree.get("Definition", "_daemon"); o != nil && len(o.usedBy) == 0 {
		im.moot(o, "a message begins behind the name of its daemon, and the unit says whose it is")
	}
	var o *option
	if s.prefregex, o = text("prefregex"); o != nil {
		im.carried(o, "filters.d/"+filterID(filterName)+".yaml")
	}
	lines := func(opt string) (l []expression) {
		v, o := text(opt)
		if o == nil {
			o = from
		}
		for _, line := range strings.Split(v, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				l = append(l, expression{text: line, from: o})
			}
		}
		// Where each line of the option is one expression, each has a place of its own.
		var places []int
		for i, line := range strings.Split(o.value, "\n") {
			if strings.TrimSpace(line) != "" && i < len(o.lines) {
				places = append(places, o.lines[i])
			}
		}
		if len(places) == len(l) {
			for i := range l {
				l[i].line = places[i]
			}
		}
		if len(l) == 0 && o != from {
			im.moot(o, "it is empty")
		}
		return l
	}
	s.fail, s.ignore = lines("failregex"), lines("ignoreregex")
	return s
}

// shipped are the expressions that a filter has of fail2ban's own files, by the option and their text.
func (im *importer) shipped(def *definition) map[string]bool {
	base := &definition{tree: newTree(im.root), args: def.args, vars: def.vars}
	r := &reader{tree: base.tree}
	for _, f := range def.tree.files {
		if !im.own(f) {
			if opts, ok := r.parse(f); ok {
				r.merge(f, opts)
			}
		}
	}
	base.tree.journalPrefix()
	base.vars = maps.Clone(def.args)
	base.initVars()
	shipped := make(map[string]bool)
	for _, opt := range []string{"failregex", "ignoreregex"} {
		v, _, _ := base.value(opt)
		for _, line := range strings.Split(v, "\n") {
			shipped[opt+strings.TrimSpace(line)] = true
		}
	}
	return shipped
}

// additions translates what an administrator added to a filter that we have: expressions in its .local, or in the jail.
// They become a filter and a jail of their own, beside ours.
func (im *importer) additions(name, filterName string, def *definition, from *option, w *jail) {
	shipped := im.shipped(def)
	own := false
	for _, o := range def.tree.assigned {
		own = own || im.own(o.file)
	}
	for _, opt := range filterOptions {
		if o := im.jails.get(name, opt); o != nil && (opt == "failregex" || opt == "ignoreregex") {
			own = true
		} else if o != nil && opt == "prefregex" {
			im.lost(o, "our filter "+w.filter+" has patterns of its own", "write a filter of your own: bailiff.yaml(5), FILTERS")
		} else if o != nil && opt == "maxlines" {
			im.moot(o, "each line is judged by itself; those of one connection are joined")
		}
	}
	var t trust
	if match, o := im.journalmatch(name, def, from); o != nil && (o.section == name || o == from || im.own(o.file)) {
		var lost []string
		t, lost, _ = readMatch(match, im.owner(name))
		if strings.TrimSpace(match) == "" {
			im.moot(o, "our filter "+w.filter+" knows the units that it trusts")
		}
		if t.proven() || len(t.identifiers) == 0 {
			for _, why := range lost {
				im.lost(o, why, "")
			}
		} else {
			im.moot(o, "our filter "+w.filter+" knows the units that it trusts")
		}
		im.addUnits(&t, o, w)
	}
	if !own {
		return
	}
	src := im.source(name, filterName, def, im.jails.get(name, "filter"))
	for _, o := range def.tree.assigned {
		if im.own(o.file) && len(im.outcomes[o]) == 0 && len(o.usedBy) == 0 && o.section != "INCLUDES" && o.name != "failregex" && o.name != "ignoreregex" {
			im.lost(o, "our filter "+w.filter+" stands for fail2ban's, and has no such setting", "look at bailiff filter show "+w.filter)
		}
	}
	src.fail = slices.DeleteFunc(src.fail, func(e expression) bool { return shipped["failregex"+e.text] })
	src.ignore = slices.DeleteFunc(src.ignore, func(e expression) bool { return shipped["ignoreregex"+e.text] })
	if len(src.fail) == 0 {
		for _, e := range src.ignore {
			im.lost(e.from, fmt.Sprintf("ignoreregex %q: our filter %s has its own exceptions", printable(text.Clip(e.text, 160)), w.filter), "write a filter of your own: bailiff.yaml(5), FILTERS")
		}
		return
	}
	src.trust = builtinTrust(w.filter)
	if w.trust.proven() {
		src.trust.units = append(slices.Clone(src.trust.units), w.trust.units...)
		src.trust.slices = append(slices.Clone(src.trust.slices), w.trust.slices...)
		src.trust.containers, src.trust.userUnits = w.trust.containers, w.trust.userUnits
	}
	if wholly := filepath.Join(im.root, "filter.d", filterName+".conf"); len(t.containers) > 0 && builtinTrust(w.filter).whole && im.own(wholly) {
		src.trust = t // ours takes no lines of containers, the own one does
	}
	src.name = filterID(filterName) + "-local"
	src.origin = "what was added to fail2ban's filter " + filterName
	tr := im.translate(src)
	var own2 Jail
	im.verdicts(tr, &own2)
	if tr.data != nil {
		im.beside(name, filterName, tr, w)
	}
}

// longestWithPorts is how long the name of a jail with ports may be: see config.Jail.
const longestWithPorts = 16

// beside makes a jail for an administrator's own expressions, beside the one that runs our filter.
func (im *importer) beside(name, filterName string, tr *translation, w *jail) {
	extra := *w
	extra.filter, extra.mode, extra.trust = tr.name, "", trust{}
	const suffix = "-local"
	short := name
	if len(extra.ports) > 0 && len(name+suffix) > longestWithPorts {
		short = strings.TrimRight(name[:longestWithPorts-len(suffix)], "-")
	}
	if extra.name = im.freeName(short + suffix); len(extra.name) > longestWithPorts && len(extra.ports) > 0 {
		extra.ports = nil
		im.note("jail %s: it stops all traffic, since a jail with ports has a name of %d characters at most", extra.name, longestWithPorts)
	}
	im.out = append(im.out, &extra)
	im.note("jail %s: expressions of your own stand in filters.d/%s.yaml and are counted in a jail of their own, %s, beside our filter %s", name, tr.name, extra.name, w.filter)
}

// actions reads what a jail does when it bans.
func (im *importer) actions(name string) []action {
	v, from := im.text(name, "action")
	if from == nil {
		return nil
	}
	var list []action
	for _, w := range splitActions(v) {
		n, args, err := splitOptions(w)
		if err != nil {
			at := from
			if o := im.jails.get(name, "banaction"); o != nil && len(o.usedBy) > 0 && strings.TrimSpace(o.value) == "" {
				at, err = o, fmt.Errorf("is empty: bailiff bans with its own firewall")
			}
			im.lost(at, err.Error(), "")
			continue
		}
		a := action{name: n}
		var backend string
		a.kind, backend = classify(n)
		if !strings.HasSuffix(n, ".py") {
			if a.def, err = im.definition("action.d", n, args, ""); err != nil {
				im.lost(im.writes(name, n, from), err.Error(), "")
			}
		}
		if a.def == nil {
			a.def = &definition{tree: newTree(im.root), args: args, vars: args}
		}
		own := slices.ContainsFunc(a.def.tree.assigned, func(o *option) bool { return im.own(o.file) })
		switch a.kind {
		case actionBan:
			im.backends[backend] = append(im.backends[backend], name)
			if base, _, _ := strings.Cut(n, "-"); base == "iptables" || base == "nftables" || base == "firewallcmd" {
				im.carried(from, "firewall.backend")
			} else {
				im.changed(from, "firewall.backend", fmt.Sprintf("action %s: bans stand in a set of bailiff's own, not among the rules of %s", n, base))
			}
		case actionForeign:
			// elsewhere tells, where the jail bans with nothing else
		case actionReport:
			im.report(name, a, from)
		case actionNothing:
			im.moot(from, "action dummy does nothing")
		case actionOther:
			im.lost(im.writes(name, n, from), fmt.Sprintf("action %s: no commands are run", n), "follow the bans in the journal: journalctl -f -o json -u bailiff")
		}
		if own {
			for _, o := range a.def.tree.assigned {
				if !im.own(o.file) || o.section == "INCLUDES" {
					continue
				}
				switch {
				case a.kind == actionBan && o.name == "blocktype":
				case a.kind == actionReport:
					im.lost(o, "reports have forms of their own", "write a template: bailiff.report(5)")
				default:
					im.lost(o, "no commands are run, and the firewall's rules are bailiff's own", "")
				}
			}
		}
		list = append(list, a)
	}
	return list
}

// writes finds the option by which an administrator has a jail run an action: banaction before action, their own before
// fail2ban's.
func (im *importer) writes(name, action string, from *option) *option {
	for _, opt := range []string{"banaction", "banaction_allports"} {
		if o := im.jails.get(name, opt); o != nil && len(o.usedBy) > 0 && strings.Contains(o.value, action) {
			return o
		}
	}
	return from
}

// blame is the option that says what a jail does when it bans.
func (im *importer) blame(name string, acts []action) *option {
	from := im.jails.get(name, "action")
	for _, a := range acts {
		if o := im.writes(name, a.name, from); o != from {
			return o
		}
	}
	return from
}

// elsewhere says that bailiff's firewall bans where fail2ban did so with something that bailiff does not have.
func (im *importer) elsewhere(name string, acts []action) string {
	for _, a := range acts {
		if a.kind == actionForeign || a.kind == actionOther {
			why := fmt.Sprintf("bailiff's own firewall bans in place of the action %s, which it does not have", a.name)
			im.changed(im.writes(name, a.name, im.jails.get(name, "action")), "firewall", why)
			return why
		}
	}
	return "bailiff bans with its own firewall here"
}

// What a jail of fail2ban's does to addresses.
const (
	bansHere       = iota // closes ports with a firewall that bailiff has
	bansWithOthers        // with something else: a command, a route, a service elsewhere, or nothing is said
	bansNobody            // only reports
	letsIn
)

// ports finds what is closed to those whom a jail bans.
func (im *importer) ports(name, at string, acts []action) (words []string, does int) {
	all, bans := false, false
	for _, a := range acts {
		if a.kind != actionBan {
			continue
		}
		bans = true
		get := func(tag string) string {
			v, _, err := a.def.value(tag)
			if err != nil {
				return ""
			}
			return strings.TrimSpace(v)
		}
		if block, o, err := a.def.raw("blocktype"); err == nil {
			_, given := a.def.args["blocktype"]
			given = given || o != nil && im.own(o.file)
			switch up := strings.ToUpper(strings.TrimSpace(block)); {
			case up == "RETURN" || up == "ACCEPT":
				return nil, letsIn
			case given && strings.HasPrefix(up, "REJECT"):
				im.reject = append(im.reject, name)
				im.carried(o, "firewall.block")
			case given:
				im.carried(o, "firewall.block")
			default:
				im.unsaid = append(im.unsaid, name)
			}
			if jo := im.jails.get(name, "blocktype"); jo != nil && given {
				im.carried(jo, "firewall.block")
			}
		}
		if strings.Contains(a.name, "allports") || get("type") == "allports" {
			all = true
			continue
		}
		more, bad := portList(get("port"), get("protocol"))
		po := im.jails.get(name, "port")
		if len(bad) > 0 {
			if po == nil {
				po = im.jails.get(name, "action")
			}
			im.lost(po, fmt.Sprintf("jail %s: %s is no port that we know: all ports are closed instead", name, strings.Join(bad, ", ")), "write its number under "+at+".ports")
			all = true
			continue
		}
		if po != nil {
			im.carried(po, at+".ports")
		}
		if pr := im.jails.get(name, "protocol"); pr != nil {
			im.carried(pr, at+".ports")
		}
		if len(more) == 0 {
			all = true
		}
		for _, w := range more {
			if !slices.Contains(words, w) {
				words = append(words, w)
			}
		}
	}
	if ch := im.jails.get(name, "chain"); ch != nil {
		if v := strings.TrimSpace(ch.value); v == "" || v == "<known/chain>" || v == "INPUT" {
			im.moot(ch, "packets are stopped before any chain of the host's own")
		} else if !slices.Contains(im.chains, ch) {
			im.chains = append(im.chains, ch)
		}
	}
	if all {
		words = nil
		if po := im.jails.get(name, "port"); po != nil && len(im.outcomes[po]) == 0 {
			im.moot(po, "the jail closes all ports")
		}
	}
	switch {
	case bans:
		return words, bansHere
	case len(acts) > 0 && !slices.ContainsFunc(acts, func(a action) bool { return a.kind != actionReport && a.kind != actionNothing }):
		return words, bansNobody
	}
	return words, bansWithOthers
}

// standsFor says whether a jail under another name does what the jail of a built-in filter would do by itself.
func (j *jail) standsFor(builtin string) bool {
	if j.filter != builtin || j.name == builtin || j.enabled != "true" || j.observe || j.trust.proven() {
		return false
	}
	f, err := filter.LoadBuiltin(builtin)
	return err == nil && !f.Off && (j.mode == "" || slices.Contains(f.Includes(j.mode), f.Modes[0]))
}

// write makes the files.
func (im *importer) write() {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by bailiff import from %s. Yours to edit: bailiff.yaml(5).", printable(im.root))
	d := im.defaults
	if d.find != "" || d.ban != "" || d.retry > 0 {
		line("\ndefaults:")
		im.times(&b, "  ", d)
	}
	e := im.esc
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
	im.reports.write(line, im)
	if slices.ContainsFunc(im.out, func(j *jail) bool { return len(j.ports) > 0 }) {
		im.note("bans close the ports that fail2ban closed; a jail without ports: closes all, which is bailiff's default")
	}
	if len(im.out)+len(im.off) > 0 {
		line("\njails:")
	}
	slices.SortFunc(im.out, func(x, y *jail) int { return strings.Compare(x.name, y.name) })
	for _, j := range im.out {
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
		im.times(&b, "    ", j.times)
		if len(j.ports) > 0 {
			line("    ports: [%s]", strings.Join(j.ports, ", "))
		}
	}
	slices.Sort(im.off)
	for _, n := range im.off {
		line("  %s:\n    enabled: false", n)
	}
	for _, name := range filter.Builtin() {
		if i := slices.IndexFunc(im.out, func(j *jail) bool { return j.standsFor(name) }); i >= 0 && !im.names[name] {
			im.names[name] = true
			line("  %s:\n    enabled: false # jail %s runs this filter, with limits of its own", name, im.out[i].name)
		}
	}
	var besides []string
	for _, name := range filter.Builtin() {
		if f, err := filter.LoadBuiltin(name); err == nil && !f.Off && !im.names[name] {
			besides = append(besides, name)
		}
	}
	if len(besides) > 0 {
		im.note("%d other jails are on by themselves where the host has their service; bailiff filter list shows them, enabled: false switches one off", len(besides))
	}
	im.result.Files = append(im.result.Files, File{"bailiff.d/50-fail2ban.yaml", []byte(b.String())})
	for _, key := range sortedKeys(im.filters) {
		if tr := im.filters[key]; tr.data != nil && slices.ContainsFunc(im.out, func(j *jail) bool { return j.filter == tr.name }) {
			im.result.Files = append(im.result.Files, File{"filters.d/" + tr.name + ".yaml", tr.data})
		}
	}
	if len(im.allowed) > 0 {
		var l strings.Builder
		fmt.Fprintf(&l, "# Written by bailiff import from ignoreip of %s. Yours to edit: one address or prefix a line.\n", printable(im.root))
		for _, a := range im.allowed {
			fmt.Fprintf(&l, "%s # %s\n", a.entry, printable(a.from))
		}
		im.result.Files = append(im.result.Files, File{"allow.d/fail2ban.list", []byte(l.String())})
	}
}

func (im *importer) times(b *strings.Builder, indent string, t times) {
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

// backend is what most jails banned with; "" where they had none of ours. It may be one that we do not have.
func (im *importer) backend() (best string) {
	for _, w := range sortedKeys(im.backends) {
		if best == "" || len(im.backends[w]) > len(im.backends[best]) {
			best = w
		}
	}
	return best
}

// tellChains says what became of the chains in which jails had their rules.
func (im *importer) tellChains() {
	backend := im.backend()
	for _, ch := range im.chains {
		v := clip(strings.TrimSpace(ch.value))
		switch backend {
		case "firewalld":
			im.lost(ch, "chain "+v+": firewalld passes packets to published container ports before it looks at any of bailiff's rules, so these ports stay open to banned addresses", "write firewall: {backend: nftables}, whose table stands beside firewalld and closes them")
		case "":
			im.changed(ch, "firewall", "chain "+v+": nftables and ipset stop packets before any chain of the host's own, also those to published container ports; firewalld does not stop the latter")
		default:
			im.changed(ch, "firewall", "chain "+v+": packets are stopped before any chain of the host's own, also those to published container ports")
		}
	}
}

// firewall writes the backend that most jails banned with, where we have it.
func (im *importer) firewall(b *strings.Builder) {
	best := im.backend()
	if len(im.backends) > 1 {
		im.note("jails banned with different firewalls before; one holds all bans now: %s", best)
	}
	backend := best
	if best != "" && !slices.Contains(config.Backends, best) {
		im.note("fail2ban banned through %s, which is no backend of this version: firewall.backend is auto", best)
		backend = ""
	}
	block := ""
	if len(im.reject) > 0 {
		block = "reject"
	} else if len(im.unsaid) > 0 {
		im.note("fail2ban's own actions answer to banned addresses (REJECT) unless told otherwise; bailiff drops their packets in silence (write firewall: {block: reject} to have answers)")
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
