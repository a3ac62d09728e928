package dispatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"syscall"

	"bailiff/units/atomicfile"
)

// The queue's file is a header followed by frames, which are appended and never changed:
//
//	frame = length(4) CRC of payload(4) CRC of the previous eight bytes(4) payload(length), little-endian, CRC-32C
//
// Each frame is synced before the next one is appended, so a crash can only damage the last frame, on which nothing depends yet. Any
// other checksum error is damage: see logFile.load.
const (
	logHead   = "bailiff queue 2\n"
	frameHead = 12
	maxFrame  = 64 << 20
)

// reserve is room that only records about deliveries may use: when the disk is full, new reports wait in the journal, and those in the
// queue can still be delivered and recorded.
const reserve = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logFile is the queue's file. It is not safe for concurrent use.
type logFile struct {
	path  string
	f     *os.File
	end   int64
	limit int64 // of its size
}

// fullError is the error if the disk or the file is full. The file is unchanged.
type fullError struct{ err error }

func (e *fullError) Error() string { return "no room for the queue: " + e.err.Error() }
func (e *fullError) Unwrap() error { return e.err }

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// room returns a fullError unless n bytes fit with reserve to spare.
func (l *logFile) room(n int64) error {
	n += reserve
	if l.end+n > l.limit {
		return &fullError{fmt.Errorf("the queue has its maximum size, %d bytes", l.limit)}
	}
	// 1 is FALLOC_FL_KEEP_SIZE. If the file system does not support it, append reports a full disk.
	if err := syscall.Fallocate(int(l.f.Fd()), 1, l.end, n); full(err) {
		return &fullError{err}
	}
	return nil
}

func appendFrame(b, payload []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	return append(b, payload...)
}

// append writes a frame and returns when it is on the disk. After a fullError the file is unchanged. After any other error it is not
// known what is on the disk; the process has to end and read the file again.
func (l *logFile) append(payload []byte) error {
	b := appendFrame(nil, payload)
	if len(payload) > maxFrame {
		return fmt.Errorf("%s: a record of %d bytes", l.path, len(payload))
	}
	if l.end+int64(len(b)) > l.limit {
		return &fullError{fmt.Errorf("the queue has its maximum size, %d bytes", l.limit)}
	}
	if _, err := l.f.WriteAt(b, l.end); err != nil {
		if e := l.f.Truncate(l.end); e != nil {
			return fmt.Errorf("%s: %w; truncating it: %w", l.path, err, e)
		}
		if full(err) {
			return &fullError{err}
		}
		return fmt.Errorf("%s: %w", l.path, err)
	}
	if err := l.f.Sync(); err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	l.end += int64(len(b))
	return nil
}

// errDamaged is the error if bytes on the disk are no longer as they were written.
type errDamaged struct{ at int64 }

func (e *errDamaged) Error() string { return fmt.Sprintf("damaged at byte %d", e.at) }

// load passes each frame to yield with the offset of its payload, and sets the end of the file. An incomplete frame at the end, which
// a crash leaves, is removed. Damage is returned as *errDamaged after all frames before it. whole reports whether the records so far are
// complete: those of a compacted file are written in one go, so a crash cannot remove some of them.
func (l *logFile) load(yield func(at int64, payload []byte) error, whole func() bool) error {
	st, err := l.f.Stat()
	if err != nil {
		return err
	}
	size := st.Size()
	head := make([]byte, len(logHead))
	if _, err := l.f.ReadAt(head, 0); err != nil && err != io.EOF {
		return err
	} else if string(head) != logHead {
		return &errDamaged{0}
	}
	l.end = int64(len(logHead))
	for l.end < size {
		payload, torn, err := l.frame(l.end, size)
		if err != nil {
			return err
		}
		if payload == nil {
			if !torn || !whole() {
				return &errDamaged{l.end}
			}
			return l.f.Truncate(l.end)
		}
		if err := yield(l.end+frameHead, payload); err != nil {
			return err
		}
		l.end += frameHead + int64(len(payload))
	}
	if !whole() {
		return &errDamaged{l.end}
	}
	return nil
}

// frame reads a frame. The payload is nil if the frame is not valid; torn reports whether a crash may have left it so.
func (l *logFile) frame(at, size int64) (payload []byte, torn bool, err error) {
	if size-at < frameHead {
		return nil, true, nil
	}
	h := make([]byte, frameHead)
	if _, err := l.f.ReadAt(h, at); err != nil {
		return nil, false, err
	}
	n := int64(binary.LittleEndian.Uint32(h))
	if crc32.Checksum(h[:8], castagnoli) != binary.LittleEndian.Uint32(h[8:]) || n > maxFrame {
		zero, err := l.zero(at+frameHead, size) // the file was extended on the disk, but the frame not written
		return nil, zero, err
	}
	if n > size-at-frameHead {
		return nil, true, nil
	}
	payload = make([]byte, n)
	if _, err := l.f.ReadAt(payload, at+frameHead); err != nil {
		return nil, false, err
	}
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(h[4:]) {
		return nil, at+frameHead+n == size, nil
	}
	return payload, false, nil
}

func (l *logFile) zero(at, size int64) (bool, error) {
	buf := make([]byte, 64<<10)
	for at < size {
		n, err := l.f.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if n == 0 {
			return false, err
		}
		for _, c := range buf[:n] {
			if c != 0 {
				return false, nil
			}
		}
		at += int64(n)
	}
	return true, nil
}

// blob is the place of a body in the file, with its checksum.
type blob struct {
	at, size int64
	crc      uint32
}

// errUnreadable is the error if a body is no longer as it was written.
var errUnreadable = errors.New("the file is damaged there")

func (l *logFile) read(b blob) ([]byte, error) {
	data := make([]byte, b.size)
	if _, err := l.f.ReadAt(data, b.at); err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s: %w", l.path, err)
	}
	if crc32.Checksum(data, castagnoli) != b.crc {
		return nil, fmt.Errorf("%s at %d: %w", l.path, b.at, errUnreadable)
	}
	return data, nil
}

// rewriter writes the records of a new file. After an error it does nothing more.
type rewriter struct {
	f     *atomicfile.File
	end   int64
	frame []byte // records of the next frame
	err   error
}

// add adds a record and returns the place of its body in the new file.
func (w *rewriter) add(kind byte, v any, body []byte) blob {
	if w.err != nil {
		return blob{}
	}
	w.frame, w.err = encode(w.frame, kind, v, body)
	b := blob{w.end + frameHead + int64(len(w.frame)-len(body)), int64(len(body)), crc32.Checksum(body, castagnoli)}
	if len(w.frame) > 1<<20 {
		w.flush()
	}
	return b
}

func (w *rewriter) flush() {
	if w.err != nil {
		return
	}
	if len(w.frame) > maxFrame {
		w.err = fmt.Errorf("a record of %d bytes", len(w.frame))
		return
	}
	_, w.err = w.f.WriteAt(appendFrame(nil, w.frame), w.end)
	w.end += frameHead + int64(len(w.frame))
	w.frame = w.frame[:0]
}

// replace atomically replaces the file by a new one with the records that write adds.
func (l *logFile) replace(write func(*rewriter)) error {
	f, err := atomicfile.Create(l.path, 0o600)
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	w := &rewriter{f: f, end: int64(len(logHead))}
	_, w.err = f.WriteAt([]byte(logHead), 0)
	write(w)
	w.flush()
	if err = w.err; err == nil {
		err = f.Commit()
	}
	if f.Committed() {
		if l.f != nil {
			l.f.Close()
		}
		l.f, l.end = f.File, w.end
	} else {
		f.Close()
	}
	switch {
	case err == nil:
		return nil
	case !f.Committed() && full(err):
		return &fullError{err}
	}
	return fmt.Errorf("queue: %w", err)
}
