package state

import (
	"maps"
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

// pardons are what operators lifted bans of.
type pardons struct {
	at      map[prefix.Key]int64 // the time of the last pardon
	lengths lengths
	tidied  int64 // when expire looked last
}

// Pardon notes that an operator lifted what stood against a prefix: failures up to then never count again. It replaces an
// earlier pardon, also one that lies ahead: the clock was set back.
func (s *pardons) Pardon(p netip.Prefix, at int64) {
	k := prefix.OfPrefix(p)
	s.at[k] = at
	s.lengths.add(k)
	if len(s.at) > maxPardons {
		drop(s.at, func(at int64) int64 { return at })
	}
}

// Pardoned says whether a failure of an address at a moment was forgiven by an operator within a time after it. The time
// keeps a pardon that was given while the clock was ahead from forgiving what comes once it is right.
func (s *pardons) Pardoned(a netip.Addr, at, within int64) bool {
	if len(s.at) == 0 {
		return false
	}
	own := prefix.OfAddr(a)
	for _, bits := range s.lengths.of(own) {
		if t, ok := s.at[own.Cut(int(bits))]; ok && at <= t && t-at < within {
			return true
		}
	}
	return false
}

// ShiftPardons moves all pardons by this many microseconds, because the clock was set.
func (s *pardons) ShiftPardons(by int64) {
	for k := range s.at {
		s.at[k] += by
	}
}

// expire drops what is forgotten.
func (s *pardons) expire(now int64) {
	if s.tidied <= now && now-s.tidied < tidyEvery {
		return
	}
	s.tidied = now
	maps.DeleteFunc(s.at, func(_ prefix.Key, at int64) bool { return now-at > pardonFor.Microseconds() })
	if len(s.at) == 0 {
		*s = pardons{at: make(map[prefix.Key]int64), tidied: now}
	}
}
