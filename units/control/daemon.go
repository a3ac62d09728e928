package control

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
)

// calls are the daemon's.
var calls = map[string]map[string]call{
	"/v1/status": {http.MethodGet: {right: read, run: plain(Daemon.Status)}},
	"/v1/bans": {
		http.MethodGet:    {right: read, query: []string{"jail", "prefix", "observed", "limit", "after", "search", "origin", "reason", "country", "sort", "facets"}, run: (*Server).bans},
		http.MethodPost:   {right: admin, body: true, run: (*Server).ban},
		http.MethodDelete: {right: admin, query: []string{"prefix", "jail", "all"}, run: (*Server).unban},
	},
	"/v1/allow": {
		http.MethodGet:    {right: read, query: []string{"address"}, run: (*Server).allowed},
		http.MethodPost:   {right: admin, body: true, run: (*Server).allow},
		http.MethodDelete: {right: admin, query: []string{"prefix"}, run: (*Server).disallow},
	},
	"/v1/why":             {http.MethodGet: {right: read, query: []string{"address"}, run: about("address", Daemon.Why)}},
	"/v1/firewall":        {http.MethodGet: {right: read, run: plain(Daemon.Firewall)}},
	"/v1/firewall/repair": {http.MethodPost: {right: admin, query: []string{"force"}, run: (*Server).repairFirewall, limit: repairTime}},
	"/v1/events":          {http.MethodGet: {right: read, query: []string{"quiet"}, run: (*Server).events}},
	"/v1/history":         {http.MethodGet: {right: read, query: []string{"since", "prefix", "jail", "reason", "country", "limit", "accounts", "lifted"}, run: (*Server).history}},
	"/v1/filters":         {http.MethodGet: {right: read, run: plain(Daemon.Filters)}},
	"/v1/match":           {http.MethodGet: {right: read, query: []string{"line", "filter", "mode"}, run: (*Server).match}},
	"/v1/config":          {http.MethodGet: {right: read, run: (*Server).config}},
	"/v1/reload":          {http.MethodPost: {right: reload, run: (*Server).reload}},
	"/metrics":            {http.MethodGet: {right: read, run: (*Server).metrics}},
	"/v1/lists":           {http.MethodGet: {right: read, run: plain(Daemon.BlockLists)}},
	"/v1/fleet": {
		http.MethodGet:  {right: read, run: plain(Daemon.Fleet)},
		http.MethodPost: {right: fleetNews, body: true, maxBody: 256 << 10, run: (*Server).postFleet},
	},
	"/v1/fleet/hosts":    {http.MethodPut: {right: fleetNews, body: true, maxBody: 2 << 20, run: (*Server).putFleetHosts}},
	"/v1/fleet/failures": {http.MethodPost: {right: fleetNews, body: true, maxBody: 512 << 10, run: (*Server).postFleetFailures}},
	"/v1/fleet/evidence": {
		http.MethodGet: {right: read, query: []string{"host", "prefix", "jail"}, run: (*Server).getFleetEvidence},
		http.MethodPut: {right: fleetNews, body: true, run: (*Server).putFleetEvidence},
	},
	"/v1/fleet/agent": {http.MethodPut: {right: fleetNews, body: true, run: (*Server).putFleetAgent}},
}

func (s *Server) ban(r *http.Request, _ url.Values, by Peer) (any, error) {
	var req BanRequest
	if err := body(r, &req); err != nil {
		return nil, err
	}
	if len(req.Prefixes) == 0 {
		return nil, BadRequest(`{"prefixes": ["192.0.2.7"]}`, "prefixes: empty")
	}
	var prefixes []netip.Prefix
	for i, text := range req.Prefixes {
		p, err := prefix(fmt.Sprintf("prefixes[%d]", i), text)
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, p)
	}
	return s.d.Ban(r.Context(), by, req, prefixes)
}

func (s *Server) unban(r *http.Request, q url.Values, by Peer) (any, error) {
	text := q.Get("prefix")
	all, err := yes(q, "all")
	var p netip.Prefix
	switch {
	case err != nil:
	case all && text != "":
		err = BadRequest("give one of the two", "both prefix and all")
	case !all && text == "":
		err = BadRequest("prefix=192.0.2.7, or all=true", "neither prefix nor all")
	case !all:
		p, err = prefix("prefix", text)
	}
	if err != nil {
		return nil, err
	}
	return s.d.Unban(r.Context(), by, p, q.Get("jail"))
}

func (s *Server) allowed(r *http.Request, q url.Values, by Peer) (any, error) {
	if q.Has("address") {
		return about("address", Daemon.AllowWhy)(s, r, q, by)
	}
	return s.d.Allowed(r.Context())
}

func (s *Server) allow(r *http.Request, _ url.Values, by Peer) (any, error) {
	var req AllowRequest
	if err := body(r, &req); err != nil {
		return nil, err
	}
	p, err := prefix("prefix", req.Prefix)
	if err != nil {
		return nil, err
	}
	return s.d.Allow(r.Context(), by, req, p)
}

func (s *Server) disallow(r *http.Request, q url.Values, by Peer) (any, error) {
	p, err := prefix("prefix", q.Get("prefix"))
	if err != nil {
		return nil, err
	}
	return s.d.Disallow(r.Context(), by, p)
}

func (s *Server) repairFirewall(r *http.Request, q url.Values, by Peer) (any, error) {
	force, err := yes(q, "force")
	if err != nil {
		return nil, err
	}
	return s.d.RepairFirewall(r.Context(), by, force)
}

func (s *Server) reload(r *http.Request, _ url.Values, by Peer) (any, error) {
	return s.d.Reload(r.Context(), by)
}

func (s *Server) config(r *http.Request, _ url.Values, _ Peer) (any, error) {
	b, err := s.d.Config(r.Context())
	return document{"text/yaml; charset=utf-8", b}, err
}
