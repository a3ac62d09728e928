package jail

import (
	"encoding/binary"
	"math"

	"bailiff/policy/codec"
)

// What is counted is saved with the position in the journal that it belongs to. References to journal entries are left out: they
// mean something to one process alone, and reading the journal again gives them back (RestoreRef).

// Append appends what the counter holds.
func (c *Counter) Append(b []byte) []byte {
	b = binary.AppendVarint(b, c.width)
	b = append(b, byte(c.o.Prefix4), byte(c.o.Prefix6))
	b = binary.AppendUvarint(b, uint64(len(c.patterns)))
	for _, p := range c.patterns {
		b = codec.AppendText(b, p)
	}
	for _, t := range []*table{&c.prefixes, &c.aggregates} {
		b = binary.AppendUvarint(b, uint64(t.n))
		for i := range t.len() {
			e := t.at(i)
			if !e.used() {
				continue
			}
			b = e.key.Append(b)
			b = binary.AppendVarint(b, e.newest)
			for n := e.head; n != 0; n = t.node(n).next {
				b = appendNode(b, t.node(n), e.newest)
			}
			b = append(b, 0) // no node's flags are 0
		}
	}
	return b
}

// Flags of a saved node.
const (
	savedNode = 1 << iota
	savedUnknown
	savedTally
)

func appendNode(b []byte, x *node, newest int64) []byte {
	flags := byte(savedNode)
	if x.unknown {
		flags |= savedUnknown
	}
	if x.tally {
		flags |= savedTally
	}
	b = binary.LittleEndian.AppendUint16(append(b, flags), x.user)
	b = append(b, x.weight)
	if x.tally {
		return binary.LittleEndian.AppendUint64(b, uint64(x.at))
	}
	b = binary.AppendVarint(append(b, x.attempts), newest-x.at)
	return binary.AppendUvarint(b, uint64(x.pattern))
}

// restoreNode reads what appendNode wrote; ok is false at the end of a list.
func (c *Counter) restoreNode(d *codec.Decoder, newest int64) (x node, ok bool) {
	flags := d.Byte()
	if flags == 0 {
		return x, false
	}
	x = node{ref: NoRef, user: uint16(d.Byte()) | uint16(d.Byte())<<8, weight: d.Byte(), unknown: flags&savedUnknown != 0, tally: flags&savedTally != 0}
	if x.tally {
		x.at = int64(d.Fixed64())
	} else {
		x.attempts, x.at, x.pattern = d.Byte(), newest-d.Time(), d.Uint16()
	}
	if flags&savedNode == 0 || flags > savedNode|savedUnknown|savedTally || !x.tally && (x.attempts == 0 || x.attempts > maxAttempts) || int(x.pattern) >= len(c.patterns) {
		d.Fail("a failure out of range")
	}
	return x, d.OK()
}

// RestoreCounter makes a counter of what Append wrote and has it go on under o. On an error there is no counter, and the budget is
// as before.
func RestoreCounter(b []byte, o Options) (*Counter, error) {
	d := codec.NewDecoder(b)
	width := d.Varint()
	old := o
	old.FindTime, old.MaxRetry, old.SlowTime, old.SlowRetry = 1, 1, 0, 0 // replaced below, before anything is judged
	old.Prefix4, old.Prefix6 = int(d.Byte()), int(d.Byte())
	if width < 0 || width > math.MaxInt64/(4*buckets) || old.Prefix4 > 32 || old.Prefix6 > 128 {
		d.Fail("a window or a length out of range")
		return nil, d.Err()
	}
	c := NewCounter(old)
	for i := range d.Length(1) {
		if p := d.Text(); i > 0 && c.number(p) != uint16(i) {
			d.Fail("patterns out of order")
		}
	}
	for _, t := range []*table{&c.prefixes, &c.aggregates} {
		for n := d.Length(4); n > 0 && d.OK(); n-- {
			c.restoreEntry(d, t)
		}
	}
	if err := d.End(); err != nil {
		c.Close()
		return nil, err
	}
	c.width = width
	c.Configure(o)
	return c, nil
}

func (c *Counter) restoreEntry(d *codec.Decoder, t *table) {
	k, newest := d.Key(), d.Time()
	if _, ok := t.find(k); ok || t == &c.prefixes && d.OK() && k != c.keyOf(k.Addr()) {
		d.Fail("a prefix that is there already, or of another length")
	}
	if !d.OK() {
		return
	}
	i := t.insert(k)
	if t == &c.prefixes {
		c.o.Budget.used++
	} else {
		c.o.Budget.aggregates++
	}
	t.at(i).newest = newest
	link := &t.at(i).head
	for {
		x, ok := c.restoreNode(d, newest)
		if !ok {
			break
		}
		m := t.newNode(x)
		*link = m
		link = &t.node(m).next
	}
	if t.at(i).head == 0 {
		d.Fail("a prefix without failures")
	}
	c.reportNodes()
}
