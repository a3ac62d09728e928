package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

// A bug of ours that a file triggers ends neither the program nor the reading of other files. A file that is no longer written to
// is given up; one that is written to is tried again, and read through journalctl in the end.
func TestPanic(t *testing.T) {
	journaltest.Need(t)
	defer journal.TryAgain(time.Millisecond, time.Millisecond)()
	for _, c := range []struct {
		name     string
		archived bool
		mended   bool // before it is tried again
		want     []string
		problem  string
	}{
		{"archived", true, false, nil, "cannot be parsed: runtime error: integer divide by zero"},
		{"live", false, false, []string{"0", "10"}, "read through journalctl"},
		{"transient", false, true, []string{"0", "10"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "system.journal")
			put(t, path, numbered{first: 0, last: 19})
			put(t, filepath.Join(dir, "user-1000.journal"), numbered{first: 20, last: 29})
			if c.archived {
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteAt([]byte{2}, 16); err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			r := reader(t, journal.Dir(dir), "PART=tenth")
			mend := r.Break(path)
			if !r.Next() || string(r.Entry().Field(0)) != "20" {
				t.Fatalf("the other file: %v", r.Problems())
			}
			p := r.Problems()
			if len(p) != 1 || !strings.Contains(p[0].Error(), path+": cannot be parsed: runtime error: integer divide by zero") {
				t.Fatal(p)
			}
			if c.mended {
				mend()
			}
			same(t, "the file itself", next(t, r, len(c.want)), c.want)
			switch p := r.Problems(); {
			case c.problem == "" && len(p) > 0:
				t.Error(p)
			case c.problem != "" && (len(p) != 1 || !strings.Contains(p[0].Error(), c.problem)):
				t.Error(p)
			}
		})
	}
}

// A panic in the caller is not blamed on the file.
func TestPanicInYield(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.journal")
	put(t, path, numbered{first: 0, last: 3})
	r := reader(t, journal.Files(path))
	if !r.Next() {
		t.Fatal(r.Problems())
	}
	defer func() {
		if recover() == nil {
			t.Error("swallowed")
		}
		if p := r.Problems(); len(p) > 0 {
			t.Error(p)
		}
	}()
	r.Entry().Each(func(string, []byte) bool { none := []int{}; return none[len(none)] == 0 })
}

// An entry that claims more fields than journald takes is damage, and costs no more than itself.
func TestManyItems(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.journal")
	put(t, path, numbered{first: 0, last: 3})
	if err := journal.StretchEntry(path, 1, 5000*16); err != nil {
		t.Fatal(err)
	}
	r := reader(t, journal.Files(path))
	rest(r)
	var corrupt *journal.CorruptError
	if p := r.Problems(); len(p) == 0 || !errors.As(p[0], &corrupt) || !strings.Contains(corrupt.What, "fields") {
		t.Error(p)
	}
}
