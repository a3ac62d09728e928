package fleet

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"bailiff/policy/allow"
	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// version is the first byte of what Append writes.
const version = 1

// Append appends the bans to b. The same bans give the same bytes.
func (b *Bans) Append(buf []byte) []byte {
	buf = append(buf, version)
	buf = binary.AppendUvarint(buf, uint64(len(b.hosts)))
	for i := range b.hosts {
		buf = codec.AppendText(buf, b.hosts[i].name)
	}
	buf = binary.AppendUvarint(buf, uint64(len(b.jails)))
	for _, s := range b.jails {
		buf = codec.AppendText(buf, s)
	}
	buf = binary.AppendUvarint(buf, uint64(len(b.reasons)))
	for _, s := range b.reasons {
		buf = codec.AppendText(buf, s)
	}
	buf = binary.AppendUvarint(buf, uint64(b.Len()))
	for _, k := range slices.SortedFunc(maps.Keys(b.first), func(a, b prefix.Key) int { return a.Compare(&b) }) {
		var l []*ban
		for i := b.first[k]; i != 0; i = b.all[i].next {
			l = append(l, &b.all[i])
		}
		slices.SortFunc(l, func(a, b *ban) int { return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.jail, b.jail)) })
		for _, x := range l {
			buf = k.Append(buf)
			for _, v := range []uint64{uint64(x.host), uint64(x.jail), uint64(x.reason), uint64(x.failures)} {
				buf = binary.AppendUvarint(buf, v)
			}
			lifted := byte(0)
			if x.lifted {
				lifted = 1
			}
			buf = append(buf, lifted)
			until := x.until
			if until == Forever {
				until = 0
			}
			for _, v := range []int64{x.since, until, x.end, x.keep} {
				buf = binary.AppendVarint(buf, v)
			}
		}
	}
	return buf
}

// leastBan is the smallest size of a saved ban, in bytes.
const leastBan = 11

// Restore reads what Append has written. Bans that the rules do not accept are left out. After an error there is no result.
func Restore(data []byte, r Rules, allowed *allow.List, now int64) (*Bans, error) {
	b := New(r, allowed)
	d := codec.NewDecoder(data)
	if d.UpTo(version) != version {
		d.Fail("another version")
	}
	names := func() []string {
		l := make([]string, d.Length(1))
		for i := range l {
			l[i] = d.Text()
		}
		return l
	}
	hosts, jails, reasons := names(), names(), names()
	for n := d.Length(leastBan); n > 0 && d.OK(); n-- {
		k := d.Key()
		h, j, reason := d.Count(), d.Count(), d.Count()
		if h >= len(hosts) || j >= len(jails) || reason >= len(reasons) {
			d.Fail("a name that does not exist")
			break
		}
		n := News{Host: hosts[h], Prefix: k.Prefix(), Jail: jails[j], Reason: reasons[reason], Failures: int(d.Uint16())}
		n.Lifted = d.UpTo(1) == 1
		n.Since, n.Until = d.Time(), d.Time()
		if n.Until == 0 {
			n.Until = Forever
		}
		end, keep := d.Time(), d.Time()
		if !d.OK() || keep <= now || b.rules.refuses(&n) != nil {
			continue
		}
		number, err := b.hostNumber(n.Host, now)
		if err != nil || b.find(k, number, n.Jail) != 0 || b.hosts[number].bans >= b.rules.MaxBans {
			continue
		}
		x := &b.all[b.insert(k, number, n.Jail)]
		x.since, x.until, x.end, x.keep, x.lifted = n.Since, n.Until, end, keep, n.Lifted
		x.failures, x.reason = uint16(n.Failures), b.reasonNumber(n.Reason)
		b.due = min(b.due, keep)
	}
	return b, d.End()
}
