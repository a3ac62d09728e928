package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"unsafe"
)

// Limits of the export reader. What journald accepts lies below all of them except maxHeld (journal-importer.h of systemd: 768 MiB per
// value, 1,024 fields from a client, names of 64 bytes).
const (
	exportWindow  = 64 << 10
	maxFieldName  = 64
	maxFieldCount = 4096
	maxSkip       = 1 << 30  // a longer value means a broken stream
	maxHeld       = 64 << 20 // all fields of an entry together; the rest is truncated, since local users choose the sizes
	maxSpecial    = 512      // a cursor has 190 bytes
	keepHeld      = 1 << 20  // a buffer that has grown beyond this is released
)

// ExportReader reads entries from a stream in the journal export format, as journalctl -o export and systemd-journal-remote write it
// (https://systemd.io/JOURNAL_EXPORT_FORMATS/#journal-export-format).
//
// It returns the entries that match, in the order of the stream. If Options name Fields, entries hold these only and the others are
// skipped; otherwise they hold all fields. Names that begin with two underscores are data of the entry, not fields. Memory is bounded by
// the window of 64 KiB and the largest entry, at most 64 MiB.
type ExportReader struct {
	r     io.Reader
	buf   []byte // the window: [pos:len] is not parsed yet
	pos   int
	base  int64 // offset of buf[0] in the stream
	rerr  error // last error of r
	start int64 // offset of the current entry
	n     int   // entries read
	err   error

	all      bool
	match    matchState
	names    [maxFieldName + 1][]exportField // by length of the name
	held     []byte
	limit    int // limit of len(held) for the current value
	maxValue int
	items    []heldField
	slots    []int // by index into Options.Fields: index into items, plus 1
	known    names // returned by Each
	entry    Entry
}

// exportField is a field that is read, matched on, or both.
type exportField struct {
	name  string
	slot  int   // index into Options.Fields, or -1
	terms []int // of match
}

// heldField is where in held a field lies.
type heldField struct{ name, value, end int }

// NewExport reads entries from r, which the caller closes.
func NewExport(r io.Reader, o Options) *ExportReader {
	x := &ExportReader{r: r, buf: make([]byte, 0, exportWindow), all: len(o.Fields) == 0, match: compileMatches(o.Matches), slots: make([]int, len(o.Fields))}
	if x.maxValue = o.MaxValue; x.maxValue <= 0 {
		x.maxValue = defaultMaxValue
	}
	x.entry.values, x.entry.all = make([][]byte, len(o.Fields)), x
	want := func(name string) *exportField {
		l := &x.names[min(len(name), maxFieldName)]
		for i := range *l {
			if (*l)[i].name == name {
				return &(*l)[i]
			}
		}
		*l = append(*l, exportField{name, -1, nil})
		return &(*l)[len(*l)-1]
	}
	for i, f := range o.Fields {
		want(f).slot = i
	}
	for i, m := range x.match.terms {
		f := want(m.Field)
		f.terms = append(f.terms, i)
	}
	return x
}

// Next goes to the next entry that matches. It returns false at the end of the stream, and if the stream cannot be parsed: see Err.
func (x *ExportReader) Next() bool {
	for x.err == nil {
		ok, err := x.read()
		if err != nil {
			if err != io.EOF {
				err = fmt.Errorf("export stream, entry %d (byte %d), at byte %d: %w", x.n+1, x.start, x.base+int64(x.pos), err)
			}
			x.err = err
			return false
		}
		if ok {
			return true
		}
	}
	return false
}

// Entry is the current entry. It is valid until the next call of Next.
func (x *ExportReader) Entry() *Entry { return &x.entry }

// Err is the error that ended Next; nil at the end of the stream. It names the entry, from 1, and the offset in bytes.
func (x *ExportReader) Err() error {
	if x.err == io.EOF {
		return nil
	}
	return x.err
}

// Offset is the number of bytes parsed, to show progress.
func (x *ExportReader) Offset() int64 { return x.base + int64(x.pos) }

var (
	errInsideEntry = errors.New("the stream ends inside the entry (an entry ends with an empty line)")
	errNameLength  = fmt.Errorf("field name longer than %d bytes (no = or newline found)", maxFieldName)
	errFieldCount  = fmt.Errorf("more than %d fields", maxFieldCount)
	errNoRealtime  = errors.New("the entry has no __REALTIME_TIMESTAMP")
)

// read reads one entry and reports whether it matches.
func (x *ExportReader) read() (bool, error) {
	// Empty lines between entries are skipped, as in journal-importer.c.
	for {
		if x.pos == len(x.buf) && !x.fill() {
			return false, x.rerr
		}
		if x.buf[x.pos] != '\n' {
			break
		}
		x.pos++
	}
	x.reset()
	for count := 0; ; count++ {
		name, sep, err := x.name()
		if err != nil {
			return false, err
		}
		if len(name) == 0 {
			if sep == '=' {
				return false, errors.New("field without a name")
			}
			break
		}
		if count == maxFieldCount {
			return false, errFieldCount
		}
		if err := x.field(name, sep); err != nil {
			return false, err
		}
	}
	x.n++
	if x.entry.Realtime == 0 {
		return false, errNoRealtime
	}
	if !x.match.ok() {
		return false, nil
	}
	for slot, i := range x.slots {
		x.entry.values[slot] = nil
		if i > 0 {
			it := x.items[i-1]
			x.entry.values[slot] = x.held[it.value:it.end:it.end]
		}
	}
	return true, nil
}

func (x *ExportReader) reset() {
	x.start = x.base + int64(x.pos)
	if cap(x.held) > keepHeld {
		x.held = nil
	}
	x.held, x.items = x.held[:0], x.items[:0]
	clear(x.slots)
	x.match.reset()
	x.entry = Entry{values: x.entry.values, all: x}
}

// each calls yield with the fields held.
func (x *ExportReader) each(_ *Entry, yield func(field string, value []byte) bool) {
	for _, it := range x.items {
		if !yield(x.known.intern(x.held[it.name:it.value]), x.held[it.value:it.end:it.end]) {
			return
		}
	}
}

// fill reads more of the stream after the rest of the window. It returns false if there is no more.
func (x *ExportReader) fill() bool {
	if x.pos > 0 {
		x.base += int64(x.pos)
		x.buf = x.buf[:copy(x.buf, x.buf[x.pos:])]
		x.pos = 0
	}
	for range 100 { // a reader that keeps returning nothing is broken
		if x.rerr != nil {
			return false
		}
		var n int
		n, x.rerr = x.r.Read(x.buf[len(x.buf):cap(x.buf)])
		x.buf = x.buf[:len(x.buf)+n]
		if n > 0 {
			return true
		}
	}
	x.rerr = io.ErrNoProgress
	return false
}

// ended is the error for a stream that ends too early.
func (x *ExportReader) ended() error {
	if x.rerr == io.EOF {
		return fmt.Errorf("%w: %w", errInsideEntry, io.ErrUnexpectedEOF)
	}
	return x.rerr
}

// name reads a field name and the = or newline after it. The name is valid until the next fill.
func (x *ExportReader) name() ([]byte, byte, error) {
	for i := 0; ; i++ {
		if i > maxFieldName {
			return nil, 0, errNameLength
		}
		if x.pos+i == len(x.buf) && !x.fill() {
			return nil, 0, x.ended()
		}
		c := x.buf[x.pos+i]
		if nameByte[c] {
			continue
		}
		name := x.buf[x.pos : x.pos+i]
		if c != '=' && c != '\n' || i > 0 && name[0] <= '9' {
			return nil, 0, fmt.Errorf("%q is not a field name (A to Z, 0 to 9 and _, no digit first)", x.buf[x.pos:x.pos+i+1])
		}
		x.pos += i + 1
		return name, c, nil
	}
}

var nameByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
	}
	return t
}()

// field reads the value after a name, and holds it if it is needed.
func (x *ExportReader) field(name []byte, sep byte) error {
	var want exportField
	found := false
	for _, w := range x.names[len(name)] {
		if string(name) == w.name {
			want, found = w, true
			break
		}
	}
	special := name[0] == '_' && len(name) > 1 && (name[1] == '_' || string(name) == "_BOOT_ID")
	if !found && !special && !x.all {
		return x.value(sep, false)
	}
	at := len(x.held)
	x.held = append(x.held, name...)
	it := heldField{name: at, value: len(x.held)}
	switch {
	case special:
		x.limit = len(x.held) + maxSpecial
	case found && want.slot >= 0:
		x.limit = max(len(x.held), min(maxHeld, len(x.held)+x.maxValue))
	default:
		x.limit = max(len(x.held), maxHeld)
	}
	if err := x.value(sep, true); err != nil {
		return err
	}
	it.end = len(x.held)
	value := x.held[it.value:]
	if special {
		if err := x.special(x.held[it.name:it.value], value); err != nil {
			return err
		}
		if x.held[it.name+1] == '_' { // data of the entry, not a field
			x.held = x.held[:at]
			return nil
		}
	}
	if !found {
		want.slot = -1
	} else {
		x.match.see(want.terms, value)
	}
	if want.slot < 0 && !x.all {
		x.held = x.held[:at]
		return nil
	}
	x.items = append(x.items, it)
	if want.slot >= 0 {
		x.slots[want.slot] = len(x.items)
	}
	return nil
}

// value reads a value: up to the newline, or, if the name was followed by a newline, a length of 8 bytes (little endian), that many
// bytes and a newline.
func (x *ExportReader) value(sep byte, hold bool) error {
	if sep == '=' {
		for {
			i := bytes.IndexByte(x.buf[x.pos:], '\n')
			if i >= 0 {
				x.take(i, hold)
				x.pos++
				return nil
			}
			x.take(len(x.buf)-x.pos, hold)
			if !x.fill() {
				return x.ended()
			}
		}
	}
	for len(x.buf)-x.pos < 8 {
		if !x.fill() {
			return x.ended()
		}
	}
	size := binary.LittleEndian.Uint64(x.buf[x.pos:])
	if size > maxSkip {
		return fmt.Errorf("a value of %d bytes; more than %d means a broken stream", size, maxSkip)
	}
	x.pos += 8
	for left := int(size); ; {
		n := min(left, len(x.buf)-x.pos)
		x.take(n, hold)
		if left -= n; left == 0 {
			break
		}
		if !x.fill() {
			return x.ended()
		}
	}
	if x.pos == len(x.buf) && !x.fill() {
		return x.ended()
	}
	if x.buf[x.pos] != '\n' {
		return fmt.Errorf("no newline after a value of %d bytes", size)
	}
	x.pos++
	return nil
}

func (x *ExportReader) take(n int, hold bool) {
	if hold {
		x.held = append(x.held, x.buf[x.pos:x.pos+min(n, x.limit-len(x.held))]...)
	}
	x.pos += n
}

// special reads a name that stands for the entry itself. Unknown names come from a later systemd and are skipped.
func (x *ExportReader) special(name, value []byte) (err error) {
	text := unsafe.String(unsafe.SliceData(value), len(value)) // parsers keep nothing of it
	part := Parts(0)
	switch string(name) {
	case "__CURSOR":
		var c Cursor
		if c, err = ParseCursor(text); err == nil {
			x.entry.Cursor = c
		}
	case "__REALTIME_TIMESTAMP":
		part = HasRealtime
	case "__MONOTONIC_TIMESTAMP":
		part = HasMonotonic
	case "__SEQNUM":
		part = HasSeqnum
	case "__SEQNUM_ID":
		part = HasSeqnumID
	case "_BOOT_ID":
		part = HasBootID
	}
	if part != 0 {
		err = x.entry.parse(part, text, 10)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// matchState decides Matches over the fields of one entry as they are read.
type matchState struct {
	terms  []Match   // distinct
	groups [][][]int // groups, of fields, of alternatives, which are indexes into terms
	seen   []bool    // by term
}

func compileMatches(ms Matches) matchState {
	var c matchState
	for _, g := range ms {
		var fields [][]int
		for _, alternatives := range g.byField() {
			var terms []int
			for _, m := range alternatives {
				i := slices.Index(c.terms, m)
				if i < 0 {
					i, c.terms = len(c.terms), append(c.terms, m)
				}
				terms = append(terms, i)
			}
			fields = append(fields, terms)
		}
		c.groups = append(c.groups, fields)
	}
	c.seen = make([]bool, len(c.terms))
	return c
}

func (c *matchState) reset() { clear(c.seen) }

// see takes note of a field's value; terms are those of the field.
func (c *matchState) see(terms []int, value []byte) {
	for _, i := range terms {
		if string(value) == c.terms[i].Value {
			c.seen[i] = true
		}
	}
}

// ok reports whether the fields seen satisfy a group. Without groups every entry matches.
func (c *matchState) ok() bool {
	return len(c.groups) == 0 || slices.ContainsFunc(c.groups, func(fields [][]int) bool {
		return !slices.ContainsFunc(fields, func(alternatives []int) bool {
			return !slices.ContainsFunc(alternatives, func(i int) bool { return c.seen[i] })
		})
	})
}
