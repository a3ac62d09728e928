// Package codec reads and writes the elements of the state file: numbers, texts, prefixes, lists and blocks. units/doc/state-file.md
// describes the whole file.
//
// A type describes its part of the file once, in a method that takes a Stream: the same calls write the part and read it.
package codec

import (
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"slices"

	"bailiff/policy/prefix"
)

// Stream writes values, or reads them into the same variables. Reading keeps the first error; after that, all values read as zero, and
// lists end. Reading never panics, and takes no more memory than a small multiple of the input, whatever that is.
type Stream struct {
	Reading bool
	b       []byte // written so far, or left to read
	size    int    // of all that is read
	err     error
}

// NewWriter appends to b.
func NewWriter(b []byte) *Stream { return &Stream{b: b} }

// NewReader reads b. Texts are copied, blocks are not.
func NewReader(b []byte) *Stream { return &Stream{Reading: true, b: b, size: len(b)} }

// Bytes returns what was written.
func (s *Stream) Bytes() []byte { return s.b }

// OK reports whether there was no error.
func (s *Stream) OK() bool { return s.err == nil }

// Fail records that the input is invalid.
func (s *Stream) Fail(what string) {
	if s.err == nil {
		s.err = fmt.Errorf("byte %d: %s", s.size-len(s.b), what)
		s.b = nil
	}
}

// Check calls Fail if a condition on the input does not hold. It does nothing when writing.
func (s *Stream) Check(holds bool, what string) {
	if s.Reading && !holds {
		s.Fail(what)
	}
}

// End returns the first error. It is an error if input is left.
func (s *Stream) End() error {
	s.Check(len(s.b) == 0, "bytes behind the end")
	return s.err
}

// Uvarint is a number of 64 bits without sign.
func (s *Stream) Uvarint(v *uint64) {
	if !s.Reading {
		s.b = binary.AppendUvarint(s.b, *v)
		return
	}
	x, n := binary.Uvarint(s.b)
	if n <= 0 {
		s.Fail("not a number")
		x, n = 0, 0
	}
	*v, s.b = x, s.b[n:]
}

// Number is an unsigned number up to most.
func Number[T ~int | ~uint16 | ~uint32](s *Stream, v *T, most T) {
	x := uint64(*v)
	s.Uvarint(&x)
	if s.Reading && x > uint64(most) {
		s.Fail("a number out of range")
		x = 0
	}
	*v = T(x)
}

// Varint is a number of 64 bits with sign.
func (s *Stream) Varint(v *int64) {
	if !s.Reading {
		s.b = binary.AppendVarint(s.b, *v)
		return
	}
	x, n := binary.Varint(s.b)
	if n <= 0 {
		s.Fail("not a number")
		x, n = 0, 0
	}
	*v, s.b = x, s.b[n:]
}

// maxTime is 2^56 microseconds: the year 4253. Sums and differences of a few times do not overflow.
const maxTime = 1 << 56

// Time is a time in microseconds since 1970, or a difference of two times.
func (s *Stream) Time(v *int64) {
	s.Varint(v)
	if s.Reading && (*v < -maxTime || *v > maxTime) {
		s.Fail("a time out of range")
		*v = 0
	}
}

// take reads n bytes.
func (s *Stream) take(n uint64) []byte {
	if n > uint64(len(s.b)) {
		s.Fail("cut off")
		return nil
	}
	v := s.b[:n:n]
	s.b = s.b[n:]
	return v
}

// Byte is one byte.
func (s *Stream) Byte(v *byte) {
	if !s.Reading {
		s.b = append(s.b, *v)
	} else if b := s.take(1); b != nil {
		*v = b[0]
	} else {
		*v = 0
	}
}

// Flags are up to eight flags in one byte, the first in the lowest bit.
func (s *Stream) Flags(flags ...*bool) {
	var b byte
	for i, f := range flags {
		if *f {
			b |= 1 << i
		}
	}
	s.Byte(&b)
	for i, f := range flags {
		*f = b>>i&1 != 0
	}
	s.Check(b>>len(flags) == 0, "an unknown flag")
}

// Fixed64 is a number of eight bytes, little endian.
func (s *Stream) Fixed64(v *uint64) {
	if !s.Reading {
		s.b = binary.LittleEndian.AppendUint64(s.b, *v)
	} else if b := s.take(8); b != nil {
		*v = binary.LittleEndian.Uint64(b)
	} else {
		*v = 0
	}
}

// Text is a text.
func (s *Stream) Text(v *string) {
	n := uint64(len(*v))
	if s.Uvarint(&n); s.Reading {
		*v = string(s.take(n))
	} else {
		s.b = append(s.b, *v...)
	}
}

// Key is a prefix.
func (s *Stream) Key(k *prefix.Key) {
	if !s.Reading {
		s.b = k.Append(s.b)
		return
	}
	var ok bool
	if *k, s.b, ok = prefix.Decode(s.b); !ok {
		s.Fail("not a prefix")
	}
}

// Addr is the prefix of a single address.
func (s *Stream) Addr(k *prefix.Key) {
	if s.Key(k); s.Reading && s.OK() && *k != prefix.OfAddr(k.Addr()) {
		s.Fail("not an address")
		*k = prefix.Key{}
	}
}

// Block is a part preceded by its length, so that a reader can skip it; part is nil to skip it. name is used in errors.
func (s *Stream) Block(name string, part func(*Stream)) {
	if !s.Reading {
		at := len(s.b)
		s.b = append(s.b, 0, 0, 0, 0, 0, 0, 0, 0)
		part(s)
		binary.LittleEndian.PutUint64(s.b[at:], uint64(len(s.b)-at-8))
		return
	}
	var n uint64
	s.Fixed64(&n)
	r := NewReader(s.take(n))
	if s.OK() && part != nil {
		if part(r); r.End() != nil {
			s.err, s.b = fmt.Errorf("%s: %w", name, r.err), nil
		}
	}
}

// Rest is everything that follows: write appends it, and read gets it.
func (s *Stream) Rest(write func([]byte) []byte, read func([]byte) error) {
	if !s.Reading {
		s.b = write(s.b)
		return
	}
	b := s.b
	if s.b = nil; s.OK() {
		s.err = read(b)
	}
}

// Length is the number of elements of a list. least is the smallest size of an element in bytes: a list that cannot fit into the rest of
// the input is an error.
func (s *Stream) Length(n, least int) int {
	v := uint64(n)
	s.Uvarint(&v)
	if s.Reading && v > uint64(len(s.b)/least) {
		s.Fail("a list longer than all that follows")
		return 0
	}
	return int(v)
}

// Each is a list. It writes the n elements of all with element; when reading, it reads each with element and passes it to add.
func Each[T any](s *Stream, n, least int, all iter.Seq[T], element func(*T), add func(T)) {
	var x T // one, since element makes it escape
	n = s.Length(n, least)
	if !s.Reading {
		for x = range all {
			element(&x)
		}
		return
	}
	for ; n > 0 && s.OK(); n-- {
		x = *new(T)
		if element(&x); s.OK() {
			add(x)
		}
	}
}

// List is Each for a slice.
func List[T any](s *Stream, l *[]T, least int, element func(*T)) {
	Each(s, len(*l), least, slices.Values(*l), element, func(x T) { *l = append(*l, x) })
}

// Map is Each for a map, sorted by key.
func Map[K comparable, V any](s *Stream, m map[K]V, least int, compare func(a, b K) int, element func(*K, *V)) {
	type pair struct {
		k K
		v V
	}
	Each(s, len(m), least, func(yield func(pair) bool) {
		for _, k := range slices.SortedFunc(maps.Keys(m), compare) {
			if !yield(pair{k, m[k]}) {
				return
			}
		}
	}, func(p *pair) { element(&p.k, &p.v) }, func(p pair) { m[p.k] = p.v })
}
