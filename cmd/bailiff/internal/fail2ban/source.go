package fail2ban

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/cmd/bailiff/internal/fail2ban/regex"
	"bailiff/cmd/bailiff/internal/text"
)

// filterOptions are the options of filters that a jail may override.
var filterOptions = []string{"usedns", "prefregex", "ignoreregex", "failregex", "maxlines", "datepattern", "journalmatch"}

// Why options of filters and jails are not needed.
const (
	whyDate  = "the journal has its own timestamps"
	whyLines = "each line is matched by itself; lines of one connection are correlated"
	whyNames = "host names are never resolved: only addresses count"
)

// definition reads a filter or an action with the files that it includes.
func (im *importer) definition(dir, name string, args map[string]string) (*ini.Definition, error) {
	if strings.ContainsAny(name, "\x00") || slices.Contains(strings.Split(name, "/"), "..") {
		return nil, fmt.Errorf("%q is not the name of a file in %s", clip(name), dir)
	}
	key := dir + "/" + name
	t := im.definitions[key]
	if t == nil {
		if t = im.read(key); len(t.Files) == 0 {
			return nil, fmt.Errorf("no %s/%s.conf", dir, name)
		}
		im.definitions[key] = t
		if dir == "filter.d" {
			markJournalPrefix(t)
		}
	}
	d := &ini.Definition{Tree: t, Args: make(map[string]string), Vars: make(map[string]string)}
	for k, v := range args {
		d.Args[k], d.Vars[k] = v, v
	}
	if dir == "filter.d" {
		if d.Args["logtype"] == "" {
			d.Args["logtype"] = "journal"
		}
		d.InitVars()
	}
	return d, nil
}

// markJournalPrefix replaces the expression of fail2ban's common.conf for date, host and identifier with regex.PrefixMark.
func markJournalPrefix(t *ini.Tree) {
	for _, sec := range []string{"lt_short", "lt_journal", "DEFAULT"} {
		o := t.Local(sec, "__prefix_line")
		if o == nil || !strings.HasSuffix(o.File, "filter.d/common.conf") || sec != "lt_short" && t.Sections["lt_short"] != nil {
			continue
		}
		marked := *o
		marked.Value = string(regex.PrefixMark)
		t.Sections[sec].Options["__prefix_line"] = &marked
	}
}

// source collects the expressions to translate for a jail.
func (im *importer) source(name, filterName string, def *ini.Definition, from *ini.Option) *source {
	s := &source{}
	s.origin = fmt.Sprintf("fail2ban's filter.d/%s.conf", filterName)
	known := map[string]string{}
	text := func(opt string) (string, *ini.Option) {
		v, o, err := def.Value(opt)
		if _, given := def.Args[opt]; o == nil && !given {
			if o = def.Tree.Local("Init", opt); o == nil {
				o = def.Tree.Get("Definition", opt)
			}
		}
		if err != nil && !errors.Is(err, ini.ErrNoOption) {
			if o == nil {
				o = from
			}
			im.lost(o, err.Error(), "")
			v = ""
		}
		known["known/"+opt] = strings.ReplaceAll(v, "%", "%%")
		if jo := im.jails.Get(name, opt); jo != nil {
			jv, _, err := im.jails.Value(name, opt, known)
			if err == nil {
				jv, err = def.Expand(opt, jv) // the filter's, as fail2ban does
			}
			if err != nil {
				im.lost(jo, err.Error(), "")
				return v, o
			}
			return jv, jo
		}
		return v, o
	}
	for opt, why := range map[string]string{"datepattern": whyDate, "maxlines": whyLines, "usedns": whyNames} {
		if _, o := text(opt); o != nil && o.Section != "DEFAULT" {
			im.notNeeded(o, why)
		}
	}
	if o := def.Tree.Get("Definition", "_daemon"); o != nil && len(o.UsedBy) == 0 {
		im.notNeeded(o, "the journal keeps the daemon's name apart from the message, and the unit identifies the daemon")
	}
	var o *ini.Option
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
		// If each line of the option is one expression, each has its own line number.
		if places := o.FilledLines(); len(places) == len(l) {
			for i := range l {
				l[i].line = places[i]
			}
		}
		if len(l) == 0 && o != from {
			im.notNeeded(o, "it is empty")
		}
		return l
	}
	s.fail, s.ignore = lines("failregex"), lines("ignoreregex")
	return s
}

// shipped returns the expressions of a filter that come from fail2ban's files. Keys are the option's name and the
// expression.
func (im *importer) shipped(def *ini.Definition) map[string]bool {
	base := &ini.Definition{Tree: ini.NewTree(im.root), Args: def.Args, Vars: def.Vars}
	r := &ini.Reader{Tree: base.Tree}
	for _, f := range def.Tree.Files {
		if !im.adminFile(f) {
			if opts, ok := r.Parse(f); ok {
				r.Merge(f, opts)
			}
		}
	}
	markJournalPrefix(base.Tree)
	base.Vars = maps.Clone(def.Args)
	base.InitVars()
	shipped := make(map[string]bool)
	for _, opt := range []string{"failregex", "ignoreregex"} {
		v, _, _ := base.Value(opt)
		for _, line := range strings.Split(v, "\n") {
			shipped[opt+strings.TrimSpace(line)] = true
		}
	}
	return shipped
}

// remove removes shipped expressions.
func (s *source) remove(shipped map[string]bool) {
	s.fail = slices.DeleteFunc(s.fail, func(e expression) bool { return shipped["failregex"+e.text] })
	s.ignore = slices.DeleteFunc(s.ignore, func(e expression) bool { return shipped["ignoreregex"+e.text] })
}

// translateAdditions translates expressions that an administrator added to a filter that is built in, in its .local or
// in the jail. They become a separate filter and jail.
func (im *importer) translateAdditions(name, filterName string, def *ini.Definition, from *ini.Option, w *jailConfig) {
	shipped := im.shipped(def)
	changed := slices.ContainsFunc(def.Tree.Assigned, func(o *ini.Option) bool { return im.adminFile(o.File) })
	changed = changed || im.jails.Get(name, "failregex") != nil || im.jails.Get(name, "ignoreregex") != nil
	im.lost(im.jails.Get(name, "prefregex"), "our filter "+w.filter+" has its own patterns", hintFilter)
	im.notNeeded(im.jails.Get(name, "maxlines"), whyLines)
	var t trust
	if match, o := im.journalmatch(name, def, from); o != nil && (o.Section == name || o == from || im.adminFile(o.File)) {
		var lost []string
		t, lost, _ = parseJournalMatch(match, im.owner(name))
		if strings.TrimSpace(match) == "" || !t.isSet() && len(t.identifiers) > 0 {
			im.notNeeded(o, "our filter "+w.filter+" knows its units")
			lost = nil
		}
		for _, why := range lost {
			im.lost(o, why, "")
		}
		im.addUnits(&t, o, w)
	}
	if !changed {
		return
	}
	src := im.source(name, filterName, def, im.jails.Get(name, "filter"))
	for _, o := range def.Tree.Assigned {
		if im.adminFile(o.File) && len(im.outcomes[o]) == 0 && len(o.UsedBy) == 0 && o.Section != "INCLUDES" && o.Name != "failregex" && o.Name != "ignoreregex" {
			im.lost(o, "our filter "+w.filter+" replaces fail2ban's and has no such setting", "see bailiff filter show "+w.filter)
		}
	}
	src.remove(shipped)
	if len(src.fail) == 0 {
		for _, e := range src.ignore {
			im.lost(e.from, fmt.Sprintf("ignoreregex %q: our filter %s has its own exceptions", printable(text.Clip(e.text, 160)), w.filter), hintFilter)
		}
		return
	}
	src.trust = builtinTrust(w.filter)
	src.trust.units = slices.Concat(src.trust.units, w.trust.units)
	src.trust.slices = slices.Concat(src.trust.slices, w.trust.slices)
	src.trust.containers, src.trust.userUnits = w.trust.containers, w.trust.userUnits
	if conf := filepath.Join(im.root, "filter.d", filterName+".conf"); len(t.containers) > 0 && builtinTrust(w.filter).requireMessage && im.adminFile(conf) {
		src.trust = t // the built-in filter accepts no lines of containers, the additions do
	}
	src.name = filterID(filterName) + "-local"
	src.origin = "additions to fail2ban's filter " + filterName
	tr := im.translate(src)
	var added JailReport
	im.recordResults(tr, &added)
	if tr.data != nil {
		im.addSecondJail(name, filterName, tr, w)
	}
}

// maxNameWithPorts is the maximum length of the name of a jail with ports: see config.Jail.
const maxNameWithPorts = 16

// addSecondJail adds a jail for an administrator's expressions, besides the one with the built-in filter.
func (im *importer) addSecondJail(name, filterName string, tr *translation, w *jailConfig) {
	extra := *w
	extra.filter, extra.mode, extra.trust = tr.name, "", trust{}
	const suffix = "-local"
	short := name
	if len(extra.ports) > 0 && len(name+suffix) > maxNameWithPorts {
		short = strings.TrimRight(name[:maxNameWithPorts-len(suffix)], "-")
	}
	if extra.name = im.freeName(short + suffix); len(extra.name) > maxNameWithPorts && len(extra.ports) > 0 {
		extra.ports = nil
		im.note("jail %s: it blocks all ports, because the name of a jail with ports has at most %d characters", extra.name, maxNameWithPorts)
	}
	im.output = append(im.output, &extra)
	im.note("jail %s: your own expressions are in filters.d/%s.yaml and have their own jail, %s, besides our filter %s", name, tr.name, extra.name, w.filter)
}

// expression is one line of a failregex or ignoreregex, and the option that it comes from.
type expression struct {
	text string
	from *ini.Option
	line int // 0: the option's line
}

// at returns the file and line.
func (e *expression) at() string {
	if e.line > 0 {
		return fmt.Sprintf("%s:%d", e.from.File, e.line)
	}
	return e.from.Position()
}

// source is a filter of fail2ban's with all references resolved.
type source struct {
	name      string // of the filter to write
	origin    string // where it comes from, for messages
	prefregex string
	fail      []expression
	ignore    []expression
	trust     trust
	assumed   string // why the trust had to be guessed; empty: it was not
}
