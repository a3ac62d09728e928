package policy

import (
	"fmt"
	"slices"

	"bailiff/policy/codec"
	"bailiff/policy/config"
	"bailiff/policy/jail"
)

// countsVersion is the first byte of what Snapshot saves beside the state.
const countsVersion = 4

// Snapshot appends the state file's content to b: bans and all that is counted, at the state's cursor. Together with the entries
// behind that it leads to what an engine that was never stopped would have come to. Only in which entry each failure stands is not
// saved: that is known again once the entries before the cursor have been read (Reread). The same state gives the same bytes.
func (g *Engine) Snapshot(b []byte) []byte {
	tracked, _, _ := g.Tracked()
	b = slices.Grow(b, 4096+48*g.state.Len()+28*tracked) // about what it takes: growing by doubling would copy, and take twice as much
	return g.state.AppendSnapshot(b, func(b []byte) []byte {
		if g.rereading && !g.restored {
			return b // half of it is not better than none: the next start fills the windows anew
		}
		now := g.counted
		if g.rereading {
			now.connections = g.setAside
		}
		s := codec.NewWriter(append(b, countsVersion))
		s.Fixed64(&now.seed)
		now.stream(s, counters(g.jails))
		return s.Bytes()
	})
}

// counters are those of jails, by name.
func counters(jails []*runningJail) map[string]*jail.Counter {
	m := make(map[string]*jail.Counter)
	for _, j := range jails {
		m[j.conf.Name] = j.counter
	}
	return m
}

// restore takes over what Snapshot saved, as far as the configuration still has use for it: all or nothing.
func (g *Engine) restore(saved []byte, c *config.Config) error {
	if saved[0] != countsVersion {
		return fmt.Errorf("what was counted before cannot be read: it has version %d, not %d", saved[0], countsVersion)
	}
	s, now := codec.NewReader(saved[1:]), &Engine{budget: g.budget}
	s.Fixed64(&now.seed)
	now.counted = newCounted(c, now.seed)
	restored := make(map[string]*jail.Counter)
	for _, j := range g.jails {
		restored[j.conf.Name] = jail.NewCounter(now.counterOptions(&j.conf))
	}
	now.stream(s, restored)
	if err := s.End(); err != nil {
		for _, n := range restored {
			n.Close()
		}
		return fmt.Errorf("what was counted before cannot be read: %w", err)
	}
	g.counted, g.restored = now.counted, true
	for _, j := range g.jails {
		j.counter.Close()
		j.counter, j.number = restored[j.conf.Name], g.number(j.conf.Name)
	}
	return nil
}
