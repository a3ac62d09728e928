package fleet

import (
	"cmp"
	"errors"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/bucket"
	"bailiff/policy/prefix"
)

// Together says when to ban an address that fails a few times on many hosts: when this many different hosts, from at least Rules.Votes
// groups, have counted this many failures on this many different accounts. Each host counts only for an even share, and a host that knows
// the address as good prevents the ban. Accounts protects users with an old password on all hosts, and monitors whose account was removed:
// they try only one account.
type Together struct {
	Hosts    int           // 0: nothing is counted together
	Failures int           // at most MaxSeen times as many as Hosts
	Accounts int           // even without any one of the hosts, so that no single host can invent them
	Within   time.Duration // failures older than this do not count; 0: an hour
	BanTime  time.Duration // 0: a day
}

// On reports whether failures are counted together.
func (t *Together) On() bool { return t.Hosts > 0 }

func (t Together) withDefaults() Together {
	if t.Failures <= 0 {
		t.Failures = 20
	}
	if t.Accounts <= 0 {
		t.Accounts = 3
	}
	if t.Within <= 0 {
		t.Within = time.Hour
	}
	if t.BanTime <= 0 {
		t.BanTime = 24 * time.Hour
	}
	return t
}

// share is how many failures of one host count.
func (t *Together) share() int { return min(max((t.Failures+t.Hosts-1)/max(t.Hosts, 1), 1), MaxSeen) }

const (
	// SummaryInterval is how often a host says what it has counted, if there is anything.
	SummaryInterval = 10 * time.Second

	// settle is how long a ban waits after enough was counted, in case a host knows the address as good: two summary intervals plus
	// transmission.
	settle = 25 * time.Second

	// JailTogether is the jail of bans for what was counted together.
	JailTogether = "together"

	// together is the number of the nameless host to which such bans belong.
	together = 0

	// SummaryRate is how many summaries of a host are taken in a minute.
	SummaryRate = 20

	maxSums   = 200_000 // prefixes
	maxOfHost = 40_000  // failures that are kept of one host
	maxOfSum  = 256     // failures that are kept of one prefix, beyond those that a ban needs
	maxJoint  = 100_000 // bans
	maxVetoes = 5_000   // prefixes that one host may declare as good at a time
	maxListed = 20      // hosts that `bailiff why` names
	sweepSums = 60 * second
)

// sums are the failures that hosts have reported.
type sums struct {
	of      map[prefix.Key]*sum
	good    map[prefix.Key][]word // what hosts know as good
	joint   map[prefix.Key]joint  // of the bans of host together
	ripe    []ripe                // the oldest first
	counted []counts              // of hosts, by number
	swept   int64
	prevented,
	refusedSums uint64
}

func newSums() sums {
	return sums{of: make(map[prefix.Key]*sum), good: make(map[prefix.Key][]word), joint: make(map[prefix.Key]joint)}
}

// sum is what is counted of a prefix.
type sum struct {
	seen []seen
	told uint32 // when Decide last returned a ban that hosts prevented, in seconds since 1970
	ripe bool   // it waits in ripe
}

// seen is a failed attempt. It takes 8 bytes.
type seen struct {
	at      uint32 // seconds since 1970
	host    uint16
	account uint8
}

// word is a host's statement that it knows a prefix as good.
type word struct {
	host  uint16
	until int64
}

type ripe struct {
	key prefix.Key
	at  int64
}

// joint is why a prefix is banned for what was counted together.
type joint struct {
	hosts    []uint16
	failures uint16
}

// counts is what is kept for the summaries of a host.
type counts struct {
	last         int64 // when its latest summary was made
	rate         bucket.Bucket
	seen, vetoes int
}

// Count takes a host's summary. Prefixes that it names as good are no longer banned for what was counted together; Count returns what that
// changes. A refused summary changes nothing; single prefixes that the rules do not permit are skipped.
func (b *Bans) Count(name string, s *Summary, now int64) (changes []Change, err error) {
	t := &b.rules.Together
	if _, ok := b.rules.Hosts[name]; !ok || !t.On() {
		return nil, ErrHost
	}
	h, err := b.hostNumber(name, now)
	if err != nil {
		return nil, err
	}
	for len(b.counted) <= int(h) {
		b.counted = append(b.counted, counts{})
	}
	c := &b.counted[h]
	if c.last > now+MaxAhead.Microseconds() { // this host's clock was set back
		c.last = 0
	}
	switch {
	case s.At <= c.last:
		err = ErrOld
	case s.At <= now-t.Within.Microseconds() || s.At > now+MaxAhead.Microseconds():
		err = ErrTime
	case c.rate.Take(bucket.PerMinute(SummaryRate), time.UnixMicro(now)) > 0:
		err = ErrTooFast
	}
	if err != nil {
		b.refusedSums++
		return nil, err
	}
	c.last = s.At
	for _, k := range s.Good {
		if b.rules.refusesPrefix(k.Prefix()) != nil || !b.believe(h, k, now) {
			b.refusedSums++
			continue
		}
		if _, ok := b.joint[k]; ok {
			before := b.effect(k, now)
			b.liftJoint(k)
			if after := b.effect(k, now); after.differs(before) {
				changes = append(changes, after)
			}
		}
	}
	for i := range s.Seen {
		if !b.see(h, &s.Seen[i], now) {
			b.refusedSums++
		}
	}
	return changes, nil
}

// Pardon ends a prefix's ban for what was counted together, and forgets the counts. It reports whether there was a ban.
func (b *Bans) Pardon(k prefix.Key, now int64) (c Change, lifted bool) {
	if s := b.of[k]; s != nil {
		b.forget(k, s)
	}
	if _, ok := b.joint[k]; ok {
		b.liftJoint(k)
		lifted = true
	}
	return b.effect(k, now), lifted
}

// liftJoint removes the ban for what was counted together.
func (b *Bans) liftJoint(k prefix.Key) {
	if i := b.find(k, together, JailTogether); i != 0 {
		b.all[i].keep, b.all[i].lifted = 0, true
		b.all[i].end = 0
		b.due = 0 // Expire removes it
	}
	delete(b.joint, k)
}

// believe records that a host knows a prefix as good.
func (b *Bans) believe(h uint16, k prefix.Key, now int64) bool {
	until := now + b.rules.Together.Within.Microseconds()
	l := b.good[k]
	if i := slices.IndexFunc(l, func(w word) bool { return w.host == h }); i >= 0 {
		l[i].until = until
		return true
	}
	if b.counted[h].vetoes >= maxVetoes {
		return false
	}
	b.counted[h].vetoes++
	b.good[k] = append(l, word{h, until})
	return true
}

// see counts failures of a prefix, and queues the prefix for a ban if they are enough.
func (b *Bans) see(h uint16, x *Seen, now int64) bool {
	if b.rules.refusesPrefix(x.Prefix.Prefix()) != nil || b.rules.refusesJail(x.Jail) != nil {
		return false
	}
	if _, banned := b.joint[x.Prefix]; banned {
		return true
	}
	s := b.of[x.Prefix]
	if s == nil {
		if len(b.of) >= maxSums || b.counted[h].seen >= maxOfHost {
			return false
		}
		s = new(sum)
		b.of[x.Prefix] = s
	}
	oldest := now - b.rules.Together.Within.Microseconds()
	for _, f := range x.Failures[:min(len(x.Failures), MaxSeen)] {
		if f.At <= oldest || f.Account >= accountCodes {
			continue
		}
		if b.counted[h].seen >= maxOfHost {
			break
		}
		b.add(s, seen{at: uint32(min(f.At, now) / second), host: h, account: f.Account})
	}
	if len(s.seen) == 0 {
		delete(b.of, x.Prefix)
		return true
	}
	if !s.ripe && b.judge(s, now).enough {
		s.ripe = true
		b.ripe = append(b.ripe, ripe{x.Prefix, now})
	}
	return true
}

// add keeps a failure, and forgets one if there are too many: the oldest of its host; if there are too many of all hosts, the oldest of
// those that count for nothing, since their hosts have failures beyond their share, or else the oldest. So what is kept of an attacker
// who fails on enough hosts leads to a ban, however often each host sees it.
func (b *Bans) add(s *sum, f seen) {
	t := &b.rules.Together
	of, oldestOf := 0, -1
	for i := range s.seen {
		if s.seen[i].host == f.host {
			if of++; oldestOf < 0 || s.seen[i].at < s.seen[oldestOf].at {
				oldestOf = i
			}
		}
	}
	full := len(s.seen) >= maxOfSum+t.Hosts*t.share()
	switch {
	case of >= MaxSeen || full && of >= t.share():
		s.seen[oldestOf] = f
	case full:
		i := s.least(t.share())
		b.counted[s.seen[i].host].seen--
		s.seen[i] = f
		b.counted[f.host].seen++
	default:
		s.seen = append(s.seen, f)
		b.counted[f.host].seen++
	}
}

// least returns the index of the failure that can be forgotten first.
func (s *sum) least(share int) int {
	of := make(map[uint16]int)
	for i := range s.seen {
		of[s.seen[i].host]++
	}
	least := 0
	for i := range s.seen {
		f, l := &s.seen[i], &s.seen[least]
		if spare := of[f.host] > share; spare != (of[l.host] > share) {
			if spare {
				least = i
			}
		} else if f.at < l.at {
			least = i
		}
	}
	return least
}

// verdict is what is counted of a prefix within the window.
type verdict struct {
	hosts    []hostCount
	groups   int
	failures int // with each host's share
	accounts int
	enough   bool
}

type hostCount struct {
	host uint16
	n    int // share at most
}

// numbers returns the numbers of the hosts.
func (v *verdict) numbers() (l []uint16) {
	for _, c := range v.hosts {
		l = append(l, c.host)
	}
	return l
}

// judge counts the failures of a prefix within the window.
func (b *Bans) judge(s *sum, now int64) (v verdict) {
	t := &b.rules.Together
	oldest := uint32(max(now-t.Within.Microseconds(), 0) / second)
	groups, index := make(map[string]bool), make(map[uint16]int)
	var codes []uint32 // of accounts, by host
	for _, f := range s.seen {
		group, ok := b.rules.Hosts[b.hosts[f.host].name]
		if f.at <= oldest || !ok {
			continue
		}
		i, known := index[f.host]
		if !known {
			i = len(v.hosts)
			index[f.host] = i
			v.hosts, codes = append(v.hosts, hostCount{host: f.host}), append(codes, 0)
			groups[group] = true
		}
		if v.hosts[i].n < t.share() {
			v.hosts[i].n++
			v.failures++
		}
		codes[i] |= 1 << f.account
	}
	v.groups = len(groups)
	var all, shared uint32 // of any host, and of more than one
	for _, c := range codes {
		shared |= all & c
		all |= c
	}
	v.accounts = bits.OnesCount32(all)
	for _, c := range codes { // without this host
		v.accounts = min(v.accounts, bits.OnesCount32(all&^c|shared))
	}
	v.enough = len(v.hosts) >= t.Hosts && v.groups >= b.rules.Votes && v.failures >= t.Failures && v.accounts >= t.Accounts
	return v
}

// vetoes returns the hosts that know a prefix as good.
func (b *Bans) vetoes(k prefix.Key, now int64) (l []string) {
	for _, w := range b.good[k] {
		if name := b.hosts[w.host].name; w.until > now {
			if _, ok := b.rules.Hosts[name]; ok {
				l = append(l, name)
			}
		}
	}
	slices.Sort(l)
	return l
}

// Decision is a ban for what was counted together, or one that hosts have prevented.
type Decision struct {
	Change
	Differs  bool     // from before
	Hosts    []string // that have counted
	Failures int
	Good     []string // hosts that know the prefix as good: there is no ban
}

// Decide bans the prefixes for which enough was counted, unless a host knows them as good. It returns a ban that hosts prevented once in
// the window.
func (b *Bans) Decide(now int64) (l []Decision) {
	for len(b.ripe) > 0 && (now-b.ripe[0].at >= settle.Microseconds() || b.ripe[0].at > now+settle.Microseconds()) {
		k := b.ripe[0].key
		b.ripe = b.ripe[1:]
		s := b.of[k]
		if s == nil {
			continue
		}
		s.ripe = false
		v := b.judge(s, now)
		switch {
		case !v.enough:
		case len(b.vetoes(k, now)) > 0:
			at := uint32(now / second)
			if s.told <= at && at-s.told < uint32(b.rules.Together.Within/time.Second) {
				continue
			}
			s.told = at
			b.prevented++
			l = append(l, Decision{Change: b.effect(k, now), Hosts: b.namesOf(v.numbers()), Failures: v.failures, Good: b.vetoes(k, now)})
		case len(b.joint) < maxJoint && len(b.jails) < maxNames:
			l = append(l, b.ban(k, &v, now))
			b.forget(k, s)
		}
	}
	if len(b.ripe) == 0 {
		b.ripe = nil
	}
	return l
}

func (b *Bans) ban(k prefix.Key, v *verdict, now int64) Decision {
	before := b.effect(k, now)
	i := b.find(k, together, JailTogether)
	if i == 0 {
		i = b.insert(k, together, JailTogether)
	}
	n := News{Prefix: k.Prefix(), Jail: JailTogether, Since: now, Until: now + b.rules.Together.BanTime.Microseconds(), Failures: v.failures}
	x := &b.all[i]
	x.since, x.until, x.lifted, x.failures, x.reason = n.Since, n.Until, false, uint16(min(n.Failures, 1<<16-1)), 0
	x.end = b.rules.end(&n, now)
	x.keep = x.end
	b.due = min(b.due, x.keep)
	j := joint{failures: x.failures, hosts: v.numbers()}
	b.joint[k] = j
	after := b.effect(k, now)
	return Decision{Change: after, Differs: after.differs(before), Hosts: b.namesOf(j.hosts), Failures: v.failures}
}

func (b *Bans) namesOf(numbers []uint16) (l []string) {
	for _, h := range numbers {
		l = append(l, b.hosts[h].name)
	}
	slices.Sort(l)
	return l
}

// forget drops what is counted of a prefix.
func (b *Bans) forget(k prefix.Key, s *sum) {
	for _, f := range s.seen {
		b.counted[f.host].seen--
	}
	delete(b.of, k)
}

// expireSums drops what is too old to count.
func (b *Bans) expireSums(now int64) {
	if now-b.swept < sweepSums && now >= b.swept {
		return
	}
	b.swept = now
	oldest := uint32(max(now-b.rules.Together.Within.Microseconds(), 0) / second)
	future := uint32(now/second) + 1 // a clock that was set back
	for k, s := range b.of {
		s.seen = slices.DeleteFunc(s.seen, func(f seen) bool {
			gone := f.at <= oldest || f.at > future
			if gone {
				b.counted[f.host].seen--
			}
			return gone
		})
		if len(s.seen) == 0 {
			delete(b.of, k)
		}
	}
	longest := now + b.rules.Together.Within.Microseconds()
	for k, l := range b.good {
		for i := range l {
			l[i].until = min(l[i].until, longest) // a clock that was set back
		}
		l = slices.DeleteFunc(l, func(w word) bool {
			gone := w.until <= now
			if gone {
				b.counted[w.host].vetoes--
			}
			return gone
		})
		if b.good[k] = l; len(l) == 0 {
			delete(b.good, k)
		}
	}
}

// resum adapts to new rules.
func (b *Bans) resum(now int64) {
	if !b.rules.Together.On() {
		b.of, b.good, b.ripe = make(map[prefix.Key]*sum), make(map[prefix.Key][]word), nil
		for i := range b.counted {
			b.counted[i].seen, b.counted[i].vetoes = 0, 0
		}
	}
}

// refusesSaved returns why the rules do not accept a ban that is kept.
func (b *Bans) refusesSaved(n *News) error {
	if n.Host != "" {
		return b.rules.refuses(n)
	}
	j, ok := b.joint[prefix.OfPrefix(n.Prefix)]
	if !ok || n.Jail != JailTogether || !b.rules.Together.On() {
		return errors.New("nothing is counted together")
	}
	still := 0
	for _, h := range j.hosts {
		if _, ok := b.rules.Hosts[b.hosts[h].name]; ok {
			still++
		}
	}
	if still < b.rules.Together.Hosts {
		return ErrHost
	}
	return b.rules.refusesPrefix(n.Prefix)
}

// Counted reports what is counted together of a prefix.
type Counted struct {
	Prefix   netip.Prefix
	Hosts    []string // some that have counted failures, by name; of a ban those that led to it
	HostsAll int      // their number
	Failures int
	Accounts int      // 0 for a ban
	Good     []string // hosts that know the prefix as good
}

// Counted looks up what is counted together of a prefix that Count knows; ok is false if nothing is.
func (b *Bans) Counted(p netip.Prefix, now int64) (c Counted, ok bool) {
	k := prefix.OfPrefix(p)
	c = Counted{Prefix: p, Good: b.vetoes(k, now)}
	if j, banned := b.joint[k]; banned {
		c.Hosts, c.Failures = b.namesOf(j.hosts), int(j.failures)
	} else if s := b.of[k]; s != nil {
		v := b.judge(s, now)
		c.Hosts = b.namesOf(v.numbers())
		c.Failures, c.Accounts = v.failures, v.accounts
	}
	c.HostsAll = len(c.Hosts)
	c.Hosts = c.Hosts[:min(len(c.Hosts), maxListed)]
	return c, c.HostsAll > 0
}

// Joint is a ban for what was counted together.
type Joint struct {
	Prefix                  netip.Prefix
	Since, Until            int64
	Hosts, Groups, Failures int
}

// NewestJoint returns the newest bans for what was counted together, n at most.
func (b *Bans) NewestJoint(n int) (l []Joint) {
	newer := func(a, b *Joint) int {
		return cmp.Or(cmp.Compare(b.Since, a.Since), a.Prefix.Addr().Compare(b.Prefix.Addr()))
	}
	for k, j := range b.joint {
		x := Joint{Prefix: k.Prefix(), Hosts: len(j.hosts), Failures: int(j.failures)}
		if i := b.find(k, together, JailTogether); i != 0 {
			x.Since, x.Until = b.all[i].since, b.all[i].end
		}
		i, _ := slices.BinarySearchFunc(l, x, func(a, b Joint) int { return newer(&a, &b) })
		if i == n {
			continue
		}
		groups := make(map[string]bool, len(j.hosts))
		for _, h := range j.hosts {
			groups[b.rules.Hosts[b.hosts[h].name]] = true
		}
		x.Groups = len(groups)
		l = slices.Insert(l, i, x)
		l = l[:min(len(l), n)]
	}
	return l
}

// Watched reports whether failures of a prefix are counted, or whether it is banned for them.
func (b *Bans) Watched(k prefix.Key) bool {
	_, banned := b.joint[k]
	return banned || b.of[k] != nil
}

// TogetherStats is what status shows of what is counted together.
type TogetherStats struct {
	Watched   int    // prefixes of which failures are counted
	Good      int    // that hosts know as good
	Bans      int    // in effect, or clashing with the allow list
	Prevented uint64 // bans, since the start, since a host knew the prefix as good
	Refused   uint64 // prefixes in summaries that the rules do not permit, or for which there was no room, since the start
}

// Together returns the numbers of what is counted together.
func (b *Bans) Together() TogetherStats {
	return TogetherStats{len(b.of), len(b.good), len(b.joint), b.prevented, b.refusedSums}
}
