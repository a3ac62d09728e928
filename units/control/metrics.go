package control

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"bailiff/units/metrics"
)

// document is an answer that is not JSON.
type document struct {
	kind string // its content type
	body []byte
}

// metrics is GET /metrics, which both programs have: their own metrics, in the format that the caller prefers.
func (s *Server) metrics(r *http.Request, _ url.Values, _ Peer) (any, error) {
	set, err := owner[interface {
		Metrics(context.Context) (*metrics.Set, error)
	}](s).Metrics(r.Context())
	if err != nil {
		return nil, err
	}
	if metrics.OpenMetrics(r.Header.Values("Accept")) {
		return document{metrics.OpenMetricsType, set.Encode(true)}, nil
	}
	return document{metrics.TextType, set.Encode(false)}, nil
}

// Metrics returns the daemon's metrics, in OpenMetrics or in Prometheus' text format.
func (c *Client) Metrics(ctx context.Context, openMetrics bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	accept := metrics.TextType
	if openMetrics {
		accept = metrics.OpenMetricsType
	}
	res, err := c.Open(ctx, "/metrics", "", http.Header{"Accept": {accept}})
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := c.whole(res)
	if err != nil {
		return nil, c.explain(err, http.MethodGet)
	}
	return b, nil
}

// Metrics returns bailiff-report's metrics. Like Open it does not start bailiff-report.
func (c *ReportClient) Metrics(ctx context.Context, openMetrics bool) ([]byte, error) {
	return c.notStarting().Metrics(ctx, openMetrics)
}

// reporterTime bounds the wait for bailiff-report's metrics: Prometheus gives up after 10 seconds, and the daemon's must not be lost.
const reporterTime = 2 * time.Second

// AllMetrics returns the metrics of both programs in one answer. Those of bailiff-report are left out where it does not answer
// within reporterTime: it runs only where reports are configured.
func AllMetrics(ctx context.Context, daemon *Client, reporter *ReportClient, openMetrics bool) ([]byte, error) {
	b, err := daemon.Metrics(ctx, openMetrics)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reporterTime)
	defer cancel()
	if r, err := reporter.Metrics(ctx, openMetrics); err == nil {
		b = metrics.Join(openMetrics, b, r)
	}
	return b, nil
}
