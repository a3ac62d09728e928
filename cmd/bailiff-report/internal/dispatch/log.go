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

// The queue's file is a head, then frames, appended and never changed:
//
//	frame = length(4) crc of payload(4) crc of the eight bytes before(4) payload(length), little-endian, CRC-32C
//
// A frame is appended and synced before the next one, so a crash can only damage the last frame, which nothing has relied on.
// Anything else that does not check is damage: see logFile.load.
const (
	logHead   = "bailiff queue 2\n"
	frameHead = 12
	maxFrame  = 64 << 20
)

// reserve is the room on the disk that only the progress of deliveries may use: when the disk is full, new reports wait in the
// journal, and what is in the queue can still be delivered and recorded.
const reserve = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logFile is the queue's file. One goroutine uses it.
type logFile struct {
	path  string
	f     *os.File
	end   int64
	limit int64 // size that the file may have
}

// fullError reports that there is no room, on the disk or within a limit. The file is as it was before.
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
	// FALLOC_FL_KEEP_SIZE. Where the file system cannot do this, append reports a full disk.
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

// append writes one frame and returns when it is on the disk. After a fullError the file is unchanged; after any other error
// nobody knows what is on the disk, and the process has to end and read the file again.
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
			return fmt.Errorf("%s: %w; cutting it back: %w", l.path, err, e)
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

// errDamaged reports that bytes which were on the disk once are no longer as they were written.
type errDamaged struct{ at int64 }

func (e *errDamaged) Error() string { return fmt.Sprintf("damaged at byte %d", e.at) }

// load passes each frame to yield, with the offset of its payload, and sets the end behind the last one. A frame that a crash
// cut off at the end of the file is left out. Damage is returned as *errDamaged, after all frames before it. whole tells
// whether the frames so far are what a crash leaves: the first ones were written in one go, and are there as a whole or not at all.
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

// frame reads a frame. The payload is nil if it does not check; torn tells whether that is how a crash leaves the last one.
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
		zero, err := l.zero(at+frameHead, size) // the length of the file reached the disk, the frame did not
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

// blob is a part of the file with a checksum of its own: the body of a report.
type blob struct {
	at, size int64
	crc      uint32
}

// errUnreadable reports a blob that is no longer what was written.
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

// replace writes a new file and puts it in place of the old one: after a crash either is there, whole. write calls put for each
// payload, and gets the offset of that payload in the new file.
func (l *logFile) replace(write func(put func(payload []byte) (int64, error)) error) error {
	f, err := atomicfile.Create(l.path, 0o600)
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	end := int64(len(logHead))
	_, err = f.WriteAt([]byte(logHead), 0)
	if err == nil {
		err = write(func(payload []byte) (int64, error) {
			if len(payload) > maxFrame {
				return 0, fmt.Errorf("%s: a record of %d bytes", l.path, len(payload))
			}
			at := end + frameHead
			n, err := f.WriteAt(appendFrame(nil, payload), end)
			end += int64(n)
			return at, err
		})
	}
	if err == nil {
		err = f.Commit()
	}
	if f.Committed() {
		if l.f != nil {
			l.f.Close()
		}
		l.f, l.end = f.File, end
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
