package geo

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime/debug"
	"syscall"
)

// MaxSize bounds the file of a database, in bytes. Databases of cities that are sold have 150 MB.
const MaxSize = 512 << 20

// ErrFile means that a file is no database that can be used.
var ErrFile = errors.New("is no database")

// NetworksOf is Networks of a file. The file is mapped: of its size, only a byte for each node of its tree is taken from the memory. If
// somebody cuts it short meanwhile, that is an error.
func NetworksOf(file string, f func(p netip.Prefix, country, system string) error) (err error) {
	fd, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe has no writer
	if err != nil {
		return err
	}
	defer fd.Close()
	st, err := fd.Stat()
	switch {
	case err != nil:
		return err
	case !st.Mode().IsRegular() || st.Size() == 0:
		return fmt.Errorf("%w: not a regular file, or empty", ErrFile)
	case st.Size() > MaxSize:
		return fmt.Errorf("%w: has %d bytes, more than %d", ErrFile, st.Size(), MaxSize)
	}
	m, err := syscall.Mmap(int(fd.Fd()), 0, int(st.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	defer syscall.Munmap(m)
	if bytes.HasPrefix(m, []byte("\x1f\x8b")) {
		return fmt.Errorf("%w: it is compressed; use gunzip first", ErrFile)
	}
	faulted := guarded(func() { err = Networks(m, f) })
	if faulted {
		return fmt.Errorf("%w: it became shorter while it was read", ErrFile)
	}
	return err
}

// guarded calls f, which reads a mapped file. It reports whether f ended since the file has become shorter: that would end the program.
func guarded(f func()) (faulted bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if _, faulted = r.(interface{ Addr() uintptr }); !faulted && r != nil {
			panic(r)
		}
	}()
	f()
	return false
}
