package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"bailiff/policy/allow"
)

// A snapshot is a head of 32 bytes and a body.
//
//	0  magic, 16 bytes
//	16 version, u32 little endian
//	20 CRC-32C of the body, u32
//	24 length of the body, u64
//
// The body is a run of varints and byte strings (a varint length, then the bytes), in this order: cursor; words; bans;
// history; pardons; allow entries, each list with its length before it; since version 2 then what was counted, as a byte
// string that means something to the package that counts; since version 3 each ban ends with its scope. A later version may add to the end under the next number; a version
// not known here is refused, since half a state is worse than none.
const (
	magic    = "bailiff ledger\r\n" // a text-mode copy breaks it, and is noticed
	version  = 3
	oldest   = 1 // that is read
	headSize = 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendSnapshot appends the whole state to b. The same state gives the same bytes. counts appends what was counted up to
// the cursor; nil: what TakeCounts would return.
func (l *State) AppendSnapshot(b []byte, counts func([]byte) []byte) []byte {
	start := len(b)
	if cap(b)-start < headSize+32*l.Len() {
		b = slices.Grow(b, headSize+4096+32*l.Len()+16*l.history.n+8*l.pardons.n)
	}
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = append(b, make([]byte, 12)...)
	body := len(b)
	b = appendBytes(b, l.cursor)

	// Words get numbers in the order of their first use, so that the bytes follow from the state alone.
	number := map[string]uint64{"": 0}
	var words []string
	see := func(s string) uint64 {
		n, ok := number[s]
		if !ok {
			words = append(words, s)
			n = uint64(len(words))
			number[s] = n
		}
		return n
	}
	jails := make([]uint64, len(l.jails))
	for k, x := range l.bans.all {
		if jails[k.jail] == 0 {
			jails[k.jail] = see(l.jails[k.jail])
		}
		if n := l.noteOf(k, x); n != (note{}) {
			see(n.reason)
			see(n.by)
		}
		see(l.scopes[x.scope])
	}
	b = binary.AppendUvarint(b, uint64(len(words)))
	for _, w := range words {
		b = appendBytes(b, w)
	}
	b = binary.AppendUvarint(b, uint64(l.bans.n))
	for k, x := range l.bans.all {
		b = appendKey(b, k)
		b = binary.AppendUvarint(b, jails[k.jail])
		b = binary.AppendVarint(b, x.since)
		until := x.until
		if until == never {
			until = 0
		}
		b = binary.AppendVarint(b, until)
		b = binary.AppendUvarint(b, uint64(x.failures))
		b = binary.AppendUvarint(b, uint64(x.count&maxCount))
		n := l.noteOf(k, x)
		b = binary.AppendUvarint(b, number[n.reason])
		b = binary.AppendUvarint(b, number[n.by])
		b = binary.AppendUvarint(b, number[l.scopes[x.scope]])
	}
	b = binary.AppendUvarint(b, uint64(l.history.n))
	for k, h := range l.history.all {
		b = appendKey(b, k)
		b = binary.AppendUvarint(b, uint64(h.count))
		b = binary.AppendVarint(b, h.end)
	}
	b = binary.AppendUvarint(b, uint64(l.pardons.n))
	for k, at := range l.pardons.all {
		b = appendKey(b, k)
		b = binary.AppendVarint(b, *at)
	}
	b = binary.AppendUvarint(b, uint64(len(l.allowed)))
	for _, e := range l.Allowed() {
		b = appendKey(b, keyOf(e.Prefix))
		var until int64
		if !e.Until.IsZero() {
			until = e.Until.UnixMicro()
		}
		b = binary.AppendVarint(b, until)
		b = appendBytes(b, e.Comment)
	}
	// The length is known when it is done: lengthSize bytes are kept for it, a varint with leading zeros.
	at := len(b)
	b = append(b, make([]byte, lengthSize)...)
	if counts != nil {
		b = counts(b)
	} else {
		b = append(b, l.counts...)
	}
	putLength(b[at:], len(b)-at-lengthSize)
	binary.LittleEndian.PutUint32(b[start+20:], crc32.Checksum(b[body:], castagnoli))
	binary.LittleEndian.PutUint64(b[start+24:], uint64(len(b)-body))
	return b
}

// noteOf is what a ban says besides numbers.
func (l *State) noteOf(k key, b *ban) note {
	if len(l.notes) > 0 {
		if n, ok := l.notes[k]; ok {
			return n
		}
	}
	return note{reason: reasons[b.count>>(32-reasonBits)]}
}

// lengthSize is how many bytes putLength writes: a varint of up to 2^35.
const lengthSize = 5

func putLength(b []byte, n int) {
	for i := range lengthSize - 1 {
		b[i] = byte(n>>(7*i)) | 0x80
	}
	b[lengthSize-1] = byte(n >> (7 * (lengthSize - 1)))
}

// TakeCounts hands over what a snapshot says was counted; nil when it says nothing.
func (l *State) TakeCounts() []byte {
	c := l.counts
	l.counts = nil
	return c
}

func appendBytes(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendKey writes length and family in one byte pair, then as many bytes of the address as the prefix has.
func appendKey(b []byte, k key) []byte {
	b = append(b, k.bits)
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], k.hi)
	binary.BigEndian.PutUint64(a[8:], k.lo)
	if k.v6 {
		b = append(b, 6)
	} else {
		b = append(b, 4)
	}
	return append(b, a[:(k.bits+7)/8]...)
}

// Decode reads a snapshot. Whatever the bytes are, it neither panics nor takes more memory than a small multiple of
// them; an error says what is wrong and where.
func Decode(data []byte) (*State, error) {
	if len(data) < headSize || !bytes.HasPrefix(data, []byte(magic)) {
		return nil, errors.New("is not a ledger")
	}
	v := binary.LittleEndian.Uint32(data[16:])
	if v < oldest || v > version {
		return nil, fmt.Errorf("has version %d; this bailiff knows %d to %d", v, oldest, version)
	}
	sum, length := binary.LittleEndian.Uint32(data[20:]), binary.LittleEndian.Uint64(data[24:])
	body := data[headSize:]
	if uint64(len(body)) < length {
		return nil, fmt.Errorf("is cut off: %d of %d bytes", len(data), headSize+length)
	}
	if uint64(len(body)) > length {
		return nil, fmt.Errorf("has %d bytes behind its end", uint64(len(body))-length)
	}
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, fmt.Errorf("is damaged: checksum %08x, not %08x", got, sum)
	}
	d := decoder{all: body, b: body}
	l := d.ledger(v)
	if d.err != nil {
		return nil, d.err
	}
	return l, nil
}

// decoder keeps the first error; after it everything reads as zero.
type decoder struct {
	all, b []byte
	err    error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("byte %d: %s", headSize+len(d.all)-len(d.b), what)
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

// time reads microseconds that fit the years 1970 to 5000 or so; sums of them cannot overflow.
func (d *decoder) time() int64 {
	v := d.varint()
	if v < 0 || v > math.MaxInt64/92 {
		d.fail("not a time")
		return 0
	}
	return v
}

func (d *decoder) count() int {
	v := d.uvarint()
	if v > math.MaxInt32 {
		d.fail("a count out of range")
		return 0
	}
	return int(v)
}

// length reads the length of a list whose elements take at least least bytes each.
func (d *decoder) length(least int) int {
	v := d.uvarint()
	if v > uint64(len(d.b)/least) {
		d.fail("a list longer than the file")
		return 0
	}
	return int(v)
}

func (d *decoder) text() string {
	n := d.length(1)
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) key() (k key) {
	if len(d.b) < 2 {
		d.fail("a prefix is cut off")
		return k
	}
	bits, family := int(d.b[0]), d.b[1]
	most := 32
	if family == 6 {
		most = 128
	}
	if family != 4 && family != 6 || bits > most || len(d.b) < 2+(bits+7)/8 {
		d.fail("not a prefix")
		return k
	}
	var a [16]byte
	n := (bits + 7) / 8
	copy(a[:], d.b[2:2+n])
	k = key{hi: binary.BigEndian.Uint64(a[:8]), lo: binary.BigEndian.Uint64(a[8:]), bits: uint8(bits), v6: family == 6}
	if k != k.cut(bits) || k.v6 && k.hi == 0 && k.lo>>32 == 0xffff {
		d.fail("not a prefix")
		return key{}
	}
	d.b = d.b[2+n:]
	return k
}

func (d *decoder) ledger(version uint32) *State {
	l := New()
	l.cursor = d.text()
	words := []string{""}
	for n := d.length(1); n > 0 && d.err == nil; n-- {
		words = append(words, d.text())
	}
	word := func() string {
		i := d.uvarint()
		if i >= uint64(len(words)) {
			d.fail("a word that is not there")
			return ""
		}
		return words[i]
	}
	for n := d.length(10); n > 0 && d.err == nil; n-- {
		b := Ban{Prefix: d.key().prefix(), Jail: word(), Since: d.time(), Until: d.time(), Failures: d.count(), Count: d.count(), Reason: word(), By: word()}
		if version > 2 {
			b.Scope = word()
		}
		if d.err == nil {
			l.Add(b)
		}
	}
	for n := d.length(4); n > 0 && d.err == nil; n-- {
		k := d.key()
		h := past{count: uint32(d.count()), end: d.varint()}
		if h.end < 0 {
			d.fail("not a time")
		}
		if d.err == nil {
			l.remember(k, h)
		}
	}
	for n := d.length(3); n > 0 && d.err == nil; n-- {
		k, at := d.key(), d.time()
		if d.err == nil {
			l.Pardon(k.prefix(), at)
		}
	}
	for n := d.length(4); n > 0 && d.err == nil; n-- {
		e := allow.Entry{Prefix: d.key().prefix(), Origin: allow.OriginRuntime}
		if us := d.time(); us != 0 {
			e.Until = time.UnixMicro(us)
		}
		e.Comment = d.text()
		l.allowed[e.Prefix] = e
	}
	if version > 1 {
		if n := d.length(1); n > 0 {
			l.counts, d.b = d.b[:n:n], d.b[n:]
		}
	}
	if len(d.b) > 0 {
		d.fail("more than a ledger holds")
	}
	return l
}
