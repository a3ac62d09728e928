package state

import (
	"net/netip"
	"time"

	"bailiff/policy/prefix"
)

const (
	// maxPardons is how many pardons are kept.
	maxPardons = 1 << 18

	// pardonFor is how long a pardon is kept: no find_time is longer.
	pardonFor = 366 * 24 * time.Hour
)

// pardons are the prefixes that operators have pardoned, with the time of the last pardon.
type pardons struct {
	at      table[int64]
	lengths lengths
}

// Pardon records that an operator has pardoned a prefix: failures up to that time never count again. It replaces an earlier pardon, even
// one with a later time because the clock was set back.
func (s *pardons) Pardon(p netip.Prefix, at int64) {
	k := prefix.OfPrefix(p)
	s.lengths.add(k)
	if s.at.set(rowKey{prefix: k}, at) && s.at.n > maxPardons {
		s.at.evict(func(at *int64) int64 { return *at })
	}
}

// Pardoned reports whether an operator has pardoned an address no longer than within after a failure at a time. Without that limit, a
// pardon given while the clock was ahead would cover failures that come after the clock was corrected.
func (s *pardons) Pardoned(a netip.Addr, at, within int64) bool {
	if s.at.n == 0 {
		return false
	}
	own := prefix.OfAddr(a)
	for _, bits := range s.lengths.of(own) {
		if t := s.at.get(rowKey{prefix: own.Cut(int(bits))}); t != nil && at <= *t && *t-at < within {
			return true
		}
	}
	return false
}

// ShiftPardons moves all pardons by this many microseconds, because the clock was set.
func (s *pardons) ShiftPardons(by int64) {
	for _, at := range s.at.all() {
		*at += by
	}
}

// tidy drops pardons that are too old.
func (s *pardons) tidy(now int64) {
	s.at.deleteFunc(func(_ rowKey, at *int64) bool { return now-*at > pardonFor.Microseconds() })
	if s.at.n == 0 {
		s.lengths = lengths{}
	}
}
