// Package bucket limits how often something may happen: each time takes a token from a bucket, and tokens come back steadily.
package bucket

import "time"

// Limit is a number of tokens and the time in which one token comes back.
type Limit struct {
	Size  int
	Every time.Duration
}

// PerMinute returns a limit of n per minute, all of which may come at once.
func PerMinute(n int) Limit { return Limit{n, time.Minute / time.Duration(n)} }

// Bucket holds the tokens of one sender, for example. The zero Bucket is full. A Bucket must always be used with the same limit, or with
// one that replaces it.
type Bucket struct {
	taken float64
	at    time.Time // when taken was computed
}

// Take takes a token. If there is none, it returns how long it takes until one comes back. While the clock stands still or is set back, no
// tokens come back, but none are lost.
func (b *Bucket) Take(l Limit, now time.Time) (wait time.Duration) {
	b.taken, b.at = b.left(l, now), now
	if over := b.taken + 1 - float64(l.Size); over > 0 {
		return max(1, time.Duration(over*float64(l.Every)))
	}
	b.taken++
	return 0
}

// Full reports whether all tokens are back.
func (b *Bucket) Full(l Limit, now time.Time) bool { return b.left(l, now) == 0 }

// left returns how many tokens have not come back yet.
func (b *Bucket) left(l Limit, now time.Time) float64 {
	return max(0, b.taken-float64(max(0, now.Sub(b.at)))/float64(l.Every))
}
