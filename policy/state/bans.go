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

// reasons are kept by number.
var reasons = []string{"", Failures, Slow, Account, Network}

// ID names the ban. It follows from what the ban is, so a replay, or reading the journal again after a crash, gives
// the same one, and a repeated report is recognized.
func (b *Ban) ID() string {
	buf := make([]byte, 0, 128)
	buf = binary.BigEndian.AppendUint64(buf, uint64(b.Since))
	buf = b.Prefix.AppendTo(buf)
	buf = append(buf, 0)
	buf = append(buf, b.Jail...)
	h := sha256.Sum256(buf)
	return hex.EncodeToString(h[:8])
}

// bans are those in force. There may be 100,000, so they are kept without pointers and without texts: names of jails and scopes
// are few and have numbers, and what an operator wrote stands apart.
type bans struct {
	single  map[prefix.Key]ban   // prefixes that one jail bans
	several map[prefix.Key][]ban // prefixes that several jails ban, sorted by jail
	n       int
	lengths lengths
	due     int64            // none is over before
	jails   []string         // by number
	scopes  []string         // by number; the first is ""
	notes   map[noteKey]note // of bans by hand
}

// ban is what a prefix is banned for.
type ban struct {
	since, until int64 // until never: forever
	failures     uint32
	count        uint32
	jail, scope  uint16 // in bans.jails and bans.scopes
	reason       uint8  // in reasons
}

// never is an end that does not come.
const never = math.MaxInt64

// note is what a ban by hand says besides.
type note struct{ reason, by string }

type noteKey struct {
	prefix prefix.Key
	jail   uint16
}

func newBans() bans {
	return bans{
		single: make(map[prefix.Key]ban), several: make(map[prefix.Key][]ban), notes: make(map[noteKey]note),
		scopes: []string{""}, due: never,
	}
}

// Len is how many bans there are.
func (l *bans) Len() int { return l.n }

// list returns the bans of one prefix, sorted by jail.
func (l *bans) list(k prefix.Key) []ban {
	if b, ok := l.single[k]; ok {
		return []ban{b}
	}
	return slices.Clone(l.several[k])
}

// set replaces the bans of one prefix.
func (l *bans) set(k prefix.Key, list []ban) {
	l.n += len(list) - len(l.list(k))
	delete(l.single, k)
	delete(l.several, k)
	switch len(list) {
	case 0:
		if l.n == 0 {
			*l = newBans() // after a storm the memory goes back
		}
	case 1:
		l.single[k] = list[0]
	default:
		l.several[k] = list
	}
}

// number gives a name its place in a list; ok is false when there is no room for another one.
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

// find gives the place of a jail's ban among those of a prefix.
func (l *bans) find(list []ban, jail string) (i int, ok bool) {
	return slices.BinarySearchFunc(list, jail, func(b ban, jail string) int { return cmp.Compare(l.jails[b.jail], jail) })
}

// Add puts a ban in; one of the same prefix and jail is replaced. The prefix must be masked and not IPv4-mapped.
func (l *bans) Add(b Ban) {
	k := prefix.OfPrefix(b.Prefix)
	jail, ok := number(&l.jails, b.Jail)
	if !ok {
		return // no configuration has 65,536 jails
	}
	scope, _ := number(&l.scopes, b.Scope) // with too many scopes all traffic, which holds every scope
	x := ban{
		since: b.Since, until: b.Until, failures: uint32(min(max(b.Failures, 0), math.MaxInt32)), count: uint32(min(max(b.Count, 0), math.MaxInt32)),
		jail: jail, scope: scope,
	}
	if b.Until == 0 {
		x.until = never
	}
	nk := noteKey{k, jail}
	delete(l.notes, nk)
	if r := slices.Index(reasons, b.Reason); r >= 0 && b.By == "" {
		x.reason = uint8(r)
	} else {
		l.notes[nk] = note{b.Reason, b.By}
	}
	list := l.list(k)
	if i, in := l.find(list, b.Jail); in {
		list[i] = x
	} else {
		list = slices.Insert(list, i, x)
	}
	l.set(k, list)
	l.lengths.add(k)
	l.due = min(l.due, x.until)
}

// Remove takes a ban out; false when there is none.
func (l *bans) Remove(p netip.Prefix, jail string) bool {
	k := prefix.OfPrefix(p)
	list := l.list(k)
	i, ok := l.find(list, jail)
	if ok {
		delete(l.notes, noteKey{k, list[i].jail})
		l.set(k, slices.Delete(list, i, i+1))
	}
	return ok
}

// RemoveFunc takes out the bans that gone says, and returns them.
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

// expire takes out the bans that are over at now and returns them, the earliest first.
func (l *bans) expire(now int64) []Ban {
	if l.due > now {
		return nil
	}
	var over []Ban
	l.due = never
	look := func(k prefix.Key, b *ban) {
		if b.until <= now {
			over = append(over, l.full(k, b))
		} else {
			l.due = min(l.due, b.until)
		}
	}
	for k, b := range l.single {
		look(k, &b)
	}
	for k, list := range l.several {
		for i := range list {
			look(k, &list[i])
		}
	}
	slices.SortFunc(over, func(a, b Ban) int {
		return cmp.Or(cmp.Compare(a.Until, b.Until), prefix.OfPrefix(a.Prefix).Compare(prefix.OfPrefix(b.Prefix)), cmp.Compare(a.Jail, b.Jail))
	})
	due := l.due
	for _, b := range over {
		l.Remove(b.Prefix, b.Jail)
	}
	l.due = due
	return over
}

// full is a ban with its texts.
func (l *bans) full(k prefix.Key, b *ban) Ban {
	x := Ban{
		Prefix: k.Prefix(), Jail: l.jails[b.jail], Since: b.since, Until: b.until, Failures: int(b.failures), Count: int(b.count),
		Reason: reasons[b.reason], Scope: l.scopes[b.scope],
	}
	if b.until == never {
		x.Until = 0
	}
	if n, ok := l.notes[noteKey{k, b.jail}]; ok {
		x.Reason, x.By = n.reason, n.by
	}
	return x
}

// Get returns a jail's ban of exactly that prefix.
func (l *bans) Get(p netip.Prefix, jail string) (Ban, bool) {
	k := prefix.OfPrefix(p)
	list := l.list(k)
	if i, ok := l.find(list, jail); ok {
		return l.full(k, &list[i]), true
	}
	return Ban{}, false
}

// Of goes through the bans of exactly that prefix, by jail.
func (l *bans) Of(p netip.Prefix) iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		k := prefix.OfPrefix(p)
		for _, b := range l.list(k) {
			if !yield(l.full(k, &b)) {
				return
			}
		}
	}
}

// Covering goes through the bans of all prefixes that hold an address, wide ones first.
func (l *bans) Covering(a netip.Addr) iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		own := prefix.OfAddr(a)
		for _, bits := range slices.Clone(l.lengths.of(own)) {
			k := own.Cut(int(bits))
			for _, b := range l.list(k) {
				if !yield(l.full(k, &b)) {
					return
				}
			}
		}
	}
}

// Holds says whether a ban that some jail made before a moment is in force then for an address; counts says which jails and
// scopes matter. It is asked for each failure.
func (l *bans) Holds(a netip.Addr, at int64, counts func(jail, scope string) bool) bool {
	if l.n == 0 {
		return false
	}
	holds := func(b *ban) bool { return b.since < at && at < b.until && counts(l.jails[b.jail], l.scopes[b.scope]) }
	own := prefix.OfAddr(a)
	for _, bits := range l.lengths.of(own) {
		k := own.Cut(int(bits))
		if b, ok := l.single[k]; ok {
			if holds(&b) {
				return true
			}
			continue
		}
		if len(l.several) == 0 {
			continue
		}
		list := l.several[k]
		for i := range list {
			if holds(&list[i]) {
				return true
			}
		}
	}
	return false
}

// All goes through all bans: IPv4 before IPv6, by address, wide before narrow, then by jail.
func (l *bans) All() iter.Seq[Ban] {
	return func(yield func(Ban) bool) {
		for k, b := range l.sorted() {
			if !yield(l.full(k, b)) {
				return
			}
		}
	}
}

// sorted returns an iterator over all bans in the order of All, which can be used more than once.
func (l *bans) sorted() iter.Seq2[prefix.Key, *ban] {
	keys := sorted(l.single)
	if len(l.several) > 0 {
		keys = append(keys, sorted(l.several)...)
		slices.SortFunc(keys, prefix.Key.Compare)
	}
	return func(yield func(prefix.Key, *ban) bool) {
		for _, k := range keys {
			if b, ok := l.single[k]; ok {
				if !yield(k, &b) {
					return
				}
				continue
			}
			for _, b := range l.list(k) {
				if !yield(k, &b) {
					return
				}
			}
		}
	}
}

// Scopes lists the scopes of all bans; scopes of bans that are gone may be among them.
func (l *bans) Scopes() []string { return slices.Clone(l.scopes) }
