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
	conns    [shards]conns
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

// shards is how many tables there are, so that the one that grows is small: while it is copied it takes half as much again
// as its successor alone.
const shards = 16

// of gives the table that a connection belongs to. Of process ids that follow each other 64 share one, and lie side by side there.
func (a *Attempts) of(name uint64) *conns { return &a.conns[name>>6%shards] }

// conns is a table of connections by their number, in open addressing. Nothing is removed from it one by one: turn drops
// those that had no line in two generations. A flood may bring a million within minutes, so each takes 16 bytes, and the few that
// are IPv6's 16 more.
type conns struct {
	slots []conn       // as many as a power of two
	long  [][][16]byte // IPv6 addresses, in chunks
	used  uint32       // of long
	n     int          //
	young bool         // which generation is the younger one
}

// conn is what is known of a connection.
type conn struct {
	name    uint64 // 0: empty
	addr    uint32 // IPv4, or the place of an IPv6 address in long
	step    uint8  // of the last line of the current attempt
	family  uint8  // 4, 6, or 0: the address is not known
	counted bool   // a failure of it was counted
	young   bool   // which generation had its last line
}

func (t *conns) at(i uint32) *[16]byte { return &t.long[i>>chunkBits][i&(chunk-1)] }

// set notes a connection's address.
func (t *conns) set(c *conn, a netip.Addr) {
	if a.Is4() {
		b := a.As4()
		c.addr, c.family = binary.BigEndian.Uint32(b[:]), 4
		return
	}
	if c.family != 6 {
		if c.addr, c.family = t.used, 6; t.used>>chunkBits == uint32(len(t.long)) {
			t.long = append(t.long, make([][16]byte, chunk))
		}
		t.used++
	}
	*t.at(c.addr) = a.As16()
}

// is says whether a connection has that address.
func (t *conns) is(c *conn, a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		return c.family == 4 && c.addr == binary.BigEndian.Uint32(b[:])
	}
	return c.family == 6 && *t.at(c.addr) == a.As16()
}

// address gives a connection's address; invalid where it is not known.
func (t *conns) address(c *conn) netip.Addr {
	switch c.family {
	case 4:
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], c.addr)
		return netip.AddrFrom4(b)
	case 6:
		return netip.AddrFrom16(*t.at(c.addr))
	}
	return netip.Addr{}
}

// slot gives the place of a connection, or the empty one where it belongs; nil while there is no table.
func (t *conns) slot(name uint64) *conn {
	if len(t.slots) == 0 {
		return nil
	}
	mask := uint64(len(t.slots) - 1)
	for i := (name/(64*shards)*64 + name%64) & mask; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.name == name || s.name == 0 {
			return s
		}
	}
}

// take gives a connection's place and makes it if need be.
func (t *conns) take(name uint64) *conn {
	if 8*(t.n+1) > 7*len(t.slots) { // most names follow each other, so that few are in the others' way
		old := t.slots
		t.slots = make([]conn, max(64, 2*len(old)))
		for i := range old {
			if s := &old[i]; s.name != 0 {
				*t.slot(s.name) = *s
			}
		}
	}
	s := t.slot(name)
	if s.name == 0 {
		s.name = name
		t.n++
	}
	s.young = t.young
	return s
}

// turn drops the older generation and begins a new one.
func (t *conns) turn() {
	kept := 0
	for i := range t.slots {
		if s := &t.slots[i]; s.name != 0 && s.young == t.young {
			kept++
		}
	}
	next := conns{n: kept, young: !t.young}
	if kept > 0 {
		size := 64
		for 2*size < 3*kept { // room for a third as many more at least
			size *= 2
		}
		next.slots = make([]conn, size)
	}
	for i := range t.slots {
		if s := &t.slots[i]; s.name != 0 && s.young == t.young {
			c := next.slot(s.name)
			*c = *s
			if c.family == 6 {
				c.family = 0
				next.set(c, t.address(s))
			}
		}
	}
	*t = next
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
	for i := range a.conns {
		a.conns[i].turn()
	}
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
	t := a.of(n)
	c := t.take(n)
	if !t.is(c, addr) {
		c.counted, c.step = false, 0
		t.set(c, addr)
	}
	return c
}

// Known returns the address of a connection.
func (a *Attempts) Known(boot [16]byte, pid uint32, id []byte) (netip.Addr, bool) {
	if n, ok := a.name(boot, pid, id); ok {
		t := a.of(n)
		if c := t.slot(n); c != nil && c.family != 0 {
			return t.address(c), true
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
func (a *Attempts) Len() int {
	n := len(a.waiting) + len(a.waited)
	for i := range a.conns {
		n += a.conns[i].n
	}
	return n
}
