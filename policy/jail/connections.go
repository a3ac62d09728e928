package jail

import (
	"encoding/binary"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"
)

// Connections tells how many attempts to log in the lines of a connection stand for, however many lines the daemon and
// the modules that it asks write about each of them. One goroutine uses it.
//
// Every kind of line about an attempt is a source of its own: each PAM module, each password database, the daemon's final
// word. A source writes one line for an attempt, so a connection has seen as many attempts as the source with the most
// lines. This holds for attempts in sequence and in parallel, and for sources that are silent about some of them.
//
// A connection is known by the process id that the kernel vouches for, by an id that the daemon logs (a mail queue id), or
// by its address, where several processes write about it. At most 2*maxConns are remembered, each for at least keepConn
// after its last line unless there are more: sshd and mail servers have fewer connections open at once.
type Connections struct {
	seed       uint64
	turned     int64 // when the younger generation began
	young, old generation
	waiting    [2]map[ConnKey]Attempt
}

// ConnKey identifies a connection; 0 is none.
type ConnKey uint64

// Attempt is an attempt to log in that failed, as the lines of a connection tell it.
type Attempt struct {
	At       int64 // microseconds since 1970
	Ref      Ref
	Pattern  string // of the filter, by which the line was known
	User     uint64 // keyed hash of the account name; 0: not known
	Name     []byte // the account as logged, an attacker's text, cut to MaxName bytes; borrowed from the entry, copied where it waits
	Port     uint16 // source port; 0: not known
	Attempts int    // how many attempts it stands for: more than one for "message repeated N times"
	Weight   int    // of the pattern
	MaxRetry int    // of the pattern: this many such lines lead to a ban; 0: as the jail says
	Unknown  bool   // the line says that there is no such account

	Stage       uint8  // of the pattern; 0: the line stands for itself, whatever the connection's other lines say
	Source      uint32 // which of several modules or databases of that stage wrote the line
	Provisional bool   // other lines tell how the attempt ended
	After       bool   // it counts only where the address has failed before
	Alone       bool   // its connection is that of one client, and not all that come from an address or have one id
	Before      int    // attempts of such a connection that failed before, as Count has it; not saved
}

// MaxName is how many bytes of an account name are kept.
const MaxName = 64

const (
	// keepConn is longer than sshd's LoginGraceTime of two minutes. A connection is kept for twice that at most.
	keepConn = 150 * time.Second
	maxConns = 1 << 14
	// maxWaiting is how many attempts may wait for an address, in all and of one connection.
	maxWaiting     = 1 << 12
	maxWaitingEach = 64
	maxSources     = 8
)

// conn is what is known of a connection. It holds no pointers, so that the garbage collector need not look at it.
type conn struct {
	id      ConnKey
	addr    key    // of full length; zero: not known
	seen    uint16 // attempts that any source has written about
	done    uint16 // of these, attempts whose outcome is known
	lines   [maxSources]uint16
	sources [maxSources]uint32 // stage and source; 0: not used
}

// generation is a table of connections: open addressing over an index that holds a connection's number + 1 and the upper
// bits of its id, so that a probe does not look at the connections. Most lines look up one that is not there yet, for which
// a map of Go takes five times as long. A connection that is closed keeps its place until the next generation.
type generation struct {
	index []uint32 // 0: empty. Its length is a power of two
	conns []conn
}

// numberBits hold a number up to maxConns.
const numberBits = 15

func (k ConnKey) tag() uint32 { return uint32(k>>32) &^ (1<<numberBits - 1) }

// find looks a connection up.
func (g *generation) find(k ConnKey) *conn {
	if len(g.conns) == 0 {
		return nil
	}
	mask, tag := uint64(len(g.index)-1), k.tag()
	for s := uint64(k) & mask; g.index[s] != 0; s = (s + 1) & mask {
		if n := g.index[s] ^ tag; n < 1<<numberBits {
			if x := &g.conns[n-1]; x.id == k {
				return x
			}
		}
	}
	return nil
}

// add puts in a connection that is not there. The pointer is good until the next one.
func (g *generation) add(x conn) *conn {
	g.conns = append(g.conns, x)
	if 2*len(g.conns) > len(g.index) {
		g.index = make([]uint32, max(64, 2*len(g.index)))
		for i := range g.conns {
			g.place(i)
		}
	} else {
		g.place(len(g.conns) - 1)
	}
	return &g.conns[len(g.conns)-1]
}

func (g *generation) place(i int) {
	mask := uint64(len(g.index) - 1)
	s := uint64(g.conns[i].id) & mask
	for g.index[s] != 0 {
		s = (s + 1) & mask
	}
	g.index[s] = g.conns[i].id.tag() | uint32(i+1)
}

// reset empties it. Memory that a flood took goes back.
func (g *generation) reset() {
	if cap(g.conns) > 1024 && 4*len(g.conns) < cap(g.conns) {
		*g = generation{}
		return
	}
	g.conns = g.conns[:0]
	clear(g.index)
}

// NewConnections makes an empty one. seed is for hashing, and must be the same for what Append wrote.
func NewConnections(seed uint64) *Connections {
	return &Connections{seed: seed}
}

// Key gives the key of a connection of a jail: by id if there is one, else by process. It is 0 for a line that belongs to
// no connection.
func (c *Connections) Key(jail uint16, boot [16]byte, pid uint32, id []byte) ConnKey {
	if pid == 0 && len(id) == 0 {
		return 0
	}
	h := key{binary.LittleEndian.Uint64(boot[:8]), binary.LittleEndian.Uint64(boot[8:]), jail}.hash(c.seed)
	if len(id) == 0 {
		h = key{uint64(pid), h, 0}.hash(c.seed)
	}
	for len(id) > 0 {
		var w [8]byte
		n := copy(w[:], id)
		h = key{binary.LittleEndian.Uint64(w[:]), h, uint16(n)}.hash(c.seed)
		id = id[n:]
	}
	return ConnKey(max(1, h))
}

// get looks a connection up without keeping it any longer.
func (c *Connections) get(k ConnKey) *conn {
	if x := c.young.find(k); x != nil {
		return x
	}
	return c.old.find(k)
}

// keep looks a connection up, or begins one, and keeps it. The pointer is good until the next one is kept.
func (c *Connections) keep(k ConnKey, at int64) *conn {
	c.turn(at)
	if x := c.young.find(k); x != nil {
		return x
	}
	x := conn{id: k}
	if old := c.old.find(k); old != nil {
		x = *old
		old.id = 0 // in one generation only
	}
	if len(c.young.conns) >= maxConns {
		c.next()
	}
	return c.young.add(x)
}

// of is keep for a connection from an address. With another address the same key is another connection: process ids
// return.
func (c *Connections) of(k ConnKey, addr netip.Addr, at int64) *conn {
	x := c.keep(k, at)
	if a := keyOf(addr, addr.BitLen()); x.addr.bits == 0 {
		x.addr = a
	} else if x.addr != a {
		*x = conn{id: k, addr: a}
	}
	return x
}

// next begins a new generation.
func (c *Connections) next() {
	c.young, c.old = c.old, c.young
	c.young.reset()
}

// turn begins a new generation when it is time. Lines that are older than the generation change nothing: machines whose
// clocks differ must not make each other's connections be forgotten.
func (c *Connections) turn(at int64) {
	if at-c.turned < keepConn.Microseconds() {
		return
	}
	c.turned = at
	c.next()
	c.waiting[1], c.waiting[0] = c.waiting[0], nil
}

// Known returns the address of a connection.
func (c *Connections) Known(k ConnKey) (netip.Addr, bool) {
	if k == 0 {
		return netip.Addr{}, false
	}
	if x := c.get(k); x != nil && x.addr.bits != 0 {
		return x.addr.prefix().Addr(), true
	}
	return netip.Addr{}, false
}

// Join notes the address of a connection, for later lines of it that hold none.
func (c *Connections) Join(k ConnKey, addr netip.Addr, at int64) {
	if k != 0 && addr.IsValid() {
		c.of(k, addr, at)
	}
}

// Close forgets a connection that has ended well, so that a later process with the same id is not taken for it.
func (c *Connections) Close(k ConnKey) {
	if x := c.get(k); x != nil && k != 0 {
		*x = conn{}
	}
	for i := range c.waiting {
		delete(c.waiting[i], k)
	}
}

// Count notes a line about a failed attempt and returns how many attempts are new by it. Of a provisional line these are
// attempts whose outcome is still open; of any other, attempts that have failed, provisional ones among them.
func (c *Connections) Count(k ConnKey, addr netip.Addr, a *Attempt) (attempts int) {
	if k == 0 || a.Stage == 0 {
		return a.Attempts
	}
	x := c.of(k, addr, a.At)
	lines := x.note(uint32(a.Stage)<<28|a.Source&(1<<28-1), a.Attempts)
	if a.Provisional {
		attempts = int(lines) - int(max(x.seen, x.done))
	} else {
		attempts = int(lines) - int(x.done)
		if a.Alone {
			a.Before = int(x.done)
		}
		x.done = max(x.done, lines)
	}
	x.seen = max(x.seen, x.done, lines)
	return max(0, attempts)
}

// note adds lines of a source and returns how many it has written.
func (x *conn) note(name uint32, n int) uint16 {
	at := 0
	for i, s := range x.sources {
		if s == name || s == 0 {
			at = i
			break
		} else if x.lines[i] < x.lines[at] {
			at = i
		}
	}
	if x.sources[at] != name {
		x.sources[at], x.lines[at] = name, 0 // the daemon decides which sources there are: more than maxSources are not seen
	}
	if int(x.lines[at])+n >= 1<<15 { // begin again: only the differences matter
		*x = conn{id: x.id, addr: x.addr}
		at = 0
		x.sources[0] = name
	}
	x.lines[at] += uint16(n)
	return x.lines[at]
}

// Settled says that the outcome of provisional attempts of a connection is known, whatever is written about them later.
func (c *Connections) Settled(k ConnKey, addr netip.Addr, attempts int) {
	if x := c.get(k); x != nil && x.addr == keyOf(addr, addr.BitLen()) { // a process may serve another address by now
		x.done = min(x.seen, x.done+uint16(attempts))
	}
}

// Failed says whether an attempt of a connection has failed.
func (c *Connections) Failed(k ConnKey) bool {
	x := c.get(k)
	return x != nil && x.done > 0
}

// Void says that an attempt of a connection is no failure, whatever the lines say that follow about it.
func (c *Connections) Void(k ConnKey, at int64) {
	if k == 0 {
		return
	}
	x := c.keep(k, at)
	if x.done < 1<<15 {
		x.done++
	}
	x.seen = max(x.seen, x.done)
}

// Wait keeps an attempt until the address of its connection is known. An attempt that belongs to no connection is lost,
// and so is the rest of a flood of them.
func (c *Connections) Wait(k ConnKey, a Attempt) {
	if k == 0 {
		return
	}
	c.turn(a.At)
	if c.waiting[0] == nil {
		c.waiting[0] = map[ConnKey]Attempt{}
	}
	old, ok := c.TakeWaiting(k)
	if ok {
		// Of several lines about one attempt the first is kept, as it is when the address is known from the start.
		if a.Stage == 0 || a.Stage <= old.Stage {
			old.Attempts = min(old.Attempts+a.Attempts, maxWaitingEach)
		}
		a = old
	}
	if len(c.waiting[0]) < maxWaiting {
		if !ok {
			a.Name = slices.Clone(a.Name)
		}
		c.waiting[0][k] = a
	}
}

// Waits says whether anything waits for an address.
func (c *Connections) Waits() bool { return len(c.waiting[0])+len(c.waiting[1]) > 0 }

// TakeWaiting hands over what waits for the address of a connection.
func (c *Connections) TakeWaiting(k ConnKey) (a Attempt, ok bool) {
	for _, m := range c.waiting {
		if len(m) == 0 {
			continue
		}
		if a, ok = m[k]; ok {
			delete(m, k)
			return a, true
		}
	}
	return a, false
}

// Expire forgets what is old when no lines come. It also notices a clock that was set back.
func (c *Connections) Expire(now int64) {
	if c.turned-now >= keepConn.Microseconds() {
		c.turned = now - keepConn.Microseconds()
	}
	c.turn(now)
}

// Len is how many connections are remembered.
func (c *Connections) Len() int {
	return len(c.young.conns) + len(c.old.conns) + len(c.waiting[0]) + len(c.waiting[1])
}

// Append appends what is known of all connections.
func (c *Connections) Append(b []byte) []byte {
	b = binary.AppendVarint(b, c.turned)
	for _, g := range []*generation{&c.young, &c.old} {
		l := slices.DeleteFunc(slices.Clone(g.conns), func(x conn) bool { return x.id == 0 })
		b = binary.AppendUvarint(b, uint64(len(l)))
		for _, x := range l {
			b = binary.LittleEndian.AppendUint64(b, uint64(x.id))
			b = appendAddr(b, x.addr)
			b = binary.AppendUvarint(b, uint64(x.seen))
			b = binary.AppendUvarint(b, uint64(x.done))
			for i, s := range x.sources {
				if s != 0 {
					b = binary.AppendUvarint(b, uint64(s))
					b = binary.AppendUvarint(b, uint64(x.lines[i]))
				}
			}
			b = append(b, 0) // no source's name is 0
		}
	}
	for _, m := range c.waiting {
		b = binary.AppendUvarint(b, uint64(len(m)))
		for _, k := range slices.Sorted(maps.Keys(m)) {
			a := m[k]
			b = binary.LittleEndian.AppendUint64(b, uint64(k))
			b = appendAttempt(b, &a)
		}
	}
	return b
}

// RestoreConnections makes one of what Append wrote.
func RestoreConnections(b []byte, seed uint64) (*Connections, error) {
	d := &decoder{b: b}
	c := NewConnections(seed)
	c.turned = d.time()
	for _, g := range []*generation{&c.young, &c.old} {
		for n := d.length(12); n > 0 && d.err == nil; n-- {
			x := conn{id: ConnKey(d.fixed64()), addr: d.addr(), seen: d.uint16(), done: d.uint16()}
			for i := 0; d.err == nil; i++ {
				name := d.uvarint()
				if name == 0 {
					break
				}
				lines := d.uint16()
				if i >= maxSources || name > math.MaxUint32 || lines >= 1<<15 {
					d.fail("a source out of range")
					break
				}
				x.sources[i], x.lines[i] = uint32(name), lines
			}
			if x.seen > 1<<15 || x.done > 1<<15 || x.id == 0 || c.get(x.id) != nil {
				d.fail("a connection out of range")
			}
			g.add(x)
		}
	}
	for i := range c.waiting {
		for n := d.length(16); n > 0 && d.err == nil; n-- {
			if c.waiting[i] == nil {
				c.waiting[i] = map[ConnKey]Attempt{}
			}
			k := ConnKey(d.fixed64())
			c.waiting[i][k] = d.attempt()
		}
	}
	if len(c.young.conns) > maxConns || len(c.old.conns) > maxConns || len(c.waiting[0]) > maxWaiting || len(c.waiting[1]) > maxWaiting || len(d.b) > 0 {
		d.fail("more than there should be")
	}
	return c, d.err
}

// RestoreRefs gives attempts that were restored, and wait for an address, the entries that they stand in. from has read these
// entries again.
func (c *Connections) RestoreRefs(from *Connections) {
	for _, m := range c.waiting {
		for k, a := range m {
			for _, again := range from.waiting {
				if x, ok := again[k]; ok && x.At == a.At && a.Ref == NoRef {
					a.Ref = x.Ref
					m[k] = a
				}
			}
		}
	}
}
