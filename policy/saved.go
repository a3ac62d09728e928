package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"bailiff/policy/config"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// countsVersion is the first byte of what Snapshot saves beside the ledger.
const countsVersion = 3

// Snapshot appends the ledger, with all that is counted, to b: the whole state at the ledger's cursor. Together with the
// entries behind that it leads to what an engine that was never stopped would have come to. Only in which entry each failure
// stands is not saved: that is known again once the entries before the cursor have been read (Reread).
func (g *Engine) Snapshot(b []byte) []byte {
	tracked, _, _ := g.Tracked()
	b = slices.Grow(b, 4096+48*g.state.Len()+28*tracked) // about what it takes: growing by doubling would copy, and take twice as much
	return g.state.AppendSnapshot(b, func(b []byte) []byte {
		if g.rereading && !g.restored {
			return b // half of it is not better than none: the next start fills the windows anew
		}
		b = append(b, countsVersion)
		b = binary.LittleEndian.AppendUint64(b, g.seed)
		b = binary.AppendUvarint(b, uint64(len(g.names)))
		for _, n := range g.names {
			b = append(binary.AppendUvarint(b, uint64(len(n))), n...)
		}
		now := g.connections
		if g.rereading {
			now = g.setAside
		}
		b = block(b, now.conns.Append)
		b = block(b, now.pending.Append)
		b = block(b, g.accounts.Append)
		b = block(b, g.logins.Append)
		for _, led := range []*state.State{g.expiredUnread, g.observed} {
			b = block(b, func(b []byte) []byte { return led.AppendSnapshot(b, nil) })
		}
		b = binary.AppendUvarint(b, uint64(len(g.jails)))
		for _, c := range g.jails {
			b = binary.AppendUvarint(b, uint64(c.number))
			b = block(b, c.counter.Append)
		}
		b = binary.AppendUvarint(b, uint64(len(g.networks)))
		for _, n := range g.networks {
			family, observed := byte(4), byte(0)
			if n.V6() {
				family = 6
			}
			if n.Observed() {
				observed = 1
			}
			b = append(b, byte(n.Bits()), family, observed)
			b = block(b, n.Append)
		}
		return block(b, g.bursts.Append)
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
	var now connections
	if now.conns, err = jail.RestoreConnections(p.block(), seed); err != nil {
		return fmt.Errorf("%w: connections: %w", errCounts, err)
	}
	if now.pending, err = jail.RestorePending(p.block(), len(names)); err != nil {
		return fmt.Errorf("%w: pending attempts: %w", errCounts, err)
	}
	accounts, _, err := jail.RestoreAccounts(p.block(), accountOptions(c), seed, len(names))
	if err != nil {
		return fmt.Errorf("%w: accounts: %w", errCounts, err)
	}
	logins, _, err := jail.RestoreLogins(p.block(), share(c), g.keepLogins())
	if err != nil {
		return fmt.Errorf("%w: logins: %w", errCounts, err)
	}
	var leds [2]*state.State
	for i := range leds {
		if leds[i], err = state.Decode(p.block()); err != nil {
			return fmt.Errorf("%w: %w", errCounts, err)
		}
	}
	counters := map[*runningJail]*jail.Counter{}
	defer func() {
		for _, c := range counters {
			c.Close()
		}
	}()
	for n := p.number(); n > 0 && !p.bad; n-- {
		i, data := p.number(), p.block()
		if i >= uint64(len(names)) {
			return errCounts
		}
		if c := g.byName[names[i]]; c != nil && counters[c] == nil {
			o := g.counterOptions(&c.conf)
			o.Seed = seed
			if counters[c], _, err = jail.Restore(data, o); err != nil {
				delete(counters, c)
				return fmt.Errorf("%w: jail %s: %w", errCounts, names[i], err)
			}
		}
	}
	nets := slices.Clone(g.networks)
	for n := p.number(); n > 0 && !p.bad; n-- {
		bits, family, observed, data := p.byte(), p.byte(), p.byte() != 0, p.block()
		for i, o := range networkOptions(c) {
			if o.Bits != int(bits) || o.V6 != (family == 6) || o.Observed != observed {
				continue
			}
			if nets[i], err = jail.RestoreNetworks(data, o); err != nil {
				return fmt.Errorf("%w: networks of /%d: %w", errCounts, bits, err)
			}
		}
	}
	var bursts jail.Bursts
	if len(p.b) > 0 { // not in older ones
		if bursts, err = jail.RestoreBursts(p.block()); err != nil {
			return fmt.Errorf("%w: bursts: %w", errCounts, err)
		}
	}
	if p.bad || len(p.b) > 0 {
		return errCounts
	}
	g.bursts, g.seed, g.accounts, g.logins, g.expiredUnread, g.observed, g.networks, g.names = bursts, seed, accounts, logins, leds[0], leds[1], nets, names
	g.connections, g.restored = now, true
	for _, c := range g.jails {
		c.number = g.number(c.conf.Name)
		if n := counters[c]; n != nil {
			c.counter.Close()
			c.counter = n
			delete(counters, c)
		}
	}
	return nil
}
