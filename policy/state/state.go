// Package ledger holds what the daemon must not forget: bans in force, the history that escalation needs, what an
// operator forgave, addresses allowed at run time, and how far the journal was read. It is pure: it reads no clock and
// writes no file; time comes in as microseconds since 1970, and snapshot.go turns the whole into bytes and back.
//
// Start reading at State.
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
	"strings"
	"time"

	"bailiff/policy/allow"
)

// forever is the length of a ban that never ends, as the configuration has it.
const forever time.Duration = math.MaxInt64

// Ban is one ban in force: what a jail has against a prefix.
type Ban struct {
	Prefix   netip.Prefix
	Jail     string
	Since    int64  // microseconds since 1970: the time of the entry that was one too many
	Until    int64  // 0: for ever
	Failures int    // attempts that led to it; of a network: different parts of it that attacked
	Count    int    // 1 for the first ban of the prefix, 2 for the second, …
	Scope    string // the ports that are closed: see Covers; "": all traffic
	Reason   string // one of the reasons below; of a ban by hand what was given
	By       string // who, of a ban by hand
}

// Reasons of bans that the policy made.
const (
	Failures = "failures" // too many within find_time
	Slow     = "slow"     // too many within slow.find_time
	Account  = "account"  // took part when many addresses attacked one account
	Network  = "network"  // a network of which many parts attacked
)

// reasons are kept by number: there are as many as bans.
var reasons = []string{"", Failures, Slow, Account, Network}

// ID names the ban. It follows from what the ban is, so a replay, or reading the journal again after a crash, gives
// the same one, and a repeated report is recognised.
func (b *Ban) ID() string {
	buf := make([]byte, 0, 128)
	buf = binary.BigEndian.AppendUint64(buf, uint64(b.Since))
	buf = b.Prefix.AppendTo(buf)
	buf = append(buf, 0)
	buf = append(buf, b.Jail...)
	h := sha256.Sum256(buf)
	return hex.EncodeToString(h[:8])
}

// History is what escalation remembers of a prefix.
type History struct {
	Prefix netip.Prefix
	Count  int   // bans so far
	Last   int64 // when the last one ended or will end; math.MaxInt64: never
}

// Bounds. Bans are bounded by what attacks, at 60 bytes each; the others are memories that may be short.
const (
	maxHistory = 1 << 20
	maxPardons = 1 << 18
	maxAllowed = 1 << 16

	// pardonFor is how long a pardon is kept: no find_time is longer.
	pardonFor = 366 * 24 * time.Hour
)

const never = math.MaxInt64

// State is the state. One goroutine uses it.
type State struct {
	cursor string

	bans   table[ban]
	lens   [2]lengths   // of the bans, per family
	jails  []string     // sorted: a key holds the place of its jail's name here
	scopes []string     // a ban holds the place of its scope here; the first is ""
	notes  map[key]note // of bans by hand
	seen   []witness    // what Held found last, by address
	era    uint32       // of seen: a new one begins when a ban goes or changes

	history  table[past]
	forget   int64 // µs, as Escalate was told last; 0: never
	pardons  table[int64]
	pardoned [2]lengths
	allowed  map[netip.Prefix]allow.Entry
	chance   uint64 // of evict
	counts   []byte // of a snapshot, until somebody takes them
}

// lengths counts prefixes of a family by their length: who asks what holds an address need look for those lengths alone
// that there are, which are one or two.
type lengths struct {
	n    [129]int32
	used []uint8 // sorted
}

func (l *lengths) add(bits uint8, n int32) {
	l.n[bits] += n
	at, in := slices.BinarySearch(l.used, bits)
	switch {
	case l.n[bits] > 0 && !in:
		l.used = slices.Insert(l.used, at, bits)
	case l.n[bits] == 0 && in:
		l.used = slices.Delete(l.used, at, at+1)
	}
}

// key is a prefix without pointers, and of a ban the jail.
type key struct {
	hi, lo uint64 // address; IPv4 in the upper half of hi
	jail   uint32
	bits   uint8
	v6     bool
}

func keyOf(p netip.Prefix) key {
	k := key{bits: uint8(p.Bits()), v6: p.Addr().Is6()}
	if k.v6 {
		b := p.Addr().As16()
		k.hi, k.lo = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	} else {
		b := p.Addr().As4()
		k.hi = uint64(binary.BigEndian.Uint32(b[:])) << 32
	}
	return k
}

func (k key) prefix() netip.Prefix {
	if !k.v6 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(k.hi>>32))
		return netip.PrefixFrom(netip.AddrFrom4(b), int(k.bits))
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.hi)
	binary.BigEndian.PutUint64(b[8:], k.lo)
	return netip.PrefixFrom(netip.AddrFrom16(b), int(k.bits))
}

// cut gives the prefix of a length that holds k's address.
func (k key) cut(bits int) key {
	k.bits = uint8(bits)
	if bits <= 64 {
		k.lo = 0
		if bits < 64 {
			k.hi &^= math.MaxUint64 >> bits
		}
	} else if bits < 128 {
		k.lo &^= math.MaxUint64 >> (bits - 64)
	}
	return k
}

func (k key) family() int {
	if k.v6 {
		return 1
	}
	return 0
}

// end is a key behind all of the same prefix.
func (k key) end() key {
	k.jail = math.MaxUint32
	return k
}

// ban is what a key is banned for.
type ban struct {
	since, until int64 // until never: for ever
	failures     uint16
	scope        uint16 // in State.scopes
	count        uint32 // and in the upper reasonBits the number of the reason
}

const (
	reasonBits = 3
	maxCount   = 1<<(32-reasonBits) - 1
)

// note is what a ban by hand says besides.
type note struct{ reason, by string }

type past struct {
	count uint32
	end   int64 // never: a ban without end
}

// New makes an empty ledger.
func New() *State {
	return &State{scopes: []string{""}, notes: map[key]note{}, allowed: map[netip.Prefix]allow.Entry{}}
}

// Cursor is the journal cursor that the ledger's state belongs to; "" when nothing was read yet.
func (l *State) Cursor() string { return l.cursor }

// SetCursor says how far the journal was read.
func (l *State) SetCursor(c string) { l.cursor = c }

// Len is how many bans there are.
func (l *State) Len() int { return l.bans.n }

// keyOf makes the key of a ban; ok is false when there is no ban of that jail.
func (l *State) keyOf(p netip.Prefix, jail string) (k key, ok bool) {
	k = keyOf(p)
	i, ok := slices.BinarySearch(l.jails, jail)
	k.jail = uint32(i)
	return k, ok
}

// addJail gives a jail's name its place, which moves those behind it. It is done once for each name.
func (l *State) addJail(jail string) {
	l.change()
	at, _ := slices.BinarySearch(l.jails, jail)
	l.jails = slices.Insert(l.jails, at, jail)
	if at == len(l.jails)-1 {
		return
	}
	move := func(k key) key {
		if k.jail >= uint32(at) {
			k.jail++
		}
		return k
	}
	for i := range l.bans.blocks {
		b := &l.bans.blocks[i]
		b.first = move(b.first)
		for i := range b.rows {
			b.rows[i].key = move(b.rows[i].key)
		}
	}
	notes := make(map[key]note, len(l.notes))
	for k, n := range l.notes {
		notes[move(k)] = n
	}
	l.notes = notes
}

func (l *State) full(k key, b *ban) Ban {
	x := Ban{Prefix: k.prefix(), Jail: l.jails[k.jail], Since: b.since, Until: b.until, Failures: int(b.failures), Count: int(b.count & maxCount), Reason: reasons[b.count>>(32-reasonBits)], Scope: l.scopes[b.scope]}
	if b.until == never {
		x.Until = 0
	}
	if len(l.notes) > 0 {
		if n, ok := l.notes[k]; ok {
			x.Reason, x.By = n.reason, n.by
		}
	}
	return x
}

// Add puts a ban in; one of the same prefix and jail is replaced. The prefix must be masked and not IPv4-mapped.
func (l *State) Add(b Ban) {
	k, ok := l.keyOf(b.Prefix, b.Jail)
	if !ok {
		l.addJail(b.Jail)
	}
	x, in, made := l.bans.put(k)
	if made {
		l.lens[k.family()].add(k.bits, 1)
	} else {
		l.change()
	}
	*x = ban{since: b.Since, until: b.Until, failures: uint16(min(max(b.Failures, 0), math.MaxUint16)), scope: l.scopeOf(b.Scope), count: uint32(min(max(b.Count, 0), maxCount))}
	if b.Until == 0 {
		x.until = never
	}
	in.due = min(in.due, x.until)
	if r := slices.Index(reasons, b.Reason); r >= 0 && b.By == "" {
		x.count |= uint32(r) << (32 - reasonBits)
		delete(l.notes, k)
	} else if n := (note{b.Reason, b.By}); n != (note{}) {
		l.notes[k] = n
	} else {
		delete(l.notes, k)
	}
}

// scopeOf gives a scope its place. Scopes are few: those of the jails' ports, and unions of them.
func (l *State) scopeOf(scope string) uint16 {
	i := slices.Index(l.scopes, scope)
	if i < 0 {
		if len(l.scopes) > math.MaxUint16 {
			return 0 // all traffic holds every scope
		}
		i = len(l.scopes)
		l.scopes = append(l.scopes, scope)
	}
	return uint16(i)
}

// Scopes lists the scopes of all bans; scopes of bans that are gone may be among them.
func (l *State) Scopes() []string { return slices.Clone(l.scopes) }

// Covers says whether a scope holds another one. A scope is one list of ports or several with a semicolon between them, as
// config.ScopeText writes them; "" is all traffic. A range holds the same range only.
func Covers(scope, other string) bool {
	if scope == "" || scope == other {
		return true
	}
	if other == "" {
		return false
	}
	for p := range ports(other) {
		held := false
		for have := range ports(scope) {
			held = held || have == p
		}
		if !held {
			return false
		}
	}
	return true
}

// ports goes through the ports of a scope, and ranges of them.
func ports(scope string) iter.Seq[string] {
	return strings.FieldsFuncSeq(scope, func(c rune) bool { return c == ',' || c == ';' })
}

// JoinScopes is the scope that holds both.
func JoinScopes(a, b string) string {
	if a == "" || b == "" {
		return ""
	}
	all := append(strings.Split(a, ";"), strings.Split(b, ";")...)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ";")
}

// RemoveFunc takes out the bans that gone says, and returns them.
func (l *State) RemoveFunc(gone func(*Ban) bool) (removed []Ban) {
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

// Remove takes a ban out; false when there is none.
func (l *State) Remove(p netip.Prefix, jail string) bool {
	k, ok := l.keyOf(p, jail)
	if ok = ok && l.bans.delete(k); ok {
		l.gone(k)
	}
	return ok
}

// gone clears up after a ban that was taken out.
func (l *State) gone(k key) {
	l.change()
	l.lens[k.family()].add(k.bits, -1)
	delete(l.notes, k)
	if l.bans.n == 0 {
		l.jails, l.scopes, l.notes, l.seen = nil, []string{""}, map[key]note{}, nil
	}
}

// Get returns a jail's ban of exactly that prefix.
func (l *State) Get(p netip.Prefix, jail string) (Ban, bool) {
	if k, ok := l.keyOf(p, jail); ok {
		if b := l.bans.get(k); b != nil {
			return l.full(k, b), true
		}
	}
	return Ban{}, false
}

// Of goes through the bans of exactly that prefix. The ledger must not be changed meanwhile.
func (l *State) Of(p netip.Prefix) iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		l.of(keyOf(p), func(k key, b *ban) bool { return yield(l.full(k, b)) })
	}
}

// of goes through the bans of one prefix; it returns false when yield did.
func (l *State) of(k key, yield func(key, *ban) bool) (on bool) {
	on = true
	end := k.end()
	l.bans.from(k, func(x key, b *ban) bool {
		if x.compare(end) > 0 {
			return false
		}
		on = yield(x, b)
		return on
	})
	return on
}

// Covering goes through the bans of all prefixes that hold an address, wide ones first. The ledger must not be changed
// meanwhile.
func (l *State) Covering(a netip.Addr) iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		l.covering(a, func(k key, b *ban) bool { return yield(l.full(k, b)) })
	}
}

func (l *State) covering(a netip.Addr, yield func(key, *ban) bool) {
	if l.bans.n == 0 {
		return
	}
	k := keyOf(netip.PrefixFrom(a, a.BitLen()))
	for _, bits := range l.lens[k.family()].used {
		if !l.of(k.cut(int(bits)), yield) {
			return
		}
	}
}

// Holds says whether a ban that some jail made before a moment is in force then for an address; counts says which jails and
// scopes matter. It is asked for each failure, and mostly of the same addresses: what it found is at hand for the next time.
func (l *State) Holds(a netip.Addr, at int64, counts func(jail, scope string) bool) (held bool) {
	if l.bans.n == 0 {
		return false
	}
	if l.seen == nil {
		l.seen = make([]witness, 1<<witnessBits)
	}
	k := keyOf(netip.PrefixFrom(a, a.BitLen()))
	w := &l.seen[k.hi*0x9e3779b97f4a7c15>>(64-witnessBits)]
	if w.hi == k.hi && w.v6 == k.v6 && w.era == l.era && w.since < at && at < w.until && counts(l.jails[w.jail], l.scopes[w.scope]) {
		return true
	}
	l.covering(a, func(x key, b *ban) bool {
		held = b.since < at && at < b.until && counts(l.jails[x.jail], l.scopes[b.scope])
		if held && x.bits <= 64 && x.jail <= math.MaxUint8 && b.scope <= math.MaxUint8 {
			*w = witness{k.hi, b.since, b.until, l.era, uint8(x.jail), uint8(b.scope), k.v6}
		}
		return !held
	})
	return held
}

// witness is a ban that holds all addresses with that upper half, as Held found it. An empty one holds nothing, since it
// is over. Two of them lie in a line of the cache.
type witness struct {
	hi           uint64
	since, until int64
	era          uint32
	jail, scope  uint8
	v6           bool
}

// witnessBits: 16,384 of them, 512 KiB, from the first ban on.
const witnessBits = 14

// change begins a new era: what Held found may no longer hold.
func (l *State) change() {
	if l.era++; l.era == 0 {
		clear(l.seen) // of the era of that number before
	}
}

// All goes through all bans: IPv4 before IPv6, by address, wide before narrow, then by jail. The ledger must not be
// changed meanwhile.
func (l *State) All() iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		l.bans.all(func(k key, b *ban) bool { return yield(l.full(k, b)) })
	}
}

// Expire takes out the bans that are over at now and returns them, the earliest first. Each time it also goes through a
// part of the history and the pardons, and drops what is forgotten at read, which is up to when the journal was read.
func (l *State) Expire(now, read int64) (over []Ban) {
	var keys []key
	for i := len(l.bans.blocks) - 1; i >= 0; i-- { // from the end: trim may join a block with its neighbours
		if i >= len(l.bans.blocks) || l.bans.blocks[i].due > now {
			continue
		}
		due := int64(never)
		l.bans.blocks[i].due = due
		l.bans.trim(i, func(k key, b *ban) bool {
			if b.until > now {
				due = min(due, b.until)
				return false
			}
			over = append(over, l.full(k, b))
			keys = append(keys, k)
			return true
		})
		if i < len(l.bans.blocks) {
			b := &l.bans.blocks[i]
			b.due = min(b.due, due)
		}
		if i > 0 && i-1 < len(l.bans.blocks) {
			b := &l.bans.blocks[i-1]
			b.due = min(b.due, due)
		}
	}
	for _, k := range keys {
		l.gone(k)
	}
	slices.SortStableFunc(over, func(a, b Ban) int { return cmp.Compare(a.Until, b.Until) })
	l.history.trimNext(func(_ key, h *past) bool { return l.past(h, read) })
	l.pardons.trimNext(func(k key, at *int64) bool {
		old := read-*at > pardonFor.Microseconds()
		if old {
			l.pardoned[k.family()].add(k.bits, -1)
		}
		return old
	})
	for p, a := range l.allowed {
		if !a.Until.IsZero() && a.Until.UnixMicro() <= now {
			delete(l.allowed, p)
		}
	}
	return over
}

// Escalate says how long the next ban of a prefix lasts and the how-manieth it is, and remembers it: base times factor
// for each ban before, at most longest, but never less than base. What lies longer back than forget after the last
// ban's end does not count; forget 0 never forgets. spread is added; where that would be more than longest, it is taken
// off instead, so that bans of full length do not all end when everybody expects it. Never is it less than base.
func (l *State) Escalate(p netip.Prefix, at int64, base time.Duration, factor float64, longest, forget, spread time.Duration) (long time.Duration, count int) {
	k := keyOf(p)
	l.forget = forget.Microseconds()
	if forget == forever {
		l.forget = 0
	}
	var h past
	if old := l.history.get(k); old != nil && !l.past(old, at) {
		h.count = old.count
	}
	h.count = min(h.count+1, math.MaxInt32)
	long = base
	if base != forever && factor > 1 && h.count > 1 {
		f := float64(base) * math.Pow(factor, float64(h.count-1))
		switch {
		case f < float64(longest) && f < float64(math.MaxInt64):
			long = time.Duration(f)
		case longest > base:
			long = longest
		}
	}
	if most := max(longest, base); long != forever {
		if spread <= most-long {
			long += spread
		} else {
			long = max(base, most-spread)
		}
	}
	h.end = never
	if long != forever {
		h.end = at + long.Microseconds()
	}
	l.remember(k, h)
	return long, int(h.count)
}

// past says whether a history is forgotten.
func (l *State) past(h *past, now int64) bool {
	return l.forget > 0 && h.end != never && now-h.end > l.forget
}

func (l *State) remember(k key, h past) {
	x, _, made := l.history.put(k)
	*x = h
	if made && l.history.n > maxHistory {
		l.history.evict(l.dice(), func(h *past) int64 { return h.end })
	}
}

// dice is a step of a linear congruential generator, whose upper bits are good enough to pick a block by.
func (l *State) dice() uint64 {
	l.chance = l.chance*6364136223846793005 + 1442695040888963407
	return l.chance >> 33
}

// Remember notes a ban that was made before, when the ledger is rebuilt from the audit trail.
func (l *State) Remember(b Ban) {
	h := past{count: uint32(min(max(b.Count, 1), math.MaxInt32)), end: b.Until}
	if b.Until == 0 {
		h.end = never
	}
	k := keyOf(b.Prefix)
	if old := l.history.get(k); old == nil || old.count <= h.count {
		l.remember(k, h)
	}
}

// HistoryOf returns what is remembered of the prefixes that hold p or lie in it.
func (l *State) HistoryOf(p netip.Prefix) (found []History) {
	k := keyOf(p)
	for bits := range k.bits { // those that hold p
		if h := l.history.get(k.cut(int(bits))); h != nil {
			found = append(found, History{k.cut(int(bits)).prefix(), int(h.count), h.end})
		}
	}
	l.history.from(k, func(o key, h *past) bool {
		if o.v6 != k.v6 || o.bits < k.bits || o.cut(int(k.bits)) != k {
			return false
		}
		found = append(found, History{o.prefix(), int(h.count), h.end})
		return true
	})
	return found
}

// Pardon notes that an operator lifted what stood against a prefix: failures up to then never count again. It replaces an
// earlier pardon, also one that lies ahead: the clock was set back.
func (l *State) Pardon(p netip.Prefix, at int64) {
	k := keyOf(p)
	x, _, made := l.pardons.put(k)
	*x = at
	if !made {
		return
	}
	l.pardoned[k.family()].add(k.bits, 1)
	if l.pardons.n > maxPardons {
		k = l.pardons.evict(l.dice(), func(at *int64) int64 { return *at })
		l.pardoned[k.family()].add(k.bits, -1)
	}
}

// Pardoned says whether a failure of an address at a moment was forgiven by an operator within a time after it. The time
// keeps a pardon that was given while the clock was ahead from forgiving what comes once it is right.
func (l *State) Pardoned(a netip.Addr, at, within int64) bool {
	if l.pardons.n == 0 {
		return false
	}
	k := keyOf(netip.PrefixFrom(a, a.BitLen()))
	for _, bits := range l.pardoned[k.family()].used {
		if t := l.pardons.get(k.cut(int(bits))); t != nil && at <= *t && *t-at < within {
			return true
		}
	}
	return false
}

// Allow puts a prefix on the run-time allow list. false when the list is full.
func (l *State) Allow(e allow.Entry) bool {
	if _, ok := l.allowed[e.Prefix]; !ok && len(l.allowed) >= maxAllowed {
		return false
	}
	l.allowed[e.Prefix] = e
	return true
}

// Disallow takes a prefix off the run-time allow list; false when it is not on it.
func (l *State) Disallow(p netip.Prefix) bool {
	_, ok := l.allowed[p]
	delete(l.allowed, p)
	return ok
}

// Allowed returns the run-time allow list, sorted.
func (l *State) Allowed() []allow.Entry {
	list := make([]allow.Entry, 0, len(l.allowed))
	for _, e := range l.allowed {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b allow.Entry) int { return keyOf(a.Prefix).compare(keyOf(b.Prefix)) })
	return list
}
