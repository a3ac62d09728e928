package control

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"bailiff/units/metrics"
)

// ReportPath is where bailiff-report.socket listens. A connection starts bailiff-report if it is not running. Its calls follow
// the same rules as the daemon's:
//
//	GET  /v1/status                                     ReporterStatus
//	GET  /v1/reports?destination=D&limit=N              ReportList
//	GET  /v1/report?id=BAN-ID|ADDRESS&destination=D     ReportShow
//	GET  /v1/whois?address=ADDRESS                      Whois
//	POST /v1/retry        ReportsRequest                ReportsResult (root)
//	POST /v1/drop         ReportsRequest                ReportsResult (root)
//	POST /v1/test         TestRequest                   TestResult    (root)
//	GET  /metrics                                       metrics for Prometheus
const ReportPath = "/run/bailiff-report/control"

// testTime bounds a test delivery: mail systems and services have ten minutes at most.
const testTime = 11 * time.Minute

// ReporterStatus is the state of bailiff-report.
type ReporterStatus struct {
	Version      string              `json:"version"`
	PID          int                 `json:"pid"`
	Started      time.Time           `json:"started"`
	Problems     []string            `json:"problems"`
	Waiting      int                 `json:"waiting"`   // deliveries
	Delivered    uint64              `json:"delivered"` // reports, since start
	CaughtUp     bool                `json:"caught_up"` // with the journal
	Cursor       string              `json:"cursor"`
	QueueBytes   int64               `json:"queue_bytes"`
	Destinations []DestinationStatus `json:"destinations"`
}

// DestinationStatus is one destination.
type DestinationStatus struct {
	Name       string     `json:"name"`
	Type       string     `json:"type,omitempty"`       // absent: no longer configured
	Waiting    int        `json:"waiting"`              // deliveries; each report of a digest to come counts
	Held       string     `json:"held,omitempty"`       // why nothing is delivered until somebody acts
	Behind     bool       `json:"behind,omitempty"`     // the queue is full: newer bans wait in the journal
	Delivering *time.Time `json:"delivering,omitempty"` // since when a delivery is running
	Paused     *time.Time `json:"paused,omitempty"`     // until when nothing is tried
	Quota      int        `json:"quota,omitempty"`      // reports in 24 hours
	Sent       int        `json:"sent"`                 // in the last 24 hours
	LastOK     *time.Time `json:"last_ok,omitempty"`    // since start
	LastError  string     `json:"last_error,omitempty"` // since the last success
	LastFailed *time.Time `json:"last_failed,omitempty"`
}

// QueuedReport is one waiting delivery.
type QueuedReport struct {
	ID          string     `json:"id"` // of the ban
	Item        string     `json:"item,omitempty"`
	Address     string     `json:"address"`
	Jail        string     `json:"jail"`
	Time        time.Time  `json:"time"` // of the ban
	Destination string     `json:"destination"`
	State       string     `json:"state"` // "looking up", "waiting", "delivering", "uncertain", "digest", "held" or "not configured"
	Attempts    int        `json:"attempts"`
	Next        *time.Time `json:"next,omitempty"`
	Error       string     `json:"error,omitempty"`
}

// ReportList is the waiting deliveries, oldest first.
type ReportList struct {
	Reports []QueuedReport `json:"reports"`
	Total   int            `json:"total"`
}

// ReportShow is one report and its deliveries.
type ReportShow struct {
	// Report is shared with the queue, which is why encode must not touch it.
	Report     *Report    `json:"report" null:"true"`
	Deliveries []Delivery `json:"deliveries"`
}

// Delivery is what one destination will be sent.
type Delivery struct {
	QueuedReport
	Preview string `json:"preview"`          // exactly what will be sent, secrets masked
	Failed  string `json:"failed,omitempty"` // why there is no preview
}

// ReportsRequest selects waiting deliveries: by destination, by ban or address, or by both.
type ReportsRequest struct {
	Destination string `json:"destination,omitempty"`
	ID          string `json:"id,omitempty"`  // of a ban, or an address
	All         bool   `json:"all,omitempty"` // all deliveries; excludes the other fields
}

// ReportsResult is the number of deliveries that were selected.
type ReportsResult struct {
	Reports int `json:"reports"`
}

// TestRequest asks for the immediate delivery of a test report.
type TestRequest struct {
	Destination string `json:"destination"`
}

// TestResult is the destination's answer.
type TestResult struct {
	Item   string `json:"item"`
	Answer string `json:"answer"`
}

// Reporter answers the calls of bailiff-report's server. Its methods are called from any goroutine and must respect ctx.
type Reporter interface {
	Status(ctx context.Context) (*ReporterStatus, error)
	Reports(ctx context.Context, destination string, limit int) (*ReportList, error)
	Report(ctx context.Context, id, destination string) (*ReportShow, error)
	Whois(ctx context.Context, addr netip.Addr) (*Whois, error)
	Retry(ctx context.Context, by Peer, req ReportsRequest) (*ReportsResult, error)
	Drop(ctx context.Context, by Peer, req ReportsRequest) (*ReportsResult, error)
	Test(ctx context.Context, by Peer, req TestRequest) (*TestResult, error)
	Metrics(ctx context.Context) (*metrics.Set, error)
}

// NewReportServer makes the server of bailiff-report.
func NewReportServer(c Reporter, o Options) *Server {
	s := newServer(o)
	s.c, s.calls, s.unit = c, reportCalls, "bailiff-report"
	return s
}

var reportCalls = map[string]map[string]call{
	"/v1/status":  {http.MethodGet: {right: read, run: plain(Reporter.Status)}},
	"/v1/reports": {http.MethodGet: {right: read, query: []string{"destination", "limit"}, run: (*Server).reports}},
	"/v1/report":  {http.MethodGet: {right: read, query: []string{"id", "destination"}, run: (*Server).report}},
	"/v1/whois":   {http.MethodGet: {right: read, query: []string{"address"}, run: (*Server).whois}},
	"/v1/retry":   {http.MethodPost: {right: admin, body: true, run: some(Reporter.Retry)}},
	"/v1/drop":    {http.MethodPost: {right: admin, body: true, run: some(Reporter.Drop)}},
	"/metrics":    {http.MethodGet: {right: read, run: (*Server).metrics}},
	"/v1/test":    {http.MethodPost: {right: admin, body: true, run: taking(Reporter.Test), limit: testTime}},
}

func (s *Server) reports(r *http.Request, q url.Values, _ Peer) (any, error) {
	n, err := limit(q, defaultLimit, maxLimit, "")
	if err != nil {
		return nil, err
	}
	return s.c.Reports(r.Context(), q.Get("destination"), n)
}

func (s *Server) report(r *http.Request, q url.Values, _ Peer) (any, error) {
	if q.Get("id") == "" {
		return nil, BadRequest("id=BAN-ID, or id=192.0.2.7", "no id")
	}
	return s.c.Report(r.Context(), q.Get("id"), q.Get("destination"))
}

func (s *Server) whois(r *http.Request, q url.Values, _ Peer) (any, error) {
	a, err := netip.ParseAddr(q.Get("address"))
	if err != nil || a.Zone() != "" {
		return nil, BadRequest("address=192.0.2.7", "%.100q is not an address", q.Get("address"))
	}
	return s.c.Whois(r.Context(), a.Unmap())
}

func some(do func(Reporter, context.Context, Peer, ReportsRequest) (*ReportsResult, error)) handler {
	return taking(func(c Reporter, ctx context.Context, by Peer, req ReportsRequest) (*ReportsResult, error) {
		if named := req.Destination != "" || req.ID != ""; named == req.All {
			return nil, BadRequest("name a destination, a ban or an address, or give all", "which reports?")
		}
		return do(c, ctx, by, req)
	})
}

// DialReport returns a client of bailiff-report's socket at path, ReportPath if empty.
func DialReport(path string) *ReportClient {
	path = cmp.Or(path, ReportPath)
	c := Dial(path)
	c.unit = "bailiff-report"
	return &ReportClient{c}
}

// ReportClient calls bailiff-report. Its errors are as Client's.
type ReportClient struct{ c *Client }

// Status returns the state of bailiff-report.
func (c *ReportClient) Status(ctx context.Context) (*ReporterStatus, error) {
	return get[ReporterStatus](ctx, c.c, "/v1/status", nil)
}

// Reports returns what waits, for one destination or, if empty, for all.
func (c *ReportClient) Reports(ctx context.Context, destination string, limit int) (*ReportList, error) {
	q := query("destination", destination)
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return get[ReportList](ctx, c.c, "/v1/reports", q)
}

// Report returns the newest waiting report of a ban or about an address.
func (c *ReportClient) Report(ctx context.Context, id, destination string) (*ReportShow, error) {
	return get[ReportShow](ctx, c.c, "/v1/report", query("id", id, "destination", destination))
}

// Whois returns what the registries say about an address.
func (c *ReportClient) Whois(ctx context.Context, address string) (*Whois, error) {
	return get[Whois](ctx, c.c, "/v1/whois", query("address", address))
}

// Retry tries deliveries now.
func (c *ReportClient) Retry(ctx context.Context, req ReportsRequest) (*ReportsResult, error) {
	return do[ReportsResult](ctx, c.c, http.MethodPost, "/v1/retry", nil, req)
}

// Drop gives up deliveries.
func (c *ReportClient) Drop(ctx context.Context, req ReportsRequest) (*ReportsResult, error) {
	return do[ReportsResult](ctx, c.c, http.MethodPost, "/v1/drop", nil, req)
}

// Test delivers a test report.
func (c *ReportClient) Test(ctx context.Context, destination string) (*TestResult, error) {
	ctx, cancel := context.WithTimeout(ctx, waitTime+testTime)
	defer cancel()
	return do[TestResult](ctx, c.c, http.MethodPost, "/v1/test", nil, TestRequest{destination})
}
