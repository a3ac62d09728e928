// Package state holds what the daemon must not forget, the content of its state file: bans in force, the history that escalation
// needs, what an operator pardoned, addresses allowed at run time, and how far the journal was read. It is pure: it reads no clock
// and writes no file; time comes in as microseconds since 1970, and file.go turns the whole into bytes and back.
//
// Start reading at State. bans.go has the bans, history.go what was banned before, pardons.go what does not count.
package state

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/prefix"
)

// State is the whole state. One goroutine uses it.
type State struct {
	cursor string
	bans
	history
	pardons
	allowed map[prefix.Key]allow.Entry
	counts  []byte // counts from a state file, until TakeCounts
	tidied  int64  // when forgotten entries were last dropped
}

// maxAllowed bounds the run-time allow list.
const maxAllowed = 1 << 16

// New returns an empty state.
func New() *State {
	return &State{
		bans:    newBans(),
		allowed: make(map[prefix.Key]allow.Entry),
	}
}

// Cursor returns the journal position to which the state belongs; "" if nothing was read yet.
func (s *State) Cursor() string { return s.cursor }

// SetCursor sets how far the journal was read.
func (s *State) SetCursor(c string) { s.cursor = c }

// Expire removes and returns the bans that are over at now, the earliest end first. It also drops entries that are too old at read, the
// time up to which the journal was read.
func (s *State) Expire(now, read int64) []Ban {
	if s.tidied > read || read-s.tidied >= tidyEvery {
		s.tidied = read
		s.history.tidy(read)
		s.pardons.tidy(read)
	}
	maps.DeleteFunc(s.allowed, func(_ prefix.Key, a allow.Entry) bool { return !a.Until.IsZero() && a.Until.UnixMicro() <= now })
	return s.bans.expire(now)
}

// Allow adds a prefix to the run-time allow list. It returns false if the list is full.
func (s *State) Allow(e allow.Entry) bool {
	k := prefix.OfPrefix(e.Prefix)
	if _, ok := s.allowed[k]; !ok && len(s.allowed) >= maxAllowed {
		return false
	}
	s.allowed[k] = e
	return true
}

// Disallow removes a prefix from the run-time allow list. It returns false if the prefix is not on it.
func (s *State) Disallow(p netip.Prefix) bool {
	k := prefix.OfPrefix(p)
	_, ok := s.allowed[k]
	delete(s.allowed, k)
	return ok
}

// Allowed returns the run-time allow list, sorted.
func (s *State) Allowed() []allow.Entry {
	list := make([]allow.Entry, 0, len(s.allowed))
	for _, k := range sorted(s.allowed) {
		list = append(list, s.allowed[k])
	}
	return list
}

// sorted returns the keys of a map: IPv4 before IPv6, by address, wide before narrow.
func sorted[V any](m map[prefix.Key]V) []prefix.Key {
	keys := make([]prefix.Key, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, prefix.Order)
	return keys
}

// tidyEvery is how often entries that are too old are dropped, in microseconds.
const tidyEvery = int64(time.Hour / time.Microsecond)

// lengths are the prefix lengths that occur, or have occurred, in a map, by family. To find the prefixes that contain an address, only
// these lengths, usually one or two, must be looked up.
type lengths [2][]uint8

func (l *lengths) add(k prefix.Key) {
	f := &l[family(k)]
	if i, ok := slices.BinarySearch(*f, uint8(k.Bits())); !ok {
		*f = slices.Insert(*f, i, uint8(k.Bits()))
	}
}

// of returns the lengths for the family of k, wide prefixes first.
func (l *lengths) of(k prefix.Key) []uint8 { return l[family(k)] }

func family(k prefix.Key) int {
	if k.V6() {
		return 1
	}
	return 0
}
