package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bailiff/journal"
)

// vacuum deletes a file as journald does: it deallocates what others may have open (unlinkat_deallocate).
func vacuum(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, st.Size()); err != nil {
		t.Fatal(err)
	}
}

// If a file is vacuumed before it is read to its end, its unread entries are lost. Their number is reported, but not as damage, and
// not if all were read.
func TestVacuumed(t *testing.T) {
	for _, c := range []struct {
		name    string
		read    int // entries of it that are read before
		end     bool
		matches []string
		want    string
	}{
		{name: "not begun", want: ": journald deleted this file before it was read: 10 entries are lost"},
		{name: "half", read: 4, want: ": journald deleted this file before it was read: 6 entries are lost"},
		{name: "half by match", read: 1, matches: []string{"PART=tenth"}, want: ": journald deleted this file before it was read: 9 entries are lost"},
		{name: "to the end", read: 10, end: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "system.journal")
			put(t, path, numbered{first: 0, last: 9})
			r := reader(t, journal.Dir(dir), c.matches...)
			for range c.read {
				if !r.Next() {
					t.Fatal(r.Problems())
				}
			}
			if c.end && r.Next() {
				t.Fatal("one more")
			}
			vacuum(t, path)
			put(t, path, numbered{first: 10, last: 12})
			if len(c.matches) == 0 {
				same(t, "its successor", next(t, r, 3), numbers(10, 12))
			} else {
				same(t, "its successor", next(t, r, 1), numbers(10, 10))
			}
			rest(r)
			if err := r.Wait(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			var lost *journal.VacuumedError
			p := r.Problems()
			switch {
			case c.want == "" && len(p) > 0:
				t.Error(p)
			case c.want != "" && (len(p) != 1 || !errors.As(p[0], &lost) || !strings.HasSuffix(p[0].Error(), c.want)):
				t.Errorf("%v, want %s", p, c.want)
			case c.want != "" && !strings.Contains(journal.Hint(p[0]), "SystemMaxUse="):
				t.Error(journal.Hint(p[0]))
			}
		})
	}
}

// A file is vacuumed when all of it has been read. Nothing is lost.
func TestVacuumedAtEnd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "system.journal")
	put(t, path, numbered{first: 0, last: 9})
	r := reader(t, journal.Dir(dir), "PART=tenth")
	r.SeekTail()
	same(t, "nothing new", rest(r), nil)
	vacuum(t, path)
	rest(r)
	if err := r.Wait(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if p := r.Problems(); len(p) > 0 {
		t.Errorf("nothing was lost: %v", p)
	}
}

// A file or folder without read permission is reported with a fix until the permission is there; then it is read.
func TestUnreadable(t *testing.T) {
	root := host(t)
	dir := filepath.Join(root, "var/log/journal", machine)
	put(t, filepath.Join(dir, "system.journal"), numbered{first: 0, last: 9})
	put(t, filepath.Join(dir+".web", "system.journal"), numbered{first: 10, last: 19})
	file, folder := filepath.Join(dir, "system.journal"), dir+".web"
	for path, mode := range map[string]os.FileMode{filepath.Dir(root): 0o755, root: 0o755, file: 0o600, filepath.Join(folder, "system.journal"): 0o644, folder: 0o700} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	become := func(id int) {
		if _, err := unix.SetfsuidRetUid(id); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.SetfsgidRetGid(id); err != nil {
			t.Fatal(err)
		}
	}
	defer become(0)
	become(65534)
	r := reader(t, journal.Host(root))
	r.SeekRealtime(1_700_000_000_000_000 + 1000*5)
	same(t, "unreadable", rest(r), nil)
	p := r.Problems()
	if len(p) != 2 || !strings.Contains(p[0].Error()+p[1].Error(), file+": permission denied") || !strings.Contains(p[0].Error()+p[1].Error(), folder+": permission denied") ||
		!strings.Contains(journal.Hint(p[0]), "systemd-tmpfiles --create --prefix /var/log/journal") {
		t.Error(p)
	}
	chmod := func(path string, mode os.FileMode) {
		done := make(chan error)
		go func() { done <- os.Chmod(path, mode) }() // by root
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	chmod(file, 0o644)
	same(t, "the file", next(t, r, 5), numbers(5, 9))
	chmod(folder, 0o755)
	same(t, "the folder", next(t, r, 10), numbers(10, 19))
	if p := r.Problems(); len(p) > 0 {
		t.Error(p)
	}
}
