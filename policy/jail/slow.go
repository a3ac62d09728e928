package jail

// A failure that has left the normal window stays for the slow one in a cell: one for each user of a prefix, which
// counts attempts in buckets of an eighth of the slow window. So an attacker who tries one account all day costs 24 bytes,
// and a success takes back what its user has, and no more. A failure counts in the slow window of another when their buckets
// are less than eight apart: for as long as the window at most, and an eighth less at least.
//
// A cell is a node of no attempts. Its when holds the number of its newest bucket (16 bits) and eight counts of six bits,
// the newest lowest. The number is cut to 16 bits: an entry is dropped long before 65,536 buckets have gone. A count
// stops at 63, which no SlowRetry exceeds (the configuration allows 60): what has tripped need not be counted.
const (
	buckets    = 8
	bucketBits = 6
	bucketMax  = 1<<bucketBits - 1
	countMask  = 1<<(buckets*bucketBits) - 1

	// maxCells is how many users of a prefix are told apart in the slow window. Those beyond share a cell that no success
	// clears and whose attempts count double: whoever fails on more accounts than that is no household. manyUsers stands in
	// that cell for the weight, so that it is not the one of failures that name no user.
	maxCells  = 8
	manyUsers = 1
)

// bucket is the number of the bucket that a moment lies in.
func (c *Counter) bucket(at int64) int64 {
	b := at / c.width
	if at%c.width < 0 {
		b--
	}
	return b
}

// slowly says whether two failures are in each other's slow window.
func (c *Counter) slowly(a, b int64) bool {
	if c.width == 0 {
		return false
	}
	d := c.bucket(a) - c.bucket(b)
	return -buckets < d && d < buckets
}

// cellTop is how many buckets a cell's newest one lies before that of a moment; negative: behind it.
func (c *Counter) cellTop(x *node, at int64) int {
	return int(int16(uint16(c.bucket(at)) - uint16(uint64(x.when)>>(buckets*bucketBits))))
}

// cellTime is the end of a cell's newest bucket, taken to lie near at.
func (c *Counter) cellTime(x *node, at int64) int64 {
	return (c.bucket(at)-int64(c.cellTop(x, at))+1)*c.width - 1
}

func (x *node) bucketCount(j int) int { return int(uint64(x.when) >> (j * bucketBits) & bucketMax) }

// cellSum counts what of a cell lies in the slow window of a moment; over says that nothing will any more.
func (c *Counter) cellSum(x *node, at int64) (sum int, over bool) {
	if c.width == 0 {
		return 0, true
	}
	d := c.cellTop(x, at)
	if d >= buckets {
		return 0, true
	}
	for j := range buckets {
		if -buckets < j+d && j+d < buckets {
			sum += x.bucketCount(j)
		}
	}
	return sum, false
}

// cellOldest is the number of the oldest bucket that counts at a moment.
func (c *Counter) cellOldest(x *node, at int64) (b int64, ok bool) {
	d := c.cellTop(x, at)
	for j := buckets - 1; j >= 0; j-- {
		if -buckets < j+d && j+d < buckets && x.bucketCount(j) > 0 {
			return c.bucket(at) - int64(d) - int64(j), true
		}
	}
	return 0, false
}

// cellAdd adds to a cell's bucket of a moment. What lies eight buckets before the newest is over.
func (c *Counter) cellAdd(x *node, at int64, weight int) {
	d := c.cellTop(x, at)
	if d <= -buckets {
		return
	}
	if d >= buckets {
		x.when, d = c.emptyCell(at), 0
	} else if d > 0 {
		x.when, d = c.emptyCell(at)|x.when<<(d*bucketBits)&countMask, 0
	}
	n := min(x.bucketCount(-d)+weight, bucketMax)
	x.when = x.when&^(bucketMax<<(-d*bucketBits)) | int64(n)<<(-d*bucketBits)
}

func (c *Counter) emptyCell(at int64) int64 {
	return int64(uint64(uint16(c.bucket(at))) << (buckets * bucketBits))
}

// toCell turns a failure into a cell. user is what stands in the cell of its user and weight.
func (c *Counter) toCell(x *node, user uint32) {
	at, n := x.at(), x.attempts()
	x.user, x.when = user|x.user&unknownBit, c.emptyCell(at)
	c.cellAdd(x, at, n)
}

// compact moves the failure that a link of an entry leads to into its user's cell. It returns the link to go on from.
func (c *Counter) compact(t *table, e *entry, link *uint32) *uint32 {
	x := t.node(*link)
	most := maxCells
	if c.o.Budget.nodes >= nodeShare*c.o.Budget.limit {
		most = 0
	}
	var own, shared, unnamed *node
	cells := 0
	for n := e.head; n != 0; n = t.node(n).next {
		switch y := t.node(n); {
		case !y.isCell():
		case y.weight() == manyUsers:
			shared = y
		case y.name() == 0:
			unnamed = y
		default:
			// Where clocks differ by more than the window, a user may have two.
			if cells++; y.name() == x.name() && c.slowly(x.at(), c.cellTime(y, x.at())) {
				own = y
			}
		}
	}
	user := x.name() << 16
	switch {
	case x.name() == 0:
		own = unnamed
	case own == nil && cells >= most:
		own, user = shared, manyUsers
	}
	if own != nil {
		if c.cellTop(own, x.at()) >= 0 {
			own.ref = x.ref
		}
		c.cellAdd(own, x.at(), x.attempts())
		return t.cutOut(link)
	}
	c.toCell(x, user)
	return &x.next
}

// rescale brings cells of buckets of another width to that of now, each count to the middle of its bucket; without a
// slow window they go.
func (c *Counter) rescale(width int64) {
	now := c.width
	for i := uint32(0); i < c.narrow.len(); i++ { // len is 0 as soon as the last one is gone
		e := c.narrow.at(i)
		if !e.used() {
			continue
		}
		for n := e.head; n != 0 && now != 0; n = c.narrow.node(n).next {
			x := c.narrow.node(n)
			if !x.isCell() {
				continue
			}
			c.width = width
			newest := c.bucket(e.newest) - int64(c.cellTop(x, e.newest))
			c.width = now
			y := node{when: c.emptyCell(newest*width + width/2)}
			for j := range buckets {
				if w := x.bucketCount(j); w > 0 {
					c.cellAdd(&y, (newest-int64(j))*width+width/2, w)
				}
			}
			x.when = y.when
		}
		if now == 0 {
			c.purge(i, (*node).isCell)
		}
	}
}
