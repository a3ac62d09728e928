package jail

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// NetworkSize is a length and family of networks.
type NetworkSize struct {
	Bits     int // length of the networks
	V6       bool
	Observed bool // of jails that only observe
}

// NetworkOptions say which networks are counted, and how many attacking parts lead to a ban of the whole network.
type NetworkOptions struct {
	NetworkSize
	FindTime time.Duration
	MaxParts int // number of different attacking parts that lead to a ban; if lone parts (see part) are among them, at least leastLone
	Limit    int // how many networks are kept
}

// Networks counts how many different parts (addresses, or prefixes that are counted as one) of each network attacked. When it
// is full, a network picked at random is dropped. One goroutine uses it.
type Networks struct {
	NetworkSize
	o       NetworkOptions
	m       map[prefix.Key][]part
	dropped uint64
}

// part is a part that attacked, with its latest failure.
type part struct {
	key     prefix.Key
	at      int64
	ref     Ref
	pattern string

	// account is not 0 while the part is a lone one: it has failed only on this account, and no other part has failed on it. It may be a
	// provider's customer who mistyped their password. A banned part is never a lone one.
	account uint64
}

const (
	leastNetworks = 1024
	leastLone     = 64
)

// NewNetworks returns empty Networks.
func NewNetworks(o NetworkOptions) *Networks {
	n := &Networks{NetworkSize: o.NetworkSize, m: map[prefix.Key][]part{}}
	n.Configure(o)
	return n
}

// Configure changes the settings. What is counted stays.
func (n *Networks) Configure(o NetworkOptions) {
	o.Limit = max(o.Limit, leastNetworks)
	n.o = o
	for len(n.m) > o.Limit {
		n.makeRoom()
	}
}

// Holds reports whether an address is of the networks' family.
func (n *Networks) Holds(a netip.Addr) bool { return a.Is6() == n.V6 }

// Of returns the network of an address.
func (n *Networks) Of(a netip.Addr) prefix.Key { return prefix.Of(a, n.Bits) }

// Need returns how many parts lead to a ban.
func (n *Networks) Need() int { return n.o.MaxParts }

// Len returns the number of networks.
func (n *Networks) Len() int { return len(n.m) }

// Dropped returns how many networks were dropped to make room.
func (n *Networks) Dropped() uint64 { return n.dropped }

// part returns the part that k counts as: in networks wider than a /64, each /64 is one part.
func (n *Networks) part(k prefix.Key) prefix.Key {
	if n.V6 && n.Bits < 64 {
		return k.Cut(min(k.Bits(), 64))
	}
	return k
}

// Add counts a part of its network because of a failure on an account; 0 means that the part is not a lone one. If there are now too many
// parts, it returns their failures and prefixes, oldest first.
func (n *Networks) Add(own prefix.Key, f Failure, account uint64) (attackers []Failure, parts []netip.Prefix) {
	net, k := own.Cut(n.Bits), n.part(own)
	l, known := n.m[net]
	if !known && len(n.m) >= n.o.Limit {
		n.makeRoom()
	}
	mine := part{k, f.At, f.Ref, f.Pattern, account}
	l = slices.DeleteFunc(l, func(x part) bool {
		over := !near(f.At, x.at, n.o.FindTime) && x.at < f.At
		if x.key == k && x.account != account && !over {
			mine.account = 0
		}
		return x.key == k || over
	})
	for i := range l {
		if l[i].account == account {
			l[i].account, mine.account = 0, 0
		}
	}
	l = append(l, mine)
	most := max(n.o.MaxParts, leastLone)
	if len(l) > most {
		l = slices.Delete(l, 0, len(l)-most)
	}
	n.m[net] = l
	if attackers, parts = n.within(l, f.At, false); len(attackers) >= n.o.MaxParts {
		return attackers, parts
	}
	if attackers, parts = n.within(l, f.At, true); len(attackers) >= most {
		return attackers, parts
	}
	return nil, nil
}

func (n *Networks) within(l []part, at int64, lone bool) (fs []Failure, parts []netip.Prefix) {
	for _, x := range l {
		if near(at, x.at, n.o.FindTime) && (lone || x.account == 0) {
			fs = append(fs, Failure{Ref: x.ref, At: x.at, Attempts: 1, Weight: 1, Pattern: x.pattern})
			parts = append(parts, x.key.Prefix())
		}
	}
	return fs, parts
}

// Look returns the parts of an address's network that attacked within the window at a time, without lone ones.
func (n *Networks) Look(a netip.Addr, at int64) (netip.Prefix, []Failure) {
	net := n.Of(a)
	fs, _ := n.within(n.m[net], at, false)
	return net.Prefix(), fs
}

// Forget drops a network.
func (n *Networks) Forget(net prefix.Key) { delete(n.m, net) }

// ForgetAll drops the networks that overlap a prefix.
func (n *Networks) ForgetAll(p netip.Prefix) {
	if p.Bits() >= n.Bits {
		n.Forget(n.Of(p.Addr()))
		return
	}
	maps.DeleteFunc(n.m, func(k prefix.Key, _ []part) bool { return p.Contains(k.Addr()) })
}

// Remove removes a part.
func (n *Networks) Remove(own prefix.Key) {
	net, k := own.Cut(n.Bits), n.part(own)
	if l := slices.DeleteFunc(n.m[net], func(x part) bool { return x.key == k }); len(l) > 0 {
		n.m[net] = l
	} else {
		delete(n.m, net)
	}
}

// RestoreRef sets the journal entry of a part that was restored without it.
func (n *Networks) RestoreRef(own prefix.Key, f Failure) {
	l := n.m[own.Cut(n.Bits)]
	for i := range l {
		if x := &l[i]; x.ref == NoRef && x.at == f.At && x.key == n.part(own) {
			x.ref = f.Ref
		}
	}
}

// Expire visits up to work networks and drops those without a part in the window.
func (n *Networks) Expire(now int64, work int) {
	for k, l := range n.m { // in random order, so all are visited in time
		if work--; work < 0 {
			return
		}
		if !slices.ContainsFunc(l, func(x part) bool { return near(now, x.at, n.o.FindTime) }) {
			delete(n.m, k)
		}
	}
}

func (n *Networks) makeRoom() {
	for k := range n.m {
		delete(n.m, k)
		n.dropped++
		return
	}
}

// Stream writes or reads the size.
func (z *NetworkSize) Stream(s *codec.Stream) {
	bits, family := byte(z.Bits), byte(4)
	if z.V6 {
		family = 6
	}
	s.Byte(&bits)
	s.Byte(&family)
	s.Flags(&z.Observed)
	z.Bits, z.V6 = int(bits), family == 6
}

// Stream writes or reads all networks.
func (n *Networks) Stream(s *codec.Stream) {
	codec.Map(s, n.m, 3, prefix.Order, func(k *prefix.Key, l *[]part) {
		s.Key(k)
		s.Check(k.V6() == n.V6 && k.Bits() == n.Bits, "a network of another length")
		codec.List(s, l, 12, func(x *part) {
			s.Key(&x.key)
			s.Time(&x.at)
			s.Text(&x.pattern)
			s.Fixed64(&x.account)
			if s.Reading {
				x.ref = NoRef
			}
		})
	})
	if s.Reading {
		n.Configure(n.o)
	}
}
