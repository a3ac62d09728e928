package control

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"bailiff/policy/fleet"
)

// FleetEvidence are the lines that led to a ban, as other hosts may see them: without account names and the host's own addresses.
type FleetEvidence struct {
	ID       string      `json:"id,omitempty"`    // of the question, when bailiff-fleet answers it
	Host     string      `json:"host,omitempty"`  // that was asked, which alone answers for the lines; missing: this host
	Lines    []FleetLine `json:"lines"`           // the latest, fleet.MaxAnswerLines at most
	Withheld int         `json:"withheld"`        // lines that are too many, or of which nothing can be shown
	Error    string      `json:"error,omitempty"` // why there are none
}

// FleetLine is a line of the journal, redacted.
type FleetLine struct {
	Time    time.Time `json:"time"`
	Unit    string    `json:"unit,omitempty"`
	Message string    `json:"message"`
}

func (s *Server) getFleetEvidence(r *http.Request, q url.Values, _ Peer) (any, error) {
	p, err := prefix("prefix", q.Get("prefix"))
	if err != nil {
		return nil, err
	}
	host, jail := q.Get("host"), q.Get("jail")
	if host != "" && !fleet.ValidHost(host) {
		return nil, BadRequest("leave host out for the lines of this host", "host: %q is not the name of a host", host)
	}
	return s.d.FleetEvidence(r.Context(), host, p, jail)
}

func (s *Server) putFleetEvidence(r *http.Request, _ url.Values, _ Peer) (any, error) {
	var req FleetEvidence
	if err := body(r, &req); err != nil {
		return nil, err
	}
	if len(req.Lines) > fleet.MaxAnswerLines {
		return nil, BadRequest("send the latest", "lines: %d, more than %d", len(req.Lines), fleet.MaxAnswerLines)
	}
	for _, l := range req.Lines {
		if len(l.Message) > fleet.MaxAnswerText || len(l.Unit) > fleet.MaxAnswerText {
			return nil, BadRequest("shorten it", "a line of more than %d bytes", fleet.MaxAnswerText)
		}
	}
	return s.d.AnswerFleet(r.Context(), req)
}

// FleetEvidence returns the lines that led to a ban, from the host, which is asked for them, or from this one if host is empty.
func (c *Client) FleetEvidence(ctx context.Context, host, prefix, jail string) (*FleetEvidence, error) {
	q := url.Values{"prefix": {prefix}, "jail": {jail}}
	if host != "" {
		q.Set("host", host)
	}
	return get[FleetEvidence](ctx, c, "/v1/fleet/evidence", q)
}

// AnswerFleet passes on the answer of another host.
func (c *Client) AnswerFleet(ctx context.Context, v FleetEvidence) (*FleetEvidence, error) {
	return do[FleetEvidence](ctx, c, http.MethodPut, "/v1/fleet/evidence", nil, v)
}
