package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-web/page"
	"bailiff/units/control"
	"bailiff/units/metrics"
)

// daemon answers what the tests ask the control socket for.
type daemon struct {
	control.Daemon
	events chan control.Event
	asked  chan string
}

func (d *daemon) Status(context.Context) (*control.Status, error) {
	return &control.Status{Version: "9.9", Bans: 7}, nil
}
func (d *daemon) Bans(_ context.Context, q control.BanQuery, _ netip.Prefix) (*control.BanList, error) {
	d.asked <- fmt.Sprintf("bans %q %d", q.Jail, q.Limit)
	return &control.BanList{Total: 1, Bans: []control.Ban{{Prefix: "192.0.2.7/32"}}}, nil
}
func (d *daemon) Why(context.Context, netip.Prefix) (*control.Why, error) {
	return nil, &control.Error{Status: http.StatusConflict, Message: "odd <b>", Hint: "really"}
}
func (d *daemon) Metrics(context.Context) (*metrics.Set, error) {
	s := &metrics.Set{}
	s.Add(metrics.Up, 1)
	return s, nil
}
func (d *daemon) Fleet(context.Context) (*control.FleetStatus, error) {
	return &control.FleetStatus{}, nil
}
func (d *daemon) Events(context.Context, bool) (<-chan control.Event, error) { return d.events, nil }

// served is a server of the page before a real control server.
type served struct {
	t         *testing.T
	tcp, unix string
	daemon    *daemon
	control   *control.Server
	token     string
	done      chan error
	stop      context.CancelFunc
}

func serve(t *testing.T, change ...func(*Options)) *served {
	t.Helper()
	d := &daemon{events: make(chan control.Event, 10), asked: make(chan string, 10)}
	s := serveFor(t, d, change...)
	s.daemon = d
	return s
}

func serveFor(t *testing.T, d control.Daemon, change ...func(*Options)) *served {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "control")
	cl, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, unix: filepath.Join(dir, "web"), token: NewToken(), done: make(chan error, 1)}
	s.control = control.NewServer(d, control.Options{})
	go s.control.Serve(cl)
	t.Cleanup(func() { s.control.Shutdown(context.Background()) })
	o := Options{Control: control.Dial(path), Report: control.DialReport(filepath.Join(dir, "report")), Token: s.token, Page: page.Files}
	for _, f := range change {
		f(&o)
	}
	web, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	tl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ul, err := net.Listen("unix", s.unix)
	if err != nil {
		t.Fatal(err)
	}
	s.tcp = tl.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	go func() { s.done <- web.Serve(ctx, []net.Listener{tl, ul}) }()
	t.Cleanup(stop)
	return s
}

// get makes a request over TCP with the token; head are names and values of headers.
func (s *served) get(path string, head ...string) (*http.Response, string) {
	s.t.Helper()
	return s.do(s.request("GET", path, append([]string{"Authorization", "Bearer " + s.token}, head...)...))
}

func (s *served) request(method, path string, head ...string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequest(method, "http://"+s.tcp+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(head); i += 2 {
		if head[i] == "Host" {
			r.Host = head[i+1]
		} else {
			r.Header.Set(head[i], head[i+1])
		}
	}
	return r
}

func (s *served) do(r *http.Request) (*http.Response, string) {
	s.t.Helper()
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(b)
}

// needReader skips where the control server would not let this test read.
func needReader(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root and members of group bailiff may ask a control server, and this test is not run by root")
	}
}

func TestPassedOn(t *testing.T) {
	needReader(t)
	s := serve(t)
	if res, b := s.get("/v1/status"); res.StatusCode != 200 || !strings.Contains(b, `"bans":7`) {
		t.Errorf("%s: %s", res.Status, b)
	}
	if res, b := s.get("/v1/bans?jail=sshd&limit=3"); res.StatusCode != 200 || !strings.Contains(b, "192.0.2.7/32") || <-s.daemon.asked != `bans "sshd" 3` {
		t.Errorf("%s: %s", res.Status, b)
	}
	if res, b := s.get("/v1/bans?jail=sshd&jial=x"); res.StatusCode != 400 || !strings.Contains(b, `unknown parameter`) {
		t.Errorf("%s: %s", res.Status, b)
	}
	if res, b := s.get("/v1/why?address=192.0.2.7"); res.StatusCode != 409 || res.Header.Get("Content-Type") != "application/json" || !strings.Contains(b, `"hint":"really"`) {
		t.Errorf("%s: %s", res.Status, b)
	}
	// bailiff-report is away.
	if res, b := s.get("/report/v1/status"); res.StatusCode != 503 || !strings.Contains(b, "not running") {
		t.Errorf("%s: %s", res.Status, b)
	}
	for _, path := range []string{"/v1/firewall", "/v1/reload", "/v1/firewall/repair", "/v2/status", "/report/v1/drop", "/report/v1/retry", "/manifest.json", "/page.go", "/../etc/passwd", "/v1/status/", "//", "/%2e%2e/page.go"} {
		if res, b := s.get(path); res.StatusCode != 404 {
			t.Errorf("%s: %s: %.100s", path, res.Status, b)
		}
	}
}

func TestEveryAnswerIsSecured(t *testing.T) {
	s := serve(t)
	for _, r := range []*http.Request{s.request("GET", "/"), s.request("GET", "/app.js"), s.request("GET", "/v1/status"), s.request("GET", "/nothing"), s.request("POST", "/"), s.request("GET", "/", "Host", "evil.example")} {
		res, _ := s.do(r)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'self';", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := res.Header.Get(name); !strings.HasPrefix(got, want) {
				t.Errorf("%s %s: %s: %q", r.Method, r.URL, name, got)
			}
		}
		if csp := res.Header.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s", csp)
		}
	}
}

// TestForeignRequests: requests that a browser sends for another page, and host names that may have been made to point here.
func TestForeignRequests(t *testing.T) {
	needReader(t)
	s := serve(t, func(o *Options) { o.Hosts = []string{"status.example.org"} })
	_, port, _ := net.SplitHostPort(s.tcp)
	for _, c := range []struct {
		path   string
		head   []string
		status int
	}{
		{"/v1/status", nil, 200},
		{"/v1/status", []string{"Host", "localhost:" + port}, 200},
		{"/v1/status", []string{"Host", "LOCALHOST:9999"}, 200}, // a forwarded port
		{"/v1/status", []string{"Host", "[::1]:" + port}, 200},
		{"/v1/status", []string{"Host", "status.example.org"}, 200},
		{"/v1/status", []string{"Host", "evil.example"}, 403},
		{"/", []string{"Host", "evil.example:" + port}, 403},
		{"/metrics", []string{"Host", "evil.example:" + port}, 403},
		{"/v1/status", []string{"Host", "127.0.0.1.evil.example"}, 403},
		{"/v1/status", []string{"Host", "evil.status.example.org"}, 403},
		{"/v1/status", []string{"Host", "localhost:http"}, 403},
		{"/v1/status", []string{"Origin", "http://" + s.tcp}, 200},
		{"/v1/status", []string{"Origin", "http://evil.example"}, 403},
		{"/v1/status", []string{"Origin", "null"}, 403},
		{"/v1/status", []string{"Origin", "http://127.0.0.1:1"}, 403}, // another service of this host
		{"/v1/status", []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"/v1/status", []string{"Sec-Fetch-Site", "none"}, 200},
		{"/v1/status", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"/v1/status", []string{"Sec-Fetch-Site", "same-site"}, 403}, // another port
		{"/metrics", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"/v1/status", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 403},
		{"/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200}, // a link
		{"/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		{"/app.js", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"}, 403},
		{"/v1/why?address=" + strings.Repeat("1", maxQuery), nil, 414},
	} {
		if res, b := s.get(c.path, c.head...); res.StatusCode != c.status {
			t.Errorf("%.40s %q: %s, want %d: %.200s", c.path, c.head, res.Status, c.status, b)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"} {
		if res, _ := s.do(s.request(method, "/v1/bans", "Authorization", "Bearer "+s.token)); res.StatusCode != 405 {
			t.Errorf("%s: %s", method, res.Status)
		}
	}
	r := s.request("GET", "/v1/status", "Authorization", "Bearer "+s.token)
	r.Body = io.NopCloser(strings.NewReader("x"))
	if res, _ := s.do(r); res.StatusCode != 400 {
		t.Errorf("with a body: %s", res.Status)
	}
}

// TestToken: over TCP nothing but the files and the metrics is for everybody; the unix socket gives the token.
func TestToken(t *testing.T) {
	needReader(t)
	s := serve(t)
	for _, head := range [][]string{nil, {"Authorization", "Bearer "}, {"Authorization", "Bearer " + s.token[1:]}, {"Authorization", "Basic " + s.token}, {"Authorization", s.token}} {
		for _, path := range []string{"/v1/status", "/v1/events", "/v1/history", "/token", "/report/v1/status", "/nothing"} {
			if res, b := s.do(s.request("GET", path, head...)); res.StatusCode != 401 || strings.Contains(b, s.token) || !strings.Contains(b, "bailiff web") {
				t.Errorf("%s %q: %s: %s", path, head, res.Status, b)
			}
		}
		for _, path := range []string{"/", "/index.html", "/style.css"} {
			if res, b := s.do(s.request("GET", path, head...)); res.StatusCode != 200 || len(b) == 0 {
				t.Errorf("%s %q: %s", path, head, res.Status)
			}
		}
	}
	unix := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.unix)
	}}}
	res, err := unix.Get("http://localhost/token")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct{ Token, Address string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Token != s.token || answer.Address != s.tcp {
		t.Errorf("%+v, %v", answer, err)
	}
	res, err = unix.Get("http://localhost/v1/status")
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v, %v", res, err)
	}
	res.Body.Close()
	if res, err = unix.Get("http://evil.example/v1/status"); err != nil || res.StatusCode != 403 {
		t.Fatalf("%v, %v", res, err)
	}
	res.Body.Close()
}

func TestEmptyTokenOpensNothing(t *testing.T) {
	s := serve(t, func(o *Options) { o.Token = "" })
	if res, _ := s.do(s.request("GET", "/v1/status", "Authorization", "Bearer ")); res.StatusCode != 401 {
		t.Error(res.Status)
	}
}

func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	first, err := Token(dir)
	again, err2 := Token(dir)
	if err = errors.Join(err, err2); err != nil || len(first) != 43 || first != again || first == NewToken() {
		t.Errorf("%q, %q, %v", first, again, err)
	}
	st, err := os.Stat(filepath.Join(dir, "token"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), nil, 0o600); err != nil { // a crash
		t.Fatal(err)
	}
	if next, err := Token(dir); err != nil || len(next) != 43 || next == first {
		t.Errorf("%q, %v", next, err)
	}
}

// TestEvents: events arrive as they happen, streams are bounded, and end with the server.
func TestEvents(t *testing.T) {
	needReader(t)
	s := serve(t)
	res, err := (&http.Transport{}).RoundTrip(s.request("GET", "/v1/events", "Authorization", "Bearer "+s.token))
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%v, %v", res, err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || !strings.Contains(lines.Text(), want) {
			t.Fatalf("%q, %v; want %s", lines.Text(), lines.Err(), want)
		}
	}
	expect(`"kind":"status"`)
	s.daemon.events <- control.Event{Kind: "ban", Prefix: "192.0.2.9/32"}
	expect("192.0.2.9")
	var more []*http.Response
	for range maxEvents - 1 {
		r, err := (&http.Transport{}).RoundTrip(s.request("GET", "/v1/events", "Authorization", "Bearer "+s.token))
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%v, %v", r, err)
		}
		more = append(more, r)
	}
	if r, b := s.get("/v1/events"); r.StatusCode != 503 || !strings.Contains(b, "too many") {
		t.Errorf("one stream too many: %s: %s", r.Status, b)
	}
	more[0].Body.Close() // its place is free again, as soon as the server notices
	var again *http.Response
	for limit := time.Now().Add(time.Minute); ; {
		if again, err = (&http.Transport{}).RoundTrip(s.request("GET", "/v1/events", "Authorization", "Bearer "+s.token)); err != nil {
			t.Fatal(err)
		}
		if again.StatusCode == 200 {
			break
		}
		if again.Body.Close(); time.Now().After(limit) {
			t.Fatal(again.Status)
		}
	}
	s.stop()
	for lines.Scan() {
	}
	for _, r := range append(more[1:], again) {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

// TestMetrics: a scraper gets the format that it prefers, over TCP without a token.
// searched is a daemon whose searches in the audit trail never end by themselves.
type searched struct{ daemon }

func (d *searched) History(ctx context.Context, _ control.HistoryQuery, _ netip.Prefix, emit func(*control.HistoryLine) error) error {
	err := emit(&control.HistoryLine{Kind: "progress"})
	<-ctx.Done()
	return err
}

// TestSearches: one of the daemon's two searches stays free for others, bailiff-fleet among them.
func TestSearches(t *testing.T) {
	needReader(t)
	s := serveFor(t, &searched{})
	res, err := (&http.Transport{}).RoundTrip(s.request("GET", "/v1/history", "Authorization", "Bearer "+s.token))
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v, %v", res, err)
	}
	defer res.Body.Close()
	second, err := (&http.Transport{}).RoundTrip(s.request("GET", "/v1/history", "Authorization", "Bearer "+s.token))
	if err != nil || second.StatusCode != 503 {
		t.Errorf("a second search: %v, %v", second, err)
	}
	second.Body.Close()
}

func TestMetrics(t *testing.T) {
	needReader(t)
	s := serve(t)
	for accept, want := range map[string][2]string{
		"": {metrics.TextType, "bailiff_up 1\n"},
		"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3": {metrics.OpenMetricsType, "bailiff_up 1\n# EOF\n"},
	} {
		res, body := s.do(s.request("GET", "/metrics", "Accept", accept))
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != want[0] || !strings.HasSuffix(body, want[1]) {
			t.Errorf("%q: %s, %q: %s", accept, res.Status, res.Header.Get("Content-Type"), body)
		}
	}
}

func TestStoppedDaemon(t *testing.T) {
	s := serve(t)
	s.control.Shutdown(context.Background())
	for _, path := range []string{"/v1/status", "/v1/events", "/metrics"} {
		if res, b := s.get(path); res.StatusCode != 503 || !strings.Contains(b, "not running") || !strings.Contains(b, "systemctl start bailiff.service") {
			t.Errorf("%s: %s: %s", path, res.Status, b)
		}
	}
}

// TestIdle: the server ends when nobody connects.
func TestIdle(t *testing.T) {
	s := serve(t, func(o *Options) { o.Idle = time.Millisecond })
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

// TestQuiet: the time without a connection begins when the last one is closed.
func TestQuiet(t *testing.T) {
	q := newQuiet(time.Hour)
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ConnState = q.count
	srv.Start()
	defer srv.Close()
	var open []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil { // it is counted before it is answered
			t.Fatal(err)
		}
		open = append(open, c)
	}
	q.mu.Lock()
	q.limit = 0 // from now on
	q.mu.Unlock()
	for _, c := range open {
		q.end() // a timer that fires while a connection is open
		select {
		case <-q.over:
			t.Fatal("it is over with a connection open")
		default:
		}
		c.Close()
	}
	<-q.over
}

// TestManyConnections: connections beyond the limit wait, and are served when others end.
func TestManyConnections(t *testing.T) {
	s := serve(t)
	var open []net.Conn
	for range maxConns + 5 {
		c, err := net.Dial("tcp", s.tcp)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	for _, c := range open[:10] {
		c.Close()
	}
	if res, _ := s.do(s.request("GET", "/")); res.StatusCode != 200 {
		t.Error(res.Status)
	}
}
