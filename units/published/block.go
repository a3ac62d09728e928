package published

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"bailiff/policy"
	"bailiff/policy/blocklist"
	"bailiff/policy/prefix"
	"bailiff/units/atomicfile"

	"golang.org/x/sys/unix"
)

// Block is a block list on disk. It is read as often as needed, and never kept in memory: with a million prefixes it is large.
type Block struct {
	conf *blocklist.List
	file *os.File
}

// selects begins the comment that says which entries of its databases the list holds.
const selects = "# holds: "

// ErrOther is the error for a list that was made for another configuration, such as other countries. It must not take effect.
var ErrOther = errors.New("was made for another configuration")

// OpenBlock opens a block list. The error for a missing one is fs.ErrNotExist.
func (s Store) OpenBlock(l *blocklist.List) (*Block, error) {
	f, err := atomicfile.Open(s.File(l.Name), unix.O_NOFOLLOW) // another user may write to the folder
	if err != nil {
		return nil, err
	}
	b := &Block{l, f}
	if is := b.selects(); is != l.Selects() {
		b.Close()
		return nil, fmt.Errorf("%s: %w (%q): systemctl start bailiff-lists-refresh.service", f.Name(), ErrOther, plain(is))
	}
	return b, nil
}

// selects says which entries of its databases the list holds, from its first comments.
func (b *Block) selects() string {
	in := bufio.NewScanner(io.LimitReader(b.file, 64<<10))
	for in.Scan() && strings.HasPrefix(in.Text(), "#") {
		if text, ok := strings.CutPrefix(in.Text(), selects); ok {
			return text
		}
	}
	return ""
}

// Close closes the file.
func (b *Block) Close() error { return b.file.Close() }

// Each calls f with each prefix of the list, in ascending order and without overlaps, until f returns an error. The process that fetches
// lists must not be able to block more than the configuration does, so each call checks every prefix again: an error names the line.
// Prefixes passed to f before an error must not take effect.
func (b *Block) Each(f func(netip.Prefix) error) error {
	if _, err := b.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReaderSize(io.LimitReader(b.file, blocklist.MaxSize+1), 64<<10)
	var last netip.Prefix
	entries, size := 0, 0
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		size += len(line)
		fail := func(format string, args ...any) error {
			return fmt.Errorf("%s:%d: %w", b.file.Name(), n, fmt.Errorf(format, args...))
		}
		switch {
		case err == io.EOF && len(line) == 0:
			return b.conf.Check(entries, 0)
		case err != nil && err != io.EOF:
			return fail("%w", err)
		case size > blocklist.MaxSize:
			return fail("the list has more than %d bytes", blocklist.MaxSize)
		case line[0] == '#':
			continue
		}
		p, err := blocklist.ParsePrefix(string(bytes.TrimSuffix(line, []byte("\n"))))
		if err != nil {
			return fail("%w", err)
		}
		keep, err := b.conf.Judge(p)
		switch {
		case err != nil:
			return fail("%w", err)
		case !keep:
			return fail("%s touches private addresses", p)
		case last.IsValid() && (prefix.Compare(last, p) >= 0 || last.Overlaps(p)):
			return fail("%s is out of order", p)
		}
		if entries++; entries > blocklist.MaxEntries {
			return b.conf.Check(entries, 0)
		}
		if last = p; f != nil {
			if err := f(p); err != nil {
				return err
			}
		}
	}
}

// Set reads a list into memory.
func (s Store) Set(l *blocklist.List) (*prefix.Set, error) {
	b, err := s.OpenBlock(l)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	set := new(prefix.Set)
	if err := b.Each(func(p netip.Prefix) error { set.Add(p); return nil }); err != nil {
		return nil, err
	}
	return set, nil
}

// Doubles reads the lists with mode double. It leaves out missing and damaged ones.
func (s Store) Doubles(lists []blocklist.List) (l []policy.Double) {
	for i := range lists {
		if lists[i].Mode != blocklist.ModeDouble {
			continue
		}
		if set, err := s.Set(&lists[i]); err == nil {
			l = append(l, policy.Double{List: lists[i], Set: set})
		}
	}
	return l
}

// Count returns the number of prefixes of a list that is in order, and 0 if there is none.
func (s Store) Count(l *blocklist.List) (n int, err error) {
	b, err := s.OpenBlock(l)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	err = b.Each(func(netip.Prefix) error { n++; return nil })
	return n, err
}

// Same reports whether a list on disk has exactly these prefixes, as prefix.Compact returns them.
func (s Store) Same(l *blocklist.List, prefixes []netip.Prefix) bool {
	b, err := s.OpenBlock(l)
	if err != nil {
		return false
	}
	defer b.Close()
	n, other := 0, errors.New("")
	err = b.Each(func(p netip.Prefix) error {
		if n++; n > len(prefixes) || prefixes[n-1] != p {
			return other
		}
		return nil
	})
	return err == nil && n == len(prefixes)
}
