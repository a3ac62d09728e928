package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/units/metrics"
)

// fakeReporter notes what it was asked.
type fakeReporter struct{ fake }

func (f *fakeReporter) Status(context.Context) (*ReporterStatus, error) {
	return &ReporterStatus{Waiting: 3}, f.note("status")
}
func (f *fakeReporter) Reports(_ context.Context, destination string, limit int) (*ReportList, error) {
	return &ReportList{Total: 7}, f.note("reports %q %d", destination, limit)
}
func (f *fakeReporter) Report(_ context.Context, id, destination string) (*ReportShow, error) {
	return &ReportShow{Report: &Report{ID: id}}, f.note("report %q %q", id, destination)
}
func (f *fakeReporter) Whois(_ context.Context, a netip.Addr) (*Whois, error) {
	return &Whois{Holder: "Example"}, f.note("whois %s", a)
}
func (f *fakeReporter) Retry(_ context.Context, by Peer, r ReportsRequest) (*ReportsResult, error) {
	return &ReportsResult{2}, f.note("retry by %s %+v", by.User, r)
}
func (f *fakeReporter) Drop(_ context.Context, by Peer, r ReportsRequest) (*ReportsResult, error) {
	return &ReportsResult{1}, f.note("drop by %s %+v", by.User, r)
}
func (f *fakeReporter) Test(_ context.Context, by Peer, r TestRequest) (*TestResult, error) {
	return &TestResult{Answer: "250 ok"}, f.note("test by %s %+v", by.User, r)
}

func (f *fakeReporter) Metrics(context.Context) (*metrics.Set, error) {
	s := &metrics.Set{}
	s.Add(metrics.ReportQueue, 2, "admin")
	return s, f.note("metrics")
}

// serveReports serves until the test ends.
func serveReports(t *testing.T, f *fakeReporter) (path string) {
	l, path := listenAt(t)
	s := NewReportServer(f, Options{})
	go s.Serve(l)
	t.Cleanup(func() { s.Shutdown(context.Background()) })
	return path
}

func TestReporter(t *testing.T) {
	needRoot(t)
	f := &fakeReporter{}
	path := serveReports(t, f)
	c, ctx := DialReport(path), context.Background()
	asked := func(err error, want string) {
		t.Helper()
		if err != nil || f.last() != want {
			t.Errorf("asked %s, %v; want %s", f.last(), err, want)
		}
	}
	st, err := c.Status(ctx)
	asked(err, "status")
	if st.Waiting != 3 || st.Destinations == nil || st.Problems == nil {
		t.Errorf("%+v: lists are never null", st)
	}
	list, err := c.Reports(ctx, "admin", 5)
	asked(err, `reports "admin" 5`)
	if list.Total != 7 || list.Reports == nil {
		t.Errorf("%+v", list)
	}
	_, err = c.Reports(ctx, "", 0)
	asked(err, fmt.Sprintf(`reports "" %d`, defaultLimit))
	who, err := c.Whois(ctx, "::ffff:192.0.2.7")
	asked(err, "whois 192.0.2.7")
	if who.Holder != "Example" {
		t.Errorf("%+v", who)
	}
	for _, wrong := range []string{"", "192.0.2.0/24", "fe80::1%eth0", "example.org"} {
		if _, err := c.Whois(ctx, wrong); err == nil || !strings.Contains(err.Error(), "is not an address") {
			t.Errorf("whois %q: %v", wrong, err)
		}
	}
	show, err := c.Report(ctx, "192.0.2.7", "admin")
	asked(err, `report "192.0.2.7" "admin"`)
	if show.Report.ID != "192.0.2.7" || show.Deliveries == nil {
		t.Errorf("%+v", show)
	}
	r, err := c.Retry(ctx, ReportsRequest{Destination: "admin"})
	asked(err, "retry by root {Destination:admin ID: All:false}")
	if r.Reports != 2 {
		t.Errorf("%+v", r)
	}
	_, err = c.Drop(ctx, ReportsRequest{All: true})
	asked(err, "drop by root {Destination: ID: All:true}")
	x, err := c.Test(ctx, "admin")
	asked(err, "test by root {Destination:admin}")
	if x.Answer != "250 ok" {
		t.Errorf("%+v", x)
	}
	for _, bad := range []ReportsRequest{{}, {Destination: "a", All: true}} {
		var e *Error
		if _, err := c.Drop(ctx, bad); !errors.As(err, &e) || e.Status != http.StatusBadRequest {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := Dial(path).Bans(ctx, BanQuery{}); err == nil || !strings.Contains(err.Error(), "no such path") {
		t.Errorf("bailiff-report knows bans: %v", err)
	}
	if _, err := DialReport(filepath.Join(t.TempDir(), "none")).Status(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody listens: %v", err)
	}
	for p, methods := range reportCalls {
		for m, c := range methods {
			if want := map[bool]right{true: read, false: admin}[m == http.MethodGet]; c.right != want {
				t.Errorf("%s %s: right %d, want %d", m, p, c.right, want)
			}
		}
	}
}
