package filter

import (
	"slices"
	"strings"
)

// maxCover is the number of texts that are searched for in a line before anything else: each search costs as much as a few steps. Texts
// shorter than minCover occur in most lines.
const (
	maxCover = 6
	minCover = 4
)

// cover returns a list of texts such that every matching line contains at least one; nil if more than maxCover would be needed.
func cover(patterns []*Pattern) (l [][]byte) {
	var left [][][]string // for each pattern, sets of texts: every line contains one text of each set
	for _, p := range patterns {
		sets := p.holds()
		if len(sets) == 0 {
			return nil
		}
		left = append(left, sets)
	}
	within := func(sets [][]string, text string) bool {
		return slices.ContainsFunc(sets, func(set []string) bool {
			return !slices.ContainsFunc(set, func(s string) bool { return !strings.Contains(s, text) })
		})
	}
	for len(left) > 0 {
		// First the longest text that most patterns have in common …
		count, best := 1, ""
		for _, sets := range left {
			for _, set := range sets {
				n := 0
				for _, other := range left {
					if within(other, set[0]) {
						n++
					}
				}
				if n > count || n == count && len(set) == 1 && len(set[0]) > len(best) {
					count, best = n, set[0]
				}
			}
		}
		add := []string{best}
		if best == "" { // … then the smallest set of a pattern
			add = slices.MinFunc(left[0], func(a, b []string) int { return len(a) - len(b) })
		}
		for _, s := range add {
			l = append(l, []byte(s))
		}
		if len(l) > maxCover {
			return nil
		}
		left = slices.DeleteFunc(left, func(sets [][]string) bool {
			return slices.ContainsFunc(sets, func(set []string) bool {
				return !slices.ContainsFunc(set, func(s string) bool {
					return !slices.ContainsFunc(add, func(a string) bool { return strings.Contains(s, a) })
				})
			})
		})
	}
	return l
}

// holds returns sets of texts: every line that matches the pattern contains at least one text of each set.
func (p *Pattern) holds() (l [][]string) {
	if p.re != nil {
		if len(p.re.literal) >= minCover {
			l = append(l, []string{string(p.re.literal)})
		}
		return l
	}
	for _, s := range p.node.subs {
		if set := s.holds(); set != nil {
			l = append(l, set)
		}
	}
	return l
}

// holds returns a set of texts such that every match of the node contains one; nil if there is none, or only with short texts.
func (n *node) holds() (set []string) {
	switch n.kind {
	case nodeLit:
		if len(n.lit) >= minCover {
			return []string{n.lit}
		}
	case nodeSeq:
		for _, s := range n.subs {
			if h := s.holds(); h != nil && (set == nil || len(h) < len(set)) {
				set = h
			}
		}
		return set
	case nodeAlt:
		for _, s := range n.subs {
			h := s.holds()
			if h == nil {
				return nil
			}
			set = append(set, h...)
		}
		return set
	}
	return nil
}
