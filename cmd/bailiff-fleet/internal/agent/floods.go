package agent

import "time"

// Bounds of what is read of one host, whatever its signature: a check takes 40 µs, and a host may send as fast as the hub lets it.
const (
	floodBurst = 2 * maxOwn // messages: all that an honest host can have to say, and again
	floodRate  = 50         // a second
)

// floods limits the messages of each host by a bucket of tokens. Names come from subjects, so a hub may invent them: there are at
// most maxFlooders of them.
type floods struct {
	hosts   map[string]*bucket
	worst   string // the host of which the most was not read; "" if all was
	skipped uint64
}

const maxFlooders = 1 << 16

type bucket struct {
	tokens  float64
	filled  time.Time
	skipped uint64
}

// admit reports whether a message of a host is looked at.
func (f *floods) admit(host string, now time.Time) bool {
	b := f.hosts[host]
	if b == nil {
		if len(f.hosts) >= maxFlooders || len(host) > 64 {
			return false
		}
		if f.hosts == nil {
			f.hosts = make(map[string]*bucket)
		}
		b = &bucket{tokens: floodBurst, filled: now}
		f.hosts[host] = b
	}
	if d := now.Sub(b.filled); d > 0 {
		b.tokens = min(floodBurst, b.tokens+d.Seconds()*floodRate)
		b.filled = now
	}
	if b.tokens < 1 {
		if b.skipped++; b.skipped > f.skipped {
			f.worst, f.skipped = host, b.skipped
		}
		return false
	}
	b.tokens--
	return true
}

// reset begins anew, when everything is read again.
func (f *floods) reset() {
	for _, b := range f.hosts {
		b.tokens, b.skipped = floodBurst, 0
	}
	f.worst, f.skipped = "", 0
}
