package daemon

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"

	"bailiff/cmd/internal/geo"
	"bailiff/policy/state"
	"bailiff/units/control"
)

// maxFacets bounds each list of facets.
const maxFacets = 100

// search is a query for bans, and what it has found.
type search struct {
	control.BanQuery
	text string  // of Search, in lower case
	db   *geo.DB // nil: countries are not asked for

	jails, origins, reasons, countries map[string]int
}

func newSearch(q control.BanQuery) *search {
	return &search{BanQuery: q, text: strings.ToLower(q.Search)}
}

// Bans copies the bans on the owner's goroutine, and does the rest in its own. A copy of 100,000 bans is 14 MB, so only one search runs
// at a time.
func (a *controlAPI) Bans(ctx context.Context, q control.BanQuery, within netip.Prefix) (*control.BanList, error) {
	s := newSearch(q)
	free, err := slot(ctx, a.searches)
	if err != nil {
		return nil, err
	}
	defer free()
	var all []state.Ban
	err = a.do(ctx, func() {
		a.d.memory.noteAlloc()
		bans := a.d.state
		if q.Observed {
			bans = a.d.eng.Observed()
		}
		narrow := within.IsValid() || q.Jail != "" && !q.Facets
		if !narrow {
			all = make([]state.Ban, 0, bans.Len())
		}
		for b := range bans.All() {
			if narrow && (within.IsValid() && !b.Prefix.Overlaps(within) || q.Jail != "" && !q.Facets && b.Jail != q.Jail) {
				continue
			}
			all = append(all, b)
		}
	})
	if err != nil {
		return nil, err
	}
	if q.Facets || q.Country != "" {
		if s.db, err = geo.Open(); err != nil {
			a.logGeo(err)
		}
		defer s.db.Close()
	}
	return s.run(ctx, all)
}

// run selects, counts, sorts and takes a page.
func (s *search) run(ctx context.Context, all []state.Ban) (*control.BanList, error) {
	if s.Facets {
		s.jails, s.origins, s.reasons, s.countries = make(map[string]int), make(map[string]int), make(map[string]int), make(map[string]int)
	}
	found := make([]*state.Ban, 0, len(all))
	for i := range all {
		if i&0xfff == 0 && ctx.Err() != nil {
			return nil, errBusy
		}
		if s.take(&all[i]) {
			found = append(found, &all[i])
		}
	}
	if s.Newest {
		slices.SortStableFunc(found, func(a, b *state.Ban) int { return cmp.Compare(b.Since, a.Since) })
	}
	l := &control.BanList{Bans: []control.Ban{}, Total: len(found)}
	if s.After != "" {
		p, jail, _ := strings.Cut(s.After, " ")
		after, _ := netip.ParsePrefix(p)
		i := slices.IndexFunc(found, func(b *state.Ban) bool { return b.Prefix == after && b.Jail == jail })
		if i < 0 {
			return nil, control.BadRequest("start again with the first page", "there is no ban %q to continue after", s.After)
		}
		found = found[i+1:]
	}
	if len(found) > s.Limit {
		found = found[:s.Limit]
		l.Next = banKey(found[s.Limit-1])
	}
	for _, x := range found {
		b := controlBan(x)
		b.Country = s.country(x)
		l.Bans = append(l.Bans, b)
	}
	if s.Facets {
		l.Facets = &control.Facets{Jails: control.SortFacets(s.jails, maxFacets), Origins: control.SortFacets(s.origins, maxFacets), Reasons: control.SortFacets(s.reasons, maxFacets)}
		if file, _ := s.db.Files(); file != "" {
			l.Facets.Countries = control.SortFacets(s.countries, maxFacets)
		}
	}
	return l, nil
}

// take reports whether a ban matches. Each facet counts it if it matches all other filters.
func (s *search) take(b *state.Ban) bool {
	if s.text != "" && !s.holds(b) {
		return false
	}
	origin, reason := originOf(b), b.Reason
	country := s.country(b)
	misses, which := 0, 0
	for i, miss := range [...]bool{s.Jail != "" && b.Jail != s.Jail, s.Origin != "" && origin != s.Origin, s.Reason != "" && reason != s.Reason, s.Country != "" && country != s.Country} {
		if miss {
			misses++
			which = i
		}
	}
	if s.Facets {
		for i, c := range [...]struct {
			counts map[string]int
			name   string
		}{{s.jails, b.Jail}, {s.origins, origin}, {s.reasons, reason}, {s.countries, country}} {
			if misses > 1 || misses == 1 && which != i || c.name == "" {
				continue
			}
			if _, known := c.counts[c.name]; known || len(c.counts) < maxReasons {
				c.counts[c.name]++
			}
		}
	}
	return misses == 0
}

// maxReasons bounds the distinct reasons counted, since people write them.
const maxReasons = 10000

func (s *search) holds(b *state.Ban) bool {
	for _, t := range [...]string{b.Prefix.String(), b.Jail, b.Reason, b.By} {
		if strings.Contains(strings.ToLower(t), s.text) {
			return true
		}
	}
	return false
}

func (s *search) country(b *state.Ban) string {
	if s.db == nil {
		return ""
	}
	return s.db.Country(b.Prefix.Addr())
}

func originOf(b *state.Ban) string {
	if b.By != "" {
		return control.OriginHand
	}
	return control.OriginDaemon
}
