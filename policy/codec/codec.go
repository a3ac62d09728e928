// Package codec has the elements of the state file: numbers, texts, prefixes and blocks. units/doc/state-file.md describes the
// whole file.
//
// Numbers are varints of encoding/binary, unless they are of fixed size and little endian; a text is a length and its bytes. To
// write, use binary.AppendUvarint and its like, AppendText, AppendBlock and prefix.Key.Append; to read, a Decoder.
package codec

import (
	"encoding/binary"
	"fmt"
	"math"

	"bailiff/policy/prefix"
)

// AppendText appends a text.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// AppendBlock appends what write appends, with its length in eight bytes before it. A reader can skip a block that it has no
// use for.
func AppendBlock(b []byte, write func([]byte) []byte) []byte {
	at := len(b)
	b = write(append(b, 0, 0, 0, 0, 0, 0, 0, 0))
	binary.LittleEndian.PutUint64(b[at:], uint64(len(b)-at-8))
	return b
}

// Decoder reads what was written. It keeps the first error; after that everything reads as zero, and loops over what Length
// returned should end. Whatever the bytes are, it neither panics nor takes more memory than a small multiple of them.
type Decoder struct {
	rest []byte
	size int // of all
	err  error
}

// NewDecoder reads b. Texts are copied, blocks are not.
func NewDecoder(b []byte) *Decoder { return &Decoder{rest: b, size: len(b)} }

// Err is the first error.
func (d *Decoder) Err() error { return d.err }

// OK says that there was no error.
func (d *Decoder) OK() bool { return d.err == nil }

// Fail notes that what was read makes no sense.
func (d *Decoder) Fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("byte %d: %s", d.size-len(d.rest), what)
		d.rest = nil
	}
}

// End makes it an error if anything is left, and returns the first error.
func (d *Decoder) End() error {
	if len(d.rest) > 0 {
		d.Fail("bytes behind the end")
	}
	return d.err
}

// Uvarint reads a number of 64 bits without sign.
func (d *Decoder) Uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.Fail("not a number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// Varint reads a number of 64 bits with sign.
func (d *Decoder) Varint() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.Fail("not a number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// UpTo reads a number without sign that is at most most.
func (d *Decoder) UpTo(most uint64) uint64 {
	v := d.Uvarint()
	if v > most {
		d.Fail("a number out of range")
		return 0
	}
	return v
}

// Uint16 reads a number of 16 bits.
func (d *Decoder) Uint16() uint16 { return uint16(d.UpTo(math.MaxUint16)) }

// Uint32 reads a number of 32 bits.
func (d *Decoder) Uint32() uint32 { return uint32(d.UpTo(math.MaxUint32)) }

// Count reads a number that fits an int32.
func (d *Decoder) Count() int { return int(d.UpTo(math.MaxInt32)) }

// maxTime is 2^56 microseconds: the year 4253. Sums and differences of a few times do not overflow.
const maxTime = 1 << 56

// Time reads microseconds since 1970.
func (d *Decoder) Time() int64 {
	v := d.Varint()
	if v < -maxTime || v > maxTime {
		d.Fail("a time out of range")
		return 0
	}
	return v
}

// Length reads the length of a list whose elements take at least least bytes each. A list longer than the rest of the bytes
// is an error.
func (d *Decoder) Length(least int) int {
	v := d.Uvarint()
	if v > uint64(len(d.rest)/least) {
		d.Fail("a list longer than all that follows")
		return 0
	}
	return int(v)
}

// take reads n bytes.
func (d *Decoder) take(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.Fail("cut off")
		return nil
	}
	v := d.rest[:n:n]
	d.rest = d.rest[n:]
	return v
}

// Byte reads one byte.
func (d *Decoder) Byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

// Fixed64 reads eight bytes as a number, little endian.
func (d *Decoder) Fixed64() uint64 {
	if v := d.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

// Text reads a text.
func (d *Decoder) Text() string { return string(d.take(d.Uvarint())) }

// Block reads what AppendBlock wrote.
func (d *Decoder) Block() []byte { return d.take(d.Fixed64()) }

// Key reads a prefix.
func (d *Decoder) Key() prefix.Key {
	k, rest, ok := prefix.Decode(d.rest)
	if !ok {
		d.Fail("not a prefix")
		return prefix.Key{}
	}
	d.rest = rest
	return k
}

// Addr reads the prefix of a single address.
func (d *Decoder) Addr() prefix.Key {
	k := d.Key()
	if k != (prefix.Key{}) && k != prefix.OfAddr(k.Addr()) {
		d.Fail("not an address")
		return prefix.Key{}
	}
	return k
}
