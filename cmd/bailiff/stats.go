package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"bailiff/cmd/bailiff/internal/geo"
	"bailiff/cmd/bailiff/internal/sketch"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
	"bailiff/policy"
	"bailiff/policy/filter"
	"bailiff/units/control"
)

// statsBack is how far back the host's own journal is read without --since.
const statsBack = "7d"

// Bounds of what attackers fill. They keep a few megabytes, whatever is tried.
const (
	statsCounters = 1 << 13 // of each list of the most frequent
	statsName     = 96      // bytes of an account name that are kept
	statsHours    = 1 << 15 // of the history: almost four years
)

// stats is what `bailiff stats --json` prints; its keys are documented in bailiff(1) and stay.
type stats struct {
	Since     *time.Time  `json:"since"` // of the entries looked at; null: from the first
	Until     *time.Time  `json:"until"`
	Entries   uint64      `json:"entries"`
	Failures  uint64      `json:"failures"`
	Bans      uint64      `json:"bans"`      // that the configuration leads to
	Observed  uint64      `json:"observed"`  // of these, of jails that only observe: they block nothing
	Made      uint64      `json:"bans_made"` // that the daemon made, by the audit trail
	Addresses uint64      `json:"addresses"` // different ones, about
	Names     uint64      `json:"account_names"`
	Jails     []statsJail `json:"jails"`
	Patterns  []statsItem `json:"patterns"`
	Sources   []statsItem `json:"top_addresses"`
	Networks  []statsItem `json:"networks"`
	Systems   []statsItem `json:"systems"`   // null: there is no database
	Countries []statsItem `json:"countries"` // null: there is no database
	Users     []statsItem `json:"top_account_names"`
	Step      string      `json:"step"` // "hour" or "day"
	History   []statsTime `json:"history"`
	OfDay     [24]uint64  `json:"hours_of_day"` // failures by the hour of local time
	Databases []string    `json:"databases"`

	// Stopped is what the rules about each set have counted since they were made; null where no daemon runs whose firewall
	// counts, or where another host's journal is read.
	Stopped []control.Stopped `json:"stopped"`
	Seconds float64           `json:"seconds"`
}

type statsJail struct {
	Jail      string `json:"jail"`
	Failures  uint64 `json:"failures"`
	Addresses uint64 `json:"addresses"`
	Bans      uint64 `json:"bans"`
	Made      uint64 `json:"bans_made"`
}

// statsItem was counted that often at least. most is more where the bounds of memory leave it open.
type statsItem struct {
	Name     string `json:"name"`
	Failures uint64 `json:"failures"`
	Most     uint64 `json:"most"`
}

type statsTime struct {
	Begin    time.Time `json:"begin"`
	Failures uint64    `json:"failures"`
	Bans     uint64    `json:"bans"`
}

func runStats(e *env, args []string) error {
	var files, jails, dbs list
	f := e.flags("stats")
	f.Var(&files, "file", "journal file or folder of journal files; may be given several times (default: this host's journal)")
	export := f.String("export", "", "read export format (journalctl -o export) from a file, or - for standard input")
	since := f.String("since", "", "begin here: 2026-11-22, \"2026-11-22 19:17:00\", RFC 3339, @SECONDS, or a time back such as 2d (default: 7d back in this host's journal, else from the first entry)")
	until := f.String("until", "", "end here")
	conf := f.String("config", "", "this configuration `file` or folder in place of the installed one")
	f.Var(&jails, "jail", "only this `jail`; may be given several times")
	top := f.Int("top", 10, "how many `lines` of each list")
	f.Var(&dbs, "geoip", "GeoIP database (.mmdb) or folder of them; may be given several times (default: those of "+strings.Join(geo.Folders, " and ")+")")
	asJSON := f.Bool("json", false, "print JSON")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("stats", rest, 0, 0); err != nil {
		return err
	}
	if len(files) > 0 && *export != "" {
		return usagef("stats: --file and --export exclude each other")
	}
	if *top < 1 || *top > 1000 {
		return usagef("stats: --top: %d is not a number from 1 to 1000", *top)
	}
	if *since == "" && len(files) == 0 && *export == "" {
		*since = statsBack
	}
	now := time.Now()
	from, err := parseTime(*since, now)
	if err != nil {
		return usagef("stats: --since: %v", err)
	}
	to, err := parseTime(*until, now)
	if err != nil {
		return usagef("stats: --until: %v", err)
	}
	eng, err := engine(*conf, jails)
	if err != nil {
		return err
	}
	db, err := geo.Open(dbs...)
	if err != nil { // what else there is can be used
		fmt.Fprintf(e.err, "bailiff: GeoIP database: %s\n", clean(strings.ReplaceAll(err.Error(), "\n", "; ")))
		if len(dbs) > 0 {
			db.Close()
			return errSilent
		}
	}
	defer db.Close()
	s := newTally(e, eng, db, jails)
	o := journal.Options{Matches: evidence.Matches(eng.Matchers(), ownBans()), Fields: append(slices.Clone(evidence.Fields), "MESSAGE_ID", audit.FieldJail), MaxValue: evidence.MaxValue}
	if *export != "" {
		err = s.fromExport(*export, o, from, to)
	} else {
		err = s.fromFiles(files, o, from, to)
	}
	s.clear()
	if err != nil {
		return err
	}
	s.outcome(s.eng.Finish())
	r := s.result(*top)
	r.Seconds = time.Since(now).Seconds()
	r.Since, r.Until = timeOf(from), timeOf(to)
	if len(files) == 0 && *export == "" {
		r.Stopped = stoppedNow(e.ctx)
	}
	if *asJSON {
		return printJSON(e.out, r)
	}
	out := bufio.NewWriter(e.out)
	r.print(e, out)
	return out.Flush()
}

func timeOf(us uint64) *time.Time {
	if us == 0 {
		return nil
	}
	t := time.UnixMicro(int64(us))
	return &t
}

// Where the fields of an entry stand behind those that filters look at.
var (
	statsMessageID = len(evidence.Fields)
	statsJailField = len(evidence.Fields) + 1
)

// ownBans selects the audit entries of bans: nothing but the daemon runs in its unit.
func ownBans() journal.Group {
	return journal.Group{{Field: "_SYSTEMD_UNIT", Value: audit.Unit}, {Field: "MESSAGE_ID", Value: audit.KindBan.ID()}}
}

// tally counts.
type tally struct {
	*env
	eng   *judge
	db    *geo.DB
	only  []string // jails
	shown time.Time

	entries, failures, bans, observed, made uint64
	jails                                   map[string]*jailTally
	patterns                                map[string]uint64
	addrs                                   *sketch.Top[netip.Addr]
	networks                                *sketch.Top[netip.Prefix]
	systems, countries, users               *sketch.Top[string]
	different, names                        *sketch.Distinct
	hours                                   map[int64]*[2]uint64 // since 1970: failures and bans
	ofDay                                   [24]uint64
}

type jailTally struct {
	failures, bans, made uint64
	addrs                *sketch.Distinct
}

func newTally(e *env, eng *judge, db *geo.DB, only []string) *tally {
	return &tally{
		env: e, eng: eng, db: db, only: only, shown: time.Now(), jails: make(map[string]*jailTally), patterns: make(map[string]uint64), hours: make(map[int64]*[2]uint64),
		addrs: sketch.NewTop[netip.Addr](statsCounters), networks: sketch.NewTop[netip.Prefix](statsCounters), systems: sketch.NewTop[string](statsCounters),
		countries: sketch.NewTop[string](statsCounters), users: sketch.NewTop[string](statsCounters), different: sketch.NewDistinct(), names: sketch.NewDistinct(),
	}
}

func (s *tally) fromFiles(paths []string, o journal.Options, from, to uint64) error {
	src, err := journal.Paths(paths...)
	if err != nil {
		return err
	}
	j, err := openAt(src, o, from)
	if err != nil {
		return err
	}
	defer j.Close()
	for j.Next() {
		ent := j.Entry()
		if to != 0 && ent.Realtime > to {
			break
		}
		if err := s.entry(ent); err != nil {
			return err
		}
	}
	s.clear()
	if s.unread(j) && s.entries == 0 {
		return errSilent
	}
	return nil
}

func (s *tally) fromExport(path string, o journal.Options, from, to uint64) error {
	in := s.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	x := journal.NewExport(in, o)
	for x.Next() {
		ent := x.Entry()
		if ent.Realtime < from || to != 0 && ent.Realtime > to {
			continue
		}
		if err := s.entry(ent); err != nil {
			return err
		}
	}
	return x.Err()
}

func (s *tally) entry(ent *journal.Entry) error {
	if s.entries++; s.entries&0xffff == 0 {
		if s.ctx.Err() != nil {
			return errors.New("interrupted")
		}
		s.eng.Expire(int64(ent.Realtime), int64(ent.Realtime))
		if s.errTTY && time.Since(s.shown) > time.Second/4 {
			s.shown = time.Now()
			fmt.Fprintf(s.err, "\r%s  %d entries, %d failures \x1b[K", rfc(int64(ent.Realtime)), s.entries, s.failures)
		}
	}
	if string(ent.Field(statsMessageID)) == audit.KindBan.ID() {
		name := string(ent.Field(statsJailField))
		if len(s.only) == 0 || slices.Contains(s.only, name) {
			s.made++
			s.jail(name).made++
		}
		return nil
	}
	var fe filter.Entry
	evidence.Convert(ent, &fe)
	s.outcome(s.eng.Entry(&fe, 0))
	return nil
}

// outcome counts what an entry led to.
func (s *tally) outcome(out *policy.Outcome) {
	for i := range out.Failures {
		s.failure(&out.Failures[i])
	}
	for i := range out.Bans {
		b := &out.Bans[i]
		if b.Extended {
			continue // the same ban, with more ports
		}
		if s.bans++; b.Observed {
			s.observed++
		}
		s.jail(b.Jail).bans++
		if h := s.hour(b.Since); h != nil {
			h[1]++
		}
	}
}

// clear takes the line of progress away.
func (s *tally) clear() {
	if s.errTTY {
		fmt.Fprint(s.err, "\r\x1b[K")
	}
}

// maxJails bounds the names of jails that the audit trail of somebody else's journal may hold.
const maxJails = 1000

func (s *tally) jail(name string) *jailTally {
	j := s.jails[name]
	if j == nil {
		if len(s.jails) >= maxJails {
			name = "(others)"
			if j = s.jails[name]; j != nil {
				return j
			}
		}
		j = &jailTally{addrs: sketch.NewDistinct()}
		s.jails[name] = j
	}
	return j
}

// hour is the part of the history that a moment belongs to; nil when there are too many.
func (s *tally) hour(us int64) *[2]uint64 {
	k := us / (3600 * 1e6)
	h := s.hours[k]
	if h == nil && len(s.hours) < statsHours {
		h = new([2]uint64)
		s.hours[k] = h
	}
	return h
}

func (s *tally) failure(f *policy.Failure) {
	n := uint64(f.Attempts)
	s.failures += n
	j := s.jail(f.Jail)
	j.failures += n
	raw := f.Addr.As16()
	j.addrs.Add(raw[:])
	s.different.Add(raw[:])
	s.patterns[f.Jail+" "+f.Pattern] += n
	s.addrs.Add(f.Addr, n)
	bits := 48
	if f.Addr.Is4() {
		bits = 24
	}
	if p, err := f.Addr.Prefix(bits); err == nil {
		s.networks.Add(p, n)
	}
	if as := s.db.System(f.Addr); as != "" {
		s.systems.Add(as, n)
	}
	if c := s.db.Country(f.Addr); c != "" {
		s.countries.Add(c, n)
	}
	if len(f.User) > 0 {
		s.names.Add(f.User)
		s.users.Add(nameKey(f.User), n)
	}
	if h := s.hour(f.Time); h != nil {
		h[0] += n
	}
	s.ofDay[time.UnixMicro(f.Time).Hour()] += n
}

// nameKey is an account name as it is counted. What is longer than any account's is an attacker's play: its beginning
// will do.
func nameKey(b []byte) string {
	if len(b) <= statsName {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	b = b[:statsName]
	for i := len(b) - 1; i > len(b)-utf8.UTFMax; i-- { // not in the middle of a character
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				b = b[:i]
			}
			break
		}
	}
	return strings.ToValidUTF8(string(b), "\uFFFD") + "…"
}

func items[K comparable](t *sketch.Top[K], n int, text func(K) string, less func(a, b K) int) []statsItem {
	l := []statsItem{}
	for _, i := range t.Items(n, less) {
		l = append(l, statsItem{text(i.Key), i.Least, i.Most})
	}
	return l
}

func same(s string) string { return s }

func (s *tally) result(top int) *stats {
	r := &stats{
		Entries: s.entries, Failures: s.failures, Bans: s.bans, Observed: s.observed, Made: s.made, Addresses: s.different.Count(), Names: s.names.Count(),
		Jails: []statsJail{}, Patterns: []statsItem{}, OfDay: s.ofDay, Databases: []string{}, History: []statsTime{},
		Sources:  items(s.addrs, top, netip.Addr.String, netip.Addr.Compare),
		Networks: items(s.networks, top, netip.Prefix.String, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) }),
		Users:    items(s.users, top, same, cmp.Compare[string]),
	}
	country, system := s.db.Files()
	if country != "" {
		r.Databases = append(r.Databases, country)
		r.Countries = items(s.countries, top, same, cmp.Compare[string])
	}
	if system != "" {
		r.Databases = append(r.Databases, system)
		r.Systems = items(s.systems, top, same, cmp.Compare[string])
	}
	for _, name := range slices.Sorted(maps.Keys(s.jails)) {
		j := s.jails[name]
		r.Jails = append(r.Jails, statsJail{name, j.failures, j.addrs.Count(), j.bans, j.made})
	}
	slices.SortStableFunc(r.Jails, func(a, b statsJail) int {
		return cmp.Or(cmp.Compare(b.Failures, a.Failures), cmp.Compare(b.Bans+b.Made, a.Bans+a.Made))
	})
	for _, name := range slices.Sorted(maps.Keys(s.patterns)) {
		r.Patterns = append(r.Patterns, statsItem{name, s.patterns[name], s.patterns[name]})
	}
	slices.SortStableFunc(r.Patterns, func(a, b statsItem) int { return cmp.Compare(b.Failures, a.Failures) })
	r.Patterns = r.Patterns[:min(top, len(r.Patterns))]
	r.Step, r.History = s.history()
	return r
}

// maxHourly is how long a history is told by the hour.
const maxHourly = 72

// history puts the hours into a row without gaps; days of local time where that would be long.
func (s *tally) history() (step string, l []statsTime) {
	l = []statsTime{}
	if len(s.hours) == 0 {
		return "hour", l
	}
	keys := slices.Sorted(maps.Keys(s.hours))
	first, last := keys[0], keys[len(keys)-1]
	if last-first < maxHourly {
		for k := first; k <= last; k++ {
			x := statsTime{Begin: time.Unix(k*3600, 0)}
			if h := s.hours[k]; h != nil {
				x.Failures, x.Bans = h[0], h[1]
			}
			l = append(l, x)
		}
		return "hour", l
	}
	// Days without any are left out where a stray stamp would make a row of thousands.
	gaps := last-first < statsHours
	for _, k := range keys {
		y, m, d := time.Unix(k*3600, 0).Date()
		day := time.Date(y, m, d, 0, 0, 0, 0, time.Local)
		for gaps && len(l) > 0 && l[len(l)-1].Begin.Before(day) {
			l = append(l, statsTime{Begin: l[len(l)-1].Begin.AddDate(0, 0, 1)})
		}
		if len(l) == 0 || !l[len(l)-1].Begin.Equal(day) {
			l = append(l, statsTime{Begin: day})
		}
		l[len(l)-1].Failures += s.hours[k][0]
		l[len(l)-1].Bans += s.hours[k][1]
	}
	return "day", l
}

// print writes everything for people.
func (r *stats) print(e *env, w io.Writer) {
	span := "all of it"
	switch {
	case r.Since != nil && r.Until != nil:
		span = stamp(*r.Since) + " to " + stamp(*r.Until)
	case r.Since != nil:
		span = "since " + stamp(*r.Since)
	case r.Until != nil:
		span = "until " + stamp(*r.Until)
	}
	fmt.Fprintf(w, "%d entries, %s, in %.2f s\n", r.Entries, span, r.Seconds)
	fmt.Fprintf(w, "%s of about %d addresses at about %d account names\n", plural(int(r.Failures), "failure"), r.Addresses, r.Names)
	observed := ""
	if r.Observed > 0 {
		observed = fmt.Sprintf(" (%d of jails that only observe)", r.Observed)
	}
	fmt.Fprintf(w, "%s that this configuration leads to%s, %d that the daemon made\n", plural(int(r.Bans), "ban"), observed, r.Made)
	if len(r.Stopped) > 0 {
		fmt.Fprintln(w, stoppedText(r.Stopped))
	}
	rows := [][]string{{"JAIL", "FAILURES", "ADDRESSES", "BANS", "MADE"}}
	for _, j := range r.Jails {
		rows = append(rows, []string{clean(j.Jail), fmt.Sprint(j.Failures), fmt.Sprint(j.Addresses), fmt.Sprint(j.Bans), fmt.Sprint(j.Made)})
	}
	if len(rows) > 1 {
		fmt.Fprintln(w)
		table(w, rows)
	}
	if len(r.Stopped) > 0 {
		rows := [][]string{{"SET", "STOPS", "PACKETS", "BYTES"}}
		for _, s := range r.Stopped {
			rows = append(rows, []string{s.Set, scopeName(s.Scope), fmt.Sprint(s.Packets), fmt.Sprint(s.Bytes)})
		}
		fmt.Fprintln(w)
		table(w, rows)
	}
	r.list(w, "PATTERN", r.Patterns)
	r.list(w, "ADDRESS", r.Sources)
	r.list(w, "NETWORK", r.Networks)
	r.list(w, "COUNTRY", r.Countries)
	r.list(w, "AUTONOMOUS SYSTEM", r.Systems)
	r.list(w, "ACCOUNT NAME", r.Users)
	var most uint64
	for _, h := range r.History {
		most = max(most, h.Failures)
	}
	if len(r.History) > 0 {
		layout, what := "2006-01-02 15:00", "HOUR"
		if r.Step == "day" {
			layout, what = "Mon 2006-01-02", "DAY"
		}
		rows := [][]string{{what, "FAILURES", "BANS", ""}}
		for _, h := range r.History {
			rows = append(rows, []string{h.Begin.Local().Format(layout), fmt.Sprint(h.Failures), fmt.Sprint(h.Bans), bar(h.Failures, most, 40)})
		}
		fmt.Fprintln(w)
		table(w, rows)
	}
	if r.Failures > 0 {
		fmt.Fprintf(w, "\nby the hour of day, from 0 to 23:\n")
		most := slices.Max(r.OfDay[:])
		for row := 4; row > 0; row-- { // four lines high
			var b strings.Builder
			for _, n := range r.OfDay {
				c := "   "
				if n > 0 && (row == 1 || n*4 > most*uint64(row-1)) {
					c = "## "
				}
				b.WriteString(c)
			}
			fmt.Fprintln(w, "  "+strings.TrimRight(b.String(), " "))
		}
		var b strings.Builder
		for h := range 24 {
			fmt.Fprintf(&b, "%02d ", h)
		}
		fmt.Fprintln(w, "  "+strings.TrimRight(b.String(), " "))
	}
}

// bar is as long as n is of most; what is not nothing shows.
func bar(n, most uint64, width int) string {
	if n == 0 || most == 0 {
		return ""
	}
	return strings.Repeat("#", max(1, int(float64(n)/float64(most)*float64(width))))
}

func (r *stats) list(w io.Writer, what string, l []statsItem) {
	if len(l) == 0 {
		return
	}
	rows := [][]string{{what, "FAILURES", "SHARE"}}
	for _, i := range l {
		n := fmt.Sprint(i.Failures)
		if i.Most > i.Failures {
			n += fmt.Sprintf(" to %d", i.Most)
		}
		rows = append(rows, []string{clip(clean(i.Name), 52), n, fmt.Sprintf("%.1f %%", 100*float64(i.Failures)/float64(max(1, r.Failures)))})
	}
	fmt.Fprintln(w)
	table(w, rows)
}

// clip shortens a text that is clean already to so many columns.
func clip(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)
	return string(r[:max(0, width-1)]) + "~"
}
