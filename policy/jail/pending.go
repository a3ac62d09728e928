package jail

import (
	"cmp"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// Pending keeps provisional attempts until their outcome is known: a step of an attempt failed (a PAM module, the first of
// two password databases), and the attempt may still succeed. One goroutine uses it.
type Pending struct {
	attempts map[netip.Addr][]PendingAttempt // in the order in which they came
	n        int
	queue    []due  // of all addresses, in that order
	head     int    // of queue
	last     uint64 // number given
}

// PendingAttempt is an attempt with the connection and the jail that it belongs to.
type PendingAttempt struct {
	Attempt
	Addr netip.Addr
	Conn ConnKey
	Jail uint16

	number uint64 // by which the queue knows it
}

type due struct {
	at     int64
	addr   netip.Addr
	number uint64
	gone   bool
}

const (
	// Hold is how long an attempt's outcome is waited for: a second factor that is confirmed on a phone takes its time.
	Hold = 30 * time.Second

	maxPending     = 1 << 13 // in all; the oldest counts when there are more
	maxPendingEach = 64      // of one address; the oldest counts when there are more
)

// NewPending makes an empty one.
func NewPending() *Pending { return &Pending{attempts: map[netip.Addr][]PendingAttempt{}} }

// Len is how many attempts wait.
func (p *Pending) Len() int { return p.n }

// Add has an attempt wait. It returns those that must count at once because too many wait.
func (p *Pending) Add(a PendingAttempt) (count []PendingAttempt) {
	a.Name = slices.Clone(a.Name)
	if l := p.attempts[a.Addr]; len(l) >= maxPendingEach {
		count = append(count, l[0])
		p.gone(l[0].number)
		p.attempts[a.Addr] = l[1:]
	} else if p.n >= maxPending {
		x, _ := p.First()
		count = append(count, x)
	}
	if len(p.queue) >= 2*maxPending {
		p.queue, p.head = slices.DeleteFunc(p.queue[p.head:], func(d due) bool { return d.gone }), 0
	}
	p.last++
	a.number = p.last
	p.queue = append(p.queue, due{at: a.At, addr: a.Addr, number: a.number})
	p.attempts[a.Addr] = append(p.attempts[a.Addr], a)
	p.n++
	return count
}

// gone has the queue forget an attempt.
func (p *Pending) gone(number uint64) {
	i, _ := slices.BinarySearchFunc(p.queue[p.head:], number, func(d due, n uint64) int {
		return cmp.Compare(d.number, n)
	})
	p.queue[p.head+i].gone = true
	p.n--
	for p.head < len(p.queue) && p.queue[p.head].gone {
		p.head++
	}
	if p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
	}
}

func (p *Pending) set(addr netip.Addr, l []PendingAttempt) {
	if len(l) == 0 {
		delete(p.attempts, addr)
	} else {
		p.attempts[addr] = l
	}
}

// Due says whether the oldest attempt has waited for Hold at a moment; one that lies that far in the future has, too: the
// clock was set back.
func (p *Pending) Due(now int64) bool {
	return p.n > 0 && !near(now, p.queue[p.head].at, Hold.Microseconds())
}

// Next hands over the oldest attempt if it is due.
func (p *Pending) Next(now int64) (a PendingAttempt, ok bool) {
	if !p.Due(now) {
		return a, false
	}
	return p.First()
}

// First hands over the oldest attempt.
func (p *Pending) First() (a PendingAttempt, ok bool) {
	if p.head == len(p.queue) {
		return a, false
	}
	d := p.queue[p.head] // never one that is gone
	l := p.attempts[d.addr]
	i := slices.IndexFunc(l, func(x PendingAttempt) bool { return x.number == d.number })
	a = l[i]
	p.gone(d.number)
	p.set(d.addr, slices.Delete(l, i, i+1))
	return a, true
}

// Oldest is the time of what waits longest, and now if that is before.
func (p *Pending) Oldest(now int64) int64 {
	if p.head < len(p.queue) {
		return min(now, p.queue[p.head].at)
	}
	return now
}

// Take takes out up to n attempts of a connection: those of an account first, then those of no account that is known, then
// any.
func (p *Pending) Take(addr netip.Addr, conn ConnKey, user uint64, n int) (taken []PendingAttempt) {
	l := p.attempts[addr]
	if len(l) == 0 {
		return nil
	}
	for _, fits := range []func(a *PendingAttempt) bool{
		func(a *PendingAttempt) bool { return a.User == user },
		func(a *PendingAttempt) bool { return a.User == 0 },
		func(a *PendingAttempt) bool { return true },
	} {
		for i := 0; i < len(l) && n > 0; i++ {
			if l[i].Conn != conn || !fits(&l[i]) {
				continue
			}
			a := l[i]
			a.Attempts = min(a.Attempts, n)
			n -= a.Attempts
			taken = append(taken, a)
			if l[i].Attempts -= a.Attempts; l[i].Attempts == 0 {
				p.gone(a.number)
				l = slices.Delete(l, i, i+1)
				i--
			}
		}
	}
	p.set(addr, l)
	return taken
}

// Named finds the attempt of another jail that has waited for an address for at most long before a moment, if all such are
// on one account.
func (p *Pending) Named(addr netip.Addr, jail uint16, at int64, long time.Duration) (a PendingAttempt, ok bool) {
	for _, x := range p.attempts[addr] {
		if x.Jail == jail || x.User == 0 || !near(at, x.At, span(long)) {
			continue
		}
		if ok && x.User != a.User {
			return a, false
		}
		a, ok = x, true
	}
	return a, ok
}

// Drop forgets attempts of an address: gone says which.
func (p *Pending) Drop(addr netip.Addr, gone func(*PendingAttempt) bool) {
	if l := p.attempts[addr]; len(l) > 0 {
		p.set(addr, slices.DeleteFunc(l, func(a PendingAttempt) bool {
			drop := gone(&a)
			if drop {
				p.gone(a.number)
			}
			return drop
		}))
	}
}

// Forget drops the attempts of all addresses within a prefix.
func (p *Pending) Forget(prefix netip.Prefix) {
	for a := range p.attempts {
		if prefix.Contains(a) {
			p.Drop(a, func(*PendingAttempt) bool { return true })
		}
	}
}

// Stream writes or reads what is pending, in the order in which it came. jails is how many there are.
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

// RestoreRefs gives attempts that were restored the entries that they stand in. from has read these entries again; what it has,
// and this has not, is returned.
func (p *Pending) RestoreRefs(from *Pending) (more []PendingAttempt) {
	for x := range from.all() {
		l := p.attempts[x.Addr]
		i := slices.IndexFunc(l, func(a PendingAttempt) bool {
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

// all goes through what is pending, in the order in which it came.
func (p *Pending) all() iter.Seq[PendingAttempt] {
	return func(yield func(PendingAttempt) bool) {
		for _, d := range p.queue[p.head:] {
			l := p.attempts[d.addr]
			if i := slices.IndexFunc(l, func(x PendingAttempt) bool { return x.number == d.number }); i >= 0 && !yield(l[i]) {
				return
			}
		}
	}
}
