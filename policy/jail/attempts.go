package jail

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"time"
)

// Attempts joins the lines of one connection, so that one wrong password counts once however many lines a daemon writes
// about it. One goroutine uses it.
//
// A connection is known by the trusted process id, or by an id that the daemon logs (a mail queue id). There is no fixed
// number of them that a flood could push out of the way: there are as many as the kernel has process ids, and each is
// forgotten some minutes after its last line.
type Attempts struct {
	seed     maphash.Seed
	now, old map[uint64]conn // two generations: a line moves its connection into the younger one
	turned   int64           // when the younger one was begun

	waiting, waited map[uint64]Waiting // likewise
}

// Waiting is a failure whose line holds no address: it counts when a later line of the connection tells one.
type Waiting struct {
	Pattern string
	Ref     Ref
	At      int64
	User    uint32
	Weight  int
	Repeat  int // how many there were
	Step    uint8
}

// maxWaiting bounds what one connection can run up before its address is known.
const maxWaiting = 64

// keepConn is how long a connection is remembered at least after its last line; twice that at most. sshd's
// LoginGraceTime is two minutes.
const keepConn = 150 * time.Second

// conn is what is known of a connection.
type conn struct {
	addr    [16]byte // as IPv6, IPv4 mapped
	known   bool     // addr is set
	counted bool     // a failure of it was counted
	step    uint8    // of the last line of the current attempt
}

// stepEnd is the step of lines that only tell that a connection has ended (filter.StepEnd).
const stepEnd = 9

// NewAttempts makes an empty one.
func NewAttempts() *Attempts {
	return &Attempts{seed: maphash.MakeSeed(), now: map[uint64]conn{}}
}

// name gives a connection a number; ok is false for a line that belongs to none.
func (a *Attempts) name(boot [16]byte, pid uint32, id []byte) (n uint64, ok bool) {
	if pid == 0 && len(id) == 0 {
		return 0, false
	}
	var b [20]byte
	copy(b[:], boot[:])
	if len(id) == 0 {
		binary.LittleEndian.PutUint32(b[16:], pid)
		return maphash.Bytes(a.seed, b[:]), true
	}
	var h maphash.Hash
	h.SetSeed(a.seed)
	h.Write(b[:])
	h.Write(id)
	return h.Sum64(), true
}

func (a *Attempts) get(n uint64) (conn, bool) {
	c, ok := a.now[n]
	if !ok && len(a.old) > 0 {
		c, ok = a.old[n]
	}
	return c, ok
}

func (a *Attempts) put(n uint64, c conn, at int64) {
	a.turn(at)
	a.now[n] = c
}

// turn begins a new generation when it is time. A clock that was set back begins one, too.
func (a *Attempts) turn(at int64) {
	if d := at - a.turned; d < keepConn.Microseconds() && -d < keepConn.Microseconds() {
		return
	}
	a.turned = at
	if len(a.now)+len(a.old)+len(a.waiting)+len(a.waited) == 0 {
		return
	}
	a.old, a.now = a.now, map[uint64]conn{}
	a.waited, a.waiting = a.waiting, nil
}

// See says whether a failure counts. step is the order of its line within one attempt: a line with a higher step than
// the one before belongs to the same attempt and was counted with it; any other begins a new attempt. A line with
// step 9 only says that the connection has ended, and counts if nothing else was counted for it. Step 0, and a line
// that belongs to no connection, always count. Another address under the same number is another connection.
func (a *Attempts) See(boot [16]byte, pid uint32, id []byte, addr netip.Addr, step uint8, at int64) bool {
	n, ok := a.name(boot, pid, id)
	if !ok || step == 0 {
		return true
	}
	c, ok := a.get(n)
	if !ok || c.known && c.addr != addr.As16() {
		c = conn{}
	}
	count := !c.counted || step != stepEnd && step <= c.step
	c.addr, c.known, c.counted, c.step = addr.As16(), true, true, step
	a.put(n, c, at)
	return count
}

// Join notes the address of a connection, for later lines of it that hold none.
func (a *Attempts) Join(boot [16]byte, pid uint32, id []byte, addr netip.Addr, at int64) {
	n, ok := a.name(boot, pid, id)
	if !ok || !addr.IsValid() {
		return
	}
	c, ok := a.get(n)
	if !ok || c.known && c.addr != addr.As16() {
		c = conn{}
	}
	c.addr, c.known = addr.As16(), true
	a.put(n, c, at)
}

// Known returns the address of a connection.
func (a *Attempts) Known(boot [16]byte, pid uint32, id []byte) (netip.Addr, bool) {
	if n, ok := a.name(boot, pid, id); ok {
		if c, ok := a.get(n); ok && c.known {
			return netip.AddrFrom16(c.addr).Unmap(), true
		}
	}
	return netip.Addr{}, false
}

// Wait keeps a failure until the address of its connection is known. One that belongs to no connection is lost.
func (a *Attempts) Wait(boot [16]byte, pid uint32, id []byte, w Waiting) {
	n, ok := a.name(boot, pid, id)
	if !ok {
		return
	}
	a.turn(w.At)
	if a.waiting == nil {
		a.waiting = map[uint64]Waiting{}
	}
	old, ok := a.waiting[n]
	if !ok {
		if old, ok = a.waited[n]; ok {
			delete(a.waited, n)
		}
	}
	if ok {
		// Of several lines of one attempt the first is kept, as it is when the address is known from the start.
		if w.Step == 0 || w.Step <= old.Step {
			old.Repeat = min(old.Repeat+w.Repeat, maxWaiting)
		}
		w = old
	}
	a.waiting[n] = w
}

// Claim hands over what waits for the address of a connection.
func (a *Attempts) Claim(boot [16]byte, pid uint32, id []byte) (w Waiting, ok bool) {
	if len(a.waiting)+len(a.waited) == 0 {
		return w, false
	}
	n, ok := a.name(boot, pid, id)
	if !ok {
		return w, false
	}
	for _, m := range []map[uint64]Waiting{a.waiting, a.waited} {
		if w, ok = m[n]; ok {
			delete(m, n)
			return w, true
		}
	}
	return w, false
}

// Expire drops what is old when no lines come any more.
func (a *Attempts) Expire(now int64) { a.turn(now) }

// Len is how many connections are remembered.
func (a *Attempts) Len() int { return len(a.now) + len(a.old) + len(a.waiting) + len(a.waited) }
