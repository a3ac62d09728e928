package jail

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// Connections counts the login attempts of each connection, however many lines the daemon and its modules write about each
// attempt. One goroutine uses it.
//
// Each kind of line about an attempt is a source: each PAM module, each password database, the daemon's own last line. A source writes one
// line about an attempt, so a connection has as many attempts as the source with the most lines. This holds for attempts in sequence and in
// parallel, and for sources that do not log every attempt.
//
// A connection is identified by the process id, as recorded by the kernel, by an id that the daemon logs (a mail queue id),
// or, if several processes write about it, by its address. There are two generations of at most maxConns each: a connection is
// remembered for between once and twice keepConn after its last line, unless there are more of them; sshd and mail servers
// have fewer open at once.
type Connections struct {
	seed       uint64
	turned     int64 // when the newer generation began
	young, old generation
	waiting    [2]map[ConnKey]Attempt // attempts whose address is not known yet, by generation
}

// ConnKey identifies a connection. 0: none.
type ConnKey uint64

const (
	// keepConn is longer than the three minutes after which Dovecot closes an idle connection, and than sshd's LoginGraceTime of two.
	keepConn = 200 * time.Second
	maxConns = 1 << 14
	// maxWaiting is how many attempts may wait for an address, in all and of one connection.
	maxWaiting     = 1 << 12
	maxWaitingEach = 64
	maxSources     = 8
)

// conn is a connection. It has no pointers, so the garbage collector need not visit it.
type conn struct {
	key     ConnKey    // 0: closed
	addr    prefix.Key // zero: unknown
	seen    uint16     // attempts that any source has reported
	done    uint16     // of these, those with a known outcome
	sources [maxSources]source
}

// source is a source of lines about a connection's attempts.
type source struct {
	name  uint32 // stage and source; 0: not used
	lines uint16
}

// generation is a table of connections: open addressing over an index that holds a connection's number + 1 and the upper bits of its key,
// so that a probe does not look at the connections. Most lookups are for a connection that does not exist yet. With Go maps, a replay of
// sshd's failures takes 10% longer. A connection that is closed keeps its place until the next generation.
type generation struct {
	index []uint32 // 0: empty. Its length is a power of two
	conns []conn
}

// numberBits hold a number up to maxConns.
const numberBits = 15

func (k ConnKey) tag() uint32 { return uint32(k>>32) &^ (1<<numberBits - 1) }

// get returns a connection, or nil.
func (g *generation) get(k ConnKey) *conn {
	if len(g.conns) == 0 {
		return nil
	}
	mask, tag := uint64(len(g.index)-1), k.tag()
	for s := uint64(k) & mask; g.index[s] != 0; s = (s + 1) & mask {
		if n := g.index[s] ^ tag; n < 1<<numberBits {
			if x := &g.conns[n-1]; x.key == k {
				return x
			}
		}
	}
	return nil
}

// add adds a connection that does not exist. The pointer is valid until the next call.
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
	s := uint64(g.conns[i].key) & mask
	for g.index[s] != 0 {
		s = (s + 1) & mask
	}
	g.index[s] = g.conns[i].key.tag() | uint32(i+1)
}

// reset empties the generation and releases the memory that a flood took.
func (g *generation) reset() {
	if cap(g.conns) > 1024 && 4*len(g.conns) < cap(g.conns) {
		*g = generation{}
		return
	}
	g.conns = g.conns[:0]
	clear(g.index)
}

// open returns the connections that are not closed, sorted by key.
func (g *generation) open() []conn {
	l := slices.DeleteFunc(slices.Clone(g.conns), func(x conn) bool { return x.key == 0 })
	slices.SortFunc(l, func(a, b conn) int { return cmp.Compare(a.key, b.key) })
	return l
}

// NewConnections returns empty Connections. seed is for hashing; saved connections must be read with the seed that they were written with.
func NewConnections(seed uint64) *Connections {
	return &Connections{seed: seed}
}

// Key returns the key of a jail's connection: by id if there is one, else by process. It is 0 if the line belongs to no
// connection.
func (c *Connections) Key(jail uint16, boot [16]byte, pid uint32, id []byte) ConnKey {
	if pid == 0 && len(id) == 0 {
		return 0
	}
	h := prefix.Mix(binary.LittleEndian.Uint64(boot[:8]), binary.LittleEndian.Uint64(boot[8:])^uint64(jail), c.seed)
	if len(id) == 0 {
		h = prefix.Mix(uint64(pid), h, c.seed)
	}
	for len(id) > 0 {
		var w [8]byte
		n := copy(w[:], id)
		h = prefix.Mix(binary.LittleEndian.Uint64(w[:]), h^uint64(n), c.seed)
		id = id[n:]
	}
	return ConnKey(max(1, h))
}

// get returns a connection, or nil, without extending the time for which it is remembered.
func (c *Connections) get(k ConnKey) *conn {
	if x := c.young.get(k); x != nil {
		return x
	}
	return c.old.get(k)
}

// keep returns a connection, new or known, and extends the time for which it is remembered. The pointer is valid until the
// next call.
func (c *Connections) keep(k ConnKey, at int64) *conn {
	c.turn(at)
	if x := c.young.get(k); x != nil {
		return x
	}
	x := conn{key: k}
	if old := c.old.get(k); old != nil {
		x = *old
		old.key = 0 // a connection must be in one generation only
	}
	if len(c.young.conns) >= maxConns {
		c.next()
	}
	return c.young.add(x)
}

// next begins a new generation.
func (c *Connections) next() {
	c.young, c.old = c.old, c.young
	c.young.reset()
}

// of is keep for a connection from an address. The same key with another address is another connection, since process ids are
// reused.
func (c *Connections) of(k ConnKey, addr netip.Addr, at int64) *conn {
	x, own := c.keep(k, at), prefix.OfAddr(addr)
	if x.addr != own && x.addr != (prefix.Key{}) {
		*x = conn{key: k}
	}
	x.addr = own
	return x
}

// turn begins a new generation when it is time. Lines older than the generation never do: hosts whose clocks differ must not cause each
// other's connections to be forgotten.
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
	if x := c.get(k); k != 0 && x != nil && !x.addr.IsZero() {
		return x.addr.Addr(), true
	}
	return netip.Addr{}, false
}

// Join records the address of a connection, for later lines without one.
func (c *Connections) Join(k ConnKey, addr netip.Addr, at int64) {
	if k != 0 && addr.IsValid() {
		c.of(k, addr, at)
	}
}

// Close removes a connection that ended with a login, so that a later process with the same id is not mistaken for it.
func (c *Connections) Close(k ConnKey) {
	if x := c.get(k); x != nil && k != 0 {
		*x = conn{}
	}
	for i := range c.waiting {
		delete(c.waiting[i], k)
	}
}

// Count records a line about a failed attempt and returns how many new attempts it reports: for a provisional line, attempts
// with an open outcome; for any other, attempts that failed, including provisional ones.
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

// note adds lines of a source and returns their total.
func (x *conn) note(name uint32, n int) uint16 {
	at := 0
	for i, s := range x.sources {
		if s.name == name || s.name == 0 {
			at = i
			break
		} else if s.lines < x.sources[at].lines {
			at = i
		}
	}
	if x.sources[at].name != name {
		x.sources[at] = source{name, 0} // the daemon determines the sources, so a client cannot cause more than maxSources
	}
	if int(x.sources[at].lines)+n >= 1<<15 { // start again: only differences matter
		*x = conn{key: x.key, addr: x.addr}
		at = 0
		x.sources[0].name = name
	}
	x.sources[at].lines += uint16(n)
	return x.sources[at].lines
}

// Settled records that the outcome of a connection's provisional attempts is known. Later lines about them do not count.
func (c *Connections) Settled(k ConnKey, addr netip.Addr, attempts int) {
	if x := c.get(k); x != nil && x.addr == prefix.OfAddr(addr) { // the process may serve another address now
		x.done = min(x.seen, x.done+uint16(attempts))
	}
}

// Failed reports whether an attempt of a connection has failed.
func (c *Connections) Failed(k ConnKey) bool {
	x := c.get(k)
	return x != nil && x.done > 0
}

// Void records that an attempt of a connection is no failure. Later lines about it do not count.
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

// Wait keeps an attempt until the address of its connection is known. Attempts without a connection are dropped, and so are
// those beyond maxWaiting.
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
		// If several lines are about one attempt, the first is kept, as if the address had been known from the start.
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

// TakeWaiting returns and removes the attempts that wait for the address of a connection.
func (c *Connections) TakeWaiting(k ConnKey) (a Attempt, ok bool) {
	for _, m := range c.waiting {
		if a, ok = m[k]; ok {
			delete(m, k)
			return a, true
		}
	}
	return a, false
}

// Expire begins a new generation when it is time, even if no lines come. It also notices that the clock was set back.
func (c *Connections) Expire(now int64) {
	if c.turned-now >= keepConn.Microseconds() {
		c.turned = now - keepConn.Microseconds()
	}
	c.turn(now)
}

// Len returns the number of connections remembered.
func (c *Connections) Len() int {
	return len(c.young.conns) + len(c.old.conns) + len(c.waiting[0]) + len(c.waiting[1])
}

// RestoreRefs sets the journal entries of restored attempts that wait for an address. from holds the same attempts as reread from the
// journal.
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

// Stream writes or reads all connections.
func (c *Connections) Stream(s *codec.Stream) {
	s.Time(&c.turned)
	for _, g := range []*generation{&c.young, &c.old} {
		open := g.open()
		codec.Each(s, len(open), 12, slices.Values(open), func(x *conn) { x.stream(s) }, func(x conn) {
			s.Check(x.key != 0 && c.get(x.key) == nil, "a connection out of range")
			g.add(x)
		})
	}
	for i := range c.waiting {
		if s.Reading {
			c.waiting[i] = map[ConnKey]Attempt{}
		}
		codec.Map(s, c.waiting[i], 8+leastAttempt, cmp.Compare[ConnKey], func(k *ConnKey, a *Attempt) {
			s.Fixed64((*uint64)(k))
			a.stream(s)
		})
	}
	s.Check(len(c.young.conns) <= maxConns && len(c.old.conns) <= maxConns && len(c.waiting[0]) <= maxWaiting && len(c.waiting[1]) <= maxWaiting,
		"more connections than there should be")
}

func (x *conn) stream(s *codec.Stream) {
	s.Fixed64((*uint64)(&x.key))
	known := !x.addr.IsZero()
	if s.Flags(&known); known {
		s.Addr(&x.addr)
	}
	codec.Number(s, &x.seen, 1<<15)
	codec.Number(s, &x.done, 1<<15)
	for i := 0; i <= maxSources && s.OK(); i++ {
		var y source
		if i < maxSources {
			y = x.sources[i]
		}
		if codec.Number(s, &y.name, math.MaxUint32); y.name == 0 { // the end
			break
		}
		codec.Number(s, &y.lines, 1<<15-1)
		if s.Check(i < maxSources, "a source out of range"); s.OK() {
			x.sources[i] = y
		}
	}
}
