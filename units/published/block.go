package published

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"bailiff/policy/blocklist"
	"bailiff/units/atomicfile"

	"golang.org/x/sys/unix"
)

// Block is a block list on disk. It is read as often as needed, and never kept in memory: with a million prefixes it is large.
type Block struct {
	conf *blocklist.List
	file *os.File
}

// OpenBlock opens a block list. The error for a missing one is fs.ErrNotExist.
func (s Store) OpenBlock(l *blocklist.List) (*Block, error) {
	f, err := atomicfile.Open(s.File(l.Name), unix.O_NOFOLLOW) // another user may write to the folder
	if err != nil {
		return nil, err
	}
	return &Block{l, f}, nil
}

// Close closes the file.
func (b *Block) Close() error { return b.file.Close() }

// Each calls f with each prefix of the list, in ascending order and without overlaps, until f returns an error. The process that
// fetches lists must not be able to block more than the configuration does, so each prefix is checked again, each time: an error names
// the line. What was passed to f before it must not take effect.
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
		case last.IsValid() && (blocklist.Compare(last, p) >= 0 || last.Overlaps(p)):
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

// Same reports whether a list on disk has exactly these prefixes, which are as blocklist.Compact leaves them.
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
