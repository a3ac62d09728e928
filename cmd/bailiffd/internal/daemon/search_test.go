package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/internal/geo"
	"bailiff/cmd/internal/geo/geotest"
	"bailiff/policy/state"
	"bailiff/units/control"
)

// withCountries gives the daemon of a bench a database of countries.
func (b *bench) withCountries(codes map[string]string) {
	dir := b.t.TempDir()
	records := make(map[netip.Prefix]geotest.Record)
	for p, code := range codes {
		records[netip.MustParsePrefix(p)] = geotest.Record{"country": geotest.Record{"iso_code": code}}
	}
	geotest.Write(b.t, filepath.Join(dir, "country.mmdb"), "DBIP-Country-Lite", 100, records)
	b.env = append(b.env, "BAILIFFD_TEST_GEOIP="+dir)
}

func bannedIn(l *control.BanList) string {
	var s []string
	for _, b := range l.Bans {
		s = append(s, strings.TrimSuffix(b.Prefix, "/32"))
	}
	return strings.Join(s, " ")
}

func facets(l []control.Facet) string {
	var s []string
	for _, f := range l {
		s = append(s, fmt.Sprintf("%s=%d", f.Name, f.Bans))
	}
	return strings.Join(s, " ")
}

// TestSearch: what each filter of the list of bans finds, and what its facets count.
func TestSearch(t *testing.T) {
	b := newBench(t)
	b.withCountries(map[string]string{"203.0.113.0/24": "DE", "198.51.100.0/24": "FR"})
	b.start()
	ctx := context.Background()
	b.fail("203.0.113.7", 5)
	b.awaitBan("203.0.113.7/32")
	for _, r := range []control.BanRequest{
		{Prefixes: []string{"203.0.113.8"}, Reason: "Scanner <b>"}, {Prefixes: []string{"198.51.100.9"}, Jail: "sshd", Reason: "rude"}, {Prefixes: []string{"2001:db8:1::/48"}},
	} {
		b.did(b.client.Ban(ctx, r))
	}
	for _, c := range []struct {
		q    control.BanQuery
		want string
	}{
		{control.BanQuery{}, "198.51.100.9 203.0.113.7 203.0.113.8 2001:db8:1::/48"},
		{control.BanQuery{Newest: true}, "2001:db8:1::/48 198.51.100.9 203.0.113.8 203.0.113.7"},
		{control.BanQuery{Search: "203.0.113"}, "203.0.113.7 203.0.113.8"},
		{control.BanQuery{Search: "203.0.113.0/24"}, "203.0.113.7 203.0.113.8"},
		{control.BanQuery{Search: " 2001:db8:1::77 "}, "2001:db8:1::/48"},
		{control.BanQuery{Search: "SCANNER <"}, "203.0.113.8"},
		{control.BanQuery{Search: "sshd"}, "198.51.100.9 203.0.113.7"},
		{control.BanQuery{Search: "nobody"}, ""},
		{control.BanQuery{Origin: "daemon"}, "203.0.113.7"},
		{control.BanQuery{Origin: "hand", Jail: "sshd"}, "198.51.100.9"},
		{control.BanQuery{Reason: "failures"}, "203.0.113.7"},
		{control.BanQuery{Country: "DE"}, "203.0.113.7 203.0.113.8"},
		{control.BanQuery{Country: "DE", Prefix: "203.0.113.8/31"}, "203.0.113.8"},
	} {
		l, err := b.client.Bans(ctx, c.q)
		if err != nil || bannedIn(l) != c.want || l.Total != len(l.Bans) {
			t.Errorf("%+v: %q of %d, %v; want %q", c.q, bannedIn(l), l.Total, err, c.want)
		}
	}
	l, err := b.client.Bans(ctx, control.BanQuery{Facets: true, Jail: "sshd", Country: "DE"})
	if err != nil || bannedIn(l) != "203.0.113.7" || l.Bans[0].Country != "DE" {
		t.Fatalf("%+v, %v", l, err)
	}
	// Each facet shows what another value of its own filter would find.
	if f := l.Facets; facets(f.Jails) != "manual=1 sshd=1" || facets(f.Countries) != "DE=1 FR=1" || facets(f.Origins) != "daemon=1" || facets(f.Reasons) != "failures=1" {
		t.Errorf("%+v", f)
	}
	// Pages, in either order.
	for _, newest := range []bool{false, true} {
		var all []string
		q := control.BanQuery{Limit: 1, Newest: newest}
		for {
			l, err := b.client.Bans(ctx, q)
			if err != nil || l.Total != 4 || len(l.Bans) != 1 {
				t.Fatalf("%+v, %v", l, err)
			}
			all = append(all, l.Bans[0].Prefix)
			if q.After = l.Next; q.After == "" {
				break
			}
		}
		if slices.Sort(all); len(slices.Compact(all)) != 4 {
			t.Errorf("newest %v: %q", newest, all)
		}
	}
	if _, err := b.client.Bans(ctx, control.BanQuery{After: "192.0.2.1/32 sshd"}); err == nil || !strings.Contains(err.Error(), "continue after") {
		t.Errorf("%v", err)
	}
}

// TestHistory: bans and their ends are found in the audit trail, the newest first, also those that are no longer in force.
func TestHistory(t *testing.T) {
	b := newBench(t)
	b.echo = true
	b.withCountries(map[string]string{"203.0.113.0/24": "DE"})
	b.start()
	ctx := context.Background()
	b.failAs("root", "203.0.113.7", 5)
	b.awaitBan("203.0.113.7/32")
	b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"198.51.100.9"}, Reason: "rude"}))
	b.did(b.client.Unban(ctx, "203.0.113.7", "", false))
	search := func(q control.HistoryQuery) (records string, s *control.HistorySummary) {
		t.Helper()
		var l []string
		if err := b.client.History(ctx, q, func(x *control.HistoryLine) error {
			switch x.Kind {
			case "summary":
				s = x.Summary
			case "progress":
			default:
				if x.Kind == "unban" && (x.Since == nil || x.Until == nil || !x.Since.Before(*x.Until)) {
					t.Errorf("%+v", x)
				}
				l = append(l, x.Kind+" "+x.Prefix)
			}
			return nil
		}); err != nil || s == nil {
			t.Fatalf("%q, %+v, %v", l, s, err)
		}
		return strings.Join(l, ", "), s
	}
	b.until("three entries are in the journal", func(context.Context) bool {
		_, s := search(control.HistoryQuery{})
		return s.Total == 3
	})
	got, s := search(control.HistoryQuery{Accounts: true})
	if got != "unban 203.0.113.7/32, ban 198.51.100.9/32, ban 203.0.113.7/32" || !s.Complete || s.Total != 3 || s.Looked != 1 || facets(s.Accounts) != "root=1" || len(s.Hours) == 0 {
		t.Errorf("%s, %+v", got, s)
	}
	if len(s.Periods) != 3 {
		t.Fatalf("%+v", s)
	}
	if d := s.Periods[0]; d.Hours != 24 || d.Bans != 2 || facets(d.Jails) != "manual=1 sshd=1" || facets(d.Reasons) != "failures=1 manual=1" || facets(d.Countries) != "DE=1" || facets(d.Networks) != "198.51.100.0/24=1 203.0.113.0/24=1" {
		t.Errorf("%+v", d)
	}
	if got, s := search(control.HistoryQuery{Since: "7d", Prefix: "203.0.113.0/24", Limit: 1}); got != "unban 203.0.113.7/32" || s.Total != 2 || len(s.Periods) != 2 || s.Periods[1].Bans != 1 {
		t.Errorf("%s, %+v", got, s)
	}
	if got, s := search(control.HistoryQuery{Jail: "manual"}); got != "ban 198.51.100.9/32" || s.Total != 1 {
		t.Errorf("%s, %+v", got, s)
	}
	for _, c := range []struct {
		q    control.HistoryQuery
		want string
		bans int
	}{
		{control.HistoryQuery{Reason: "manual"}, "ban 198.51.100.9/32", 1},
		{control.HistoryQuery{Reason: "failures"}, "ban 203.0.113.7/32", 1}, // its end has a reason of its own
		{control.HistoryQuery{Country: "DE"}, "unban 203.0.113.7/32, ban 203.0.113.7/32", 1},
		{control.HistoryQuery{Country: "FR"}, "", 0},
		{control.HistoryQuery{Lifted: true}, "unban 203.0.113.7/32", 2},
	} {
		if got, s := search(c.q); got != c.want || s.Periods[0].Bans != c.bans {
			t.Errorf("%+v: %s, %+v", c.q, got, s)
		}
	}
	for _, bad := range []string{"forever", "0s", "10y", "x"} {
		if err := b.client.History(ctx, control.HistoryQuery{Since: bad}, func(*control.HistoryLine) error { return nil }); err == nil || !strings.Contains(err.Error(), "since") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestLongEvidence: a ban with more evidence than a journal reader returns by default is explained to its last line, here, to the
// fleet and among the accounts.
func TestLongEvidence(t *testing.T) {
	const n = 600 // cursors: 73 KB
	b := newBench(t)
	b.echo = true
	b.configure(fmt.Sprintf("jails: {sshd: {max_retry: %d, slow: {max_retry: off}}}\naccounts: {addresses: off}\nlimits: {max_evidence: 1000}\n", n))
	b.start()
	ctx := context.Background()
	for i := range n {
		b.failAs(fmt.Sprintf("user%d", i+1), "203.0.113.7", 1)
	}
	b.announced("203.0.113.7/32")
	last := fmt.Sprintf("Failed password for user%d from 203.0.113.7 port ", n)
	w, err := b.client.Why(ctx, "203.0.113.7")
	if err != nil || len(w.Bans) != 1 || len(w.Bans[0].Evidence) != n || !strings.HasPrefix(w.Bans[0].Evidence[n-1].Message, last) {
		t.Errorf("why: %v", err)
		for _, x := range w.Bans {
			l := x.Evidence
			t.Errorf("%d of %d lines, the last %+v", len(l), x.Failures, l[max(0, len(l)-1):])
		}
	}
	v, err := b.client.FleetEvidence(ctx, "", "203.0.113.7", "sshd")
	if err != nil || len(v.Lines) == 0 || len(v.Lines)+v.Withheld != n {
		t.Errorf("for the fleet: %+v, %v", v, err)
	}
	var accounts []control.Facet
	if err := b.client.History(ctx, control.HistoryQuery{Accounts: true}, func(x *control.HistoryLine) error {
		if x.Summary != nil {
			accounts = x.Summary.Accounts
		}
		return nil
	}); err != nil || facets(accounts) != fmt.Sprintf("user%d=1", n) {
		t.Errorf("accounts: %q, %v", facets(accounts), err)
	}
}

// TestMatch: a line is explained as bailiff match does, by one filter or all.
func TestMatch(t *testing.T) {
	b := newBench(t)
	b.start()
	ctx := context.Background()
	const line = "Failed password for invalid user <script>\u202e from 203.0.113.7 port 40022 ssh2"
	l, err := b.client.Match(ctx, control.MatchQuery{Line: line})
	if err != nil || len(l) != 1 || l[0].Filter != "sshd" || l[0].Kind != "failure" || l[0].Address != "203.0.113.7" || l[0].User != "<script>\u202e" || l[0].Port != 40022 || !l[0].Tries[0].Matched {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err = b.client.Match(ctx, control.MatchQuery{Line: line, Filter: "postfix"}); err != nil || len(l) != 1 || l[0].Kind != "none" {
		t.Errorf("%+v, %v", l, err)
	}
	l, err = b.client.Match(ctx, control.MatchQuery{Line: "Failed password for root by 203.0.113.7", Filter: "sshd"})
	if err != nil || l[0].Kind != "none" || len(l[0].Tries) == 0 || l[0].Tries[0].Wanted == "" || !strings.HasPrefix(l[0].Tries[0].Begin, "Failed password for root") {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err = b.client.Match(ctx, control.MatchQuery{Line: "nothing at all"}); err != nil || len(l) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	for _, q := range []control.MatchQuery{{Line: line, Filter: "none"}, {Line: line, Filter: "sshd", Mode: "none"}} {
		if l, err := b.client.Match(ctx, q); err == nil {
			t.Errorf("%+v: %+v", q, l)
		}
	}
	fs, err := b.client.Filters(ctx)
	i := slices.IndexFunc(fs, func(f control.FilterInfo) bool { return f.Name == "sshd" })
	if err != nil || i < 0 || len(fs) < 5 || len(fs[i].Patterns) < 5 || !fs[i].Jails[0].Enabled || fs[i].Trust == "" {
		t.Errorf("%+v, %v", fs, err)
	}
}

// BenchmarkSearch is what a search in 100,000 bans costs after they were copied.
func BenchmarkSearch(b *testing.B) {
	st := state.New()
	for i := range 100_000 {
		a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		if i > 65535 {
			a = netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)})
		}
		st.Add(state.Ban{Prefix: netip.PrefixFrom(a, 32), Jail: "sshd", Since: int64(i) * 1e6, Reason: "failures"})
	}
	for _, q := range []control.BanQuery{{Limit: 100}, {Limit: 100, Newest: true, Facets: true}, {Limit: 100, Search: "198.18.77."}} {
		b.Run(fmt.Sprintf("newest=%v search=%q", q.Newest, q.Search), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				began := time.Now()
				all := make([]state.Ban, 0, st.Len())
				for x := range st.All() {
					all = append(all, x)
				}
				b.ReportMetric(float64(time.Since(began).Milliseconds()), "copy-ms")
				s := newSearch(q)
				var err error
				if s.db, err = geo.Open(b.TempDir()); err != nil { // none
					b.Fatal(err)
				}
				if _, err := s.run(b.Context(), all); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
