package jail

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"time"
)

// AccountOptions say when an account is under attack.
type AccountOptions struct {
	FindTime  time.Duration
	Addresses int // so many different ones; 0: never
	MaxRetry  int // failures of one address on the account that make it one of the attackers
	Limit     int // how many pairs of account and address are kept
}

// Accounts counts failures by account: how many different addresses have failed on one, and each of them how often. An
// account is a keyed hash of its name. One goroutine uses it.
//
// An account that was failed on but once stands in a table of its own, where a newer one may take its place: most names
// of a flood, and of ordinary guessing, never get any further, and cost one look into the memory.
//
// It is bounded: beyond Limit, one of a few accounts picked by chance makes room, the one that fewest addresses have
// failed on. Whoever invents names to fill the table pushes out such names; an account that many addresses attack
// stays. Of one account the latest maxParts addresses are kept.
type Accounts struct {
	o       AccountOptions
	doors   []door // in pairs; its length is a power of two
	m       map[uint64]*account
	order   []place
	spare   []*account // that were forgotten, for others
	parts   int
	seed    uint64
	chance  uint64
	hand    int
	crowded uint64
}

// account is what is known of one. The lists go together; they stand apart so that looking for an address touches little.
type account struct {
	name  uint64
	place int      // its index in Accounts.order
	need  uint8    // what Need said at its last failure
	ids   []uint64 // hashes of prefixes
	last  []int64  // times of their latest failures
	parts []part
}

// door is an account that was failed on once.
type door struct {
	name uint64 // 0: none
	at   int64
	ref  Ref
	key
	jail   uint16
	weight uint8
}

// place is an account in a list that those who make room are picked from.
type place struct {
	*account
	size int32 // how many addresses it has: whoever picks need not look at it
}

// part is one address's part in an attack.
type part struct {
	key   key
	fails []personal // the latest, at most MaxRetry of each jail
}

type personal struct {
	ref    Ref
	at     int64
	jail   uint16
	weight uint8
}

const (
	// maxParts bounds the work of one failure: 0.2 µs to look through so many.
	maxParts = 256
	// accountPicks is how many accounts are looked at to find one that makes room.
	accountPicks = 4
	// leastAccounts is what Limit is at least: no configuration switches detection off by being small.
	leastAccounts = 1024
)

// Part is an address that takes part in an attack, with its own failures on the account, oldest first.
type Part struct {
	Prefix   netip.Prefix
	Jail     uint16 // that saw most of it
	Failures []Failure
}

// NewAccounts makes an empty one. seed is for hashing prefixes, and must be the same for what Append wrote.
func NewAccounts(o AccountOptions, seed uint64) *Accounts {
	a := &Accounts{m: make(map[uint64]*account), seed: seed}
	a.Configure(o)
	return a
}

// Configure takes new settings; what is counted stays.
func (a *Accounts) Configure(o AccountOptions) {
	o.Limit = max(o.Limit, leastAccounts)
	a.o = o
	for a.parts > o.Limit {
		a.makeRoom()
	}
	if o.Addresses == 0 {
		a.m, a.doors, a.order, a.spare, a.parts = make(map[uint64]*account), nil, nil, nil, 0
	}
}

// Len is how many accounts that were failed on more than once are watched, and how many pairs of account and address.
func (a *Accounts) Len() (accounts, pairs int) { return len(a.m), a.parts }

// Crowded is how many accounts were forgotten to make room for others.
func (a *Accounts) Crowded() uint64 { return a.crowded }

// Add counts a failure of a prefix on an account. It returns those whom to ban for it: when the account comes under
// attack by it, all that failed often enough; while it is under attack, the prefix itself when it has. What they did is
// forgotten then, but that they took part is not.
func (a *Accounts) Add(name uint64, p netip.Prefix, jail uint16, f Failure) (attackers []Part) {
	if a.o.Addresses == 0 || name == 0 {
		return nil
	}
	k := keyOf(p.Addr(), p.Bits())
	id := a.id(k)
	acc := a.m[name]
	if acc == nil {
		if acc = a.enter(name, k, jail, f); acc == nil {
			return nil
		}
	}
	mine := a.scan(acc, id, f.At)
	if mine < 0 {
		mine = a.join(acc, k, id, f.At)
	}
	acc.last[mine] = max(acc.last[mine], f.At)
	me := &acc.parts[mine]
	me.key = k
	for same, i := 1, len(me.fails)-1; i >= 0; i-- { // as each counts at least one, the latest of a jail say it all
		if me.fails[i].jail == jail {
			if same++; same > a.o.MaxRetry {
				me.fails = slices.Delete(me.fails, i, i+1)
			}
		}
	}
	me.fails = append(me.fails, personal{f.Ref, f.At, jail, uint8(min(max(f.Weight, 1), 255))})
	need := a.Need(a.distinct(acc, f.At))
	switch {
	case need == 0:
	case acc.need != 0 && need >= int(acc.need):
		attackers = a.convict(attackers, me, f.At, need)
	default: // what was too little until now may be enough
		for i := range acc.parts {
			attackers = a.convict(attackers, &acc.parts[i], f.At, need)
		}
	}
	acc.need = uint8(need)
	return attackers
}

// Need is how many failures make an address one of the attackers of an account on which so many addresses have failed: 0
// while there are too few of them. When they are twice as many as make an attack it is one less, when they are four times
// as many two less: the more there are, the less each of them has to try, and the surer it is that they belong together.
func (a *Accounts) Need(addresses int) int {
	if a.o.Addresses == 0 || addresses < a.o.Addresses {
		return 0
	}
	need := a.o.MaxRetry
	for n := 2 * a.o.Addresses; addresses >= n && need > 1; n *= 2 {
		need--
	}
	return need
}

// id is what addresses are told apart by: an IPv6 address by its /64, whatever a jail counts by, since a /64 has more of
// them than anybody needs to look like many.
func (a *Accounts) id(k key) uint64 {
	if k.v6() && k.bits&lenMask > 64 {
		k = k.cut(64)
	}
	return k.hash(a.seed)
}

// enter has an account wait at the door at its first failure, and lets it in at its second, with the first.
func (a *Accounts) enter(name uint64, k key, jail uint16, f Failure) *account {
	d := a.door(name)
	if d.name != name {
		if d.name != 0 && near(f.At, d.at, span(a.o.FindTime)) {
			a.crowded++
		}
		*d = door{name, f.At, f.Ref, k, jail, uint8(min(max(f.Weight, 1), 255))}
		return nil
	}
	first := *d
	*d = door{}
	if a.parts >= a.o.Limit {
		a.makeRoom()
	}
	acc := &account{}
	if n := len(a.spare); n > 0 {
		acc, a.spare = a.spare[n-1], a.spare[:n-1]
	}
	acc.name, acc.need = name, 0
	a.add(acc)
	if f.At-first.at < span(a.o.FindTime) {
		i := a.join(acc, first.key, a.id(first.key), first.at)
		acc.parts[i].fails = append(acc.parts[i].fails, personal{first.ref, first.at, first.jail, first.weight})
	}
	return acc
}

// door is where an account waits or would wait: the empty one, or else the older one of a pair.
func (a *Accounts) door(name uint64) *door {
	if len(a.doors) == 0 {
		a.doors = make([]door, 1<<bits.Len(uint(a.o.Limit/2)))
	}
	i := name & uint64(len(a.doors)-1) &^ 1
	x, y := &a.doors[i], &a.doors[i+1]
	if x.name == name || y.name != name && (x.name == 0 || y.name != 0 && x.at < y.at) {
		return x
	}
	return y
}

func (a *Accounts) add(acc *account) {
	acc.place = len(a.order)
	a.m[acc.name] = acc
	a.order = append(a.order, place{acc, int32(len(acc.ids))})
}

// scan finds a prefix, and drops those whose window is over.
func (a *Accounts) scan(acc *account, id uint64, at int64) (mine int) {
	find := span(a.o.FindTime)
	mine = -1
	for i := 0; i < len(acc.ids); i++ {
		if acc.ids[i] == id {
			mine = i
		} else if at-acc.last[i] >= find {
			a.leave(acc, i)
			i--
		}
	}
	return mine
}

// distinct is how many addresses have failed within the window.
func (a *Accounts) distinct(acc *account, at int64) (n int) {
	find := span(a.o.FindTime)
	for _, t := range acc.last {
		if near(at, t, find) {
			n++
		}
	}
	return n
}

func (a *Accounts) join(acc *account, k key, id uint64, at int64) int {
	if len(acc.ids) >= maxParts {
		oldest := 0
		for i := range acc.last {
			if acc.last[i] < acc.last[oldest] {
				oldest = i
			}
		}
		a.leave(acc, oldest)
	} else if a.parts >= a.o.Limit {
		a.makeRoomBut(acc)
	}
	acc.ids, acc.last = append(acc.ids, id), append(acc.last, at)
	if n := len(acc.parts); n < cap(acc.parts) { // the room of one that left
		acc.parts = acc.parts[:n+1]
		acc.parts[n] = part{key: k, fails: acc.parts[n].fails[:0]}
	} else {
		acc.parts = append(acc.parts, part{key: k})
	}
	a.parts++
	a.order[acc.place].size++
	return len(acc.ids) - 1
}

// leave takes a prefix out; the order of the others stays, since it decides in which order they are banned.
func (a *Accounts) leave(acc *account, i int) {
	acc.ids, acc.last, acc.parts = slices.Delete(acc.ids, i, i+1), slices.Delete(acc.last, i, i+1), slices.Delete(acc.parts, i, i+1)
	a.parts--
	a.order[acc.place].size--
}

// own lists what a prefix did within the window, and what that weighs: in the jail where it is most, of equal ones the
// latest. Several jails may see the same attempt (postfix asks dovecot for the password), which must not count twice.
func (a *Accounts) own(p *part, at int64) (sum int, jail uint16, l []Failure) {
	find := span(a.o.FindTime)
	for i, f := range p.fails {
		n := 0
		for _, x := range p.fails[:i+1] {
			if x.jail == f.jail && near(at, x.at, find) {
				n += int(x.weight)
			}
		}
		if near(at, f.at, find) && n >= sum {
			sum, jail = n, f.jail
		}
	}
	for _, f := range p.fails {
		if f.jail == jail && near(at, f.at, find) {
			l = append(l, Failure{Ref: f.ref, At: f.at, Weight: int(f.weight)})
		}
	}
	return sum, jail, l
}

func (a *Accounts) convict(to []Part, p *part, at int64, need int) []Part {
	sum, jail, l := a.own(p, at)
	if sum < need {
		return to
	}
	p.fails = p.fails[:0]
	return append(to, Part{p.key.prefix(), jail, l})
}

// Look says what stands against an address on the accounts that it failed on at a moment: one Part for each account,
// with how many addresses have failed on that. It looks at everything that there is, and changes nothing.
func (a *Accounts) Look(addr netip.Addr, at int64, yield func(p Part, own, others int)) {
	for _, acc := range a.order {
		for i := range acc.parts {
			x := &acc.parts[i]
			if p := x.key.prefix(); p.Contains(addr) {
				if sum, jail, l := a.own(x, at); sum > 0 {
					yield(Part{p, jail, l}, sum, a.distinct(acc.account, at))
				}
			}
		}
	}
}

// Attacked is how many accounts are under attack at a moment.
func (a *Accounts) Attacked(at int64) (n int) {
	for _, acc := range a.order {
		if acc.need != 0 && a.distinct(acc.account, at) >= a.o.Addresses {
			n++
		}
	}
	return n
}

// Success takes a prefix out of those that attack an account.
func (a *Accounts) Success(name uint64, p netip.Prefix) {
	acc := a.m[name]
	if acc == nil {
		if d := a.door(name); d.name == name && a.id(d.key) == a.id(keyOf(p.Addr(), p.Bits())) {
			*d = door{}
		}
		return
	}
	if i := slices.Index(acc.ids, a.id(keyOf(p.Addr(), p.Bits()))); i >= 0 {
		a.leave(acc, i)
	}
	if len(acc.ids) == 0 {
		a.remove(acc)
	}
}

// Recall gives a failure that was restored without it the entry that it stands in.
func (a *Accounts) Recall(name uint64, p netip.Prefix, f Failure) {
	if d := a.door(name); d.name == name && d.at == f.At && d.ref == NoRef && d.key == keyOf(p.Addr(), p.Bits()) {
		d.ref = f.Ref
	}
	if acc := a.m[name]; acc != nil {
		if i := slices.Index(acc.ids, a.id(keyOf(p.Addr(), p.Bits()))); i >= 0 {
			for n := range acc.parts[i].fails {
				if x := &acc.parts[i].fails[n]; x.ref == NoRef && x.at == f.At {
					x.ref = f.Ref
					return
				}
			}
		}
	}
}

// Expire looks at up to work accounts and drops those that nobody failed on within the window.
func (a *Accounts) Expire(now int64, work int) {
	for n := min(work, len(a.order)); n > 0 && len(a.order) > 0; n-- {
		a.hand = (a.hand + 1) % len(a.order)
		acc := a.order[a.hand].account
		find := span(a.o.FindTime)
		if !slices.ContainsFunc(acc.last, func(t int64) bool { return now-t < find }) {
			a.remove(acc)
		}
	}
}

func (a *Accounts) remove(acc *account) {
	last := len(a.order) - 1
	a.order[acc.place] = a.order[last]
	a.order[acc.place].place = acc.place
	a.order[last] = place{}
	a.order = a.order[:last]
	a.parts -= len(acc.ids)
	delete(a.m, acc.name)
	if len(a.spare) < accountPicks && cap(acc.ids) <= maxParts/16 {
		acc.ids, acc.last, acc.parts = acc.ids[:0], acc.last[:0], acc.parts[:0]
		a.spare = append(a.spare, acc)
	}
}

func (a *Accounts) makeRoom() { a.makeRoomBut(nil) }

// makeRoomBut drops an account, but not that one.
func (a *Accounts) makeRoomBut(keep *account) {
	var least place
	for range accountPicks {
		a.chance = a.chance*6364136223846793005 + a.seed | 1
		acc := a.order[(a.chance>>33)%uint64(len(a.order))]
		if acc.account != keep && (least.account == nil || acc.size < least.size) {
			least = acc
		}
	}
	if least.account == nil { // all picks were the same
		return
	}
	a.crowded++
	a.remove(least.account)
}

// Append appends what is counted.
func (a *Accounts) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, a.chance)
	n := 0
	for i := range a.doors {
		if a.doors[i].name != 0 {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for i := range a.doors {
		if d := &a.doors[i]; d.name != 0 {
			b = binary.LittleEndian.AppendUint64(b, d.name)
			b = appendKey(b, d.key)
			b = binary.AppendVarint(b, d.at)
			b = binary.AppendUvarint(b, uint64(d.jail))
			b = append(b, d.weight)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(a.order)))
	for _, acc := range a.order {
		b = binary.LittleEndian.AppendUint64(b, acc.name)
		b = append(b, acc.need)
		b = binary.AppendUvarint(b, uint64(len(acc.ids)))
		for i := range acc.ids {
			b = appendKey(b, acc.parts[i].key)
			b = binary.AppendVarint(b, acc.last[i])
			b = binary.AppendUvarint(b, uint64(len(acc.parts[i].fails)))
			for _, f := range acc.parts[i].fails {
				b = binary.AppendVarint(b, acc.last[i]-f.at)
				b = binary.AppendUvarint(b, uint64(f.jail))
				b = append(b, f.weight)
			}
		}
	}
	return b
}

// RestoreAccounts makes one of what Append wrote and has it go on under o. It returns what lies behind it in b. jails is
// how many there are.
func RestoreAccounts(b []byte, o AccountOptions, seed uint64, jails int) (*Accounts, []byte, error) {
	d := &decoder{b: b}
	o.Limit = max(o.Limit, leastAccounts)
	a := NewAccounts(AccountOptions{FindTime: 1, Addresses: 1, MaxRetry: 1, Limit: o.Limit}, seed) // replaced below
	a.chance = d.fixed64()
	for n := d.length(13); n > 0 && d.err == nil; n-- {
		x := door{name: d.fixed64(), ref: NoRef, key: d.key(), at: d.time(), jail: uint16(d.uvarint()), weight: d.byte()}
		if int(x.jail) >= jails || x.name == 0 {
			d.fail("an account out of range")
		}
		if d.err == nil {
			*a.door(x.name) = x
		}
	}
	for n := d.length(10); n > 0 && d.err == nil; n-- {
		acc := &account{name: d.fixed64(), need: d.byte()}
		if a.m[acc.name] != nil {
			d.fail("an account stands twice")
		}
		for n := d.length(6); n > 0 && d.err == nil; n-- {
			k, last := d.key(), d.time()
			x := part{key: k}
			for n := d.length(3); n > 0 && d.err == nil; n-- {
				f := personal{ref: NoRef, at: last - d.varint(), jail: uint16(d.uvarint()), weight: d.byte()}
				if int(f.jail) >= jails || f.at < -2*maxTime || f.at > 2*maxTime {
					d.fail("a failure out of range")
				}
				x.fails = append(x.fails, f)
			}
			id := a.id(k)
			if slices.Contains(acc.ids, id) || len(acc.ids) >= maxParts {
				d.fail("too many addresses of an account")
			}
			acc.ids, acc.last, acc.parts = append(acc.ids, id), append(acc.last, last), append(acc.parts, x)
			a.parts++
		}
		if d.err == nil {
			a.add(acc)
		}
	}
	if d.err != nil {
		return nil, nil, d.err
	}
	a.Configure(o)
	return a, d.b, nil
}

// Logins remembers who logged in where, by a number that the caller makes up of both: two generations of a bounded size,
// so the latest are known, and whoever logs in from very many addresses pushes out those of long ago.
type Logins struct {
	limit    int
	keep     int64
	turned   int64
	cur, old map[uint64]int64
}

// NewLogins remembers at least so many for at least so long.
func NewLogins(limit int, keep time.Duration) *Logins {
	l := &Logins{cur: make(map[uint64]int64)}
	l.Configure(limit, keep)
	return l
}

// Configure takes new bounds.
func (l *Logins) Configure(limit int, keep time.Duration) {
	l.limit, l.keep = max(limit, leastAccounts), span(keep)
}

// Add notes a login.
func (l *Logins) Add(id uint64, at int64) {
	if len(l.cur) >= l.limit || at-l.turned >= l.keep {
		l.cur, l.old, l.turned = make(map[uint64]int64), l.cur, at
	}
	l.cur[id] = max(at, l.cur[id])
}

// Within says whether a login was noted within so long of a moment.
func (l *Logins) Within(id uint64, at int64, long time.Duration) bool {
	if t, ok := l.cur[id]; ok && near(at, t, span(long)) {
		return true
	}
	t, ok := l.old[id]
	return ok && near(at, t, span(long))
}

// Append appends what is remembered.
func (l *Logins) Append(b []byte) []byte {
	b = binary.AppendVarint(b, l.turned)
	for _, m := range []map[uint64]int64{l.cur, l.old} {
		ids := make([]uint64, 0, len(m))
		for id := range m {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		b = binary.AppendUvarint(b, uint64(len(ids)))
		for _, id := range ids {
			b = binary.LittleEndian.AppendUint64(b, id)
			b = binary.AppendVarint(b, m[id])
		}
	}
	return b
}

// RestoreLogins reads what Append wrote, and returns what lies behind it.
func RestoreLogins(b []byte, limit int, keep time.Duration) (*Logins, []byte, error) {
	d := &decoder{b: b}
	l := NewLogins(limit, keep)
	l.turned = d.time()
	for _, m := range []*map[uint64]int64{&l.cur, &l.old} {
		*m = make(map[uint64]int64)
		for n := d.length(9); n > 0 && d.err == nil; n-- {
			id := d.fixed64()
			(*m)[id] = d.time()
		}
	}
	return l, d.b, d.err
}

// Mix makes one number of a name's and a prefix's.
func Mix(name uint64, p netip.Prefix, seed uint64) uint64 {
	k := keyOf(p.Addr(), p.Bits())
	return k.hash(seed ^ name)
}

// Hash is a keyed hash of a name in small letters: who does not know the key cannot find names that share one. It is
// never 0, and 0 for no name.
func Hash(name []byte, seed uint64) uint64 {
	if len(name) == 0 {
		return 0
	}
	h := seed ^ uint64(len(name))*0x9e3779b97f4a7c15
	var w [8]byte
	for len(name) > 0 {
		n := copy(w[:], name)
		clear(w[n:])
		for i, c := range w {
			if 'A' <= c && c <= 'Z' {
				w[i] = c + 'a' - 'A'
			}
		}
		h = key{hi: binary.LittleEndian.Uint64(w[:]), lo: h, bits: uint16(n)}.hash(seed)
		name = name[n:]
	}
	return max(h, 1)
}
