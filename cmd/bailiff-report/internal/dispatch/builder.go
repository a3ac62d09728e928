package dispatch

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
	"bailiff/policy/config"
	"bailiff/policy/filter"
)

// Limits of one report. Lines of the usual length fit; if all together are too long, long ones are cut further.
const (
	maxLine    = filter.MaxMessage
	maxText    = 1 << 20 // bytes of all lines
	shortLine  = 512     // bytes to which lines are cut if all together exceed maxText
	maxContext = 1000    // lines

	// contextTime is the longest search for lines about one address, by which the report is delayed.
	contextTime = 250 * time.Millisecond
)

// Ban is an audit entry about a ban, or about an event that notices are sent for.
type Ban struct {
	audit.BanEvent
	Cursor   journal.Cursor
	Time     time.Time
	Extended bool

	Event   string // as in report.Report; report.Ban: a ban
	Problem string
	Text    string
	About   string // the destination that it is about
}

// Key is the permanent key of the ban's report. A ban that is prolonged keeps its id, so the key then contains the entry's time, too.
func (b *Ban) Key() string {
	switch {
	case b.Event == report.Unban:
		return b.ID + "-unban"
	case !b.Extended:
		return b.ID
	}
	return b.ID + "-" + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(b.Time.UnixMicro())))
}

// jailInfo is what a report needs to know about a jail.
type jailInfo struct {
	match   *filter.Matcher
	service string
	ports   []uint16
}

// builder builds reports: it finds the evidence of bans in the journal. It is not safe for concurrent use.
type builder struct {
	src   journal.Source
	host  string
	jails map[string]jailInfo
	lines int  // largest number of each kind
	all   bool // lines beyond the evidence are wanted

	evidence journal.Finder
}

// newBuilder returns a builder of reports for the destinations of a configuration.
func newBuilder(src journal.Source, c *config.Config, host string) *builder {
	m := &builder{src: src, host: host, jails: map[string]jailInfo{}}
	m.evidence = journal.Finder{Source: src, Options: journal.Options{Fields: builderFields, MaxValue: evidence.MaxValue}}
	for i := range c.Jails {
		j := &c.Jails[i]
		if j.Filter == nil {
			continue
		}
		f := jailInfo{service: j.Filter.Name, ports: portsOf(j)}
		f.match, _ = j.Filter.Mode(j.Mode) // the configuration is checked
		m.jails[j.Name] = f
	}
	for i := range c.Report.Destinations {
		d := &c.Report.Destinations[i]
		if d.Enabled {
			m.lines = max(m.lines, d.Lines)
			m.all = m.all || slices.Contains(d.Include, config.IncludeContext)
		}
	}
	m.lines = min(m.lines, maxContext)
	return m
}

// portsOf returns the single ports that a jail closes, or that of its service if it closes all.
func portsOf(j *config.Jail) (ports []uint16) {
	for _, p := range j.Ports {
		if p.From == p.To && !slices.Contains(ports, p.From) {
			ports = append(ports, p.From)
		}
	}
	if p := report.Attacks[j.Filter.Name].Port; ports == nil && p != 0 {
		return []uint16{p}
	}
	return ports
}

var builderFields = append(slices.Clone(evidence.Fields), "_HOSTNAME")

// build builds the report of a ban. Lines that are no longer in the journal are counted in Missing.
func (m *builder) build(b *Ban) *report.Report {
	f := m.jails[b.Jail]
	r := &report.Report{
		ID: b.ID, Cursor: b.Cursor.String(), Time: b.Time, Prefix: b.Prefix, Jail: b.Jail, Service: f.service,
		First: b.First, Since: b.Since, Until: b.Until, Failures: b.Failures, Count: b.Count,
		Reason: b.Reason, By: b.By, Wide: b.Wide, Extended: b.Extended, Ports: f.ports, Host: m.host,
	}
	cursors := b.Evidence
	cursors = cursors[max(0, len(cursors)-max(m.lines, 1)):] // at least one, for the address
	for _, text := range cursors {
		e, err := m.evidence.Find(text)
		if err != nil {
			r.Missing++
			continue
		}
		l := lineOf(e, f.match)
		if l.Source.IsValid() && b.Prefix.Contains(l.Source) {
			r.Address = l.Source
		}
		r.Lines = append(r.Lines, l)
	}
	switch {
	case b.Prefix.IsSingleIP():
		r.Address = b.Prefix.Addr()
	case !r.Address.IsValid():
		r.Address = b.Prefix.Addr()
		for _, a := range b.Addresses {
			if b.Prefix.Contains(a) {
				r.Address = a
				break
			}
		}
	}
	if m.lines == 0 {
		r.Lines = nil
	}
	if m.all {
		r.Context = m.context(b, r, f.match)
	}
	bound(r)
	return r
}

// lineOf turns an entry into a line of a report.
func lineOf(e *journal.Entry, match *filter.Matcher) report.Line {
	var f filter.Entry
	evidence.Convert(e, &f)
	l := report.Line{
		Time: time.UnixMicro(int64(e.Realtime)), Hostname: string(e.Field(len(builderFields) - 1)), Identifier: string(f.Identifier), PID: f.PID, Unit: string(f.Unit),
		Message: bytes.Clone(f.Message[:min(len(f.Message), maxLine)]), Cursor: e.Cursor.String(),
	}
	var h filter.Hit
	if match != nil && match.Match(&f, &h) {
		l.Source, l.Port, l.Account = h.Addr, h.Port, bytes.Clone(h.User)
		if h.Pattern != nil {
			l.Pattern = h.Pattern.Name
		}
	}
	return l
}

// context finds all lines about the address since its first failure, or the newest if there are too many or the search takes too
// long.
func (m *builder) context(b *Ban, r *report.Report, match *filter.Matcher) []report.Line {
	j, err := journal.Open(m.src, journal.Options{Fields: builderFields, MaxValue: evidence.MaxValue})
	if err != nil {
		return r.Lines
	}
	defer j.Close()
	first := b.First
	if first.IsZero() || first.After(b.Since) {
		first = b.Since.Add(-10 * time.Minute)
	}
	needle := []byte(r.Address.String())
	end := time.Now().Add(contextTime)
	var out []report.Line
	j.SeekRealtime(uint64(b.Time.UnixMicro()))
	for n := 0; len(out) < m.lines && j.Previous(); n++ {
		e := j.Entry()
		if e.Realtime < uint64(first.UnixMicro()) || n%256 == 255 && time.Now().After(end) {
			break
		}
		if !evidence.ContainsAddress(e.Field(0), needle) || string(e.Field(1)) == audit.Unit || string(e.Field(1)) == Unit {
			continue
		}
		out = append(out, lineOf(e, match))
	}
	slices.Reverse(out)
	return out
}

// bound cuts long lines if all lines together are too long.
func bound(r *report.Report) {
	sum := 0
	each := func(f func(*report.Line)) {
		for i := range r.Lines {
			f(&r.Lines[i])
		}
		for i := range r.Context {
			f(&r.Context[i])
		}
	}
	each(func(l *report.Line) { sum += len(l.Message) })
	if sum > maxText {
		each(func(l *report.Line) { l.Message = l.Message[:min(len(l.Message), shortLine)] })
	}
}

// parseBan reads an audit entry about a ban.
func parseBan(e *journal.Entry) (*Ban, error) {
	values := audit.ValuesOf(e)
	ev, err := audit.ParseBan(values.Get)
	if err != nil {
		return nil, err
	}
	for _, s := range values[audit.FieldAddress] {
		if a, err := netip.ParseAddr(s); err == nil && len(ev.Addresses) < 64 {
			ev.Addresses = append(ev.Addresses, a)
		}
	}
	return &Ban{BanEvent: ev, Cursor: e.Cursor, Time: time.UnixMicro(int64(e.Realtime)), Extended: values.Get("MESSAGE_ID") == audit.KindExtend.ID()}, nil
}

// Preview builds the item that a destination would get about the newest ban with an id or of an address, bans that a jail only
// observed included. If id is empty, it is a test's. Preview reads the journal and asks the registries as the service would.
func Preview(ctx context.Context, src journal.Source, uids []uint32, c *config.Config, env deliver.Env, d *config.Destination, id string) (*report.Item, error) {
	if id == "" {
		return TestItem(d.Name, env.Host, time.Now()), nil
	}
	g := audit.Matches(audit.Unit, uids, audit.KindBan, audit.KindExtend, audit.KindObserved)
	if a, err := netip.ParseAddr(id); err == nil {
		g = append(g, journal.Match{Field: audit.FieldAddress, Value: a.Unmap().WithZone("").String()})
	} else {
		ban, _, _ := strings.Cut(id, "-")
		g = append(g, journal.Match{Field: audit.FieldBanID, Value: ban})
	}
	j, err := journal.Open(src, journal.Options{Matches: journal.Matches{g}})
	if err != nil {
		return nil, err
	}
	defer j.Close()
	for j.SeekTail(); j.Previous(); {
		b, err := parseBan(j.Entry())
		if err != nil {
			continue
		}
		m := newBuilder(src, c, env.Host)
		defer m.evidence.Close()
		r := m.build(b)
		if env.Lookup != nil && needsLookup(d) {
			r.Whois = env.Lookup(ctx, r.Address)
		}
		return &report.Item{Key: itemKey(b.Key(), d.Name), Reports: []*report.Report{r}, Attempt: 1}, nil
	}
	if p := j.Problems(); len(p) > 0 {
		return nil, fmt.Errorf("no ban %.100q in %s, part of which could not be read: %w", id, src, p[0])
	}
	return nil, fmt.Errorf("no ban %.100q in %s", id, src)
}
