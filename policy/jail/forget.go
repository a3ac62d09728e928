package jail

import (
	"net/netip"
	"time"

	"bailiff/policy/prefix"
)

// Success forgets what one user from that prefix had against it, in both windows, and nothing more: an attacker's own
// account does not wash away what he tried on others.
func (c *Counter) Success(a netip.Addr, user uint16) {
	if _, i, ok := c.find(a); ok && user != 0 {
		c.purge(i, func(x *node) bool { return x.user == user })
	}
}

// justNow is how long before a line that says that an attempt was none the attempt may have been counted.
const justNow = 2 * time.Second

// TakeBack takes out the latest failure of a user that was counted just before a moment, and says whether there was one.
func (c *Counter) TakeBack(a netip.Addr, user uint16, at int64) (taken bool) {
	_, i, ok := c.find(a)
	if !ok || user == 0 {
		return false
	}
	c.purge(i, func(x *node) bool {
		if taken || x.tally || x.user != user || x.attempts != 1 || !near(at, x.at, justNow) {
			return false
		}
		taken = true
		return true
	})
	return taken
}

// purge takes nodes out of a prefix's entry, and the entry when none is left.
func (c *Counter) purge(i uint32, gone func(*node) bool) {
	c.prefixes.unlink(i, gone)
	if c.prefixes.at(i).head == 0 {
		c.drop(&c.prefixes, i)
	}
	c.reportNodes()
}

// RestoreRef gives a failure that was restored without it the entry that it stands in.
func (c *Counter) RestoreRef(a netip.Addr, x Failure) {
	if c.prefixes.restoreRef(c.keyOf(a), &x) {
		return
	}
	for _, l := range aggregateLevels(a) {
		if c.aggregates.restoreRef(prefix.Of(a, l.bits), &x) {
			return
		}
	}
}

func (t *table) restoreRef(k prefix.Key, x *Failure) bool {
	i, ok := t.find(k)
	if !ok {
		return false
	}
	for n := t.at(i).head; n != 0; n = t.node(n).next {
		if f := t.node(n); !f.tally && f.ref == NoRef && f.at == x.At && (f.user == x.User || f.user == 0) {
			f.ref = x.Ref
			return true
		}
	}
	return false
}

// Forget drops what stands against a prefix, against all within it, and against the one around it.
func (c *Counter) Forget(p netip.Prefix) {
	k := prefix.OfPrefix(p)
	c.forget(&c.prefixes, k, c.keyOf(p.Addr()).Bits())
	for _, l := range aggregateLevels(p.Addr()) {
		c.forget(&c.aggregates, k, l.bits)
	}
}

// forget drops those of a table's entries of one length that hold k or lie in it. Whoever lifts 100,000 bans at once calls
// it as often, so it looks them up one by one unless they are more than the table has.
func (c *Counter) forget(t *table, k prefix.Key, length int) {
	apart := length - k.Bits()
	switch {
	case t.n == 0:
	case apart <= 0:
		if i, ok := t.find(k.Cut(length)); ok {
			c.drop(t, i)
		}
	case length <= 64 && apart < 32 && 1<<apart <= t.n:
		for n := range uint64(1) << apart {
			if i, ok := t.find(k.Nth(n, length)); ok {
				c.drop(t, i)
			}
		}
	default:
		for i := uint32(0); i < t.len(); i++ { // len is 0 as soon as the last one is gone
			if e := t.at(i); e.used() && e.key.Bits() == length && k.Holds(e.key) {
				c.drop(t, i)
			}
		}
	}
}
