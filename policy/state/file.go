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
	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// The format is described in units/doc/state-file.md: a head of 32 bytes with a checksum, and a body of what State holds. An unknown
// version is refused, since half a state is worse than none.
const (
	magic    = "bailiff state \r\n" // a text-mode copy changes it, and is noticed
	version  = 1
	headSize = 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendSnapshot appends the whole state to b. The same state gives the same bytes. counts appends what was counted up to
// the cursor; nil: what TakeCounts would return.
func (s *State) AppendSnapshot(b []byte, counts func([]byte) []byte) []byte {
	if counts == nil {
		counts = func(b []byte) []byte { return append(b, s.counts...) }
	}
	start := len(b)
	if cap(b)-start < headSize+32*s.Len() {
		b = slices.Grow(b, headSize+4096+32*s.Len()+16*s.past.n+8*s.pardons.at.n)
	}
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	body := start + headSize
	w := codec.NewWriter(append(b, make([]byte, body-len(b))...))
	s.stream(w, counts)
	b = w.Bytes()
	binary.LittleEndian.PutUint32(b[start+20:], crc32.Checksum(b[body:], castagnoli))
	binary.LittleEndian.PutUint64(b[start+24:], uint64(len(b)-body))
	return b
}

// stream writes the body, or reads it into an empty state.
func (s *State) stream(f *codec.Stream, counts func([]byte) []byte) {
	f.Text(&s.cursor)
	s.bans.stream(f)
	s.past.stream(f, 4, func(x *past) {
		codec.Number(f, &x.count, math.MaxInt32)
		if x.end == never {
			x.end = 0
		}
		if f.Time(&x.end); x.end == 0 {
			x.end = never
		}
	})
	s.pardons.at.stream(f, 3, f.Time)
	if f.Reading {
		for k := range s.pardons.at.all() {
			s.pardons.lengths.add(k.prefix)
		}
	}
	codec.Map(f, s.allowed, 4, prefix.Order, func(k *prefix.Key, e *allow.Entry) {
		var until int64
		if !e.Until.IsZero() {
			until = e.Until.UnixMicro()
		}
		f.Key(k)
		f.Time(&until)
		f.Text(&e.Comment)
		if *e = (allow.Entry{Prefix: k.Prefix(), Origin: allow.OriginRuntime, Comment: e.Comment}); until != 0 {
			e.Until = time.UnixMicro(until)
		}
	})
	f.Block("counts", func(f *codec.Stream) {
		f.Rest(counts, func(b []byte) error {
			if len(b) > 0 {
				s.counts = b
			}
			return nil
		})
	})
}

// stream writes or reads all rows. least is the smallest size of a row in bytes.
func (t *table[V]) stream(f *codec.Stream, least int, value func(*V)) {
	codec.Each(f, t.n, least, func(yield func(row[V]) bool) {
		for k, v := range t.all() {
			if !yield(row[V]{k, *v}) {
				return
			}
		}
	}, func(r *row[V]) {
		f.Key(&r.key.prefix)
		value(&r.v)
	}, func(r row[V]) { t.set(r.key, r.v) })
}

// stream writes or reads the bans, after the words that they use.
func (l *bans) stream(f *codec.Stream) {
	words, number := []string{""}, map[string]int{"": 0}
	for b := range l.All() { // in the order of first use, so that the bytes depend only on the state
		for _, w := range []string{b.Jail, b.Reason, b.By, b.Scope} {
			if _, ok := number[w]; !ok {
				number[w] = len(words)
				words = append(words, w)
			}
		}
	}
	codec.Each(f, len(words)-1, 1, slices.Values(words[1:]), f.Text, func(w string) { words = append(words, w) })
	word := func(w *string) {
		n := number[*w]
		codec.Number(f, &n, len(words)-1)
		*w = words[n]
	}
	codec.Each(f, l.Len(), 10, l.All(), func(b *Ban) {
		var k prefix.Key
		if !f.Reading {
			k = prefix.OfPrefix(b.Prefix)
		}
		f.Key(&k)
		word(&b.Jail)
		f.Time(&b.Since)
		f.Time(&b.Until)
		codec.Number(f, &b.Failures, math.MaxInt32)
		codec.Number(f, &b.Count, math.MaxInt32)
		word(&b.Reason)
		word(&b.By)
		word(&b.Scope)
		if f.Reading {
			b.Prefix = k.Prefix()
		}
	}, l.Add)
}

// TakeCounts returns the counts from the state file and forgets them; nil if there are none.
func (s *State) TakeCounts() []byte {
	c := s.counts
	s.counts = nil
	return c
}

// Decode reads what AppendSnapshot wrote. It never panics, and takes no more memory than a small multiple of data, whatever that is. An
// error says what is wrong and where.
func Decode(data []byte) (*State, error) {
	if len(data) < headSize || !bytes.HasPrefix(data, []byte(magic)) {
		return nil, errors.New("is not a state file")
	}
	if v := binary.LittleEndian.Uint32(data[16:]); v != version {
		return nil, fmt.Errorf("has version %d; this bailiff knows %d", v, version)
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
	s := New()
	r := codec.NewReader(body)
	s.stream(r, nil)
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("is damaged: %w", err)
	}
	return s, nil
}
