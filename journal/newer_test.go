package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

func TestMain(m *testing.M) {
	journaltest.Journalctl()
	os.Exit(m.Run())
}

// newerDir makes a folder with entries 0 to 9 in a rotated file of a future systemd, 10 to 19 in the file that is written to.
func newerDir(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	put(t, filepath.Join(dir, "system@1.journal"), numbered{first: 0, last: 9})
	put(t, filepath.Join(dir, "system.journal"), numbered{first: 10, last: 19})
	journaltest.Newer(t, filepath.Join(dir, "system@1.journal"), filepath.Join(dir, "system.journal"))
	return dir
}

// A reader answers every call for files that it cannot parse as for others.
func TestNewer(t *testing.T) {
	dir := newerDir(t)
	r := reader(t, journal.Dir(dir))
	var cursors []journal.Cursor
	for i := 0; r.Next(); i++ {
		e := r.Entry()
		cursors = append(cursors, e.Cursor)
		if got := string(e.Field(0)); got != fmt.Sprint(i) {
			t.Fatalf("%s where %d is due", got, i)
		}
		fields := map[string]string{}
		e.Each(func(name string, value []byte) bool { fields[name] = string(value); return true })
		if fields["MESSAGE"] != fmt.Sprint(i) || fields["_BOOT_ID"] == "" || (fields["PART"] == "tenth") != (i%10 == 0) {
			t.Fatalf("fields of %d: %v", i, fields)
		}
	}
	if len(cursors) != 20 {
		t.Fatal(len(cursors), r.Problems())
	}
	var unknown *journal.UnknownFlagsError
	if p := r.Problems(); len(p) != 2 || !errors.As(p[0], &unknown) || !errors.As(p[1], &unknown) || !strings.Contains(p[0].Error(), "read through journalctl") {
		t.Error(p)
	}

	tenth := reader(t, journal.Dir(dir), "PART=tenth")
	same(t, "by match", rest(tenth), []string{"0", "10"})

	r.SeekTail()
	same(t, "behind the end", rest(r), nil)
	if !r.Previous() || string(r.Entry().Field(0)) != "19" {
		t.Errorf("the last: %s", r.Entry().Field(0))
	}
	for i, step := range []func() bool{r.Previous, r.Previous, r.Next} {
		if want := []string{"18", "17", "18"}[i]; !step() || string(r.Entry().Field(0)) != want {
			t.Errorf("back and forth, step %d: %s, want %s", i, r.Entry().Field(0), want)
		}
	}
	r.SeekRealtime(cursors[7].Realtime)
	same(t, "from a time", rest(r), numbers(7, 19))
	r.SeekRealtime(cursors[7].Realtime)
	if !r.Previous() || string(r.Entry().Field(0)) != "7" {
		t.Errorf("back from a time: %s", r.Entry().Field(0))
	}
	for _, i := range []int{0, 8, 9, 15, 19} {
		if err := r.SeekCursor(cursors[i]); err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprint("behind ", i), rest(r), numbers(i+1, 19))
		if err := tenth.SeekCursor(cursors[i]); err != nil {
			t.Fatal(err)
		}
		if tenth.Next() != (i < 10) {
			t.Errorf("behind %d by match: %s", i, tenth.Entry().Field(0))
		}
		e, ok := tenth.At(cursors[i])
		if !ok || string(e.Field(0)) != fmt.Sprint(i) || e.Cursor != cursors[i] {
			t.Errorf("at %d: %v", i, ok)
		}
		if _, ok := r.Locate(cursors[i].SeqnumID, cursors[i].Seqnum); ok {
			t.Errorf("locate %d: journalctl was asked", i)
		}
		p, err := journal.ParsePosition(cursors[i].String())
		if err != nil {
			t.Fatal(err)
		}
		r.SeekPosition(p)
		same(t, fmt.Sprint("from position ", i), rest(r), numbers(i+1, 19))
	}
	gone := cursors[3]
	gone.Seqnum, gone.XorHash = gone.Seqnum+1<<40, 1
	if _, ok := r.At(gone); ok {
		t.Error("an entry that was never written")
	}
}

// A bug of ours in parsing journalctl's output does not end the program either: reading goes on when a file changes.
func TestNewerPanic(t *testing.T) {
	dir := newerDir(t)
	r := reader(t, journal.Dir(dir))
	if !r.Next() {
		t.Fatal(r.Problems())
	}
	r.BreakExport()
	same(t, "broken", rest(r), nil)
	if p := r.Problems(); len(p) != 3 || !strings.Contains(p[2].Error(), "cannot be parsed: runtime error") {
		t.Error(p)
	}
	now := time.Now()
	if err := os.Chtimes(filepath.Join(dir, "system.journal"), now, now); err != nil {
		t.Fatal(err)
	}
	same(t, "going on", next(t, r, 19), numbers(1, 19))
	if p := r.Problems(); len(p) != 2 {
		t.Error(p)
	}
}

// Files of a future systemd are followed, among others: as they grow, rotate, appear and vanish.
func TestNewerFollow(t *testing.T) {
	journaltest.Need(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "system.journal")
	in, end := journaltest.Start(t, path)
	write := func(n numbered) {
		t.Helper()
		if _, err := n.WriteTo(in); err != nil {
			t.Fatal(err)
		}
	}
	write(numbered{first: 0, last: 4})
	r := reader(t, journal.Dir(dir))
	same(t, "before", next(t, r, 5), numbers(0, 4))
	p := r.Position()
	r.Close()
	journaltest.Newer(t, path)
	r = reader(t, journal.Dir(dir))
	r.SeekPosition(p)
	write(numbered{first: 5, last: 9})
	same(t, "after", next(t, r, 5), numbers(5, 9))
	write(numbered{first: 10, last: 11})
	same(t, "growing", next(t, r, 2), numbers(10, 11))
	put(t, filepath.Join(dir, "other.journal"), numbered{first: 12, last: 14})
	same(t, "beside it", next(t, r, 3), numbers(12, 14))
	if err := os.Rename(path, filepath.Join(dir, "system@1.journal")); err != nil {
		t.Fatal(err)
	}
	write(numbered{first: 15, last: 15})
	put(t, path, numbered{first: 16, last: 18})
	journaltest.Newer(t, path)
	same(t, "rotated", next(t, r, 4), numbers(15, 18))
	end()
	for _, f := range []string{path, filepath.Join(dir, "system@1.journal")} {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	put(t, path, numbered{first: 19, last: 20})
	same(t, "gone", next(t, r, 2), numbers(19, 20))
	if p := r.Problems(); len(p) > 0 {
		t.Error(p)
	}
}
