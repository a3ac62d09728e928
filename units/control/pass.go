package control

import (
	"context"
	"net/http"

	"bailiff/units/manager"
)

// Open makes a GET call and returns the answer as it comes, whatever its status, for a program that passes it on. The caller closes
// the body. Like every GET it does not start a stopped daemon. The context bounds the call until the body has been read.
func (c *Client) Open(ctx context.Context, path, rawQuery string, header http.Header) (*http.Response, error) {
	if err := c.checkStarted(ctx); err != nil {
		return nil, err
	}
	res, err := c.send(ctx, http.MethodGet, path, rawQuery, header, nil)
	if err != nil {
		return nil, c.explain(err, http.MethodGet)
	}
	return res, nil
}

// Open is Client.Open. Unlike the other calls it does not start bailiff-report.
func (c *ReportClient) Open(ctx context.Context, path, rawQuery string, header http.Header) (*http.Response, error) {
	return c.notStarting().Open(ctx, path, rawQuery, header)
}

func (c *ReportClient) notStarting() *Client {
	asked := *c.c
	if asked.path == ReportPath {
		asked.stopped = manager.Stopped
	}
	return &asked
}
