package state

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"math"
	"net/netip"
	"slices"

	"bailiff/policy/prefix"
)

// Ban is one ban in force: what a jail has against a prefix.
type Ban struct {
	Prefix   netip.Prefix
	Jail     string
	Since    int64  // microseconds since 1970: the time of the entry that was one too many
	Until    int64  // 0: forever
	Failures int    // attempts that led to it; of a network: different parts of it that attacked
	Count    int    // 1 for the first ban of the prefix, 2 for the second, …
	Scope    string // the ports that are closed: see Covers; "": all traffic
	Reason   string // one of the reasons below; for a manual ban, the text given
	By       string // who made a manual ban
}

// Reasons of bans made by the policy.
const (
	Failures = "failures" // too many within find_time
	Slow     = "slow"     // too many within slow.find_time
	Account  = "account"  // one of many addresses that attacked an account
	Network  = "network"  // a network with many attacking parts
)

// reasons are kept by number.
var reasons = []string{"", Failures, Slow, Account, Network}

// ID identifies the ban. It is derived from start, prefix and jail, so a replay, or reading the journal again after a crash, gives the same
// ID, and a repeated report is recognized.
func (b *Ban) ID() string {
	buf := make([]byte, 0, 128)
	buf = binary.BigEndian.AppendUint64(buf, uint64(b.Since))
	buf = b.Prefix.AppendTo(buf)
	buf = append(buf, 0)
	buf = append(buf, b.Jail...)
	h := sha256.Sum256(buf)
	return hex.EncodeToString(h[:8])
}

// bans are the bans in force. There may be 100,000, so they are kept without texts: names of jails and scopes are few and have numbers, and
// operators' texts are in notes.
type bans struct {
	rows    table[ban]
	lengths lengths
	due     int64           // none is over before
	jails   []string        // by number
	scopes  []string        // by number; the first is ""
	notes   map[rowKey]note // of bans by hand
}

// ban is what a prefix is banned for.
type ban struct {
	since, until int64 // until never: forever
	failures     uint16
	scope        uint16 // in bans.scopes
	count        uint32 // and in the lowest bits the reason, see reasonBits
}

// reasonBits of ban.count hold the number of the reason.
const (
	reasonBits = 3
	maxCount   = 1<<(32-reasonBits) - 1
)

func (b *ban) reason() string { return reasons[b.count&(1<<reasonBits-1)] }

// never is the end of a ban that lasts forever.
const never = math.MaxInt64

// note is the reason and the operator of a manual ban.
type note struct{ reason, by string }

func newBans() bans { return bans{notes: make(map[rowKey]note), scopes: []string{""}, due: never} }

// Len is how many bans there are.
func (l *bans) Len() int { return l.rows.n }

// Count is how many bans a jail has, by the family of their prefixes.
type Count struct{ IPv4, IPv6 int }

// Counts returns how many bans each jail has. It is much faster than All.
func (l *bans) Counts() map[string]Count {
	byNumber := make([]Count, len(l.jails))
	for k := range l.rows.all() {
		if !k.prefix.V6() {
			byNumber[k.jail].IPv4++
		} else {
			byNumber[k.jail].IPv6++
		}
	}
	m := make(map[string]Count, len(byNumber))
	for i, c := range byNumber {
		m[l.jails[i]] = c
	}
	return m
}

// key returns the key of a jail's ban; ok is false if the jail has no bans.
func (l *bans) key(p netip.Prefix, jail string) (k rowKey, ok bool) {
	n := slices.Index(l.jails, jail)
	return rowKey{prefix.OfPrefix(p), uint16(n)}, n >= 0
}

// number returns a name's index in a list, to which it adds a new name; ok is false if there is no room.
func number(list *[]string, name string) (i uint16, ok bool) {
	n := slices.Index(*list, name)
	if n < 0 {
		if n = len(*list); n > math.MaxUint16 {
			return 0, false
		}
		*list = append(*list, name)
	}
	return uint16(n), true
}

// Add adds a ban, or replaces the ban of the same prefix and jail. The prefix must be masked and not IPv4-mapped.
func (l *bans) Add(b Ban) {
	jail, ok := number(&l.jails, b.Jail)
	if !ok {
		return // no configuration has 65,536 jails
	}
	scope, _ := number(&l.scopes, b.Scope) // if there are too many scopes: all traffic, which includes every scope
	x := ban{
		since: b.Since, until: b.Until, failures: uint16(min(max(b.Failures, 0), math.MaxUint16)), scope: scope,
		count: uint32(min(max(b.Count, 0), maxCount)) << reasonBits,
	}
	if b.Until == 0 {
		x.until = never
	}
	k := rowKey{prefix.OfPrefix(b.Prefix), jail}
	delete(l.notes, k)
	if r := slices.Index(reasons, b.Reason); r >= 0 && b.By == "" {
		x.count |= uint32(r)
	} else {
		l.notes[k] = note{b.Reason, b.By}
	}
	l.rows.set(k, x)
	l.lengths.add(k.prefix)
	l.due = min(l.due, x.until)
}

// Remove removes a ban, and reports whether it existed.
func (l *bans) Remove(p netip.Prefix, jail string) bool {
	k, ok := l.key(p, jail)
	if !ok || !l.rows.delete(k) {
		return false
	}
	if delete(l.notes, k); l.rows.n == 0 {
		*l = newBans() // names of jails and scopes go, too
	}
	return true
}

// RemoveFunc removes the bans for which gone is true, and returns them.
func (l *bans) RemoveFunc(gone func(*Ban) bool) (removed []Ban) {
	for b := range l.All() {
		if gone(&b) {
			removed = append(removed, b)
		}
	}
	for _, b := range removed {
		l.Remove(b.Prefix, b.Jail)
	}
	return removed
}

// expire removes the bans that are over at now and returns them, the earliest end first.
func (l *bans) expire(now int64) []Ban {
	if l.due > now {
		return nil
	}
	var over []Ban
	due := int64(never)
	for k, b := range l.rows.all() {
		if b.until <= now {
			over = append(over, l.full(k, b))
		} else {
			due = min(due, b.until)
		}
	}
	slices.SortFunc(over, func(a, b Ban) int {
		return cmp.Or(cmp.Compare(a.Until, b.Until), prefix.Order(prefix.OfPrefix(a.Prefix), prefix.OfPrefix(b.Prefix)), cmp.Compare(a.Jail, b.Jail))
	})
	for _, b := range over {
		l.Remove(b.Prefix, b.Jail)
	}
	l.due = due
	return over
}

// full returns a ban with its texts.
func (l *bans) full(k rowKey, b *ban) Ban {
	n := l.noteOf(k, b)
	x := Ban{
		Prefix: k.prefix.Prefix(), Jail: l.jails[k.jail], Since: b.since, Until: b.until, Failures: int(b.failures),
		Count: int(b.count >> reasonBits), Reason: n.reason, By: n.by, Scope: l.scopes[b.scope],
	}
	if b.until == never {
		x.Until = 0
	}
	return x
}

// noteOf returns the reason of a ban and, for a manual ban, who made it.
func (l *bans) noteOf(k rowKey, b *ban) note {
	if len(l.notes) > 0 {
		if n, ok := l.notes[k]; ok {
			return n
		}
	}
	return note{reason: b.reason()}
}

// Get returns a jail's ban of exactly that prefix.
func (l *bans) Get(p netip.Prefix, jail string) (Ban, bool) {
	if k, ok := l.key(p, jail); ok {
		if b := l.rows.get(k); b != nil {
			return l.full(k, b), true
		}
	}
	return Ban{}, false
}

// Of yields the bans of exactly that prefix, sorted by jail.
func (l *bans) Of(p netip.Prefix) iter.Seq[Ban] {
	return slices.Values(l.list(prefix.OfPrefix(p)))
}

// list returns the bans of one prefix, by jail.
func (l *bans) list(k prefix.Key) (list []Ban) {
	for x, b := range l.rows.from(rowKey{prefix: k}) {
		if x.prefix != k {
			break
		}
		list = append(list, l.full(x, b))
	}
	slices.SortFunc(list, func(a, b Ban) int { return cmp.Compare(a.Jail, b.Jail) })
	return list
}

// Covering yields the bans of all prefixes that contain an address, wide ones first.
func (l *bans) Covering(a netip.Addr) iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		own := prefix.OfAddr(a)
		for _, bits := range slices.Clone(l.lengths.of(own)) {
			for _, b := range l.list(own.Cut(int(bits))) {
				if !yield(b) {
					return
				}
			}
		}
	}
}

// Holds reports whether an address is banned at a time by a ban that began before it. counts selects the jails and scopes that matter.
// Holds is called for each failure.
func (l *bans) Holds(a netip.Addr, at int64, counts func(jail, scope string) bool) bool {
	if l.rows.n == 0 {
		return false
	}
	own := prefix.OfAddr(a)
	for _, bits := range l.lengths.of(own) {
		k := own.Cut(int(bits))
		for b, i, _ := l.rows.find(rowKey{prefix: k}); b < len(l.rows.blocks); b, i = b+1, 0 {
			rows := l.rows.blocks[b]
			for ; i < len(rows) && rows[i].key.prefix == k; i++ {
				if x := &rows[i].v; x.since < at && at < x.until && counts(l.jails[rows[i].key.jail], l.scopes[x.scope]) {
					return true
				}
			}
			if i < len(rows) {
				break
			}
		}
	}
	return false
}

// All yields all bans: IPv4 before IPv6, by address, wide before narrow, then by jail. They must not be changed meanwhile.
func (l *bans) All() iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		for k, b := range l.sorted() {
			if !yield(l.full(k, b)) {
				return
			}
		}
	}
}

// sorted goes through all bans in the order of All.
func (l *bans) sorted() iter.Seq2[rowKey, *ban] {
	return func(yield func(rowKey, *ban) bool) {
		type item struct {
			k rowKey
			b *ban
		}
		var same []item // of one prefix
		flush := func() bool {
			if len(same) > 1 {
				slices.SortFunc(same, func(a, b item) int { return cmp.Compare(l.jails[a.k.jail], l.jails[b.k.jail]) })
			}
			for _, x := range same {
				if !yield(x.k, x.b) {
					return false
				}
			}
			same = same[:0]
			return true
		}
		for k, b := range l.rows.all() {
			if len(same) > 0 && same[0].k.prefix != k.prefix && !flush() {
				return
			}
			same = append(same, item{k, b})
		}
		flush()
	}
}

// Scopes returns the scopes of all bans, and possibly of some that are gone.
func (l *bans) Scopes() []string { return slices.Clone(l.scopes) }
