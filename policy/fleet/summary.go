package fleet

import (
	"crypto/ed25519"
	"errors"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// Summary is a host's report on addresses that have failed there since its last summary and that it neither banned nor excused. It contains
// no account names: see AccountCode.
type Summary struct {
	At   int64 // when it was made; greater with each summary of a host, unless its clock was set back by more than MaxAhead
	Seen []Seen
	Good []prefix.Key // prefixes that this host trusts: somebody logged in from there, or they are allowed
}

// Seen are failures of one prefix in one jail.
type Seen struct {
	Prefix   prefix.Key
	Jail     string
	Failures []SeenFailure // MaxSeen at most
}

// SeenFailure is one failed attempt.
type SeenFailure struct {
	At      int64
	Account uint8 // AccountCode
}

const (
	// MaxSeen is how many failures of a prefix a host reports at a time, and how many of one host count.
	MaxSeen = 4

	// MaxSummary is the largest summary in bytes: with its signature it fits into what a hub accepts from a host.
	MaxSummary = 3500

	// summaryVersion is the first byte of a summary.
	summaryVersion = 1

	accountCodes = 32
	maxJails     = 64      // of a summary
	maxAge       = 1 << 20 // seconds: more than the longest window
)

// ErrSummary means that a summary is not as expected.
var ErrSummary = errors.New("the summary of failures is not as expected")

// AccountCode returns a hash of an account's name in 5 bits: enough to see that an address tries several accounts, too little to tell
// which. The hash includes the fleet's name, so that attackers cannot choose names with equal codes.
func AccountCode(fleet string, user []byte) uint8 {
	h := fnv.New64a()
	h.Write([]byte(fleet))
	h.Write([]byte{0})
	h.Write(user)
	sum := h.Sum64()
	return uint8((sum ^ sum>>32 ^ sum>>17) % accountCodes)
}

// SummaryPrefix returns the prefix by which failures of an address are counted: the address itself, or the /64 of an IPv6 address.
func SummaryPrefix(a netip.Addr) prefix.Key { return prefix.Of(a, min(a.BitLen(), 64)) }

// Encode returns the payload of a summary.
func (s *Summary) Encode() []byte {
	w := codec.NewWriter(nil)
	s.stream(w)
	return w.Bytes()
}

// ParseSummary reads a payload.
func ParseSummary(payload []byte) (*Summary, error) {
	if len(payload) > MaxSummary {
		return nil, ErrSummary
	}
	s, r := new(Summary), codec.NewReader(payload)
	s.stream(r)
	if r.End() != nil {
		return nil, ErrSummary
	}
	return s, nil
}

// Least sizes of what a summary lists, in bytes.
const (
	leastSeen = 5
	leastKey  = 3
)

func (s *Summary) stream(c *codec.Stream) {
	v := byte(summaryVersion)
	c.Byte(&v)
	c.Check(v == summaryVersion, "another version")
	c.Time(&s.At)
	var jails []string
	numbers := make(map[string]int)
	for i := range s.Seen {
		if _, ok := numbers[s.Seen[i].Jail]; !ok {
			numbers[s.Seen[i].Jail] = len(jails)
			jails = append(jails, s.Seen[i].Jail)
		}
	}
	codec.List(c, &jails, 1, c.Text)
	c.Check(len(jails) <= maxJails, "too many jails")
	codec.List(c, &s.Seen, leastSeen, func(x *Seen) {
		n := numbers[x.Jail]
		c.Key(&x.Prefix)
		codec.Number(c, &n, max(len(jails)-1, 0))
		if c.Check(n < len(jails), "a jail without a name"); !c.OK() {
			return
		}
		x.Jail = jails[n]
		codec.List(c, &x.Failures, 2, func(f *SeenFailure) {
			age := int(min(max(s.At-f.At, 0)/second, maxAge))
			codec.Number(c, &age, maxAge)
			c.Byte(&f.Account)
			f.At = s.At - int64(age)*second
			c.Check(f.Account < accountCodes, "the code of an account")
		})
		c.Check(len(x.Failures) > 0 && len(x.Failures) <= MaxSeen, "the number of failures")
	})
	codec.List(c, &s.Good, leastKey, c.Key)
}

// second is one in microseconds.
const second = int64(time.Second / time.Microsecond)

// SignSummary makes the message of a host's summary.
func SignSummary(host string, payload []byte, key ed25519.PrivateKey) *Message {
	m := &Message{Subject: summarySubject + host, Payload: payload}
	m.Signature = ed25519.Sign(key, m.signed())
	return m
}

const summarySubject = "count."

// IsSummary reports whether a subject is that of a summary.
func IsSummary(subject string) bool { return strings.HasPrefix(subject, summarySubject) }

// OpenSummary checks a summary's signature and returns the host that signed it. It does not parse the payload.
func OpenSummary(m *Message, keys func(host string) []ed25519.PublicKey) (host string, err error) {
	return m.sender(summarySubject, MaxSummary, keys)
}

// Tally collects what a host will say in its next summary. One goroutine uses it.
type Tally struct {
	waiting map[tallyKey]*[]SeenFailure
	order   []tallyKey           // of waiting, the oldest first
	good    []prefix.Key         // to be named
	again   []naming             // to be named again
	told    map[prefix.Key]int64 // when a prefix was last added to good
	last    int64                // when the last summary was made
	Dropped uint64               // failures that found no room
}

type tallyKey struct {
	prefix prefix.Key
	jail   string
}

// naming is a prefix that a summary has named as good, and that further ones will name.
type naming struct {
	prefix prefix.Key
	next   int64 // not before this time
	left   int
}

const (
	// goodTimes is how many summaries name a prefix as good. A summary is lost while the hub's servers elect a leader, for example, and
	// nothing repeats the statement if the address fails nowhere any more.
	goodTimes = 3

	// goodPause lies between them, also if the caller takes several summaries in a row.
	goodPause = int64(SummaryInterval/2) / int64(time.Microsecond)
)

// maxWaiting bounds what waits for the next summary, and the prefixes in told. A summary has room for some 250.
const maxWaiting = 5000

// Add takes a failure of an address.
func (t *Tally) Add(a netip.Addr, jail string, attempts int, f SeenFailure) {
	if t.waiting == nil {
		t.waiting = make(map[tallyKey]*[]SeenFailure)
	}
	k := tallyKey{SummaryPrefix(a), jail}
	l := t.waiting[k]
	if l == nil {
		if len(t.waiting) >= maxWaiting {
			t.Dropped++
			return
		}
		l = new([]SeenFailure)
		t.waiting[k] = l
		t.order = append(t.order, k)
	}
	for range min(max(attempts, 1), MaxSeen) {
		if len(*l) == MaxSeen {
			*l = append((*l)[:0], (*l)[1:]...)
		}
		*l = append(*l, f)
	}
}

// Good makes the next three summaries name a prefix as good, unless this was asked for within half of the window.
func (t *Tally) Good(k prefix.Key, now int64, within time.Duration) {
	if at, ok := t.told[k]; ok && now-at < within.Microseconds()/2 && at <= now || len(t.good) >= maxWaiting {
		return
	}
	if t.told == nil || len(t.told) >= maxWaiting { // forgotten prefixes are reported again
		t.told = make(map[prefix.Key]int64)
	}
	t.told[k] = now
	t.good = append(t.good, k)
}

// Take returns the next summary; nil if it would be empty. What does not fit waits for the following one. skip reports which prefixes must
// no longer be counted, for example because they are banned by now.
func (t *Tally) Take(now int64, within time.Duration, skip func(prefix.Key) bool) *Summary {
	if t.last > now+MaxAhead.Microseconds() { // the clock was set back, and nobody has accepted that summary
		t.last = 0
	}
	s := &Summary{At: max(now, t.last+1)}
	room := MaxSummary - 64
	for len(t.good) > 0 && room > MaxSummary/2 {
		room -= keySize(t.good[0])
		s.Good = append(s.Good, t.good[0])
		t.good = t.good[1:]
	}
	named := s.Good
	for n := len(t.again); n > 0 && room > MaxSummary/2; n-- {
		x := t.again[0]
		t.again = t.again[1:]
		if slices.Contains(named, x.prefix) { // anew
			continue
		}
		if x.next <= now || x.next > now+goodPause { // the clock was set back
			room -= keySize(x.prefix)
			s.Good = append(s.Good, x.prefix)
			x.next, x.left = now+goodPause, x.left-1
		}
		if x.left > 0 {
			t.again = append(t.again, x)
		}
	}
	for _, k := range named {
		if len(t.again) < maxWaiting {
			t.again = append(t.again, naming{k, now + goodPause, goodTimes - 1})
		}
	}
	jails := make(map[string]bool)
	for len(t.order) > 0 {
		k := t.order[0]
		fs := *t.waiting[k]
		need := keySize(k.prefix) + 2 + len(fs)*4
		if !jails[k.jail] {
			need += 1 + len(k.jail)
		}
		if need > room || len(jails) >= maxJails {
			break
		}
		t.order = t.order[1:]
		delete(t.waiting, k)
		x := Seen{Prefix: k.prefix, Jail: k.jail}
		for _, f := range fs {
			if now-f.At < within.Microseconds() {
				f.At = min(f.At, s.At)
				x.Failures = append(x.Failures, f)
			}
		}
		if len(x.Failures) == 0 || len(k.jail) > maxJail || skip(k.prefix) {
			continue
		}
		room -= need
		jails[k.jail] = true
		s.Seen = append(s.Seen, x)
	}
	if len(t.order) == 0 {
		t.order = nil // its array
	}
	if len(t.again) == 0 {
		t.again = nil
	}
	if len(s.Seen) == 0 && len(s.Good) == 0 {
		return nil
	}
	t.last = s.At
	return s
}

// keySize is what a prefix takes in a summary, in bytes.
func keySize(k prefix.Key) int { return 2 + (k.Bits()+7)/8 }
