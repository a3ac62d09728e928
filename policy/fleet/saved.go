package fleet

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"bailiff/policy/allow"
	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// version is the first byte of what Append writes. Version 2 has no bans for what was counted together.
const version = 3

// savedBan is a ban with its prefix, as a stream has it.
type savedBan struct {
	key prefix.Key
	ban
}

// Append appends the bans to buf. The same bans give the same bytes.
func (b *Bans) Append(buf []byte) []byte {
	s := codec.NewWriter(buf)
	names := savedNames{hosts: b.hostNames(), jails: b.jails, reasons: b.reasons}
	names.stream(s)
	streamRoster(s, &b.roster)
	names.streamJoint(s, b.joint)
	codec.Each(s, b.Len(), leastBan, b.sorted, names.ban(s), nil)
	return s.Bytes()
}

func (b *Bans) hostNames() (l []string) {
	for i := range b.hosts {
		l = append(l, b.hosts[i].name)
	}
	return l
}

// sorted yields all bans by prefix, host and jail.
func (b *Bans) sorted(yield func(savedBan) bool) {
	for _, k := range slices.SortedFunc(maps.Keys(b.first), prefix.Order) {
		var l []ban
		for i := b.first[k]; i != 0; i = b.all[i].next {
			l = append(l, b.all[i])
		}
		slices.SortFunc(l, func(a, b ban) int { return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.jail, b.jail)) })
		for _, x := range l {
			if !yield(savedBan{k, x}) {
				return
			}
		}
	}
}

// savedNames are the names that bans have as numbers.
type savedNames struct {
	version               byte
	hosts, jails, reasons []string
}

func (n *savedNames) stream(s *codec.Stream) {
	n.version = version
	s.Byte(&n.version)
	s.Check(n.version == version || n.version == 2, "another version")
	for _, l := range []*[]string{&n.hosts, &n.jails, &n.reasons} {
		codec.List(s, l, 1, s.Text)
	}
}

// streamRoster reads or writes the roster.
func streamRoster(s *codec.Stream, r *Roster) {
	s.Text(&r.Fleet)
	s.Uvarint(&r.Serial)
	lines := r.lines()
	codec.List(s, &lines, 2, func(x *rosterHost) {
		s.Text(&x.name)
		s.Text(&x.group)
	})
	codec.List(s, &r.Allow, 4, func(a *Allowed) {
		var k prefix.Key
		if !s.Reading {
			k = prefix.OfPrefix(a.Prefix)
		}
		s.Key(&k)
		until := a.Until
		if until == Forever {
			until = 0
		}
		s.Time(&until)
		s.Text(&a.By)
		s.Text(&a.Comment)
		if s.Reading {
			a.Prefix, a.Until = k.Prefix(), until
			if until == 0 {
				a.Until = Forever
			}
			s.Check(a.Check() == nil, "an allowed prefix")
		}
	})
	if s.Reading {
		s.Check(len(r.Allow) <= MaxAllowed, "too many allowed prefixes")
		s.Check(len(lines) <= MaxHosts, "too many hosts")
		r.Hosts = make(map[string]string, len(lines))
		for _, x := range lines {
			s.Check(ValidHost(x.name) && ValidHost(x.group), "the name of a host")
			r.Hosts[x.name] = x.group
		}
	}
}

// streamJoint reads or writes the reasons of bans for what was counted together.
func (n *savedNames) streamJoint(s *codec.Stream, l map[prefix.Key]joint) {
	if n.version < 3 {
		return
	}
	order := func(a, b prefix.Key) int { return prefix.Order(a, b) }
	codec.Map(s, l, 4, order, func(k *prefix.Key, j *joint) {
		s.Key(k)
		codec.Number(s, &j.failures, math.MaxUint16)
		codec.List(s, &j.hosts, 1, func(h *uint16) {
			s.Check(len(n.hosts) > 0, "a host without a name")
			codec.Number(s, h, uint16(max(len(n.hosts)-1, 0)))
		})
		if s.Reading {
			j.hosts = slices.Clone(j.hosts)
		}
	})
}

// leastBan is the smallest size of a saved ban, in bytes.
const leastBan = 10

func (n *savedNames) ban(s *codec.Stream) func(*savedBan) {
	return func(x *savedBan) {
		reason := int(x.reason)
		s.Key(&x.key)
		codec.Number(s, &x.host, uint16(len(n.hosts)-1))
		codec.Number(s, &x.jail, uint16(len(n.jails)-1))
		codec.Number(s, &reason, len(n.reasons)-1)
		codec.Number(s, &x.failures, math.MaxUint16)
		s.Flags(&x.lifted)
		s.Time(&x.since)
		until := x.until
		if until == Forever {
			until = 0
		}
		s.Time(&until)
		s.Time(&x.end)
		s.Time(&x.keep)
		if s.Reading {
			x.reason = uint8(reason)
			if x.until = until; until == 0 {
				x.until = Forever
			}
		}
	}
}

// Restore reads what Append has written. Bans that are over, or that the rules do not accept, are left out. After an error there
// is no result.
func Restore(data []byte, r Rules, allowed *allow.List, now int64) (*Bans, error) {
	b := New(r, allowed)
	s := codec.NewReader(data)
	var names savedNames
	names.stream(s)
	s.Check(len(names.hosts) <= math.MaxUint16 && len(names.jails) <= maxNames && len(names.reasons) <= math.MaxUint8, "too many names")
	streamRoster(s, &b.roster)
	b.rules = b.resolve(r)
	saved := make(map[prefix.Key]joint)
	names.streamJoint(s, saved)
	b.restoreJoint(saved, names.hosts, now)
	none := len(names.hosts) == 0 || len(names.jails) == 0 || len(names.reasons) == 0
	codec.Each(s, 0, leastBan, nil, func(x *savedBan) {
		if s.Check(!none, "a ban without names"); s.OK() {
			names.ban(s)(x)
		}
	}, func(x savedBan) {
		n := News{Host: names.hosts[x.host], Prefix: x.key.Prefix(), Jail: names.jails[x.jail], Reason: names.reasons[x.reason], Failures: int(x.failures)}
		n.Since, n.Until = x.since, x.until
		if x.keep <= now || b.refusesSaved(&n) != nil {
			return
		}
		h, err := b.hostNumber(n.Host, now)
		most := b.rules.MaxBans
		if h == together {
			most = maxJoint
		}
		if err != nil || b.find(x.key, h, n.Jail) != 0 || b.hosts[h].bans >= most {
			return
		}
		to := &b.all[b.insert(x.key, h, n.Jail)]
		to.since, to.until, to.end, to.keep, to.lifted, to.failures = x.since, x.until, min(x.end, b.rules.end(&n, now)), x.keep, x.lifted, x.failures
		to.reason = b.reasonNumber(n.Reason)
		b.due = min(b.due, x.keep)
	})
	if err := s.End(); err != nil {
		return nil, err
	}
	for k := range b.joint {
		if b.find(k, together, JailTogether) == 0 {
			delete(b.joint, k)
		}
	}
	return b, nil
}

// restoreJoint restores the saved reasons of bans, with the current numbers of hosts.
func (b *Bans) restoreJoint(saved map[prefix.Key]joint, names []string, now int64) {
	for k, j := range saved {
		n := joint{failures: j.failures}
		for _, h := range j.hosts {
			if no, err := b.hostNumber(names[h], now); err == nil {
				n.hosts = append(n.hosts, no)
			}
		}
		b.joint[k] = n
	}
}
