package jail

import (
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/prefix"
)

// AccountOptions say when an account is under attack.
type AccountOptions struct {
	FindTime  time.Duration
	Addresses int // number of different addresses that must fail; 0: never
	MaxRetry  int // attempts of one address that lead to its ban while the account is under attack
	Limit     int // how many pairs of account and address are kept
}

// LeastAccountRetry is the minimum of AccountOptions.MaxRetry: nobody is banned for two slips.
const LeastAccountRetry = 3

// Accounts counts failures by account: from how many addresses logins to it failed, and how often from each. It stores only a keyed hash of
// an account's name. One goroutine uses it.
//
// All IPv6 addresses of a /48 count as one, since anybody can get a /48. At most Limit pairs of account and address are kept: beyond that,
// of four accounts picked at random, the one with the fewest addresses is dropped. Accounts with a single failure are kept apart, in a hash
// table of fixed size (singles), so that a flood of invented names costs little and displaces only other such names. For each account, the
// latest maxPlaces addresses are kept.
type Accounts struct {
	o       AccountOptions
	m       map[uint64]*account
	singles []single
	order   []*account // for picking at random
	pairs   int
	seed    uint64
	random  uint64
	hand    int
	dropped uint64
	spare   *account // a dropped account, whose memory the next one uses
}

// account is one account with the places from which logins failed.
type account struct {
	name   uint64
	index  int // in Accounts.order
	places []place
}

// place is an address, or an IPv6 /48, from which logins to an account failed.
type place struct {
	key   prefix.Key
	last  int64 // the latest failure
	fails []accountFailure
}

// single is an account with a single failure.
type single struct {
	name  uint64 // 0: not used
	first accountFailure
}

type accountFailure struct {
	from     prefix.Key // the prefix that the jail counts by
	jail     uint16
	attempts uint8
	further  bool // it counts towards an attack, but not towards a ban
	ref      Ref
	at       int64
}

const (
	maxPlaces    = 256
	accountPicks = 4
	// leastAccounts is the smallest limit in effect, so that no configuration switches detection off by mistake.
	leastAccounts = 1024
	// failsPerPlace bounds the failures kept of one place, as a multiple of MaxRetry: a /48 may contain several attackers.
	failsPerPlace = 4
)

// AccountFailures is what one prefix did on one account, oldest first.
type AccountFailures struct {
	Prefix   netip.Prefix
	Jail     uint16 // of the last one
	Attempts int
	Count    int // of these, towards a ban
	Failures []Failure
}

// NewAccounts returns empty Accounts. seed is for hashing; saved accounts must be read with the seed that they were written with.
func NewAccounts(o AccountOptions, seed uint64) *Accounts {
	a := &Accounts{m: make(map[uint64]*account), seed: seed}
	a.Configure(o)
	return a
}

// Configure changes the settings. What is counted stays.
func (a *Accounts) Configure(o AccountOptions) {
	o.Limit = max(o.Limit, leastAccounts)
	o.MaxRetry = max(o.MaxRetry, LeastAccountRetry)
	a.o = o
	for a.pairs > o.Limit {
		a.makeRoom(nil)
	}
	if o.Addresses == 0 {
		a.m, a.singles, a.order, a.pairs, a.spare = make(map[uint64]*account), nil, nil, 0, nil
	}
}

// Len returns the number of accounts with more than one failure, and of pairs of account and address.
func (a *Accounts) Len() (accounts, pairs int) { return len(a.m), a.pairs }

// Dropped returns how many accounts were dropped to make room.
func (a *Accounts) Dropped() uint64 { return a.dropped }

// Need returns how many attempts on an account under attack lead to a ban.
func (a *Accounts) Need() int { return a.o.MaxRetry }

func placeOf(k prefix.Key) prefix.Key {
	if k.V6() && k.Bits() > 48 {
		return k.Cut(48)
	}
	return k
}

// Add counts a failure of a prefix on an account. If the account is under attack and the prefix is one of the attackers, it returns the
// prefix's failures. Prefixes that failed before the attack was noticed are returned when they fail again. further marks a failure that
// counts towards an attack, but not towards a ban of its prefix. forgiven reports which failures of the prefix an operator has pardoned.
// crowded reports that more addresses than are kept may attack the account.
func (a *Accounts) Add(name uint64, k prefix.Key, jail uint16, f Failure, further bool, forgiven func(at int64) bool) (attacker *AccountFailures, crowded bool) {
	if a.o.Addresses == 0 || name == 0 {
		return nil, false
	}
	x := accountFailure{k, jail, uint8(min(max(f.Attempts, 1), maxAttempts)), further, f.Ref, f.At}
	acc := a.m[name]
	if acc == nil {
		if acc = a.enter(name, &x); acc == nil {
			return nil, false
		}
	}
	mine := a.note(acc, &x)
	if !a.attacked(acc, f.At) {
		return nil, false
	}
	if l := a.own(mine, k, f.At, forgiven); l.Count >= a.o.MaxRetry {
		mine.fails = slices.DeleteFunc(mine.fails, func(f accountFailure) bool { return f.from == k })
		attacker = &l
	}
	return attacker, len(acc.places) >= maxPlaces
}

// note adds a failure to its place.
func (a *Accounts) note(acc *account, f *accountFailure) *place {
	x := a.place(acc, placeOf(f.from), f.at)
	x.last = f.at
	if len(x.fails) >= failsPerPlace*a.o.MaxRetry {
		x.fails = slices.Delete(x.fails, 0, 1)
	}
	x.fails = append(x.fails, *f)
	return x
}

// enter keeps the first failure on an account in singles. At the second, the account gets an entry of its own with both.
func (a *Accounts) enter(name uint64, f *accountFailure) *account {
	d := a.single(name)
	over := !near(f.at, d.first.at, a.o.FindTime) && d.first.at < f.at
	if a.o.Addresses > 1 && (d.name != name || over) {
		if d.name != 0 && !over {
			a.dropped++
		}
		*d = single{name, *f}
		return nil
	}
	first := *d
	*d = single{}
	if a.pairs >= a.o.Limit {
		a.makeRoom(nil)
	}
	acc := a.spare
	if a.spare = nil; acc == nil {
		acc = &account{}
	}
	*acc = account{name: name, index: len(a.order), places: acc.places[:0]}
	a.m[name] = acc
	a.order = append(a.order, acc)
	if first.name == name {
		a.note(acc, &first.first)
	}
	return acc
}

// single returns the slot of an account in singles. An account has two possible slots: the result is the one that it occupies, else an
// empty one, else the one with the older failure.
func (a *Accounts) single(name uint64) *single {
	if len(a.singles) == 0 {
		a.singles = make([]single, 1<<bits.Len(uint(a.o.Limit/2)))
	}
	i := name & uint64(len(a.singles)-1) &^ 1
	x, y := &a.singles[i], &a.singles[i+1]
	if x.name == name || y.name != name && (x.name == 0 || y.name != 0 && x.first.at < y.first.at) {
		return x
	}
	return y
}

// place finds or adds a place of an account. It removes places outside of the window and, if there are too many, the oldest.
func (a *Accounts) place(acc *account, k prefix.Key, at int64) *place {
	own, oldest := -1, 0
	for i := range acc.places {
		x := &acc.places[i]
		if x.key == k {
			own = i
		}
		if x.last < acc.places[oldest].last {
			oldest = i
		}
	}
	if start := at - a.o.FindTime.Microseconds(); len(acc.places) > 0 && acc.places[oldest].last <= start {
		n := len(acc.places)
		acc.places = slices.DeleteFunc(acc.places, func(x place) bool { return x.last <= start && x.key != k })
		a.pairs -= n - len(acc.places)
		own = acc.find(k)
	}
	if own >= 0 {
		return &acc.places[own]
	}
	if len(acc.places) >= maxPlaces {
		x := &acc.places[oldest]
		*x = place{key: k, fails: x.fails[:0]}
		return x
	}
	if a.pairs >= a.o.Limit {
		a.makeRoom(acc)
	}
	a.pairs++
	if n := len(acc.places); n < cap(acc.places) {
		acc.places = acc.places[:n+1]
		x := &acc.places[n]
		*x = place{key: k, fails: x.fails[:0]}
		return x
	}
	acc.places = append(acc.places, place{key: k})
	return &acc.places[len(acc.places)-1]
}

// find returns the index of a place, or -1.
func (acc *account) find(k prefix.Key) int {
	return slices.IndexFunc(acc.places, func(x place) bool { return x.key == k })
}

// attacked reports whether logins to the account failed from enough addresses within the window around a time.
func (a *Accounts) attacked(acc *account, at int64) bool {
	return a.distinct(acc, at, a.o.Addresses) >= a.o.Addresses
}

// distinct returns from how many addresses logins to the account failed within the window around a time, counting up to most.
func (a *Accounts) distinct(acc *account, at int64, most int) (n int) {
	for i := 0; i < len(acc.places) && n < most; i++ {
		if near(at, acc.places[i].last, a.o.FindTime) {
			n++
		}
	}
	return n
}

// SeenTwice is how long two services take to log one attempt: a proxy and the server behind it, or Dovecot and then Postfix, whose passwords
// it checks.
const SeenTwice = 5 * time.Second

// own lists the failures of a prefix within the window, in all jails. What another jail has just seen is the same attempt.
func (a *Accounts) own(x *place, from prefix.Key, at int64, forgiven func(at int64) bool) (l AccountFailures) {
	l.Prefix = from.Prefix()
	var last *accountFailure
	for i := range x.fails {
		f := &x.fails[i]
		if f.from != from || !near(at, f.at, a.o.FindTime) || forgiven(f.at) || last != nil && f.jail != last.jail && near(f.at, last.at, SeenTwice) {
			continue
		}
		last = f
		c := Failure{Ref: f.ref, At: f.at, Attempts: int(f.attempts)}
		if !f.further {
			c.Weight = c.Attempts
		}
		l.Attempts, l.Count, l.Jail, l.Failures = l.Attempts+c.Attempts, l.Count+c.Weight, f.jail, append(l.Failures, c)
	}
	return l
}

// Look returns what counts against an address at a time on each account on which it failed, with the number of addresses that
// failed on that account. It visits all accounts and changes nothing.
func (a *Accounts) Look(addr netip.Addr, at int64, forgiven func(at int64) bool, yield func(l AccountFailures, addresses int)) {
	for _, acc := range a.order {
		for i := range acc.places {
			x := &acc.places[i]
			if !x.key.Prefix().Contains(addr) {
				continue
			}
			var seen []prefix.Key
			for _, f := range x.fails {
				if slices.Contains(seen, f.from) || !f.from.Prefix().Contains(addr) {
					continue
				}
				seen = append(seen, f.from)
				if l := a.own(x, f.from, at, forgiven); l.Attempts > 0 {
					yield(l, a.distinct(acc, at, maxPlaces))
				}
			}
		}
	}
}

// Counted returns how many attempts of a prefix on an account count at a time.
func (a *Accounts) Counted(name uint64, from prefix.Key, at int64) (n int) {
	acc := a.m[name]
	if acc == nil {
		return 0
	}
	i := acc.find(placeOf(from))
	if i < 0 {
		return 0
	}
	for _, f := range acc.places[i].fails {
		if f.from == from && near(at, f.at, a.o.FindTime) {
			n += int(f.attempts)
		}
	}
	return n
}

// UnderAttack reports whether an account is under attack at a time.
func (a *Accounts) UnderAttack(name uint64, at int64) bool {
	acc := a.m[name]
	return acc != nil && a.attacked(acc, at)
}

// Attacked returns how many accounts are under attack at a time.
func (a *Accounts) Attacked(at int64) (n int) {
	for _, acc := range a.order {
		if a.UnderAttack(acc.name, at) {
			n++
		}
	}
	return n
}

// Success removes the failures of a prefix on an account, because it logged in.
func (a *Accounts) Success(name uint64, from prefix.Key) {
	a.purge(name, from, func(*accountFailure) bool { return true })
}

// TakeBack removes the latest failure of a prefix on an account, if it was counted just before a time.
func (a *Accounts) TakeBack(name uint64, from prefix.Key, at int64) {
	taken := false
	a.purge(name, from, func(f *accountFailure) bool {
		take := !taken && near(at, f.at, justNow)
		taken = taken || take
		return take
	})
}

// RestoreRef sets the journal entry of a failure that was restored without it.
func (a *Accounts) RestoreRef(name uint64, from prefix.Key, f Failure) {
	acc := a.m[name]
	if acc == nil {
		if d := a.single(name); d.name == name && d.first.from == from && d.first.ref == NoRef && d.first.at == f.At {
			d.first.ref = f.Ref
		}
		return
	}
	for i := range acc.places {
		for n := range acc.places[i].fails {
			if x := &acc.places[i].fails[n]; x.from == from && x.ref == NoRef && x.at == f.At {
				x.ref = f.Ref
				return
			}
		}
	}
}

// purge removes failures of a prefix on an account, the latest first, and then their place and the account if they are empty.
func (a *Accounts) purge(name uint64, from prefix.Key, gone func(*accountFailure) bool) {
	acc := a.m[name]
	if acc == nil {
		if d := a.single(name); d.name == name && d.first.from == from && gone(&d.first) {
			*d = single{}
		}
		return
	}
	i := acc.find(placeOf(from))
	if i < 0 {
		return
	}
	x := &acc.places[i]
	for n := range slices.Backward(x.fails) {
		if f := &x.fails[n]; f.from == from && gone(f) {
			x.fails = slices.Delete(x.fails, n, n+1)
		}
	}
	if len(x.fails) == 0 {
		acc.places = slices.Delete(acc.places, i, i+1)
		a.pairs--
	}
	if len(acc.places) == 0 {
		a.remove(acc)
	}
}

// Expire visits up to work accounts and drops those without a failure in the window.
func (a *Accounts) Expire(now int64, work int) {
	for n := min(work, len(a.order)); n > 0 && len(a.order) > 0; n-- {
		a.hand = (a.hand + 1) % len(a.order)
		acc := a.order[a.hand]
		if !slices.ContainsFunc(acc.places, func(x place) bool { return near(now, x.last, a.o.FindTime) }) {
			a.remove(acc)
		}
	}
}

func (a *Accounts) remove(acc *account) {
	last := len(a.order) - 1
	a.order[acc.index] = a.order[last]
	a.order[acc.index].index = acc.index
	a.order[last] = nil
	a.order = a.order[:last]
	a.pairs -= len(acc.places)
	delete(a.m, acc.name)
}

// makeRoom drops an account other than keep.
func (a *Accounts) makeRoom(keep *account) {
	var least *account
	for range accountPicks {
		a.random = a.random*6364136223846793005 + a.seed | 1
		acc := a.order[(a.random>>33)%uint64(len(a.order))]
		if acc != keep && (least == nil || len(acc.places) < len(least.places)) {
			if least = acc; len(acc.places) <= 1 {
				break
			}
		}
	}
	if least != nil {
		a.dropped++
		if a.remove(least); cap(least.places) <= accountPicks {
			a.spare = least
		}
	}
}
