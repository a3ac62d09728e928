package jail

import (
	"math"
	"time"
)

// Each prefix has a list of failures, the latest first. This file implements the list, the windows, and the counting of another failure
// (count).

// node is a failure or, with tally set, all failures of an account in the slow window: see slow.go.
type node struct {
	ref      Ref
	at       int64  // microseconds since 1970; of a tally, its buckets
	next     uint32 // in the list of its entry
	pattern  uint16 // in Counter.patterns
	user     uint16 // part of the hash of the account name; 0: not known
	attempts uint8
	weight   uint8
	unknown  bool // the account does not exist
	tally    bool
}

const (
	maxAttempts = 127 // of one failure
	maxWeight   = 255
)

func (t *table) node(i uint32) *node { return &t.nodes[i>>chunkBits][i&(chunk-1)] }

func (t *table) newNode(x node) uint32 {
	n := t.nodeOut
	if n != 0 {
		t.nodeOut = t.node(n).next
	} else {
		t.nodeTop++
		n = t.nodeTop
		if int(n>>chunkBits) == len(t.nodes) {
			t.nodes = append(t.nodes, make([]node, chunk))
		}
	}
	*t.node(n) = x
	t.live++
	return n
}

func (t *table) freeNode(n uint32) {
	*t.node(n) = node{next: t.nodeOut}
	t.nodeOut = n
	t.live--
}

// cutOut removes the node behind a link from its list.
func (t *table) cutOut(link *uint32) *uint32 {
	gone := *link
	*link = t.node(gone).next
	t.freeNode(gone)
	return link
}

// unlink removes nodes from an entry's list.
func (t *table) unlink(i uint32, gone func(*node) bool) {
	for link := &t.at(i).head; *link != 0; {
		if x := t.node(*link); gone(x) {
			link = t.cutOut(link)
		} else {
			link = &x.next
		}
	}
}

// near reports whether two times are less than a span apart, whichever is earlier. The sum must not overflow.
func near(a, b int64, within time.Duration) bool {
	d, most := a-b, within.Microseconds()
	return d < most && -d < most
}

// bucket returns the number of the bucket of a time.
func (c *Counter) bucket(at int64) int64 {
	b := at / c.width
	if at%c.width < 0 {
		b--
	}
	return b
}

// slowly reports whether two times are in each other's slow window.
func (c *Counter) slowly(a, b int64) bool { return c.width != 0 && counts(c.bucket(a)-c.bucket(b)) }

// counts reports whether two buckets that far apart are in each other's slow window.
func counts(apart int64) bool { return -buckets < apart && apart < buckets }

// count removes failures that have left the windows from an entry's list, adds f at its head, and sums up. most bounds the failures kept in
// the normal window; trip is the count that leads to a ban.
func (c *Counter) count(t *table, i uint32, f node, w Weighing, trip, most int) Verdict {
	e := t.at(i)
	slow := c.width > 0 && t == &c.prefixes
	e.newest = f.at
	sum, long, kept, ahead, tries := 0, 0, 1, 0, 0
	var window, day usersSeen // in the normal window, and in the slow one
	tallies := false
	var latest *node // the failure in the window that was added last
	for link := &e.head; *link != 0; {
		x := t.node(*link)
		if x.tally {
			if _, over := c.tallySum(x, f.at); over {
				link = t.cutOut(link)
				continue
			}
			tallies = true
			link = &x.next
			continue
		}
		in, inSlow := near(f.at, x.at, c.o.FindTime), slow && c.slowly(f.at, x.at)
		if !in && inSlow && x.at < f.at {
			tallies = true
			link = c.moveToTally(t, e, link)
			continue
		}
		if in && kept >= most || !in && (x.at < f.at || ahead >= most) {
			link = t.cutOut(link)
			continue
		}
		if in {
			if latest == nil {
				latest = x
			}
			kept++
			e.newest = max(e.newest, x.at)
			sum += int(x.weight)
			tries += int(x.attempts)
			window.see(x)
		} else {
			ahead++
		}
		if inSlow {
			long += int(x.attempts)
			day.see(x)
		}
		link = &x.next
	}
	for n := e.head; tallies && n != 0; n = t.node(n).next { // all tallies are up to date now
		if x := t.node(n); x.tally {
			sum, _ := c.tallySum(x, f.at)
			if long += sum; x.shared() {
				long += sum
			}
			if sum > 0 {
				day.see(x)
			}
		}
	}
	f.weight = w.weigh(&f, &window)
	if w.Double && tries > w.Before {
		f.weight = uint8(min(2*int(f.weight), maxWeight))
	}
	sum += int(f.weight)
	long += int(f.attempts)
	day.see(&f)
	if latest != nil && c.o.Budget.nodes >= nodeShare*c.o.Budget.limit {
		latest.fold(f)
	} else {
		f.next = e.head
		e.head = t.newNode(f)
	}
	c.reportNodes()
	// No more than most failures are kept, so a higher limit might never be reached.
	trip = min(trip, most)
	switch {
	case f.user == 0:
	case window.attempts(f.user)+int(f.attempts) < trip: // not for guesses at a single account, however many other people log in
		trip = crowded(trip, w.People)
	case c.o.Interactive && !f.unknown: // but a colleague may mistype their own password at six prompts (twice three)
		trip = raised(trip, w.People, 1)
	}
	v := Verdict{Prefix: e.key.Prefix(), Count: sum, Tripped: sum >= trip}
	if slow {
		v.Long = long + max(0, day.n-1)
		v.Slow = !v.Tripped && v.Long >= c.slowRetry(day.n, w.People, f.unknown || w.Known)
	}
	return v
}

// reportNodes tells the budget how many failures are kept.
func (c *Counter) reportNodes() {
	n := int(c.prefixes.live) + int(c.aggregates.live)
	c.o.Budget.nodes += n - c.reported
	c.reported = n
}

// fold merges a failure into the previous one if there is no room for another. The result has the older time, so that neither counts for
// longer than on its own. If the accounts differ it has none, since a login must not take back another account's failure.
func (x *node) fold(f node) {
	if x.user != f.user {
		x.user = 0
	}
	x.unknown = x.unknown && f.unknown
	x.attempts = uint8(min(int(x.attempts)+int(f.attempts), maxAttempts))
	x.weight = uint8(min(int(x.weight)+int(f.weight), maxWeight))
	if f.at < x.at {
		x.at, x.pattern = f.at, f.pattern
	}
}

// Weighing says which failures weigh more or less than one.
type Weighing struct {
	Account int  // added for each account beyond the first that the prefix fails on within its window
	Unknown int  // factor for the fourth and each later nonexistent account; if above 1, see freeRetries and misspelt
	Known   bool // somebody logged in to the account lately, so repeated failures are a device with an old password, up to a limit
	Double  bool // twice the weight, unless all other failures in the window are of the same connection: anybody may fail once
	Before  int  // earlier failed attempts of the same connection
	People  int  // accounts that logged in from the prefix lately
}

const (
	deviceFactor   = 15 // with the default of 20, one failure every five minutes of a day
	noLoginsFactor = 4  // if it is unknown whether people log in: a calendar that polls every twenty minutes

	// freeRetries is how many failures on one wrong user name together weigh one: ssh asks three times, and people who think that they have
	// mistyped the password try again. It applies to each of the first misspelt names, if there are no other accounts.
	freeRetries, misspelt = 5, 2
	// manyNames is how many nonexistent names people try if they have forgotten how their own name is spelled.
	manyNames = 3
	// crowd is the most that a limit rises, as a multiple of itself, if more people log in than a household has: some of them forget their
	// passwords and give up. One in devicePeople may have a device with an old password, but at most devices in all: more would be an
	// attacker's list of accounts, and no more than maxTallies accounts are told apart.
	crowd, household, devicePeople, devices = 2, 2, 5, 5
	// lightRetries is how many failures of weight 0 are kept in addition to MaxRetry others.
	lightRetries = misspelt * freeRetries
)

// weigh returns the weight of a failure, given those in its window.
func (w *Weighing) weigh(f *node, window *usersSeen) uint8 {
	weight, attempts := int(f.weight), int(f.attempts)
	if f.user == 0 {
		return f.weight
	}
	before := window.attempts(f.user)
	switch {
	case !f.unknown:
		if window.n > 0 && before == 0 {
			weight += w.Account
		}
	case w.Unknown > 1 && weight == attempts: // not if the pattern has a weight of its own
		switch {
		case window.n == window.unknown && (window.n < misspelt || window.n == misspelt && before > 0):
			weight = max(1, before+weight-freeRetries+1) - min(before, max(1, before-freeRetries+1))
		case before == 0 && window.unknown >= manyNames:
			weight *= w.Unknown
		}
	}
	return uint8(min(max(weight, 0), maxWeight))
}

// crowded returns the limit for a prefix from which people accounts logged in lately. It rises by one for each account beyond a household;
// the first ones do not count, since an attacker may have an account or two.
func crowded(limit, people int) int { return raised(limit, people, crowd) }

// raised is crowded with another bound: the limit rises by at most times itself.
func raised(limit, people, times int) int { return limit + min(max(people-household, 0), times*limit) }

// slowRetry returns the limit of the slow window. Failures on a single account all day are a device with old settings, if the account does
// not exist or is in use; such a device has a higher limit. If many people log in from the prefix, it may belong to any of them, and there
// may be several. If it is unknown whether people log in, the limit is in between. If people type the passwords, there are no such devices.
func (c *Counter) slowRetry(accounts, people int, device bool) int {
	factor := 1
	switch {
	case c.o.Interactive || accounts > min(1+people/devicePeople, devices):
	case device || people > household:
		factor = deviceFactor
	case c.o.NoLogins:
		factor = noLoginsFactor
	}
	return max(crowded(c.o.SlowRetry, people), min(factor*c.o.SlowRetry, (buckets-1)*bucketMax)) // a tally counts no further
}

// usersSeen counts the accounts on which a prefix failed, as far as they can be told apart.
type usersSeen struct {
	n, unknown int // number of different accounts, and of those that do not exist
	list       [maxTallies + 4]struct{ user, attempts uint16 }
}

func (s *usersSeen) see(x *node) {
	if x.user == 0 {
		return
	}
	for i := range s.list[:min(s.n, len(s.list))] {
		if u := &s.list[i]; u.user == x.user {
			u.attempts += min(uint16(x.attempts), math.MaxUint16-u.attempts)
			return
		}
	}
	if s.n < len(s.list) {
		s.list[s.n].user, s.list[s.n].attempts = x.user, uint16(x.attempts)
	}
	s.n++
	if x.unknown {
		s.unknown++
	}
}

// attempts returns the number of attempts on an account, at least one if there was a failure.
func (s *usersSeen) attempts(user uint16) int {
	for i := range s.list[:min(s.n, len(s.list))] {
		if s.list[i].user == user {
			return max(1, int(s.list[i].attempts))
		}
	}
	return 0
}
