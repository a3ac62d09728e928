package jail

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// What counters hold is saved with the position in the journal that it belongs to, as varints. References to journal
// entries are left out: they mean something to one process alone, and reading the journal again gives them back
// (RestoreRef). Each part begins with what it must fit; a part that does not is converted or dropped by Configure.

// Append appends what the counter holds.
func (c *Counter) Append(b []byte) []byte {
	b = binary.AppendVarint(b, c.width)
	b = append(b, byte(c.o.Prefix4), byte(c.o.Prefix6))
	b = binary.AppendUvarint(b, uint64(len(c.patterns)))
	for _, p := range c.patterns {
		b = appendText(b, p)
	}
	for _, t := range []*table{&c.narrow, &c.wide} {
		b = binary.AppendUvarint(b, uint64(t.n))
		for i := range t.len() {
			e := t.at(i)
			if !e.used() {
				continue
			}
			b = appendKey(b, e.key())
			b = binary.AppendVarint(b, e.newest)
			for n := e.head; n != 0; n = t.node(n).next {
				x := t.node(n)
				b = binary.AppendUvarint(b, uint64(x.user)+1)
				if x.isCell() {
					b = binary.LittleEndian.AppendUint64(b, uint64(x.when))
					continue
				}
				b = binary.AppendVarint(b, e.newest-x.at())
				b = binary.AppendUvarint(b, uint64(x.pattern()))
			}
			b = append(b, 0) // no user+1 is 0
		}
	}
	return b
}

// Restore makes a counter of what Append wrote and has it go on under o. It returns what lies behind it in b. On an
// error there is no counter, and the budget is as before.
func Restore(b []byte, o Options) (c *Counter, rest []byte, err error) {
	d := &decoder{b: b}
	old := o
	width := d.varint()
	old.FindTime, old.MaxRetry, old.SlowTime, old.SlowRetry = 1, 1, 0, 0 // replaced below, before anything is judged
	old.Prefix4, old.Prefix6 = int(d.byte()), int(d.byte())
	c = NewCounter(old)
	if width < 0 || width > math.MaxInt64/(4*buckets) {
		d.fail("a window out of range")
	}
	n := d.length(1)
	for i := range n {
		if p := d.text(); i > 0 && c.number(p) != uint16(i) {
			d.fail("patterns out of order")
		}
	}
	for _, t := range []*table{&c.narrow, &c.wide} {
		for n := d.length(6); n > 0 && d.err == nil; n-- {
			k := d.key()
			if _, ok := t.find(k); ok {
				d.fail("a prefix stands twice")
			}
			if t == &c.narrow && int(k.bits&lenMask) != c.lengthOf(k) {
				d.fail("a prefix of another length")
			}
			newest := d.time()
			if d.err != nil {
				break
			}
			i := t.insert(k)
			if t == &c.narrow {
				c.o.Budget.used++
			} else {
				c.o.Budget.wide++
			}
			t.at(i).newest = newest
			link := &t.at(i).head
			for d.err == nil {
				u := d.uvarint()
				if u == 0 {
					break
				}
				x := node{ref: NoRef, user: uint32(u - 1)}
				if u-1 > math.MaxUint32 {
					d.fail("a user out of range")
				}
				if x.isCell() {
					x.when = int64(d.fixed64())
				} else {
					at, p := newest-d.varint(), d.uvarint()
					if at < -maxTime || at > maxTime || p >= uint64(len(c.patterns)) {
						d.fail("a failure out of range")
						break
					}
					x.when = whenOf(at, uint16(p))
				}
				m := t.newNode(x)
				*link = m
				link = &t.node(m).next
			}
			if t.at(i).head == 0 {
				d.fail("a prefix without failures")
			}
		}
	}
	c.settle()
	if d.err != nil {
		c.Close()
		return nil, nil, d.err
	}
	c.width = width
	c.Configure(o)
	return c, d.b, nil
}

func (c *Counter) lengthOf(k key) int {
	if k.v6() {
		return c.o.Prefix6
	}
	return c.o.Prefix4
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendKey(b []byte, k key) []byte {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], k.hi)
	binary.BigEndian.PutUint64(a[8:], k.lo)
	n := byte(k.bits & lenMask)
	family := byte(4)
	if k.v6() {
		family = 6
	}
	return append(append(b, n, family), a[:(n+7)/8]...)
}

// appendAddr appends a key of full length, or a zero one.
func appendAddr(b []byte, k key) []byte {
	if k.bits == 0 {
		return append(b, 0)
	}
	return appendKey(append(b, 1), k)
}

func appendAttempt(b []byte, a *Attempt) []byte {
	b = binary.AppendVarint(b, a.At)
	b = appendText(b, a.Pattern)
	b = binary.LittleEndian.AppendUint64(b, a.User)
	b = appendText(b, string(a.Name))
	b = binary.AppendUvarint(b, uint64(a.Port))
	b = binary.AppendUvarint(b, uint64(a.Attempts))
	b = binary.AppendUvarint(b, uint64(a.Weight))
	b = binary.AppendUvarint(b, uint64(a.MaxRetry))
	b = binary.AppendUvarint(b, uint64(a.Source))
	flags := byte(0)
	if a.Unknown {
		flags |= 1
	}
	if a.Provisional {
		flags |= 2
	}
	if a.After {
		flags |= 4
	}
	if a.Alone {
		flags |= 8
	}
	return append(b, a.Stage, flags)
}

// decoder keeps the first error; after it everything reads as zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("saved counts: %s", what)
		d.b = nil
	}
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("not a number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("not a number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// time reads microseconds of which differences do not overflow.
func (d *decoder) time() int64 {
	v := d.varint()
	if v < -2*maxTime || v > 2*maxTime {
		d.fail("a time out of range")
		return 0
	}
	return v
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("cut off")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) fixed32() uint32 {
	if len(d.b) < 4 {
		d.fail("cut off")
		return 0
	}
	v := binary.LittleEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}

func (d *decoder) fixed64() uint64 {
	if len(d.b) < 8 {
		d.fail("cut off")
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

// length reads the length of a list whose elements take at least so many bytes, but for a short one.
func (d *decoder) length(least int) int {
	v := d.uvarint()
	if v > 64 && v > uint64(len(d.b)/least) {
		d.fail("a list that is longer than all")
		return 0
	}
	return int(v)
}

func (d *decoder) text() string {
	v := d.uvarint()
	if v > uint64(len(d.b)) {
		d.fail("a text that is longer than all")
		return ""
	}
	s := string(d.b[:v])
	d.b = d.b[v:]
	return s
}

func (d *decoder) key() (k key) {
	n, family := d.byte(), d.byte()
	k.bits = isUsed | uint16(n)
	most := byte(32)
	if family == 6 {
		most = 128
		k.bits |= isV6
	}
	size := int(n+7) / 8
	if n > most || family != 4 && family != 6 || len(d.b) < size {
		d.fail("not a prefix")
		return key{}
	}
	var a [16]byte
	copy(a[:], d.b[:size])
	d.b = d.b[size:]
	k.hi, k.lo = binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	if k != k.cut(uint16(n)) {
		d.fail("not a prefix")
		return key{}
	}
	return k
}

// span is a duration in microseconds.
func span(d time.Duration) int64 { return d.Microseconds() }

func (d *decoder) uint16() uint16 {
	v := d.uvarint()
	if v > math.MaxUint16 {
		d.fail("a number out of range")
		return 0
	}
	return uint16(v)
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > math.MaxUint32 {
		d.fail("a number out of range")
		return 0
	}
	return uint32(v)
}

func (d *decoder) addr() (k key) {
	if d.byte() == 0 {
		return k
	}
	if k = d.key(); k.bits&lenMask != 32 && k.bits&lenMask != 128 || k.v6() != (k.bits&lenMask == 128) {
		d.fail("not an address")
		return key{}
	}
	return k
}

func (d *decoder) attempt() Attempt {
	a := Attempt{
		At: d.time(), Ref: NoRef, Pattern: d.text(), User: d.fixed64(), Name: []byte(d.text()), Port: d.uint16(), Attempts: int(d.uint16()),
		Weight: int(d.uint16()), MaxRetry: int(d.uint16()), Source: d.uint32(), Stage: d.byte(),
	}
	flags := d.byte()
	a.Unknown, a.Provisional, a.After, a.Alone = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0
	if a.Attempts == 0 || a.Weight == 0 || len(a.Name) > MaxName || flags > 15 {
		d.fail("an attempt out of range")
	}
	return a
}
