package state

import (
	"math"
	"net/netip"
	"time"

	"bailiff/policy/prefix"
)

// History is what escalation remembers of a prefix.
type History struct {
	Prefix netip.Prefix
	Count  int   // bans so far
	Last   int64 // when the last one ended or will end; math.MaxInt64: never
}

// maxHistory is how many prefixes are remembered.
const maxHistory = 1 << 20

// forever is the duration of a ban that never ends, as in the configuration.
const forever time.Duration = math.MaxInt64

// history counts the bans of each prefix, in force or over.
type history struct {
	past   table[past]
	forget int64 // µs, from the last call of Escalate; 0: never
}

type past struct {
	count uint32
	end   int64 // never: a ban without end
}

// Escalate returns how long the next ban of a prefix lasts, and its number (1 for the first), and remembers it. Each earlier ban
// multiplies base by factor, up to longest. A prefix whose last ban ended longer than forget ago starts again; forget 0 never
// forgets. extra is added to the duration. If the sum would exceed longest, extra is subtracted from longest instead, so that bans
// of full length do not all end at a foreseeable time. The result is never below base.
func (h *history) Escalate(p netip.Prefix, at int64, base time.Duration, factor float64, longest, forget, extra time.Duration) (duration time.Duration, count int) {
	k := prefix.OfPrefix(p)
	h.forget = forget.Microseconds()
	if forget == forever {
		h.forget = 0
	}
	var x past
	if old := h.past.get(rowKey{prefix: k}); old != nil && !h.forgotten(old, at) {
		x.count = old.count
	}
	x.count = min(x.count+1, math.MaxInt32)
	duration = base
	if base != forever && factor > 1 && x.count > 1 {
		f := float64(base) * math.Pow(factor, float64(x.count-1))
		switch {
		case f < float64(longest) && f < float64(math.MaxInt64):
			duration = time.Duration(f)
		case longest > base:
			duration = longest
		}
	}
	if most := max(longest, base); duration != forever {
		if extra <= most-duration {
			duration += extra
		} else {
			duration = max(base, most-extra)
		}
	}
	x.end = never
	if duration != forever {
		x.end = at + duration.Microseconds()
	}
	h.remember(k, x)
	return duration, int(x.count)
}

// forgotten reports whether a prefix was banned too long ago to count.
func (h *history) forgotten(x *past, now int64) bool {
	return h.forget > 0 && x.end != never && now-x.end > h.forget
}

func (h *history) remember(k prefix.Key, x past) {
	if h.past.set(rowKey{prefix: k}, x) && h.past.n > maxHistory {
		h.past.evict(func(x *past) int64 { return x.end })
	}
}

// tidy drops forgotten prefixes.
func (h *history) tidy(now int64) {
	h.past.deleteFunc(func(_ rowKey, x *past) bool { return h.forgotten(x, now) })
}

// Remember records an earlier ban, when the state is rebuilt from the audit trail.
func (h *history) Remember(b Ban) {
	x := past{count: uint32(min(max(b.Count, 1), math.MaxInt32)), end: b.Until}
	if b.Until == 0 {
		x.end = never
	}
	k := prefix.OfPrefix(b.Prefix)
	if old := h.past.get(rowKey{prefix: k}); old == nil || old.count <= x.count {
		h.remember(k, x)
	}
}

// HistoryOf returns what is remembered of the prefixes that hold p, from wide to narrow, and of those in it, in order.
func (h *history) HistoryOf(p netip.Prefix) (found []History) {
	own := prefix.OfPrefix(p)
	for bits := range own.Bits() {
		k := own.Cut(bits)
		if x := h.past.get(rowKey{prefix: k}); x != nil {
			found = append(found, History{k.Prefix(), int(x.count), x.end})
		}
	}
	for k, x := range h.past.from(rowKey{prefix: own}) {
		if !own.Holds(k.prefix) {
			break
		}
		found = append(found, History{k.prefix.Prefix(), int(x.count), x.end})
	}
	return found
}
