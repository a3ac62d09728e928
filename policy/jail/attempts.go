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
	conns    conns
	turned   int64 // when the generation of now was begun
	boot     [16]byte
	bootHash uint64 // of boot

	waiting, waited map[uint64]Waiting // two generations of them, too
}

// Waiting is a failure whose line holds no address: it counts when a later line of the connection tells one.
type Waiting struct {
	Pattern string
	Ref     Ref
	At      int64
	User    uint64
	Weight  int
	Most    int // Pattern.MaxRetry
	Unknown bool
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
	hi, lo  uint64 // address as IPv6, IPv4 mapped
	known   bool   // hi and lo are set
	counted bool   // a failure of it was counted
	step    uint8  // of the last line of the current attempt
	young   bool   // which generation had its last line
}

func (c *conn) set(a netip.Addr) {
	b := a.As16()
	c.hi, c.lo, c.known = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), true
}

func (c *conn) is(a netip.Addr) bool {
	b := a.As16()
	return c.hi == binary.BigEndian.Uint64(b[:8]) && c.lo == binary.BigEndian.Uint64(b[8:])
}

func (c *conn) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], c.hi)
	binary.BigEndian.PutUint64(b[8:], c.lo)
	return netip.AddrFrom16(b).Unmap()
}

// conns is a table of connections by their number, in open addressing. Nothing is removed from it one by one: turn drops
// those that had no line in two generations.
type conns struct {
	slots []connSlot // as many as a power of two
	n     int
	young bool // which generation is the younger one
}

type connSlot struct {
	name uint64 // 0: empty
	conn
}

// slot gives the place of a connection, or the empty one where it belongs; nil while there is no table.
func (t *conns) slot(name uint64) *connSlot {
	if len(t.slots) == 0 {
		return nil
	}
	mask := uint64(len(t.slots) - 1)
	for i := name & mask; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.name == name || s.name == 0 {
			return s
		}
	}
}

// take gives a connection's place and makes it if need be.
func (t *conns) take(name uint64) *connSlot {
	if 4*(t.n+1) > 3*len(t.slots) {
		t.rebuild(max(64, 2*len(t.slots)), func(*connSlot) bool { return true })
	}
	s := t.slot(name)
	if s.name == 0 {
		s.name = name
		t.n++
	}
	s.young = t.young
	return s
}

func (t *conns) rebuild(size int, keep func(*connSlot) bool) {
	old := t.slots
	t.slots, t.n = make([]connSlot, size), 0
	for i := range old {
		if s := &old[i]; s.name != 0 && keep(s) {
			*t.slot(s.name) = *s
			t.n++
		}
	}
}

// turn drops the older generation and begins a new one.
func (t *conns) turn() {
	kept := 0
	for i := range t.slots {
		if s := &t.slots[i]; s.name != 0 && s.young == t.young {
			kept++
		}
	}
	if kept == 0 {
		*t = conns{young: !t.young}
		return
	}
	size := 64
	for 3*size < 4*2*kept { // room for as many again
		size *= 2
	}
	t.rebuild(size, func(s *connSlot) bool { return s.young == t.young })
	t.young = !t.young
}

// stepEnd is the step of lines that only tell that a connection has ended (filter.StepEnd).
const stepEnd = 9

// NewAttempts makes an empty one.
func NewAttempts() *Attempts {
	return &Attempts{seed: maphash.MakeSeed()}
}

// name gives a connection a number; ok is false for a line that belongs to none. Process ids stand in the lower half as
// they are, and slots are taken by them: those that follow each other lie side by side.
func (a *Attempts) name(boot [16]byte, pid uint32, id []byte) (n uint64, ok bool) {
	if pid == 0 && len(id) == 0 {
		return 0, false
	}
	if boot != a.boot || a.bootHash == 0 {
		a.boot, a.bootHash = boot, maphash.Bytes(a.seed, boot[:])|1<<63
	}
	if len(id) == 0 {
		return a.bootHash&^0xffffffff | uint64(pid), true
	}
	return max(1, maphash.Bytes(a.seed, id)^a.bootHash), true
}

// turn begins a new generation when it is time. A line that is older than the generation does not: a failure that
// waited, and machines whose clocks differ, must not have the others' connections forgotten.
func (a *Attempts) turn(at int64) {
	if at-a.turned < keepConn.Microseconds() {
		return
	}
	a.turned = at
	if a.Len() == 0 {
		return
	}
	a.conns.turn()
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
	c := a.take(n, addr, at)
	count := !c.counted || step != stepEnd && step <= c.step
	c.counted, c.step = true, step
	return count
}

// Join notes the address of a connection, for later lines of it that hold none.
func (a *Attempts) Join(boot [16]byte, pid uint32, id []byte, addr netip.Addr, at int64) {
	n, ok := a.name(boot, pid, id)
	if !ok || !addr.IsValid() {
		return
	}
	a.take(n, addr, at)
}

// take gives what is known of a connection, which is nothing if it is another one now.
func (a *Attempts) take(n uint64, addr netip.Addr, at int64) *conn {
	a.turn(at)
	c := &a.conns.take(n).conn
	if !c.known || !c.is(addr) {
		*c = conn{young: c.young}
		c.set(addr)
	}
	return c
}

// Known returns the address of a connection.
func (a *Attempts) Known(boot [16]byte, pid uint32, id []byte) (netip.Addr, bool) {
	if n, ok := a.name(boot, pid, id); ok {
		if s := a.conns.slot(n); s != nil && s.name != 0 && s.known {
			return s.addr(), true
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

// Expire drops what is old when no lines come any more. It also learns of a clock that was set back.
func (a *Attempts) Expire(now int64) {
	if a.turned-now >= keepConn.Microseconds() {
		a.turned = now - keepConn.Microseconds()
	}
	a.turn(now)
}

// Len is how many connections are remembered.
func (a *Attempts) Len() int { return a.conns.n + len(a.waiting) + len(a.waited) }
