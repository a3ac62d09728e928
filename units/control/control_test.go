package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/policy/fleet"
	"bailiff/units/metrics"
)

// fake is a daemon that notes what it was asked.
type fake struct {
	mu      sync.Mutex
	asked   []string
	by      Peer
	query   BanQuery
	err     error
	hold    chan struct{} // not nil: Status waits for it
	happens chan Event
}

func (f *fake) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fake) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		return ""
	}
	return f.asked[len(f.asked)-1]
}

func (f *fake) Status(ctx context.Context) (*Status, error) {
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return &Status{Version: "1", Bans: 3, Jails: []JailStatus{{Name: "sshd"}}}, f.note("status")
}
func (f *fake) Bans(_ context.Context, q BanQuery, within netip.Prefix) (*BanList, error) {
	f.query = q
	return &BanList{Total: 0}, f.note("bans %q %v %d %q", q.Jail, within, q.Limit, q.After)
}
func (f *fake) Ban(_ context.Context, by Peer, r BanRequest, ps []netip.Prefix) ([]Ban, error) {
	f.by = by
	return []Ban{{ID: "1", Prefix: "192.0.2.7/32"}}, f.note("ban %v of %+v", ps, r)
}
func (f *fake) Unban(_ context.Context, _ Peer, p netip.Prefix, jail string) (*Removed, error) {
	return &Removed{2}, f.note("unban %v %q", p, jail)
}
func (f *fake) Allowed(context.Context) ([]AllowEntry, error) { return nil, f.note("allowed") }
func (f *fake) AllowWhy(_ context.Context, p netip.Prefix) (*AllowWhy, error) {
	return &AllowWhy{Address: p.String(), Allowed: true}, f.note("allow why %v", p)
}
func (f *fake) Allow(_ context.Context, _ Peer, r AllowRequest, p netip.Prefix) (*AllowResult, error) {
	return &AllowResult{Lifted: 1}, f.note("allow %v of %+v", p, r)
}
func (f *fake) Disallow(_ context.Context, _ Peer, p netip.Prefix) (*Removed, error) {
	return &Removed{1}, f.note("disallow %v", p)
}
func (f *fake) Why(_ context.Context, p netip.Prefix) (*Why, error) {
	if p.Addr() == netip.MustParseAddr("192.0.2.99") {
		panic("boom")
	}
	return &Why{Address: p.Addr().String(), State: "banned", Bans: []WhyBan{{}}}, f.note("why %v", p)
}
func (f *fake) Firewall(context.Context) (*Firewall, error) {
	return &Firewall{FirewallStatus: FirewallStatus{Backend: "ipset"}, Sets: []FirewallSet{{}}}, f.note("firewall")
}
func (f *fake) RepairFirewall(_ context.Context, by Peer, force bool) (*FirewallRepair, error) {
	f.by = by
	return &FirewallRepair{After: &Firewall{}}, f.note("repair %v", force)
}
func (f *fake) Events(context.Context, bool) (<-chan Event, error) {
	return f.happens, f.note("events")
}
func (f *fake) History(_ context.Context, q HistoryQuery, within netip.Prefix, emit func(*HistoryLine) error) error {
	if err := f.note("history %v %+v", within, q); err != nil {
		return err
	}
	if err := emit(&HistoryLine{Kind: "ban", Prefix: "192.0.2.7/32"}); err != nil {
		return err
	}
	if q.Jail == "broken" {
		return errors.New("a torn page")
	}
	return emit(&HistoryLine{Kind: "summary", Summary: &HistorySummary{Total: 1}})
}
func (f *fake) Filters(context.Context) ([]FilterInfo, error) {
	return []FilterInfo{{Name: "sshd", Patterns: []FilterPattern{{Name: "failed"}}}}, f.note("filters")
}
func (f *fake) Match(_ context.Context, q MatchQuery) ([]Match, error) {
	return []Match{{Filter: "sshd"}}, f.note("match %+v", q)
}
func (f *fake) Config(context.Context) ([]byte, error) {
	return []byte("jails: {}\n"), f.note("config")
}
func (f *fake) Metrics(context.Context) (*metrics.Set, error) {
	s := &metrics.Set{}
	s.Add(metrics.Bans, 3, "sshd", "failures")
	return s, f.note("metrics")
}
func (f *fake) BlockLists(context.Context) (*BlockLists, error) {
	return &BlockLists{Lists: []BlockList{{Name: "cins", Mode: "drop", Ports: "jails", Entries: 3}}}, nil
}

func (f *fake) Fleet(context.Context) (*FleetStatus, error) {
	return &FleetStatus{Hosts: []FleetHost{{Name: "web1"}}}, f.note("fleet")
}
func (f *fake) SetFleetHosts(_ context.Context, r fleet.Roster) (*FleetHostsSet, error) {
	return &FleetHostsSet{Fleet: r.Fleet, Serial: r.Serial, Hosts: len(r.Hosts)}, f.note("fleet hosts %s %d %d", r.Fleet, r.Serial, len(r.Hosts))
}
func (f *fake) SetFleetAgent(_ context.Context, a FleetAgent) (*FleetAgentStatus, error) {
	return &FleetAgentStatus{FleetAgent: a}, f.note("fleet agent %s", a.Hub)
}

func (f *fake) ApplyFleet(_ context.Context, news []fleet.News, live bool) (*FleetApplied, error) {
	return &FleetApplied{Accepted: len(news)}, f.note("apply fleet %v %d", live, len(news))
}
func (f *fake) CountFleet(_ context.Context, s FleetSummaries) (*FleetSummariesTaken, error) {
	return &FleetSummariesTaken{On: true, Summary: s.Summaries[0].Payload}, f.note("count fleet %s %d", s.Host, len(s.Summaries))
}

func (f *fake) FleetEvidence(_ context.Context, host string, p netip.Prefix, jail string) (*FleetEvidence, error) {
	return &FleetEvidence{Host: host}, f.note("fleet evidence %s %s %s", host, p, jail)
}

func (f *fake) AnswerFleet(_ context.Context, v FleetEvidence) (*FleetEvidence, error) {
	return &v, f.note("answer fleet %s %d", v.ID, len(v.Lines))
}

func (f *fake) Reload(_ context.Context, by Peer) (*Reloaded, error) {
	f.by = by
	return &Reloaded{}, f.note("reload")
}

// listenAt makes a socket that everybody may connect to, so that it is the server that refuses.
func listenAt(t *testing.T) (net.Listener, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bailiff") // t.TempDir() is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "control")
	l, err := net.Listen("unix", path)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o666))
	}
	if err != nil {
		t.Fatal(err)
	}
	return l, path
}

func serve(t *testing.T, f *fake, o Options) string {
	t.Helper()
	l, path := listenAt(t)
	s := NewServer(f, o)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

// needRoot skips the test unless root runs it: only root can change anything.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may change anything, and this test is not run by root")
	}
}

func TestCalls(t *testing.T) {
	needRoot(t)
	f := &fake{}
	c := Dial(serve(t, f, Options{}))
	ctx := context.Background()
	check := func(want string, err error) {
		t.Helper()
		if err != nil || f.last() != want {
			t.Errorf("asked %q, want %q; %v", f.last(), want, err)
		}
	}
	st, err := c.Status(ctx)
	check("status", err)
	if st.Bans != 3 || st.Problems == nil || st.Jails[0].Units == nil {
		t.Errorf("status %+v", st)
	}
	_, err = c.Bans(ctx, BanQuery{})
	check(`bans "" invalid Prefix 1000 ""`, err)
	l, err := c.Bans(ctx, BanQuery{Jail: "sshd", Prefix: "2001:db8::/32", Limit: 7, After: "k&="})
	check(`bans "sshd" 2001:db8::/32 7 "k&="`, err)
	if l.Bans == nil {
		t.Error("bans: null")
	}
	f.query = BanQuery{}
	_, err = c.Bans(ctx, BanQuery{Search: "a b", Origin: "hand", Reason: "r&", Country: "DE", Newest: true, Facets: true, Observed: true})
	if want := (BanQuery{Search: "a b", Origin: "hand", Reason: "r&", Country: "DE", Newest: true, Facets: true, Observed: true, Limit: defaultLimit}); err != nil || f.query != want {
		t.Errorf("%+v, %v", f.query, err)
	}
	_, err = c.Bans(ctx, BanQuery{Search: " 2001:db8::7 ", Jail: "sshd"})
	check(`bans "sshd" 2001:db8::7/128 1000 ""`, err)
	if f.query.Search != "" {
		t.Errorf("%+v", f.query)
	}
	fl, err := c.Filters(ctx)
	check("filters", err)
	if len(fl) != 1 || fl[0].Modes == nil || fl[0].Patterns[0].Modes == nil {
		t.Errorf("%+v", fl)
	}
	ml, err := c.Match(ctx, MatchQuery{Line: "x y\x00", Filter: "sshd", Mode: "normal"})
	check("match {Line:x y\x00 Filter:sshd Mode:normal}", err)
	if len(ml) != 1 || ml[0].Tries == nil {
		t.Errorf("%+v", ml)
	}
	var lines []HistoryLine
	take := func(l *HistoryLine) error { lines = append(lines, *l); return nil }
	err = c.History(ctx, HistoryQuery{Since: "7d", Prefix: "192.0.2.0/24", Jail: "sshd", Limit: 5, Accounts: true}, take)
	check("history 192.0.2.0/24 {Since:7d Prefix:192.0.2.0/24 Jail:sshd Reason: Country: Limit:5 Lifted:false Accounts:true}", err)
	if len(lines) != 2 || lines[0].Prefix != "192.0.2.7/32" || lines[1].Summary.Total != 1 {
		t.Errorf("%+v", lines)
	}
	lines = nil
	if err := c.History(ctx, HistoryQuery{Jail: "broken"}, take); err != nil || len(lines) != 2 || lines[1].Kind != "error" || lines[1].Error != "a torn page" {
		t.Errorf("%+v, %v", lines, err)
	}
	b, err := c.Ban(ctx, BanRequest{Prefixes: []string{"192.0.2.7"}, Reason: "<x> & \n"})
	check("ban [192.0.2.7/32] of {Prefixes:[192.0.2.7] Jail: Duration: Reason:<x> & \n Force:false}", err)
	if len(b) != 1 || b[0].ID != "1" || f.by.UID != 0 || f.by.User != "root" || int(f.by.PID) != os.Getpid() {
		t.Errorf("%+v by %+v", b, f.by)
	}
	r, err := c.Unban(ctx, "192.0.2.7", "sshd", false)
	check(`unban 192.0.2.7/32 "sshd"`, err)
	if r.Removed != 2 {
		t.Errorf("%+v", r)
	}
	_, err = c.Unban(ctx, "", "", true)
	check(`unban invalid Prefix ""`, err)
	a, err := c.Allowed(ctx)
	check("allowed", err)
	if a == nil {
		t.Error("allow: null")
	}
	how, err := c.AllowWhy(ctx, "192.0.2.7")
	check(`allow why 192.0.2.7/32`, err)
	if !how.Allowed || how.Entries == nil || how.Expired == nil {
		t.Errorf("%+v", how)
	}
	_, err = c.Allow(ctx, AllowRequest{Prefix: "192.0.2.0/24", Duration: "4w", Comment: "office"})
	check("allow 192.0.2.0/24 of {Prefix:192.0.2.0/24 Duration:4w Comment:office}", err)
	for text, prefix := range map[string]string{
		"192.0.2.0/24": "192.0.2.0/24", "192.0.2.9/24": "192.0.2.0/24", "2001:db8::7": "2001:db8::7/128", "2001:db8::7/64": "2001:db8::/64",
		"::ffff:192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.9/120": "192.0.2.0/24",
	} {
		_, err = c.Disallow(ctx, text)
		check("disallow "+prefix, err)
	}
	w, err := c.Why(ctx, "2001:db8::7")
	check(`why 2001:db8::7/128`, err)
	if w.Bans[0].Evidence == nil || w.History == nil {
		t.Errorf("why %+v", w)
	}
	fw, err := c.Firewall(ctx)
	check("firewall", err)
	if fw.Backend != "ipset" || fw.Parts == nil || fw.Sets[0].Missing.Some == nil || fw.Sets[0].Packets != nil {
		t.Errorf("firewall %+v", fw)
	}
	_, err = c.RepairFirewall(ctx, false)
	check("repair false", err)
	rep, err := c.RepairFirewall(ctx, true)
	check("repair true", err)
	if rep.Before != nil || rep.After.Sets == nil || rep.Repaired == nil || rep.Evicted == nil || f.by.User != "root" {
		t.Errorf("repair %+v by %+v", rep, f.by)
	}
	y, err := c.Config(ctx)
	check("config", err)
	if string(y) != "jails: {}\n" {
		t.Errorf("config %q", y)
	}
	_, err = c.Reload(ctx)
	check("reload", err)
	if blocks, err := c.BlockLists(ctx); err != nil || len(blocks.Lists) != 1 || blocks.Lists[0].Entries != 3 {
		t.Errorf("%+v, %v", blocks, err)
	}
	others, err := c.Fleet(ctx)
	check("fleet", err)
	if others.Clashes.Some == nil || others.Hosts[0].Refused == nil {
		t.Errorf("fleet %+v", others)
	}
	agent, err := c.SetFleetAgent(ctx, FleetAgent{Hub: "tls://hub:4222"})
	check("fleet agent tls://hub:4222", err)
	if agent.Hub != "tls://hub:4222" {
		t.Errorf("agent %+v", agent)
	}
	if _, err = c.SetFleetAgent(ctx, FleetAgent{Error: strings.Repeat("e", maxAgentText+1)}); err == nil || !strings.Contains(err.Error(), "more than 512") {
		t.Error(err)
	}
	applied, err := c.ApplyFleet(ctx, FleetNews{Live: true, News: make([]FleetBan, MaxFleetNews)})
	if err == nil {
		t.Error("news without prefixes is accepted", applied)
	}
	many := FleetNews{Live: true}
	for len(many.News) < MaxFleetNews {
		many.News = append(many.News, FleetBan{Host: strings.Repeat("h", 64), Jail: strings.Repeat("j", 32), Prefix: "2001:db8:1111:2222:3333:4444:5555:6666/128", Reason: strings.Repeat("r", 64), Since: time.Now()})
	}
	applied, err = c.ApplyFleet(ctx, many)
	check("apply fleet true 500", err)
	if applied.Accepted != MaxFleetNews {
		t.Errorf("%+v", applied)
	}
	many.News = append(many.News, many.News[0])
	if _, err = c.ApplyFleet(ctx, many); err == nil || !strings.Contains(err.Error(), "501 pieces") {
		t.Error(err)
	}
	asked, err := c.FleetEvidence(ctx, "web1", "192.0.2.7", "sshd")
	if check("fleet evidence web1 192.0.2.7/32 sshd", err); asked.Host != "web1" || asked.Lines == nil {
		t.Errorf("%+v", asked)
	}
	if _, err = c.FleetEvidence(ctx, "web 1", "192.0.2.7", "sshd"); err == nil || !strings.Contains(err.Error(), "not the name of a host") {
		t.Error(err)
	}
	_, err = c.AnswerFleet(ctx, FleetEvidence{ID: "x", Host: "web1", Lines: make([]FleetLine, fleet.MaxAnswerLines)})
	check("answer fleet x 10", err)
	if _, err = c.AnswerFleet(ctx, FleetEvidence{Lines: make([]FleetLine, fleet.MaxAnswerLines+1)}); err == nil || !strings.Contains(err.Error(), "11, more than 10") {
		t.Error(err)
	}
	if _, err = c.AnswerFleet(ctx, FleetEvidence{Lines: []FleetLine{{Message: strings.Repeat("x", fleet.MaxAnswerText+1)}}}); err == nil || !strings.Contains(err.Error(), "more than 250 bytes") {
		t.Error(err)
	}
	summaries := FleetSummaries{Host: "web1"}
	for len(summaries.Summaries) < MaxFleetSummaries {
		summaries.Summaries = append(summaries.Summaries, FleetSummary{strings.Repeat("h", 64), make([]byte, fleet.MaxSummary)})
	}
	taken, err := c.CountFleet(ctx, summaries)
	check("count fleet web1 64", err)
	if !taken.On || len(taken.Summary) != fleet.MaxSummary {
		t.Errorf("%+v", taken)
	}
	summaries.Host = "web 1"
	if _, err = c.CountFleet(ctx, summaries); err == nil || !strings.Contains(err.Error(), "not the name of a host") {
		t.Error(err)
	}
	summaries.Host, summaries.Summaries[1].Payload = "web1", make([]byte, fleet.MaxSummary+1)
	if _, err = c.CountFleet(ctx, summaries); err == nil || !strings.Contains(err.Error(), "summaries[1]: 3501 bytes") {
		t.Error(err)
	}
	summaries.Summaries = append(summaries.Summaries, FleetSummary{})
	if _, err = c.CountFleet(ctx, summaries); err == nil || !strings.Contains(err.Error(), "65, more than 64") {
		t.Error(err)
	}
	hosts := FleetHosts{Fleet: "shop", Serial: 3, Hosts: map[string]string{}}
	for i := range fleet.MaxHosts {
		hosts.Hosts[fmt.Sprintf("%064d", i)] = strings.Repeat("g", 64)
	}
	set, err := c.SetFleetHosts(ctx, hosts)
	check("fleet hosts shop 3 10000", err)
	if set.Serial != 3 {
		t.Errorf("%+v", set)
	}
	hosts.Hub = []string{"192.0.2.1", "192.0.2.1/32"}
	if _, err = c.SetFleetHosts(ctx, hosts); err == nil || !strings.Contains(err.Error(), `hub[1]: "192.0.2.1/32" is not an address`) {
		t.Error(err)
	}
	m, err := c.Metrics(ctx, false)
	check("metrics", err)
	open, err := c.Metrics(ctx, true)
	check("metrics", err)
	if text := "bailiff_bans_total{jail=\"sshd\",reason=\"failures\"} 3\n"; !strings.HasSuffix(string(m), text) || !strings.HasSuffix(string(open), text+"# EOF\n") {
		t.Errorf("metrics %q and %q", m, open)
	}
}

// TestMetrics: the content type follows the request, and the answer of both programs is one document.
func TestMetrics(t *testing.T) {
	needRoot(t)
	daemon := serve(t, &fake{}, Options{})
	for accept, kind := range map[string]string{"": metrics.TextType, "Accept: application/openmetrics-text; version=1.0.0\r\n": metrics.OpenMetricsType} {
		status, h, body := raw(t, daemon, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+accept+"\r\n")
		if status != 200 || h.Get("Content-Type") != kind || strings.HasSuffix(body, "# EOF\n") != (accept != "") {
			t.Errorf("%q: %d, %q, %q", accept, status, h.Get("Content-Type"), body)
		}
	}
	reports := serveReports(t, &fakeReporter{})
	both, err := AllMetrics(t.Context(), Dial(daemon), DialReport(reports), true)
	if s := string(both); err != nil || !strings.Contains(s, "bailiff_bans_total{") || !strings.HasSuffix(s, "bailiff_report_queue{destination=\"admin\"} 2\n# EOF\n") || strings.Count(s, "EOF") != 1 {
		t.Errorf("both: %v\n%s", err, s)
	}
	alone, err := AllMetrics(t.Context(), Dial(daemon), DialReport(daemon+".none"), false)
	if err != nil || !strings.Contains(string(alone), "bailiff_bans_total{") || strings.Contains(string(alone), "report") {
		t.Errorf("without bailiff-report: %v\n%s", err, alone)
	}
	_, hung := listenAt(t) // connections are accepted by the kernel, and nobody answers
	ctx := timeout(t, time.Minute)
	late, err := AllMetrics(ctx, Dial(daemon), DialReport(hung), false)
	if err != nil || string(late) != string(alone) || ctx.Err() != nil {
		t.Errorf("with a bailiff-report that hangs: %v, %v\n%s", err, ctx.Err(), late)
	}
	if _, err := AllMetrics(t.Context(), Dial(daemon+".none"), DialReport(reports), false); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without the daemon: %v", err)
	}
}

// raw sends bytes unchanged and returns status and answer.
func raw(t *testing.T, path, request string) (int, http.Header, string) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	go io.WriteString(c, request)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func request(method, target, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: any.thing:99\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", method, target, len(body), body)
}

func TestBadRequests(t *testing.T) {
	needRoot(t)
	f := &fake{}
	var mu sync.Mutex
	var logged []string
	path := serve(t, f, Options{Log: func(s string) { mu.Lock(); logged = append(logged, s); mu.Unlock() }})
	for _, c := range []struct {
		name, request string
		status        int
		want          string // in the error or the hint
	}{
		{"no such path", request("GET", "/v2/status", ""), 404, "/v1/status"},
		{"escaped path", request("GET", "/v1/%2e%2e/status", ""), 404, "no such path"},
		{"method", request("PUT", "/v1/bans", ""), 405, "it takes DELETE, GET, POST"},
		{"HEAD is not offered", request("OPTIONS", "/v1/status", ""), 405, "it takes GET"},
		{"unknown parameter", request("DELETE", "/v1/bans?prefx=192.0.2.7", ""), 400, "parameters are prefix, jail, all"},
		{"parameter twice", request("DELETE", "/v1/bans?prefix=192.0.2.7&prefix=192.0.2.8", ""), 400, "2 times"},
		{"no parameters", request("GET", "/v1/status?x=1", ""), 400, "takes no parameters"},
		{"bad escape", request("GET", "/v1/bans?jail=%zz", ""), 400, "cannot be read"},
		{"unban nothing", request("DELETE", "/v1/bans", ""), 400, "neither prefix nor all"},
		{"unban both", request("DELETE", "/v1/bans?all=true&prefix=192.0.2.7", ""), 400, "both"},
		{"all=yes", request("DELETE", "/v1/bans?all=yes", ""), 400, "all=true"},
		{"force=yes", request("POST", "/v1/firewall/repair?force=yes", ""), 400, "force=true"},
		{"limit 0", request("GET", "/v1/bans?limit=0", ""), 400, "from 1 to 10000"},
		{"limit too high", request("GET", "/v1/bans?limit=10001", ""), 400, "from 1 to 10000"},
		{"why whom", request("GET", "/v1/why?address=example.org", ""), 400, "neither an address"},
		{"why nobody", request("GET", "/v1/why", ""), 400, "neither an address"},
		{"allowed whom", request("GET", "/v1/allow?address=example.org", ""), 400, "neither an address"},
		{"disallow nobody", request("DELETE", "/v1/allow", ""), 400, "neither an address"},
		{"empty body", request("POST", "/v1/bans", ""), 400, "the body is empty"},
		{"sort", request("GET", "/v1/bans?sort=x", ""), 400, "prefix or newest"},
		{"origin", request("GET", "/v1/bans?origin=x", ""), 400, "daemon or hand"},
		{"two prefixes", request("GET", "/v1/bans?search=192.0.2.7&prefix=192.0.2.0/24", ""), 400, "give one of the two"},
		{"long search", request("GET", "/v1/bans?search="+strings.Repeat("x", 257), ""), 400, "search: more than 256 bytes"},
		{"history limit", request("GET", "/v1/history?limit=5001", ""), 400, "from 1 to 5000"},
		{"lifted limit", request("GET", "/v1/history?lifted=true&limit=100001", ""), 400, "from 1 to 100000"},
		{"history prefix", request("GET", "/v1/history?prefix=x", ""), 400, "neither an address nor a prefix"},
		{"no line", request("GET", "/v1/match", ""), 400, "no line"},
		{"long line", request("GET", "/v1/match?line="+strings.Repeat("x", 4097), ""), 400, "line: more than 4096 bytes"},
		{"mode alone", request("GET", "/v1/match?line=x&mode=y", ""), 400, "a mode without a filter"},
		{"not JSON", request("POST", "/v1/bans", "prefixes=192.0.2.7"), 400, "not JSON: byte 1"},
		{"cut JSON", request("POST", "/v1/bans", `{"prefixes": [`), 400, "ends in the middle"},
		{"unknown key", request("POST", "/v1/bans", `{"prefixes": ["192.0.2.7"], "durration": "4w"}`), 400, `unknown field "durration"`},
		{"wrong type", request("POST", "/v1/bans", `{"prefixes": "192.0.2.7"}`), 400, "prefixes: a JSON string"},
		{"two values", request("POST", "/v1/bans", `{"prefixes": ["192.0.2.7"]} {}`), 400, "goes on"},
		{"garbage behind", request("POST", "/v1/bans", `{"prefixes": ["192.0.2.7"]}x`), 400, "not JSON"},
		{"no prefixes", request("POST", "/v1/bans", `{}`), 400, "prefixes: empty"},
		{"more than IPv4", request("DELETE", "/v1/allow?prefix=::ffff:0:0/95", ""), 400, "covers more than IPv4"},
		{"neither an address", request("POST", "/v1/bans", `{"prefixes": ["192.0.2.7", "192.0.2.0/33"]}`), 400, "prefixes[1]"},
		{"zone", request("POST", "/v1/bans", `{"prefixes": ["fe80::1%eth0/64"]}`), 400, "neither an address"},
		{"allow what", request("POST", "/v1/allow", `{"prefix": ""}`), 400, "neither an address"},
		{"large body", request("POST", "/v1/bans", `{"reason": "`+strings.Repeat("x", maxBody)+`"}`), 413, "more than 65536 bytes"},
		{"unwanted body", request("POST", "/v1/reload", "{}"), 400, "takes no body"},
		{"panic", request("GET", "/v1/why?address=192.0.2.99", ""), 500, "internal error"},
	} {
		status, h, body := raw(t, path, c.request)
		var e Error
		if err := json.Unmarshal([]byte(body), &e); err != nil || e.Message == "" {
			t.Errorf("%s: no error object: %q", c.name, body)
		}
		if status != c.status || !strings.Contains(e.Message+"\n"+e.Hint, c.want) {
			t.Errorf("%s: %d %q, want %d with %q", c.name, status, body, c.status, c.want)
		}
		if status == 405 && h.Get("Allow") == "" {
			t.Errorf("%s: no Allow header", c.name)
		}
	}
	if f.last() != "" {
		t.Errorf("the daemon was asked: %q", f.asked)
	}
	mu.Lock()
	if len(logged) != 1 || !strings.Contains(logged[0], "boom") || !strings.Contains(logged[0], "control_test.go") {
		t.Errorf("logged: %q", logged)
	}
	mu.Unlock()
}

// TestLargeHeader: it is cut off before anybody is asked. The answer (431) may be lost, since the rest was not read.
func TestLargeHeader(t *testing.T) {
	f := &fake{}
	c, err := net.Dial("unix", serve(t, f, Options{}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 4*maxHeader)+"\r\n\r\n")
	c.SetDeadline(time.Now().Add(time.Minute))
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) || len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 431 ") || f.last() != "" {
		t.Errorf("%q, %v, the daemon was asked %q", b, err, f.last())
	}
}

func TestDaemonErrors(t *testing.T) {
	f := &fake{}
	c := Dial(serve(t, f, Options{}))
	for _, x := range []struct {
		err    error
		status int
		text   string
	}{
		{&Error{Status: 409, Message: "busy", Hint: "wait"}, 409, "busy"},
		{fmt.Errorf("wrapped: %w", &Error{Status: 404, Message: "no ban"}), 404, "no ban"},
		{&Error{Message: "no status"}, 500, "no status"},
		{errors.New("disk full"), 500, "disk full"},
		{context.DeadlineExceeded, 504, "in time"},
	} {
		f.err = x.err
		_, err := c.Status(context.Background())
		var e *Error
		if !errors.As(err, &e) || e.Status != x.status || !strings.Contains(e.Message, x.text) {
			t.Errorf("%v: got %+v", x.err, err)
		}
	}
}

// TestOthers: a member of the group may only read, a stranger not even that. Real processes of other users ask.
func TestOthers(t *testing.T) {
	needRoot(t)
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skipf("curl is the client of another user here: %v", err)
	}
	f := &fake{happens: make(chan Event)}
	close(f.happens)                                          // streams end after their first line
	s := NewServer(f, Options{Group: "mail", Fleet: "games"}) // any that every system has
	if !s.hasGID {
		t.Skip("no group mail here")
	}
	s.self = 54322
	l, path := listenAt(t)
	go s.Serve(l)
	defer s.Shutdown(context.Background())
	ask := func(cred syscall.Credential, method, target, body string) string {
		cmd := exec.Command(curl, "-s", "-w", "%{http_code}", "-o", "/dev/null", "-X", method, "--unix-socket", path, "http://bailiff"+target)
		if body != "" {
			cmd.Args = append(cmd.Args, "-d", body)
		}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &cred}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	stranger := syscall.Credential{Uid: 54321, Gid: 54321}
	member := syscall.Credential{Uid: 54321, Gid: s.gid}
	supplementary := syscall.Credential{Uid: 54321, Gid: 54321, Groups: []uint32{7, s.gid}}
	var many []uint32 // more groups than the first try has room for
	for i := range uint32(200) {
		many = append(many, 60000+i)
	}
	crowd := syscall.Credential{Uid: 54321, Gid: 54321, Groups: append(many, s.gid)}
	own := syscall.Credential{Uid: 54322, Gid: 54322}
	root := syscall.Credential{}
	games, err := user.Lookup("games")
	if err != nil {
		t.Skip(err)
	}
	uid, _ := strconv.ParseUint(games.Uid, 10, 32)
	news := syscall.Credential{Uid: uint32(uid), Gid: 54321}
	const ban = `{"prefixes":["192.0.2.7"]}`
	for _, c := range []struct {
		who                  string
		cred                 syscall.Credential
		look, reload, change string
		news                 string
	}{
		{"root", root, "200", "200", "200", "200"},
		{"the daemon's own user", own, "200", "200", "403", "403"},
		{"member", member, "200", "403", "403", "403"},
		{"member by supplementary group", supplementary, "200", "403", "403", "403"},
		{"member of very many groups", crowd, "200", "403", "403", "403"},
		{"stranger", stranger, "403", "403", "403", "403"},
		{"who passes on news", news, "403", "403", "403", "200"},
	} {
		for _, x := range []struct{ method, target, body, want string }{
			{"GET", "/v1/status", "", c.look}, {"GET", "/v1/bans", "", c.look}, {"GET", "/v1/allow", "", c.look},
			{"GET", "/v1/why?address=192.0.2.7", "", c.look}, {"GET", "/metrics", "", c.look}, {"GET", "/v1/config", "", c.look}, {"GET", "/v1/events", "", c.look},
			{"POST", "/v1/reload", "", c.reload}, {"GET", "/v1/fleet", "", c.look}, {"POST", "/v1/fleet", `{"news":[]}`, c.news},
			{"PUT", "/v1/fleet/agent", `{"hub":""}`, c.news},
			{"PUT", "/v1/fleet/evidence", `{"id":"x"}`, c.news},
			{"POST", "/v1/fleet/failures", `{"host":"a","summaries":[{"host":"b"}]}`, c.news},
			{"PUT", "/v1/fleet/hosts", `{"fleet":"shop","serial":1,"hosts":{}}`, c.news},
			{"POST", "/v1/bans", ban, c.change}, {"DELETE", "/v1/bans?all=true", "", c.change},
			{"POST", "/v1/allow", `{"prefix":"192.0.2.7"}`, c.change}, {"DELETE", "/v1/allow?prefix=192.0.2.7", "", c.change},
		} {
			if got := ask(c.cred, x.method, x.target, x.body); got != x.want {
				t.Errorf("%s: %s %s: %s, want %s", c.who, x.method, x.target, got, x.want)
			}
		}
	}
}

// TestEveryCallHasItsRight: only root may make calls that change something.
func TestEveryCallHasItsRight(t *testing.T) {
	for p, methods := range calls {
		for m, c := range methods {
			want := read
			switch {
			case p == "/v1/reload":
				want = reload
			case p == "/v1/fleet" && m == http.MethodPost, p == "/v1/fleet/hosts", p == "/v1/fleet/agent", p == "/v1/fleet/failures", p == "/v1/fleet/evidence" && m == http.MethodPut:
				want = fleetNews
			case m != http.MethodGet:
				want = admin
			}
			if c.right != want {
				t.Errorf("%s %s: right %d", m, p, c.right)
			}
		}
	}
}

// TestConnectionsAreBounded: other users take half of the places at most; root still gets in, whatever waits in front.
func TestConnectionsAreBounded(t *testing.T) {
	needRoot(t)
	f := &fake{}
	path := serve(t, f, Options{})
	const silent = maxOthers + 1000 // root would wait longer than a minute if they were refused one after another, 150 ms each
	held := make(chan []net.Conn)
	go func() {
		// This thread becomes another user and ends with the goroutine, since it is not unlocked.
		runtime.LockOSThread()
		var conns []net.Conn
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 54321, 54321, 54321); e == 0 {
			for range silent {
				if c, err := net.Dial("unix", path); err == nil {
					conns = append(conns, c)
				}
			}
		}
		held <- conns
	}()
	conns := <-held
	for _, c := range conns {
		defer c.Close()
	}
	if len(conns) != silent {
		t.Fatalf("%d connections", len(conns))
	}
	if _, err := Dial(path).Status(timeout(t, time.Minute)); err != nil {
		t.Errorf("root meanwhile: %v", err)
	}
	first := conns[maxOthers]
	first.SetDeadline(time.Now().Add(time.Minute))
	res, err := http.ReadResponse(bufio.NewReader(first), nil)
	if err != nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("connection %d of another user: %+v, %v", maxOthers+1, res, err)
	}
}

// dialAs opens connections as another user.
func dialAs(t *testing.T, uid, gid, n int, path string) (conns []net.Conn) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // as above
		for _, x := range [][2]int{{unix.SYS_SETRESGID, gid}, {unix.SYS_SETRESUID, uid}} {
			if _, _, e := unix.RawSyscall(uintptr(x[0]), uintptr(x[1]), uintptr(x[1]), uintptr(x[1])); e != 0 {
				return
			}
		}
		for range n {
			if c, err := net.Dial("unix", path); err == nil {
				c.SetDeadline(time.Now().Add(time.Minute))
				conns = append(conns, c)
			}
		}
	}()
	<-done
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	if len(conns) != n {
		t.Fatalf("%d connections", len(conns))
	}
	return conns
}

// askEvents asks for events on a connection.
func askEvents(t *testing.T, c net.Conn) (status int, e Error) {
	t.Helper()
	fmt.Fprint(c, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n") // a connection may have been refused already
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, Error{Message: err.Error()}
	}
	if res.StatusCode != http.StatusOK {
		if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
			t.Fatal(err)
		}
	}
	return res.StatusCode, e
}

// TestFleetHasPlaces: bailiff-fleet gets through to its events however many others have connections and streams open, and each of these that
// is refused is told what is full.
func TestFleetHasPlaces(t *testing.T) {
	needRoot(t)
	u, err := user.Lookup("games") // any that every system has
	if err != nil {
		t.Skip(err)
	}
	fleet, _ := strconv.Atoi(u.Uid)
	g, err := user.LookupGroup("mail")
	if err != nil {
		t.Skip(err)
	}
	gid, _ := strconv.Atoi(g.Gid)
	f := &fake{happens: make(chan Event)}
	path := serve(t, f, Options{Group: "mail", Fleet: "games"})
	for i, c := range dialAs(t, 54321, gid, maxOtherStreams+1, path) {
		if status, e := askEvents(t, c); i < maxOtherStreams && status != http.StatusOK {
			t.Fatalf("stream %d: %d %+v", i, status, e)
		} else if i == maxOtherStreams && (status != http.StatusServiceUnavailable || !strings.Contains(e.Message, "event streams") || !strings.Contains(e.Message, "other than root")) {
			t.Fatalf("one stream more: %d %+v", status, e)
		}
	}
	if status, e := askEvents(t, dialAs(t, fleet, gid, 1, path)[0]); status != http.StatusOK {
		t.Errorf("streams full: bailiff-fleet: %d %+v", status, e)
	}
	for _, c := range dialAs(t, 54321, gid, maxOthers+3*maxRefused, path)[maxOthers:] {
		if status, e := askEvents(t, c); status != http.StatusServiceUnavailable || !strings.Contains(e.Message, "connections") || !strings.Contains(e.Message, "other than root") {
			t.Errorf("one connection more: %d %+v", status, e)
		}
	}
	if status, e := askEvents(t, dialAs(t, fleet, gid, 1, path)[0]); status != http.StatusOK {
		t.Errorf("connections full: bailiff-fleet: %d %+v", status, e)
	}
}

// TestRestart: a call made while nobody accepts waits in the socket and is answered by the next server, as it is when
// systemd holds the socket over a restart.
func TestRestart(t *testing.T) {
	l, path := listenAt(t)
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false)
	held, err := u.File() // systemd's copy
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	first := NewServer(&fake{}, Options{})
	done := make(chan error)
	go func() { done <- first.Serve(l) }()
	if _, err := Dial(path).Status(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(first.Shutdown(context.Background()), <-done); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error)
	go func() {
		_, err := Dial(path).Status(context.Background())
		answer <- err
	}()
	l2, err := net.FileListener(held)
	if err != nil {
		t.Fatal(err)
	}
	second := NewServer(&fake{}, Options{})
	go second.Serve(l2)
	defer second.Shutdown(context.Background())
	select {
	case err := <-answer:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("no answer")
	}
}

// TestShutdownAnswers: a call under way is answered before Shutdown returns.
func TestShutdownAnswers(t *testing.T) {
	l, path := listenAt(t)
	f := &fake{hold: make(chan struct{})}
	s := NewServer(f, Options{})
	go s.Serve(l)
	answer := make(chan error, 1)
	go func() {
		_, err := Dial(path).Status(context.Background())
		answer <- err
	}()
	f.hold <- struct{}{} // the call is under way now
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

// TestRefuse: callers that wait for a daemon that cannot start learn why, and none is left waiting.
func TestRefuse(t *testing.T) {
	l, path := listenAt(t)
	defer l.Close()
	answers := make(chan error, 3)
	for range cap(answers) {
		go func() {
			_, err := Dial(path).Ban(context.Background(), BanRequest{Prefixes: []string{"192.0.2.7"}})
			answers <- err
		}()
	}
	for n := 0; n < cap(answers); {
		Refuse(l, Error{Message: "bailiff.yaml:3: no such key", Hint: "bailiff check"})
		for range cap(answers) {
			select {
			case err := <-answers:
				n++
				var e *Error
				if !errors.As(err, &e) || e.Status != 503 || e.Message != "bailiff.yaml:3: no such key" || e.Hint != "bailiff check" {
					t.Errorf("got %#v", err)
				}
			default:
			}
		}
	}
}

func TestClientErrors(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	_, err := Dial(filepath.Join(dir, "gone")).Status(ctx)
	var e *Error
	if !errors.Is(err, ErrNotRunning) || !errors.As(err, &e) || !strings.Contains(e.Hint, "systemctl start bailiff") {
		t.Errorf("no socket: %#v", err)
	}
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := Dial(dead).Status(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("dead socket: %v", err)
	}
	if _, err := Dial(serve(t, &fake{hold: make(chan struct{})}, Options{})).Status(timeout(t, 20*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
}

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestAskedAgain: a call that only reads is repeated if the daemon dies during it; a call that changes something is not.
func TestAskedAgain(t *testing.T) {
	l, path := listenAt(t)
	defer l.Close()
	accepted := make(chan struct{}, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			http.ReadRequest(bufio.NewReader(c))
			accepted <- struct{}{}
			c.Close()
		}
	}()
	var e *Error
	if _, err := Dial(path).Status(context.Background()); !errors.As(err, &e) || e.Status != 502 || len(accepted) != 2 {
		t.Errorf("status: %d tries, %v", len(accepted), err)
	}
	for len(accepted) > 0 {
		<-accepted
	}
	if _, err := Dial(path).Unban(context.Background(), "", "", true); !errors.As(err, &e) || !strings.Contains(e.Hint, "may or may not") || len(accepted) != 1 {
		t.Errorf("unban: %d tries, %v", len(accepted), err)
	}
}

// TestNonsense: another program that listens there is not mistaken for the daemon.
func TestNonsense(t *testing.T) {
	for _, c := range []struct{ answer, want string }{
		{"SSH-2.0-x\r\n", "malformed"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "cannot be read"},
		{"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nhm", "answers 500"},
	} {
		l, path := listenAt(t)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				http.ReadRequest(bufio.NewReader(conn))
				io.WriteString(conn, c.answer)
				conn.Close()
			}
		}()
		_, err := Dial(path).Status(context.Background())
		l.Close()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q: %v", c.answer, err)
		}
	}
}

// TestKeysAreDocumented: JSON keys are lower case words, each once in its object: they are an interface.
func TestKeysAreDocumented(t *testing.T) {
	for _, v := range []any{Status{}, Ban{}, BanList{}, BanRequest{}, Removed{}, AllowEntry{}, AllowRequest{}, AllowResult{}, Why{}, WhyCount{}, Line{}, History{}, Reloaded{}, Error{}} {
		typ := reflect.TypeOf(v)
		var keys []string
		for i := range typ.NumField() {
			key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if f := typ.Field(i); f.IsExported() && !f.Anonymous && key != "-" {
				if key == "" || key != strings.ToLower(key) || slices.Contains(keys, key) {
					t.Errorf("%s.%s: key %q", typ.Name(), f.Name, key)
				}
				keys = append(keys, key)
			}
		}
	}
}

// TestLookStartsNothing: a connection would start the daemon through systemd's socket. Calls that only read do not connect while the unit
// is stopped; calls that change something do.
func TestLookStartsNothing(t *testing.T) {
	l, path := listenAt(t)
	connected := make(chan struct{}, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connected <- struct{}{}
			c.Close()
		}
	}()
	c := Dial(path)
	for _, state := range []string{"inactive", "failed"} {
		c.stopped = func(ctx context.Context, unit string) (string, error) { return state, nil }
		_, err := c.Status(t.Context())
		var e *Error
		if !errors.Is(err, ErrNotRunning) || !errors.As(err, &e) || !strings.Contains(e.Hint, "systemctl start bailiff.service") {
			t.Errorf("%s: %v", state, err)
		}
		if err := c.Events(t.Context(), func(*Event) error { return nil }); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v", state, err)
		}
	}
	if len(connected) != 0 {
		t.Error("a look has connected")
	}
	c.Ban(t.Context(), BanRequest{Prefixes: []string{"192.0.2.1"}})
	<-connected
}
