package control

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Origins of a ban.
const (
	OriginDaemon = "daemon" // a decision
	OriginHand   = "hand"   // somebody's order
)

// maxSearch bounds a text that is searched for, in bytes.
const maxSearch = 256

// Facet is how many bans have one value of a property.
type Facet struct {
	Name string `json:"name"`
	Bans int    `json:"bans"`
}

// Facets count the bans that match a query, by properties. Each list ignores the query's own filter by that property, so that it
// shows what other values would find. The most frequent are first.
type Facets struct {
	Jails     []Facet `json:"jails"`
	Origins   []Facet `json:"origins"`
	Reasons   []Facet `json:"reasons"`
	Countries []Facet `json:"countries" null:"true"` // null: the host has no GeoIP database
}

func (s *Server) bans(r *http.Request, q url.Values, _ Peer) (any, error) {
	ask := BanQuery{Jail: q.Get("jail"), Prefix: q.Get("prefix"), After: q.Get("after"), Search: q.Get("search"), Origin: q.Get("origin"), Reason: q.Get("reason"), Country: q.Get("country")}
	var err error
	if ask.Limit, err = limit(q, defaultLimit, maxLimit, "; go on with after="); err != nil {
		return nil, err
	}
	var within netip.Prefix
	if ask.Prefix != "" {
		if within, err = prefix("prefix", ask.Prefix); err != nil {
			return nil, err
		}
	}
	if len(ask.Search) > maxSearch {
		return nil, BadRequest("", "search: more than %d bytes", maxSearch)
	}
	ask.Search = strings.TrimSpace(ask.Search)
	if p, err := prefix("search", ask.Search); err == nil {
		if within.IsValid() {
			return nil, BadRequest("give one of the two", "both prefix and an address to search for")
		}
		within, ask.Search = p, ""
	}
	if ask.Origin != "" && ask.Origin != OriginDaemon && ask.Origin != OriginHand {
		return nil, BadRequest("origin is daemon or hand", "origin: %.20q", ask.Origin)
	}
	switch sort := q.Get("sort"); sort {
	case "", "prefix":
	case "newest":
		ask.Newest = true
	default:
		return nil, BadRequest("sort is prefix or newest", "sort: %.20q", sort)
	}
	if ask.Observed, err = yes(q, "observed"); err != nil {
		return nil, err
	}
	if ask.Facets, err = yes(q, "facets"); err != nil {
		return nil, err
	}
	return s.d.Bans(r.Context(), ask, within)
}

// limit parses a parameter that bounds an answer.
func limit(q url.Values, usual, most int, more string) (int, error) {
	l := q.Get("limit")
	if l == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(l)
	if err != nil || n < 1 || n > most {
		return 0, BadRequest(fmt.Sprintf("a number from 1 to %d%s", most, more), "limit: %.20q", l)
	}
	return n, nil
}

// SortFacets makes a list of counts, the most frequent first.
func SortFacets(counts map[string]int, most int) []Facet {
	l := make([]Facet, 0, len(counts))
	for name, n := range counts {
		l = append(l, Facet{name, n})
	}
	slices.SortFunc(l, func(a, b Facet) int { return cmp.Or(b.Bans-a.Bans, strings.Compare(a.Name, b.Name)) })
	return l[:min(len(l), most)]
}
