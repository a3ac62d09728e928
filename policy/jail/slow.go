package jail

// A failure that has left the normal window is merged into a tally for the slow window. A prefix has a tally for each account,
// which counts attempts in buckets of an eighth of the slow window. So an attacker who tries one account all day costs 32
// bytes, and a login takes back the failures of its account only. A failure counts in the slow window of another if their
// buckets are less than eight apart: for between seven eighths of the window and the whole of it.
//
// A tally is a node. Its field at contains the number of its newest bucket (16 bits) and eight counts of six bits, the newest
// lowest. 16 bits suffice, since an entry is dropped long before 65,536 buckets have passed. A count stops at 63, which no
// SlowRetry exceeds (the configuration allows 60).
const (
	buckets    = 8
	bucketBits = 6
	bucketMax  = 1<<bucketBits - 1
	countMask  = 1<<(buckets*bucketBits) - 1

	// maxTallies is how many accounts of a prefix are told apart in the slow window. Further accounts share a tally that no login clears
	// and whose attempts count double: a household does not have that many accounts. The shared tally has weight 1, which distinguishes it
	// from the tally of failures without an account.
	maxTallies = 8
)

// shared reports whether a tally is the one for all accounts beyond maxTallies.
func (x *node) shared() bool { return x.weight != 0 }

// tallyAge returns how many buckets a tally's newest bucket lies before the bucket of a time; negative: after it.
func (c *Counter) tallyAge(x *node, at int64) int64 {
	return int64(int16(uint16(c.bucket(at)) - uint16(uint64(x.at)>>(buckets*bucketBits))))
}

// tallyTime returns the end of a tally's newest bucket, assumed to be near at.
func (c *Counter) tallyTime(x *node, at int64) int64 {
	return (c.bucket(at)-c.tallyAge(x, at)+1)*c.width - 1
}

// bucketCount returns the count of the j-th bucket before the newest.
func (x *node) bucketCount(j int64) int { return int(uint64(x.at) >> (j * bucketBits) & bucketMax) }

// tallySum returns the attempts of a tally in the slow window at a time. over reports that none is in the window then or later.
func (c *Counter) tallySum(x *node, at int64) (sum int, over bool) {
	if c.width == 0 {
		return 0, true
	}
	age := c.tallyAge(x, at)
	for j := range int64(buckets) {
		if counts(j + age) {
			sum += x.bucketCount(j)
		}
	}
	return sum, age >= buckets
}

// tallyWithin returns the attempts of a tally that are certainly less than within microseconds from a time.
func (c *Counter) tallyWithin(x *node, at, within int64) (sum int) {
	if c.width == 0 {
		return 0
	}
	newest := c.bucket(at) - c.tallyAge(x, at)
	for j := range int64(buckets) {
		if from := (newest - j) * c.width; from > at-within && from+c.width <= at+within {
			sum += x.bucketCount(j)
		}
	}
	return sum
}

// tallyOldest returns the number of the oldest bucket that counts at a time.
func (c *Counter) tallyOldest(x *node, at int64) (b int64, ok bool) {
	age := c.tallyAge(x, at)
	for j := int64(buckets - 1); j >= 0; j-- {
		if counts(j+age) && x.bucketCount(j) > 0 {
			return c.bucket(at) - age - j, true
		}
	}
	return 0, false
}

// tallyAdd adds attempts to a tally's bucket for a time. Buckets that are eight or more before the newest no longer count.
func (c *Counter) tallyAdd(x *node, at int64, attempts int) {
	age := c.tallyAge(x, at)
	if age <= -buckets {
		return
	}
	if age >= buckets {
		x.at, age = c.emptyTally(at), 0
	} else if age > 0 {
		x.at, age = c.emptyTally(at)|x.at<<(age*bucketBits)&countMask, 0
	}
	n := min(x.bucketCount(-age)+attempts, bucketMax)
	x.at = x.at&^(bucketMax<<(-age*bucketBits)) | int64(n)<<(-age*bucketBits)
}

func (c *Counter) emptyTally(at int64) int64 {
	return int64(uint64(uint16(c.bucket(at))) << (buckets * bucketBits))
}

// moveToTally moves the failure behind a link of an entry into its account's tally. It returns the link to continue from.
func (c *Counter) moveToTally(t *table, e *entry, link *uint32) *uint32 {
	x := t.node(*link)
	most := maxTallies
	if c.o.Budget.nodes >= nodeShare*c.o.Budget.limit {
		most = 0
	}
	var own, shared, unnamed *node
	users := 0
	for n := e.head; n != 0; n = t.node(n).next {
		switch y := t.node(n); {
		case !y.tally:
		case y.shared():
			shared = y
		case y.user == 0:
			unnamed = y
		default:
			// If clocks differ by more than the window, an account may have two tallies.
			if users++; y.user == x.user && c.slowly(x.at, c.tallyTime(y, x.at)) {
				own = y
			}
		}
	}
	user, weight := x.user, uint8(0)
	switch {
	case x.user == 0:
		own = unnamed
	case own == nil && users >= most:
		own, user, weight = shared, 0, 1
	}
	if own != nil {
		if c.tallyAge(own, x.at) >= 0 {
			own.ref = x.ref
		}
		c.tallyAdd(own, x.at, int(x.attempts))
		return t.cutOut(link)
	}
	at, attempts := x.at, int(x.attempts)
	*x = node{ref: x.ref, at: c.emptyTally(at), next: x.next, user: user, weight: weight, unknown: x.unknown, tally: true}
	c.tallyAdd(x, at, attempts)
	return &x.next
}

// rescale converts tallies from another bucket width, taking each count to be in the middle of its bucket. Without a slow
// window, they are removed.
func (c *Counter) rescale(width int64) {
	now := c.width
	for i := uint32(0); i < c.prefixes.len(); i++ { // len is 0 as soon as the last one is gone
		e := c.prefixes.at(i)
		if !e.used() {
			continue
		}
		for n := e.head; n != 0 && now != 0; n = c.prefixes.node(n).next {
			x := c.prefixes.node(n)
			if !x.tally {
				continue
			}
			c.width = width
			newest := c.bucket(e.newest) - c.tallyAge(x, e.newest)
			c.width = now
			y := node{at: c.emptyTally(newest*width + width/2)}
			for j := range int64(buckets) {
				if n := x.bucketCount(j); n > 0 {
					c.tallyAdd(&y, (newest-j)*width+width/2, n)
				}
			}
			x.at = y.at
		}
		if now == 0 {
			c.purge(i, func(x *node) bool { return x.tally })
		}
	}
}
