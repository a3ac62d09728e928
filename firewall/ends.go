package firewall

import "time"

// Ends turns the wall clock's ends of bans into what the kernel counts, which is its own, monotonic, seconds. The zero Ends
// is not ready for use.
type Ends struct{ start time.Time }

// NewEnds begins to count.
func NewEnds() Ends { return Ends{time.Now().Add(-time.Second)} } // so that what ends now does not end at 0, which is never

// Now is the present moment in seconds since NewEnds.
func (e Ends) Now(now time.Time) uint32 { return uint32(now.Sub(e.start) / time.Second) }

// End turns Until into seconds since NewEnds, rounded up: 0 for ever, at most max from now. ok is false for what is over.
// now is time.Now(), which holds both the wall's and the monotonic reading; until is the wall's.
func (e Ends) End(until, now time.Time, max time.Duration) (end uint32, ok bool) {
	if until.IsZero() {
		return 0, true
	}
	left := until.Round(0).Sub(now.Round(0))
	if left <= 0 {
		return 0, false
	}
	left = min(left, max)
	return uint32((now.Sub(e.start) + left + time.Second - 1) / time.Second), true
}

// Left is the reverse of End: how many seconds to tell the kernel now, 0 for ever and at least 1 else.
func (e Ends) Left(end uint32, now time.Time) uint32 {
	if end == 0 {
		return 0
	}
	return uint32(max(int64(end)-int64(e.Now(now)), 1))
}
