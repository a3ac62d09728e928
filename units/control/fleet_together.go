package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"bailiff/policy/fleet"
)

// MaxFleetSummaries is how many summaries one call takes.
const MaxFleetSummaries = 64

// FleetSummaries are what hosts say about failures that are counted together. The caller has proven who said it.
type FleetSummaries struct {
	Host      string         `json:"host"`      // the name of this host in its fleet
	Summaries []FleetSummary `json:"summaries"` // of other hosts; MaxFleetSummaries at most

	// Another call follows at once: the answer has no summary of this host.
	More bool `json:"more,omitempty"`
}

// FleetSummary is what a host has signed.
type FleetSummary struct {
	Host    string `json:"host"`
	Payload []byte `json:"payload"` // as policy/fleet encodes it
}

// FleetSummariesTaken is what became of summaries, and what this host has to say itself. That is told once, except for prefixes known
// as good: the caller sends it.
type FleetSummariesTaken struct {
	On      bool           `json:"on"` // whether failures are counted together (fleet.together)
	Refused map[string]int `json:"refused"`
	Summary []byte         `json:"summary,omitempty"` // to be signed and sent; missing: nothing
}

// FleetTogether is what failures that many hosts have counted together have led to.
type FleetTogether struct {
	Hosts     int    `json:"hosts"`     // that must have counted failures
	Failures  int    `json:"failures"`  // of all of them
	Watched   int    `json:"watched"`   // prefixes of which failures are counted
	Good      int    `json:"good"`      // prefixes that a host knows as good
	Bans      int    `json:"bans"`      // because of it
	Prevented uint64 `json:"prevented"` // bans that did not come since the start, because a host knew the prefix as good
	Refused   uint64 `json:"refused"`   // prefixes in summaries that were left out since the start: limits, or a wrong form

	Latest []FleetJoint `json:"latest"` // the newest of the bans: MaxFleetJoint at most
}

// MaxFleetJoint is how many bans FleetTogether shows.
const MaxFleetJoint = 20

// FleetJoint is a ban for what hosts have counted together.
type FleetJoint struct {
	Prefix   string    `json:"prefix"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Failures int       `json:"failures"`
	Hosts    int       `json:"hosts"`  // that have counted them
	Groups   int       `json:"groups"` // of these hosts
}

// FleetCounted is what is counted together of a prefix.
type FleetCounted struct {
	Prefix   string   `json:"prefix"`
	Hosts    []string `json:"hosts"` // that have counted failures: some of them
	HostsAll int      `json:"hosts_all"`
	Failures int      `json:"failures"`
	Accounts int      `json:"accounts,omitempty"` // different ones, whichever host is left out; not for a ban
	Good     []string `json:"good"`               // hosts that know the prefix as good, which prevents a ban
	Banned   bool     `json:"banned"`
}

func (s *Server) postFleetFailures(r *http.Request, _ url.Values, _ Peer) (any, error) {
	var req FleetSummaries
	if err := body(r, &req); err != nil {
		return nil, err
	}
	if len(req.Summaries) > MaxFleetSummaries {
		return nil, BadRequest("send them in several calls", "summaries: %d, more than %d", len(req.Summaries), MaxFleetSummaries)
	}
	if !fleet.ValidHost(req.Host) {
		return nil, BadRequest("write the name that the host has in its fleet", "host: %q is not the name of a host", req.Host)
	}
	for i, x := range req.Summaries {
		if len(x.Payload) > fleet.MaxSummary {
			return nil, BadRequest("leave it out", fmt.Sprintf("summaries[%d]", i)+": %d bytes, more than %d", len(x.Payload), fleet.MaxSummary)
		}
	}
	return s.d.CountFleet(r.Context(), req)
}

// CountFleet passes on summaries of failures and takes the one of this host.
func (c *Client) CountFleet(ctx context.Context, v FleetSummaries) (*FleetSummariesTaken, error) {
	return do[FleetSummariesTaken](ctx, c, http.MethodPost, "/v1/fleet/failures", nil, v)
}
