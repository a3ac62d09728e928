package db

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"slices"
	"strings"
	"unicode/utf16"
)

// database reads whole tables of an SQLite file; it has no indexes, queries or changes. The format is
// sqlite.org/fileformat2.html; numbers in brackets are its sections. Every offset is checked, so a damaged or hostile
// file is an error.
type database struct {
	r        io.ReaderAt
	pageSize int64
	usable   int // bytes of a page that hold content
	pages    uint32
	encoding uint32
	tables   map[string]table
}

type table struct {
	root    uint32
	columns []string
}

// Limits. A row of fail2ban's tables begins with address, time and count; the matches after them, which may be long, are
// not read.
const (
	maxTreeDepth = 32
	maxRows      = 5_000_000
	maxRecord    = 64 << 10
)

var errDatabase = errors.New("the file is damaged, or not an SQLite database")

// openDatabase reads the header and the list of tables. It fails if the file has unfinished changes: a journal or a write-
// ahead log next to it is not read, and without it the file may be inconsistent.
func openDatabase(path string) (*database, io.Closer, error) {
	if st, err := os.Stat(path + "-wal"); err == nil && st.Size() > 32 { // more than its header
		return nil, nil, fmt.Errorf("%s: %s has changes that are not in the database yet", path, path+"-wal")
	}
	if hot(path + "-journal") {
		return nil, nil, fmt.Errorf("%s: a change was interrupted, and %s is needed to undo it", path, path+"-journal")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	var d *database
	if err == nil {
		if d, err = readDatabase(f, st.Size()); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err != nil {
		f.Close()
	}
	return d, f, err
}

// hot reports whether a rollback journal has content: its header is zeroed when the change is complete [3].
func hot(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close()
	head := make([]byte, 8)
	n, _ := f.Read(head)
	return n > 0 && !bytes.Equal(head[:n], make([]byte, n))
}

// readDatabase reads header [1.3] and schema [2.6].
func readDatabase(r io.ReaderAt, size int64) (*database, error) {
	head := make([]byte, 100)
	if _, err := r.ReadAt(head, 0); err != nil || !bytes.HasPrefix(head, []byte("SQLite format 3\x00")) {
		return nil, errDatabase
	}
	d := &database{r: r, pageSize: int64(binary.BigEndian.Uint16(head[16:]))}
	if d.pageSize == 1 {
		d.pageSize = 65536
	}
	if d.pageSize < 512 || d.pageSize&(d.pageSize-1) != 0 {
		return nil, errDatabase
	}
	if d.usable = int(d.pageSize) - int(head[20]); d.usable < 480 {
		return nil, errDatabase
	}
	if head[19] > 2 {
		return nil, fmt.Errorf("the file has format version %d; only 1 and 2 are supported", head[19])
	}
	if d.encoding = binary.BigEndian.Uint32(head[56:]); d.encoding > 3 {
		return nil, errDatabase
	}
	pages := size / d.pageSize
	if pages < 1 || pages > math.MaxUint32-1 {
		return nil, errDatabase
	}
	d.pages = uint32(pages)
	d.tables = make(map[string]table)
	err := d.scan(1, 5, func(row []any) error {
		kind, _ := row[0].(string)
		name, _ := row[1].(string)
		root, _ := row[3].(int64)
		sql, _ := row[4].(string)
		if kind == "table" && root > 0 && root <= int64(d.pages) {
			d.tables[strings.ToLower(name)] = table{uint32(root), columnNames(sql)}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// columnNames returns the names of the columns in a CREATE TABLE: the first word of each, which constraints only follow.
func columnNames(sql string) (names []string) {
	_, body, _ := strings.Cut(sql, "(")
	for _, column := range strings.Split(body, ",") {
		if w := strings.Fields(column); len(w) > 0 {
			names = append(names, strings.ToLower(strings.Trim(w[0], "\"'`[]")))
		}
	}
	return names
}

// rows calls f with the named columns of each row of a table. NULL and columns that the table does not have are nil;
// other values are int64, float64, string or []byte.
func (d *database) rows(name string, columns []string, f func([]any) error) error {
	t, ok := d.tables[name]
	if !ok {
		return fmt.Errorf("the database has no table %s", name)
	}
	at := make([]int, len(columns))
	for i, c := range columns {
		at[i] = slices.Index(t.columns, c)
	}
	out := make([]any, len(columns))
	return d.scan(t.root, slices.Max(at)+1, func(row []any) error {
		for i, k := range at {
			if out[i] = nil; k >= 0 {
				out[i] = row[k]
			}
		}
		return f(out)
	})
}

func (d *database) page(n uint32) ([]byte, error) {
	if n < 1 || n > d.pages {
		return nil, errDatabase
	}
	b := make([]byte, d.pageSize)
	if _, err := d.r.ReadAt(b, int64(n-1)*d.pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", n, err)
	}
	return b, nil
}

// scan walks a table's tree [1.6] and calls f with the first columns of each row.
func (d *database) scan(root uint32, columns int, f func([]any) error) error {
	seen := make(map[uint32]bool)
	rows := 0
	var walk func(n uint32, depth int) error
	walk = func(n uint32, depth int) error {
		if depth > maxTreeDepth || seen[n] {
			return errDatabase
		}
		seen[n] = true
		b, err := d.page(n)
		if err != nil {
			return err
		}
		h := 0
		if n == 1 {
			h = 100
		}
		kind, cells := b[h], int(binary.BigEndian.Uint16(b[h+3:]))
		first := h + 8
		if kind == 5 {
			first = h + 12
		}
		if kind != 5 && kind != 13 || first+2*cells > d.usable {
			return errDatabase
		}
		for i := range cells {
			at := int(binary.BigEndian.Uint16(b[first+2*i:]))
			if at < first+2*cells || at+4 > d.usable {
				return errDatabase
			}
			if kind == 5 {
				if err := walk(binary.BigEndian.Uint32(b[at:]), depth+1); err != nil {
					return err
				}
				continue
			}
			if rows++; rows > maxRows {
				return fmt.Errorf("more than %d rows", maxRows)
			}
			row, err := d.row(b[:d.usable], at, columns)
			if err != nil {
				return err
			}
			if err := f(row); err != nil {
				return err
			}
		}
		if kind == 5 {
			return walk(binary.BigEndian.Uint32(b[h+8:]), depth+1)
		}
		return nil
	}
	return walk(root, 0)
}

// row reads a leaf's cell, with as many of its overflow pages as the columns need [1.5, 1.6].
func (d *database) row(page []byte, at, columns int) ([]any, error) {
	size, n := varint(page[at:])
	if n == 0 || size > math.MaxInt32 {
		return nil, errDatabase
	}
	at += n
	if _, n = varint(page[at:]); n == 0 { // the row's number
		return nil, errDatabase
	}
	at += n
	total, local := int(size), int(size)
	if maxLocal := d.usable - 35; total > maxLocal {
		minLocal := (d.usable-12)*32/255 - 23
		if local = minLocal + (total-minLocal)%(d.usable-4); local > maxLocal {
			local = minLocal
		}
	}
	if at+local > len(page) {
		return nil, errDatabase
	}
	p := payload{d: d, have: page[at : at+local : at+local], total: total}
	if local < total {
		if at+local+4 > len(page) {
			return nil, errDatabase
		}
		p.next = binary.BigEndian.Uint32(page[at+local:])
	}
	return p.record(columns)
}

// payload is a row's content, read from overflow pages on demand.
type payload struct {
	d     *database
	have  []byte
	total int
	next  uint32
	hops  int
}

func (p *payload) need(n int) error {
	if n > p.total || n > maxRecord {
		return errDatabase
	}
	for len(p.have) < n {
		if p.hops++; p.hops > maxRecord/400 {
			return errDatabase
		}
		b, err := p.d.page(p.next)
		if err != nil {
			return err
		}
		p.next = binary.BigEndian.Uint32(b)
		p.have = append(p.have, b[4:p.d.usable]...)
		p.have = p.have[:min(len(p.have), p.total)]
	}
	return nil
}

// record decodes columns [2.1]. Columns missing at the end of a row were added to the table later; they are NULL.
func (p *payload) record(columns int) ([]any, error) {
	if err := p.need(min(9, p.total)); err != nil {
		return nil, err
	}
	head, n := varint(p.have)
	if n == 0 || head > maxRecord || int(head) < n {
		return nil, errDatabase
	}
	if err := p.need(int(head)); err != nil {
		return nil, err
	}
	row := make([]any, columns)
	at := int(head)
	for i, h := 0, n; i < columns && h < int(head); i++ {
		kind, n := varint(p.have[h:head])
		if n == 0 {
			return nil, errDatabase
		}
		h += n
		size := 0
		switch {
		case kind <= 4:
			size = int(kind)
		case kind == 5:
			size = 6
		case kind == 6 || kind == 7:
			size = 8
		case kind == 10 || kind == 11:
			return nil, errDatabase
		case kind >= 12:
			if kind > 2*maxRecord {
				return nil, errDatabase
			}
			size = int(kind-12) / 2
		}
		if err := p.need(at + size); err != nil {
			return nil, err
		}
		row[i] = p.d.value(kind, p.have[at:at+size])
		at += size
	}
	return row, nil
}

func (d *database) value(kind uint64, b []byte) any {
	switch {
	case kind == 0:
		return nil
	case kind == 8 || kind == 9:
		return int64(kind - 8)
	case kind == 7:
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	case kind < 7:
		v := int64(int8(b[0]))
		for _, c := range b[1:] {
			v = v<<8 | int64(c)
		}
		return v
	case kind%2 == 0:
		return bytes.Clone(b)
	case d.encoding < 2:
		return string(b)
	}
	u := make([]uint16, len(b)/2)
	for i := range u {
		if u[i] = binary.LittleEndian.Uint16(b[2*i:]); d.encoding == 3 {
			u[i] = bits.ReverseBytes16(u[i])
		}
	}
	return string(utf16.Decode(u))
}

// varint reads a number of up to nine bytes; n is 0 if the data is too short.
func varint(b []byte) (v uint64, n int) {
	for i := 0; i < len(b) && i < 9; i++ {
		if i == 8 {
			return v<<8 | uint64(b[i]), 9
		}
		v = v<<7 | uint64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
