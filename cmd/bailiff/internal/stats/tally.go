package stats

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/past"
	"bailiff/cmd/bailiff/internal/sketch"
	"bailiff/cmd/internal/geo"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
	"bailiff/policy"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/prefix"
)

// Bounds of what attackers choose: a few megabytes in all.
const (
	topCounters = 1 << 13 // of each list of the most frequent
	maxName     = 96      // bytes kept of an account name
	maxHours    = 1 << 15 // of the history: almost four years
	maxJails    = 1000    // named in the audit trail of another host's journal
)

// tally counts. Its lists of the most frequent are approximate where there are more than topCounters candidates.
type tally struct {
	eng  *past.Engine
	db   *geo.DB
	only []string // jails; empty: all

	entries, failures, bans, observed, made uint64
	jails                                   map[string]*jailTally
	patterns                                map[string]uint64
	addrs                                   *sketch.Top[netip.Addr]
	networks                                *sketch.Top[netip.Prefix]
	systems, countries, users               *sketch.Top[string]
	distinctAddrs, distinctNames            *sketch.Distinct
	hours                                   map[int64]*period // by hours since 1970
	ofDay                                   [24]uint64
}

type jailTally struct {
	jailItem
	addrs *sketch.Distinct
}

func newTally(eng *past.Engine, db *geo.DB, only []string) *tally {
	return &tally{
		eng: eng, db: db, only: only, jails: map[string]*jailTally{}, patterns: map[string]uint64{}, hours: map[int64]*period{},
		addrs: sketch.NewTop[netip.Addr](topCounters), networks: sketch.NewTop[netip.Prefix](topCounters), systems: sketch.NewTop[string](topCounters),
		countries: sketch.NewTop[string](topCounters), users: sketch.NewTop[string](topCounters), distinctAddrs: sketch.NewDistinct(), distinctNames: sketch.NewDistinct(),
	}
}

// Places of the fields that follow those of filters.
var (
	messageIDField = len(evidence.Fields)
	jailField      = len(evidence.Fields) + 1
)

// read counts the entries of the input: what the filters trust, and the daemon's own audit entries of bans. Nothing but
// the daemon runs in its unit.
func (t *tally) read(e *cli.Env, in *past.Input) error {
	audited := journal.Group{{Field: "_SYSTEMD_UNIT", Value: audit.Unit}, {Field: "MESSAGE_ID", Value: audit.KindBan.ID()}}
	o := journal.Options{Matches: evidence.Matches(t.eng.Matchers(), audited), Fields: append(slices.Clone(evidence.Fields), "MESSAGE_ID", audit.FieldJail), MaxValue: evidence.MaxValue}
	tick := func(at int64) string {
		t.eng.Expire(at, at)
		return diag.Count(t.failures, "failure")
	}
	var fe filter.Entry
	err := in.Each(e, o, tick, func(entry *journal.Entry) error {
		t.entries++
		if string(entry.Field(messageIDField)) == audit.KindBan.ID() {
			t.auditedBan(string(entry.Field(jailField)))
			return nil
		}
		evidence.Convert(entry, &fe)
		t.outcome(t.eng.Entry(&fe, 0))
		return nil
	})
	if err == nil {
		t.outcome(t.eng.Finish())
	}
	return err
}

func (t *tally) auditedBan(jail string) {
	if len(t.only) == 0 || slices.Contains(t.only, jail) {
		t.made++
		t.jail(jail).Made++
	}
}

func (t *tally) outcome(out *policy.Outcome) {
	for i := range out.Failures {
		t.failure(&out.Failures[i])
	}
	for i := range out.Bans {
		b := &out.Bans[i]
		if b.Extended {
			continue // the same ban, with more ports
		}
		if t.bans++; b.Observed {
			t.observed++
		}
		t.jail(b.Jail).Bans++
		if h := t.hour(b.Since); h != nil {
			h.Bans++
		}
	}
}

func (t *tally) jail(name string) *jailTally {
	if t.jails[name] == nil && len(t.jails) >= maxJails {
		name = "(others)"
	}
	if t.jails[name] == nil {
		t.jails[name] = &jailTally{jailItem{Jail: name}, sketch.NewDistinct()}
	}
	return t.jails[name]
}

// hour is the hour of the history that a moment, in microseconds, belongs to; nil when there are too many.
func (t *tally) hour(us int64) *period {
	k := us / (3600 * 1e6)
	if t.hours[k] == nil && len(t.hours) < maxHours {
		t.hours[k] = &period{Begin: time.Unix(k*3600, 0)}
	}
	return t.hours[k]
}

func (t *tally) failure(f *policy.Failure) {
	n := uint64(f.Attempts)
	t.failures += n
	j := t.jail(f.Jail)
	j.Failures += n
	raw := f.Addr.As16()
	j.addrs.Add(raw[:])
	t.distinctAddrs.Add(raw[:])
	t.patterns[f.Jail+" "+f.Pattern] += n
	t.addrs.Add(f.Addr, n)
	bits := 48
	if f.Addr.Is4() {
		bits = 24
	}
	if p, err := f.Addr.Prefix(bits); err == nil {
		t.networks.Add(p, n)
	}
	if as := t.db.System(f.Addr); as != "" {
		t.systems.Add(as, n)
	}
	if c := t.db.Country(f.Addr); c != "" {
		t.countries.Add(c, n)
	}
	if len(f.User) > 0 {
		t.distinctNames.Add(f.User)
		t.users.Add(accountName(f.User), n)
	}
	if h := t.hour(f.Time); h != nil {
		h.Failures += n
	}
	t.ofDay[time.UnixMicro(f.Time).Hour()] += n
}

// accountName is a name as it is counted. No real account has a longer one.
func accountName(b []byte) string {
	if len(b) <= maxName {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	n := maxName
	for n > maxName-utf8.UTFMax && !utf8.RuneStart(b[n]) { // not in the middle of a character
		n--
	}
	return strings.ToValidUTF8(string(b[:n]), "\uFFFD") + "…"
}

func items[K comparable](t *sketch.Top[K], n int, name func(K) string, compare func(a, b K) int) []*item {
	l := []*item{}
	for _, i := range t.Items(n, compare) {
		l = append(l, &item{name(i.Key), i.Least, i.Most})
	}
	return l
}

func (t *tally) result(top int) *result {
	itself := func(s string) string { return s }
	r := &result{
		Entries: t.entries, Failures: t.failures, Bans: t.bans, Observed: t.observed, Made: t.made, Addresses: t.distinctAddrs.Count(), Names: t.distinctNames.Count(),
		Jails: []*jailItem{}, Patterns: []*item{}, OfDay: t.ofDay, Databases: []string{}, History: []period{},
		Sources:  items(t.addrs, top, netip.Addr.String, netip.Addr.Compare),
		Networks: items(t.networks, top, netip.Prefix.String, prefix.Compare),
		Users:    items(t.users, top, itself, cmp.Compare[string]),
	}
	country, system := t.db.Files()
	if country != "" {
		r.Databases = append(r.Databases, country)
		r.Countries = items(t.countries, top, itself, cmp.Compare[string])
	}
	if system != "" {
		r.Databases = append(r.Databases, system)
		r.Systems = items(t.systems, top, itself, cmp.Compare[string])
	}
	for _, name := range slices.Sorted(maps.Keys(t.jails)) {
		j := t.jails[name]
		j.Addresses = j.addrs.Count()
		r.Jails = append(r.Jails, &j.jailItem)
	}
	slices.SortStableFunc(r.Jails, func(a, b *jailItem) int {
		return cmp.Or(cmp.Compare(b.Failures, a.Failures), cmp.Compare(b.Bans+b.Made, a.Bans+a.Made))
	})
	for _, name := range slices.Sorted(maps.Keys(t.patterns)) {
		r.Patterns = append(r.Patterns, &item{name, t.patterns[name], t.patterns[name]})
	}
	slices.SortStableFunc(r.Patterns, func(a, b *item) int { return cmp.Compare(b.Failures, a.Failures) })
	r.Patterns = r.Patterns[:min(top, len(r.Patterns))]
	r.Step, r.History = t.history()
	return r
}

// maxHourly is the number of hours up to which the history is one of hours; a longer one is of days.
const maxHourly = 72

// history lists hours, or days of local time, without gaps.
func (t *tally) history() (step string, l []period) {
	l = []period{}
	if len(t.hours) == 0 {
		return "hour", l
	}
	keys := slices.Sorted(maps.Keys(t.hours))
	first, last := keys[0], keys[len(keys)-1]
	if last-first < maxHourly {
		for k := first; k <= last; k++ {
			if t.hours[k] == nil {
				t.hours[k] = &period{Begin: time.Unix(k*3600, 0)}
			}
			l = append(l, *t.hours[k])
		}
		return "hour", l
	}
	// Days without failures are left out where one stray time stamp would lead to thousands of them.
	gaps := last-first < maxHours
	for _, k := range keys {
		y, m, d := t.hours[k].Begin.Date()
		day := time.Date(y, m, d, 0, 0, 0, 0, time.Local)
		for gaps && len(l) > 0 && l[len(l)-1].Begin.Before(day) {
			l = append(l, period{Begin: l[len(l)-1].Begin.AddDate(0, 0, 1)})
		}
		if len(l) == 0 || !l[len(l)-1].Begin.Equal(day) {
			l = append(l, period{Begin: day})
		}
		l[len(l)-1].Failures += t.hours[k].Failures
		l[len(l)-1].Bans += t.hours[k].Bans
	}
	return "day", l
}
