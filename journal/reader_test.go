package journal_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

const machine = "00112233445566778899aabbccddeeff"

// numbered is entries first to last, one a millisecond, each with its number as MESSAGE. Every tenth has PART=tenth.
type numbered struct {
	first, last int
	rotate      int    // entries per file, by names of fields: see TestLive; 0: all in one file
	boot        string // "": always the same
}

func (n numbered) WriteTo(w io.Writer) (int64, error) {
	var b []byte
	n.boot = cmp.Or(n.boot, "6f71f3b14a344ab39a3db4af958d55cd")
	for i := n.first; i <= n.last; i++ {
		b = fmt.Appendf(b, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\nMESSAGE=%d\n",
			1_700_000_000_000_000+1000*i, 1000*i+1, n.boot, i)
		if i%10 == 0 {
			b = append(b, "PART=tenth\n"...)
		}
		if n.rotate > 0 {
			b = fmt.Appendf(b, "ROTATE_%d=\n", i*250/n.rotate)
		}
		b = append(b, '\n')
	}
	k, err := w.Write(b)
	return int64(k), err
}

func reader(t *testing.T, src journal.Source, matches ...string) *journal.Reader {
	t.Helper()
	ms, err := journal.ParseMatches(matches)
	if err != nil {
		t.Fatal(err)
	}
	r, err := journal.Open(src, journal.Options{Matches: ms, Fields: []string{"MESSAGE"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// rest reads on to the end.
func rest(r *journal.Reader) (got []string) {
	for r.Next() {
		got = append(got, string(r.Entry().Field(0)))
	}
	return got
}

// next waits until the wanted number of entries was read, and returns them.
func next(t *testing.T, r *journal.Reader, want int) (got []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if got = append(got, rest(r)...); len(got) >= want {
			return got
		}
		if err := r.Wait(ctx, time.Second); err != nil {
			t.Fatalf("%d of %d entries %v: %v, %v", len(got), want, got, err, r.Problems())
		}
	}
}

func numbers(first, last int) (want []string) {
	for i := first; i <= last; i++ {
		want = append(want, fmt.Sprint(i))
	}
	return want
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

// host makes a root with a machine id, and nothing else.
func host(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/machine-id"), []byte(machine+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// put writes entries into a journal file elsewhere and moves it to its place, creating the folders above it.
func put(t *testing.T, path string, n numbered) {
	t.Helper()
	aside := filepath.Join(t.TempDir(), "a.journal")
	journaltest.Write(t, aside, journaltest.Layout{}, n)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
}

// Folders that do not exist when the reader starts are found when they are created, and their kind is recognized.
func TestHostAppears(t *testing.T) {
	root := host(t)
	own := reader(t, journal.Host(root))
	if got := rest(own); got != nil {
		t.Fatal(got)
	}
	for i, path := range []string{
		"run/log/journal/" + machine + "/system.journal",
		"var/log/journal/" + machine + "/system.journal",
		"var/log/journal/" + machine + "/user-1000.journal",
		"var/log/journal/" + machine + ".web/system.journal",
		"var/log/journal/ffeeddccbbaa99887766554433221100/system.journal",
		"var/log/journal/remote/remote-mail.journal",
		"var/log/journal/" + machine + "/system@0005f0c3.journal~",
	} {
		put(t, filepath.Join(root, path), numbered{first: i, last: i})
		if i == 0 || i == 1 || i == 3 || i == 6 {
			same(t, path, next(t, own, 1), numbers(i, i))
		}
	}
	same(t, "own", rest(own), nil)
	put(t, filepath.Join(root, "var/log/journal/"+machine+"/notes.txt"), numbered{first: 9, last: 9})
	put(t, filepath.Join(root, "var/log/journal/lost+found/system.journal"), numbered{first: 9, last: 9})
	if err := own.Wait(t.Context(), 50*time.Millisecond); err != nil {
		t.Error(err)
	}
	same(t, "other files", rest(own), nil)
	if p := own.Problems(); len(p) > 0 {
		t.Error(p)
	}
}

// journalctl --flush copies entries from /run to /var with new sequence numbers, and removes the originals. Copies of entries
// already read are not new.
func TestFlush(t *testing.T) {
	root := host(t)
	volatile := filepath.Join(root, "run/log/journal", machine, "system.journal")
	put(t, volatile, numbered{first: 0, last: 9})
	r := reader(t, journal.Host(root))
	same(t, "volatile", rest(r), numbers(0, 9))
	// Read to the end, as far as it comes, before and after the removal.
	put(t, filepath.Join(root, "var/log/journal", machine, "system.journal"), numbered{first: 0, last: 12})
	same(t, "stored", next(t, r, 3), numbers(10, 12))
	if err := os.RemoveAll(filepath.Dir(volatile)); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(root, "var/log/journal", machine, "system@0.journal"), numbered{first: 3, last: 14})
	same(t, "stored again", next(t, r, 2), numbers(13, 14))
	// A reader that begins now, with all of them there, is given each once too.
	same(t, "from the head", rest(reader(t, journal.Dir(filepath.Join(root, "var/log/journal")))), numbers(0, 14))
}

// A file that is replaced by another is read to its end; the new one is read from its head.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "system.journal")
	put(t, path, numbered{first: 0, last: 4})
	r := reader(t, journal.Dir(dir))
	for range 2 {
		if !r.Next() {
			t.Fatal(r.Problems())
		}
	}
	put(t, path, numbered{first: 5, last: 7})
	same(t, "both", next(t, r, 6), numbers(2, 7))
	if err := os.Rename(path, path+"~"); err != nil {
		t.Fatal(err)
	}
	put(t, path, numbered{first: 8, last: 8})
	same(t, "renamed", next(t, r, 1), numbers(8, 8))
}

// A file that is cut off after it was read, while the reader looks at its header for more, is a problem and not the end.
func TestTruncatedAtEnd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "system.journal")
	put(t, path, numbered{first: 0, last: 4})
	r := reader(t, journal.Dir(dir))
	same(t, "whole", rest(r), numbers(0, 4))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(t.Context(), 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	same(t, "cut off", rest(r), nil)
	var corrupt *journal.CorruptError
	if p := r.Problems(); len(p) == 0 || !errors.As(p[0], &corrupt) || corrupt.Path != path {
		t.Error(p)
	}
	put(t, path, numbered{first: 5, last: 7}) // what journald does then
	same(t, "its successor", next(t, r, 3), numbers(5, 7))
}

func TestSeekCursor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.journal")
	put(t, path, numbered{first: 0, last: 40})
	every, tenth := reader(t, journal.Files(path)), reader(t, journal.Files(path), "PART=tenth")
	var cursors []journal.Cursor
	for every.Next() {
		cursors = append(cursors, every.Entry().Cursor)
	}
	if len(cursors) != 41 {
		t.Fatal(len(cursors), every.Problems())
	}
	part := func(i int, set journal.Parts) journal.Cursor {
		c := cursors[i]
		c.Set = set
		return c
	}
	gone := part(15, journal.HasAll)
	gone.SeqnumID, gone.BootID = journal.ID128{1}, journal.ID128{2} // another machine's: by time
	beyond := part(40, journal.HasAll)
	beyond.Seqnum++
	for _, c := range []struct {
		name                        string
		cursor                      journal.Cursor
		next, previous, next10, p10 string
	}{
		{"full", cursors[20], "21", "19", "30", "10"},
		{"not a match", cursors[15], "16", "14", "20", "10"},
		{"number", part(20, journal.HasSeqnumID|journal.HasSeqnum), "21", "19", "30", "10"},
		{"monotonic", part(20, journal.HasBootID|journal.HasMonotonic), "21", "19", "30", "10"},
		{"time", part(20, journal.HasRealtime), "21", "19", "30", "10"},
		{"of elsewhere", gone, "15", "15", "20", "10"},
		{"first", cursors[0], "1", "", "10", ""},
		{"last", cursors[40], "", "39", "", "30"},
		{"beyond", beyond, "", "40", "", "40"},
	} {
		for _, q := range []struct {
			what string
			r    *journal.Reader
			step func() bool
			want string
		}{
			{"next", every, every.Next, c.next}, {"previous", every, every.Previous, c.previous},
			{"next tenth", tenth, tenth.Next, c.next10}, {"previous tenth", tenth, tenth.Previous, c.p10},
		} {
			if err := q.r.SeekCursor(c.cursor); err != nil {
				t.Fatal(err)
			}
			got := ""
			if q.step() {
				got = string(q.r.Entry().Field(0))
			}
			if got != q.want {
				t.Errorf("%s, %s: %q, want %q", c.name, q.what, got, q.want)
			}
		}
	}
	if err := every.SeekCursor(journal.Cursor{Set: journal.HasXorHash}); err == nil {
		t.Error("a cursor that says no place")
	}
	// Turning round gives the neighbours, not the entry itself.
	every.SeekRealtime(cursors[20].Realtime)
	for i, step := range []func() bool{every.Next, every.Previous, every.Next, every.Next, every.Previous} {
		if want := []string{"20", "19", "20", "21", "20"}[i]; !step() || string(every.Entry().Field(0)) != want {
			t.Errorf("step %d: %s, want %s", i, every.Entry().Field(0), want)
		}
	}
}

// At and Locate leave the reader where it is, among matches and files.
func TestAt(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.journal")
	files := journaltest.Write(t, path, journaltest.Layout{}, numbered{first: 0, last: 8000, rotate: 2500})
	if len(files) < 3 {
		t.Fatal("the writer did not rotate: ", files)
	}
	r := reader(t, journal.Dir(dir), "PART=tenth")
	var cursors []journal.Cursor
	for i := 0; r.Next(); i++ {
		if got := string(r.Entry().Field(0)); got != fmt.Sprint(10*i) {
			t.Fatalf("%s where %d is due", got, 10*i)
		}
		cursors = append(cursors, r.Entry().Cursor)
		for _, k := range []int{0, i / 2, i} {
			c := cursors[k]
			if c2, ok := r.Locate(c.SeqnumID, c.Seqnum); !ok || c2 != c {
				t.Fatalf("Locate %s: %s %v", c, c2, ok)
			}
			e, ok := r.At(c)
			if !ok || string(e.Field(0)) != fmt.Sprint(10*k) {
				t.Fatalf("At %s: %v", c, ok)
			}
			fields := 0
			e.Each(func(string, []byte) bool { fields++; return true })
			if fields != 4 {
				t.Fatalf("%d fields", fields)
			}
			if i%100 != 0 {
				break
			}
		}
		if i%50 == 0 { // one that the matches leave out
			if c, ok := r.Locate(cursors[i].SeqnumID, cursors[i].Seqnum+3); !ok || c.Realtime != cursors[i].Realtime+3000 && i < 800 {
				t.Fatal(c, ok)
			}
		}
		r.Entry().Each(func(name string, value []byte) bool {
			if name == "MESSAGE" && string(value) != fmt.Sprint(10*i) {
				t.Fatalf("the current entry became %s", value)
			}
			return true
		})
		if i == 799 {
			break
		}
	}
	if _, ok := r.Locate(journal.ID128{9}, 5); ok {
		t.Error("an entry of a machine that is not there")
	}
	if _, ok := r.Locate(cursors[0].SeqnumID, 1<<40); ok {
		t.Error("an entry that was never written")
	}
}

// The failures of one ban lie in several files. Looking them up in turns maps no file a second time, and no more files than the bound.
func TestLookupsStayMapped(t *testing.T) {
	dir := t.TempDir()
	files := journaltest.Write(t, filepath.Join(dir, "a.journal"), journaltest.Layout{}, numbered{first: 0, last: 44_999, rotate: 2500})
	if len(files) < journal.MaxMapped+2 {
		t.Fatal("the writer did not rotate: ", files)
	}
	all := reader(t, journal.Dir(dir))
	var cursors []journal.Cursor
	for all.Next() {
		cursors = append(cursors, all.Entry().Cursor)
	}
	lookUp := func(r *journal.Reader, n int) {
		for i := range n {
			c := cursors[i*2500]
			if got, ok := r.Locate(c.SeqnumID, c.Seqnum); !ok || got != c {
				t.Fatalf("entry %d: %s, %v", i*2500, got, ok)
			}
		}
	}
	few := journal.MaxMapped / 2
	r := reader(t, journal.Dir(dir))
	lookUp(r, few)
	before := r.Mappings()
	lookUp(r, few)
	if after := r.Mappings(); len(before) < few || !maps.Equal(before, after) {
		t.Errorf("mapped again: %d files, then %d", len(before), len(after))
	}
	for range 2 {
		lookUp(r, journal.MaxMapped+2)
		if n := r.Mapped(); n > journal.MaxMapped {
			t.Errorf("%d files are mapped", n)
		}
	}
}

// Of many archived files only those at the reader's position are mapped, and none stays open once it is read.
func TestFewMapped(t *testing.T) {
	dir := t.TempDir()
	journaltest.Write(t, filepath.Join(dir, "a.journal"), journaltest.Layout{}, numbered{first: 0, last: 19_999, rotate: 2500})
	r := reader(t, journal.Dir(dir))
	mapped := func() int { return r.Mapped() }
	if r.Files() < 7 {
		t.Fatal("the writer did not rotate: ", r.Files())
	}
	most, n := 0, 0
	for ; r.Next(); n++ {
		most = max(most, mapped())
	}
	if n != 20_000 || most > 2 {
		t.Errorf("forward: %d entries, %d files mapped at once", n, most)
	}
	held := 0
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && filepath.Dir(to) == dir {
			held++
		}
	}
	if held > 1 {
		t.Errorf("%d files are open when all are read", held)
	}
	r.SeekTail()
	for most, n = 0, 0; r.Previous(); n++ {
		most = max(most, mapped())
	}
	if n != 20_000 || most > 3 {
		t.Errorf("backward: %d entries, %d files mapped at once", n, most)
	}
	r.SeekRealtime(1_700_000_000_000_000 + 1000*15_000)
	if !r.Next() || string(r.Entry().Field(0)) != "15000" {
		t.Errorf("by time: %s", r.Entry().Field(0))
	}
	same(t, "to the end", rest(r), numbers(15_001, 19_999))
}

// A file of a future systemd that the installed journalctl cannot read either is reported by name and type; the other is read.
func TestUnknownFlags(t *testing.T) {
	dir := t.TempDir()
	future := filepath.Join(dir, "future.journal")
	put(t, future, numbered{first: 0, last: 9})
	put(t, filepath.Join(dir, "now.journal"), numbered{first: 10, last: 19})
	b, err := os.ReadFile(future)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(b[12:], binary.LittleEndian.Uint32(b[12:])|1<<7)
	if err := os.WriteFile(future, b, 0o640); err != nil {
		t.Fatal(err)
	}
	r := reader(t, journal.Dir(dir))
	same(t, "the other", rest(r), numbers(10, 19))
	var unknown *journal.UnknownFlagsError
	p := r.Problems()
	if len(p) != 2 || !errors.As(p[0], &unknown) || unknown.Path != future || unknown.Flags != 1<<7 ||
		!strings.Contains(p[1].Error(), future+": not read: journalctl cannot read it either: journalctl: exit status 1") {
		t.Error(p)
	}
}

// A file that is being made is no problem, and is read when it is complete.
func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(t.TempDir(), "a.journal")
	put(t, whole, numbered{first: 0, last: 3})
	b, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "system.journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := reader(t, journal.Dir(dir))
	at := 0
	for _, n := range []int{0, 8, 100, 207, 1 << 30} {
		n = min(n, len(b))
		if _, err := f.Write(b[at:n]); err != nil {
			t.Fatal(err)
		}
		at = n
		if n < len(b) {
			same(t, fmt.Sprint(n, " bytes"), rest(r), nil)
		}
	}
	same(t, "complete", next(t, r, 4), numbers(0, 3))
	if p := r.Problems(); len(p) > 0 {
		t.Error(p)
	}
}

// With nothing to read the reader sleeps to the end of the wait, and a context ends it.
func TestWaitIdle(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.journal"), numbered{first: 0, last: 3})
	r := reader(t, journal.Dir(dir))
	r.SeekTail()
	if r.Next() {
		t.Fatal("there is an entry behind the last")
	}
	if err := r.Wait(t.Context(), 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	before, start := r.Wakeups(), time.Now()
	if err := r.Wait(t.Context(), 400*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if n, took := r.Wakeups()-before, time.Since(start); n > 3 || took < 400*time.Millisecond {
		t.Errorf("woke %d times in %v", n, took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := r.Wait(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// While entries come one after another, each is noticed long before inotify would tell (systemd-journal-remote does so as journald does,
// every 250 ms): most within a few milliseconds.
func TestWaitPrompt(t *testing.T) {
	journaltest.Need(t)
	const entries = 40
	dir := t.TempDir()
	in, end := journaltest.Start(t, filepath.Join(dir, "a.journal"))
	r := reader(t, journal.Dir(dir), "_BOOT_ID=6f71f3b14a344ab39a3db4af958d55cd")
	var took []time.Duration
	for i := range entries {
		if _, err := (numbered{first: i, last: i}).WriteTo(in); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		same(t, "the next", next(t, r, 1), numbers(i, i))
		took = append(took, time.Since(start))
	}
	end()
	slices.Sort(took)
	t.Logf("noticed within: median %v, worst %v", took[entries/2], took[entries-1])
	if took[entries/2] > 50*time.Millisecond {
		t.Errorf("half of the entries took %v and more", took[entries/2])
	}
}
