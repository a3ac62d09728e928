// Package ledger holds what the daemon must not forget: bans in force, the history that escalation needs, what an
// operator forgave, addresses allowed at run time, and how far the journal was read. It is pure: it reads no clock and
// writes no file; time comes in as microseconds since 1970, and snapshot.go turns the whole into bytes and back.
//
// Start reading at Ledger.
package ledger

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/allow"
)

// forever is the length of a ban that never ends, as the configuration has it.
const forever time.Duration = math.MaxInt64

// Ban is one ban in force: what a jail has against a prefix.
type Ban struct {
	Prefix   netip.Prefix
	Jail     string
	Since    int64 // microseconds since 1970: the time of the entry that was one too many
	Until    int64 // 0: for ever
	Failures int
	Count    int    // how often the prefix was banned, this ban included
	Reason   string // of a ban by hand
	By       string // who, of a ban by hand
}

// ID names the ban. It follows from what the ban is, so a replay, or reading the journal again after a crash, gives
// the same one, and a repeated report is recognised.
func (b *Ban) ID() string {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(b.Since))
	h.Write(n[:])
	h.Write([]byte(b.Prefix.String()))
	h.Write([]byte{0})
	h.Write([]byte(b.Jail))
	return hex.EncodeToString(h.Sum(nil)[:8])
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
	maxPardons = 1 << 16
	maxAllowed = 1 << 16

	// pardonFor is how long a pardon is kept: no find_time is longer.
	pardonFor = 366 * 24 * time.Hour
)

// Ledger is the state. One goroutine uses it.
type Ledger struct {
	cursor string

	slab  []ban
	free  []uint32
	bans  map[key]uint32 // the first ban of a prefix, as its index in slab + 1; the others follow by next
	n     int
	lens  [2][129]int // how many prefixes of each length have bans, per family: Covering asks for these lengths alone
	ends  []end       // a heap by time; entries of bans that are gone or changed are passed over
	order []uint32    // of All; nil after a change

	words     []string          // jails, reasons and users, each once; index 0 is ""
	wordIndex map[string]uint32 //

	history  map[key]past
	forget   int64 // µs, as Escalate was told last
	pardons  map[key]int64
	pardoned [2][129]int
	allowed  map[netip.Prefix]allow.Entry
}

// key is a prefix without pointers.
type key struct {
	hi, lo uint64
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

// compare sorts IPv4 before IPv6, then by address, then wide before narrow.
func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.family(), o.family()), cmp.Compare(k.hi, o.hi), cmp.Compare(k.lo, o.lo), cmp.Compare(k.bits, o.bits))
}

// ban is a Ban without pointers.
type ban struct {
	key
	next            uint32 // the next ban of the same prefix, + 1
	gen             uint32 // raised when the ban ends or its end moves
	since, until    int64
	failures, count uint32
	jail            uint32
	reason, by      uint32
	used            bool
}

type end struct {
	at       int64
	idx, gen uint32
}

type past struct {
	count uint32
	end   int64 // math.MaxInt64: never
}

// New makes an empty ledger.
func New() *Ledger {
	return &Ledger{bans: map[key]uint32{}, words: []string{""}, wordIndex: map[string]uint32{"": 0}, history: map[key]past{}, pardons: map[key]int64{}, allowed: map[netip.Prefix]allow.Entry{}}
}

// Cursor is the journal cursor that the ledger's state belongs to; "" when nothing was read yet.
func (l *Ledger) Cursor() string { return l.cursor }

// SetCursor says how far the journal was read.
func (l *Ledger) SetCursor(c string) { l.cursor = c }

// Len is how many bans there are.
func (l *Ledger) Len() int { return l.n }

func (l *Ledger) word(s string) uint32 {
	i, ok := l.wordIndex[s]
	if !ok {
		if len(l.words) > 2*l.n+1024 {
			l.collectWords()
		}
		i = uint32(len(l.words))
		l.words = append(l.words, s)
		l.wordIndex[s] = i
	}
	return i
}

// collectWords drops the words that no ban uses any more.
func (l *Ledger) collectWords() {
	old := l.words
	l.words, l.wordIndex = []string{""}, map[string]uint32{"": 0}
	again := func(i *uint32) {
		s := old[*i]
		n, ok := l.wordIndex[s]
		if !ok {
			n = uint32(len(l.words))
			l.words = append(l.words, s)
			l.wordIndex[s] = n
		}
		*i = n
	}
	for i := range l.slab {
		if b := &l.slab[i]; b.used {
			again(&b.jail)
			again(&b.reason)
			again(&b.by)
		}
	}
}

func (l *Ledger) full(b *ban) Ban {
	return Ban{Prefix: b.prefix(), Jail: l.words[b.jail], Since: b.since, Until: b.until, Failures: int(b.failures), Count: int(b.count), Reason: l.words[b.reason], By: l.words[b.by]}
}

// find gives the index of a jail's ban of a prefix.
func (l *Ledger) find(k key, jail string) (idx uint32, ok bool) {
	for i := l.bans[k]; i != 0; i = l.slab[i-1].next {
		if l.words[l.slab[i-1].jail] == jail {
			return i - 1, true
		}
	}
	return 0, false
}

// Add puts a ban in; one of the same prefix and jail is replaced. The prefix must be masked and not IPv4-mapped.
func (l *Ledger) Add(b Ban) {
	k := keyOf(b.Prefix)
	i, ok := l.find(k, b.Jail)
	if !ok {
		if n := len(l.free); n > 0 {
			i, l.free = l.free[n-1], l.free[:n-1]
		} else {
			i = uint32(len(l.slab))
			l.slab = append(l.slab, ban{})
		}
		first := l.bans[k]
		if first == 0 {
			l.lens[k.family()][k.bits]++
		}
		l.slab[i] = ban{key: k, next: first, gen: l.slab[i].gen, used: true}
		l.bans[k] = i + 1
		l.n++
		l.order = nil
	}
	x := &l.slab[i]
	x.gen++
	x.since, x.until, x.failures, x.count = b.Since, b.Until, uint32(min(max(b.Failures, 0), math.MaxInt32)), uint32(min(max(b.Count, 0), math.MaxInt32))
	// One after the other: word may collect words, and then renumbers those of the bans that are in the slab.
	x.jail, x.reason, x.by = 0, 0, 0
	n := l.word(b.Jail)
	l.slab[i].jail = n
	n = l.word(b.Reason)
	l.slab[i].reason = n
	n = l.word(b.By)
	l.slab[i].by = n
	if b.Until != 0 {
		l.push(end{b.Until, i, x.gen})
	}
}

// Remove takes a ban out; false when there is none.
func (l *Ledger) Remove(p netip.Prefix, jail string) bool {
	k := keyOf(p)
	i, ok := l.find(k, jail)
	if ok {
		l.drop(i)
	}
	return ok
}

func (l *Ledger) drop(i uint32) {
	x := &l.slab[i]
	at := l.bans[x.key]
	if at == i+1 {
		if x.next == 0 {
			delete(l.bans, x.key)
			l.lens[x.family()][x.bits]--
		} else {
			l.bans[x.key] = x.next
		}
	} else {
		for l.slab[at-1].next != i+1 {
			at = l.slab[at-1].next
		}
		l.slab[at-1].next = x.next
	}
	*x = ban{gen: x.gen + 1}
	l.free = append(l.free, i)
	l.n--
	l.order = nil
	if l.n == 0 { // after a storm the memory goes back
		l.slab, l.free, l.ends, l.bans = nil, nil, nil, map[key]uint32{}
	}
}

// Get returns a jail's ban of exactly that prefix.
func (l *Ledger) Get(p netip.Prefix, jail string) (Ban, bool) {
	if i, ok := l.find(keyOf(p), jail); ok {
		return l.full(&l.slab[i]), true
	}
	return Ban{}, false
}

// Of goes through the bans of exactly that prefix.
func (l *Ledger) Of(p netip.Prefix) iter.Seq[Ban] {
	return func(yield func(Ban) bool) { l.chain(keyOf(p), yield) }
}

func (l *Ledger) chain(k key, yield func(Ban) bool) bool {
	for i := l.bans[k]; i != 0; i = l.slab[i-1].next {
		if !yield(l.full(&l.slab[i-1])) {
			return false
		}
	}
	return true
}

// Covering goes through the bans of all prefixes that hold an address, wide ones first. The ledger must not be changed
// meanwhile.
func (l *Ledger) Covering(a netip.Addr) iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		if l.n == 0 {
			return
		}
		k := keyOf(netip.PrefixFrom(a, a.BitLen()))
		for bits, n := range l.lens[k.family()][:a.BitLen()+1] {
			if n > 0 && !l.chain(k.cut(bits), yield) {
				return
			}
		}
	}
}

// Held says whether a ban that some jail made before a moment is in force then for an address; counts says of which
// jails.
func (l *Ledger) Held(a netip.Addr, at int64, counts func(jail string) bool) bool {
	if l.n == 0 {
		return false
	}
	k := keyOf(netip.PrefixFrom(a, a.BitLen()))
	for bits, n := range l.lens[k.family()][:a.BitLen()+1] {
		if n == 0 {
			continue
		}
		for i := l.bans[k.cut(bits)]; i != 0; i = l.slab[i-1].next {
			if b := &l.slab[i-1]; b.since < at && (b.until == 0 || at < b.until) && counts(l.words[b.jail]) {
				return true
			}
		}
	}
	return false
}

// All goes through all bans: IPv4 before IPv6, by address, wide before narrow, then by jail. The ledger must not be
// changed meanwhile.
func (l *Ledger) All() iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		if l.order == nil && l.n > 0 {
			order := make([]uint32, 0, l.n)
			for i := range l.slab {
				if l.slab[i].used {
					order = append(order, uint32(i))
				}
			}
			slices.SortFunc(order, func(i, j uint32) int {
				a, b := &l.slab[i], &l.slab[j]
				return cmp.Or(a.compare(b.key), cmp.Compare(l.words[a.jail], l.words[b.jail]))
			})
			l.order = order
		}
		for _, i := range l.order {
			if !yield(l.full(&l.slab[i])) {
				return
			}
		}
	}
}

// Expire takes out the bans that are over at now and returns them, the earliest first.
func (l *Ledger) Expire(now int64) (over []Ban) {
	for len(l.ends) > 0 && l.ends[0].at <= now {
		e := l.pop()
		if int(e.idx) < len(l.slab) {
			if x := &l.slab[e.idx]; x.used && x.gen == e.gen {
				over = append(over, l.full(x))
				l.drop(e.idx)
			}
		}
	}
	for p, a := range l.allowed {
		if !a.Until.IsZero() && a.Until.UnixMicro() <= now {
			delete(l.allowed, p)
		}
	}
	return over
}

// The heap of ends. Stale entries are dropped when they outnumber the bans.
func (l *Ledger) push(e end) {
	if len(l.ends) > 2*l.n+64 {
		l.ends = slices.DeleteFunc(l.ends, func(e end) bool {
			return int(e.idx) >= len(l.slab) || !l.slab[e.idx].used || l.slab[e.idx].gen != e.gen
		})
		for i := len(l.ends)/2 - 1; i >= 0; i-- {
			l.sift(i)
		}
	}
	l.ends = append(l.ends, e)
	for i := len(l.ends) - 1; i > 0; {
		up := (i - 1) / 2
		if l.ends[up].at <= l.ends[i].at {
			break
		}
		l.ends[up], l.ends[i] = l.ends[i], l.ends[up]
		i = up
	}
}

func (l *Ledger) pop() end {
	e := l.ends[0]
	n := len(l.ends) - 1
	l.ends[0] = l.ends[n]
	l.ends = l.ends[:n]
	l.sift(0)
	return e
}

func (l *Ledger) sift(i int) {
	for {
		c := 2*i + 1
		if c >= len(l.ends) {
			return
		}
		if c+1 < len(l.ends) && l.ends[c+1].at < l.ends[c].at {
			c++
		}
		if l.ends[i].at <= l.ends[c].at {
			return
		}
		l.ends[i], l.ends[c] = l.ends[c], l.ends[i]
		i = c
	}
}

// Escalate says how long the next ban of a prefix lasts and the how-manieth it is, and remembers it: base times factor
// for each ban before, at most longest, but never less than base. What lies longer back than forget after the last
// ban's end does not count; forget 0 never forgets.
func (l *Ledger) Escalate(p netip.Prefix, at int64, base time.Duration, factor float64, longest, forget time.Duration) (long time.Duration, count int) {
	k := keyOf(p)
	l.forget = forget.Microseconds()
	if forget == forever {
		l.forget = 0
	}
	h := l.history[k]
	if l.past(h, at) {
		h.count = 0
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
	h.end = math.MaxInt64
	if long != forever {
		h.end = at + long.Microseconds()
	}
	l.remember(k, h, at)
	return long, int(h.count)
}

// past says whether a history is forgotten.
func (l *Ledger) past(h past, now int64) bool {
	return l.forget > 0 && h.end != math.MaxInt64 && now-h.end > l.forget
}

func (l *Ledger) remember(k key, h past, now int64) {
	if _, ok := l.history[k]; !ok && len(l.history) >= maxHistory {
		// Full: what is forgotten goes; if that is nothing, any one goes, since an attacker with a million addresses
		// must not be able to choose.
		var any key
		for o, x := range l.history {
			any = o
			if l.past(x, now) {
				delete(l.history, o)
			}
		}
		if len(l.history) >= maxHistory {
			delete(l.history, any)
		}
	}
	l.history[k] = h
}

// Remember notes a ban that was made before, when the ledger is rebuilt from the audit trail.
func (l *Ledger) Remember(b Ban) {
	h := past{count: uint32(min(max(b.Count, 1), math.MaxInt32)), end: b.Until}
	if b.Until == 0 {
		h.end = math.MaxInt64
	}
	k := keyOf(b.Prefix)
	if old := l.history[k]; old.count <= h.count {
		l.remember(k, h, b.Since)
	}
}

// HistoryOf returns what is remembered of the prefixes that hold p or lie in it.
func (l *Ledger) HistoryOf(p netip.Prefix) (found []History) {
	k := keyOf(p)
	for o, h := range l.history {
		if o.v6 == k.v6 && o.cut(int(min(o.bits, k.bits))) == k.cut(int(min(o.bits, k.bits))) {
			found = append(found, History{o.prefix(), int(h.count), h.end})
		}
	}
	slices.SortFunc(found, func(a, b History) int { return keyOf(a.Prefix).compare(keyOf(b.Prefix)) })
	return found
}

// Pardon notes that an operator lifted what stood against a prefix: failures up to then never count again.
func (l *Ledger) Pardon(p netip.Prefix, at int64) {
	k := keyOf(p)
	if _, ok := l.pardons[k]; !ok {
		if len(l.pardons) >= maxPardons {
			var oldest key
			when := int64(math.MaxInt64)
			for o, t := range l.pardons {
				if t < when {
					oldest, when = o, t
				}
			}
			l.unpardon(oldest)
		}
		l.pardoned[k.family()][k.bits]++
	}
	l.pardons[k] = at
	for o, t := range l.pardons {
		if at-t > pardonFor.Microseconds() {
			l.unpardon(o)
		}
	}
}

func (l *Ledger) unpardon(k key) {
	delete(l.pardons, k)
	l.pardoned[k.family()][k.bits]--
}

// Pardoned says whether a failure of an address at a moment was forgiven since.
func (l *Ledger) Pardoned(a netip.Addr, at int64) bool {
	if len(l.pardons) == 0 {
		return false
	}
	k := keyOf(netip.PrefixFrom(a, a.BitLen()))
	for bits, n := range l.pardoned[k.family()][:a.BitLen()+1] {
		if n > 0 {
			if t, ok := l.pardons[k.cut(bits)]; ok && at <= t {
				return true
			}
		}
	}
	return false
}

// Allow puts a prefix on the run-time allow list. false when the list is full.
func (l *Ledger) Allow(e allow.Entry) bool {
	if _, ok := l.allowed[e.Prefix]; !ok && len(l.allowed) >= maxAllowed {
		return false
	}
	l.allowed[e.Prefix] = e
	return true
}

// Disallow takes a prefix off the run-time allow list; false when it is not on it.
func (l *Ledger) Disallow(p netip.Prefix) bool {
	_, ok := l.allowed[p]
	delete(l.allowed, p)
	return ok
}

// Allowed returns the run-time allow list, sorted.
func (l *Ledger) Allowed() []allow.Entry {
	list := make([]allow.Entry, 0, len(l.allowed))
	for _, e := range l.allowed {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b allow.Entry) int { return keyOf(a.Prefix).compare(keyOf(b.Prefix)) })
	return list
}
