package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var errIncomplete = errors.New("the header is not complete yet")

// identity tells one file from another that later stands at the same path, and from one that later has the same inode.
type identity struct {
	dev, ino    uint64
	size        int64
	mtim, mtimN int64
}

// file is one journal file. It is opened when it is found, so that it is read to its end although it is renamed or removed, and
// mapped when entries are wanted of it. What journald itself deletes is lost all the same: it deallocates the contents first (see
// VacuumedError).
type file struct {
	path   string
	mark   *mark
	via    *journalctl // that reads it and others of its origin in our place; nil: none. Then only path, mark, serial and the merge are used
	id     identity
	fd     *os.File // nil: closed
	m      []byte   // nil: not mapped
	serial uint32   // counts the files that a reader came to know, from 1
	header
	limit uint64 // where what was written ends, and at most the mapping

	ends ends // when it was opened, or read to its end

	all    list // of all entries
	single *list
	groups [][][]*list // OR of AND of OR; nil: single
	lists  []*list     // of single and groups
	seen   uint64      // n_entries when data objects that were missing were looked for last

	state     fileState
	from      uint64   // where to go on: entries before it (going up: behind it) are dealt with
	cand      location // the next entry, when ready
	syncErr   error
	faults    int
	damages   int       // places that could not be read
	tries     int       // how often reading it was tried again
	retry     time.Time // when to try again; zero: not
	dead      bool      // set aside
	mustRemap bool      // a page could not be read: map it again
	deferred  bool      // all its entries come after those of the active files
	prefetch  prefetchState
	late      bool      // found, or found readable again, after reading began
	checked   bool      // its entries from here on were not read before: see Reader.isNew
	readTo    uint64    // the sequence number up to which it was read
	listed    bool      // found by the last look at the folders
	unlinked  time.Time // since when it is not
}

// fileState says where a file stands in the merge.
type fileState uint8

const (
	unplaced fileState = iota // the reader's location has not been looked for in it
	ready                     // cand is its next entry
	taken                     // cand has been given, or is the same entry as the one given
	atEnd                     // nothing there for now
	done                      // nothing will ever be there
)

// ends is what a header says of a file's entries without mapping it.
type ends struct {
	n                  uint64
	headSeq, tailSeq   uint64
	headReal, tailReal uint64
	archived           bool
}

// openFile opens a file and reads its header.
func openFile(path string) (*file, error) {
	fd, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0) // O_NONBLOCK: it may be a fifo by mischief
	if err != nil {
		return nil, err
	}
	f := &file{path: path, fd: fd}
	if err := f.readHeader(); err != nil {
		fd.Close()
		return nil, err
	}
	return f, nil
}

func (f *file) readHeader() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.fd.Fd()), &st); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s: not a regular file", f.path)
	}
	f.id = statIdentity(&st)
	b := make([]byte, hdrMinSize)
	n, err := f.fd.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if f.header, err = parseHeader(f.path, b[:n]); err != nil {
		return err
	}
	f.loadEnds(b)
	return nil
}

func (f *file) loadEnds(header []byte) {
	le := binary.LittleEndian
	f.ends = ends{
		archived: header[hdrState] == stateArchived, // first: the rest may still change otherwise
		n:        le.Uint64(header[hdrNEntries:]),
		headSeq:  le.Uint64(header[hdrHeadEntrySeqnum:]), tailSeq: le.Uint64(header[hdrTailEntrySeqnum:]),
		headReal: le.Uint64(header[hdrHeadEntryRealtime:]), tailReal: le.Uint64(header[hdrTailEntryRealtime:]),
	}
}

// emptied says whether the file was deleted and its contents deallocated. It does not touch the mapping.
func (f *file) emptied() bool {
	if f.fd == nil {
		return false
	}
	var b [8]byte
	if n, err := f.fd.ReadAt(b[:], 0); n < len(b) || err != nil || b != [8]byte{} {
		return false
	}
	var st unix.Stat_t
	return unix.Fstat(int(f.fd.Fd()), &st) == nil && st.Nlink == 0
}

// finished is archived without touching the mapping.
func (f *file) finished() bool {
	b := [1]byte{stateArchived}
	if f.fd != nil {
		_, _ = f.fd.ReadAt(b[:], hdrState)
	}
	return b[0] == stateArchived || f.path[len(f.path)-1] == '~'
}

// unread is how many entries of the file were not read, as far as is known.
func (f *file) unread() uint64 {
	read := f.readTo
	if f.state == ready {
		read-- // the candidate was not given
	}
	if f.ends.tailSeq <= read {
		return 0
	}
	return min(f.ends.n, f.ends.tailSeq-read)
}

// grown takes note of entries that were added.
func (f *file) grown() {
	if n := f.word(hdrNEntries); n > f.ends.n {
		f.ends.n, f.ends.tailSeq = n, f.word(hdrTailEntrySeqnum)
		if f.ends.headSeq == 0 {
			f.ends.headSeq = f.word(hdrHeadEntrySeqnum)
		}
	}
}

func statIdentity(st *unix.Stat_t) identity {
	return identity{uint64(st.Dev), st.Ino, st.Size, int64(st.Mtim.Sec), int64(st.Mtim.Nsec)}
}

// close gives back mapping and descriptor. What is known of the file stays.
func (f *file) close() {
	f.unmap()
	if f.fd != nil {
		var st unix.Stat_t
		if unix.Fstat(int(f.fd.Fd()), &st) == nil {
			f.id = statIdentity(&st)
		}
		f.fd.Close()
		f.fd = nil
	}
}

func (f *file) unmap() {
	if f.m != nil {
		_ = unix.Munmap(f.m)
		f.m, f.limit = nil, 0
	}
}

// reopen opens a file again that was read to its end and closed.
func (f *file) reopen() error {
	if f.fd != nil {
		return nil
	}
	g, err := openFile(f.path)
	if err != nil {
		return err
	}
	if g.fileID != f.fileID {
		g.close()
		return fmt.Errorf("%s: %w: another file stands there now", f.path, os.ErrNotExist)
	}
	f.fd, f.id = g.fd, g.id
	return nil
}

// remap maps the file as long as it is now.
func (f *file) remap() error {
	if f.fd == nil {
		return fmt.Errorf("%s: %w", f.path, os.ErrClosed)
	}
	st, err := f.fd.Stat()
	if err != nil {
		return err
	}
	if st.Size() < int64(f.size) {
		return f.corrupt(uint64(st.Size()), "the file ends inside its header")
	}
	if st.Size() > math.MaxInt {
		return fmt.Errorf("%s: too large for the address space of this machine: %w", f.path, unix.EFBIG)
	}
	m, err := unix.Mmap(int(f.fd.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("%s: mmap: %w", f.path, err)
	}
	f.unmap()
	f.m = m
	f.setLimit()
	return nil
}

// setLimit takes note of how far the writer has come, and says whether that is beyond the mapping.
func (f *file) setLimit() (beyond bool) {
	arena := f.word(hdrArenaSize)
	end := f.size + arena
	if end < arena || end > uint64(len(f.m)) {
		f.limit = uint64(len(f.m))
		return true
	}
	f.limit = end
	return false
}

// sync is called after a count of entries was loaded: what it counts lies within the arena as the header says it now.
func (f *file) sync() {
	if !f.setLimit() {
		return
	}
	st, err := f.fd.Stat()
	if err == nil && st.Size() > int64(len(f.m)) {
		f.syncErr = f.remap()
	}
}

// word loads 8 bytes that the writer may change under us. off must be a multiple of 8 and within the mapping.
func (f *file) word(off uint64) uint64 {
	_ = f.m[off+7]
	v := atomic.LoadUint64((*uint64)(unsafe.Pointer(&f.m[off])))
	if bigEndian {
		v = bits.ReverseBytes64(v)
	}
	return v
}

var bigEndian = func() bool {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], 1)
	return b[1] == 1
}()

func (f *file) le64(off uint64) uint64 { return binary.LittleEndian.Uint64(f.m[off : off+8]) }

// archived: nothing will be written to it any more. What journald renamed to …~ it found damaged or unclean, and has left.
func (f *file) archived() bool { return f.m[hdrState] == stateArchived || f.path[len(f.path)-1] == '~' }

func (f *file) corrupt(off uint64, format string, a ...any) error {
	return &CorruptError{f.path, off, fmt.Sprintf(format, a...)}
}

// object checks that an object of this type lies at off, with at least need bytes, and gives its size.
func (f *file) object(off uint64, typ byte, need uint64) (size uint64, err error) {
	if off&7 != 0 || off < f.size || off > f.limit || f.limit-off < need {
		return 0, f.corrupt(off, "an object of type %d at an impossible place", typ)
	}
	if t := f.m[off]; t != typ {
		return 0, f.corrupt(off, "an object of type %d where one of type %d should be", t, typ)
	}
	size = f.le64(off + objSize)
	if size < need || size > f.limit-off {
		return 0, f.corrupt(off, "an object of type %d with a size of %d bytes", typ, size)
	}
	return size, nil
}

// entry loads where the entry at off stands in the order of entries.
func (f *file) entry(off uint64, l *location) error {
	if _, err := f.object(off, objEntry, entryItems); err != nil {
		return err
	}
	b := f.m[off : off+entryItems]
	l.offset = off
	l.SeqnumID = f.seqnumID
	l.Seqnum = binary.LittleEndian.Uint64(b[entrySeqnum:])
	l.Set = HasAll
	l.Realtime = binary.LittleEndian.Uint64(b[entryRealtime:])
	l.Monotonic = binary.LittleEndian.Uint64(b[entryMonotonic:])
	copy(l.BootID[:], b[entryBootID:])
	l.XorHash = binary.LittleEndian.Uint64(b[entryXorHash:])
	return nil
}

// payloadStart is where the payload of data objects begins in this file.
func (f *file) payloadStart() uint64 {
	if f.compact {
		return dataPayloadPacked
	}
	return dataPayload
}

// payload gives what a data object holds: FIELD=value, or that compressed (flags say how).
func (f *file) payload(off uint64) (p []byte, flags byte, err error) {
	start := f.payloadStart()
	size, err := f.object(off, objData, start)
	if err != nil {
		return nil, 0, err
	}
	return f.m[off+start : off+size : off+size], f.m[off+1] & compressedAny, nil
}

// maxChain bounds the walk along one bucket of a hash table. journald starts a new file when a chain is 100 long (since 246)
// or the table is three quarters full.
const maxChain = 1 << 16

// find looks up the data object with this payload; 0 when the file has none.
func (f *file) find(payload []byte, z *inflater) (uint64, error) {
	h := hashData(f.keyed, f.fileID, payload)
	bucket := f.hashOffset + h%f.hashItems*16
	off := f.word(bucket)
	for n := 0; off != 0; n++ {
		if n > maxChain {
			return 0, f.corrupt(bucket, "a hash chain of more than %d objects", maxChain)
		}
		p, flags, err := f.payload(off)
		if err != nil {
			return 0, err
		}
		if f.le64(off+dataHash) == h {
			if flags != 0 {
				if p, err = z.inflate(flags, p, len(payload)+1); err != nil {
					return 0, f.corrupt(off, "%v", err)
				}
			}
			if string(p) == string(payload) {
				return off, nil
			}
		}
		next := f.word(off + dataNextHash)
		if next != 0 && next <= off { // objects are only ever appended, to the file and to the chain
			return 0, f.corrupt(off, "a hash chain that goes back to %d", next)
		}
		off = next
	}
	return 0, nil
}

// contains says whether an address lies in the file's mapping, and at which offset.
func (f *file) contains(a uintptr) (uint64, bool) {
	if f.m == nil {
		return 0, false
	}
	start := uintptr(unsafe.Pointer(&f.m[0]))
	if a < start || a-start >= uintptr(len(f.m)) {
		return 0, false
	}
	return uint64(a - start), true
}
