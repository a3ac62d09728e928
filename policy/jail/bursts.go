package jail

import (
	"cmp"
	"time"

	"bailiff/policy/codec"
)

// Bursts recognizes failures that are a single attempt, made by a program over several connections at once: a mail program
// opens three to five, each with the password that was typed once.
type Bursts struct {
	m map[uint64]burst
}

// burst is an account at a prefix.
type burst struct {
	at    int64 // its first failure
	lines uint8
}

const (
	maxBursts = 1 << 12
)

// Again reports whether a failure belongs to a burst that began less than within ago. A burst has up to most lines; the next line begins a
// new one. id stands for an account and a prefix.
func (b *Bursts) Again(id uint64, at int64, within time.Duration, most int) bool {
	x, ok := b.m[id]
	if ok && near(at, x.at, within) {
		if int(x.lines) < most {
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

// Stream writes or reads all entries.
func (b *Bursts) Stream(s *codec.Stream) {
	if s.Reading {
		b.m = make(map[uint64]burst)
	}
	codec.Map(s, b.m, 10, cmp.Compare[uint64], func(id *uint64, x *burst) {
		s.Fixed64(id)
		s.Time(&x.at)
		s.Byte(&x.lines)
	})
	s.Check(len(b.m) <= maxBursts, "more bursts than there should be")
}
