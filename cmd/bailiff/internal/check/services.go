package check

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/units/hosts"
	"bailiff/units/manager"
)

// Where a log goes.
const (
	toJournal     = "yes"
	toNothing     = "no"        // what the filters need is not logged at all, or not usable
	elsewhere     = "elsewhere" // to a file, for example
	unknown       = "unknown"   // no entry of the service is in the journal, and nothing says where it logs
	informational = 6           // syslog's level of most lines that filters read
)

// service is a service of this host, or one of its logs if it has several.
type service struct {
	Name      string   `json:"name"`
	Log       string   `json:"log,omitempty"` // "access log"; empty if the service has one
	Unit      string   `json:"unit"`
	Running   bool     `json:"running"`
	Socket    bool     `json:"socket,omitempty"`     // a socket that starts it is listening
	Journal   string   `json:"journal"`              // yes, no, elsewhere or unknown
	Where     string   `json:"where,omitempty"`      // if not to the journal
	Part      string   `json:"part,omitempty"`       // the part that does reach the journal
	Also      []string `json:"also,omitempty"`       // further places of the configuration that send a part elsewhere
	LastEntry string   `json:"last_entry,omitempty"` // the last trusted entry of the journal, RFC 3339
	On        []string `json:"jails_on"`
	Off       []string `json:"jails_off"`
	Change    *change  `json:"change,omitempty"`

	further bool // not the service's first log
}

// change is what makes a service log to the journal.
type change struct {
	What    string   `json:"what,omitempty"` // add, replace by, remove, …
	File    string   `json:"file,omitempty"` // to be changed
	Line    int      `json:"line,omitempty"` // of it, to be replaced or removed
	Old     string   `json:"old,omitempty"`  // what stands there
	Lines   []string `json:"lines"`
	DropIn  bool     `json:"drop_in"` // File is a drop-in that check --fix writes
	Command string   `json:"command,omitempty"`
	Note    string   `json:"note,omitempty"`
}

// title names the service, or which of its logs it is.
func (s *service) title() string {
	if !s.further {
		return s.Name
	}
	return s.Name + ", " + s.Log
}

// host is what the services are looked up on.
type host struct {
	root     string                                                           // "" is the running system
	describe func(context.Context, []string) ([]manager.Service, error)       // of systemd
	last     func(context.Context, []*filter.Matcher) (map[int]uint64, error) // the time of the last entry that a matcher trusts
}

func thisHost() *host {
	return &host{describe: manager.Describe, last: func(ctx context.Context, ms []*filter.Matcher) (map[int]uint64, error) {
		return lastTrusted(ctx, journal.Host(""), ms)
	}}
}

// candidate is a service before it is known whether the host has it.
type candidate struct {
	name  string
	of    *hosts.Service // nil: of a filter that is in no table
	units []string
	logs  []hosts.Log
	jails [][]*config.Jail // of each log
}

// candidates are the services of the table, and the units of the other jails, each as a service of its own.
func candidates(c *config.Config) (list []candidate) {
	taken := map[string]bool{}
	for _, s := range hosts.Services() {
		k := candidate{name: s.Name, of: s, units: s.Units(), logs: s.Logs}
		if len(k.logs) == 0 {
			k.logs = []hosts.Log{{Default: toJournalDefault}}
		}
		for _, l := range k.logs {
			var jails []*config.Jail
			for i := range c.Jails {
				j := &c.Jails[i]
				if j.Filter != nil && slices.Contains(s.Filters, j.Filter.Name) && (len(l.Filters) == 0 || slices.Contains(l.Filters, j.Filter.Name)) {
					jails = append(jails, j)
					taken[j.Name] = true
				}
			}
			k.jails = append(k.jails, jails)
		}
		for _, jails := range k.jails {
			for _, j := range jails {
				if k.own(j) {
					t := j.Filter.Trust()
					k.units = append(k.units, t.Names()...)
				}
			}
		}
		k.units = slices.DeleteFunc(k.units, func(u string) bool { return helper(s, u) })
		list = append(list, k)
	}
	for i := range c.Jails {
		j := &c.Jails[i]
		if j.Filter == nil || taken[j.Name] || j.Name == anyService {
			continue
		}
		t := j.Filter.Trust()
		list = append(list, candidate{name: j.Name, units: t.Names(), logs: []hosts.Log{{}}, jails: [][]*config.Jail{{j}}})
	}
	return list
}

// helper reports whether a unit serves several services with the same programs, so its presence proves none of them:
// courier-authdaemon.service.
func helper(s *hosts.Service, unit string) bool {
	return slices.ContainsFunc(hosts.Services(), func(o *hosts.Service) bool {
		return o != s && slices.Contains(o.Units(), unit) && slices.Equal(programs(o, unit), programs(s, unit))
	})
}

// programs are the names of the executables that a service runs in a unit, on any distribution.
func programs(s *hosts.Service, unit string) (names []string) {
	for _, r := range s.Rows {
		if slices.Contains(r.Units, unit) {
			for _, x := range r.Exe {
				names = append(names, path.Base(x))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

const (
	toJournalDefault = "journal"
	anyService       = "pam-generic" // its jail watches many services, and is for none of them alone
)

// own reports whether a jail's filter is for this service alone, so that the filter's units are the service's.
func (k *candidate) own(j *config.Jail) bool {
	n := 0
	for _, s := range hosts.Services() {
		if slices.Contains(s.Filters, j.Filter.Name) {
			n++
		}
	}
	return n == 1
}

// services looks up which services of the configuration's jails this host has, and where they log.
func (h *host) services(ctx context.Context, c *config.Config) ([]service, error) {
	all := candidates(c)
	var names []string
	for _, k := range all {
		for _, u := range k.units {
			if prefix, ok := strings.CutSuffix(u, "@.service"); ok {
				u = "system-" + strings.ReplaceAll(prefix, "-", `\x2d`) + ".slice"
			}
			names = append(names, u)
		}
	}
	slices.Sort(names)
	units, err := h.describe(ctx, slices.Compact(names))
	if err != nil {
		return nil, err
	}
	list := []service{}
	var matchers []*filter.Matcher
	var matcherOf []int // index into list
	var logs []hosts.Log
	var unitOf []manager.Service
	for _, k := range all {
		u, ok := best(units, k.units)
		if !ok || !h.runs(&u, &k, all) {
			continue
		}
		for i, l := range k.logs {
			s := service{Name: k.name, Log: l.Name, Unit: u.Unit, Running: u.Running, Socket: u.Socket, On: []string{}, Off: []string{}, further: i > 0}
			explicit := false
			for _, j := range k.jails[i] {
				if !j.Enabled {
					s.Off = append(s.Off, j.Name)
					continue
				}
				s.On = append(s.On, j.Name)
				explicit = explicit || j.Explicit
				if m, err := j.Filter.Mode(j.Mode); err == nil {
					matchers = append(matchers, m)
					matcherOf = append(matcherOf, len(list))
				}
			}
			if i > 0 && !explicit {
				// A second log matters to those who asked for it. Its matchers go with it.
				for len(matcherOf) > 0 && matcherOf[len(matcherOf)-1] == len(list) {
					matchers, matcherOf = matchers[:len(matchers)-1], matcherOf[:len(matcherOf)-1]
				}
				continue
			}
			list, logs, unitOf = append(list, s), append(logs, l), append(unitOf, u)
		}
	}
	last, err := h.last(ctx, matchers)
	if err != nil {
		return nil, err
	}
	seen := make([]uint64, len(list))
	for m, at := range last {
		seen[matcherOf[m]] = max(seen[matcherOf[m]], at)
	}
	for i := range list {
		if seen[i] > 0 {
			list[i].LastEntry = time.UnixMicro(int64(seen[i])).UTC().Format(time.RFC3339)
		}
		h.judge(&list[i], &logs[i], &unitOf[i], seen[i] > 0)
	}
	slices.SortStableFunc(list, func(a, b service) int {
		return cmp.Or(boolean(len(b.On) > 0)-boolean(len(a.On) > 0), boolean(b.Running)-boolean(a.Running))
	})
	return list, nil
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// best picks the unit that a service runs as, of those on this host: one that runs, else one that is no template.
func best(units []manager.Service, names []string) (u manager.Service, ok bool) {
	rank := func(s manager.Service) int { return 4*boolean(s.Running) + 2*boolean(s.Socket) + boolean(!s.Template) }
	for _, s := range units {
		if slices.Contains(names, s.Unit) || slices.Contains(names, sliceOf(s.Unit)) {
			if !ok || rank(s) > rank(u) {
				u, ok = s, true
			}
		}
	}
	return u, ok
}

// runs reports whether a unit is this service and not another one that has the same name elsewhere: mysql.service is MySQL on
// Ubuntu and MariaDB on NixOS. The executable decides.
func (h *host) runs(u *manager.Service, k *candidate, all []candidate) bool {
	if k.of == nil || !slices.ContainsFunc(all, func(o candidate) bool { return o.of != nil && o.of != k.of && slices.Contains(o.of.Units(), u.Unit) }) {
		return true
	}
	exe := u.Command
	for _, pid := range processes(h.root, u.ControlGroup) {
		if name, err := os.Readlink(h.root + "/proc/" + pid + "/exe"); err == nil {
			exe = name
			break
		}
	}
	return slices.ContainsFunc(programs(k.of, u.Unit), func(name string) bool { return strings.Contains(exe, "/"+name) })
}

func sliceOf(unit string) string {
	prefix, ok := strings.CutSuffix(unit, "@.service")
	if !ok {
		return ""
	}
	return "system-" + strings.ReplaceAll(prefix, "-", `\x2d`) + ".slice"
}

// judge decides where a log goes, and what to change.
func (h *host) judge(s *service, l *hosts.Log, u *manager.Service, seen bool) {
	toJ, other := configured(h.root, l)
	open := openLogs(h.root, u.ControlGroup)
	open = slices.DeleteFunc(open, func(f string) bool { return strings.Contains(strings.ToLower(f), "access") != (l.Name == "access log") })
	dropIn := h.dropIn(u)
	switch {
	case dropIn.pending:
		s.Journal, s.Where = toNothing, dropIn.file+" is not in effect yet"
		s.Change = &change{Lines: []string{}, Command: "systemctl daemon-reload && " + activate(l, u)}
		return
	case u.LogLevelMax >= 0 && u.LogLevelMax < informational:
		s.Journal, s.Where = toNothing, fmt.Sprintf("LogLevelMax= of the unit drops it (level %d)", u.LogLevelMax)
		s.Change = &change{What: "write", File: dropIn.file, DropIn: true, Lines: []string{"[Service]", "LogLevelMax=debug"}, Command: activate(l, u)}
		return
	case l.Stream && (!journald(u.Output) || !journald(u.Error)):
		s.Journal, s.Where = elsewhere, fmt.Sprintf("StandardOutput=%s, StandardError=%s of the unit", u.Output, u.Error)
		s.Change = &change{What: "write", File: dropIn.file, DropIn: true, Lines: []string{"[Service]", "StandardOutput=journal", "StandardError=journal"}, Command: activate(l, u)}
		return
	case len(toJ) > 0:
		s.Journal, s.Also = toJournal, places(other)
		return
	case len(other) > 0:
		s.Where, s.Also = other[0].value, places(other[1:])
		if s.Journal = toNothing; strings.ContainsAny(s.Where, "/$") {
			s.Journal = elsewhere
		}
	case l.Default == toJournalDefault && !seen && len(open) > 0:
		s.Journal, s.Where = elsewhere, open[0]
	case l.Default == toJournalDefault || l.Default == "" && seen:
		s.Journal = toJournal
		return
	case l.Default == "":
		s.Journal = unknown
	default:
		s.Where = l.Default
		if s.Journal = toNothing; strings.ContainsRune(s.Where, '/') || strings.HasPrefix(s.Where, "its ") {
			s.Journal = elsewhere
		}
	}
	if len(open) > 0 && s.Journal == elsewhere && !strings.HasPrefix(s.Where, "/") {
		s.Where = open[0] // "its log file", or a variable of its configuration
	}
	s.Part = l.Part
	s.Change = h.change(l, u, other, dropIn)
}

func places(l []place) (names []string) {
	for _, p := range l {
		names = append(names, p.String())
	}
	return names
}

// journald reports whether a setting of StandardOutput= or StandardError= leads to the journal. inherit and an empty value
// lead where systemd's default does, which is the journal.
func journald(setting string) bool {
	return setting == "" || setting == "inherit" || strings.HasPrefix(setting, "journal") || strings.HasPrefix(setting, "syslog") || setting == "socket"
}

func (h *host) change(l *hosts.Log, u *manager.Service, other []place, d dropIn) *change {
	c := l.Change
	switch {
	case len(c.DropIn) > 0 && d.possible(&c, u):
		return &change{What: "write", File: d.file, DropIn: true, Lines: c.DropIn, Command: activate(l, u), Note: c.Note}
	case len(other) > 0 && (c.What == "remove" || strings.HasPrefix(c.What, "replace")):
		return &change{What: c.What, File: other[0].file, Line: other[0].line, Old: other[0].text, Lines: orEmpty(c.Lines), Command: activate(l, u), Note: c.Note}
	case len(c.Lines) > 0:
		return &change{What: c.What, File: changeIn(h.root, &c), Lines: c.Lines, Command: activate(l, u), Note: c.Note}
	}
	return nil
}

func orEmpty(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

// activate is the command that makes a change take effect. A unit's own files need a reload of systemd.
func activate(l *hosts.Log, u *manager.Service) string {
	units := u.Unit
	if u.Template {
		units = strings.Join(u.Instances, " ")
	}
	return strings.ReplaceAll(cmp.Or(l.Change.Then, "systemctl restart UNIT"), "UNIT", units)
}

// seenLimit is how many of the newest entries are looked at for the last one of each service.
const seenLimit = 20_000

// lastTrusted finds the newest entry that each matcher trusts, in microseconds since 1970.
func lastTrusted(ctx context.Context, src journal.Source, ms []*filter.Matcher) (map[int]uint64, error) {
	last := map[int]uint64{}
	if len(ms) == 0 {
		return last, nil
	}
	j, err := journal.Open(src, journal.Options{Matches: evidence.Matches(ms), Fields: evidence.Fields, MaxValue: evidence.MaxValue})
	if err != nil {
		return nil, err
	}
	defer j.Close()
	j.SeekTail()
	var e filter.Entry
	for n := 0; n < seenLimit && len(last) < len(ms) && ctx.Err() == nil && j.Previous(); n++ {
		evidence.Convert(j.Entry(), &e)
		for i, m := range ms {
			if last[i] == 0 && m.Trusts(&e) {
				last[i] = j.Entry().Realtime
			}
		}
	}
	return last, nil
}
