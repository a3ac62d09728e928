package control

import (
	"context"
	"net/http"
	"net/url"
)

// FilterInfo is a filter that a jail of the configuration names.
type FilterInfo struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Notes       string          `json:"notes"` // what counts as evidence and why
	File        string          `json:"file"`
	Modes       []string        `json:"modes"` // the first is the default
	Jails       []FilterUse     `json:"jails"`
	Trust       string          `json:"trust"` // whose entries count
	Patterns    []FilterPattern `json:"patterns"`
}

// FilterUse is a jail that uses a filter.
type FilterUse struct {
	Jail    string `json:"jail"`
	Mode    string `json:"mode"`
	Enabled bool   `json:"enabled"`
}

// FilterPattern is one pattern of a filter.
type FilterPattern struct {
	Name  string   `json:"name"`
	Kind  string   `json:"kind"` // what its lines say of an attempt: failure, success, …
	Text  string   `json:"text"` // the template or regular expression
	Modes []string `json:"modes"`
	Line  int      `json:"line"` // of the file
}

// MatchQuery is a line to try on filters.
type MatchQuery struct {
	Line   string
	Filter string // empty: all; the answer has those that match
	Mode   string // of the filter; empty: that of its first enabled jail, else the default
}

// Match is how a line matched a filter, as `bailiff match --explain` shows it. The line does not say who wrote it, and whether its
// writer is trusted is not part of the answer.
type Match struct {
	Filter  string     `json:"filter"`
	Mode    string     `json:"mode"`
	Kind    string     `json:"kind"` // of the pattern; "none" if none matches in this mode
	Pattern string     `json:"pattern,omitempty"`
	Address string     `json:"address,omitempty"`
	Port    uint16     `json:"port,omitempty"`
	User    string     `json:"user,omitempty"`
	Repeat  int        `json:"repeat"` // attempts that the line stands for
	Modes   []string   `json:"modes"`  // in which the line matches
	Trust   string     `json:"trust"`  // whose entries count
	Refused string     `json:"refused,omitempty"`
	Tries   []MatchTry `json:"tries"` // those that came nearest
}

// MatchTry is a pattern that was tried.
type MatchTry struct {
	Pattern string `json:"pattern"`
	Text    string `json:"text"`
	InMode  bool   `json:"in_mode"`
	Matched bool   `json:"matched"`
	Begin   string `json:"begin,omitempty"`  // the line up to where the pattern stopped
	Rest    string `json:"rest,omitempty"`   // and from there
	Wanted  string `json:"wanted,omitempty"` // what it expected there
}

// maxLine bounds a line to try, in bytes. A query has to fit into a request's head.
const maxLine = 4096

func (s *Server) match(r *http.Request, q url.Values, _ Peer) (any, error) {
	ask := MatchQuery{Line: q.Get("line"), Filter: q.Get("filter"), Mode: q.Get("mode")}
	switch {
	case ask.Line == "":
		return nil, BadRequest("line=Failed+password+for+…", "no line")
	case len(ask.Line) > maxLine:
		return nil, BadRequest("", "line: more than %d bytes", maxLine)
	case ask.Mode != "" && ask.Filter == "":
		return nil, BadRequest("filter=NAME&mode=MODE", "a mode without a filter")
	}
	return s.d.Match(r.Context(), ask)
}

// Filters returns the filters that the configuration names.
func (c *Client) Filters(ctx context.Context) ([]FilterInfo, error) {
	return list[FilterInfo](ctx, c, http.MethodGet, "/v1/filters", nil, nil)
}

// Match tries a line on filters.
func (c *Client) Match(ctx context.Context, ask MatchQuery) ([]Match, error) {
	return list[Match](ctx, c, http.MethodGet, "/v1/match", query("line", ask.Line, "filter", ask.Filter, "mode", ask.Mode), nil)
}
