package journal

import (
	"bytes"
	"encoding/binary"
	"runtime/debug"
	"strings"
)

// fieldPrefix is one of Options.Fields, in the form with which a payload begins.
type fieldPrefix struct {
	name       string // with =
	head, mask uint64 // up to its first 8 bytes, as a word
}

func fieldPrefixes(names []string) []fieldPrefix {
	w := make([]fieldPrefix, len(names))
	for i, n := range names {
		w[i].name = n + "="
		var b, m [8]byte
		copy(b[:], w[i].name)
		copy(m[:], strings.Repeat("\xff", min(8, len(w[i].name))))
		w[i].head, w[i].mask = binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(m[:])
	}
	return w
}

// fieldIndex is the index in Options.Fields of the field in a payload, -1 if it is not one of them.
func (r *Reader) fieldIndex(p []byte) int {
	var head uint64
	if len(p) >= 8 {
		head = binary.LittleEndian.Uint64(p)
	} else {
		var b [8]byte
		copy(b[:], p)
		head = binary.LittleEndian.Uint64(b[:])
	}
	for i := range r.fields {
		w := &r.fields[i]
		if (head^w.head)&w.mask == 0 && len(p) >= len(w.name) && string(p[:len(w.name)]) == w.name {
			return i
		}
	}
	return -1
}

// slot caches the contents of a data object: the index of its field, and its value if short. So objects that occur in many entries (unit,
// uid, command line) are read only once.
type slot struct {
	off    uint64
	serial uint32 // of the file; 0: empty
	field  int16  // index into Options.Fields, -1: not one of them
	n      int16  // length of value, -1: too long to be cached
	value  [48]byte
}

// slotBits gives the direct-mapped cache 2,048 slots of 64 bytes. An entry reads some twenty objects.
const slotBits = 11

// is reports whether the slot holds that object.
func (c *slot) is(f *file, off uint64) bool { return c.off == off && c.serial == f.serial }

func slotOf(f *file, off uint64) uint64 {
	return (off>>3 + uint64(f.serial)<<20) * 0x9e3779b97f4a7c15 >> (64 - slotBits)
}

// values holds the fields of one entry. They are copied out of the mapping: if the file is truncated, pages may vanish while the caller
// reads them, and the caller would fault. Copying a hundred bytes costs little compared to loading the page.
type values struct {
	buf  []byte
	span []span
	out  [][]byte
}

type span struct{ from, to int }

func (v *values) init(n int) {
	v.buf, v.span, v.out = make([]byte, 0, 1024), make([]span, n), make([][]byte, n)
}

func (v *values) reset() {
	if v.buf = v.buf[:0]; cap(v.buf) > 1<<20 {
		v.buf = make([]byte, 0, 1024) // do not keep the memory of one large value
	}
	for i := range v.span {
		v.span[i] = span{-1, -1}
	}
}

func (v *values) set(i int, p []byte) {
	from := len(v.buf)
	v.buf = append(v.buf, p...)
	v.span[i] = span{from, len(v.buf)}
}

func (v *values) finish() {
	for i, s := range v.span {
		if s.from < 0 {
			v.out[i] = nil
		} else {
			v.out[i] = v.buf[s.from:s.to:s.to]
		}
	}
}

// load reads the entry at a location. Data objects that cannot be read are left out and recorded as damage.
func (r *Reader) load(f *file, l *location, e *Entry, v *values) {
	e.Cursor = l.Cursor
	if len(r.fields) == 0 {
		return
	}
	v.reset()
	r.fill(f, l, v)
	v.finish()
}

func (r *Reader) fill(f *file, l *location, v *values) {
	missing := len(r.fields)
	items, width, err := f.items(l.offset)
	if err != nil {
		r.damaged(f, err)
		return
	}
	// From last to first: items are in the order of the file, so the objects written with the entry, which lie beside it, come
	// first, and often complete the fields before objects elsewhere are read.
	for ; len(items) >= width && missing > 0; items = items[:len(items)-width] {
		off := item(items[len(items)-width:], width)
		c := &r.cache[slotOf(f, off)]
		if c.is(f, off) && c.n >= 0 {
			if i := int(c.field); i >= 0 && v.span[i].from < 0 {
				v.set(i, c.value[:c.n])
				missing--
			}
			continue
		}
		i, p, err := r.value(f, off, c)
		if err != nil {
			r.damaged(f, err)
			continue
		}
		if i >= 0 && v.span[i].from < 0 {
			v.set(i, p)
			missing--
		}
	}
}

// value reads a data object, and caches it if several entries refer to it.
func (r *Reader) value(f *file, off uint64, c *slot) (i int, p []byte, err error) {
	p, flags, err := f.payload(off)
	if err != nil {
		return -1, nil, err
	}
	if flags != 0 {
		if p, err = r.z.inflate(flags, p, maxFieldName+1+r.o.MaxValue); err != nil {
			return -1, nil, f.corrupt(off, "%v", err)
		}
	}
	if i = r.fieldIndex(p); i >= 0 {
		p = p[len(r.fields[i].name):]
		p = p[:min(len(p), r.o.MaxValue)]
	}
	if f.le64(off+dataNEntries) > 1 {
		c.off, c.serial, c.field, c.n = off, f.serial, int16(i), -1
		switch {
		case i < 0:
			c.n = 0
		case len(p) <= len(c.value):
			c.n = int16(copy(c.value[:], p))
		}
	}
	return i, p, nil
}

// maxItems is the number of fields that an entry may have: journald takes 1,024 from a client (ENTRY_FIELD_COUNT_MAX) and adds some thirty.
// In a crafted file, entries may overlap, so without a limit each could have as many items as fit into the file.
const maxItems = 2048

// items returns the items of an entry, and the width of each.
func (f *file) items(off uint64) ([]byte, int, error) {
	size, err := f.object(off, objEntry, entryItems)
	if err != nil {
		return nil, 0, err
	}
	items := f.m[off+entryItems : off+size]
	width := 16
	if f.compact {
		width = 4
	}
	if len(items) > maxItems*width {
		return nil, 0, f.corrupt(off, "an entry has %d fields", len(items)/width)
	}
	return items[:len(items)-len(items)%width], width, nil
}

// item returns the offset of the data object to which the first item refers.
func item(items []byte, width int) uint64 {
	if width == 4 {
		return uint64(binary.LittleEndian.Uint32(items))
	}
	return binary.LittleEndian.Uint64(items)
}

// current reads the fields of the reader's current entry.
type current struct{ r *Reader }

func (c *current) each(_ *Entry, yield func(string, []byte) bool) {
	if r := c.r; r.curFile != nil && r.have {
		r.each(r.curFile, r.loc.offset, yield)
	}
}

// each calls yield with all fields of the entry at off, straight from the mapping: a fault in yield is an error of the file as well.
func (r *Reader) each(f *file, off uint64, yield func(string, []byte) bool) {
	if r.closed || f.dead {
		return
	}
	r.parsing = f
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var again bool
	defer r.caught(&again)
	if err := r.prepare(f); err != nil { // the file may have been closed after it was read to its end
		r.damaged(f, err)
		return
	}
	items, width, err := f.items(off)
	if err != nil {
		r.damaged(f, err)
		return
	}
	for ; len(items) >= width; items = items[width:] {
		at := item(items, width)
		p, flags, err := f.payload(at)
		if err == nil && flags != 0 {
			if p, err = r.z.inflate(flags, p, maxInflate); err != nil {
				err = f.corrupt(at, "%v", err)
			}
		}
		if err != nil {
			r.damaged(f, err)
			continue
		}
		k := bytes.IndexByte(p[:min(len(p), maxFieldName+1)], '=')
		if k < 0 {
			r.damaged(f, f.corrupt(at, "a data object has no field name"))
			continue
		}
		r.parsing = nil // a panic in yield is not caused by the file
		more := yield(r.names.intern(p[:k]), p[k+1:])
		if r.parsing = f; !more {
			return
		}
	}
}
