package daemon

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/internal/geo"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/units/control"
)

// Bounds of a search in the audit trail. Only people wait for it, so half of the time it leaves the processor to the daemon's own work.
const (
	usualSince   = 30 * 24 * time.Hour
	longestSince = 366 * 24 * time.Hour
	workTime     = 10 * time.Millisecond // then it sleeps as long
	progressTime = 200 * time.Millisecond
	maxNetworks  = 1 << 16 // counted; later ones, which are older, are left out
	maxAccounts  = 1000    // bans whose account is looked up
	maxName      = 96      // bytes kept of an account name
	topHistory   = 10      // networks and accounts in the summary
)

// historyFields are the fields of an audit entry that a search reads. The evidence, which is long, is read for accounts only.
var historyFields = []string{"MESSAGE_ID", audit.FieldPrefix, audit.FieldJail, audit.FieldBanID, audit.FieldSince, audit.FieldUntil, audit.FieldFailures, audit.FieldCount, audit.FieldReason, audit.FieldBy, audit.FieldRestored, audit.FieldEvidence}

// History reads the audit trail backwards.
func (a *controlAPI) History(ctx context.Context, q control.HistoryQuery, within netip.Prefix, emit func(*control.HistoryLine) error) error {
	back := usualSince
	var err error
	if q.Since != "" {
		if back, err = config.ParseDuration(q.Since); err != nil || back == config.Forever || back <= 0 || back > longestSince {
			return control.BadRequest("write 24h, 7d or 30d; a year is the most", "since: %.50q", q.Since)
		}
	}
	h := &history{HistoryQuery: q, emit: emit, now: time.Now(), filters: make(map[string]*filter.Matcher), within: within}
	h.since = h.now.Add(-back)
	select {
	case a.histories <- struct{}{}:
		defer func() { <-a.histories }()
	default:
		return &control.Error{Status: http.StatusServiceUnavailable, Message: "other searches in the audit trail are running", Hint: "wait until one of them ends"}
	}
	if q.Accounts {
		if err := a.do(ctx, func() {
			a.d.memory.noteAlloc()
			for _, j := range a.d.eng.Jails() {
				h.filters[j.Name], _ = j.Filter.Mode(j.Mode)
			}
		}); err != nil {
			return err
		}
	}
	if h.db, err = geo.Open(); err != nil {
		a.logGeo(err)
	}
	fields := historyFields
	if !q.Accounts {
		fields = fields[:len(fields)-1]
	}
	defer h.db.Close()
	j, err := journal.Open(a.d.source, journal.Options{Matches: auditMatches(audit.KindBan, audit.KindExtend, audit.KindUnban), Fields: fields, MaxValue: audit.MaxValue})
	if err != nil {
		return err
	}
	defer j.Close()
	return h.run(ctx, j, a.d.source)
}

// history is a search in the audit trail.
type history struct {
	control.HistoryQuery
	emit       func(*control.HistoryLine) error
	now, since time.Time
	within     netip.Prefix // invalid: any
	db         *geo.DB
	filters    map[string]*filter.Matcher // of jails, for account names

	read    uint64
	total   int
	latest  []string // cursors of evidence of the newest bans, and their jails
	jails   []string
	hours   map[int64]int
	periods []period
}

type period struct {
	length                             time.Duration
	bans                               int
	jails, reasons, countries, network map[string]int
}

func (h *history) run(ctx context.Context, j *journal.Reader, src journal.Source) error {
	h.hours = make(map[int64]int)
	back := h.now.Sub(h.since)
	for _, l := range []time.Duration{24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour} {
		if l <= back || len(h.periods) == 0 {
			h.periods = append(h.periods, period{l, 0, make(map[string]int), make(map[string]int), make(map[string]int), make(map[string]int)})
		}
	}
	reached, complete := h.now, true
	begun, told := time.Now(), time.Now()
	for j.SeekTail(); j.Previous(); {
		e := j.Entry()
		at := time.UnixMicro(int64(e.Realtime))
		if at.Before(h.since) {
			break
		}
		reached = at
		if err := h.record(e, at); err != nil {
			return err
		}
		if h.read++; h.read&0x3f != 0 {
			continue
		}
		if ctx.Err() != nil {
			complete = false
			break
		}
		now := time.Now()
		if now.Sub(told) > progressTime {
			told = now
			if err := h.emit(&control.HistoryLine{Kind: "progress", Time: at, Read: h.read, Share: float64(h.now.Sub(at)) / float64(back)}); err != nil {
				return err
			}
		}
		if busy := now.Sub(begun); busy > workTime {
			select {
			case <-time.After(min(busy, 5*workTime)):
			case <-ctx.Done():
			}
			begun = time.Now()
		}
	}
	s := &control.HistorySummary{Since: h.since, Complete: complete, Reached: reached, Total: h.total, Periods: h.summary(), Hours: []control.HistoryHour{}}
	if complete {
		s.Reached = h.since
	}
	for hour, n := range h.hours {
		s.Hours = append(s.Hours, control.HistoryHour{Time: time.Unix(hour*3600, 0), Bans: n})
	}
	slices.SortFunc(s.Hours, func(a, b control.HistoryHour) int { return a.Time.Compare(b.Time) })
	if h.Accounts {
		s.Accounts, s.Looked = h.accounts(ctx, src), len(h.latest)
	}
	return h.emit(&control.HistoryLine{Kind: "summary", Time: time.Now(), Summary: s})
}

// record counts an audit entry, and lists it if there is room.
func (h *history) record(e *journal.Entry, at time.Time) error {
	get := func(name string) string {
		if name == audit.FieldEvidence && !h.Accounts {
			return ""
		}
		return string(e.Field(slices.Index(historyFields, name)))
	}
	p, err := netip.ParsePrefix(get(audit.FieldPrefix))
	jail := get(audit.FieldJail)
	if err != nil || get(audit.FieldRestored) == "1" || h.within.IsValid() && !p.Overlaps(h.within) || h.Jail != "" && jail != h.Jail {
		return nil
	}
	l := &control.HistoryLine{Kind: "unban", Time: at, Jail: jail, Prefix: p.String(), ID: get(audit.FieldBanID), Reason: get(audit.FieldReason), By: get(audit.FieldBy), Country: h.db.Country(p.Addr())}
	kind := get("MESSAGE_ID")
	ended := kind == audit.KindUnban.ID() // its reason is why the ban ended
	if h.Country != "" && l.Country != h.Country || h.Reason != "" && (ended || reasonOf(l.By, l.Reason) != h.Reason) {
		return nil
	}
	if ended {
		u, err := audit.ParseUnban(get)
		if err != nil {
			return nil
		}
		l.Since, l.Until = control.Moment(u.Since), control.Moment(u.Until)
		if h.Lifted && l.Until != nil && !l.Until.After(h.now) {
			return nil
		}
	} else {
		l.Kind = "extend"
		b, err := audit.ParseBan(func(name string) string {
			if name == audit.FieldEvidence {
				return ""
			}
			return get(name)
		})
		if err != nil {
			return nil // damaged: the journal's own problems are shown elsewhere
		}
		l.Failures, l.Count = b.Failures, b.Count
		l.Until = control.Moment(b.Until)
		if kind == audit.KindBan.ID() {
			l.Kind = "ban"
			h.count(l, p, at)
			if cursors := get(audit.FieldEvidence); h.Accounts && cursors != "" && len(h.latest) < maxAccounts {
				h.latest, h.jails = append(h.latest, cursors[strings.LastIndexByte(cursors, '\n')+1:]), append(h.jails, jail)
			}
		}
	}
	if h.Lifted && !ended {
		return nil
	}
	if h.total++; h.total > h.Limit {
		return nil
	}
	return h.emit(l)
}

func (h *history) count(l *control.HistoryLine, p netip.Prefix, at time.Time) {
	h.hours[at.Unix()/3600]++
	bits := 48
	if p.Addr().Is4() {
		bits = 24
	}
	network := netip.PrefixFrom(p.Addr(), min(bits, p.Bits())).Masked().String()
	for i := range h.periods {
		d := &h.periods[i]
		if h.now.Sub(at) > d.length {
			continue
		}
		d.bans++
		for _, c := range [...]struct {
			counts map[string]int
			name   string
		}{{d.jails, l.Jail}, {d.reasons, reasonOf(l.By, l.Reason)}, {d.countries, l.Country}, {d.network, network}} {
			if _, known := c.counts[c.name]; c.name != "" && (known || len(c.counts) < maxNetworks) {
				c.counts[c.name]++
			}
		}
	}
}

func (h *history) summary() []control.HistoryPeriod {
	l := []control.HistoryPeriod{}
	file, _ := h.db.Files()
	for i := range h.periods {
		d := &h.periods[i]
		p := control.HistoryPeriod{Hours: int(d.length / time.Hour), Bans: d.bans, Jails: control.SortFacets(d.jails, maxFacets), Reasons: control.SortFacets(d.reasons, maxFacets), Networks: control.SortFacets(d.network, topHistory)}
		if file != "" {
			p.Countries = control.SortFacets(d.countries, maxFacets)
		}
		l = append(l, p)
	}
	return l
}

// accounts reads the last line of evidence of the newest bans, and counts the accounts in these lines.
func (h *history) accounts(ctx context.Context, src journal.Source) []control.Facet {
	counts := make(map[string]int)
	j, err := journal.Open(src, journal.Options{Fields: evidence.Fields, MaxValue: evidence.MaxValue})
	if err != nil {
		return []control.Facet{}
	}
	defer j.Close()
	var fe filter.Entry
	var hit filter.Hit
	begun := time.Now()
	for i, text := range h.latest {
		if busy := time.Since(begun); busy > workTime {
			select {
			case <-time.After(busy):
			case <-ctx.Done():
			}
			begun = time.Now()
		}
		c, err := journal.ParseCursor(text)
		m := h.filters[h.jails[i]]
		if err != nil || m == nil || ctx.Err() != nil {
			continue
		}
		e, ok := j.At(c)
		if !ok {
			continue
		}
		evidence.Convert(e, &fe)
		if m.MatchMessage(fe.Message, &hit) && len(hit.User) > 0 {
			counts[strings.ToValidUTF8(string(hit.User[:min(len(hit.User), maxName)]), "\uFFFD")]++
		}
	}
	return control.SortFacets(counts, topHistory)
}

// logGeo reports a GeoIP database that cannot be used, once per failure.
func (a *controlAPI) logGeo(err error) {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if old := a.geoErr.Swap(&text); old == nil || *old != text {
		a.d.aud.Log(audit.Notice, "GeoIP database: "+text)
	}
}
