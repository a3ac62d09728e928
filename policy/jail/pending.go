package jail

import (
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// Pending keeps provisional attempts until their outcome is known. A step of such an attempt failed (a PAM module, the first
// of two password databases), but the attempt may still succeed. One goroutine uses it.
type Pending struct {
	attempts map[netip.Addr][]*PendingAttempt // in order of arrival
	queue    []*PendingAttempt                // of all addresses, in order of arrival; the first is still pending
	n        int                              // those in queue that are still pending
}

// PendingAttempt is an attempt with the connection and the jail that it belongs to.
type PendingAttempt struct {
	Attempt
	Addr netip.Addr
	Conn ConnKey
	Jail uint16

	gone bool
}

const (
	// Hold is how long an attempt waits for its outcome: confirming a second factor on a phone takes a while.
	Hold = 30 * time.Second

	maxPending     = 1 << 13 // in all; the oldest counts when there are more
	maxPendingEach = 64      // of one address; the oldest counts when there are more
)

// NewPending returns an empty Pending.
func NewPending() *Pending { return &Pending{attempts: map[netip.Addr][]*PendingAttempt{}} }

// Len returns the number of attempts that wait.
func (p *Pending) Len() int { return p.n }

// Add adds an attempt. It returns those that count at once because too many wait.
func (p *Pending) Add(a PendingAttempt) (count []PendingAttempt) {
	a.Name = slices.Clone(a.Name)
	if l := p.attempts[a.Addr]; len(l) >= maxPendingEach {
		first := l[0]
		count = append(count, *first)
		p.Drop(a.Addr, func(x *PendingAttempt) bool { return x == first })
	} else if p.n >= maxPending {
		x, _ := p.First()
		count = append(count, x)
	}
	if len(p.queue) >= 2*maxPending {
		p.queue = slices.DeleteFunc(p.queue, func(x *PendingAttempt) bool { return x.gone })
	}
	p.queue = append(p.queue, &a)
	p.attempts[a.Addr] = append(p.attempts[a.Addr], &a)
	p.n++
	return count
}

// Due reports whether the oldest attempt has waited for Hold at a time, or is that far in the future because the clock was set
// back.
func (p *Pending) Due(now int64) bool {
	return p.n > 0 && !near(now, p.queue[0].At, Hold)
}

// Next returns and removes the oldest attempt if it is due.
func (p *Pending) Next(now int64) (a PendingAttempt, ok bool) {
	if !p.Due(now) {
		return a, false
	}
	return p.First()
}

// First returns and removes the oldest attempt.
func (p *Pending) First() (a PendingAttempt, ok bool) {
	if p.n == 0 {
		return a, false
	}
	first := p.queue[0]
	p.Drop(first.Addr, func(x *PendingAttempt) bool { return x == first })
	return *first, true
}

// Oldest returns the time of the oldest attempt, or now if that is earlier.
func (p *Pending) Oldest(now int64) int64 {
	if p.n > 0 {
		return min(now, p.queue[0].At)
	}
	return now
}

// Take removes and returns up to n attempts of a connection: first those on the account user, then those without an account, then any.
func (p *Pending) Take(addr netip.Addr, conn ConnKey, user uint64, n int) (taken []PendingAttempt) {
	if len(p.attempts[addr]) == 0 {
		return nil
	}
	for _, fits := range []func(a *PendingAttempt) bool{
		func(a *PendingAttempt) bool { return a.User == user },
		func(a *PendingAttempt) bool { return a.User == 0 },
		func(a *PendingAttempt) bool { return true },
	} {
		p.Drop(addr, func(a *PendingAttempt) bool {
			if n == 0 || a.Conn != conn || !fits(a) {
				return false
			}
			part := *a
			part.Attempts = min(a.Attempts, n)
			n -= part.Attempts
			a.Attempts -= part.Attempts
			taken = append(taken, part)
			return a.Attempts == 0
		})
	}
	return taken
}

// Named returns the attempt of another jail from an address that came at most long before a time, if all such attempts are on
// one account.
func (p *Pending) Named(addr netip.Addr, jail uint16, at int64, long time.Duration) (a PendingAttempt, ok bool) {
	for _, x := range p.attempts[addr] {
		if x.Jail == jail || x.User == 0 || !near(at, x.At, long) {
			continue
		}
		if ok && x.User != a.User {
			return a, false
		}
		a, ok = *x, true
	}
	return a, ok
}

// Drop removes the attempts of an address that gone selects.
func (p *Pending) Drop(addr netip.Addr, gone func(*PendingAttempt) bool) {
	l := p.attempts[addr]
	if len(l) == 0 {
		return
	}
	l = slices.DeleteFunc(l, func(a *PendingAttempt) bool {
		if a.gone = gone(a); a.gone {
			p.n--
		}
		return a.gone
	})
	if p.attempts[addr] = l; len(l) == 0 {
		delete(p.attempts, addr)
	}
	for len(p.queue) > 0 && p.queue[0].gone {
		p.queue = p.queue[1:]
	}
}

// Forget removes the attempts of all addresses within a prefix.
func (p *Pending) Forget(prefix netip.Prefix) {
	for a := range p.attempts {
		if prefix.Contains(a) {
			p.Drop(a, func(*PendingAttempt) bool { return true })
		}
	}
}

// Stream writes or reads all attempts in order of arrival. jails is the number of jails.
func (p *Pending) Stream(s *codec.Stream, jails int) {
	codec.Each(s, p.Len(), leastAttempt+12, p.all(), func(a *PendingAttempt) {
		a.Attempt.stream(s)
		var k prefix.Key
		if !s.Reading {
			k = prefix.OfAddr(a.Addr)
		}
		s.Addr(&k)
		s.Fixed64((*uint64)(&a.Conn))
		codec.Number(s, &a.Jail, math.MaxUint16)
		s.Check(int(a.Jail) < jails, "a pending attempt out of range")
		a.Addr = k.Addr()
	}, func(a PendingAttempt) {
		s.Check(len(p.Add(a)) == 0, "more pending attempts than there should be")
	})
}

// RestoreRefs sets the journal entries of restored attempts. from holds attempts as reread from the journal; those that only from has are
// returned.
func (p *Pending) RestoreRefs(from *Pending) (more []PendingAttempt) {
	for x := range from.all() {
		l := p.attempts[x.Addr]
		i := slices.IndexFunc(l, func(a *PendingAttempt) bool {
			return a.Ref == NoRef && a.At == x.At && a.Conn == x.Conn && a.User == x.User
		})
		if i >= 0 {
			l[i].Ref = x.Ref
		} else {
			more = append(more, x)
		}
	}
	return more
}

// all yields all attempts in order of arrival.
func (p *Pending) all() iter.Seq[PendingAttempt] {
	return func(yield func(PendingAttempt) bool) {
		for _, a := range p.queue {
			if !a.gone && !yield(*a) {
				return
			}
		}
	}
}
