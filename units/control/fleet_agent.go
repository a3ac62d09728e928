package control

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// maxAgentText bounds each text of FleetAgent, in bytes.
const maxAgentText = 512

// FleetAgent is what bailiff-fleet says of itself, every few seconds and when something changes.
type FleetAgent struct {
	Hub       string    `json:"hub"`                // the server it is connected to; empty: none
	Since     time.Time `json:"since"`              // since when it is, or is not, connected
	Error     string    `json:"error,omitempty"`    // what is wrong
	Behind    uint64    `json:"behind"`             // messages of the hub that were not read yet
	Latest    time.Time `json:"latest"`             // when news was handed on last; zero: none since its start
	Published int       `json:"published"`          // bans of this host that the hub holds
	Waiting   int       `json:"waiting"`            // bans of this host that it does not hold yet
	Rejected  uint64    `json:"rejected"`           // messages since its start that no host of the fleet has signed
	Flooding  string    `json:"flooding,omitempty"` // the host that sends more than is read
}

// FleetAgentStatus is FleetAgent as the daemon knows it.
type FleetAgentStatus struct {
	FleetAgent
	Heard time.Time `json:"heard"` // when it said so
}

func (s *Server) putFleetAgent(r *http.Request, _ url.Values, _ Peer) (any, error) {
	var req FleetAgent
	if err := body(r, &req); err != nil {
		return nil, err
	}
	for _, t := range []string{req.Hub, req.Error, req.Flooding} {
		if len(t) > maxAgentText {
			return nil, BadRequest("shorten it", "a text of %d bytes, more than %d", len(t), maxAgentText)
		}
	}
	return s.d.SetFleetAgent(r.Context(), req)
}

// SetFleetAgent passes on bailiff-fleet's own status.
func (c *Client) SetFleetAgent(ctx context.Context, a FleetAgent) (*FleetAgentStatus, error) {
	return do[FleetAgentStatus](ctx, c, http.MethodPut, "/v1/fleet/agent", nil, a)
}
