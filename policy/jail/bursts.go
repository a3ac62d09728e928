package jail

import "time"

// Bursts tells which failures are one attempt that a program made over several connections at once: a mail program opens
// three to five, each with the password that was typed once. What it knows is of a few seconds, and is not saved.
type Bursts struct {
	m map[uint64]burst
}

// burst is an account at a prefix.
type burst struct {
	at    int64 // its first failure
	lines uint8
}

const (
	burstTime  = 5 * time.Second
	burstLines = 5 // more than that within it are attempts of their own
	maxBursts  = 1 << 12
)

// Again says whether a failure belongs to one that was counted just before.
func (b *Bursts) Again(id uint64, at int64) bool {
	x, ok := b.m[id]
	if ok && near(at, x.at, span(burstTime)) {
		if x.lines < burstLines {
			x.lines++
			b.m[id] = x
			return true
		}
	}
	if b.m == nil || len(b.m) >= maxBursts {
		b.m = make(map[uint64]burst)
	}
	b.m[id] = burst{at, 1}
	return false
}
