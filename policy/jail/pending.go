package jail

import (
	"net/netip"
	"slices"
	"time"
)

// Pending keeps provisional attempts until their outcome is known: a step of an attempt failed (a PAM module, the first of
// two password databases), and the attempt may still succeed. One goroutine uses it.
type Pending struct {
	attempts map[netip.Addr][]PendingAttempt // oldest first
	queue    []due                           // one for each that was added, in that order; those that were taken meanwhile, too
	head     int                             // of queue
}

// PendingAttempt is an attempt with the connection and the jail that it belongs to.
type PendingAttempt struct {
	Attempt
	Addr netip.Addr
	Conn ConnKey
	Jail uint16
}

type due struct {
	at   int64
	addr netip.Addr
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
func (p *Pending) Len() (n int) {
	for _, l := range p.attempts {
		n += len(l)
	}
	return n
}

// Add has an attempt wait. It returns those that must count at once because too many wait.
func (p *Pending) Add(a PendingAttempt) (count []PendingAttempt) {
	l := p.attempts[a.Addr]
	if len(l) >= maxPendingEach {
		count = append(count, l[0])
		l = l[1:]
	}
	p.attempts[a.Addr] = append(l, a)
	if len(p.queue)-p.head >= maxPending {
		if x, ok := p.pop(); ok {
			count = append(count, x)
		}
	}
	if p.head > maxPending {
		p.queue, p.head = slices.Clone(p.queue[p.head:]), 0
	}
	p.queue = append(p.queue, due{a.At, a.Addr})
	return count
}

// pop takes the head of the queue off, and its attempt if that still waits.
func (p *Pending) pop() (a PendingAttempt, ok bool) {
	d := p.queue[p.head]
	p.head++
	if p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
	}
	l := p.attempts[d.addr]
	i := slices.IndexFunc(l, func(x PendingAttempt) bool { return x.At == d.at })
	if i < 0 {
		return a, false
	}
	a = l[i]
	p.set(d.addr, slices.Delete(l, i, i+1))
	return a, true
}

func (p *Pending) set(addr netip.Addr, l []PendingAttempt) {
	if len(l) == 0 {
		delete(p.attempts, addr)
	} else {
		p.attempts[addr] = l
	}
}

// Next hands over the oldest attempt that has waited for Hold at a moment; one that lies that far in the future has, too:
// the clock was set back.
func (p *Pending) Next(now int64) (a PendingAttempt, ok bool) {
	for p.head < len(p.queue) && !near(now, p.queue[p.head].at, Hold.Microseconds()) {
		if a, ok = p.pop(); ok {
			return a, true
		}
	}
	return a, false
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
		l = slices.DeleteFunc(l, func(a PendingAttempt) bool {
			gone := n > 0 && a.Conn == conn && fits(&a)
			if gone {
				n -= a.Attempts
				taken = append(taken, a)
			}
			return gone
		})
	}
	p.set(addr, l)
	return taken
}

// Drop forgets attempts of an address: gone says which.
func (p *Pending) Drop(addr netip.Addr, gone func(*PendingAttempt) bool) {
	if l := p.attempts[addr]; len(l) > 0 {
		p.set(addr, slices.DeleteFunc(l, func(a PendingAttempt) bool { return gone(&a) }))
	}
}

// First hands over the oldest attempt.
func (p *Pending) First() (a PendingAttempt, ok bool) {
	for p.head < len(p.queue) {
		if a, ok = p.pop(); ok {
			return a, true
		}
	}
	return a, false
}

// Forget drops the attempts of all addresses within a prefix.
func (p *Pending) Forget(prefix netip.Prefix) {
	for a := range p.attempts {
		if prefix.Contains(a) {
			delete(p.attempts, a)
		}
	}
}
