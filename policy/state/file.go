package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// The format is described in units/doc/state-file.md: a head of 32 bytes with a checksum, and a body of what State holds. A
// version not known here is refused, since half a state is worse than none.
const (
	magic    = "bailiff state \r\n" // a text-mode copy breaks it, and is noticed
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
		b = slices.Grow(b, headSize+4096+32*s.Len()+16*s.past.n+8*len(s.pardons.at))
	}
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = append(b, make([]byte, headSize-len(magic)-4)...)
	body := len(b)
	b = codec.AppendText(b, s.cursor)
	b = s.bans.append(b)
	b = binary.AppendUvarint(b, uint64(s.past.n))
	for k, x := range s.past.all() {
		b = k.prefix.Append(b)
		b = binary.AppendUvarint(b, uint64(x.count))
		b = binary.AppendVarint(b, zeroIfNever(x.end))
	}
	b = binary.AppendUvarint(b, uint64(len(s.pardons.at)))
	for _, k := range sorted(s.pardons.at) {
		b = binary.AppendVarint(k.Append(b), s.pardons.at[k])
	}
	b = binary.AppendUvarint(b, uint64(len(s.allowed)))
	for _, e := range s.Allowed() {
		b = prefix.OfPrefix(e.Prefix).Append(b)
		var until int64
		if !e.Until.IsZero() {
			until = e.Until.UnixMicro()
		}
		b = codec.AppendText(binary.AppendVarint(b, until), e.Comment)
	}
	b = codec.AppendBlock(b, counts)
	binary.LittleEndian.PutUint32(b[start+20:], crc32.Checksum(b[body:], castagnoli))
	binary.LittleEndian.PutUint64(b[start+24:], uint64(len(b)-body))
	return b
}

func zeroIfNever(end int64) int64 {
	if end == never {
		return 0
	}
	return end
}

// append appends the bans, after the words that they use.
func (l *bans) append(b []byte) []byte {
	number := map[string]uint64{"": 0} // in the order of first use, so that the bytes follow from the state alone
	var words []string
	see := func(s string) {
		if _, ok := number[s]; !ok {
			words = append(words, s)
			number[s] = uint64(len(words))
		}
	}
	for k, x := range l.sorted() {
		see(l.jails[k.jail])
		n := l.noteOf(k, x)
		see(n.reason)
		see(n.by)
		see(l.scopes[x.scope])
	}
	b = binary.AppendUvarint(b, uint64(len(words)))
	for _, w := range words {
		b = codec.AppendText(b, w)
	}
	b = binary.AppendUvarint(b, uint64(l.rows.n))
	for k, x := range l.sorted() {
		b = k.prefix.Append(b)
		b = binary.AppendUvarint(b, number[l.jails[k.jail]])
		b = binary.AppendVarint(b, x.since)
		b = binary.AppendVarint(b, zeroIfNever(x.until))
		b = binary.AppendUvarint(b, uint64(x.failures))
		b = binary.AppendUvarint(b, uint64(x.count>>reasonBits))
		n := l.noteOf(k, x)
		b = binary.AppendUvarint(b, number[n.reason])
		b = binary.AppendUvarint(b, number[n.by])
		b = binary.AppendUvarint(b, number[l.scopes[x.scope]])
	}
	return b
}

// TakeCounts hands over what a state file says was counted; nil when it says nothing.
func (s *State) TakeCounts() []byte {
	c := s.counts
	s.counts = nil
	return c
}

// Decode reads what AppendSnapshot wrote. Whatever the bytes are, it neither panics nor takes more memory than a small multiple of
// them; an error says what is wrong and where.
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
	if err := s.read(codec.NewDecoder(body)); err != nil {
		return nil, fmt.Errorf("is damaged: %w", err)
	}
	return s, nil
}

func (s *State) read(d *codec.Decoder) error {
	s.cursor = d.Text()
	s.bans.read(d)
	for n := d.Length(4); n > 0 && d.OK(); n-- {
		k, x := d.Key(), past{count: uint32(d.Count()), end: d.Time()}
		if x.end == 0 {
			x.end = never
		}
		if d.OK() {
			s.remember(k, x)
		}
	}
	for n := d.Length(3); n > 0 && d.OK(); n-- {
		k, at := d.Key(), d.Time()
		if d.OK() {
			s.Pardon(k.Prefix(), at)
		}
	}
	for n := d.Length(4); n > 0 && d.OK(); n-- {
		k := d.Key()
		e := allow.Entry{Prefix: k.Prefix(), Origin: allow.OriginRuntime}
		if us := d.Time(); us != 0 {
			e.Until = time.UnixMicro(us)
		}
		e.Comment = d.Text()
		if d.OK() {
			s.allowed[k] = e
		}
	}
	if counts := d.Block(); len(counts) > 0 {
		s.counts = counts
	}
	return d.End()
}

func (l *bans) read(d *codec.Decoder) {
	words := []string{""}
	for n := d.Length(1); n > 0 && d.OK(); n-- {
		words = append(words, d.Text())
	}
	word := func() string { return words[d.UpTo(uint64(len(words)-1))] }
	for n := d.Length(10); n > 0 && d.OK(); n-- {
		k := d.Key()
		b := Ban{Jail: word(), Since: d.Time(), Until: d.Time(), Failures: d.Count(), Count: d.Count(), Reason: word(), By: word(), Scope: word()}
		if d.OK() {
			b.Prefix = k.Prefix()
			l.Add(b)
		}
	}
}
