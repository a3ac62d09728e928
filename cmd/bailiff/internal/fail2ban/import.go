// Package fail2ban reads the configuration and the database of fail2ban (jail.conf(5), versions 0.9 to 1.1) and says it in
// bailiff's terms: which jails, filters, allow lists and bans, and what cannot be said.
//
// It never runs anything that it reads, resolves no name, and writes nothing: that is for whoever asked, who has the loader
// judge the result first. Semantics are those of fail2ban's readers; the code is our own.
//
// Start reading at Import. ini.go and interpolate.go read files as fail2ban does, pyre.go its regular expressions,
// translate.go makes filters of them; bans.go and sqlite.go read the database.
package fail2ban

import (
	"bailiff/cmd/bailiff/internal/text"
	"bufio"
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/filter"
)

// Folder is where fail2ban's configuration lies.
const Folder = "/etc/fail2ban"

// File is a file to write, its path relative to bailiff's folder.
type File struct {
	Path string
	Data []byte
}

// Result is what an import comes to.
type Result struct {
	Report   Report
	Files    []File
	Database string            // fail2ban's; empty: it keeps none
	Jails    map[string]string // ours by fail2ban's names, for the bans in the database

	banTimes map[string]float64
}

// BanTime is how long fail2ban's bans in a jail lasted, in seconds; negative: without end.
func (r *Result) BanTime(jail string) float64 {
	if t, ok := r.banTimes[jail]; ok {
		return t
	}
	return r.banTimes["DEFAULT"]
}

// version is what %(fail2ban_version)s stands for: it is used for an agent's name alone.
const version = "1.1.0"

type importer struct {
	root string
	accountant
	problems    []problem
	jails       *tree
	result      *Result
	definitions map[string]*tree

	signed   map[string]bool // filter files: they do not say that they are fail2ban's
	edited   map[string]bool // files of the package that were changed in place
	defaults times
	out      []*jail
	names    map[string]bool // of ours that are taken
	allowed  []allowed
	filters  map[string]*translation
	backends map[string][]string // firewall.backend words → jails
	reports  reports
	esc      escalation
	reject   []string // jails that reject
	unsaid   []string // jails of which it is not said
	chains   []*option
	self     string
	off      []string // of ours that the administrator switched off
}

type times struct {
	find, ban string
	retry     int
}

// jail is one of ours to write.
type jail struct {
	name, filter, mode, enabled string
	times                       // empty: the default
	ports                       []string
	trust                       trust // besides the filter's own
	observe                     bool
	comments                    []string
}

type allowed struct{ entry, from string }

// Import reads the configuration in a folder. An error is one of the folder as a whole; what is wrong with single files is
// in the report.
func Import(root string) (*Result, error) {
	root = filepath.Clean(root)
	if st, err := os.Stat(root); err != nil {
		return nil, err
	} else if !st.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", root)
	}
	im := &importer{
		root: root, jails: newTree(root), definitions: make(map[string]*tree), names: make(map[string]bool),
		filters: make(map[string]*translation), backends: make(map[string][]string),
		result: &Result{Jails: make(map[string]string), banTimes: map[string]float64{"DEFAULT": 600}}, // fail2ban's own default
	}
	im.own = im.isOwn
	if root == Folder {
		im.edited = editedFiles("/var/lib/dpkg/status", "fail2ban")
	}
	im.jails.vars["fail2ban_version"], im.jails.vars["fail2ban_confpath"] = version, root
	r := &reader{tree: im.jails}
	r.readAll("jail")
	im.problems = append(im.problems, r.problems...)
	if len(im.jails.files) == 0 {
		return nil, fmt.Errorf("%s holds no jail.conf and no jail.local", root)
	}
	im.defaultTimes()
	for _, name := range im.jails.order {
		if name == "DEFAULT" || name == "INCLUDES" || name == "Definition" {
			continue
		}
		im.jail(name)
	}
	im.escalate()
	im.server()
	for _, name := range im.jails.order {
		if v, _, err := im.jails.value(name, "bantime", nil); err == nil {
			if sec, err := seconds(v); err == nil {
				im.result.banTimes[name] = sec
			}
		}
	}
	im.finish()
	return im.result, nil
}

// isOwn says whether a file is the administrator's and not the package's.
func (im *importer) isOwn(file string) bool {
	rel, err := filepath.Rel(im.root, file)
	if err != nil || strings.HasPrefix(rel, "..") || strings.HasSuffix(rel, ".local") {
		return true
	}
	dir, base := filepath.Split(rel)
	switch dir {
	case "":
		return base != "jail.conf" && base != "fail2ban.conf" && !strings.HasPrefix(base, "paths-")
	case "jail.d/":
		return base != "defaults-debian.conf" && base != "00-firewalld.conf" && base != "00-systemd.conf"
	case "filter.d/":
		_, known := stock[strings.TrimSuffix(base, ".conf")]
		return !known || im.unsigned(file, base)
	case "action.d/":
		kind, _ := classify(strings.TrimSuffix(base, ".conf"))
		return kind == actionOther && !strings.HasSuffix(base, "-common.conf")
	}
	return true
}

// unsigned says whether a filter with the name of a shipped one says nowhere that it is fail2ban's, as nearly all of theirs
// do: vaultwarden, traefik-auth and the like were written by administrators long before fail2ban shipped them.
func (im *importer) unsigned(file, base string) bool {
	switch base {
	case "apache-common.conf", "botsearch-common.conf", "common.conf", "slapd.conf", "squirrelmail.conf":
		return false
	}
	own, ok := im.signed[file]
	if !ok {
		data, err := os.ReadFile(file)
		own = err == nil && !bytes.Contains(bytes.ToLower(data), []byte("fail2ban"))
		if im.signed == nil {
			im.signed = make(map[string]bool)
		}
		im.signed[file] = own
	}
	return own
}

// editedFiles returns the configuration files of a Debian package whose content is not what the package brought, by dpkg's
// own record (dpkg-query(1), Conffiles). Without that record nothing can be said.
func editedFiles(status, pkg string) map[string]bool {
	f, err := os.Open(status)
	if err != nil {
		return nil
	}
	defer f.Close()
	edited := make(map[string]bool)
	in, files := false, false
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, maxFile)
	for sc.Scan() {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "Package: "):
			in, files = line == "Package: "+pkg, false
		case !strings.HasPrefix(line, " "):
			files = in && line == "Conffiles:"
		case files:
			w := strings.Fields(line)
			if len(w) < 2 {
				continue
			}
			if data, err := os.ReadFile(w[0]); err == nil && fmt.Sprintf("%x", md5.Sum(data)) != w[1] {
				edited[w[0]] = true
			}
		}
	}
	return edited
}

// truth reads a truth as fail2ban does.
func truth(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "1", "on", "true", "yes":
		return true
	}
	return false
}

// falsehood says whether a text is one of those that fail2ban takes for false, and no mistake.
func falsehood(s string) bool {
	words := strings.Fields(strings.ToLower(s))
	return len(words) == 0 || slices.Contains([]string{"0", "off", "false", "no"}, words[0])
}

// text returns a resolved option of a jail; a fault of it is told once.
func (im *importer) text(sec, name string) (string, *option) {
	v, o, err := im.jails.value(sec, name, nil)
	if err != nil {
		why := err.Error()
		if sec != "DEFAULT" {
			why = "jail " + sec + ": it " + why
		}
		im.lost(im.culprit(sec, name, err), why, "")
		return "", im.jails.get(sec, name)
	}
	return v, o
}

// culprit is the option in which a reference stands that leads nowhere.
func (im *importer) culprit(sec, name string, err error) *option {
	at := im.jails.get(sec, name)
	var ref nowhereError
	if !errors.As(err, &ref) || strings.Contains(at.value, string(ref)) {
		return at
	}
	for _, o := range im.jails.assigned {
		if (o.section == sec || o.section == "DEFAULT") && o == im.jails.get(sec, o.name) && strings.Contains(o.value, string(ref)) {
			return o
		}
	}
	return at
}

// oneTime writes a time of fail2ban's as ours; "" after saying why it cannot be.
func (im *importer) oneTime(v string, o *option, key string, most float64, forever bool) string {
	sec, err := seconds(v)
	if err != nil {
		im.lost(o, err.Error(), "write "+key)
		return ""
	}
	d, never := span(sec)
	switch {
	case never && !forever || most > 0 && sec > most:
		im.changed(o, key, "it is cut to "+config.FormatDuration(secondsDuration(most))+", the longest there is")
		return config.FormatDuration(secondsDuration(most))
	case never:
		im.carried(o, key)
		return "forever"
	case sec == 0 && forever:
		im.changed(o, key, "fail2ban's bans of no length became bans of one second")
	default:
		im.carried(o, key)
	}
	return config.FormatDuration(d)
}

const longestWindow = 366 * 86400

func (im *importer) defaultTimes() {
	d := &im.defaults
	for _, x := range []struct {
		name, key string
		dst       *string
		most      float64
		forever   bool
	}{{"findtime", "defaults.find_time", &d.find, longestWindow, false}, {"bantime", "defaults.ban_time", &d.ban, 0, true}} {
		if v, o := im.text("DEFAULT", x.name); o != nil && v != "" {
			*x.dst = im.oneTime(v, o, x.key, x.most, x.forever)
		}
	}
	if v, o := im.text("DEFAULT", "maxretry"); o != nil && v != "" {
		d.retry = im.retries(v, o, "defaults.max_retry")
	}
}

func (im *importer) retries(v string, o *option, key string) int {
	number, comment, commented := strings.Cut(v, "#")
	n, err := strconv.Atoi(strings.TrimSpace(number))
	switch {
	case err == nil && commented && n >= 1 && n <= 1000:
		im.changed(o, key, fmt.Sprintf("%q is not a number to fail2ban, which took its default; it is %d here: write the comment (#%s) into a line of its own", clip(v), n, clip(comment)))
		return n
	case err != nil:
		im.lost(o, fmt.Sprintf("%q is not a number", clip(v)), "write "+key)
		return 0
	case n < 1 || n > 1000:
		n = min(max(n, 1), 1000)
		im.changed(o, key, fmt.Sprintf("became %d: it goes from 1 to 1000", n))
		return n
	}
	im.carried(o, key)
	return n
}

// jail looks at one section of jail.conf and its kin.
func (im *importer) jail(name string) {
	at, on := im.text(name, "enabled")
	first, more := "", false
	if words := strings.Fields(at); len(words) > 0 {
		first, more = words[0], len(words) > 1
	}
	switch {
	case !truth(first):
		im.disabled(name, at, on)
		return
	case more: // fail2ban takes the whole for false, and the administrator wrote true
		im.changed(on, "jails."+jailName(name)+".enabled", fmt.Sprintf("jail %s: %q is no truth to fail2ban, which left the jail off; it is on here, as its first word says, and the rest is not read (a comment, or a line that is indented?)", name, clip(at)))
	default:
		im.carried(on, "jails."+jailName(name)+".enabled")
	}
	j := Jail{Name: name}
	defer func() { im.result.Report.Jails = append(im.result.Report.Jails, j) }()
	give := func(o *option, why, hint string) {
		j.Why = why
		if o == nil || o.section == "DEFAULT" && on != nil {
			o = on
		}
		if o != nil {
			im.lost(o, "jail "+name+": "+why, hint)
		}
	}
	text, from := im.text(name, "filter")
	filterName, args, err := splitOptions(text)
	if err != nil || filterName == "" {
		if text == "" {
			err = fmt.Errorf("has no filter")
		}
		give(from, err.Error(), "")
		im.leftovers(name, &j)
		return
	}
	if _, err := im.definition("filter.d", filterName, args, ""); err != nil && im.hasFilters() {
		_, _, known := ours(filterName)
		why := err.Error() + ": fail2ban leaves such a jail out, and so does the import"
		if own, _, _ := ours(filterName); known {
			why += "; our jail " + own + " is on by itself where the host has the service"
		}
		give(from, why, "")
		im.leftovers(name, &j)
		return
	}
	im.carried(from, "jails."+jailName(name)+".filter")
	acts := im.actions(name)
	im.other(name)
	if filterName == "recidive" {
		if from.section == "DEFAULT" && on != nil {
			from = on
		}
		im.recidive(name, from)
		j.Why = "the counting of repeat offenders: escalate"
		im.leftovers(name, &j)
		return
	}
	w := &jail{name: im.freeName(name), enabled: "true"}
	if w.name != name {
		im.note("jail %s is called %s: names are made of a-z, 0-9 and -, and are not taken twice", name, w.name)
	}
	at = "jails." + w.name
	note := ""
	ports, bans := im.ports(name, at, acts)
	switch bans {
	case bansWithOthers:
		note = im.elsewhere(name, acts)
	case bansNobody:
		w.observe = true
		im.changed(im.blame(name, acts), at+".observe: true", "jail "+name+" banned nobody, it only reported; here it only observes: bailiff bans --observed shows whom it would have banned, and no reports are sent of it")
		note = "observes only, as fail2ban only reported here"
	case letsIn:
		give(im.jails.get(name, "action"), "it lets addresses in (blocktype RETURN) instead of keeping them out; bailiff only bans", "")
		im.leftovers(name, &j)
		return
	}
	w.ports = ports
	if len(w.name) > 16 && len(w.ports) > 0 {
		w.ports = nil
		im.changed(im.jails.get(name, "port"), at+".ports: all", "a jail whose name has more than 16 characters cannot have ports: all are closed")
	}
	im.jailTimes(name, at, w)
	if !im.filter(name, filterName, args, from, w, &j) {
		if j.Why == "" {
			j.Why = "nothing of its filter could be translated"
		}
		hint := "write a filter of your own: bailiff.yaml(5), FILTERS"
		if j.Of == 0 {
			hint = hintUnit
		}
		give(from, j.Why, hint)
		delete(im.names, w.name)
		im.leftovers(name, &j)
		return
	}
	j.As, j.Filter, j.Mode, j.Why = w.name, w.filter, w.mode, note
	im.result.Jails[name] = w.name
	im.out = append(im.out, w)
}

// leftovers says of the options of a jail that is not taken over that they went with it.
func (im *importer) leftovers(name string, j *Jail) {
	s := im.jails.sections[name]
	for _, opt := range s.order {
		if o := s.options[opt]; len(im.outcomes[o]) == 0 && len(o.usedBy) == 0 {
			im.lost(o, "jail "+name+" is not carried over: "+j.Why, "")
		}
	}
}

// disabled says of a jail that is off that it is, where the administrator wrote it down.
func (im *importer) disabled(name, at string, on *option) {
	for _, o := range im.jails.assigned {
		if o.section == name && o != on && im.own(o.file) {
			im.moot(o, "the jail is not enabled")
		}
	}
	if on == nil || on.section != name || !im.own(on.file) {
		return
	}
	if !falsehood(at) {
		im.lost(on, fmt.Sprintf("jail %s: %q is neither true nor false; fail2ban leaves the jail off", name, clip(at)), "write enabled = true")
		return
	}
	own, _, ok := ours(name)
	if ok && own == name && !im.names[own] {
		im.names[own] = true
		im.off = append(im.off, own)
		im.carried(on, "jails."+own+".enabled")
		return
	}
	im.moot(on, "jails are on where they are named")
}

var badInName = regexp.MustCompile(`[^a-z0-9-]+`)

// jailName writes a name as ours are.
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

// jailTimes takes a jail's own thresholds over.
func (im *importer) jailTimes(name, at string, w *jail) {
	if o := im.jails.own(name, "findtime"); o != nil {
		v, _ := im.text(name, "findtime")
		if t := im.oneTime(v, o, at+".find_time", longestWindow, false); t != im.defaults.find {
			w.find = t
		}
	}
	if o := im.jails.own(name, "bantime"); o != nil {
		v, _ := im.text(name, "bantime")
		if t := im.oneTime(v, o, at+".ban_time", 0, true); t != im.defaults.ban {
			w.ban = t
		}
	}
	if o := im.jails.own(name, "maxretry"); o != nil {
		v, _ := im.text(name, "maxretry")
		if n := im.retries(v, o, at+".max_retry"); n != im.defaults.retry {
			w.retry = n
		}
	}
}

// other takes over what a jail says besides filter, action and thresholds.
func (im *importer) other(name string) {
	for _, opt := range []struct{ name, why string }{
		{"logencoding", "the journal is UTF-8 and keeps other bytes as they are"},
		{"logtimezone", "the journal's own clock counts"},
		{"datepattern", "the journal's own clock counts"},
		{"maxmatches", "limits.max_evidence bounds the evidence of a ban"},
		{"ignorecache", "nothing is run for an address, so nothing is kept of it"},
	} {
		if _, o := im.text(name, opt.name); o != nil {
			im.moot(o, opt.why)
		}
	}
	if v, o := im.text(name, "usedns"); o != nil {
		if strings.TrimSpace(v) == "raw" {
			im.lost(o, "bans are of addresses, not of texts", "")
		} else {
			im.moot(o, "host names are never looked up: only an address is evidence")
		}
	}
	v, o := im.text(name, "backend")
	if o != nil {
		if _, args, err := splitOptions(v); err == nil && strings.Contains(v, "[") && args["journalpath"] == "" && args["journalfiles"] == "" {
			im.moot(o, "all of this host's journal is read, with its namespaces")
		} else if strings.Contains(v, "[") {
			im.lost(o, "the journal of this host is read, all of its files; other folders are not", "bailiff replay --file reads any")
		} else {
			im.moot(o, "the journal is read")
		}
	}
	if v, o := im.text(name, "ignorecommand"); o != nil {
		if strings.TrimSpace(v) == "" {
			im.moot(o, "it is empty")
		} else {
			im.lost(o, "no commands are run", "list the addresses: allow.addresses, or a list in /etc/bailiff/allow.d")
		}
	}
	if v, o := im.text(name, "ignoreself"); o != nil {
		switch {
		case truth(v):
			im.carried(o, "allow.self")
		case o.section == "DEFAULT":
			im.carried(o, "allow.self")
			im.self = "false"
		default:
			im.lost(o, "the host's own addresses are allowed in all jails or in none", "write allow.self: false, for all")
		}
	}
	if v, o := im.text(name, "ignoreip"); o != nil {
		if _, _, err := im.jails.value(name, "ignoreip", nil); err != nil && o.section != "DEFAULT" { // it means to add to these
			if v, o := im.text("DEFAULT", "ignoreip"); o != nil {
				im.ignore(name, v, o)
			}
		} else {
			im.ignore(name, v, o)
		}
	}
}

// logs says where a jail's lines came from, if that was not the journal. filterName is ours, "" if there is none.
func (im *importer) logs(name, filterName string) {
	v, o := im.text(name, "logpath")
	backend, _ := im.text(name, "backend")
	if o == nil {
		return
	}
	if strings.HasPrefix(strings.TrimSpace(backend), "systemd") {
		im.moot(o, "the journal is read")
		return
	}
	for _, p := range strings.Fields(v) {
		if syslogFile(p) {
			continue
		}
		hint := "have the service log to the journal (standard output, or syslog)"
		if f, err := filter.LoadBuiltin(filterName); err == nil {
			hint = "have " + strings.Join(append(f.Trust().Units, f.Trust().Slices...), ", ") + " log to the journal (standard output, or syslog)"
			if whole(f) {
				hint = "have the service log by syslog; our filter " + filterName + " takes no lines of standard output, which may be cut by whoever writes them"
			}
			hint += ": bailiff filter show " + filterName
		}
		im.lost(o, fmt.Sprintf("jail %s: bailiff reads the journal, not %s", name, p), hint)
		return
	}
	im.moot(o, "what syslog wrote there stands in the journal")
}

// whole says whether a filter takes nothing but whole messages in its default mode.
func whole(f *filter.Filter) bool {
	if f.Trust().RequireMessage {
		return true
	}
	m, err := f.Mode("")
	return err == nil && !slices.ContainsFunc(m.Patterns(), func(p *filter.Pattern) bool { return !p.RequireMessage && p.Kind == filter.Failure })
}

// syslogFile says whether a file is one that syslog daemons fill with what the journal has, too.
func syslogFile(p string) bool {
	if p == "head" || p == "tail" {
		return true
	}
	base, ok := strings.CutPrefix(p, "/var/log/")
	if !ok {
		return false
	}
	return slices.Contains([]string{"auth.log", "secure", "mail.log", "mail.warn", "mail.err", "mail.info", "maillog", "mail", "messages", "syslog", "daemon.log", "user.log", "kern.log", "cron", "cron.log"}, base)
}

// ignore takes addresses over that are never banned. Ours hold in all jails.
func (im *importer) ignore(name, v string, o *option) {
	taken, whole := 0, 0
	lines := strings.Split(v, "\n")
	for i, l := range lines {
		if at := strings.Index(l, "#"); at >= 0 {
			lines[i] = l[:at]
			im.within(o, "#", outcome{kind: Changed, to: "allow.d/fail2ban.list", why: fmt.Sprintf("%s is a comment, whose words fail2ban takes for host names: it is left out", clip(l[at:]))})
		}
	}
	v = strings.Join(lines, "\n")
	for _, w := range strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\t' }) {
		whole++
		entry, err := allowEntry(w)
		if err != nil {
			if strings.HasPrefix(w, "file:") {
				im.within(o, w, outcome{kind: Lost, why: clip(w) + ": lists are files in /etc/bailiff/allow.d", hint: "put the list there as NAME.list, one address a line"})
			} else {
				im.within(o, w, outcome{kind: Lost, why: fmt.Sprintf("%s %v", clip(w), err), hint: "write its addresses into a list in /etc/bailiff/allow.d"})
			}
			continue
		}
		taken++
		if !slices.ContainsFunc(im.allowed, func(a allowed) bool { return a.entry == entry }) {
			im.allowed = append(im.allowed, allowed{entry, fmt.Sprintf("%s:%d", o.file, o.lineOf(w))})
		}
	}
	switch {
	case whole == 0:
		im.moot(o, "it is empty")
	case taken == 0:
	case o.section == "DEFAULT":
		im.carried(o, "allow.d/fail2ban.list")
	default:
		im.changed(o, "allow.d/fail2ban.list", fmt.Sprintf("allowed in jail %s alone before, now in all jails", name))
	}
}

// allowEntry reads an entry of ignoreip.
func allowEntry(w string) (string, error) {
	if ip, mask, ok := strings.Cut(w, "/"); ok && strings.Contains(mask, ".") { // 10.0.0.0/255.0.0.0
		m, err := netip.ParseAddr(mask)
		if err != nil || !m.Is4() {
			return "", fmt.Errorf("is not a network")
		}
		b := m.As4()
		v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		bits := 0
		for ; v&0x80000000 != 0; v <<= 1 {
			bits++
		}
		if v != 0 {
			return "", fmt.Errorf("is not a network")
		}
		w = fmt.Sprintf("%s/%d", ip, bits)
	}
	if p, err := netip.ParsePrefix(w); err == nil {
		w = p.Masked().String()
	} else if _, err := netip.ParseAddr(w); err != nil {
		if strings.Trim(w, "0123456789.:/abcdefABCDEF") == "" {
			return "", fmt.Errorf("is not an address")
		}
		return "", fmt.Errorf("is a host name: names are never looked up, since their owner could let anybody in")
	}
	if _, err := allow.ParseEntry(w); err != nil {
		return "", err
	}
	return w, nil
}

// server looks at fail2ban.conf and its kin.
func (im *importer) server() {
	t := newTree(im.root)
	r := &reader{tree: t}
	r.readAll("fail2ban")
	im.problems = append(im.problems, r.problems...)
	for _, o := range t.assigned {
		switch o.name {
		case "dbfile":
			im.moot(o, "bailiff keeps its bans in /var/lib/bailiff; import --bans takes over those that are in force")
		case "dbpurgeage":
			if im.own(o.file) {
				if v, err := seconds(o.value); err == nil && v > 0 {
					d, never := span(v)
					im.esc.forget = config.FormatDuration(d)
					if never {
						im.esc.forget = "forever"
					}
					im.carried(o, "escalate.forget")
					break
				}
			}
			im.moot(o, "escalate.forget is 30d")
		case "dbmaxmatches":
			im.moot(o, "limits.max_evidence bounds the evidence of a ban")
		case "loglevel", "logtarget", "syslogsocket":
			im.moot(o, "bailiff logs to the journal")
		case "socket", "pidfile":
			im.moot(o, "systemd holds socket and process")
		case "allowipv6":
			if strings.TrimSpace(strings.ToLower(o.value)) == "auto" || truth(o.value) {
				im.moot(o, "IPv6 is always looked at")
			} else {
				im.lost(o, "IPv6 is always looked at", "")
			}
		case "stacksize":
			im.moot(o, "there is nothing to set")
		}
		im.close(o)
	}
	im.result.Database = "/var/lib/fail2ban/fail2ban.sqlite3"
	if o := t.get("Definition", "dbfile"); o != nil {
		im.result.Database = strings.TrimSpace(o.value)
	}
	if db := strings.ToLower(im.result.Database); db == "none" || db == ":memory:" {
		im.result.Database = ""
	}
}

// finish closes the account and writes the files.
func (im *importer) finish() {
	im.tellChains()
	for _, p := range im.problems {
		im.settings = append(im.settings, Setting{File: p.file, Line: p.line, Outcome: Lost, Why: p.text, Own: true})
	}
	on := make(map[string]bool)
	for _, j := range im.result.Report.Jails {
		on[j.Name] = true
	}
	for _, o := range im.jails.assigned {
		switch {
		case o.section == "INCLUDES":
			im.carried(o, "the files named were read")
		case o.section != "DEFAULT" && !on[o.section] && !im.own(o.file):
			continue // a jail that fail2ban ships and nobody uses
		}
		im.close(o)
	}
	for _, name := range sortedKeys(im.definitions) {
		for _, o := range im.definitions[name].assigned {
			if o.section == "INCLUDES" || !im.own(o.file) && len(im.outcomes[o]) == 0 {
				continue
			}
			im.close(o)
		}
	}
	im.write()
	rep := &im.result.Report
	rep.From = im.root
	rep.Settings, rep.Notes = im.sorted(), im.notes
	if rep.Jails == nil {
		rep.Jails = []Jail{}
	}
	if rep.Notes == nil {
		rep.Notes = []string{}
	}
}

func sortedKeys[T any](m map[string]T) []string {
	l := make([]string, 0, len(m))
	for k := range m {
		l = append(l, k)
	}
	slices.Sort(l)
	return l
}

// escalate takes bantime.increment and its kin over. They belong to jails; ours hold for all, so [DEFAULT] speaks.
func (im *importer) escalate() {
	e := &im.esc
	for _, opt := range im.jails.assigned {
		if strings.HasPrefix(opt.name, "bantime.") && opt.section != "DEFAULT" && im.result.Jails[opt.section] != "" {
			im.lost(opt, "repeat offenders are counted over all jails, by one rule", "write it under escalate, for all jails")
		}
	}
	get := func(name string) (string, *option) {
		v, o := im.text("DEFAULT", "bantime."+name)
		return strings.TrimSpace(v), o
	}
	on, from := get("increment")
	if from == nil {
		if len(im.out) > 0 {
			im.note("fail2ban's bans were all of the same length; bailiff's double for those who come again, up to 4 weeks (write escalate: {factor: 1} to have them alike)")
		}
	}
	increment := truth(on)
	if from != nil {
		im.carried(from, "escalate.factor")
		if e.factor == "" {
			e.factor = "2"
			if !increment {
				e.factor = "1"
			}
		}
	}
	for _, name := range []string{"factor", "formula", "multipliers", "maxtime", "rndtime", "overalljails"} {
		v, o := get(name)
		switch {
		case o == nil:
		case v == "":
			im.moot(o, "it is empty")
		case !increment:
			im.moot(o, "bantime.increment is off")
		default:
			im.escalation(name, v, o)
		}
	}
}

var expFormula = regexp.MustCompile(`^ban\.Time\s*\*\s*math\.exp\(float\(ban\.Count\s*\+\s*1\)\s*\*\s*banFactor\)\s*/\s*math\.exp\(1\s*\*\s*banFactor\)$`)
var stockFormula = regexp.MustCompile(`^ban\.Time\s*\*\s*\(1\s*<<\s*\(ban\.Count if ban\.Count\s*<\s*20 else 20\)\)\s*\*\s*banFactor$`)

func (im *importer) escalation(name, v string, o *option) {
	e := &im.esc
	base, baseErr := seconds(im.valueOf("DEFAULT", "bantime"))
	switch name {
	case "maxtime", "rndtime":
		sec, err := seconds(v)
		key := map[string]string{"maxtime": "escalate.max", "rndtime": "escalate.random_extra"}[name]
		if err != nil || sec == 0 {
			im.lost(o, fmt.Sprintf("%q is not a time", clip(v)), "write "+key)
			return
		}
		d, never := span(sec)
		text := config.FormatDuration(d)
		if never {
			text = "forever"
		}
		if name == "maxtime" {
			e.max = text
		} else if never {
			im.lost(o, "cannot be forever", "write "+key)
			return
		} else {
			e.randomExtra = text
		}
		im.carried(o, key)
	case "overalljails":
		if truth(v) {
			im.carried(o, "escalate")
		} else {
			im.changed(o, "escalate", "repeat offenders are counted over all jails")
		}
	case "factor":
		f, err := strconv.ParseFloat(v, 64)
		formula := strings.TrimSpace(im.valueOf("DEFAULT", "bantime.formula"))
		switch {
		case err != nil:
			im.lost(o, fmt.Sprintf("%q is not a plain number", clip(v)), "write escalate.factor")
		case expFormula.MatchString(formula):
			im.carried(o, "escalate.factor")
		case f == 1:
			im.carried(o, "escalate.factor")
		default:
			im.lost(o, fmt.Sprintf("it makes each further ban %s times as long besides what grows; here a ban only grows from the one before", v), "raise escalate.factor")
		}
	case "formula":
		switch {
		case stockFormula.MatchString(v):
			im.carried(o, "escalate.factor")
		case expFormula.MatchString(v):
			f, err := strconv.ParseFloat(strings.TrimSpace(im.valueOf("DEFAULT", "bantime.factor")), 64)
			if err != nil {
				f = 1
			}
			if f = math.Exp(f); f < 1 || f > 1000 {
				im.lost(o, "grows by a factor that is out of range", "write escalate.factor")
				return
			}
			e.factor = strconv.FormatFloat(math.Round(f*100)/100, 'g', -1, 64)
			im.carried(o, "escalate.factor")
		default:
			im.lost(o, "a formula of one's own is not taken: a ban lasts a factor times as long as the one before", "write escalate.factor; it is 2")
		}
	case "multipliers":
		l, err := multipliers(v)
		if err != nil || len(l) < 2 || baseErr != nil {
			im.lost(o, "is not a list of numbers that grow", "write escalate.factor and escalate.max")
			return
		}
		ratio, exact := geometric(l)
		if !exact {
			ratio = math.Pow(l[len(l)-1]/l[0], 1/float64(len(l)-1))
		}
		ratio = math.Round(ratio*100) / 100
		if math.IsNaN(ratio) || ratio < 1 || ratio > 1000 {
			im.lost(o, "is not a list of numbers that grow", "write escalate.factor and escalate.max")
			return
		}
		e.factor = strconv.FormatFloat(ratio, 'g', -1, 64)
		if d, never := span(base * l[len(l)-1]); e.max == "" && !never {
			e.max = config.FormatDuration(d)
		}
		if exact {
			im.carried(o, "escalate.factor, escalate.max")
		} else {
			im.changed(o, "escalate.factor, escalate.max", "the list does not grow evenly: the factor leads from its first to its last number in as many steps")
		}
	}
}

func (im *importer) valueOf(sec, name string) string { v, _ := im.text(sec, name); return v }

// recidive takes the jail over that watches fail2ban's own log: repeat offenders are counted inside.
func (im *importer) recidive(name string, from *option) {
	e := &im.esc
	long, err := seconds(im.valueOf(name, "bantime"))
	base, err2 := seconds(im.valueOf("DEFAULT", "bantime"))
	n, err3 := strconv.Atoi(strings.TrimSpace(im.valueOf(name, "maxretry")))
	if err != nil || err2 != nil || err3 != nil || n < 1 {
		im.lost(from, "jail "+name+": its times or counts cannot be read", "look at escalate in bailiff.yaml(5)")
		return
	}
	d, never := span(long)
	factor := 2.0
	if never {
		e.max = "forever"
	} else {
		if long > base && base > 0 {
			factor = min(max(2, math.Ceil(math.Pow(long/base, 1/float64(n)))), 1000)
		}
		e.max = config.FormatDuration(max(d, secondsDuration(4*7*86400)))
	}
	e.factor = strconv.FormatFloat(factor, 'g', -1, 64)
	why := fmt.Sprintf("each ban of one who comes again lasts %s times as long as the one before, over all jails, instead of one long ban after %d", e.factor, n)
	im.changed(from, "escalate", why)
	for _, opt := range []string{"bantime", "findtime", "maxretry"} {
		if o := im.jails.own(name, opt); o != nil {
			im.changed(o, "escalate", why)
		}
	}
	im.logs(name, "")
	if o := im.jails.own(name, "logpath"); o != nil {
		delete(im.outcomes, o)
		im.moot(o, "bailiff counts its own bans inside and reads no log of them")
	}
}

// filter finds or makes the filter of a jail.
func (im *importer) filter(name, filterName string, args map[string]string, from *option, w *jail, j *Jail) bool {
	backend, _ := im.text(name, "backend")
	def, err := im.definition("filter.d", filterName, args, backend)
	mine, mode, known := ours(filterName)
	if err != nil && !known {
		j.Why = err.Error()
		return false
	}
	if known {
		im.logs(name, mine)
		if file := filepath.Join(im.root, "filter.d", filterName+".conf"); im.edited[file] {
			im.settings = append(im.settings, Setting{File: file, Outcome: Lost, Own: true,
				Why:  "was changed since the package was installed; our filter " + mine + " stands for the one that the package ships",
				Hint: "compare the two; what was added can stand in filter.d/" + filterName + ".local, from where it is translated"})
			delete(im.edited, file)
		}
		im.runs(mine, mode, name, filterName, args, def, from, w)
		if def != nil {
			im.additions(name, filterName, def, from, w)
		}
		return true
	}
	src := im.source(name, filterName, def, from)
	match, o := im.journalmatch(name, def, from)
	t, lost, wider := readMatch(match, im.owner(name))
	builtin, sure := im.builtinFor(name, &t, def)
	if len(lost) == 0 && strings.TrimSpace(match) == "" {
		lost = []string{"it is not said which unit writes the lines (journalmatch)"}
	}
	src.name, src.trust = filterID(filterName), t
	switch {
	case t.proven():
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
		im.withIt(name, def, j.Why)
		im.logs(name, "")
		return false
	}
	if !t.proven() && builtin == "" {
		im.logs(name, "")
	} else if _, o := im.text(name, "logpath"); o != nil {
		im.moot(o, "the journal is read, where "+t.who()+" writes")
	}
	at := "filters.d/" + src.name + ".yaml trust"
	for _, why := range lost {
		im.lost(o, why, "")
	}
	for _, term := range wider {
		im.changed(o, at, fmt.Sprintf("%s: all lines of %s are looked at", term, t.who()))
	}
	switch {
	case o == nil:
	case strings.TrimSpace(match) == "":
		im.moot(o, "it is empty")
	default:
		im.carried(o, at)
	}
	if builtin != "" && len(t.containers) > 0 && builtinTrust(builtin).whole {
		builtin, sure = "", false // it takes no lines of containers
	}
	shipped, kept := map[string]bool{}, false
	if sure {
		shipped = im.shipped(def)
		kept = slices.ContainsFunc(src.fail, func(e expression) bool { return shipped["failregex"+e.text] })
	}
	b := builtinTrust(builtin)
	if sure && (o == nil || !im.own(o.file) || len(slices.Concat(b.beyond(&t).units, b.beyond(&t).slices, t.containers, t.userUnits)) == 0) {
		// What our filter knows of its daemon, its executables among it, holds for the own expressions, too.
		src.trust = builtinTrust(builtin)
		src.fail = slices.DeleteFunc(src.fail, func(e expression) bool { return shipped["failregex"+e.text] })
		src.ignore = slices.DeleteFunc(src.ignore, func(e expression) bool { return shipped["ignoreregex"+e.text] })
	}
	like, of := 0, 0
	if builtin != "" {
		like, of = alike(src.fail, builtin)
	}
	tr := im.translate(src)
	im.verdicts(tr, j)
	if builtin != "" && im.instead(name, builtin, sure, kept, like, of, tr) {
		// The own filter stands beside ours, which would have judged this service without any import.
		im.logs(name, builtin)
		im.runs(builtin, "", name, filterName, args, def, from, w)
		im.addUnits(&t, o, w)
		im.note("jail %s: our filter %s judges its service, with the limits of this jail", name, builtin)
		if tr.data != nil {
			im.beside(name, filterName, tr, w)
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
		w.comments = append(w.comments, fmt.Sprintf("%s (%s)", src.assumed, src.trust.who()))
		im.note("filters.d/%s.yaml: %s: %s", tr.name, src.assumed, src.trust.who())
	}
	if builtin != "" {
		im.note("jail %s: bailiff has a filter for the same unit, too: %s (bailiff filter show %s)", name, builtin, builtin)
	}
	return true
}

// instead says whether a filter of ours runs in a jail with the limits of an own filter's jail: where the jail bears its name,
// where the own filter has all of the stock one's expressions, or where ours stands for what could not be translated. An
// own filter for a few lines of a service, with a limit of 1, must not become that limit for all of them; nor does the
// unit alone say that two filters are for the same lines: PHP and web servers run whatever there is.
func (im *importer) instead(name, builtin string, sure, kept bool, like, of int, tr *translation) bool {
	if own, _, _ := ours(name); sure && (own == builtin || jailName(name) == builtin || kept) {
		return true
	}
	if tr.exact() || like == 0 {
		return false
	}
	f, err := filter.LoadBuiltin(builtin)
	return err == nil && (f.Off || tr.data == nil && 2*like >= of)
}

// alike counts how many of the lines that a filter of ours is tested with own expressions take.
func alike(fail []expression, builtin string) (like, of int) {
	f, err := filter.LoadBuiltin(builtin)
	if err != nil {
		return 0, 0
	}
	var res []*regexp.Regexp
	for _, e := range fail {
		res = append(res, compileRegexps(e.text)...)
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
func (im *importer) stockFile(name string, def *definition) bool {
	if _, ok := stock[name]; !ok {
		return false
	}
	return !slices.ContainsFunc(def.tree.files, im.own)
}

// withIt says of an own filter's settings that they went with the jail.
func (im *importer) withIt(name string, def *definition, why string) {
	for _, o := range def.tree.assigned {
		if im.own(o.file) && len(im.outcomes[o]) == 0 && o.section != "INCLUDES" {
			im.lost(o, "jail "+name+", which uses it, is not carried over: "+why, "")
		}
	}
}

// runs has a jail run one of our filters.
func (im *importer) runs(mine, mode, name, filterName string, args map[string]string, def *definition, from *option, w *jail) {
	w.filter, w.mode = mine, mode
	_, _, known := ours(filterName)
	im.mode(name, args, !known, def, from, w)
	for _, a := range sortedKeys(args) {
		if a != "mode" && a != "logtype" && a != "journalmatch" {
			im.lost(from, fmt.Sprintf("filter %s: its option %s=%s has no counterpart in ours", filterName, a, clip(args[a])), "look at bailiff filter show "+mine)
		}
	}
}

// journalmatch returns what a jail or the administrator's part of its filter says of whose lines are read, and where; nil
// where the jail's filter says it in brackets.
func (im *importer) journalmatch(name string, def *definition, from *option) (string, *option) {
	if o := im.jails.get(name, "journalmatch"); o != nil {
		v, _ := im.text(name, "journalmatch")
		return v, o
	}
	v, o, err := def.value("journalmatch")
	if err != nil {
		return "", nil
	}
	if o == nil { // in brackets
		o = from
	}
	return v, o
}

// addUnits gives a jail that runs one of our filters the units that the filter does not look at by itself.
func (im *importer) addUnits(t *trust, o *option, w *jail) {
	b := builtinTrust(w.filter)
	more := b.beyond(t)
	switch {
	case len(more.containers) > 0 && b.whole:
		e := filter.NoContainers(w.filter)
		im.lost(o, strings.Join(more.containers, ", ")+": "+e.Text, e.Hint)
		more.containers = nil
		fallthrough
	case more.proven():
		if w.trust = more; more.proven() {
			im.carried(o, "jails."+w.name+": units, containers, user_units")
		}
	case t.proven():
		im.moot(o, fmt.Sprintf("our filter %s looks at the lines of %s", w.filter, b.who()))
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

// verdicts brings what became of expressions into the account.
func (im *importer) verdicts(t *translation, j *Jail) {
	for i := range t.verdicts {
		v := &t.verdicts[i]
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
func (im *importer) mode(name string, args map[string]string, own bool, def *definition, from *option, w *jail) {
	want, opt := args["mode"], im.jails.get(name, "mode")
	if want == "" && def != nil {
		want, _, _ = def.value("mode")
	}
	if want == "" && own && opt != nil { // an own filter has no modes; the jail's is that of the stock filter
		want, _ = im.text(name, "mode")
		opt.markUsed("filter")
	}
	if w.mode != "" { // the name says it
		want = w.mode
	}
	if want = strings.TrimSpace(want); want == "" {
		return
	}
	// fail2ban's exim counts rejects in mode normal up to 1.1.0; later they are mode more, as ours are.
	if !own && w.filter == "exim" && want == "normal" && def != nil {
		if _, o, err := def.raw("mdre-more"); o == nil && err == nil {
			want = "more"
		}
	}
	f, err := filter.LoadBuiltin(w.filter)
	if err != nil {
		return
	}
	if opt == nil || len(opt.usedBy) == 0 || args["mode"] == "" && !own {
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
