package jail

import (
	"cmp"
	"math"
	"time"

	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// Logins remembers from where people logged in, and how often they have failed since: after a change of password, devices
// continue with the old one. One goroutine uses it.
//
// There are two generations of bounded size, so only the latest logins are known. An attacker who logs in from very many addresses
// displaces the oldest.
type Logins struct {
	limit     int
	keep      time.Duration
	turned    int64
	cur, old  map[uint64]login // no id is in both
	displaced uint64
}

// leastLogins is the smallest limit in effect, so that the people of a host with little memory are known, too: some two thousand, who each
// take four entries. A full generation of this size takes some 450 KiB.
const leastLogins = 1 << 13

// login is an account and a prefix, with the time of the latest login and the failures of one day. In an entry for a prefix and a day,
// fails is instead the number of accounts that logged in.
type login struct {
	at    int64
	day   int32 // days since 1970
	fails uint16
}

// NewLogins remembers at least the latest limit entries for at least keep. A login has several: see Engine.loggedIn.
func NewLogins(limit int, keep time.Duration) *Logins {
	l := &Logins{cur: make(map[uint64]login)}
	l.Configure(limit, keep)
	return l
}

// Configure changes limit and time.
func (l *Logins) Configure(limit int, keep time.Duration) {
	l.limit, l.keep = max(limit, leastLogins), keep
}

// Add records a login and reports whether it is the first of that day (UTC). It replaces the previous login of the same id, even if that
// has a later time because the clock was set back.
func (l *Logins) Add(id uint64, at int64) (first bool) {
	x, ok := l.get(id)
	first = !ok || dayOf(x.at) != dayOf(at)
	x.at = at
	l.put(id, x, at)
	return first
}

const day = 24 * time.Hour

func dayOf(at int64) int32 { return int32(at / day.Microseconds()) }

// AddPerson records that an account logged in from a prefix on the day of a time: a further one if this was its first login of that day,
// as Add reports it.
func (l *Logins) AddPerson(p prefix.Key, seed uint64, at int64, first bool) {
	id := p.Hash(seed ^ uint64(dayOf(at)))
	x, _ := l.get(id)
	if x.at = at; first {
		x.fails = uint16(min(int(x.fails)+1, math.MaxUint16))
	}
	l.put(id, x, at)
}

// People returns how many accounts logged in from a prefix on the day of a time, or on the day before, whichever is more.
func (l *Logins) People(p prefix.Key, seed uint64, at int64) int {
	today, _ := l.get(p.Hash(seed ^ uint64(dayOf(at))))
	before, _ := l.get(p.Hash(seed ^ uint64(dayOf(at)-1)))
	return int(max(today.fails, before.fails))
}

func (l *Logins) get(id uint64) (login, bool) {
	x, ok := l.cur[id]
	if !ok {
		x, ok = l.old[id]
	}
	return x, ok
}

// put begins a new generation when the newer one is full or old. A clock that is wrong for a while begins only one, so earlier
// logins are still known when it is right again.
func (l *Logins) put(id uint64, x login, at int64) {
	_, ok := l.cur[id]
	delete(l.old, id)
	if full := !ok && len(l.cur) >= l.limit; full || at-l.turned >= l.keep.Microseconds() {
		if full {
			l.displaced += uint64(len(l.old))
		}
		delete(l.cur, id)
		l.cur, l.old, l.turned = make(map[uint64]login), l.cur, at
	}
	l.cur[id] = x
}

// Displaced returns how many entries were forgotten to make room for later ones.
func (l *Logins) Displaced() uint64 { return l.displaced }

// Within reports whether a login was recorded within a span before or after a time.
func (l *Logins) Within(id uint64, at int64, long time.Duration) bool {
	x, ok := l.get(id)
	return ok && near(at, x.at, long)
}

// DeviceFactor is how many times longer a device stays known at an address than an account does: a tablet is left at home during the
// holidays, and the phone of a former employee keeps trying for weeks.
const DeviceFactor = 4

// Device reports whether an account and a prefix belong to a known device: one that logged in within DeviceFactor spans.
func (l *Logins) Device(id uint64, at int64, long time.Duration) bool {
	return l.Within(id, at, DeviceFactor*long)
}

// Fail records failures after a login and returns their number on that day (UTC).
func (l *Logins) Fail(id uint64, at int64, n int) int {
	x, ok := l.get(id)
	if !ok {
		return n
	}
	if day := dayOf(at); day != x.day {
		x.day, x.fails = day, 0
	}
	x.fails = uint16(min(int(x.fails)+n, math.MaxUint16))
	l.put(id, x, at)
	return int(x.fails)
}

// Stream writes or reads all entries.
func (l *Logins) Stream(s *codec.Stream) {
	s.Time(&l.turned)
	for _, m := range []*map[uint64]login{&l.cur, &l.old} {
		if s.Reading {
			*m = make(map[uint64]login)
		}
		codec.Map(s, *m, 11, cmp.Compare[uint64], func(id *uint64, x *login) {
			s.Fixed64(id)
			s.Time(&x.at)
			day := int64(x.day)
			s.Varint(&day)
			x.day = int32(day)
			codec.Number(s, &x.fails, math.MaxUint16)
		})
	}
}

// Len returns the number of entries.
func (l *Logins) Len() int { return len(l.cur) + len(l.old) }
