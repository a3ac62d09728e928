package fail2ban

import (
	"cmp"
	"fmt"
	"maps"
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

// filter chooses a built-in filter for a jail, or translates the jail's own. It returns false if there is none.
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
			im.settings = append(im.settings, &Setting{File: file, Outcome: Lost, Admin: true,
				Why:  "was edited since the package was installed; our filter " + builtin + " replaces the package's version",
				Hint: "compare the two and move additions to filter.d/" + filterName + ".local, which is translated"})
			delete(im.edited, file)
		}
		im.useBuiltin(builtin, mode, name, filterName, args, def, from, w)
		if def != nil {
			im.translateAdditions(name, filterName, def, from, w)
		}
		return true
	}
	return im.adminFilter(name, filterName, args, def, from, w, j)
}

// adminFilter translates an administrator's filter, or uses the built-in filter for the same service. It returns false if neither
// is possible.
func (im *importer) adminFilter(name, filterName string, args map[string]string, def *ini.Definition, from *ini.Option, w *jailConfig, j *JailReport) bool {
	src := im.source(name, filterName, def, from)
	match, o := im.journalmatch(name, def, from)
	t, lost, wider := parseJournalMatch(match, im.owner(name))
	builtin, sure := im.builtinFor(name, &t, def)
	if len(lost) == 0 && strings.TrimSpace(match) == "" {
		lost = []string{"the filter does not say which unit writes the lines (journalmatch)"}
	}
	src.name, src.trust = filterID(filterName), t
	switch {
	case t.isSet():
	case builtin != "":
		src.trust = builtinTrust(builtin)
		lost = nil
	case im.stockFile(filterName, def) && services[filterName] != nil:
		src.trust.units, src.trust.uid = services[filterName], "system"
		src.assumed = "fail2ban's filter does not say which unit writes the lines; these are the usual ones, correct them under trust if needed"
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
	im.recordSources(name, "filters.d/"+src.name+".yaml trust", match, o, &t, builtin, lost, wider)
	if builtin != "" && len(t.containers) > 0 && builtinTrust(builtin).requireMessage {
		builtin, sure = "", false // the built-in filter accepts no lines of containers
	}
	shipped, kept := map[string]bool{}, false
	if sure {
		shipped = im.shipped(def)
		kept = slices.ContainsFunc(src.fail, func(e expression) bool { return shipped["failregex"+e.text] })
	}
	b := builtinTrust(builtin)
	if sure && (o == nil || !im.adminFile(o.File) || len(slices.Concat(b.missingFrom(&t).units, b.missingFrom(&t).slices, t.containers, t.userUnits)) == 0) {
		// The built-in filter's trust, including executables, holds for the administrator's expressions, too.
		src.trust = builtinTrust(builtin)
		src.remove(shipped)
	}
	like, of := 0, 0
	if builtin != "" {
		like, of = countShared(src.fail, builtin)
	}
	tr := im.translate(src)
	im.recordResults(tr, j)
	if builtin != "" && im.preferBuiltin(name, builtin, sure, kept, like, of, tr) {
		// The administrator's filter is added to the built-in one, which would be active without any import.
		im.logPaths(name, builtin)
		im.useBuiltin(builtin, "", name, filterName, args, def, from, w)
		im.addUnits(&t, o, w)
		im.note("jail %s: our filter %s is used for its service, with the thresholds of this jail", name, builtin)
		if tr.data != nil {
			im.addSecondJail(name, filterName, tr, w)
		}
		return true
	}
	j.Translated = true
	w.filter = tr.name
	if tr.data == nil {
		if like > 0 {
			im.note("jail %s: bailiff has a built-in filter for some of these lines: %s (bailiff filter show %s)", name, builtin, builtin)
		}
		return false
	}
	if src.assumed != "" {
		w.enabled = "" // on, but bailiff check does not complain if there is no such service
		w.comments = append(w.comments, fmt.Sprintf("%s (%s)", src.assumed, src.trust.names()))
		im.note("filters.d/%s.yaml: %s: %s", tr.name, src.assumed, src.trust.names())
	}
	if builtin != "" {
		im.note("jail %s: bailiff has a built-in filter for the same unit: %s (bailiff filter show %s)", name, builtin, builtin)
	}
	return true
}

// recordSources records the outcomes of the options that say where an administrator's filter reads: logpath, and journalmatch,
// which is o with the value match. The other parameters are the result of parseJournalMatch and the built-in filter whose
// trust replaces it, if any.
func (im *importer) recordSources(name, at, match string, o *ini.Option, t *trust, builtin string, lost, wider []string) {
	if !t.isSet() && builtin == "" {
		im.logPaths(name, "")
	} else if _, o := im.value(name, "logpath"); o != nil {
		im.notNeeded(o, "the journal has the lines of "+t.names())
	}
	for _, why := range lost {
		im.lost(o, why, "")
	}
	for _, term := range wider {
		im.changed(o, at, fmt.Sprintf("%s: all lines of %s are read", term, t.names()))
	}
	switch {
	case o == nil:
	case strings.TrimSpace(match) == "":
		im.notNeeded(o, "it is empty")
	default:
		im.carried(o, at)
	}
}

// preferBuiltin reports whether a built-in filter replaces an administrator's filter, with the thresholds of its jail:
// if the jail has its name, if the administrator's filter includes the stock one's expressions, or if it covers
// expressions that could not be translated. A filter for a few lines with a threshold of 1 must not impose it on all
// lines of the service. The same unit does not mean the same lines: PHP and web servers run many applications.
func (im *importer) preferBuiltin(name, builtin string, sure, kept bool, like, of int, tr *translation) bool {
	if known, _, _ := Builtin(name); sure && (known == builtin || jailName(name) == builtin || kept) {
		return true
	}
	if tr.exact() || like == 0 {
		return false
	}
	f, err := filter.LoadBuiltin(builtin)
	return err == nil && (f.Off || tr.data == nil && 2*like >= of)
}

// countShared counts how many of the failures in a built-in filter's tests are matched by an administrator's expressions.
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

const hintFilter = "write your own filter: see FILTERS in bailiff.yaml(5)"

const hintUnit = "name the source of the lines in the filter and import again: journalmatch = _SYSTEMD_UNIT=NAME.service, CONTAINER_NAME=NAME, or _SYSTEMD_USER_UNIT=NAME.service _UID=1000 (systemctl status PID shows the unit of a process)"

// hasFilters reports whether there is a folder filter.d, not only a jail.local.
func (im *importer) hasFilters() bool {
	st, err := os.Stat(filepath.Join(im.root, "filter.d"))
	return err == nil && st.IsDir()
}

// stockFile reports whether a filter is shipped by fail2ban and not extended by the administrator.
func (im *importer) stockFile(name string, def *ini.Definition) bool {
	return slices.Contains(stock, name) && !slices.ContainsFunc(def.Tree.Files, im.adminFile)
}

// dropFilterOptions records that an administrator's filter is lost with its jail.
func (im *importer) dropFilterOptions(name string, def *ini.Definition, why string) {
	for _, o := range def.Tree.Assigned {
		if im.adminFile(o.File) && len(im.outcomes[o]) == 0 && o.Section != "INCLUDES" {
			im.lost(o, "jail "+name+", which uses it, is not carried over: "+why, "")
		}
	}
}

// useBuiltin sets a jail's filter to a built-in one.
func (im *importer) useBuiltin(builtin, mode, name, filterName string, args map[string]string, def *ini.Definition, from *ini.Option, w *jailConfig) {
	w.filter, w.mode = builtin, mode
	_, _, known := Builtin(filterName)
	im.mode(name, args, !known, def, from, w)
	for _, a := range slices.Sorted(maps.Keys(args)) {
		if a != "mode" && a != "logtype" && a != "journalmatch" {
			im.lost(from, fmt.Sprintf("filter %s: its option %s=%s has no counterpart in ours", filterName, a, clip(args[a])), "see bailiff filter show "+builtin)
		}
	}
}

// journalmatch returns the journalmatch of a jail or its filter, and the option that sets it: from if it is set in the
// brackets of the jail's filter, nil if there is none.
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

// addUnits adds the units of t that the jail's built-in filter does not cover.
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
		im.notNeeded(o, fmt.Sprintf("our filter %s covers the lines of %s", w.filter, b.names()))
	}
}

// filterID converts a filter's name to a valid name of a filter file.
func filterID(s string) string {
	s = regexp.MustCompile(`[^A-Za-z0-9_-]+`).ReplaceAllString(filepath.Base(s), "-")
	return cmp.Or(strings.Trim(s[:min(len(s), 60)], "-"), "filter")
}

// translate translates a filter, once for all jails that use the same expressions and units.
func (im *importer) translate(src *source) *translation {
	key := fmt.Sprintf("%s\x00%s\x00%v", src.name, src.prefregex, src.trust) // jails with the same filter may read different units
	for _, e := range append(slices.Clone(src.fail), src.ignore...) {
		key += "\x00" + e.text
	}
	if tr := im.filters[key]; tr != nil {
		return tr
	}
	name := src.name
	taken := filter.Builtin()
	for _, tr := range im.filters {
		taken = append(taken, tr.name)
	}
	for i := 2; slices.Contains(taken, name); i++ {
		name = fmt.Sprintf("%s-%d", src.name, i)
	}
	src.name = name
	tr := translate(src)
	im.filters[key] = tr
	return tr
}

// recordResults records the outcomes of a filter's expressions.
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
		why := fmt.Sprintf("%s %s: %s", v.kind, printable(text.Clip(v.text, 160)), v.why)
		switch {
		case !v.taken:
			im.add(v.from, outcome{kind: Lost, line: v.line, why: why, hint: v.hint})
		case v.why != "":
			im.add(v.from, outcome{kind: Changed, line: v.line, to: to, why: why})
		default:
			im.carried(v.from, to)
		}
	}
}

// mode carries over the mode of a jail's filter.
func (im *importer) mode(name string, args map[string]string, admins bool, def *ini.Definition, from *ini.Option, w *jailConfig) {
	want, opt := args["mode"], im.jails.Get(name, "mode")
	if want == "" && def != nil {
		want, _, _ = def.Value("mode")
	}
	if want == "" && admins && opt != nil { // an administrator's filter has no modes; the jail's mode is that of the stock filter
		want, _ = im.value(name, "mode")
		opt.MarkUsed("filter")
	}
	if w.mode != "" { // implied by the filter's name
		want = w.mode
	}
	if want = strings.TrimSpace(want); want == "" {
		return
	}
	// fail2ban's exim counts rejects in mode normal up to 1.1.0; later in mode more, as the built-in filter does.
	if !admins && w.filter == "exim" && want == "normal" && def != nil {
		if _, o, err := def.Raw("mdre-more"); o == nil && err == nil {
			want = "more"
		}
	}
	f, err := filter.LoadBuiltin(w.filter)
	if err != nil {
		return
	}
	if opt == nil || len(opt.UsedBy) == 0 || args["mode"] == "" && !admins {
		opt = from
	}
	at := "jails." + w.name + ".mode"
	switch {
	case slices.Contains(f.Modes[1:], want):
		w.mode = want
		im.carried(opt, at)
	case want == f.Modes[0] || want == "normal" || len(f.Modes) == 1 && args["mode"] == "":
		w.mode = ""
		im.carried(opt, at)
	default:
		w.mode = ""
		if want != "normal" && slices.Contains(f.Modes, "aggressive") {
			w.mode = "aggressive"
		}
		im.changed(opt, at, fmt.Sprintf("our filter %s has no mode %s: %s is used", w.filter, clip(want), cmp.Or(w.mode, f.Modes[0])))
	}
}
