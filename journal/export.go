package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Limits of the export reader. What journald accepts lies below all of them except maxHeld (journal-importer.h of systemd: 768 MiB per
// value, 1,024 fields from a client, names of 64 bytes).
const (
	exportWindow  = 64 << 10
	maxFieldName  = 64
	maxFieldCount = 4096
	maxSkip       = 1 << 30  // a longer value means a broken stream
	maxHeld       = 64 << 20 // all fields of an entry together; longer entries are truncated, since local users choose the sizes
	maxSpecial    = 512      // a cursor has 190 bytes
	keepHeld      = 1 << 20  // a buffer that has grown beyond this is released
)

// ExportReader reads entries from a stream in the journal export format, as journalctl -o export and systemd-journal-remote write it
// (https://systemd.io/JOURNAL_EXPORT_FORMATS/#journal-export-format).
//
// It returns the entries that match, in the order of the stream. If Options.Fields is set, entries contain only these fields; otherwise
// all. Names that begin with two underscores are metadata of the entry, not fields. Memory is bounded by a buffer of 64 KiB and the largest
// entry, at most 64 MiB.
type ExportReader struct {
	r      *bufio.Reader
	offset int64 // in the stream
	start  int64 // of the current entry
	n      int   // entries read
	err    error

	all      bool
	wanted   map[string]int // fields that are read or matched on, with their index in Options.Fields or -1
	matches  [][][]Match    // groups, of fields, of alternatives
	maxValue int
	known    names
	fields   []exportField // of the current entry
	held     []byte        // their values
	limit    int           // of len(held) for the current value
	entry    Entry
}

// exportField is a field whose value is held[from:to].
type exportField struct {
	name     string
	from, to int
}

// NewExport reads entries from r, which the caller closes.
func NewExport(r io.Reader, o Options) *ExportReader {
	x := &ExportReader{r: bufio.NewReaderSize(r, exportWindow), all: len(o.Fields) == 0, wanted: make(map[string]int), maxValue: o.MaxValue}
	if x.maxValue <= 0 {
		x.maxValue = defaultMaxValue
	}
	x.entry.values = make([][]byte, len(o.Fields))
	for _, g := range o.Matches {
		x.matches = append(x.matches, g.byField())
		for _, m := range g {
			x.wanted[m.Field] = -1
		}
	}
	for i, name := range o.Fields {
		x.wanted[name] = i
	}
	return x
}

// Next goes to the next entry that matches. It returns false at the end of the stream, and if the stream cannot be parsed: see Err.
func (x *ExportReader) Next() bool {
	for x.err == nil {
		ok, err := x.read()
		if err != nil {
			if err != io.EOF {
				err = fmt.Errorf("export stream, entry %d (byte %d), at byte %d: %w", x.n+1, x.start, x.offset, err)
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
func (x *ExportReader) Offset() int64 { return x.offset }

var (
	errInsideEntry = errors.New("the stream ends inside the entry (an entry ends with an empty line)")
	errNameLength  = fmt.Errorf("field name longer than %d bytes (no = or newline found)", maxFieldName)
	errFieldCount  = fmt.Errorf("more than %d fields", maxFieldCount)
	errNoRealtime  = errors.New("the entry has no __REALTIME_TIMESTAMP")
)

// read reads one entry and reports whether it matches.
func (x *ExportReader) read() (bool, error) {
	if cap(x.held) > keepHeld {
		x.held = nil
	}
	x.held, x.fields = x.held[:0], x.fields[:0]
	x.entry = Entry{values: x.entry.values, all: x}
	x.start = x.offset
	for count := 0; ; {
		line, err := x.r.ReadSlice('\n')
		switch {
		case err == io.EOF && len(line) == 0 && count == 0:
			return false, io.EOF
		case err != nil && err != bufio.ErrBufferFull && (len(line) == 0 || err != io.EOF):
			return false, ended(err)
		case len(line) == 1 && line[0] == '\n':
			x.offset++
			if count > 0 {
				return x.finish()
			}
			x.start = x.offset // empty lines between entries are skipped, as in journal-importer.c
			continue
		}
		if count++; count > maxFieldCount {
			return false, errFieldCount
		}
		if err := x.field(line); err != nil {
			return false, err
		}
	}
}

// finish ends an entry.
func (x *ExportReader) finish() (bool, error) {
	x.n++
	if x.entry.Realtime == 0 {
		return false, errNoRealtime
	}
	has := func(m Match) bool {
		return slices.ContainsFunc(x.fields, func(f exportField) bool { return f.name == m.Field && string(x.held[f.from:f.to]) == m.Value })
	}
	group := func(fields [][]Match) bool {
		return !slices.ContainsFunc(fields, func(alternatives []Match) bool { return !slices.ContainsFunc(alternatives, has) })
	}
	if len(x.matches) > 0 && !slices.ContainsFunc(x.matches, group) {
		return false, nil
	}
	clear(x.entry.values)
	for _, f := range x.fields {
		if i, ok := x.wanted[f.name]; ok && i >= 0 {
			x.entry.values[i] = x.held[f.from:f.to:f.to]
		}
	}
	return true, nil
}

// each calls yield with the fields held.
func (x *ExportReader) each(_ *Entry, yield func(field string, value []byte) bool) {
	for _, f := range x.fields {
		if (x.all || x.wanted[f.name] >= 0) && !yield(f.name, x.held[f.from:f.to:f.to]) {
			return
		}
	}
}

// ended returns the error for a stream that ends too early.
func ended(err error) error {
	if err == io.EOF {
		return fmt.Errorf("%w: %w", errInsideEntry, io.ErrUnexpectedEOF)
	}
	return err
}

// field reads a field. line is its first line, or the first 64 KiB of that.
func (x *ExportReader) field(line []byte) error {
	end := 0
	for end < len(line) && end <= maxFieldName && nameByte(line[end]) {
		end++
	}
	switch {
	case end > maxFieldName:
		return errNameLength
	case end == len(line):
		return ended(io.EOF)
	case line[end] != '=' && line[end] != '\n' || end > 0 && line[0] <= '9':
		return fmt.Errorf("%q is not a field name (A to Z, 0 to 9 and _, no digit first)", line[:end+1])
	case end == 0:
		return errors.New("field without a name")
	}
	name := x.known.intern(line[:end])
	i, found := x.wanted[name]
	data := strings.HasPrefix(name, "__") // of the entry, not a field
	special := data || name == "_BOOT_ID"
	f := exportField{name: name, from: len(x.held)}
	switch {
	case !found && !special && !x.all:
		x.limit = 0
	case special:
		x.limit = f.from + maxSpecial
	case found && i >= 0:
		x.limit = min(maxHeld, f.from+x.maxValue)
	default:
		x.limit = maxHeld
	}
	value := x.text
	if line[end] == '\n' {
		value = x.binary
	}
	at := x.offset
	x.offset += int64(end) + 1
	if err := value(line[end+1:]); err != nil {
		return err
	}
	f.to = len(x.held)
	if special {
		if err := x.special(name, string(x.held[f.from:])); err != nil {
			x.offset = at
			return err
		}
	}
	if data || !found && !x.all {
		x.held = x.held[:f.from]
		return nil
	}
	x.fields = append(x.fields, f)
	return nil
}

// text reads a value up to the end of its line.
func (x *ExportReader) text(part []byte) (err error) {
	for {
		x.offset += int64(len(part))
		value, ends := bytes.CutSuffix(part, []byte("\n"))
		x.hold(value)
		switch {
		case ends:
			return nil
		case err != nil && err != bufio.ErrBufferFull:
			return ended(err)
		}
		part, err = x.r.ReadSlice('\n')
	}
}

// binary reads a value that follows its length in 8 bytes, little endian, and the newline after it.
func (x *ExportReader) binary([]byte) error {
	size, err := x.r.Peek(8)
	if err != nil {
		return ended(err)
	}
	n := binary.LittleEndian.Uint64(size)
	if n > maxSkip {
		return fmt.Errorf("a value of %d bytes; more than %d means a broken stream", n, maxSkip)
	}
	_, _ = x.r.Discard(8) // cannot fail: these bytes were peeked
	for left := int(n); left > 0; {
		part, err := x.r.Peek(min(left, exportWindow))
		if err != nil {
			return ended(err)
		}
		x.hold(part)
		left -= len(part)
		_, _ = x.r.Discard(len(part))
	}
	c, err := x.r.ReadByte()
	if err != nil {
		return ended(err)
	}
	x.offset += 8 + int64(n) + 1
	if c != '\n' {
		return fmt.Errorf("no newline after a value of %d bytes", n)
	}
	return nil
}

func (x *ExportReader) hold(part []byte) {
	x.held = append(x.held, part[:max(0, min(len(part), x.limit-len(x.held)))]...)
}

var specials = map[string]Parts{
	"__REALTIME_TIMESTAMP": HasRealtime, "__MONOTONIC_TIMESTAMP": HasMonotonic, "__SEQNUM": HasSeqnum, "__SEQNUM_ID": HasSeqnumID, "_BOOT_ID": HasBootID,
}

// special reads metadata of the entry. Unknown names come from a later systemd and are skipped.
func (x *ExportReader) special(name, text string) (err error) {
	if part := specials[name]; part != 0 {
		err = x.entry.parse(part, text, 10)
	} else if name == "__CURSOR" {
		var c Cursor
		if c, err = ParseCursor(text); err == nil {
			x.entry.Cursor = c
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
