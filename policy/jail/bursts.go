package jail

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"bailiff/policy/codec"
)

// Bursts tells which failures are one attempt that a program made over several connections at once: a mail program opens
// three to five, each with the password that was typed once.
type Bursts struct {
	m map[uint64]burst
}

// burst is an account at a prefix.
type burst struct {
	at    int64 // its first failure
	lines uint8
}

const (
	burstLines = 5 // more than that within it are attempts of their own
	maxBursts  = 1 << 12
)

// Again says whether a failure belongs to one that was counted at most that long before. id is an account at a prefix: see Mix.
func (b *Bursts) Again(id uint64, at int64, within time.Duration) bool {
	x, ok := b.m[id]
	if ok && near(at, x.at, span(within)) {
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

// Append appends what is remembered.
func (b *Bursts) Append(data []byte) []byte {
	data = binary.AppendUvarint(data, uint64(len(b.m)))
	for _, id := range slices.Sorted(maps.Keys(b.m)) {
		x := b.m[id]
		data = binary.LittleEndian.AppendUint64(data, id)
		data = append(binary.AppendVarint(data, x.at), x.lines)
	}
	return data
}

// RestoreBursts reads what Append wrote.
func RestoreBursts(data []byte) (b Bursts, err error) {
	d := codec.NewDecoder(data)
	b.m = make(map[uint64]burst)
	for n := d.Length(10); n > 0 && d.OK(); n-- {
		id := d.Fixed64()
		b.m[id] = burst{d.Time(), d.Byte()}
	}
	if len(b.m) > maxBursts {
		d.Fail("more bursts than there should be")
	}
	return b, d.End()
}
