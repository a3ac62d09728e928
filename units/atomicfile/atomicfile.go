// Package atomicfile replaces files, and reads them within bounds. After a crash or a power failure at any moment, the name holds
// either the old content or the new one, whole. Every program of bailiff writes the files it keeps through this package.
//
// A replacement is written to NAME.new, synced, renamed, and the folder is synced. Its owner is the user of the calling process.
// What a crash leaves at NAME.new is overwritten by the next replacement. The package never follows a link at NAME.new, and two
// processes never write to it at the same time. (Libraries use random names, which pile up in a crash loop.)
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrBusy means that another process is replacing the same file.
var ErrBusy = errors.New("another process is writing this file")

// File is a replacement that is being written. It is an *os.File under a temporary name until Commit.
type File struct {
	*os.File
	target    string
	committed bool
}

// Create starts a replacement of the file name, which need not exist. perm applies whatever the umask is.
func Create(name string, perm fs.FileMode) (*File, error) {
	for {
		f, err := os.OpenFile(name+".new", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, perm)
		if err != nil {
			return nil, err
		}
		ours, err := prepare(f, perm)
		if ours {
			return &File{File: f, target: name}, nil
		}
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
}

// prepare locks and empties a temporary file. It returns false without an error if another process has renamed the file
// between open and lock.
func prepare(f *os.File, perm fs.FileMode) (bool, error) {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return false, ErrBusy
	} else if err != nil {
		return false, err
	}
	st, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !st.Mode().IsRegular() {
		return false, fmt.Errorf("%s is not a regular file", f.Name())
	}
	if named, err := os.Lstat(f.Name()); err != nil || !os.SameFile(st, named) {
		return false, nil
	}
	if err := f.Chmod(perm); err != nil {
		return false, err
	}
	return true, f.Truncate(0)
}

// Commit puts the replacement in place. The file stays open. If only the sync of the folder fails, the error is returned
// although the new content is in place.
func (f *File) Commit() error { return f.commit(0) }

// CommitNew is Commit for a file that must not exist yet: if it does, the error is fs.ErrExist, and it stays as it is.
func (f *File) CommitNew() error { return f.commit(unix.RENAME_NOREPLACE) }

func (f *File) commit(flags uint) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, f.target, flags); err != nil {
		return &os.LinkError{Op: "rename", Old: f.Name(), New: f.target, Err: err}
	}
	f.committed = true
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // the lock is for the temporary name; the caller may lock the file itself
	return syncDir(filepath.Dir(f.target))
}

// Committed reports whether the new content is in place: also after a Commit that could not sync the folder.
func (f *File) Committed() bool { return f.committed }

// Close closes the file. Unless Committed it removes the temporary file, and the old content stays.
func (f *File) Close() error {
	if !f.committed {
		os.Remove(f.Name()) // before the lock goes
	}
	return f.File.Close()
}

// Write replaces the content of the file name.
func Write(name string, data []byte, perm fs.FileMode) error {
	f, err := Create(name, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Commit()
	}
	return errors.Join(err, f.Close())
}

// ErrTooLarge means that a file is larger than its reader allows.
var ErrTooLarge = errors.New("too large")

// Open opens a regular file for reading. It never waits for a pipe. flags are added to those of the open, such as unix.O_NOFOLLOW in
// a folder that another user may write to.
func Open(name string, flags int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Read returns the content of a regular file of at most limit bytes; flags are those of Open.
func Read(name string, limit int64, flags int) ([]byte, error) {
	f, err := Open(name, flags)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: %w: more than %d bytes", name, ErrTooLarge, limit)
	}
	return data, err
}

// syncDir makes a rename in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
