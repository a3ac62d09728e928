// Package fleet decides which bans of other hosts take effect on this one. The hosts of a fleet tell each other about their
// bans; this package checks each piece of news against the rules of this host and keeps what it accepts. It does no I/O: who
// sent the news has been proven before (by the sender's signature), and time comes as microseconds since 1970.
//
// No host is trusted beyond the rules. A compromised host can ban, for a limited time, a limited number of narrow prefixes
// that no allow list here contains; with two votes it can ban nobody by itself. What comes from the fleet is never counted
// as evidence, never prolongs a ban of this host, and is never passed on.
//
// Unless a limit is reached, the result depends only on the set of news, not on its order or repetitions: if one host sends several about
// the same prefix and jail, the latest counts (News.after). So hosts that were cut off agree again once they have read what they missed,
// and old news that is sent again has no effect.
//
// Start reading at Bans.Apply. rules.go has the rules, saved.go the form in the state file; summary.go and together.go count
// failures of one address on many hosts together.
package fleet

import (
	"cmp"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/bucket"
	"bailiff/policy/prefix"
)

// News is what a host says about one of its bans.
type News struct {
	Host     string // that banned
	Prefix   netip.Prefix
	Jail     string // of that host
	Since    int64  // when the ban began; a host never has two bans of one prefix and jail that began at the same time
	Until    int64  // when it ends; Forever: never
	Lifted   bool   // the ban was ended early
	Reason   string // "failures", "slow", "account" or "network"; other texts of up to MaxReason bytes are shown unchanged
	Failures int    // attempts that led to the ban
}

// Forever is the end of a ban that never ends.
const Forever = math.MaxInt64

// after reports whether n is later news than o about the same prefix and jail: about a later ban, or that the same ban was
// lifted, or that it was prolonged.
func (n *News) after(o *ban) bool {
	switch {
	case n.Since != o.since:
		return n.Since > o.since
	case n.Lifted != o.lifted:
		return n.Lifted
	}
	return n.Until > o.until
}

// Bans holds the accepted bans of other hosts. One goroutine uses it.
type Bans struct {
	rules    Rules
	roster   Roster
	allowed  *allow.List
	first    map[prefix.Key]uint32 // index in all of a prefix's first ban; the others are linked by next
	all      []ban                 // the first is not used: 0 ends a list
	free     uint32                // first of a linked list of unused bans
	due      int64                 // no ban is over before this time
	hosts    []host                // by number
	hostNo   map[string]uint16
	jails    []string // by number
	jailNo   map[string]uint16
	reasons  []string // by number
	reasonNo map[string]uint8
	sums
}

// ban is the latest ban of a prefix by one host and jail. It is kept until it and all earlier ones would have ended, even if it
// was lifted, so that old news does not bring one back.
type ban struct {
	since, until int64 // as the host says
	end          int64 // when it ends here
	keep         int64 // until when it is kept
	next         uint32
	host, jail   uint16
	failures     uint16
	reason       uint8
	lifted       bool
}

// host is what is known of a host whose news was accepted.
type host struct {
	name string
	bans int // kept, lifted ones included
	rate bucket.Bucket
	Stats
}

// Change says what becomes of a prefix.
type Change struct {
	Prefix  netip.Prefix
	Banned  bool
	Until   int64 // if Banned
	Allowed bool  // it would be banned, but it contains an allowed address or lies in an allowed prefix
}

func (c Change) differs(o Change) bool { return c.Banned != o.Banned || c.Until != o.Until }

// New returns an empty Bans. allowed is what this host never bans.
func New(r Rules, allowed *allow.List) *Bans {
	if r.Roster {
		r.Hosts = nil // until there is one
	}
	b := &Bans{
		rules: r.withDefaults(), allowed: allowed, first: make(map[prefix.Key]uint32), all: make([]ban, 1), due: Forever,
		hostNo: make(map[string]uint16), jailNo: make(map[string]uint16),
		reasons: []string{""}, reasonNo: map[string]uint8{"": 0},
		sums: newSums(),
	}
	b.hosts, b.hostNo[""] = append(b.hosts, host{}), together
	return b
}

// Len returns the number of bans that are kept, lifted ones included.
func (b *Bans) Len() int {
	n := 0
	for i := range b.hosts {
		n += b.hosts[i].bans
	}
	return n
}

// Apply takes a piece of news and returns what it changes for its prefix; changed is false if nothing. live says that the news has just
// been sent, so that its rate is limited; news that was missed and is read later is not live. Errors are one of the Err… variables; refused
// news changes nothing.
func (b *Bans) Apply(n News, now int64, live bool) (c Change, changed bool, err error) {
	h, err := b.check(&n, now)
	if err != nil {
		return c, false, err
	}
	k := prefix.OfPrefix(n.Prefix)
	i := b.find(k, h, n.Jail)
	if i == 0 && b.rules.end(&n, now) <= now {
		return c, false, b.refused(h, ErrOver)
	}
	if i != 0 && !n.after(&b.all[i]) { // known, or overtaken by later news
		b.all[i].keep = max(b.all[i].keep, b.rules.end(&n, now))
		return c, false, nil
	}
	if i == 0 {
		if err := b.room(h, now, live); err != nil {
			return c, false, err
		}
	}
	before := b.effect(k, now)
	if i == 0 {
		i = b.insert(k, h, n.Jail)
	}
	x := &b.all[i]
	if n.Since == x.since {
		n.Until = max(n.Until, x.until) // a lifted ban would have ended then
	}
	x.since, x.until, x.lifted, x.failures = n.Since, n.Until, n.Lifted, uint16(min(n.Failures, math.MaxUint16))
	x.reason = b.reasonNumber(n.Reason)
	x.end = b.rules.end(&n, now)
	x.keep = max(x.keep, x.end)
	b.due = min(b.due, x.keep)
	b.hosts[h].Latest = max(b.hosts[h].Latest, now)
	c = b.effect(k, now)
	if c.Allowed && !n.Lifted {
		b.hosts[h].Clashes++
	}
	return c, c.differs(before), nil
}

// find returns the place of a host's ban; 0 if there is none.
func (b *Bans) find(k prefix.Key, h uint16, jail string) uint32 {
	j, ok := b.jailNo[jail]
	if !ok {
		return 0
	}
	i := b.first[k]
	for i != 0 && (b.all[i].host != h || b.all[i].jail != j) {
		i = b.all[i].next
	}
	return i
}

func (b *Bans) insert(k prefix.Key, h uint16, jail string) uint32 {
	i := b.free
	if i != 0 {
		b.free = b.all[i].next
	} else {
		i = uint32(len(b.all))
		b.all = append(b.all, ban{})
	}
	b.all[i] = ban{host: h, jail: number(jail, &b.jails, b.jailNo), next: b.first[k]}
	b.first[k] = i
	b.hosts[h].bans++
	return i
}

// number returns a name's number; a new name gets the next one.
func number(name string, names *[]string, numbers map[string]uint16) uint16 {
	n, ok := numbers[name]
	if !ok {
		n = uint16(len(*names))
		*names = append(*names, name)
		numbers[name] = n
	}
	return n
}

func (b *Bans) reasonNumber(s string) uint8 {
	if n, ok := b.reasonNo[s]; ok {
		return n
	}
	if len(b.reasons) > math.MaxUint8 {
		return 0
	}
	n := uint8(len(b.reasons))
	b.reasons = append(b.reasons, s)
	b.reasonNo[s] = n
	return n
}

// effect returns what is in effect for a prefix. It is banned until the latest time at which enough groups of hosts still ban it, or until
// the end of its ban for what hosts have counted together, whichever is later.
func (b *Bans) effect(k prefix.Key, now int64) Change {
	c := Change{Prefix: k.Prefix()}
	type vote struct {
		group string
		end   int64
	}
	var some [8]vote
	votes, joint := some[:0], int64(0)
	for i := b.first[k]; i != 0; i = b.all[i].next {
		x := &b.all[i]
		if x.lifted || x.end <= now {
			continue
		}
		if x.host == together || b.rules.Votes == 1 { // many hosts have voted, or one suffices
			joint = max(joint, x.end)
			continue
		}
		group := b.rules.Hosts[b.hosts[x.host].name]
		at := slices.IndexFunc(votes, func(v vote) bool { return v.group == group })
		if at < 0 {
			votes = append(votes, vote{group, x.end})
		} else {
			votes[at].end = max(votes[at].end, x.end)
		}
	}
	if b.rules.Votes > 1 && len(votes) >= b.rules.Votes {
		slices.SortFunc(votes, func(v, w vote) int { return cmp.Compare(w.end, v.end) })
		joint = max(joint, votes[b.rules.Votes-1].end)
	}
	switch {
	case joint == 0:
	case b.allowed.Overlaps(c.Prefix, now):
		c.Allowed = true
	default:
		c.Banned, c.Until = true, joint
	}
	return c
}

// Effect returns what is in effect for a prefix now.
func (b *Bans) Effect(p netip.Prefix, now int64) Change { return b.effect(prefix.OfPrefix(p), now) }

// Effects yields what is in effect now, in no order: prefixes that are banned, and those that would be if the allow list did not forbid it.
func (b *Bans) Effects(now int64) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for k := range b.first {
			if c := b.effect(k, now); (c.Banned || c.Allowed) && !yield(c) {
				return
			}
		}
	}
}

// Of returns the bans of a prefix, lifted ones included, in the order of hosts and jails.
func (b *Bans) Of(p netip.Prefix) []News {
	var l []News
	for i := b.first[prefix.OfPrefix(p)]; i != 0; i = b.all[i].next {
		x := &b.all[i]
		l = append(l, News{
			Host: b.hosts[x.host].name, Prefix: p, Jail: b.jails[x.jail], Since: x.since, Until: x.until, Lifted: x.lifted,
			Reason: b.reasons[x.reason], Failures: int(x.failures),
		})
	}
	slices.SortFunc(l, func(a, b News) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Jail, b.Jail)) })
	return l
}

// Overlapping returns at most this many bans of prefixes that contain p or lie in it.
func (b *Bans) Overlapping(p netip.Prefix, most int) (l []News) {
	for k := range b.first {
		if q := k.Prefix(); q.Overlaps(p) {
			if l = append(l, b.Of(q)...); len(l) >= most {
				return l[:most]
			}
		}
	}
	return l
}

// Expire removes what is over and returns the number of bans removed. The firewall need not be told: bans in effect end by themselves, at
// the time that Apply returned.
func (b *Bans) Expire(now int64) int {
	b.expireSums(now)
	if now < b.due {
		return 0
	}
	n := b.remove(func(x *ban) bool { return x.keep <= now })
	b.due = Forever
	for i := range b.all {
		if b.all[i].since != 0 {
			b.due = min(b.due, b.all[i].keep)
		}
	}
	return n
}

// remove removes bans and returns their number.
func (b *Bans) remove(gone func(*ban) bool) (n int) {
	for k, i := range b.first {
		var keep uint32
		for i != 0 {
			x := &b.all[i]
			next := x.next
			if gone(x) {
				if x.host == together {
					delete(b.joint, k)
				}
				b.hosts[x.host].bans--
				*x = ban{next: b.free}
				b.free = i
				n++
			} else {
				x.next = keep
				keep = i
			}
			i = next
		}
		if keep == 0 {
			delete(b.first, k)
		} else {
			b.first[k] = keep
		}
	}
	return n
}

// Configure takes new rules and a new allow list and returns what changes for any prefix. Bans that the rules no longer accept are removed. If
// they accept no host any more, the roster is forgotten: the host has left its fleet, and the next one may have the same name.
func (b *Bans) Configure(r Rules, allowed *allow.List, now int64) []Change {
	if b.rules.Some() && !r.Some() {
		b.roster = Roster{}
	}
	before := make(map[prefix.Key]Change, len(b.first))
	for k := range b.first {
		before[k] = b.effect(k, now)
	}
	b.rules, b.allowed = b.resolve(r), allowed
	for k := range b.first {
		for i := b.first[k]; i != 0; i = b.all[i].next {
			x := &b.all[i]
			n := News{Host: b.hosts[x.host].name, Prefix: k.Prefix(), Jail: b.jails[x.jail], Since: x.since, Until: x.until}
			x.end = b.rules.end(&n, now)
			x.keep = max(x.keep, x.end)
			if b.refusesSaved(&n) != nil {
				x.keep = 0
			}
		}
	}
	b.remove(func(x *ban) bool { return x.keep == 0 })
	b.resum(now)
	var l []Change
	for k, was := range before {
		if c := b.effect(k, now); c.differs(was) {
			l = append(l, c)
		}
	}
	return l
}

// Stats is what a host's news has led to since the start.
type Stats struct {
	Latest  int64             // when the latest news was accepted; 0: none since the start
	Ahead   time.Duration     // how far the host's clock was ahead in the latest news, if more than transmission can explain
	Clashes uint64            // bans that the allow list of this host forbids
	Refused map[string]uint64 // number of refused news by reason
}

// HostStatus is a host as status shows it.
type HostStatus struct {
	Name, Group string
	Bans        int // kept, lifted ones included
	Stats
}

// Hosts returns the accepted hosts by name, those without news included.
func (b *Bans) Hosts() []HostStatus {
	var l []HostStatus
	for name, group := range b.rules.Hosts {
		s := HostStatus{Name: name, Group: group}
		if n, ok := b.hostNo[name]; ok {
			s.Bans, s.Stats = b.hosts[n].bans, b.hosts[n].Stats
		}
		l = append(l, s)
	}
	slices.SortFunc(l, func(a, b HostStatus) int { return cmp.Compare(a.Name, b.Name) })
	return l
}
