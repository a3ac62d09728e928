package fail2ban

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/policy/filter"
)

// isTrue reads a boolean as fail2ban does.
func isTrue(s string) bool {
	return slices.Contains([]string{"1", "on", "true", "yes"}, strings.ToLower(strings.TrimSpace(s)))
}

// isFalse reports whether a value is one that means false, not a mistake that fail2ban treats as false.
func isFalse(s string) bool {
	words := strings.Fields(strings.ToLower(s))
	return len(words) == 0 || slices.Contains([]string{"0", "off", "false", "no"}, words[0])
}

// duration converts a time to bailiff's format. It returns "" if that is not possible, and records the reason.
func (im *importer) duration(v string, o *ini.Option, key string, limit float64, forever bool) string {
	sec, err := seconds(v)
	text := spanText(sec)
	switch {
	case err != nil:
		im.lost(o, err.Error(), "write "+key)
		return ""
	case text == "forever" && !forever || limit > 0 && sec > limit:
		text = spanText(limit)
		im.changed(o, key, "reduced to "+text+", the maximum")
	case sec == 0 && forever:
		im.changed(o, key, "a ban time of 0 became one second")
	default:
		im.carried(o, key)
	}
	return text
}

const maxFindTime = 366 * 86400

// times carries over the thresholds that a section sets itself.
func (im *importer) times(sec, at string) (t thresholds) {
	own := func(name string) (string, *ini.Option) {
		if im.jails.Local(sec, name) == nil {
			return "", nil
		}
		v, o := im.value(sec, name)
		if sec == "DEFAULT" && v == "" {
			return "", nil
		}
		return v, o
	}
	if v, o := own("findtime"); o != nil {
		t.find = im.duration(v, o, at+".find_time", maxFindTime, false)
	}
	if v, o := own("bantime"); o != nil {
		t.ban = im.duration(v, o, at+".ban_time", 0, true)
	}
	if v, o := own("maxretry"); o != nil {
		t.retry = im.retries(v, o, at+".max_retry")
	}
	return t
}

func (im *importer) retries(v string, o *ini.Option, key string) int {
	number, comment, commented := strings.Cut(v, "#")
	n, err := strconv.Atoi(strings.TrimSpace(number))
	switch {
	case err == nil && commented && n >= 1 && n <= 1000:
		im.changed(o, key, fmt.Sprintf("fail2ban does not accept %q as a number and used its default; it is %d here. Put the comment (#%s) on a line of its own", clip(v), n, clip(comment)))
		return n
	case err != nil:
		im.lost(o, fmt.Sprintf("%q is not a number", clip(v)), "write "+key)
		return 0
	case n < 1 || n > 1000:
		n = min(max(n, 1), 1000)
		im.changed(o, key, fmt.Sprintf("became %d: the range is 1 to 1000", n))
		return n
	}
	im.carried(o, key)
	return n
}

// importJail translates one section of jail.conf.
func (im *importer) importJail(name string) {
	at, on := im.value(name, "enabled")
	first, more := "", false
	if words := strings.Fields(at); len(words) > 0 {
		first, more = words[0], len(words) > 1
	}
	switch {
	case !isTrue(first):
		im.disabled(name, at, on)
		return
	case more: // fail2ban reads the whole value, which is not true
		im.changed(on, "jails."+jailName(name)+".enabled", fmt.Sprintf("jail %s: fail2ban does not accept %q as a boolean and left the jail off; it is enabled here, as its first word says. The rest is ignored (a comment, or an indented line?)", name, clip(at)))
	default:
		im.carried(on, "jails."+jailName(name)+".enabled")
	}
	j := JailReport{Name: name}
	defer func() {
		if j.As == "" {
			im.dropOptions(name, &j)
		}
		im.result.Report.Jails = append(im.result.Report.Jails, j)
	}()
	refuse := func(o *ini.Option, why, hint string) {
		j.Why = why
		if o == nil || o.Section == "DEFAULT" && on != nil {
			o = on
		}
		im.lost(o, "jail "+name+": "+why, hint)
	}
	text, from := im.value(name, "filter")
	filterName, args, err := ini.SplitOptions(text)
	_, _, unresolved := im.jails.Value(name, "filter", nil)
	byHand := text == "" && unresolved == nil // fail2ban runs a jail without a filter: it holds bans made by hand
	if !byHand {
		if err != nil || filterName == "" {
			if text == "" {
				err = fmt.Errorf("has no filter")
			}
			refuse(from, err.Error(), "")
			return
		}
		if _, err := im.definition("filter.d", filterName, args); err != nil && im.hasFilters() {
			why := err.Error() + ": fail2ban skips such a jail, and so does the import"
			if builtin, _, known := Builtin(filterName); known {
				why += "; our jail " + builtin + " is on by default if the host has the service"
			}
			refuse(from, why, "")
			return
		}
		im.carried(from, "jails."+jailName(name)+".filter")
	}
	acts := im.actions(name)
	im.otherOptions(name)
	does := purposeOf(acts)
	if !more {
		im.result.Blocks[name] = does == bansHere || does == bansWithOthers
	}
	if byHand {
		refuse(from, "it has no filter, so it holds only bans made by hand; bailiff needs no jail for these", "bailiff ban ADDRESS")
		return
	}
	if filterName == "recidive" {
		if from.Section == "DEFAULT" && on != nil {
			from = on
		}
		im.recidive(name, from)
		j.Why = "counting repeat offenders is built in: see escalate"
		return
	}
	if does == acceptsAddresses {
		refuse(im.jails.Get(name, "action"), "it accepts addresses (blocktype RETURN) instead of blocking them; bailiff only blocks", "")
		return
	}
	w := &jailConfig{name: im.freeName(name), enabled: "true"}
	if w.name != name {
		im.note("jail %s was renamed to %s: names consist of a-z, 0-9 and - and are unique", name, w.name)
	}
	at = "jails." + w.name
	note := ""
	w.ports = im.ports(name, at, acts)
	switch does {
	case bansWithOthers:
		note = im.noteForeign(name, acts)
	case bansNobody:
		w.observe = true
		im.changed(im.banOption(name, acts), at+".observe: true", "jail "+name+" banned nobody, it only reported; here it only observes. bailiff bans --observed lists the addresses that it would have banned; no reports are sent for them")
		note = "observes only, because fail2ban only reported"
	}
	if len(w.name) > maxNameWithPorts && len(w.ports) > 0 {
		w.ports = nil
		im.changed(im.jails.Get(name, "port"), at+".ports: all", fmt.Sprintf("a jail with a name of more than %d characters cannot have ports: all ports are blocked", maxNameWithPorts))
	}
	if w.thresholds = im.times(name, at); w.find == im.defaults.find {
		w.find = ""
	}
	if w.ban == im.defaults.ban {
		w.ban = ""
	}
	if w.retry == im.defaults.retry {
		w.retry = 0
	}
	if !im.filter(name, filterName, args, from, w, &j) {
		j.Why = cmp.Or(j.Why, "none of its expressions could be translated")
		hint := hintFilter
		if j.Of == 0 {
			hint = hintUnit
		}
		refuse(from, j.Why, hint)
		delete(im.names, w.name)
		return
	}
	j.As, j.Filter, j.Mode, j.Why = w.name, w.filter, w.mode, note
	im.result.Jails[name] = w.name
	im.output = append(im.output, w)
}

// dropOptions records that the options of a jail are lost because the jail is not carried over.
func (im *importer) dropOptions(name string, j *JailReport) {
	s := im.jails.Sections[name]
	for _, opt := range s.Order {
		if o := s.Options[opt]; len(im.outcomes[o]) == 0 && len(o.UsedBy) == 0 {
			im.lost(o, "jail "+name+" is not carried over: "+j.Why, "")
		}
	}
}

// disabled records the outcome of the administrator's options of a disabled jail.
func (im *importer) disabled(name, at string, on *ini.Option) {
	for _, o := range im.jails.Assigned {
		if o.Section == name && o != on && im.adminFile(o.File) {
			im.notNeeded(o, "the jail is not enabled")
		}
	}
	if on == nil || on.Section != name || !im.adminFile(on.File) {
		return
	}
	if !isFalse(at) {
		im.lost(on, fmt.Sprintf("jail %s: %q is neither true nor false; fail2ban leaves the jail off", name, clip(at)), "write enabled = true")
		return
	}
	text, _, _ := im.jails.Value(name, "filter", nil)
	filterName, args, _ := ini.SplitOptions(text)
	x := disabledJail{on: on, filter: filterName}
	if slices.Contains(filter.Builtin(), name) {
		appendNew(&x.builtins, name)
	}
	for _, builtin := range slices.Concat(sameLines(name, ""), sameLines(filterName, args["mode"])) {
		appendNew(&x.builtins, builtin)
	}
	if x.builtins == nil {
		im.notNeeded(on, whyOff)
		return
	}
	im.disabledJails = append(im.disabledJails, x)
}

const whyOff = "jails that are not named are off"

// disabledJail is a jail that the administrator disabled, and that built-in ones would replace: of the same name, or whose
// default mode counts the same lines, as that of postfix does for postfix-sasl.
type disabledJail struct {
	builtins []string
	filter   string // fail2ban's
	on       *ini.Option
}

// disableBuiltins disables the built-in jails in place of those that the administrator disabled, unless an enabled jail
// has the name, or has fail2ban's filter and that is replaced by several built-in ones.
func (im *importer) disableBuiltins() {
	for _, x := range im.disabledJails {
		carried := false
		for _, builtin := range x.builtins {
			used := func(j *jailConfig) bool { return j.filter == x.filter && builtin != x.filter }
			if !im.names[builtin] && !slices.ContainsFunc(im.output, used) {
				im.names[builtin] = true
				im.disabledBuiltins = append(im.disabledBuiltins, builtin)
			}
			if slices.Contains(im.disabledBuiltins, builtin) {
				im.carried(x.on, "jails."+builtin+".enabled")
				carried = true
			}
		}
		if !carried {
			im.notNeeded(x.on, whyOff)
		}
	}
}

var badInName = regexp.MustCompile(`[^a-z0-9-]+`)

// jailName converts a name to a valid name of a jail.
func jailName(s string) string {
	s = strings.Trim(badInName.ReplaceAllString(strings.ToLower(s), "-"), "-")
	if s == "" || s == "manual" {
		s = "jail-" + s
	}
	return strings.Trim(s[:min(len(s), 32)], "-")
}

func (im *importer) freeName(s string) string {
	base := jailName(s)
	name := base
	for i := 2; im.names[name]; i++ {
		suffix := "-" + strconv.Itoa(i)
		name = base[:min(len(base), 32-len(suffix))] + suffix
	}
	im.names[name] = true
	return name
}

// otherOptions carries over a jail's options other than filter, action and thresholds.
func (im *importer) otherOptions(name string) {
	for _, opt := range []struct{ name, why string }{
		{"logencoding", "the journal is UTF-8 and preserves other bytes"},
		{"logtimezone", whyDate},
		{"datepattern", whyDate},
		{"maxmatches", "limits.max_evidence limits the evidence of a ban"},
		{"ignorecache", "no command is run for an address, so there is no result to cache"},
	} {
		_, o := im.value(name, opt.name)
		im.notNeeded(o, opt.why)
	}
	if v, o := im.value(name, "usedns"); strings.TrimSpace(v) == "raw" {
		im.lost(o, "only addresses can be banned", "")
	} else {
		im.notNeeded(o, whyNames)
	}
	v, o := im.value(name, "backend")
	switch _, args, err := ini.SplitOptions(v); {
	case !strings.Contains(v, "["):
		im.notNeeded(o, "the journal is read")
	case err == nil && args["journalpath"] == "" && args["journalfiles"] == "":
		im.notNeeded(o, "the whole journal of this host is read, including namespaces")
	default:
		im.lost(o, "the journal of this host is read; other folders are not", "read other journals with bailiff replay --file")
	}
	if v, o := im.value(name, "ignorecommand"); strings.TrimSpace(v) == "" {
		im.notNeeded(o, "it is empty")
	} else {
		im.lost(o, "bailiff runs no commands", "list the addresses in allow.addresses or in a file in /etc/bailiff/allow.d")
	}
	if v, o := im.value(name, "ignoreself"); o != nil {
		switch {
		case isTrue(v):
			im.carried(o, "allow.self")
		case o.Section == "DEFAULT":
			im.carried(o, "allow.self")
			im.self = "false"
		default:
			im.lost(o, "the host's own addresses are allowed in all jails or in none", "allow.self: false removes the exception in all jails")
		}
	}
	if v, o := im.value(name, "ignoreip"); o != nil {
		if _, _, err := im.jails.Value(name, "ignoreip", nil); err != nil && o.Section != "DEFAULT" { // an undefined reference: the option is meant to extend the default
			if v, o := im.value("DEFAULT", "ignoreip"); o != nil {
				im.allowAddresses(name, v, o)
			}
		} else {
			im.allowAddresses(name, v, o)
		}
	}
}

// logPaths records where a jail's lines came from if that was not the journal. filterName is the built-in filter, or "".
func (im *importer) logPaths(name, filterName string) {
	v, o := im.value(name, "logpath")
	backend, _ := im.value(name, "backend")
	if o == nil {
		return
	}
	if strings.HasPrefix(strings.TrimSpace(backend), "systemd") {
		im.notNeeded(o, "the journal is read")
		return
	}
	for _, p := range strings.Fields(v) {
		if syslogFile(p) {
			continue
		}
		hint := "configure the service to log to the journal (standard output, or syslog)"
		if f, err := filter.LoadBuiltin(filterName); err == nil {
			hint = "configure " + strings.Join(append(f.Trust().Units, f.Trust().Slices...), ", ") + " to log to the journal (standard output, or syslog)"
			if requiresMessage(f) {
				hint = "configure the service to log to syslog; our filter " + filterName + " takes no lines of standard output, which clients may be able to split"
			}
			hint += ": bailiff filter show " + filterName
		}
		im.lost(o, fmt.Sprintf("jail %s: bailiff reads the journal, not %s", name, p), hint)
		return
	}
	im.notNeeded(o, "the journal has all that syslog wrote there")
}

// requiresMessage reports whether a filter accepts only whole messages, no lines of a stream, in its default mode.
func requiresMessage(f *filter.Filter) bool {
	if f.Trust().RequireMessage {
		return true
	}
	m, err := f.Mode("")
	return err == nil && !slices.ContainsFunc(m.Patterns(), func(p *filter.Pattern) bool { return !p.RequireMessage && p.Kind == filter.Failure })
}

// syslogFile reports whether a file is written by syslog daemons, with messages that the journal has, too.
func syslogFile(p string) bool {
	if p == "head" || p == "tail" {
		return true
	}
	base, ok := strings.CutPrefix(p, "/var/log/")
	return ok && slices.Contains([]string{"auth.log", "secure", "mail.log", "mail.warn", "mail.err", "mail.info", "maillog", "mail", "messages", "syslog", "daemon.log", "user.log", "kern.log", "cron", "cron.log"}, base)
}
