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

// errIncomplete means that journald has not finished writing the header of a new file.
var errIncomplete = errors.New("the header is not complete yet")

// identity distinguishes a file from a later one with the same path or inode.
type identity struct {
	dev, ino    uint64
	size        int64
	mtim, mtimN int64
}

// file is one journal file. It is opened when it is found, so that it is read to its end even if it is renamed or removed, and mapped when
// its entries are needed. Files deleted by journald are lost nevertheless: it deallocates their contents first (see VacuumedError).
type file struct {
	path   string
	mark   *mark
	via    *journalctl // reads the files of one origin for this package, which then uses only path, mark, serial and the merge; nil: not used
	id     identity
	fd     *os.File // nil: closed
	m      []byte   // nil: not mapped
	serial uint32   // counts the files that a reader has found, from 1
	header
	limit uint64 // end of what was written, within the mapping

	ends ends // as of opening, or of reading to the end

	all     list // all entries
	single  *list
	groups  [][][]*list // OR of AND of OR; nil: single
	lists   []*list     // the lists of single and groups
	seen    uint64      // n_entries when missing data objects were last looked for
	horizon uint64      // the last object at that time

	state     fileState
	from      uint64   // where to continue: entries before it (going up: after it) are done
	cand      location // the next entry, when ready
	syncErr   error
	faults    int
	damages   int       // number of places that could not be read
	tries     int       // number of attempts that failed
	retry     time.Time // time of the next attempt; zero: none
	dead      bool      // set aside
	mustRemap bool      // a page could not be read: map it again
	deferred  bool      // all its entries come after those of the active files
	late      bool      // found, or found readable again, after reading began
	checked   bool      // its entries from here on are new: see Reader.isNew
	readTo    uint64    // sequence number up to which it was read
	listed    bool      // was there when the folders were last listed
	unlinked  time.Time // time since which it is no longer listed; zero: it is
}

// fileState is the state of a file in the merge.
type fileState uint8

const (
	unplaced fileState = iota // not positioned yet
	ready                     // cand is its next entry
	taken                     // cand was returned, or is a copy of an entry that was
	atEnd                     // no further entry yet
	done                      // no further entry ever
)

// ends is what a header says about the entries of a file.
type ends struct {
	n                  uint64
	headSeq, tailSeq   uint64
	headReal, tailReal uint64
	archived           bool
}

// openFile opens a file and reads its header.
func openFile(path string) (*file, error) {
	fd, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0) // O_NONBLOCK: it may be a FIFO
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
		archived: header[hdrState] == stateArchived, // first, since the rest may still change otherwise
		n:        le.Uint64(header[hdrNEntries:]),
		headSeq:  le.Uint64(header[hdrHeadEntrySeqnum:]), tailSeq: le.Uint64(header[hdrTailEntrySeqnum:]),
		headReal: le.Uint64(header[hdrHeadEntryRealtime:]), tailReal: le.Uint64(header[hdrTailEntryRealtime:]),
	}
}

// emptied reports whether the file was deleted and its contents deallocated. It does not touch the mapping.
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

// finished is like archived, but does not touch the mapping.
func (f *file) finished() bool {
	b := [1]byte{stateArchived}
	if f.fd != nil {
		_, _ = f.fd.ReadAt(b[:], hdrState)
	}
	return b[0] == stateArchived || f.path[len(f.path)-1] == '~'
}

// unread returns the number of entries that were not read, as far as is known.
func (f *file) unread() uint64 {
	read := f.readTo
	if f.state == ready {
		read-- // the candidate was not returned
	}
	if f.ends.tailSeq <= read {
		return 0
	}
	return min(f.ends.n, f.ends.tailSeq-read)
}

// grown updates ends with entries that were added.
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

// close releases mapping and descriptor. Other state of the file is kept.
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
		return fmt.Errorf("%s: %w: replaced by another file", f.path, os.ErrNotExist)
	}
	f.fd, f.id = g.fd, g.id
	return nil
}

// remap maps the file at its current length.
func (f *file) remap() error {
	if f.fd == nil {
		return fmt.Errorf("%s: %w", f.path, os.ErrClosed)
	}
	st, err := f.fd.Stat()
	if err != nil {
		return err
	}
	if st.Size() < int64(f.size) {
		return f.corrupt(uint64(st.Size()), "the file ends within its header")
	}
	if st.Size() > math.MaxInt {
		return fmt.Errorf("%s: too large for the address space: %w", f.path, unix.EFBIG)
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

// setLimit updates the limit, and reports whether the writer is beyond the mapping.
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

// sync is called after a count of entries was loaded: these entries lie within the arena size that the header has now.
func (f *file) sync() {
	if !f.setLimit() {
		return
	}
	st, err := f.fd.Stat()
	if err == nil && st.Size() > int64(len(f.m)) {
		f.syncErr = f.remap()
	}
}

// word loads 8 bytes that the writer may be changing. off must be a multiple of 8 and lie within the mapping.
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

// archived reports whether the file is final. journald renames files to …~ that it found damaged or unclean, and leaves them alone.
func (f *file) archived() bool { return f.m[hdrState] == stateArchived || f.path[len(f.path)-1] == '~' }

func (f *file) corrupt(off uint64, format string, a ...any) error {
	return &CorruptError{f.path, off, fmt.Sprintf(format, a...)}
}

// object checks that an object of type typ and at least need bytes lies at off, and returns its size.
func (f *file) object(off uint64, typ byte, need uint64) (size uint64, err error) {
	if off&7 != 0 || off < f.size || off > f.limit || f.limit-off < need {
		return 0, f.corrupt(off, "an object of type %d cannot lie here", typ)
	}
	if t := f.m[off]; t != typ {
		return 0, f.corrupt(off, "an object of type %d; expected type %d", t, typ)
	}
	size = f.le64(off + objSize)
	if size < need || size > f.limit-off {
		return 0, f.corrupt(off, "an object of type %d has an invalid size of %d bytes", typ, size)
	}
	return size, nil
}

// entry loads the location of the entry at off.
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

// payloadStart is the offset of the payload in data objects of this file.
func (f *file) payloadStart() uint64 {
	if f.compact {
		return dataPayloadPacked
	}
	return dataPayload
}

// payload returns the contents of a data object: FIELD=value, compressed as flags say.
func (f *file) payload(off uint64) (p []byte, flags byte, err error) {
	start := f.payloadStart()
	size, err := f.object(off, objData, start)
	if err != nil {
		return nil, 0, err
	}
	return f.m[off+start : off+size : off+size], f.m[off+1] & compressedAny, nil
}

// maxChain bounds the walk along one bucket of a hash table. journald starts a new file when a chain has 100 objects (since 246) or
// the table is three quarters full.
const maxChain = 1 << 16

// find looks up the data object with a payload; 0 if the file has none.
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
			return 0, f.corrupt(off, "a hash chain goes back to %d", next)
		}
		off = next
	}
	return 0, nil
}

// contains reports whether an address lies in the mapping, and at which offset.
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
