package daemon

import (
	"context"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
	"bailiff/policy"
	"bailiff/policy/filter"
	"bailiff/units/control"
)

func (a *controlAPI) Why(ctx context.Context, p netip.Prefix) (*control.Why, error) {
	addr := p.Addr()
	w := &control.Why{Address: audit.Address(p), State: "unknown", Allowed: []control.AllowEntry{}, Bans: []control.WhyBan{}, Counted: []control.WhyCount{}, History: []control.History{}}
	banned := false // by other hosts
	var counted []policy.Counted
	var texts [][]string
	filters := make(map[string]*filter.Matcher) // of jails: they are read-only
	err := a.do(ctx, func() {
		d := a.d
		now := time.Now().UnixMicro()
		w.Allowed = d.origins().all(d.eng.Allow().Overlapping(p, now))
		// For an address, only the prefixes that may cover it are looked up.
		bans := d.state.Covering(addr)
		if !p.IsSingleIP() {
			bans = d.state.All()
		}
		for b := range bans {
			if !b.Prefix.Overlaps(p) {
				continue
			}
			if w.BansTotal++; w.BansTotal <= maxWhy {
				w.Bans = append(w.Bans, control.WhyBan{Ban: controlBan(&b)})
				if j, ok := d.eng.Jail(b.Jail); ok {
					filters[b.Jail], _ = j.Filter.Mode(j.Mode)
				}
			}
		}
		counted = d.eng.Counted(addr, now)
		for _, c := range counted {
			var of []string
			for _, f := range c.Failures {
				text := "" // if the failure comes from the state file and its entry was not read again
				if e, ok := evidence.Of(f.Ref, d.journal.sources); ok {
					text = e.Text(nil)
				}
				of = append(of, text)
			}
			texts = append(texts, of)
		}
		w.Fleet, banned = d.fleetWhy(p, now)
		w.Together = d.togetherWhy(p, now)
		history := d.state.HistoryOf(p)
		w.HistoryTotal = len(history)
		for _, h := range history[:min(len(history), maxWhy)] {
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
	free, err := slot(ctx, a.searches)
	if err != nil {
		return nil, err
	}
	w.Lists = a.d.blocks.holding(ctx, p)
	free()
	found := journal.Finder{Source: a.d.source}
	defer found.Close()
	cursors := evidenceOf(ctx, a.d.source, w.Bans)
	for i := range w.Bans {
		b := &w.Bans[i]
		b.Evidence = lines(ctx, &found, cursors[b.ID])
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
			Count: c.Have, MaxRetry: c.Need, Missing: max(0, c.Need-c.Have), Addresses: c.Others, Needed: c.OthersNeed, Until: time.UnixMicro(c.Until), Evidence: lines(ctx, &found, texts[i]),
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
	case len(w.Bans) > 0 || banned:
		w.State = "banned"
	case len(w.Allowed) > 0:
		w.State = "allowed"
	case len(w.Counted) > 0:
		w.State = "counted"
	}
	return w, nil
}

// maxWhy bounds the bans, with their lines, and the history in an answer. A wide prefix may contain all there are.
const maxWhy = 20

// evidenceOf returns the evidence cursors of bans, by the id of the ban, from their audit entries.
func evidenceOf(ctx context.Context, src journal.Source, bans []control.WhyBan) map[string][]string {
	found := make(map[string][]string)
	if len(bans) == 0 {
		return found
	}
	ms, since := auditMatches(audit.KindBan, audit.KindExtend), bans[0].Since
	for i := range bans {
		ms[0] = append(ms[0], journal.Match{Field: audit.FieldBanID, Value: bans[i].ID})
		if bans[i].Since.Before(since) {
			since = bans[i].Since
		}
	}
	j, err := journal.Open(src, journal.Options{Matches: ms, Fields: []string{audit.FieldBanID, audit.FieldEvidence}, MaxValue: audit.MaxValue})
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

// lines reads the entries at cursors. An entry that is gone is listed as missing.
func lines(ctx context.Context, f *journal.Finder, cursors []string) []control.Line {
	out := []control.Line{}
	for _, text := range cursors {
		if ctx.Err() != nil {
			break
		}
		line := control.Line{Cursor: text}
		if text == "" {
			line.Missing = "its place in the journal is no longer known"
		} else if e, err := f.Find(text); err != nil {
			line.Missing = err.Error()
		} else {
			line.Cursor = e.Cursor.String()
			get := audit.ValuesOf(e).Get
			line.Time, line.Message, line.Unit, line.Identifier = time.UnixMicro(int64(e.Realtime)), get("MESSAGE"), get("_SYSTEMD_UNIT"), get("SYSLOG_IDENTIFIER")
			if n, err := strconv.ParseUint(get("_PID"), 10, 32); err == nil {
				line.PID = uint32(n)
			}
		}
		out = append(out, line)
	}
	return out
}
