// Package hosts knows under which names services run on the distributions, where they log, and what makes them log to the
// journal. It is data, hosts.yaml and logging.yaml, and its reader; it looks at no host. Start reading with Services.
package hosts

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"bailiff/policy/yamldoc"
)

//go:embed hosts.yaml
var hostsFile []byte

//go:embed logging.yaml
var loggingFile []byte

// Distribution is one that hosts.yaml has rows for.
type Distribution struct {
	ID, Name  string
	SbinIsBin bool // /usr/sbin is a link to /usr/bin, so executables are in /usr/bin
}

// Service is a daemon, with all filters for what it writes.
type Service struct {
	Name    string
	Filters []string
	Rows    []Row
	Logs    []Log // the first is the one that counts most; none: all it writes goes to the journal
}

// Row is how a service runs on some distributions.
type Row struct {
	On          []string // IDs of distributions
	Units       []string // a template (name@.service) stands for its instances
	Exe         []string
	UIDs        []int64 // examples of users that write
	Identifiers []string
	Logs        string
	Source      []string
}

// Log is one of a service's logs: how to tell where it goes, and what to change if that is not the journal.
type Log struct {
	Name    string   // "error log"; empty if the service has only one
	Filters []string // that read it; none: all of the service's
	Stream  bool     // it is written to standard output or error, not to syslog
	Config  []string // glob patterns of the files that say where it goes

	// A line of Config that matches Journal sends the log to the journal, one that matches Elsewhere to another place, which is
	// the expression's first group. Without such a line it goes to Default: "journal", "nothing", or another place.
	Journal, Elsewhere *regexp.Regexp
	Default            string

	Part   string // what reaches the journal if the log does not
	Change Change
}

// Change makes a service log to the journal.
type Change struct {
	What   string   // in words: add, replace, remove
	Where  []string // files; the first that exists is the one to change
	Create []string // files to create if none of Where exists: the first whose folder does
	Lines  []string // lines of the file, or commands
	DropIn []string // lines of a drop-in for the unit, instead
	Needs  string   // the drop-in works only if this text is in the unit's ExecStart
	Unless string   // the drop-in is not needed if the unit binds this path
	Then   string   // the command that makes it active; UNIT stands for the unit
	Note   string
}

type table struct {
	distributions []Distribution
	services      []*Service
}

var loaded = sync.OnceValue(func() table {
	t, err := load(hostsFile, loggingFile)
	if err != nil {
		panic(err) // it is a part of the program
	}
	return t
})

// Distributions returns all distributions.
func Distributions() []Distribution { return loaded().distributions }

// Services returns all services.
func Services() []*Service { return loaded().services }

// Units lists the units of the service on any distribution.
func (s *Service) Units() (units []string) {
	for _, r := range s.Rows {
		for _, u := range r.Units {
			if !slices.Contains(units, u) {
				units = append(units, u)
			}
		}
	}
	return units
}

type reader struct{ err error }

func load(hostsData, loggingData []byte) (t table, err error) {
	doc, err := yamldoc.Parse("hosts.yaml", hostsData)
	if err != nil {
		return t, err
	}
	logs, err := yamldoc.Parse("logging.yaml", loggingData)
	if err != nil {
		return t, err
	}
	r := &reader{}
	for _, p := range doc.Get("distributions").Pairs {
		r.keys(p.Value, "name", "sbin_is_bin")
		t.distributions = append(t.distributions, Distribution{p.Key.Value, r.text(p.Value.Get("name")), p.Value.Get("sbin_is_bin") != nil})
	}
	for _, p := range doc.Get("services").Pairs {
		r.keys(p.Value, "filters", "rows")
		s := &Service{Name: p.Key.Value, Filters: r.texts(p.Value.Get("filters"))}
		for _, n := range p.Value.Get("rows").Items {
			s.Rows = append(s.Rows, r.row(n))
		}
		if l := logs.Get(s.Name); l != nil {
			for _, n := range l.Items {
				s.Logs = append(s.Logs, r.log(n))
			}
		}
		t.services = append(t.services, s)
	}
	for _, p := range logs.Pairs {
		if !slices.ContainsFunc(t.services, func(s *Service) bool { return s.Name == p.Key.Value }) {
			r.fail(p.Key, "is not a service of hosts.yaml")
		}
	}
	return t, r.err
}

func (r *reader) row(n *yamldoc.Node) Row {
	r.keys(n, "on", "units", "exe", "uid", "identifiers", "logs", "source")
	row := Row{On: r.texts(n.Get("on")), Units: r.texts(n.Get("units")), Exe: r.texts(n.Get("exe")), Identifiers: r.texts(n.Get("identifiers")),
		Logs: r.text(n.Get("logs")), Source: r.texts(n.Get("source"))}
	for _, s := range r.texts(n.Get("uid")) {
		uid, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			r.fail(n, "uid %q is not a number", s)
		}
		row.UIDs = append(row.UIDs, uid)
	}
	return row
}

func (r *reader) log(n *yamldoc.Node) Log {
	r.keys(n, "name", "filters", "stream", "config", "journal", "elsewhere", "default", "part", "change")
	l := Log{Name: r.text(n.Get("name")), Filters: r.texts(n.Get("filters")), Stream: n.Get("stream") != nil, Config: r.texts(n.Get("config")),
		Journal: r.expr(n.Get("journal")), Elsewhere: r.expr(n.Get("elsewhere")), Default: r.text(n.Get("default")), Part: r.text(n.Get("part"))}
	if c := n.Get("change"); c != nil {
		r.keys(c, "what", "where", "create", "lines", "drop_in", "needs", "unless", "then", "note")
		l.Change = Change{What: r.text(c.Get("what")), Where: r.texts(c.Get("where")), Create: r.texts(c.Get("create")), Lines: r.texts(c.Get("lines")), DropIn: r.texts(c.Get("drop_in")),
			Needs: r.text(c.Get("needs")), Unless: r.text(c.Get("unless")), Then: r.text(c.Get("then")), Note: r.text(c.Get("note"))}
	}
	return l
}

func (r *reader) fail(n *yamldoc.Node, format string, args ...any) {
	if r.err == nil {
		r.err = n.Errorf("", "%s", fmt.Sprintf(format, args...))
	}
}

func (r *reader) keys(n *yamldoc.Node, allowed ...string) {
	for _, p := range n.Pairs {
		if !slices.Contains(allowed, p.Key.Value) {
			r.fail(p.Key, "unknown key %q", p.Key.Value)
		}
	}
}

func (r *reader) text(n *yamldoc.Node) string {
	if n == nil {
		return ""
	}
	return strings.TrimSpace(n.Value)
}

func (r *reader) texts(n *yamldoc.Node) (l []string) {
	if n == nil {
		return nil
	}
	for _, i := range n.Items {
		l = append(l, i.Value)
	}
	if n.Kind != yamldoc.List {
		r.fail(n, "is not a list")
	}
	return l
}

func (r *reader) expr(n *yamldoc.Node) *regexp.Regexp {
	if n == nil {
		return nil
	}
	x, err := regexp.Compile(n.Value)
	if err != nil {
		r.fail(n, "%v", err)
	}
	return x
}
