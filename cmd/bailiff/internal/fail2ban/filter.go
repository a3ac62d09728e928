package fail2ban

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/cmd/bailiff/internal/fail2ban/regex"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/filter"
)

// filter finds or makes the filter of a jail.
func (im *importer) filter(name, filterName string, args map[string]string, from *ini.Option, w *jailConfig, j *JailReport) bool {
	def, err := im.definition("filter.d", filterName, args)
	builtin, mode, known := Builtin(filterName)
	if err != nil && !known {
		j.Why = err.Error()
		return false
	}
	if known {
		im.logPaths(name, builtin)
		if file := filepath.Join(im.root, "filter.d", filterName+".conf"); im.edited[file] {
			im.settings = append(im.settings, Setting{File: file, Outcome: Lost, Admin: true,
				Why:  "was changed since the package was installed; our filter " + builtin + " stands for the one that the package ships",
				Hint: "compare the two; what was added can stand in filter.d/" + filterName + ".local, from where it is translated"})
			delete(im.edited, file)
		}
		im.useBuiltin(builtin, mode, name, filterName, args, def, from, w)
		if def != nil {
			im.translateAdditions(name, filterName, def, from, w)
		}
		return true
	}
	src := im.source(name, filterName, def, from)
	match, o := im.journalmatch(name, def, from)
	t, lost, wider := parseJournalMatch(match, im.owner(name))
	builtin, sure := im.builtinFor(name, &t, def)
	if len(lost) == 0 && strings.TrimSpace(match) == "" {
		lost = []string{"it is not said which unit writes the lines (journalmatch)"}
	}
	src.name, src.trust = filterID(filterName), t
	switch {
	case t.isSet():
	case builtin != "":
		src.trust = builtinTrust(builtin)
		lost = nil
	case im.stockFile(filterName, def) && services[filterName] != nil:
		src.trust.units, src.trust.uid = services[filterName], "system"
		src.assumed = "fail2ban's filter does not say which unit writes the lines; these are the usual ones: correct them under trust if need be"
		lost = nil
	default:
		j.Why = strings.Join(lost, "; ")
		if o != nil && strings.TrimSpace(match) != "" {
			im.lost(o, "jail "+name+": "+j.Why, hintUnit)
		}
		im.dropFilterOptions(name, def, j.Why)
		im.logPaths(name, "")
		return false
	}
	if !t.isSet() && builtin == "" {
		im.logPaths(name, "")
	} else if _, o := im.value(name, "logpath"); o != nil {
		im.notNeeded(o, "the journal is read, where "+t.names()+" writes")
	}
	at := "filters.d/" + src.name + ".yaml trust"
	for _, why := range lost {
		im.lost(o, why, "")
	}
	for _, term := range wider {
		im.changed(o, at, fmt.Sprintf("%s: all lines of %s are looked at", term, t.names()))
	}
	switch {
	case o == nil:
	case strings.TrimSpace(match) == "":
		im.notNeeded(o, "it is empty")
	default:
		im.carried(o, at)
	}
	if builtin != "" && len(t.containers) > 0 && builtinTrust(builtin).requireMessage {
		builtin, sure = "", false // it takes no lines of containers
	}
	shipped, kept := map[string]bool{}, false
	if sure {
		shipped = im.shipped(def)
		kept = slices.ContainsFunc(src.fail, func(e expression) bool { return shipped["failregex"+e.text] })
	}
	b := builtinTrust(builtin)
	if sure && (o == nil || !im.adminFile(o.File) || len(slices.Concat(b.missingFrom(&t).units, b.missingFrom(&t).slices, t.containers, t.userUnits)) == 0) {
		// What our filter knows of its daemon, its executables among it, holds for the own expressions, too.
		src.trust = builtinTrust(builtin)
		src.fail = slices.DeleteFunc(src.fail, func(e expression) bool { return shipped["failregex"+e.text] })
		src.ignore = slices.DeleteFunc(src.ignore, func(e expression) bool { return shipped["ignoreregex"+e.text] })
	}
	like, of := 0, 0
	if builtin != "" {
		like, of = countShared(src.fail, builtin)
	}
	tr := im.translate(src)
	im.recordResults(tr, j)
	if builtin != "" && im.preferBuiltin(name, builtin, sure, kept, like, of, tr) {
		// The own filter stands beside ours, which would have judged this service without any import.
		im.logPaths(name, builtin)
		im.useBuiltin(builtin, "", name, filterName, args, def, from, w)
		im.addUnits(&t, o, w)
		im.note("jail %s: our filter %s judges its service, with the limits of this jail", name, builtin)
		if tr.data != nil {
			im.addSecondJail(name, filterName, tr, w)
		}
		return true
	}
	j.Translated = true
	w.filter = tr.name
	if tr.data == nil {
		if like > 0 {
			im.note("jail %s: bailiff has a filter for some of these lines: %s (bailiff filter show %s)", name, builtin, builtin)
		}
		return false
	}
	if src.assumed != "" {
		w.enabled = "" // on, but bailiff check expects no service
		w.comments = append(w.comments, fmt.Sprintf("%s (%s)", src.assumed, src.trust.names()))
		im.note("filters.d/%s.yaml: %s: %s", tr.name, src.assumed, src.trust.names())
	}
	if builtin != "" {
		im.note("jail %s: bailiff has a filter for the same unit, too: %s (bailiff filter show %s)", name, builtin, builtin)
	}
	return true
}

// preferBuiltin says whether a filter of ours runs in a jail with the limits of an own filter's jail: where the jail bears its name,
// where the own filter has all of the stock one's expressions, or where ours stands for what could not be translated. An
// own filter for a few lines of a service, with a limit of 1, must not become that limit for all of them; nor does the
// unit alone say that two filters are for the same lines: PHP and web servers run whatever there is.
func (im *importer) preferBuiltin(name, builtin string, sure, kept bool, like, of int, tr *translation) bool {
	if own, _, _ := Builtin(name); sure && (own == builtin || jailName(name) == builtin || kept) {
		return true
	}
	if tr.exact() || like == 0 {
		return false
	}
	f, err := filter.LoadBuiltin(builtin)
	return err == nil && (f.Off || tr.data == nil && 2*like >= of)
}

// countShared counts how many of the lines that a filter of ours is tested with own expressions take.
func countShared(fail []expression, builtin string) (like, of int) {
	f, err := filter.LoadBuiltin(builtin)
	if err != nil {
		return 0, 0
	}
	var res []*regexp.Regexp
	for _, e := range fail {
		res = append(res, regex.Compile(e.text)...)
	}
	for _, line := range f.Failures() {
		of++
		if slices.ContainsFunc(res, func(re *regexp.Regexp) bool { return re.MatchString(line) }) {
			like++
		}
	}
	return like, of
}

const hintUnit = "name who writes the lines in the filter, and import again: journalmatch = _SYSTEMD_UNIT=NAME.service, CONTAINER_NAME=NAME, or _SYSTEMD_USER_UNIT=NAME.service _UID=1000 (systemctl status PID tells the unit of a process)"

// hasFilters says whether the folder holds filters at all, and not a jail.local alone.
func (im *importer) hasFilters() bool {
	st, err := os.Stat(filepath.Join(im.root, "filter.d"))
	return err == nil && st.IsDir()
}

// stockFile says whether a filter is one that fail2ban ships, with nothing of the administrator's own in it.
func (im *importer) stockFile(name string, def *ini.Definition) bool {
	if _, ok := stock[name]; !ok {
		return false
	}
	return !slices.ContainsFunc(def.Tree.Files, im.adminFile)
}

// dropFilterOptions says of an own filter's settings that they went with the jail.
func (im *importer) dropFilterOptions(name string, def *ini.Definition, why string) {
	for _, o := range def.Tree.Assigned {
		if im.adminFile(o.File) && len(im.outcomes[o]) == 0 && o.Section != "INCLUDES" {
			im.lost(o, "jail "+name+", which uses it, is not carried over: "+why, "")
		}
	}
}

// useBuiltin has a jail run one of our filters.
func (im *importer) useBuiltin(builtin, mode, name, filterName string, args map[string]string, def *ini.Definition, from *ini.Option, w *jailConfig) {
	w.filter, w.mode = builtin, mode
	_, _, known := Builtin(filterName)
	im.mode(name, args, !known, def, from, w)
	for _, a := range sortedKeys(args) {
		if a != "mode" && a != "logtype" && a != "journalmatch" {
			im.lost(from, fmt.Sprintf("filter %s: its option %s=%s has no counterpart in ours", filterName, a, clip(args[a])), "look at bailiff filter show "+builtin)
		}
	}
}

// journalmatch returns what a jail or the administrator's part of its filter says of whose lines are read, and where; nil
// where the jail's filter says it in brackets.
func (im *importer) journalmatch(name string, def *ini.Definition, from *ini.Option) (string, *ini.Option) {
	if o := im.jails.Get(name, "journalmatch"); o != nil {
		v, _ := im.value(name, "journalmatch")
		return v, o
	}
	v, o, err := def.Value("journalmatch")
	if err != nil {
		return "", nil
	}
	if o == nil { // in brackets
		o = from
	}
	return v, o
}

// addUnits gives a jail that runs one of our filters the units that the filter does not look at by itself.
func (im *importer) addUnits(t *trust, o *ini.Option, w *jailConfig) {
	b := builtinTrust(w.filter)
	more := b.missingFrom(t)
	switch {
	case len(more.containers) > 0 && b.requireMessage:
		e := filter.NoContainers(w.filter)
		im.lost(o, strings.Join(more.containers, ", ")+": "+e.Text, e.Hint)
		more.containers = nil
		fallthrough
	case more.isSet():
		if w.trust = more; more.isSet() {
			im.carried(o, "jails."+w.name+": units, containers, user_units")
		}
	case t.isSet():
		im.notNeeded(o, fmt.Sprintf("our filter %s looks at the lines of %s", w.filter, b.names()))
	}
}

// filterID makes a filter's name fit for a file of ours.
func filterID(s string) string {
	s = regexp.MustCompile(`[^A-Za-z0-9_-]+`).ReplaceAllString(filepath.Base(s), "-")
	s = strings.Trim(s[:min(len(s), 60)], "-")
	if s == "" {
		s = "filter"
	}
	return s
}

// translate translates a filter, once for all jails that use it alike.
func (im *importer) translate(src *source) *translation {
	key := fmt.Sprintf("%s\x00%s\x00%v", src.name, src.prefregex, src.trust) // jails of one filter may look at different units
	for _, e := range append(slices.Clone(src.fail), src.ignore...) {
		key += "\x00" + e.text
	}
	if tr := im.filters[key]; tr != nil {
		return tr
	}
	name := src.name
	for i := 2; ; i++ {
		taken := slices.Contains(filter.Builtin(), name)
		for _, tr := range im.filters {
			taken = taken || tr.name == name
		}
		if !taken {
			break
		}
		name = fmt.Sprintf("%s-%d", src.name, i)
	}
	src.name = name
	tr := translate(src)
	im.filters[key] = tr
	return tr
}

// recordResults brings what became of expressions into the account.
func (im *importer) recordResults(t *translation, j *JailReport) {
	for i := range t.results {
		v := &t.results[i]
		if v.kind == "failregex" {
			j.Of++
			if v.taken {
				j.Taken++
			}
		}
		to := "filters.d/" + t.name + ".yaml"
		text := printable(text.Clip(v.text, 160))
		switch {
		case !v.taken:
			im.add(v.from, outcome{kind: Lost, line: v.line, why: fmt.Sprintf("%s %s: %s", v.kind, text, v.why), hint: v.hint})
		case v.why != "":
			im.add(v.from, outcome{kind: Changed, line: v.line, to: to, why: fmt.Sprintf("%s %s: %s", v.kind, text, v.why)})
		default:
			im.carried(v.from, to)
		}
	}
}

// mode finds the mode of ours that a jail's filter ran in.
func (im *importer) mode(name string, args map[string]string, own bool, def *ini.Definition, from *ini.Option, w *jailConfig) {
	want, opt := args["mode"], im.jails.Get(name, "mode")
	if want == "" && def != nil {
		want, _, _ = def.Value("mode")
	}
	if want == "" && own && opt != nil { // an own filter has no modes; the jail's is that of the stock filter
		want, _ = im.value(name, "mode")
		opt.MarkUsed("filter")
	}
	if w.mode != "" { // the name says it
		want = w.mode
	}
	if want = strings.TrimSpace(want); want == "" {
		return
	}
	// fail2ban's exim counts rejects in mode normal up to 1.1.0; later they are mode more, as ours are.
	if !own && w.filter == "exim" && want == "normal" && def != nil {
		if _, o, err := def.Raw("mdre-more"); o == nil && err == nil {
			want = "more"
		}
	}
	f, err := filter.LoadBuiltin(w.filter)
	if err != nil {
		return
	}
	if opt == nil || len(opt.UsedBy) == 0 || args["mode"] == "" && !own {
		opt = from
	}
	at := "jails." + w.name + ".mode"
	switch {
	case slices.Contains(f.Modes, want):
		if w.mode = want; want == f.Modes[0] {
			w.mode = ""
		}
		im.carried(opt, at)
	case want == "normal" || len(f.Modes) == 1 && args["mode"] == "":
		w.mode = ""
		im.carried(opt, at)
	default:
		w.mode = ""
		if want != "normal" && slices.Contains(f.Modes, "aggressive") {
			w.mode = "aggressive"
		}
		in := w.mode
		if in == "" {
			in = f.Modes[0]
		}
		im.changed(opt, at, fmt.Sprintf("our filter %s has no mode %s: %s is taken", w.filter, clip(want), in))
	}
}
