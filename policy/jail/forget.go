package jail

import (
	"net/netip"
	"time"

	"bailiff/policy/prefix"
)

// Success removes the failures of one account from a prefix, in both windows, and nothing else: a login to an attacker's own
// account does not excuse attempts on others.
func (c *Counter) Success(k prefix.Key, user uint16) {
	if i, ok := c.prefixes.find(k); ok && user != 0 {
		c.purge(i, func(x *node) bool { return x.user == user })
	}
}

// misspeltTime is how long a user takes to notice that the account name was wrong.
const misspeltTime = 2 * time.Minute

// TakeMisspelt removes the latest failures of a prefix, if they are on an account that does not exist and a login came shortly after: the
// user typed a wrong name, such as their computer's, and then the right one. Unless it is the account's first login of the day, they are
// removed only if there is a single attempt: an attacker with an account must not be able to clear guesses.
func (c *Counter) TakeMisspelt(k prefix.Key, at int64, first bool) {
	i, ok := c.prefixes.find(k)
	if !ok {
		return
	}
	last := c.prefixes.node(c.prefixes.at(i).head)
	user, attempts := last.user, 0
	misspelt := func(x *node) bool { return x.unknown && x.user == user && !x.tally && near(at, x.at, misspeltTime) }
	for n := c.prefixes.at(i).head; n != 0; n = c.prefixes.node(n).next {
		if x := c.prefixes.node(n); misspelt(x) {
			attempts += int(x.attempts)
		}
	}
	if last.unknown && user != 0 && (first || attempts == 1) {
		c.purge(i, misspelt)
	}
}

// justNow is the longest time between counting an attempt and the line that voids it.
const justNow = 2 * time.Second

// TakeBack removes the latest failure of an account, if it was counted just before a time, and reports whether there was one.
func (c *Counter) TakeBack(k prefix.Key, user uint16, at int64) (taken bool) {
	i, ok := c.prefixes.find(k)
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

// purge removes nodes from a prefix's entry, and the entry with its last node.
func (c *Counter) purge(i uint32, gone func(*node) bool) {
	c.prefixes.unlink(i, gone)
	if c.prefixes.at(i).head == 0 {
		c.drop(&c.prefixes, i)
	}
	c.reportNodes()
}

// RestoreRef sets the journal entry of a failure that was restored without it.
func (c *Counter) RestoreRef(own prefix.Key, x Failure) {
	if c.prefixes.restoreRef(own, &x) {
		return
	}
	for _, l := range aggregateLevels(own) {
		if l.bits <= own.Bits() && c.aggregates.restoreRef(own.Cut(l.bits), &x) {
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

// Forget removes the failures of a prefix, of all prefixes within it, and of the one that contains it.
func (c *Counter) Forget(p netip.Prefix) {
	k := prefix.OfPrefix(p)
	c.forget(&c.prefixes, k, c.Key(p.Addr()).Bits())
	for _, l := range aggregateLevels(k) {
		c.forget(&c.aggregates, k, l.bits)
	}
}

// forget drops the entries of one length that contain k or lie in it. It is called for each ban that is lifted, which may be 100,000 times,
// so it looks up the prefixes in k one by one unless there are more of them than entries.
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
