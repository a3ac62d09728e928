package control

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"bailiff/policy/fleet"
)

// FleetUser is the user who passes on the bans of other hosts, besides root.
const FleetUser = "bailiff-fleet"

// MaxFleetNews is how many pieces of news one call takes.
const MaxFleetNews = 500

// FleetNews is news of other hosts about their bans.
type FleetNews struct {
	// Live says that the news has just been sent. Its rate is limited, in contrast to news that was missed and is read again.
	Live bool       `json:"live"`
	News []FleetBan `json:"news"` // MaxFleetNews at most
}

// FleetBan is a ban of another host. The caller has proven that the host said so.
type FleetBan struct {
	Host     string     `json:"host"`
	Prefix   string     `json:"prefix"`
	Jail     string     `json:"jail"` // of that host
	Since    time.Time  `json:"since"`
	Until    *time.Time `json:"until"`            // null: forever
	Lifted   bool       `json:"lifted,omitempty"` // it was ended early
	Reason   string     `json:"reason,omitempty"`
	Failures int        `json:"failures,omitempty"`
}

// FleetApplied is what became of news.
type FleetApplied struct {
	Accepted int            `json:"accepted"`
	Changed  int            `json:"changed"` // prefixes that are banned, or no longer banned, by it
	Refused  map[string]int `json:"refused"` // number of refused pieces by reason
}

// FleetHosts are the hosts of a fleet. The caller has proven that an operator of the fleet has signed the list.
type FleetHosts struct {
	Fleet  string            `json:"fleet"`  // name
	Serial uint64            `json:"serial"` // greater with each change: an older list is refused with status 409
	Hosts  map[string]string `json:"hosts"`  // with their groups
	Allow  []FleetAllowed    `json:"allow"`  // what the fleet's operators never want to be banned
	Hub    []string          `json:"hub"`    // addresses of the hub's servers and of this host's name servers: bans of other hosts that contain one are refused and lifted
}

// FleetAllowed is a prefix that an operator of the fleet allows on all hosts.
type FleetAllowed struct {
	Prefix  string     `json:"prefix"`
	Until   *time.Time `json:"until"` // null: forever
	By      string     `json:"by"`    // operator
	Comment string     `json:"comment,omitempty"`
}

// FleetHostsSet is what is known of the fleet's hosts after a call.
type FleetHostsSet struct {
	Used   bool   `json:"used"` // whether fleet.hosts is roster; if not, the hosts of the configuration are trusted
	Fleet  string `json:"fleet"`
	Serial uint64 `json:"serial"`
	Hosts  int    `json:"hosts"`
}

// FleetStatus is what is known of other hosts' bans.
type FleetStatus struct {
	Roster   FleetHostsSet `json:"roster"`
	Hosts    []FleetHost   `json:"hosts"`
	Votes    int           `json:"votes"`     // groups that must ban a prefix
	Bans     int           `json:"bans"`      // accepted, of all hosts
	InEffect int           `json:"in_effect"` // prefixes that are banned by them
	Clashes  Prefixes      `json:"clashes"`   // that would be banned if this host did not allow them

	Together *FleetTogether `json:"together,omitempty"` // missing: failures on many hosts are not counted together

	Agent *FleetAgentStatus `json:"agent"` // null: bailiff-fleet has not reported since the start
}

// FleetHost is a host whose bans are accepted.
type FleetHost struct {
	Name    string            `json:"name"`
	Group   string            `json:"group"`
	Bans    int               `json:"bans"`                  // accepted
	Latest  *time.Time        `json:"latest"`                // when its latest news was accepted; null: none since the start
	Ahead   float64           `json:"clock_ahead,omitempty"` // seconds by which its clock is ahead
	Clashes uint64            `json:"clashes"`               // its bans of what this host allows, since the start
	Refused map[string]uint64 `json:"refused"`               // refused news since the start, by reason
}

// FleetWhy is a ban of another host that covers an address.
type FleetWhy struct {
	FleetBan
	Group    string         `json:"group"`
	Evidence *FleetEvidence `json:"evidence,omitempty"` // bailiff why asks the host for it (GET /v1/fleet/evidence)
}

func (s *Server) postFleet(r *http.Request, _ url.Values, _ Peer) (any, error) {
	var req FleetNews
	if err := body(r, &req); err != nil {
		return nil, err
	}
	if len(req.News) > MaxFleetNews {
		return nil, BadRequest("send them in several calls", "news: %d pieces, more than %d", len(req.News), MaxFleetNews)
	}
	news := make([]fleet.News, len(req.News))
	for i, x := range req.News {
		p, err := prefix(fmt.Sprintf("news[%d].prefix", i), x.Prefix)
		if err != nil {
			return nil, err
		}
		news[i] = fleet.News{Host: x.Host, Prefix: p, Jail: x.Jail, Since: x.Since.UnixMicro(), Until: fleet.Forever, Lifted: x.Lifted, Reason: x.Reason, Failures: x.Failures}
		if x.Until != nil {
			news[i].Until = x.Until.UnixMicro()
		}
	}
	return s.d.ApplyFleet(r.Context(), news, req.Live)
}

func (s *Server) putFleetHosts(r *http.Request, _ url.Values, _ Peer) (any, error) {
	var req FleetHosts
	if err := body(r, &req); err != nil {
		return nil, err
	}
	roster := fleet.Roster{Fleet: req.Fleet, Serial: req.Serial, Hosts: req.Hosts}
	for i, a := range req.Allow {
		p, err := prefix(fmt.Sprintf("allow[%d].prefix", i), a.Prefix)
		if err != nil {
			return nil, err
		}
		x := fleet.Allowed{Prefix: p, Until: fleet.Forever, By: a.By, Comment: a.Comment}
		if a.Until != nil {
			x.Until = a.Until.UnixMicro()
		}
		roster.Allow = append(roster.Allow, x)
	}
	for i, s := range req.Hub {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, BadRequest("an address such as 192.0.2.1", "hub[%d]: %q is not an address", i, s)
		}
		roster.Hub = append(roster.Hub, a.Unmap().WithZone(""))
	}
	return s.d.SetFleetHosts(r.Context(), roster)
}

// SetFleetHosts passes on the hosts of the fleet's roster.
func (c *Client) SetFleetHosts(ctx context.Context, h FleetHosts) (*FleetHostsSet, error) {
	return do[FleetHostsSet](ctx, c, http.MethodPut, "/v1/fleet/hosts", nil, h)
}

// Fleet returns what is known of other hosts' bans.
func (c *Client) Fleet(ctx context.Context) (*FleetStatus, error) {
	return get[FleetStatus](ctx, c, "/v1/fleet", nil)
}

// ApplyFleet passes on news of other hosts.
func (c *Client) ApplyFleet(ctx context.Context, n FleetNews) (*FleetApplied, error) {
	return do[FleetApplied](ctx, c, http.MethodPost, "/v1/fleet", nil, n)
}
