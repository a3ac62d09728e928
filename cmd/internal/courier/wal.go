package courier

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// The queue's file: a head, then frames, appended and never changed.
//
//	frame = mark(4) length(4) crc(4) kind(1) payload(length-1), numbers little-endian; crc32c of kind and payload
//
// The mark lets what lies behind a damaged place be found again.
const (
	walHead  = "bailiff queue 1\n"
	walMark  = "\xb1RQ\xd7"
	frameMin = 13
	maxFrame = 64 << 20 // a report is 8 MiB at most
)

// reserve is how much room on the disk is kept behind the end: taking reports needs more than that, so that those that are
// there can still be delivered, and that be written down, when the disk is full.
const reserve = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type frame struct {
	kind    byte
	payload []byte
}

func (f frame) size() int64 { return int64(frameMin + len(f.payload)) }

func (f frame) append(b []byte) []byte {
	b = append(b, walMark...)
	b = binary.LittleEndian.AppendUint32(b, uint32(1+len(f.payload)))
	at := len(b)
	b = append(b, 0, 0, 0, 0, f.kind)
	b = append(b, f.payload...)
	binary.LittleEndian.PutUint32(b[at:], crc32.Checksum(b[at+4:], castagnoli))
	return b
}

// wal is the file. One goroutine at a time uses it, but for sync.
type wal struct {
	path string
	f    *os.File
	end  int64
	buf  []byte

	syncing sync.Mutex
	mu      sync.Mutex // f as sync sees it, written and synced
	written int64      // counts over compactions
	synced  int64
}

// fullError says that there is no room, on the disk or for more reports. The file is as it was before.
type fullError struct{ err error }

func (e *fullError) Error() string { return "no room for the queue: " + e.err.Error() }
func (e *fullError) Unwrap() error { return e.err }

// append writes frames in one go and returns where each begins. It is not on the disk before sync. Where more is true, room for
// what follows later is asked for, too.
func (w *wal) append(more bool, frames ...frame) ([]int64, error) {
	at := make([]int64, len(frames))
	b := w.buf[:0]
	for i, f := range frames {
		at[i] = w.end + int64(len(b))
		b = f.append(b)
	}
	if w.buf = b; cap(b) > 1<<20 {
		w.buf = nil
	}
	if more {
		// FALLOC_FL_KEEP_SIZE; file systems that cannot do it have room or say so below.
		if err := syscall.Fallocate(int(w.f.Fd()), 1, w.end, int64(len(b))+reserve); full(err) {
			return nil, &fullError{err}
		}
	}
	if _, err := w.f.WriteAt(b, w.end); err != nil {
		if e := w.f.Truncate(w.end); e != nil {
			return nil, fmt.Errorf("%s: %w; cutting it back: %w", w.path, err, e)
		}
		if full(err) {
			return nil, &fullError{err}
		}
		return nil, fmt.Errorf("queue: %w", err)
	}
	w.end += int64(len(b))
	w.mu.Lock()
	w.written += int64(len(b))
	w.mu.Unlock()
	return at, nil
}

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// sync returns when all that was appended before the call is on the disk. It may be called while others append; one
// fsync serves all who wait. After an error nobody knows what is on the disk: the process must end and read it again.
func (w *wal) sync() error {
	w.mu.Lock()
	want := w.written
	w.mu.Unlock()
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	f, now, synced := w.f, w.written, w.synced
	w.mu.Unlock()
	if synced >= want {
		return nil
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	w.mu.Lock()
	w.synced = now
	w.mu.Unlock()
	return nil
}

// read gives the frame at an offset.
func (w *wal) read(at int64) (frame, error) {
	f, _, err := readFrame(w.f, at, w.end)
	if err != nil {
		return f, fmt.Errorf("%s at %d: %w", w.path, at, err)
	}
	return f, nil
}

var errFrame = errors.New("no frame, or a damaged one")

// readFrame reads the frame at an offset of a file of size bytes, and says where the next begins.
func readFrame(r io.ReaderAt, at, size int64) (frame, int64, error) {
	var h [12]byte
	if size-at < frameMin {
		return frame{}, 0, errFrame
	}
	if _, err := r.ReadAt(h[:], at); err != nil {
		return frame{}, 0, err
	}
	n := int64(binary.LittleEndian.Uint32(h[4:]))
	if string(h[:4]) != walMark || n < 1 || n > maxFrame || n > size-at-12 {
		return frame{}, 0, errFrame
	}
	b := make([]byte, n)
	if _, err := r.ReadAt(b, at+12); err != nil {
		return frame{}, 0, err
	}
	if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(h[8:]) {
		return frame{}, 0, errFrame
	}
	return frame{b[0], b[1:]}, at + 12 + n, nil
}

// damage is what scan found wrong.
type damage struct {
	middle int64 // where the first damaged place begins that whole frames follow; -1: there is none
	end    int64 // where the last whole frame ends; what follows was being written when the machine stopped
}

// scan gives every whole frame. middle tells those behind a damaged place.
func scan(r io.ReaderAt, size int64, yield func(at int64, f frame, behind bool) error) (damage, error) {
	d := damage{middle: -1, end: int64(len(walHead))}
	head := make([]byte, len(walHead))
	if n, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return d, err
	} else if string(head) != walHead {
		if size > int64(n) || !bytes.HasPrefix([]byte(walHead), head[:n]) {
			d.middle = 0
		} else {
			d.end = 0
			return d, nil
		}
	}
	lost := int64(-1) // where a damaged place begins
	if d.middle == 0 {
		lost = 0
	}
	for at := int64(len(walHead)); at < size; {
		f, next, err := readFrame(r, at, size)
		if err == nil {
			if lost >= 0 && d.middle < 0 {
				d.middle = lost
			}
			if err := yield(at, f, d.middle >= 0); err != nil {
				return d, err
			}
			at, d.end = next, next
			lost = -1
			continue
		}
		if !errors.Is(err, errFrame) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return d, err
		}
		if lost < 0 {
			lost = at
		}
		if at, err = nextMark(r, at+1, size); err != nil {
			return d, err
		}
	}
	return d, nil
}

// nextMark finds where the next frame may begin.
func nextMark(r io.ReaderAt, at, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for at < size {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if i := bytes.Index(buf[:n], []byte(walMark)); i >= 0 {
			return at + int64(i), nil
		}
		if err != nil && err != io.EOF {
			return 0, err
		}
		if n < len(walMark) {
			break
		}
		at += int64(n - len(walMark) + 1)
		if n < len(buf) {
			break
		}
	}
	return size, nil
}

// replace writes a new file and puts it in the place of the old one: after a crash at any moment the one or the other is
// there, whole.
func (w *wal) replace(write func(put func(frame) (int64, error)) error) error {
	f, err := os.OpenFile(w.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	end := int64(0)
	var buf []byte
	flush := func() error {
		_, err := f.WriteAt(buf, end)
		end += int64(len(buf))
		buf = buf[:0]
		return err
	}
	buf = append(buf, walHead...)
	err = write(func(fr frame) (int64, error) {
		at := end + int64(len(buf))
		if buf = fr.append(buf); len(buf) > 1<<20 {
			return at, flush()
		}
		return at, nil
	})
	if err == nil {
		err = flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(w.path+".new", w.path)
	}
	if err != nil {
		f.Close()
		os.Remove(w.path + ".new")
		if full(err) {
			return &fullError{err}
		}
		return fmt.Errorf("queue: %w", err)
	}
	if err := syncDir(filepath.Dir(w.path)); err != nil {
		f.Close()
		return fmt.Errorf("queue: %w", err)
	}
	w.syncing.Lock()
	w.mu.Lock()
	if w.f != nil {
		w.f.Close()
	}
	w.f, w.end, w.synced = f, end, w.written
	w.mu.Unlock()
	w.syncing.Unlock()
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
