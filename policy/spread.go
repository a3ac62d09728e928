package policy

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/config"
	"bailiff/policy/jail"
	"bailiff/policy/ledger"
)

// spreadShare is the part of limits.tracked that accounts, logins and each kind of network may have: pairs of account and
// address take some 180 bytes, so all of it is a few percent of what the tracked prefixes take.
const spreadShare = 64

// network counts the parts of networks of one size.
type network struct {
	bits    int
	v6      bool
	counter *jail.Counter
}

// sizes are the networks that are banned as a whole.
var sizes = []struct {
	bits int
	v6   bool
	need func(*config.Neighbours) int
}{
	{24, false, func(n *config.Neighbours) int { return n.Net4 }},
	{64, true, func(n *config.Neighbours) int { return n.Net6.Bits64 }},
	{56, true, func(n *config.Neighbours) int { return n.Net6.Bits56 }},
	{48, true, func(n *config.Neighbours) int { return n.Net6.Bits48 }},
}

func (n *network) holds(a netip.Addr) bool { return a.Is6() == n.v6 }

func (n *network) of(a netip.Addr) netip.Prefix {
	p, _ := a.Prefix(n.bits)
	return p
}

// id numbers the parts of a network from 1 on; the addresses of a /64 by a hash.
func (n *network) id(p netip.Prefix, seed uint64) uint32 {
	if !n.v6 {
		return uint32(p.Addr().As4()[3]) + 1
	}
	b := p.Addr().As16()
	switch n.bits {
	case 56:
		return uint32(b[7]) + 1
	case 48:
		return uint32(b[6])<<8 | uint32(b[7]) + 1
	}
	return short(jail.Mix(1, p, seed) | 1)
}

// partOf is the part of a network that an id stands for.
func (n *network) partOf(net netip.Prefix, id uint32) (p netip.Prefix, ok bool) {
	if id == 0 {
		return p, false
	}
	id--
	if !n.v6 {
		b := net.Addr().As4()
		b[3] = byte(id)
		return netip.PrefixFrom(netip.AddrFrom4(b), 32), true
	}
	b := net.Addr().As16()
	switch n.bits {
	case 56:
		b[7] = byte(id)
	case 48:
		b[6], b[7] = byte(id>>8), byte(id)
	default:
		return p, false
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), 64), true
}

func (g *Engine) options(c *config.Jail) jail.Options {
	return jail.Options{
		FindTime: c.FindTime, MaxRetry: c.MaxRetry, SlowTime: c.Slow.FindTime, SlowRetry: c.Slow.MaxRetry,
		Prefix4: c.Prefix4, Prefix6: c.Prefix6, Budget: g.budget, Seed: g.seed,
	}
}

func (g *Engine) keepLogins() time.Duration { return max(g.attacked.Spare, g.around.Spare) }

// number gives a jail's name the number that accounts know it by.
func (g *Engine) number(name string) uint16 {
	for i, n := range g.names {
		if n == name {
			return uint16(i)
		}
	}
	g.names = append(g.names, name)
	return uint16(len(g.names) - 1)
}

func share(c *config.Config) int { return c.Limits.Tracked / spreadShare }

func accountOptions(c *config.Config) jail.AccountOptions {
	a := &c.Accounts
	return jail.AccountOptions{FindTime: a.FindTime, Addresses: a.Addresses, MaxRetry: a.MaxRetry, Limit: share(c)}
}

// configureSpread takes the settings of what is counted over all jails.
func (g *Engine) configureSpread(c *config.Config) {
	g.attacked, g.around = c.Accounts, c.Neighbours
	keep := g.keepLogins()
	if g.accounts == nil {
		g.accounts, g.logins = jail.NewAccounts(accountOptions(c), g.seed), jail.NewLogins(share(c), keep)
	} else {
		g.accounts.Configure(accountOptions(c))
		g.logins.Configure(share(c), keep)
	}
	old := g.nets
	g.nets = nil
	for _, s := range sizes {
		need := s.need(&c.Neighbours)
		if need == 0 {
			continue
		}
		n := &network{bits: s.bits, v6: s.v6}
		for _, o := range old {
			if o.bits == n.bits && o.v6 == n.v6 {
				n.counter = o.counter
			}
		}
		if o := g.netOptions(n, c); n.counter == nil {
			o.Budget = jail.NewBudget(max(1024, share(c)))
			n.counter = jail.NewCounter(o)
		} else {
			o.Budget = n.counter.Budget()
			o.Budget.SetLimit(max(1024, share(c)))
			n.counter.Configure(o)
		}
		g.nets = append(g.nets, n)
	}
}

func (g *Engine) netOptions(n *network, c *config.Config) jail.Options {
	o := jail.Options{FindTime: c.Neighbours.FindTime, Prefix4: 24, Prefix6: n.bits, Seed: g.seed}
	for _, s := range sizes {
		if s.bits == n.bits && s.v6 == n.v6 {
			o.MaxRetry = s.need(&c.Neighbours)
		}
	}
	return o
}

// short is what a counter keeps of a name's hash: 24 bits, and 0 for no name alone.
func short(name uint64) uint32 {
	u := uint32(name) & (1<<24 - 1)
	if u == 0 && name != 0 {
		u = 1
	}
	return u
}

// someone stands for any account in Engine.logins.
const someone = 0

// convict bans one of those that attack an account, for what it did itself.
func (g *Engine) convict(p jail.Part, at int64) {
	c := g.byName[g.names[p.Jail]]
	addr := p.Prefix.Addr()
	if c == nil || g.held(c, addr, at) || g.led.Pardoned(addr, p.Failures[len(p.Failures)-1].At) {
		return
	}
	if _, ok := g.allow.Contains(addr, at); ok {
		return
	}
	count := 0
	for _, f := range p.Failures {
		count += f.Weight
	}
	if g.ban(c, addr, p.Prefix, ledger.Account, p.Failures, count, false, at) {
		c.counter.Take(p.Prefix)
		x := p.Failures[len(p.Failures)-1]
		x.At = at
		g.neighbours(c, addr, p.Prefix, x)
	}
}

// neighbours counts an address that was banned, or of IPv6 one that failed, as a part of the networks around it.
func (g *Engine) neighbours(c *cell, addr netip.Addr, narrow netip.Prefix, x jail.Failure) {
	at := x.At
	for _, n := range g.nets {
		if !n.holds(addr) || n.bits >= narrow.Bits() {
			continue
		}
		v := n.counter.AddOnce(addr, x, n.id(narrow, g.seed))
		if !v.Tripped || g.logins.Within(jail.Mix(someone, v.Prefix, g.seed), at, g.around.Spare) || g.allow.Overlaps(v.Prefix, at) {
			continue
		}
		l := n.counter.Take(v.Prefix)
		if g.ban(c, addr, v.Prefix, ledger.Neighbours, l, v.Count, true, at) {
			b := &g.out.Bans[len(g.out.Bans)-1]
			for _, f := range l {
				if p, ok := n.partOf(v.Prefix, f.User); ok {
					b.Parts = append(b.Parts, p)
				}
			}
		}
	}
}

// success clears what a user from an address had against it, and nothing more.
func (g *Engine) success(c *cell, addr netip.Addr, user uint64, at int64) {
	if g.rebuild && g.restored {
		return
	}
	narrow := g.narrow(c, addr)
	c.counter.Success(addr, short(user))
	if user != 0 {
		g.accounts.Success(user, narrow)
		g.logins.Add(jail.Mix(user, narrow, g.seed), at)
	}
	clear := true
	for _, c := range g.jails {
		clear = clear && !c.counter.Has(addr, at)
	}
	for _, n := range g.nets {
		if n.holds(addr) {
			g.logins.Add(jail.Mix(someone, n.of(addr), g.seed), at)
			if clear && n.v6 {
				n.counter.RemoveOnce(addr, n.id(narrow, g.seed))
			}
		}
	}
}

// recall tells what was restored in which entry a failure stands.
func (g *Engine) recall(c *cell, addr netip.Addr, x jail.Failure, user uint64) {
	c.counter.Recall(addr, x)
	narrow := g.narrow(c, addr)
	if user != 0 {
		g.accounts.Recall(user, narrow, x)
	}
	for _, n := range g.nets {
		if n.holds(addr) {
			x.User = n.id(narrow, g.seed)
			n.counter.Recall(addr, x)
		}
	}
}

// Counted looks up what counts against an address in every window. The slow window is told where it holds more than the
// normal one, an account where others have failed on it, too.
func (g *Engine) Counted(addr netip.Addr, now int64) (l []Counted) {
	sum := func(fs []jail.Failure) (have int, oldest int64) {
		oldest = now
		for _, f := range fs {
			have += f.Weight
			oldest = min(oldest, f.At)
		}
		return have, oldest
	}
	for _, c := range g.jails {
		of := Counted{Jail: c.conf.Name, Filter: c.conf.Filter.Name}
		normal := 0
		if p, fs := c.counter.Look(addr, now); len(fs) > 0 {
			have, oldest := sum(fs)
			normal = have
			of.Window, of.Find, of.Prefix, of.Failures, of.Have, of.Need = WindowNormal, c.conf.FindTime, p, fs, have, c.counter.Need(p)
			of.Until = oldest + c.conf.FindTime.Microseconds()
			l = append(l, of)
		}
		if have, fs, until := c.counter.LookSlow(addr, now); have > normal {
			of.Window, of.Find, of.Prefix, of.Failures, of.Have, of.Need, of.Until = WindowSlow, c.conf.Slow.FindTime, g.narrow(c, addr), fs, have, c.conf.Slow.MaxRetry, until
			l = append(l, of)
		}
	}
	g.accounts.Look(addr, now, func(p jail.Part, own, others int) {
		if others < 2 {
			return
		}
		_, oldest := sum(p.Failures)
		of := Counted{
			Jail: g.names[p.Jail], Window: WindowAccount, Find: g.attacked.FindTime, Prefix: p.Prefix, Have: own, Need: cmp.Or(g.accounts.Need(others), g.attacked.MaxRetry),
			Others: others, OthersNeed: g.attacked.Addresses, Until: oldest + g.attacked.FindTime.Microseconds(), Failures: p.Failures,
		}
		if c := g.byName[of.Jail]; c != nil {
			of.Filter = c.conf.Filter.Name
		}
		l = append(l, of)
	})
	for _, n := range g.nets {
		if !n.holds(addr) {
			continue
		}
		if p, fs := n.counter.Look(addr, now); len(fs) > 0 {
			have, oldest := sum(fs)
			l = append(l, Counted{
				Window: WindowNeighbours, Find: g.around.FindTime, Prefix: p, Have: have, Need: n.counter.Need(p),
				Until: oldest + g.around.FindTime.Microseconds(), Failures: fs,
			})
		}
	}
	return l
}

// Spreading is what is counted over all jails, and what had to be forgotten for lack of room.
type Spreading struct {
	Accounts int    // that were failed on more than once within accounts.find_time
	Attacked int    // of those, under attack now
	Networks int    // with parts that attacked
	Crowded  uint64 // accounts that were forgotten to make room for others
	Cut      uint64 // prefixes whose slow window was cut short to make room, and networks that were forgotten
}

// Spreading tells it at a moment.
func (g *Engine) Spreading(now int64) (s Spreading) {
	s.Accounts, _ = g.accounts.Len()
	s.Attacked, s.Crowded = g.accounts.Attacked(now), g.accounts.Crowded()
	for _, n := range g.nets {
		s.Networks += n.counter.Tracked()
		s.Cut += n.counter.Cut()
	}
	for _, c := range g.jails {
		s.Cut += c.counter.Cut()
	}
	return s
}

// countsVersion is the first byte of what Snapshot saves beside the ledger.
const countsVersion = 1

// Snapshot appends the ledger, with all that is counted, to b: the whole state at the ledger's cursor. Together with the
// entries behind that it leads to what an engine that was never stopped would have come to.
func (g *Engine) Snapshot(b []byte) []byte {
	tracked, _, _ := g.Tracked()
	b = slices.Grow(b, 4096+48*g.led.Len()+28*tracked) // about what it takes: growing by doubling would copy, and take twice as much
	return g.led.AppendSnapshot(b, func(b []byte) []byte {
		if g.rebuild && !g.restored {
			return b // half of it is not better than none: the next start fills the windows anew
		}
		b = append(b, countsVersion)
		b = binary.LittleEndian.AppendUint64(b, g.seed)
		b = binary.AppendUvarint(b, uint64(len(g.names)))
		for _, n := range g.names {
			b = append(binary.AppendUvarint(b, uint64(len(n))), n...)
		}
		b = block(b, g.accounts.Append)
		b = block(b, g.logins.Append)
		b = block(b, func(b []byte) []byte {
			if g.lapsed.Len() == 0 {
				return b
			}
			return g.lapsed.AppendSnapshot(b, nil)
		})
		b = binary.AppendUvarint(b, uint64(len(g.jails)))
		for _, c := range g.jails {
			b = binary.AppendUvarint(b, uint64(c.number))
			b = block(b, c.counter.Append)
		}
		b = binary.AppendUvarint(b, uint64(len(g.nets)))
		for _, n := range g.nets {
			family := byte(4)
			if n.v6 {
				family = 6
			}
			b = append(b, byte(n.bits), family)
			b = block(b, n.counter.Append)
		}
		return b
	})
}

// block writes a part with its length before it.
func block(b []byte, part func([]byte) []byte) []byte {
	at := len(b)
	b = part(append(b, 0, 0, 0, 0, 0, 0, 0, 0))
	binary.LittleEndian.PutUint64(b[at:], uint64(len(b)-at-8))
	return b
}

// parts takes apart what Snapshot wrote.
type parts struct {
	b   []byte
	bad bool
}

func (p *parts) take(n uint64) (v []byte) {
	if n > uint64(len(p.b)) {
		p.bad, p.b = true, nil
		return nil
	}
	v, p.b = p.b[:n:n], p.b[n:]
	return v
}

func (p *parts) uint64() uint64 {
	if v := p.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (p *parts) byte() byte {
	if v := p.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (p *parts) number() uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 {
		p.bad, p.b = true, nil
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *parts) block() []byte { return p.take(p.uint64()) }

var errCounts = errors.New("what was counted before cannot be read")

// open reads the head of what Snapshot wrote.
func (p *parts) open() (seed uint64, names []string, err error) {
	if v := p.byte(); v != countsVersion {
		return 0, nil, fmt.Errorf("%w: it has version %d, not %d", errCounts, v, countsVersion)
	}
	seed = p.uint64()
	for n := p.number(); n > 0 && !p.bad; n-- {
		names = append(names, string(p.take(p.number())))
	}
	if p.bad || len(names) > 1<<16 {
		return 0, nil, errCounts
	}
	return seed, names, nil
}

// restore takes over what Snapshot saved, as far as the configuration still has use for it: all or nothing.
func (g *Engine) restore(saved []byte, c *config.Config) error {
	p := &parts{b: saved}
	seed, names, err := p.open()
	if err != nil {
		return err
	}
	accounts, _, err := jail.RestoreAccounts(p.block(), accountOptions(c), seed, len(names))
	if err != nil {
		return fmt.Errorf("%w: accounts: %w", errCounts, err)
	}
	logins, _, err := jail.RestoreLogins(p.block(), share(c), g.keepLogins())
	if err != nil {
		return fmt.Errorf("%w: logins: %w", errCounts, err)
	}
	lapsed := ledger.New()
	if b := p.block(); len(b) > 0 {
		if lapsed, err = ledger.Decode(b); err != nil {
			return fmt.Errorf("%w: %w", errCounts, err)
		}
	}
	counters := map[*cell]*jail.Counter{}
	nets := map[*network]*jail.Counter{}
	defer func() {
		for _, c := range counters {
			c.Close()
		}
		for _, n := range nets {
			n.Close()
		}
	}()
	for n := p.number(); n > 0 && !p.bad; n-- {
		i, data := p.number(), p.block()
		if i >= uint64(len(names)) {
			return errCounts
		}
		if c := g.byName[names[i]]; c != nil && counters[c] == nil {
			o := g.options(&c.conf)
			o.Seed = seed
			if counters[c], _, err = jail.Restore(data, o); err != nil {
				delete(counters, c)
				return fmt.Errorf("%w: jail %s: %w", errCounts, names[i], err)
			}
		}
	}
	for n := p.number(); n > 0 && !p.bad; n-- {
		bits, family, data := p.byte(), p.byte(), p.block()
		for _, n := range g.nets {
			if n.bits != int(bits) || n.v6 != (family == 6) || nets[n] != nil {
				continue
			}
			o := g.netOptions(n, c)
			o.Seed, o.Budget = seed, jail.NewBudget(n.counter.Budget().Limit())
			if nets[n], _, err = jail.Restore(data, o); err != nil {
				delete(nets, n)
				return fmt.Errorf("%w: networks of /%d: %w", errCounts, bits, err)
			}
		}
	}
	if p.bad || len(p.b) > 0 {
		return errCounts
	}
	g.seed, g.accounts, g.logins, g.lapsed, g.restored = seed, accounts, logins, lapsed, true
	g.names = names
	for _, c := range g.jails {
		c.number = g.number(c.conf.Name)
		if n := counters[c]; n != nil {
			c.counter.Close()
			c.counter = n
			delete(counters, c)
		}
	}
	for _, n := range g.nets {
		if c := nets[n]; c != nil {
			n.counter = c
			delete(nets, n)
		}
	}
	return nil
}
