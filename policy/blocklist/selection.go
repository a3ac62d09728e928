package blocklist

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bailiff/policy/prefix"
)

// The widest networks accepted from a database, far wider than any that one country or system has. A database with wider ones is damaged.
const (
	widestKnown4 = 5
	widestKnown6 = 8
)

// Selects describes what a list of FormatMMDB holds, such as "all but countries AT DE"; "" for other lists. Two lists with the same text
// select the same networks of a database.
func (l *List) Selects() string {
	if l.Format != FormatMMDB {
		return ""
	}
	var parts []string
	add := func(what string, names []string) {
		if slices.Sort(names); len(names) > 0 {
			parts = append(parts, what+" "+strings.Join(names, " "))
		}
	}
	add("countries", slices.Clone(l.Countries))
	add("systems", slices.Clone(l.Systems))
	text := strings.Join(parts, ", ")
	if l.Others {
		return "all but " + text
	}
	return text
}

// Selection collects the networks that a list selects from databases. Others selects only networks that a database contains: an address
// that is missing from the database is on no list, so an incomplete database locks nobody out.
type Selection struct {
	list         *List
	passes       int // spans of what is named
	named, known []netip.Prefix
	found        map[string]bool // by name of a country or system that the list names
	special      int             // networks that touch private addresses
}

// NewSelection returns an empty Selection of a list.
func NewSelection(l *List) *Selection {
	s := &Selection{list: l, found: make(map[string]bool)}
	for _, name := range slices.Concat(l.Countries, l.Systems) {
		s.found[name] = false
	}
	return s
}

// Add takes a network of a database, with its country and its autonomous system; "" if they are not known.
func (s *Selection) Add(p netip.Prefix, country, system string) error {
	if country == "" && system == "" {
		return nil
	}
	widest := widestKnown6
	if p.Addr().Is4() {
		widest = widestKnown4
	}
	if p.Bits() < widest {
		return fmt.Errorf("has %s, which is wider than /%d", p, widest)
	}
	named := false
	for _, name := range [2]string{country, system} {
		if _, ok := s.found[name]; ok {
			named, s.found[name] = true, true
		}
	}
	if named != s.list.Others && slices.ContainsFunc(special(p), p.Overlaps) {
		s.special++
	}
	switch {
	case named:
		s.named = append(s.named, p)
	case s.list.Others:
		s.known = append(s.known, p)
	}
	return nil
}

// Prefixes returns what the list holds, as Compact leaves it, without private addresses; leftOut is how many networks touched those.
// None of them is wider than the list accepts.
func (s *Selection) Prefixes() (l []netip.Prefix, leftOut int) {
	all := spans(s.named)
	s.passes = len(all)
	if s.list.Others {
		all = without(spans(s.known), all)
	}
	for _, x := range without(all, spans(slices.Concat(special4, special6))) {
		widest := s.list.MinPrefix6
		if x.from.Is4() {
			widest = s.list.MinPrefix4
		}
		l = x.appendPrefixes(l, widest)
	}
	return l, s.special
}

// Check decides whether the databases have all that the list names. former is Named of the last accepted version; 0 accepts any number. For
// a list of others a loss is dangerous: the fewer networks are named, the more are blocked.
func (s *Selection) Check(former int) error {
	for _, name := range slices.Concat(s.list.Countries, s.list.Systems) {
		if !s.found[name] {
			return fmt.Errorf("has no network of %s", name)
		}
	}
	if n := s.Named(); n*100 < former*s.list.MinPercent {
		return fmt.Errorf("has %d networks of what the list names, less than %d %% of the %d that it had", n, s.list.MinPercent, former)
	}
	return nil
}

// Named returns how many joined networks the databases have for the names in the list. It is valid after Prefixes.
func (s *Selection) Named() int { return s.passes }

// span is a range of addresses of one family, from the first to the last.
type span struct{ from, to netip.Addr }

// spans sorts prefixes, and joins those that touch.
func spans(l []netip.Prefix) (kept []span) {
	slices.SortFunc(l, prefix.Compare)
	for _, p := range l {
		x, n := span{p.Addr(), prefix.Last(p)}, len(kept)
		if n > 0 && kept[n-1].from.BitLen() == x.from.BitLen() {
			before := &kept[n-1]
			if next := before.to.Next(); !next.IsValid() || x.from.Compare(next) <= 0 {
				if before.to.Less(x.to) {
					before.to = x.to
				}
				continue
			}
		}
		kept = append(kept, x)
	}
	return kept
}

// without returns the addresses that are in l and not in gone. Both must be results of spans.
func without(l, gone []span) (rest []span) {
	for _, x := range l {
		for len(gone) > 0 && gone[0].to.Less(x.from) {
			gone = gone[1:]
		}
		i := 0
		for ; i < len(gone) && !x.to.Less(gone[i].from); i++ {
			if x.from.Less(gone[i].from) {
				rest = append(rest, span{x.from, gone[i].from.Prev()})
			}
			if x.from = gone[i].to.Next(); !x.from.IsValid() || x.to.Less(x.from) {
				x.from = netip.Addr{}
				break
			}
		}
		if x.from.IsValid() {
			rest = append(rest, x)
		}
	}
	return rest
}

// appendPrefixes appends the fewest prefixes that make up a span, none of them wider than /widest.
func (x span) appendPrefixes(l []netip.Prefix, widest int) []netip.Prefix {
	for from := x.from; from.IsValid() && !x.to.Less(from); {
		p := netip.PrefixFrom(from, from.BitLen())
		for p.Bits() > widest {
			wider, _ := from.Prefix(p.Bits() - 1)
			if wider.Addr() != from || x.to.Less(prefix.Last(wider)) {
				break
			}
			p = wider
		}
		l = append(l, p)
		from = prefix.Last(p).Next()
	}
	return l
}
