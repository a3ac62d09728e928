package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"time"

	"bailiff/policy/config"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// verdict is a detector's word that a prefix attacks.
type verdict struct {
	prefix   netip.Prefix
	reason   string         // one of ledger's
	evidence []jail.Failure // oldest first
	parts    []netip.Prefix // of a network: those that attacked
	wide     bool           // the prefix is wider than its jail counts by
	at       int64          // the time of the failure that was one too many
}

// held says whether addr was banned before that moment in a way that stops what c watches: then the line comes from a
// connection that was open before, and is nothing new. The entry that led to the ban is not held by it: it must count
// again when it is read again.
func (g *Engine) held(c *cell, addr netip.Addr, at int64) bool {
	stops := func(jail, scope string) bool { return jail == c.conf.Name || state.Covers(scope, c.scope) }
	return g.led.Held(addr, at, stops) || g.lapsed.Held(addr, at, stops) || c.conf.Observe && g.observed.Held(addr, at, stops)
}

// pardoned says whether an operator has forgiven a failure. Only failures shortly before count as forgiven, so that a pardon
// given while the clock was wrong does not forgive what comes once it is right.
func (g *Engine) pardoned(addr netip.Addr, at int64) bool {
	return g.led.Pardoned(addr, at, g.Window().Microseconds())
}

// ban decides that a prefix is banned, unless it holds an allowed address; then what addr can be banned by instead is. It
// says whether there is a ban.
func (g *Engine) ban(c *cell, addr netip.Addr, v verdict) bool {
	if v.wide && g.allow.Overlaps(v.prefix, v.at) {
		return false // the neighbourhood of an allowed address, and addr itself has not done enough for a ban of its own
	}
	// A prefix that holds an allowed address is not banned as a whole: first back to the attacker's own, then to the
	// bare address, which is not allowed: failure looked.
	prefix := v.prefix
	for _, p := range []netip.Prefix{g.narrow(c, addr), netip.PrefixFrom(addr, addr.BitLen())} {
		if !g.allow.Overlaps(prefix, v.at) {
			break
		}
		prefix = p
	}
	if g.rebuild {
		return false
	}
	attempts := 0
	for _, f := range v.evidence {
		attempts += f.Attempts
	}
	evidence := v.evidence[max(0, len(v.evidence)-g.lines):] // the newest: they led to the ban
	led, was := g.led, []*state.State{g.led, g.lapsed}
	if c.conf.Observe {
		led, was = g.observed, []*state.State{g.observed}
	}
	if old, in := g.incident(was, c, addr, prefix, v.at); in != nil {
		if state.Covers(old.Scope, c.scope) {
			return false
		}
		old.Scope = state.JoinScopes(old.Scope, c.scope)
		in.Add(old)
		g.out.Bans = append(g.out.Bans, Ban{Ban: old, Addr: addr, Evidence: evidence, Extended: true, Observed: c.conf.Observe})
		return true
	}
	b := state.Ban{Prefix: prefix, Jail: c.conf.Name, Since: v.at, Failures: attempts, Reason: v.reason, Scope: c.scope}
	long, times := led.Escalate(prefix, v.at, c.conf.BanTime, g.esc.Factor, g.esc.Max, g.esc.Forget, randomDelay(&b, g.esc.RandomExtra))
	b.Until, b.Count = end(v.at, long), times
	led.Add(b)
	g.out.Bans = append(g.out.Bans, Ban{Ban: b, Addr: addr, Evidence: evidence, Wide: v.wide, Parts: v.parts, Observed: c.conf.Observe})
	return true
}

// incident finds a ban of the same attack: one that holds the prefix and began about the same time, in this jail or in
// another that saw the same attempts. An entry may also be read a second time after a crash, or after a ledger was rebuilt
// from the audit trail: the ban that it led to stands already, or has lapsed. A ban that covers what c watches comes before one
// that has to be extended.
func (g *Engine) incident(leds []*state.State, c *cell, addr netip.Addr, prefix netip.Prefix, at int64) (found state.Ban, in *state.State) {
	window := c.conf.FindTime.Microseconds()
	for _, led := range leds {
		for b := range led.Covering(addr) {
			if b.Until != 0 && b.Until <= at || b.Prefix.Bits() > prefix.Bits() {
				continue
			}
			covers := state.Covers(b.Scope, c.scope)
			again := b.Since >= at && (b.Jail == c.conf.Name || covers)
			if !again && (at-b.Since >= window || b.Since-at >= window) {
				continue
			}
			if covers {
				return b, led
			}
			if b.Prefix == prefix && b.By == "" && in == nil {
				found, in = b, led
			}
		}
	}
	return found, in
}

// randomDelay draws what is added to a ban's time. It follows from the ban's id, so that it is the same in a replay; to
// foretell it, one has to know to the microsecond when journald received the line that led to the ban.
func randomDelay(b *state.Ban, most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	h := sha256.Sum256([]byte("spread " + b.ID()))
	n, _ := bits.Mul64(binary.BigEndian.Uint64(h[:8]), uint64(most/time.Second)+1)
	return time.Duration(n) * time.Second
}

// end computes when a ban is over; 0 is never.
func end(at int64, long time.Duration) int64 {
	if long == config.Forever {
		return 0
	}
	return at + long.Microseconds()
}
