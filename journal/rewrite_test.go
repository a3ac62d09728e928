package journal

import (
	"encoding/binary"
	"fmt"
	"os"
)

// Renumber makes the entries of a file continue after number n of the sequence of the file like, as journald of systemd 254 and later
// renumbers entries that it moves from /run to /var.
func Renumber(path, like string, n uint64) error {
	other, err := os.ReadFile(like)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	return rewrite(path, func(b []byte) {
		copy(b[hdrSeqnumID:hdrSeqnumID+16], other[hdrSeqnumID:])
		for _, off := range []int{hdrHeadEntrySeqnum, hdrTailEntrySeqnum} {
			le.PutUint64(b[off:], le.Uint64(b[off:])+n)
		}
	}, func(_ int, entry []byte) { le.PutUint64(entry[entrySeqnum:], le.Uint64(entry[entrySeqnum:])+n) })
}

// StretchEntry makes the i-th entry of a file claim a size that covers what follows it.
func StretchEntry(path string, i int, size uint64) error {
	return rewrite(path, func([]byte) {}, func(k int, entry []byte) {
		if k == i {
			binary.LittleEndian.PutUint64(entry[objSize:], size)
		}
	})
}

// rewrite changes the header and the entries of a file.
func rewrite(path string, header func([]byte), entry func(i int, object []byte)) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	header(b)
	le := binary.LittleEndian
	at, tail := le.Uint64(b[hdrHeaderSize:]), le.Uint64(b[hdrTailObjectOffset:])
	for n := 0; at <= tail; {
		size := le.Uint64(b[at+objSize:])
		if size < objSize || at+size > uint64(len(b)) {
			return fmt.Errorf("%s: object at %d: size %d", path, at, size)
		}
		if b[at] == objEntry {
			entry(n, b[at:])
			n++
		}
		at += (size + 7) &^ 7
	}
	return os.WriteFile(path, b, 0o640)
}
