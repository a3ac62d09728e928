package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// replayFailure, replayBan and replaySummary are the lines of `bailiff replay --json`; their keys are documented in
// bailiff(1) and stay.
type replayFailure struct {
	Kind     string       `json:"kind"` // "failure"
	Time     string       `json:"time"`
	Jail     string       `json:"jail"`
	Pattern  string       `json:"pattern"`
	Address  netip.Addr   `json:"address"`
	Prefix   netip.Prefix `json:"prefix"`
	User     *string      `json:"user"`
	Port     *uint16      `json:"port"`
	Attempts int          `json:"attempts"` // what this entry added
	Count    int          `json:"count"`    // what the prefix has in its window with it
	Cursor   string       `json:"cursor"`
}

type replayBan struct {
	Kind     string       `json:"kind"` // "ban"
	Time     string       `json:"time"`
	Jail     string       `json:"jail"`
	Prefix   netip.Prefix `json:"prefix"`
	Until    *string      `json:"until"` // null: for ever
	Failures int          `json:"failures"`
	Count    int          `json:"count"` // 1 for the first ban of this prefix, 2 for the second, …
	Reason   string       `json:"reason"`
	ID       string       `json:"id"`
	Observed bool         `json:"observed,omitempty"` // the jail only observes: nothing would be blocked
	Evidence []string     `json:"evidence"`
}

type replaySummary struct {
	Kind     string  `json:"kind"` // "summary"
	Entries  uint64  `json:"entries"`
	Failures uint64  `json:"failures"`
	Bans     uint64  `json:"bans"`
	Suspects int     `json:"suspects"` // bans of addresses that logged in or delivered mail within seven days
	Seconds  float64 `json:"seconds"`
}

func runReplay(e *env, args []string) error {
	var files, jails list
	f := e.flags("replay")
	f.Var(&files, "file", "journal file or folder of journal files; may be given several times (default: this host's journal)")
	export := f.String("export", "", "read export format (journalctl -o export) from a file, or - for standard input")
	since := f.String("since", "", "begin here: 2026-11-22, \"2026-11-22 19:17:00\", RFC 3339, @SECONDS, or a time back such as 2d")
	until := f.String("until", "", "end here")
	conf := f.String("config", "", "this configuration file or folder in place of the installed one")
	f.Var(&jails, "jail", "only this jail; may be given several times")
	other := f.String("compare", "", "tell how the bans of this other configuration `file` would differ")
	failures := f.Bool("failures", false, "show each failure that counts, too")
	asJSON := f.Bool("json", false, "one JSON object a line")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("replay: %q is too much: journal files and folders follow --file, what journalctl -o export writes follows --export", rest[0])
	}
	if len(files) > 0 && *export != "" {
		return usagef("replay: --file and --export exclude each other")
	}
	now := time.Now()
	from, err := parseTime(*since, now)
	if err != nil {
		return usagef("replay: --since: %v", err)
	}
	to, err := parseTime(*until, now)
	if err != nil {
		return usagef("replay: --until: %v", err)
	}
	eng, err := engine(*conf, jails)
	if err != nil {
		return err
	}
	all := eng.Matchers()
	var second *comparison
	if *other != "" {
		if *failures {
			return usagef("replay: --compare tells of bans, --failures of failures")
		}
		second = &comparison{}
		if second.eng, err = engine(*other, jails); err != nil {
			return err
		}
		all = append(all, second.eng.Matchers()...)
	}

	r := &replay{env: e, eng: eng, json: *asJSON, failures: *failures, out: bufio.NewWriterSize(e.out, 64<<10), started: now, last: now}
	r.enc = json.NewEncoder(r.out)
	r.enc.SetEscapeHTML(false)
	r.until = to
	r.compare = second
	matches := evidence.Matches(all)
	if *export != "" {
		err = r.fromExport(*export, matches, from)
	} else {
		err = r.fromFiles(files, matches, from)
	}
	if err == nil {
		if r.compare != nil {
			r.compare.settle(r)
		} else if err = r.outcome(r.eng.Finish()); err == nil {
			err = r.suspected()
		}
	}
	if e2 := r.finish(); err == nil {
		err = e2
	}
	return err
}

// replay feeds entries to the policy and prints what comes out.
type replay struct {
	*env
	eng      *judge
	json     bool
	failures bool
	out      *bufio.Writer
	enc      *json.Encoder
	until    uint64
	started  time.Time
	last     time.Time // progress was shown
	sum      replaySummary

	buf          []byte
	quoted       map[string][]byte
	appendCursor func([]byte, jail.Ref) []byte // of an entry that a filter knew
	compare      *comparison                   // nil: with nothing
	suspects     suspects
}

// engine makes the policy of a configuration, "" being the installed one.
func engine(file string, jails []string) (*judge, error) {
	c, err := loadConfig(file, jails...)
	if err != nil {
		return nil, err
	}
	if err := onlyJails(c, jails); err != nil {
		return nil, err
	}
	return newJudge(c)
}

func (r *replay) fromFiles(paths []string, matches journal.Matches, from uint64) error {
	src, err := journal.Paths(paths...)
	if err != nil {
		return err
	}
	j, err := openAt(src, journal.Options{Matches: matches, Fields: evidence.Fields, MaxValue: evidence.MaxValue}, from)
	if err != nil {
		return err
	}
	defer j.Close()
	r.suspects.lines = func(cursors []string) []string { return r.messages(src, cursors) }
	// What the trail has forgotten is looked up in a second reader, so that the first one keeps its place.
	look := &locator{src: src}
	defer look.close()
	var refs evidence.Refs
	// Nobody is kept out here, and what led to a ban lies farther apart than in the daemon.
	trail := evidence.Trail{Size: 1 << 17}
	r.appendCursor = func(b []byte, ref jail.Ref) []byte {
		if c, ok := trail.Cursor(ref, refs.Sources()); ok {
			return c.Append(b)
		}
		if ev, ok := trail.Evidence(ref, refs.Sources()); ok {
			return append(b, ev.Text(look)...)
		}
		return b
	}
	var fe filter.Entry
	for j.Next() {
		ent := j.Entry()
		if r.until != 0 && ent.Realtime > r.until {
			break
		}
		evidence.Convert(ent, &fe)
		ref := refs.Ref(ent.SeqnumID, ent.Seqnum)
		if err := r.entry(&fe, ref, func() { c := ent.Cursor(); trail.Keep(ref, &c) }); err != nil {
			return err
		}
	}
	if r.unread(j) && r.sum.Entries == 0 {
		return errSilent
	}
	return nil
}

// openAt opens the journal at a time.
func openAt(src journal.Source, o journal.Options, from uint64) (*journal.Reader, error) {
	j, err := journal.Open(src, o)
	if err == nil && from != 0 {
		j.SeekRealtime(from)
	}
	return j, err
}

// unread prints the problems of a journal, and says whether anything could not be read.
func (e *env) unread(j *journal.Reader) (incomplete bool) {
	var hints []string
	for _, p := range j.Problems() {
		incomplete = incomplete || journal.Incomplete(p)
		fmt.Fprintf(e.err, "bailiff: %v\n", p)
		if h := journal.Hint(p); h != "" && !slices.Contains(hints, h) {
			hints = append(hints, h)
		}
	}
	for _, h := range hints {
		fmt.Fprintf(e.err, "hint: %s\n", h)
	}
	return incomplete
}

// locator opens the journal a second time when it is first asked.
type locator struct {
	src journal.Source
	r   *journal.Reader
}

func (l *locator) Locate(id journal.ID128, seq uint64) (journal.Cursor, bool) {
	if l.r == nil {
		var err error
		if l.r, err = journal.Open(l.src, journal.Options{}); err != nil {
			return journal.Cursor{}, false
		}
	}
	return l.r.Locate(id, seq)
}

func (l *locator) close() {
	if l.r != nil {
		l.r.Close()
	}
}

func (r *replay) fromExport(path string, matches journal.Matches, from uint64) error {
	in := r.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	x := journal.NewExport(in, journal.Options{Matches: matches, Fields: evidence.Fields, MaxValue: evidence.MaxValue})
	// A stream cannot be read twice, so the cursors of lines that any filter knew are kept.
	var cursors []string
	texts := map[string]string{} // of what may become evidence
	r.appendCursor = func(b []byte, ref jail.Ref) []byte { return append(b, cursors[ref]...) }
	r.suspects.lines = func(l []string) (lines []string) {
		for _, c := range l {
			lines = append(lines, texts[c])
		}
		return lines
	}
	var fe filter.Entry
	for x.Next() {
		ent := x.Entry()
		if ent.Realtime < from || r.until != 0 && ent.Realtime > r.until {
			continue
		}
		evidence.Convert(ent, &fe)
		ref := jail.Ref(len(cursors))
		cursors = append(cursors, "")
		if err := r.entry(&fe, ref, func() {
			cursors[ref] = ent.Cursor().String()
			texts[cursors[ref]] = string(fe.Message)
		}); err != nil {
			return err
		}
		if cursors[ref] == "" {
			cursors = cursors[:ref]
		}
	}
	return x.Err()
}

// messages reads the messages of entries again.
func (r *replay) messages(src journal.Source, cursors []string) (lines []string) {
	j, err := journal.Open(src, journal.Options{Fields: []string{"MESSAGE"}, MaxValue: evidence.MaxValue})
	if err != nil {
		return nil
	}
	defer j.Close()
	for _, text := range cursors {
		c, err := journal.ParseCursor(text)
		if err != nil {
			continue
		}
		if ent, ok := j.At(c); ok {
			lines = append(lines, string(ent.Field(0)))
		}
	}
	return lines
}

// entry judges one entry and prints what it led to; keep is called before that when a filter knew the line.
func (r *replay) entry(fe *filter.Entry, ref jail.Ref, keep func()) error {
	r.sum.Entries++
	if r.sum.Entries&0xffff == 0 {
		if err := r.ctx.Err(); err != nil {
			return errors.New("interrupted")
		}
		r.eng.Expire(fe.Realtime, fe.Realtime)
		r.progress(fe.Realtime)
	}
	if r.compare != nil {
		r.compare.entry(r, fe, ref)
		return nil
	}
	out := r.eng.Entry(fe, ref)
	if out.Hits > 0 {
		keep() // also of a line that counts only when a later one tells its address, or how its attempt ended
	}
	return r.outcome(out)
}

// outcome prints what an entry led to.
func (r *replay) outcome(out *policy.Outcome) error {
	r.suspects.outcome(out)
	for i := range out.Failures {
		x := &out.Failures[i]
		r.sum.Failures += uint64(x.Attempts)
		if r.failures {
			if err := r.failure(x); err != nil {
				return err
			}
		}
	}
	for i := range out.Bans {
		if out.Bans[i].Extended {
			continue // the same ban, with more ports
		}
		r.sum.Bans++
		b := &out.Bans[i]
		r.suspects.ban(b, func(k int) string { return string(r.appendCursor(nil, b.Evidence[k].Ref)) })
		if err := r.ban(&out.Bans[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *replay) failure(x *policy.Failure) error {
	if !r.json {
		user := ""
		if len(x.User) > 0 {
			user = " user " + clean(string(x.User))
		}
		_, err := fmt.Fprintf(r.out, "%s  failure  %s  %s  %s  count %d%s\n", rfc(x.Time), x.Jail, x.Addr, x.Pattern, x.Count, user)
		return err
	}
	o := replayFailure{Kind: "failure", Time: rfc(x.Time), Jail: x.Jail, Pattern: x.Pattern, Address: x.Addr, Prefix: x.Prefix, Attempts: x.Attempts, Count: x.Count, Cursor: string(r.appendCursor(nil, x.Ref))}
	if len(x.User) > 0 {
		u := strings.ToValidUTF8(string(x.User), "\uFFFD")
		o.User = &u
	}
	if x.Port != 0 {
		o.Port = &x.Port
	}
	return r.enc.Encode(o)
}

func (r *replay) ban(b *policy.Ban) error {
	if !r.json {
		until := "forever"
		if b.Until != 0 {
			until = "until " + rfc(b.Until)
		}
		why := plural(b.Failures, "attempt")
		switch b.Reason {
		case state.Slow:
			why += " slowly"
		case state.Account:
			why += " on an account that many attack"
		case state.Network:
			why = plural(b.Failures, "part") + " of it attacked"
		}
		what := "ban     "
		if b.Observed {
			what = "observed"
		}
		_, err := fmt.Fprintf(r.out, "%s  %s %s  %s  %s, %s\n", rfc(b.Since), what, b.Jail, b.Prefix, why, until)
		return err
	}
	r.buf = r.appendBan(r.buf[:0], b)
	_, err := r.out.Write(r.buf)
	return err
}

// appendBan writes what encoding/json would make of a replayBan (a test holds them together): of a large journal there may be a
// hundred thousand, each with as many cursors as it has failures.
func (r *replay) appendBan(to []byte, b *policy.Ban) []byte {
	to = append(to, `{"kind":"ban","time":"`...)
	to = appendTime(to, b.Since)
	to = append(to, `","jail":`...)
	to = append(to, r.quote(b.Jail)...)
	to = append(to, `,"prefix":"`...)
	to = b.Prefix.AppendTo(to)
	to = append(to, `","until":`...)
	if b.Until == 0 {
		to = append(to, "null"...)
	} else {
		to = append(to, '"')
		to = appendTime(to, b.Until)
		to = append(to, '"')
	}
	to = append(to, `,"failures":`...)
	to = strconv.AppendInt(to, int64(b.Failures), 10)
	to = append(to, `,"count":`...)
	to = strconv.AppendInt(to, int64(b.Count), 10)
	to = append(to, `,"reason":"`...)
	to = append(to, b.Reason...) // a word of state's
	to = append(to, `","id":"`...)
	to = append(to, b.ID()...)
	if b.Observed {
		to = append(to, `","observed":true,"evidence":[`...)
	} else {
		to = append(to, `","evidence":[`...)
	}
	for i, x := range b.Evidence {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(to, '"')
		to = r.appendCursor(to, x.Ref) // hex digits, = and ;
		to = append(to, '"')
	}
	return append(to, "]}\n"...)
}

// quote gives a jail's name as JSON has it, each made once.
func (r *replay) quote(name string) []byte {
	if q := r.quoted[name]; q != nil {
		return q
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(name); err != nil {
		panic(err) // no text gives one
	}
	if r.quoted == nil {
		r.quoted = map[string][]byte{}
	}
	r.quoted[name] = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	return r.quoted[name]
}

func (r *replay) progress(at int64) {
	if !r.errTTY || time.Since(r.last) < time.Second/4 {
		return
	}
	r.last = time.Now()
	fmt.Fprintf(r.err, "\r%s  %d entries, %d failures, %d bans \x1b[K", rfc(at), r.sum.Entries, r.sum.Failures, r.sum.Bans)
}

func (r *replay) finish() error {
	if r.errTTY {
		fmt.Fprint(r.err, "\r\x1b[K")
	}
	if r.compare != nil {
		return r.compare.finish(r)
	}
	r.sum.Kind, r.sum.Seconds = "summary", time.Since(r.started).Seconds()
	if r.json {
		if err := printJSON(r.out, r.sum); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(r.out, "%d entries, %d failures, %d bans in %.2f s\n", r.sum.Entries, r.sum.Failures, r.sum.Bans, r.sum.Seconds)
	}
	return r.out.Flush()
}

// rfc writes microseconds since 1970 as RFC 3339 in UTC, with all six digits so that texts sort as times do.
func rfc(us int64) string { return string(appendTime(nil, us)) }

// appendTime is rfc. The standard layout has a way of its own in package time, which is several times as fast as others.
func appendTime(b []byte, us int64) []byte {
	b = time.UnixMicro(us).UTC().AppendFormat(b, time.RFC3339)
	frac := us % 1e6
	if frac < 0 {
		frac += 1e6
	}
	b[len(b)-1] = '.' // in place of Z
	b = append(b, "000000Z"...)
	for i := len(b) - 2; frac > 0; i-- {
		b[i] = '0' + byte(frac%10)
		frac /= 10
	}
	return b
}

// list is an option that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// parseTime reads a point in time as journalctl users write it, or a time back from now. Empty is 0.
func parseTime(s string, now time.Time) (uint64, error) {
	switch s = strings.TrimSpace(s); s {
	case "":
		return 0, nil
	case "now":
		return uint64(now.UnixMicro()), nil
	case "today":
		y, m, d := now.Date()
		return uint64(time.Date(y, m, d, 0, 0, 0, 0, now.Location()).UnixMicro()), nil
	case "yesterday":
		y, m, d := now.Date()
		return uint64(time.Date(y, m, d-1, 0, 0, 0, 0, now.Location()).UnixMicro()), nil
	}
	if sec, ok := strings.CutPrefix(s, "@"); ok {
		var n float64
		if _, err := fmt.Sscanf(sec, "%g", &n); err != nil || n < 0 || n > 1e12 {
			return 0, fmt.Errorf("%q is not a number of seconds", s)
		}
		return uint64(n * 1e6), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil && t.Unix() >= 0 {
			return uint64(t.UnixMicro()), nil
		}
	}
	back := strings.TrimSuffix(strings.TrimPrefix(s, "-"), " ago")
	if d, err := config.ParseDuration(back); err == nil && d != config.Forever {
		return uint64(now.Add(-d).UnixMicro()), nil
	}
	return 0, fmt.Errorf("%q is not a time; write 2026-11-22, \"2026-11-22 19:17:00\", @SECONDS, or 2d for two days back", s)
}

// loadConfig reads the configuration named, or the installed one; with neither, every built-in jail is on. Where jails are named,
// filters are loaded for these alone.
func loadConfig(path string, jails ...string) (*config.Config, error) {
	l := config.Loader{Jails: jails}
	if path != "" {
		return l.LoadFile(path)
	}
	return l.Load()
}

// onlyJails switches off all jails but those named.
func onlyJails(c *config.Config, names []string) error {
	if len(names) == 0 {
		return nil
	}
	for _, n := range names {
		if !slices.ContainsFunc(c.Jails, func(j config.Jail) bool { return j.Name == n }) {
			var have []string
			for _, j := range c.Jails {
				have = append(have, j.Name)
			}
			return (&diag.Error{File: "--jail", Text: fmt.Sprintf("there is no jail %q", n)}).WithHint("there are %s", strings.Join(have, ", "))
		}
	}
	for i := range c.Jails {
		c.Jails[i].Enabled = slices.Contains(names, c.Jails[i].Name)
	}
	return nil
}
