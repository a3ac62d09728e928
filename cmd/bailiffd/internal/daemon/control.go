package daemon

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/firewall"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy"
	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/operator"
	"bailiff/policy/state"
	"bailiff/units/allowlists"
	"bailiff/units/control"
	"bailiff/units/version"
)

// asker answers control calls: it carries each to the goroutine that owns the state. What needs time (reading the
// journal) it does itself, afterwards.
type asker struct{ d *daemon }

// do runs f on the owner's goroutine. After an error the caller must not look at what f writes: f may still be running.
func (a *asker) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case a.d.calls <- func() { defer close(done); f() }:
	case <-ctx.Done():
		return busy(ctx)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return &control.Error{Status: http.StatusGatewayTimeout, Message: "the daemon is still at it", Hint: "what was asked for will be done: look with bailiff status before you ask again"}
	}
}

func busy(ctx context.Context) error {
	return &control.Error{Status: http.StatusServiceUnavailable, Message: "the daemon did not answer in time, and nothing was done", Hint: "journalctl -u bailiff tells what it does; try again"}
}

func badRequest(hint, format string, args ...any) error {
	return &control.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...), Hint: hint}
}

func (a *asker) Status(ctx context.Context) (s *control.Status, err error) {
	var jails []policy.JailInfo
	var counter firewall.Counter
	perJail := make(map[string]int)
	err = a.do(ctx, func() {
		d, now := a.d, time.Now()
		d.lookAtProblems(now)
		tracked, limit, widened := d.eng.Tracked()
		s = &control.Status{
			Version: version.String(), PID: os.Getpid(), Started: d.started, Problems: d.problems.now(now), Config: slices.Clone(d.conf.Files),
			ConfigErr: d.configErr, Journal: d.js, Firewall: d.fw, Bans: d.led.Len(), BansTotal: d.bansTotal,
			Tracked: tracked, TrackedMax: limit, Widened: widened, Spread: control.SpreadStatus(d.eng.Spreading(time.Now().UnixMicro())), Allowed: d.eng.Allowed,
		}
		s.Journal.Problems = slices.Clone(d.js.Problems)
		if !d.pos.IsZero() {
			s.Journal.Cursor = d.pos.Last().String()
		}
		if !d.reloaded.IsZero() {
			t := d.reloaded
			s.Reloaded = &t
		}
		s.Lists = controlLists(d.lists.Status(d.conf.Allow.Lists))
		for i := range d.conf.Report.Destinations {
			if d.conf.Report.Destinations[i].Enabled {
				s.Reports++
			}
		}
		jails, counter = d.eng.Jails(), d.counter
		for b := range d.led.All() {
			perJail[b.Jail]++
		}
	})
	if err != nil {
		return nil, err
	}
	s.Memory = rssAnon()
	s.Firewall.Stopped = stopped(ctx, counter)
	present := a.d.present(ctx, jails)
	for _, j := range jails {
		js := control.JailStatus{Name: j.Name, Filter: j.Filter.Name, Mode: j.Mode, Units: present(j), Failures: j.Failures, Bans: perJail[j.Name]}
		if j.Last != 0 {
			t := time.UnixMicro(j.Last)
			js.Last = &t
		}
		js.Containers = j.Trust.Containers
		for _, u := range j.Trust.UserUnits {
			js.UserUnits = append(js.UserUnits, u.String())
		}
		if r := j.Refused; r.Entries > 0 {
			js.Refused = &control.RefusedStatus{Entries: r.Entries, Time: time.UnixMicro(r.Last), Exe: r.Why.Exe, Container: r.Why.Container, Line: r.Why.Line, Hint: r.Why.Hint(j.Name)}
		}
		s.Jails = append(s.Jails, js)
	}
	return s, nil
}

func controlLists(l []allowlists.List) []control.ListStatus {
	out := make([]control.ListStatus, 0, len(l))
	for _, x := range l {
		c := control.ListStatus{Name: x.Name, Entries: x.Entries, Refused: x.Refused, Failed: x.Failed}
		if !x.Fetched.IsZero() {
			c.Fetched = &x.Fetched
		}
		if !x.Checked.IsZero() {
			c.Checked = &x.Checked
		}
		out = append(out, c)
	}
	return out
}

// rssAnon is the memory that is ours alone, in bytes. Mapped journal pages are the kernel's cache.
func rssAnon() uint64 {
	data, _ := os.ReadFile("/proc/self/status")
	for _, l := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(l, "RssAnon:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

func (a *asker) Bans(ctx context.Context, q control.BanQuery) (list *control.BanList, err error) {
	var p netip.Prefix
	if q.Prefix != "" {
		if p, err = parsePrefix(q.Prefix); err != nil {
			return nil, err
		}
	}
	list = &control.BanList{Bans: []control.Ban{}}
	passed := q.After == ""
	err = a.do(ctx, func() {
		a.d.stir()
		led := a.d.led
		if q.Observed {
			led = a.d.eng.Observed()
		}
		for b := range led.All() {
			if q.Jail != "" && b.Jail != q.Jail || q.Prefix != "" && !b.Prefix.Overlaps(p) {
				continue
			}
			list.Total++
			if !passed {
				passed = banKey(&b) == q.After
				continue
			}
			if len(list.Bans) == q.Limit {
				if list.Next == "" {
					last := list.Bans[q.Limit-1]
					list.Next = last.Prefix + " " + last.Jail
				}
				continue
			}
			list.Bans = append(list.Bans, controlBan(&b))
		}
	})
	if err != nil {
		return nil, err
	}
	if !passed {
		return nil, badRequest("begin again with the first page", "there is no ban %q (any more) to go on after", q.After)
	}
	return list, nil
}

func banKey(b *state.Ban) string { return b.Prefix.String() + " " + b.Jail }

func controlBan(b *state.Ban) control.Ban {
	c := control.Ban{ID: b.ID(), Prefix: b.Prefix.String(), Jail: b.Jail, Since: time.UnixMicro(b.Since), Ports: strings.ReplaceAll(b.Scope, ";", ","), Failures: b.Failures, Count: b.Count, Reason: b.Reason, By: b.By}
	if b.Until != 0 {
		t := time.UnixMicro(b.Until)
		c.Until = &t
	}
	return c
}

// parsePrefix reads an address or a prefix. Bits behind the prefix are cut off; host names are refused.
func parsePrefix(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.WithZone("").Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, badRequest("write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64; host names are not looked up", "%q is not an address or prefix", s)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, badRequest("write the IPv4 prefix itself", "%q covers more than IPv4", s)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// jailManual holds the bans by hand that name no jail: all traffic is stopped.
const jailManual = "manual"

// Widest prefixes that a ban by hand may have without force.
const (
	widest4 = 8
	widest6 = 32
)

func (a *asker) Ban(ctx context.Context, by control.Peer, req control.BanRequest) ([]control.Ban, error) {
	if len(req.Prefixes) == 0 {
		return nil, badRequest(`{"prefixes": ["192.0.2.7"]}`, "no address given")
	}
	var ps []netip.Prefix
	for _, s := range req.Prefixes {
		p, err := parsePrefix(s)
		if err != nil {
			return nil, err
		}
		least := widest6
		if p.Addr().Is4() {
			least = widest4
		}
		if p.Bits() == 0 || p.Bits() < least && !req.Force {
			return nil, badRequest("--force bans it all the same, but never everything", "%s is wider than /%d", p, least)
		}
		ps = append(ps, p)
	}
	name := req.Jail
	if name == "" {
		name = jailManual
	}
	out := []control.Ban{}
	var failed error
	err := a.do(ctx, func() {
		d := a.d
		long := d.conf.Defaults.BanTime
		if j, ok := d.eng.Jail(name); ok {
			long = j.BanTime
		} else if name != jailManual {
			failed = &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no jail %q", name), Hint: "there are " + strings.Join(d.jailNames(), ", ") + "; without a jail all traffic is stopped"}
			return
		}
		if req.Duration != "" {
			if long, failed = config.ParseDuration(req.Duration); failed != nil {
				failed = badRequest("write 10m, 48h, 4w or forever", "duration: %v", failed)
				return
			}
		}
		now := time.Now().UnixMicro()
		for _, p := range ps {
			if hit := d.eng.Allow().Overlapping(p, now); len(hit) > 0 {
				failed = &control.Error{Status: http.StatusConflict, Message: fmt.Sprintf("%s is not banned: %s is allowed (%s)", p, hit[0].Prefix, hit[0].Where()), Hint: "take it off the allow list first"}
				return
			}
		}
		for _, p := range ps {
			b := state.Ban{Prefix: p, Jail: name, Since: now, Reason: req.Reason, By: by.User, Scope: d.eng.Scope(name)}
			if long != config.Forever {
				b.Until = now + long.Microseconds()
			}
			kind := audit.KindBan
			if old, ok := d.led.Get(p, name); ok {
				kind = audit.KindExtend
				b.Count, b.Failures, b.Scope = old.Count, old.Failures, state.JoinScopes(old.Scope, b.Scope)
			} else {
				_, b.Count = d.led.Escalate(p, now, long, 1, 0, d.conf.Escalate.Forget, 0)
			}
			d.led.Add(b)
			d.firewall.add(d.elements(&b)...)
			d.bansTotal++
			d.record(record{kind: kind, ban: banEvent(&b, d.fw.Backend)})
			out = append(out, controlBan(&b))
		}
		failed = saved(d.saveNow())
	})
	if err != nil {
		return nil, err
	}
	return out, failed
}

// saved says that a command was carried out but may not survive a crash.
func saved(err error) error {
	if err == nil {
		return nil
	}
	return &control.Error{Status: http.StatusInternalServerError, Message: "done, but the state cannot be saved: " + err.Error(), Hint: "make room on the file system of /var/lib/bailiff: the daemon tries again by itself, and a restart takes the change from the journal"}
}

func (a *asker) Unban(ctx context.Context, by control.Peer, prefix, jail string, all bool) (*control.Removed, error) {
	var p netip.Prefix
	var err error
	if prefix != "" {
		if p, err = parsePrefix(prefix); err != nil {
			return nil, err
		}
	} else if !all {
		return nil, badRequest("?prefix=192.0.2.7, or ?all=true", "no address given")
	}
	n := 0
	var failed error
	err = a.do(ctx, func() {
		d := a.d
		var gone []state.Ban
		for b := range d.led.All() {
			// An address lifts the ban that covers it, too: who unbans 2001:db8::7 means the /64 that it is banned by.
			if (all || p.Overlaps(b.Prefix) && (b.Prefix.Bits() >= p.Bits() || p.IsSingleIP())) && (jail == "" || b.Jail == jail) {
				gone = append(gone, b)
			}
		}
		now := time.Now().UnixMicro()
		for _, b := range gone {
			d.led.Remove(b.Prefix, b.Jail)
			d.eng.Pardon(b.Prefix, now)
		}
		if !all {
			d.eng.Pardon(p, now)
		}
		d.released(gone, "lifted by hand", by.User)
		n = len(gone)
		failed = saved(d.saveNow())
	})
	if err != nil {
		return nil, err
	}
	return &control.Removed{Removed: n}, failed
}

func (a *asker) Allowed(ctx context.Context) (l []control.AllowEntry, err error) {
	var entries []allow.Entry
	var from *origins
	err = a.do(ctx, func() { entries, from = a.d.eng.Allow().Entries(), a.d.origins() })
	if err != nil {
		return nil, err
	}
	return from.all(entries), nil
}

func (a *asker) AllowWhy(ctx context.Context, address string) (*control.AllowWhy, error) {
	p, err := parsePrefix(address)
	if err != nil {
		return nil, err
	}
	w := &control.AllowWhy{Address: audit.Address(p)}
	err = a.do(ctx, func() {
		now := time.Now().UnixMicro()
		l, from := a.d.eng.Allow(), a.d.origins()
		hit := l.Overlapping(p, now)
		w.Allowed = len(hit) > 0 && hit[0].Prefix.Bits() <= p.Bits() // those around come first
		w.Entries, w.Expired = from.all(hit), from.all(l.Expired(p, now))
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// origins is what can be said of where allow entries come from.
type origins struct {
	now      time.Time
	files    []string // of the configuration
	lists    map[string]allow.Published
	sessions map[netip.Addr]operator.Session
}

func (d *daemon) origins() *origins {
	o := &origins{now: time.Now(), files: slices.Clone(d.conf.Files), lists: d.lists.Files(), sessions: make(map[netip.Addr]operator.Session)}
	if d.ops != nil {
		for _, s := range d.ops.Sessions() {
			if _, ok := o.sessions[s.Addr]; !ok { // the oldest, which Entries names, too
				o.sessions[s.Addr] = s
			}
		}
	}
	return o
}

func (o *origins) all(entries []allow.Entry) []control.AllowEntry {
	l := make([]control.AllowEntry, 0, len(entries))
	for _, e := range entries {
		l = append(l, o.entry(e))
	}
	return l
}

func (o *origins) entry(e allow.Entry) control.AllowEntry {
	c := control.AllowEntry{Prefix: audit.Address(e.Prefix), Origin: e.Where(), Source: e.Origin, Comment: e.Comment}
	if !e.Until.IsZero() {
		t := e.Until
		c.Until, c.Expired = &t, !o.now.Before(t)
	}
	switch e.Origin {
	case allow.OriginSelf, allow.OriginRuntime:
	case operator.Origin:
		if s, ok := o.sessions[e.Prefix.Addr()]; ok && c.Until == nil {
			c.Session = &control.AllowSession{User: s.User, Why: s.Why, PID: s.PID, TTY: s.TTY, ID: s.ID, Since: time.UnixMicro(s.Since)}
		}
	default:
		c.Source = "file"
		if slices.Contains(o.files, e.Origin) {
			c.Source = "config"
		} else if p, ok := o.lists[e.Origin]; ok {
			c.Source, c.List, c.URLs = "list", p.Name, p.URLs
		}
	}
	return c
}

func (a *asker) Allow(ctx context.Context, by control.Peer, req control.AllowRequest) (*control.AllowResult, error) {
	p, err := parsePrefix(req.Prefix)
	if err != nil {
		return nil, err
	}
	if p.Bits() == 0 {
		return nil, badRequest("to switch banning off, disable the jails or stop the service", "%s is everything", p)
	}
	var until time.Time
	if req.Duration != "" {
		long, err := config.ParseDuration(req.Duration)
		if err != nil {
			return nil, badRequest("write 10m, 48h, 4w or forever", "duration: %v", err)
		}
		if long != config.Forever {
			until = time.Now().Add(long)
		}
	}
	r := &control.AllowResult{}
	var failed error
	err = a.do(ctx, func() {
		d := a.d
		entry := allow.Entry{Prefix: p, Origin: allow.OriginRuntime, Comment: req.Comment, Until: until}
		if !d.led.Allow(entry) {
			failed = &control.Error{Status: http.StatusConflict, Message: "the run-time allow list is full", Hint: "put the addresses into a file below /etc/bailiff/allow.d"}
			return
		}
		lifted := d.refreshAllow(time.Now())
		d.aud.Allow(audit.AllowEvent{Prefix: p, Until: until, Comment: req.Comment, By: by.User, Lifted: len(lifted)})
		r.Lifted = len(lifted)
		r.Entry = d.origins().entry(entry)
		failed = saved(d.saveNow())
	})
	if err != nil {
		return nil, err
	}
	return r, failed
}

func (a *asker) Disallow(ctx context.Context, by control.Peer, prefix string) (*control.Removed, error) {
	p, err := parsePrefix(prefix)
	if err != nil {
		return nil, err
	}
	var failed error
	err = a.do(ctx, func() {
		d := a.d
		if !d.led.Disallow(p) {
			if e, ok := d.eng.Allow().Contains(p.Addr(), time.Now().UnixMicro()); ok {
				failed = &control.Error{Status: http.StatusConflict, Message: fmt.Sprintf("%s was not allowed at run time: %s stands in %s", p, e.Prefix, e.Where()), Hint: "change it there, then bailiff reload"}
			} else {
				failed = &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("%s is not on the allow list", p)}
			}
			return
		}
		d.refreshAllow(time.Now())
		d.aud.Disallow(audit.AllowEvent{Prefix: p, By: by.User})
		failed = saved(d.saveNow())
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	return &control.Removed{Removed: 1}, nil
}

func (a *asker) Config(ctx context.Context) (data []byte, err error) {
	if err := a.do(ctx, func() { data = a.d.conf.Render() }); err != nil {
		return nil, err
	}
	return data, nil
}

func (a *asker) Reload(ctx context.Context, by control.Peer) (r *control.Reloaded, err error) {
	var failed error
	err = a.do(ctx, func() { r, failed = a.d.reload(by.User) })
	if err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, &control.Error{Status: http.StatusUnprocessableEntity, Message: failed.Error(), Hint: "the old configuration stays in force; bailiff check tells more"}
	}
	return r, nil
}

func (a *asker) Why(ctx context.Context, address string) (*control.Why, error) {
	p, err := parsePrefix(address)
	if err != nil {
		return nil, err
	}
	addr := p.Addr()
	w := &control.Why{Address: audit.Address(p), State: "unknown", Allowed: []control.AllowEntry{}, Bans: []control.WhyBan{}, Counted: []control.WhyCount{}, History: []control.History{}}
	var counted []policy.Counted
	var evidence [][]string
	filters := make(map[string]*filter.Matcher) // of jails: they are read-only
	err = a.do(ctx, func() {
		d := a.d
		now := time.Now().UnixMicro()
		w.Allowed = d.origins().all(d.eng.Allow().Overlapping(p, now))
		// Of an address the few prefixes that may cover it are looked up; inside a prefix anything may lie.
		bans := d.led.Covering(addr)
		if !p.IsSingleIP() {
			bans = d.led.All()
		}
		for b := range bans {
			if !b.Prefix.Overlaps(p) {
				continue
			}
			if w.BansTotal++; w.BansTotal <= whyMost {
				w.Bans = append(w.Bans, control.WhyBan{Ban: controlBan(&b)})
				if j, ok := d.eng.Jail(b.Jail); ok {
					filters[b.Jail], _ = j.Filter.Mode(j.Mode)
				}
			}
		}
		counted = d.eng.Counted(addr, now)
		for _, c := range counted {
			var texts []string
			for _, f := range c.Failures {
				text := "" // of a failure that was restored, and whose entry was not read again
				if e, ok := d.trail.Evidence(f.Ref, d.sources); ok {
					text = e.Text(nil)
				}
				texts = append(texts, text)
			}
			evidence = append(evidence, texts)
		}
		history := d.led.HistoryOf(p)
		w.HistoryTotal = len(history)
		for _, h := range history[:min(len(history), whyMost)] {
			x := control.History{Prefix: h.Prefix.String(), Count: h.Count}
			if h.Last != math.MaxInt64 {
				t := time.UnixMicro(h.Last)
				x.Last = &t
			}
			w.History = append(w.History, x)
		}
	})
	if err != nil {
		return nil, err
	}
	lines := newLines(a.d.source())
	defer lines.close()
	cursors := evidenceOf(ctx, a.d.source(), w.Bans)
	for i := range w.Bans {
		b := &w.Bans[i]
		b.Evidence = lines.get(ctx, cursors[b.ID])
		if m := filters[b.Jail]; m != nil {
			var h filter.Hit
			for k := range b.Evidence {
				if l := &b.Evidence[k]; m.MatchMessage([]byte(l.Message), &h) {
					l.Pattern = h.Pattern.Name
				}
			}
		}
	}
	for i, c := range counted {
		x := control.WhyCount{
			Jail: c.Jail, Filter: c.Filter, Window: c.Window, Length: c.Find.Seconds(), Prefix: c.Prefix.String(), Failures: len(c.Failures), Attempts: c.Attempts,
			Count: c.Have, MaxRetry: c.Need, Missing: max(0, c.Need-c.Have), Addresses: c.Others, Needed: c.OthersNeed, Until: time.UnixMicro(c.Until), Evidence: lines.get(ctx, evidence[i]),
		}
		for k := range x.Evidence {
			l, f := &x.Evidence[k], &c.Failures[k]
			l.Pattern, l.Weight = f.Pattern, f.Weight
			if l.Missing != "" {
				l.Time = time.UnixMicro(f.At)
			}
		}
		w.Counted = append(w.Counted, x)
	}
	if ctx.Err() != nil {
		return nil, &control.Error{Status: http.StatusGatewayTimeout, Message: "reading the journal took too long", Hint: "ask for a single address"}
	}
	switch {
	case len(w.Bans) > 0:
		w.State = "banned"
	case len(w.Allowed) > 0:
		w.State = "allowed"
	case len(w.Counted) > 0:
		w.State = "counted"
	}
	return w, nil
}

// lines reads evidence back from the journal.
type lines struct {
	src journal.Source
	r   *journal.Reader
	err error
}

func newLines(src journal.Source) *lines { return &lines{src: src} }

func (l *lines) close() {
	if l.r != nil {
		l.r.Close()
	}
}

// whyMost is how many bans, with their lines, and how much history an answer holds. In a wide prefix there may be all there are.
const whyMost = 20

// evidenceOf finds the audit entries of bans and returns the cursors of their evidence by the id of the ban.
func evidenceOf(ctx context.Context, src journal.Source, bans []control.WhyBan) map[string][]string {
	found := make(map[string][]string)
	if len(bans) == 0 {
		return found
	}
	ms, since := own(audit.KindBan, audit.KindExtend), bans[0].Since
	for i := range bans {
		ms[0] = append(ms[0], journal.Match{Field: audit.FieldBanID, Value: bans[i].ID})
		if bans[i].Since.Before(since) {
			since = bans[i].Since
		}
	}
	j, err := journal.Open(src, journal.Options{Matches: ms, Fields: []string{audit.FieldBanID, audit.FieldEvidence}})
	if err != nil {
		return found
	}
	defer j.Close()
	for j.SeekRealtime(uint64(max(since.UnixMicro(), 0))); len(found) < len(bans) && ctx.Err() == nil && j.Next(); {
		id, v := string(j.Entry().Field(0)), j.Entry().Field(1)
		if _, ok := found[id]; !ok && len(v) > 0 {
			found[id] = strings.Split(string(v), "\n")
		}
	}
	return found
}

// get reads the entries at cursors. One that is gone is named all the same.
func (l *lines) get(ctx context.Context, cursors []string) []control.Line {
	out := []control.Line{}
	for _, text := range cursors {
		if ctx.Err() != nil {
			break
		}
		line := control.Line{Cursor: text}
		if text == "" {
			line.Missing = "where it stands is not known any more"
		} else if e, err := l.at(text); err != nil {
			line.Missing = err.Error()
		} else {
			get := fieldsOf(e)
			line.Time, line.Message, line.Unit, line.Identifier = time.UnixMicro(int64(e.Realtime)), get("MESSAGE"), get("_SYSTEMD_UNIT"), get("SYSLOG_IDENTIFIER")
			if n, err := strconv.ParseUint(get("_PID"), 10, 32); err == nil {
				line.PID = uint32(n)
			}
		}
		out = append(out, line)
	}
	return out
}

func (l *lines) at(text string) (*journal.Entry, error) {
	c, err := journal.ParseCursor(text)
	if err != nil {
		return nil, err
	}
	if l.r == nil && l.err == nil {
		l.r, l.err = journal.Open(l.src, journal.Options{})
	}
	if l.err != nil {
		return nil, l.err
	}
	e, ok := l.r.At(c)
	if !ok {
		return nil, fmt.Errorf("no longer in the journal")
	}
	return e, nil
}
