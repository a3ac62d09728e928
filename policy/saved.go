package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"bailiff/policy/codec"
	"bailiff/policy/config"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// countsVersion is the first byte of what Snapshot saves beside the state.
const countsVersion = 4

// Snapshot appends the state file's content to b: bans and all that is counted, at the state's cursor. Together with the entries
// behind that it leads to what an engine that was never stopped would have come to. Only in which entry each failure stands is not
// saved: that is known again once the entries before the cursor have been read (Reread). The same state gives the same bytes.
func (g *Engine) Snapshot(b []byte) []byte {
	tracked, _, _ := g.Tracked()
	b = slices.Grow(b, 4096+48*g.state.Len()+28*tracked) // about what it takes: growing by doubling would copy, and take twice as much
	return g.state.AppendSnapshot(b, func(b []byte) []byte {
		if g.rereading && !g.restored {
			return b // half of it is not better than none: the next start fills the windows anew
		}
		return g.appendCounts(b)
	})
}

func (g *Engine) appendCounts(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(append(b, countsVersion), g.seed)
	b = binary.AppendUvarint(b, uint64(len(g.names)))
	for _, n := range g.names {
		b = codec.AppendText(b, n)
	}
	now := g.connections
	if g.rereading {
		now = g.setAside
	}
	for _, part := range []func([]byte) []byte{
		now.conns.Append, now.pending.Append, g.accounts.Append, g.logins.Append, g.bursts.Append,
		func(b []byte) []byte { return g.expiredUnread.AppendSnapshot(b, nil) },
		func(b []byte) []byte { return g.observed.AppendSnapshot(b, nil) },
	} {
		b = codec.AppendBlock(b, part)
	}
	b = binary.AppendUvarint(b, uint64(len(g.jails)))
	for _, j := range g.jails {
		b = binary.AppendUvarint(b, uint64(j.number))
		b = codec.AppendBlock(b, j.counter.Append)
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
		b = codec.AppendBlock(append(b, byte(n.Bits()), family, observed), n.Append)
	}
	return b
}

var errCounts = errors.New("what was counted before cannot be read")

// restore takes over what Snapshot saved, as far as the configuration still has use for it: all or nothing.
func (g *Engine) restore(saved []byte, c *config.Config) error {
	if saved[0] != countsVersion {
		return fmt.Errorf("%w: it has version %d, not %d", errCounts, saved[0], countsVersion)
	}
	r := restoring{d: codec.NewDecoder(saved[1:])}
	if err := r.read(g, c); err != nil {
		for _, n := range r.counters {
			n.Close()
		}
		return fmt.Errorf("%w: %w", errCounts, err)
	}
	g.seed, g.names, g.connections = r.seed, r.names, r.connections
	g.accounts, g.logins, g.bursts, g.networks = r.accounts, r.logins, r.bursts, r.networks
	g.expiredUnread, g.observed, g.restored = r.expiredUnread, r.observed, true
	for _, j := range g.jails {
		j.number = g.number(j.conf.Name)
		if n := r.counters[j]; n != nil {
			j.counter.Close()
			j.counter = n
		}
	}
	return nil
}

// restoring is what restore has read so far.
type restoring struct {
	d     *codec.Decoder
	seed  uint64
	names []string
	connections
	accounts                *jail.Accounts
	logins                  *jail.Logins
	bursts                  jail.Bursts
	networks                []*jail.Networks
	expiredUnread, observed *state.State
	counters                map[*runningJail]*jail.Counter
}

func (r *restoring) read(g *Engine, c *config.Config) (err error) {
	d := r.d
	r.seed = d.Fixed64()
	for n := d.Length(1); n > 0 && d.OK(); n-- {
		r.names = append(r.names, d.Text())
	}
	if len(r.names) > 1<<16 {
		return errors.New("too many jails")
	}
	for _, part := range []struct {
		name string
		read func(b []byte) error
	}{
		{"connections", func(b []byte) error { r.conns, err = jail.RestoreConnections(b, r.seed); return err }},
		{"pending attempts", func(b []byte) error { r.pending, err = jail.RestorePending(b, len(r.names)); return err }},
		{"accounts", func(b []byte) error {
			r.accounts, err = jail.RestoreAccounts(b, accountOptions(c), r.seed, len(r.names))
			return err
		}},
		{"logins", func(b []byte) error { r.logins, err = jail.RestoreLogins(b, share(c), g.keepLogins()); return err }},
		{"bursts", func(b []byte) error { r.bursts, err = jail.RestoreBursts(b); return err }},
		{"expired bans", func(b []byte) error { r.expiredUnread, err = state.Decode(b); return err }},
		{"observed bans", func(b []byte) error { r.observed, err = state.Decode(b); return err }},
	} {
		b := d.Block()
		if !d.OK() {
			return d.Err()
		}
		if err := part.read(b); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if err := r.readCounters(g); err != nil {
		return err
	}
	if err := r.readNetworks(g, c); err != nil {
		return err
	}
	return d.End()
}

func (r *restoring) readCounters(g *Engine) (err error) {
	r.counters = make(map[*runningJail]*jail.Counter)
	for n := r.d.Length(1); n > 0 && r.d.OK(); n-- {
		i, data := r.d.Uvarint(), r.d.Block()
		if i >= uint64(len(r.names)) {
			return errors.New("a jail without a name")
		}
		j := g.byName[r.names[i]]
		if j == nil || r.counters[j] != nil || !r.d.OK() {
			continue
		}
		o := g.counterOptions(&j.conf)
		o.Seed = r.seed
		n, err := jail.RestoreCounter(data, o)
		if err != nil {
			return fmt.Errorf("jail %s: %w", r.names[i], err)
		}
		r.counters[j] = n
	}
	return nil
}

func (r *restoring) readNetworks(g *Engine, c *config.Config) (err error) {
	r.networks = slices.Clone(g.networks)
	for n := r.d.Length(3); n > 0 && r.d.OK(); n-- {
		bits, v6, observed, data := int(r.d.Byte()), r.d.Byte() == 6, r.d.Byte() != 0, r.d.Block()
		for i, o := range networkOptions(c) {
			if o.Bits != bits || o.V6 != v6 || o.Observed != observed || !r.d.OK() {
				continue
			}
			if r.networks[i], err = jail.RestoreNetworks(data, o); err != nil {
				return fmt.Errorf("networks of /%d: %w", bits, err)
			}
		}
	}
	return nil
}
