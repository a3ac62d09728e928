package jail

import (
	"math"
	"slices"

	"bailiff/policy/codec"
)

// Stream writes or reads the counter's failures. What is read continues under the counter's options.
//
// Failures are saved with the position in the journal up to which they were counted. References to entries are left out, since
// they are valid in one process only; they are restored by reading the journal again (RestoreRef).
func (c *Counter) Stream(s *codec.Stream) {
	o := c.o
	s.Varint(&c.width)
	for _, length := range []*int{&c.o.Prefix4, &c.o.Prefix6} {
		b := byte(*length)
		s.Byte(&b)
		*length = int(b)
	}
	s.Check(c.width >= 0 && c.width <= math.MaxInt64/(4*buckets) && c.o.Prefix4 <= 32 && c.o.Prefix6 <= 128, "a window or a length out of range")
	n := 0
	codec.Each(s, len(c.patterns), 1, slices.Values(c.patterns), s.Text, func(p string) {
		s.Check(int(c.number(p)) == n, "patterns out of order")
		n++
	})
	for _, t := range []*table{&c.prefixes, &c.aggregates} {
		n := s.Length(t.n, 4)
		for i := uint32(0); i < t.len() && !s.Reading; i++ {
			if e := t.at(i); e.used() {
				c.streamEntry(s, t, e)
			}
		}
		for ; n > 0 && s.Reading && s.OK(); n-- {
			c.streamEntry(s, t, nil)
		}
	}
	if s.Reading {
		c.Configure(o)
	}
}

// streamEntry writes an entry of a table, or reads one into it.
func (c *Counter) streamEntry(s *codec.Stream, t *table, e *entry) {
	if !s.Reading {
		s.Key(&e.key)
		s.Time(&e.newest)
		for n := e.head; n != 0; n = t.node(n).next {
			c.streamNode(s, true, t.node(n), e.newest)
		}
		c.streamNode(s, false, &node{}, 0)
		return
	}
	var read entry
	s.Key(&read.key)
	s.Time(&read.newest)
	if _, ok := t.find(read.key); ok || t == &c.prefixes && s.OK() && read.key != c.Key(read.key.Addr()) {
		s.Fail("a prefix that is there already, or of another length")
	}
	if !s.OK() {
		return
	}
	i := t.insert(read.key)
	if t == &c.prefixes {
		c.o.Budget.used++
	} else {
		c.o.Budget.aggregates++
	}
	e = t.at(i)
	e.newest = read.newest
	for link := &e.head; ; link = &t.node(*link).next {
		var x node
		if !c.streamNode(s, true, &x, e.newest) {
			break
		}
		*link = t.newNode(x)
	}
	s.Check(e.head != 0, "a prefix without failures")
	c.reportNodes()
}

// streamNode writes or reads a node; is is false at the end of a list.
func (c *Counter) streamNode(s *codec.Stream, is bool, x *node, newest int64) bool {
	s.Flags(&is, &x.unknown, &x.tally)
	if !is {
		s.Check(!x.unknown && !x.tally, "a failure out of range")
		return false
	}
	low, high := byte(x.user), byte(x.user>>8)
	s.Byte(&low)
	s.Byte(&high)
	s.Byte(&x.weight)
	if x.tally {
		at := uint64(x.at)
		s.Fixed64(&at)
		x.at = int64(at)
	} else {
		s.Byte(&x.attempts)
		before := newest - x.at
		s.Time(&before)
		x.at = newest - before
		codec.Number(s, &x.pattern, math.MaxUint16)
		s.Check(x.attempts > 0 && x.attempts <= maxAttempts && int(x.pattern) < len(c.patterns), "a failure out of range")
	}
	if s.Reading {
		x.ref, x.user = NoRef, uint16(low)|uint16(high)<<8
	}
	return s.OK()
}
