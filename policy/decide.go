package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"time"

	"bailiff/policy/config"
	"bailiff/policy/state"
)

// decide bans the prefixes that a detector found for a failure. It says whether there is a new ban, or one of more ports.
func (g *Engine) decide(f *failure, verdicts []verdict) (banned bool) {
	for i := range verdicts {
		v := &verdicts[i]
		if !g.ban(f, v) {
			continue
		}
		banned = true
		if v.reason == state.Account {
			v.jail.counter.Take(v.prefix) // the other detectors have taken their evidence out
		}
	}
	return banned
}

// ban bans a prefix once, with scope and duration. It does nothing while entries are only read again, if an earlier ban for this
// attack covers the ports, or if the prefix is wider than its jail counts by and holds an allowed address.
func (g *Engine) ban(f *failure, v *verdict) bool {
	if v.wide && g.allow.Overlaps(v.prefix, f.At) || g.rereading {
		return false
	}
	prefix := g.banPrefix(f, v)
	attempts := 0
	for _, x := range v.evidence {
		attempts += x.Attempts
	}
	j := v.jail
	b := Ban{Addr: f.addr, Evidence: v.evidence[max(0, len(v.evidence)-g.maxEvidence):], Observed: j.conf.Observe} // the newest led to the ban
	bans, all := g.state, []*state.State{g.state, g.expiredUnread}
	if j.conf.Observe {
		bans, all = g.observed, []*state.State{g.observed}
	}
	if old, of := g.sameAttack(all, j, f.addr, prefix, f.At); of != nil {
		if state.Covers(old.Scope, j.scope) {
			return false
		}
		old.Scope = state.JoinScopes(old.Scope, j.scope)
		of.Add(old)
		b.Ban, b.Extended = old, true
		g.out.Bans = append(g.out.Bans, b)
		return true
	}
	b.Ban = state.Ban{Prefix: prefix, Jail: j.conf.Name, Since: f.At, Failures: attempts, Reason: v.reason, Scope: j.scope}
	esc := &g.escalate
	duration, count := bans.Escalate(prefix, f.At, j.conf.BanTime, esc.Factor, esc.Max, esc.Forget, randomExtra(&b.Ban, esc.RandomExtra))
	b.Until, b.Count, b.Wide, b.Parts = end(f.At, duration), count, v.wide, v.parts
	bans.Add(b.Ban)
	g.out.Bans = append(g.out.Bans, b)
	return true
}

// banPrefix is the prefix of a verdict, unless it holds an allowed address: then it is the prefix that the jail counts the
// attacker by, and if that holds one, too, the attacker's address, which is not allowed: weigh looked.
func (g *Engine) banPrefix(f *failure, v *verdict) netip.Prefix {
	prefix := v.prefix
	for _, p := range []netip.Prefix{v.jail.prefix(f.addr).Prefix(), netip.PrefixFrom(f.addr, f.addr.BitLen())} {
		if !g.allow.Overlaps(prefix, f.At) {
			break
		}
		prefix = p
	}
	return prefix
}

// sameAttack finds a ban that the same attack has led to: one that holds the prefix and began about the same time, in this jail
// or in another that saw the same attempts. An entry may also be read a second time after a crash, or after the state was rebuilt
// from the audit trail: then its ban exists, or has expired. A ban that covers what j watches comes before one that has to be
// extended.
func (g *Engine) sameAttack(all []*state.State, j *runningJail, addr netip.Addr, prefix netip.Prefix, at int64) (found state.Ban, of *state.State) {
	window := j.conf.FindTime.Microseconds()
	for _, bans := range all {
		for b := range bans.Covering(addr) {
			if b.Until != 0 && b.Until <= at || b.Prefix.Bits() > prefix.Bits() {
				continue
			}
			covers := state.Covers(b.Scope, j.scope)
			again := b.Since >= at && (b.Jail == j.conf.Name || covers)
			if !again && (at-b.Since >= window || b.Since-at >= window) {
				continue
			}
			if covers {
				return b, bans
			}
			if b.Prefix == prefix && b.By == "" && of == nil {
				found, of = b, bans
			}
		}
	}
	return found, of
}

// randomExtra draws what is added to a ban's duration, up to most. It follows from the ban's id, so that a replay draws the same;
// to foretell it, one has to know to the microsecond when journald received the line that led to the ban.
func randomExtra(b *state.Ban, most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	h := sha256.Sum256([]byte("spread " + b.ID()))
	n, _ := bits.Mul64(binary.BigEndian.Uint64(h[:8]), uint64(most/time.Second)+1)
	return time.Duration(n) * time.Second
}

// end computes when a ban is over; 0 is never.
func end(at int64, duration time.Duration) int64 {
	if duration == config.Forever {
		return 0
	}
	return at + duration.Microseconds()
}
