package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// The limits of the export reader. What journald itself takes lies below all of them but maxHeld
// (src/libsystemd/sd-journal/journal-importer.h of systemd: 768 MiB a value, 1,024 fields from a client, names of 64 bytes).
const (
	exportWindow  = 64 << 10
	maxFieldName  = 64
	maxFieldCount = 4096
	maxSkip       = 1 << 30  // a longer length is a broken stream, not a value
	maxHeld       = 64 << 20 // the fields of one entry together; what is beyond is cut off, since a local user chooses sizes
	maxKnown      = 1024
	maxSpecial    = 512     // a cursor has 190 bytes
	keepHeld      = 1 << 20 // a buffer that one entry made larger is given back
)

// ExportReader reads the journal export format, as journalctl -o export and systemd-journal-remote speak it, from a stream.
// Source of the format: https://systemd.io/JOURNAL_EXPORT_FORMATS/#journal-export-format
//
// It gives the entries that the matches of its Options select, in the order of the stream. With Fields in the Options an entry holds those
// fields alone and everything else is skipped unread; without, it holds all. Names that begin with two underscores are the entry's
// own data and not fields. Memory stays at the window of 64 KiB and the largest entry held, at most 64 MiB.
type ExportReader struct {
	r     io.Reader
	buf   []byte // the window: [pos:len] is yet to be parsed
	pos   int
	base  int64 // offset in the stream of buf[0]
	rerr  error // what the stream said last
	start int64 // offset of the entry at hand
	n     int   // entries read
	err   error

	all      bool
	match    compiledMatches
	names    [maxFieldName + 1][]wantedField // by length of the name
	held     []byte
	limit    int // how long held may become with the value at hand
	maxValue int
	items    []heldField
	slots    []int  // by index into Options.Fields: index into items + 1
	boot     []byte // the text of bootID, remembered since nearly all entries have the same
	bootID   ID128
	known    map[string]string // names that Each gave, so that it makes no new ones
	entry    Entry
}

// wantedField is a field that is asked for, matched on, or both.
type wantedField struct {
	name  string
	slot  int // index into Options.Fields, or -1
	field int // index of the field in match, or -1
}

// heldField says where in held a field stands.
type heldField struct{ name, value, end int }

// NewExport reads entries from r. Close is the caller's.
func NewExport(r io.Reader, o Options) *ExportReader {
	x := &ExportReader{r: r, buf: make([]byte, 0, exportWindow), all: len(o.Fields) == 0, match: compileMatches(o.Matches), slots: make([]int, len(o.Fields))}
	if x.maxValue = o.MaxValue; x.maxValue <= 0 {
		x.maxValue = defaultMaxValue
	}
	x.entry.values, x.entry.all = make([][]byte, len(o.Fields)), x
	want := func(name string) *wantedField {
		l := &x.names[min(len(name), maxFieldName)]
		for i := range *l {
			if (*l)[i].name == name {
				return &(*l)[i]
			}
		}
		*l = append(*l, wantedField{name, -1, -1})
		return &(*l)[len(*l)-1]
	}
	for i, f := range o.Fields {
		want(f).slot = i
	}
	for i, f := range x.match.fields {
		want(f).field = i
	}
	return x
}

// Next goes to the next entry that matches. It gives false at the end of the stream and when the stream cannot be understood: see Err.
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

// Entry is the entry that Next went to. It is borrowed until the next step.
func (x *ExportReader) Entry() *Entry { return &x.entry }

// Err says why Next gave false; nil at the end of the stream. It names the entry (from 1) and the offset in bytes.
func (x *ExportReader) Err() error {
	if x.err == io.EOF {
		return nil
	}
	return x.err
}

// Offset is how many bytes of the stream have been read, for showing progress.
func (x *ExportReader) Offset() int64 { return x.base + int64(x.pos) }

var (
	errInsideEntry = errors.New("the stream ends inside the entry (an entry ends with an empty line)")
	errNameLength  = fmt.Errorf("no = or newline within %d bytes: this is no field name", maxFieldName)
	errFieldCount  = fmt.Errorf("more than %d fields", maxFieldCount)
	errNoRealtime  = errors.New("the entry has no __REALTIME_TIMESTAMP")
)

// read reads one entry and says whether it matches.
func (x *ExportReader) read() (bool, error) {
	// Empty lines between entries mean nothing (journal-importer.c skips them too).
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
				return false, errors.New("a field without a name")
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

// each gives the fields held.
func (x *ExportReader) each(_ *Entry, yield func(field string, value []byte) bool) {
	for _, it := range x.items {
		if !yield(x.intern(x.held[it.name:it.value]), x.held[it.value:it.end:it.end]) {
			return
		}
	}
}

// intern gives a name as a string, the same for the same name.
func (x *ExportReader) intern(name []byte) string {
	s, ok := x.known[string(name)]
	if !ok {
		if x.known == nil || len(x.known) == maxKnown { // names are the senders' to choose: start anew rather than grow
			x.known = make(map[string]string)
		}
		s = string(name)
		x.known[s] = s
	}
	return s
}

// fill reads more of the stream behind what is left of the window. It gives false when there is no more.
func (x *ExportReader) fill() bool {
	if x.pos > 0 {
		x.base += int64(x.pos)
		x.buf = x.buf[:copy(x.buf, x.buf[x.pos:])]
		x.pos = 0
	}
	for range 100 { // readers that give nothing and no error for ever are broken: io.ErrNoProgress
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

// ended is the error for a stream that has no more where there must be more.
func (x *ExportReader) ended() error {
	if x.rerr == io.EOF {
		return fmt.Errorf("%w: %w", errInsideEntry, io.ErrUnexpectedEOF)
	}
	return x.rerr
}

// name reads a field's name and what follows it, = or newline. The name is borrowed from the window until the next fill.
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
			return nil, 0, fmt.Errorf("%q is no field name (A to Z, 0 to 9 and _, no digit first)", x.buf[x.pos:x.pos+i+1])
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

// field reads the value behind name, and holds it where it is wanted.
func (x *ExportReader) field(name []byte, sep byte) error {
	var want wantedField
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
		if x.held[it.name+1] == '_' { // data of the entry, not a field of it
			x.held = x.held[:at]
			return nil
		}
	}
	if !found {
		want.slot = -1
	} else if want.field >= 0 {
		x.match.see(want.field, value)
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

// value reads the value of a field: up to the newline, or, when the name was followed by one, 8 bytes of length (little
// endian), that many bytes and a newline.
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
		return fmt.Errorf("a value of %d bytes; more than %d is a broken stream", size, maxSkip)
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
		return fmt.Errorf("no newline behind a value of %d bytes", size)
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

// special understands what stands for the entry itself. Names not known here are from a later systemd, and skipped.
func (x *ExportReader) special(name, value []byte) (err error) {
	e := &x.entry
	switch string(name) {
	case "__CURSOR":
		var c Cursor
		// The text is looked at in place: ParseCursor keeps nothing of it.
		if c, err = ParseCursor(unsafe.String(unsafe.SliceData(value), len(value))); err == nil {
			e.Realtime, e.Monotonic, e.Seqnum, e.SeqnumID, e.BootID, e.XorHash, e.set = c.Realtime, c.Monotonic, c.Seqnum, c.SeqnumID, c.BootID, c.XorHash, c.Set
		}
	case "__REALTIME_TIMESTAMP":
		e.Realtime, err = decimal(value)
		e.set |= HasRealtime
	case "__MONOTONIC_TIMESTAMP":
		e.Monotonic, err = decimal(value)
		e.set |= HasMonotonic
	case "__SEQNUM":
		e.Seqnum, err = decimal(value)
		e.set |= HasSeqnum
	case "__SEQNUM_ID":
		e.SeqnumID, err = ParseID128(string(value))
		e.set |= HasSeqnumID
	case "_BOOT_ID":
		if !bytes.Equal(value, x.boot) {
			x.bootID, err = ParseID128(string(value))
			x.boot = append(x.boot[:0], value...)
		}
		e.BootID = x.bootID
		e.set |= HasBootID
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// decimal reads an unsigned number in decimal, as the timestamps are written.
func decimal(b []byte) (uint64, error) {
	var n uint64
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || n > (1<<64-1-d)/10 {
			return 0, fmt.Errorf("%.40q is no number of 64 bits", b)
		}
		n = n*10 + d
	}
	if len(b) == 0 {
		return 0, errors.New("an empty number")
	}
	return n, nil
}

// compiledMatches decides Matches over the fields of one entry as they come by.
type compiledMatches struct {
	fields []string  // that occur in the matches
	terms  []term    // distinct
	byf    [][]int   // by field: indexes into terms
	groups [][][]int // groups, of alternatives per field, of terms
	seen   []bool    // by term
}

type term struct{ field, value string }

func compileMatches(m Matches) compiledMatches {
	var c compiledMatches
	field, index := map[string]int{}, map[term]int{}
	for _, g := range m {
		var alt [][]int
		at := map[string]int{}
		for _, t := range g {
			if _, ok := field[t.Field]; !ok {
				field[t.Field] = len(c.fields)
				c.fields, c.byf = append(c.fields, t.Field), append(c.byf, nil)
			}
			k := term{t.Field, t.Value}
			i, ok := index[k]
			if !ok {
				i = len(c.terms)
				index[k] = i
				c.terms = append(c.terms, k)
				c.byf[field[t.Field]] = append(c.byf[field[t.Field]], i)
			}
			j, ok := at[t.Field]
			if !ok {
				j = len(alt)
				at[t.Field], alt = j, append(alt, nil)
			}
			alt[j] = append(alt[j], i)
		}
		c.groups = append(c.groups, alt)
	}
	c.seen = make([]bool, len(c.terms))
	return c
}

func (c *compiledMatches) reset() { clear(c.seen) }

func (c *compiledMatches) see(field int, value []byte) {
	for _, i := range c.byf[field] {
		if string(value) == c.terms[i].value {
			c.seen[i] = true
		}
	}
}

// ok says whether what was seen satisfies a group; no group at all is satisfied by everything.
func (c *compiledMatches) ok() bool {
next:
	for _, g := range c.groups {
	alternatives:
		for _, alt := range g {
			for _, i := range alt {
				if c.seen[i] {
					continue alternatives
				}
			}
			continue next
		}
		return true
	}
	return len(c.groups) == 0
}
