package policy

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/codec"
	"bailiff/policy/config"
	"bailiff/policy/fleet"
	"bailiff/policy/jail"
	"bailiff/policy/prefix"
	"bailiff/policy/state"
)

// counted holds what is counted over all jails, and what excuses failures. It is saved in the state file, together with each jail's
// counter.
type counted struct {
	seed  uint64   // of all hashes
	names []string // of jails, by the number that other types use for them
	connections
	accounts *jail.Accounts
	logins   *jail.Logins
	bursts   jail.Bursts
	networks []*jail.Networks

	// expiredUnread holds bans that are over by the clock, but were still in force at the time up to which the journal has been read. The
	// next entries are judged as of that time.
	expiredUnread *state.State
	observed      *state.State // what jails that only observe would have banned
}

func newCounted(c *config.Config, seed uint64) counted {
	x := counted{
		seed: seed, connections: newConnections(seed), accounts: jail.NewAccounts(accountOptions(c), seed), logins: jail.NewLogins(loginLimit(c), 0),
		expiredUnread: state.New(), observed: state.New(),
	}
	x.configure(c)
	return x
}

func accountOptions(c *config.Config) jail.AccountOptions {
	a := &c.Accounts
	return jail.AccountOptions{FindTime: a.FindTime, Addresses: a.Addresses, MaxRetry: a.MaxRetry, Limit: share(c)}
}

const (
	// detectorShare is the divisor of limits.max_tracked that gives the limit for accounts and for each size of network. A pair of account
	// and address takes some 200 bytes, so all of these take a few percent of the memory of the tracked prefixes.
	detectorShare = 64

	// loginShare is the divisor for entries of logins, two generations of some 55 bytes each. A login from a new address adds three or four
	// entries, with IPv6 up to seven. So by default, two thousand people with another address every day are known for at least two weeks.
	loginShare = 8
)

func share(c *config.Config) int { return c.Limits.MaxTracked / detectorShare }

func loginLimit(c *config.Config) int { return c.Limits.MaxTracked / loginShare }

// configure takes new settings. What is counted stays.
func (x *counted) configure(c *config.Config) {
	x.accounts.Configure(accountOptions(c))
	// jail.Logins.People needs at least two days.
	x.logins.Configure(loginLimit(c), max(jail.DeviceFactor*c.Accounts.TrustLoginsFor, c.Networks.TrustLoginsFor, 48*time.Hour))
	old := x.networks
	x.networks = nil
	observing := slices.ContainsFunc(c.Jails, func(j config.Jail) bool { return j.Enabled && j.Observe })
	for _, size := range []struct {
		bits int
		v6   bool
		need int
	}{{24, false, c.Networks.Net4}, {64, true, c.Networks.Net6.Bits64}, {56, true, c.Networks.Net6.Bits56}, {48, true, c.Networks.Net6.Bits48}} {
		for _, observed := range []bool{false, true} {
			if size.need == 0 || observed && !observing {
				continue
			}
			o := jail.NetworkOptions{
				NetworkSize: jail.NetworkSize{Bits: size.bits, V6: size.v6, Observed: observed},
				FindTime:    c.Networks.FindTime, MaxParts: size.need, Limit: share(c),
			}
			n := jail.NewNetworks(o)
			if i := slices.IndexFunc(old, func(n *jail.Networks) bool { return n.NetworkSize == o.NetworkSize }); i >= 0 {
				n = old[i]
				n.Configure(o)
			}
			x.networks = append(x.networks, n)
		}
	}
}

// shift moves all times by this many microseconds, so that everything is as long ago as before the clock was set. Logins are remembered for
// days, so they are not moved.
func (x *counted) shift(by int64) {
	for _, n := range x.networks {
		n.Shift(by)
	}
	x.conns.Shift(by)
	x.pending.Shift(by)
	x.accounts.Shift(by)
	x.bursts.Shift(by)
}

// expire drops what has expired. Each call does a bounded amount of work.
func (x *counted) expire(now int64) {
	x.conns.Expire(now)
	for _, n := range x.networks {
		n.Expire(now, 1024)
	}
	x.accounts.Expire(now, 256)
	x.expiredUnread.Expire(now, now)
	x.observed.Expire(now, now)
}

// forget drops networks, pending attempts and observed bans that overlap a prefix. Failures on accounts stay: attackedAccount skips
// pardoned ones.
func (x *counted) forget(p netip.Prefix) {
	for _, n := range x.networks {
		if n.Holds(p.Addr()) {
			n.ForgetAll(p)
		}
	}
	x.pending.Forget(p)
	x.observed.RemoveFunc(func(b *state.Ban) bool { return b.Prefix.Overlaps(p) })
}

// loggedIn forgets what a login from an address disproves, in every jail, and remembers it.
func (g *Engine) loggedIn(j *runningJail, addr netip.Addr, user uint64, at int64) {
	first := false // of the day
	var done prefix.Key
	for _, j := range g.jails {
		own := j.counter.Key(addr)
		j.counter.Success(own, short(user))
		if user != 0 && own != done { // most jails count by the same length
			g.accounts.Success(accountKey(user, false), own)
			g.accounts.Success(accountKey(user, true), own)
			today := g.logins.Add(own.Hash(g.seed^user), at)
			g.logins.AddPerson(own, g.seed, at, today)
			first = first || today
			done = own
		}
	}
	j.counter.TakeMisspelt(j.counter.Key(addr), at, first)
	clear := addr.Is6() && !slices.ContainsFunc(g.jails, func(j *runningJail) bool { return j.counter.Has(j.counter.Key(addr), at) })
	if user != 0 {
		g.logins.Add(anywhere.Hash(g.seed^user), at)
	}
	g.logins.Add(fleet.SummaryPrefix(addr).Hash(g.seed^anyAccount), at)
	own := j.counter.Key(addr)
	for _, n := range g.networks {
		if !n.Holds(addr) {
			continue
		}
		g.logins.Add(n.Of(addr).Hash(g.seed^anyAccount), at)
		if clear && n.Bits < own.Bits() {
			n.Remove(own)
		}
	}
}

// restoreRefs sets the journal entry of a failure in restored accounts and networks.
func (x *counted) restoreRefs(f *failure) {
	if f.account != 0 {
		x.accounts.RestoreRef(f.account, f.prefix, f.record)
	}
	for _, n := range x.networks {
		if within(n, f) {
			n.RestoreRef(f.prefix, f.record)
		}
	}
}

// stream writes what is counted, or reads it into an empty counted.
func (x *counted) stream(s *codec.Stream, counters map[string]*jail.Counter) {
	codec.List(s, &x.names, 1, s.Text)
	s.Check(len(x.names) <= 1<<16, "too many jails")
	s.Block("connections", x.conns.Stream)
	s.Block("pending attempts", func(s *codec.Stream) { x.pending.Stream(s, len(x.names)) })
	s.Block("accounts", func(s *codec.Stream) { x.accounts.Stream(s, len(x.names)) })
	s.Block("logins", x.logins.Stream)
	s.Block("bursts", x.bursts.Stream)
	for _, bans := range []**state.State{&x.expiredUnread, &x.observed} {
		s.Block("bans", func(s *codec.Stream) {
			s.Rest(func(b []byte) []byte { return (*bans).AppendSnapshot(b, nil) }, func(b []byte) (err error) {
				*bans, err = state.Decode(b)
				return err
			})
		})
	}
	names := slices.Sorted(maps.Keys(counters))
	codec.Each(s, len(names), 9, slices.Values(names), func(name *string) {
		n := slices.Index(x.names, *name)
		codec.Number(s, &n, math.MaxUint16)
		if s.Check(n < len(x.names), "a jail without a name"); !s.OK() {
			return
		}
		var part func(*codec.Stream) // nil: the jail is gone
		if c := counters[x.names[n]]; c != nil {
			part = c.Stream
		}
		s.Block("jail "+x.names[n], part)
	}, func(string) {})
	codec.Each(s, len(x.networks), 11, slices.Values(x.networks), func(n **jail.Networks) {
		var size jail.NetworkSize
		if !s.Reading {
			size = (*n).NetworkSize
		}
		size.Stream(s)
		var part func(*codec.Stream)
		for _, own := range x.networks {
			if own.NetworkSize == size {
				part = own.Stream
			}
		}
		s.Block("networks", part)
	}, func(*jail.Networks) {})
}

// countsVersion is the first byte of what Snapshot saves beside the state.
const countsVersion = 5

// Snapshot appends the state file's content to b: bans and all that is counted, at the state's cursor. An engine that restores it and reads
// the entries after the cursor ends up in the same state as one that was never stopped. References to the entries of failures are not
// saved; Reread restores them by reading the entries before the cursor. The same state gives the same bytes.
func (g *Engine) Snapshot(b []byte) []byte {
	tracked, _, _ := g.Tracked()
	b = slices.Grow(b, 4096+48*g.state.Len()+28*tracked+18*g.logins.Len()) // about the final size: doubling would copy, and take twice as much
	return g.state.AppendSnapshot(b, func(b []byte) []byte {
		if g.rereading && !g.restored {
			return b // incomplete counts are no better than none: the next start refills the windows
		}
		now := g.counted
		if g.rereading {
			now.connections = g.setAside
		}
		s := codec.NewWriter(append(b, countsVersion))
		s.Fixed64(&now.seed)
		now.stream(s, counters(g.jails))
		return s.Bytes()
	})
}

// counters returns the counters of jails, by name.
func counters(jails []*runningJail) map[string]*jail.Counter {
	m := make(map[string]*jail.Counter)
	for _, j := range jails {
		m[j.conf.Name] = j.counter
	}
	return m
}

// restore loads what Snapshot saved, except parts that the configuration no longer uses. After an error, nothing is restored.
func (g *Engine) restore(saved []byte, c *config.Config) error {
	if saved[0] != countsVersion {
		return fmt.Errorf("what was counted before cannot be read: it has version %d, not %d", saved[0], countsVersion)
	}
	s, now := codec.NewReader(saved[1:]), &Engine{budget: g.budget}
	s.Fixed64(&now.seed)
	now.counted = newCounted(c, now.seed)
	restored := make(map[string]*jail.Counter)
	for _, j := range g.jails {
		restored[j.conf.Name] = jail.NewCounter(now.counterOptions(&j.conf))
	}
	now.stream(s, restored)
	if err := s.End(); err != nil {
		for _, n := range restored {
			n.Close()
		}
		return fmt.Errorf("what was counted before cannot be read: %w", err)
	}
	g.counted, g.restored = now.counted, true
	for _, j := range g.jails {
		j.counter.Close()
		j.counter, j.number = restored[j.conf.Name], g.number(j.conf.Name)
	}
	return nil
}
