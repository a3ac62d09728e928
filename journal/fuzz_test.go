package journal_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

var update = flag.Bool("update", false, "write the journal files under testdata anew")

// The files under testdata were written by systemd-journal-remote 252 from journaltest.Gen (go test -run TestTestdata -update).
var testdata = map[string]struct {
	layout journaltest.Layout
	gen    journaltest.Gen
}{
	"compact-zstd":       {journaltest.Layout{}, journaltest.Gen{Entries: 120, Boots: 2, Odd: true, Seed: 1, SSHD: 0.4}},
	"compact-lz4":        {journaltest.Layout{Compressor: journaltest.LZ4}, journaltest.Gen{Entries: 120, Boots: 2, Seed: 2, SSHD: 0.4}},
	"regular-xz":         {journaltest.Layout{Regular: true, Compressor: journaltest.XZ}, journaltest.Gen{Entries: 120, Odd: true, Seed: 3}},
	"regular-jenkins":    {journaltest.Layout{Regular: true, Jenkins: true, Plain: true}, journaltest.Gen{Entries: 120, Seed: 4, SSHD: 0.6}},
	"intact-beside-them": {journaltest.Layout{}, journaltest.Gen{Entries: 50, Seed: 5, BootSeed: 5, SSHD: 0.5}},
}

// unpack gives the bytes of a file under testdata.
func unpack(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".journal.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(name, err)
	}
	return b
}

// Every file under testdata gives the entries it was made from.
func TestTestdata(t *testing.T) {
	for name, d := range testdata {
		t.Run(name, func(t *testing.T) {
			if *update {
				files := journaltest.Write(t, filepath.Join(t.TempDir(), "a.journal"), d.layout, d.gen)
				b, err := os.ReadFile(files[0])
				if err != nil {
					t.Fatal(err)
				}
				w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join("testdata", name+".journal.zst"), w.EncodeAll(b, nil), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(t.TempDir(), "a.journal")
			if err := os.WriteFile(path, unpack(t, name), 0o640); err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if _, err := d.gen.WriteTo(&text); err != nil {
				t.Fatal(err)
			}
			o := journal.Options{Fields: []string{"MESSAGE", "_PID", "_SYSTEMD_UNIT"}}
			x := journal.NewExport(&text, o)
			r, err := journal.Open(journal.Files(path), o)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			n := 0
			for x.Next() {
				if !r.Next() {
					t.Fatalf("ends after %d entries: %v", n, r.Problems())
				}
				a, b := x.Entry(), r.Entry()
				for i := range o.Fields {
					if !bytes.Equal(a.Field(i), b.Field(i)) {
						t.Fatalf("entry %d: %s=%.200q, want %.200q", n, o.Fields[i], b.Field(i), a.Field(i))
					}
				}
				if a.Realtime != b.Realtime || a.BootID != b.BootID {
					t.Fatalf("entry %d: %d %v, want %d %v", n, b.Realtime, b.BootID, a.Realtime, a.BootID)
				}
				n++
			}
			if x.Err() != nil || n != d.gen.Entries || r.Next() {
				t.Fatalf("%d entries, %v", n, x.Err())
			}
		})
	}
}

// A victim is a journal file in a folder beside an intact one. Mutations are written to it and taken back.
type victim struct {
	orig   []byte
	words  []int // offsets of 8-byte words that are not zero: there the format is
	path   string
	intact string
}

func newVictim(t testing.TB, name string) *victim {
	dir := t.TempDir()
	v := &victim{orig: unpack(t, name), path: filepath.Join(dir, "victim.journal"), intact: filepath.Join(dir, "intact.journal")}
	for i := 0; i+8 <= len(v.orig); i += 8 {
		if binary.LittleEndian.Uint64(v.orig[i:]) != 0 {
			v.words = append(v.words, i)
		}
	}
	if err := os.WriteFile(v.path, v.orig, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.intact, unpack(t, "intact-beside-them"), 0o640); err != nil {
		t.Fatal(err)
	}
	return v
}

// mutate applies a program of 8-byte steps to the file and returns a function that undoes it.
func (v *victim) mutate(t testing.TB, prog []byte) (undo func()) {
	f, err := os.OpenFile(v.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var dirty []int
	truncated := false
	for ; len(prog) >= 8 && len(dirty) < 8; prog = prog[8:] {
		place := int(binary.LittleEndian.Uint32(prog))
		at := v.words[place%len(v.words)]
		if prog[7]&1 == 1 { // one in two in the header, where one word steers everything
			at = place % 34 * 8
		}
		old := binary.LittleEndian.Uint64(v.orig[at:])
		other := binary.LittleEndian.Uint64(v.orig[v.words[int(binary.LittleEndian.Uint16(prog[4:]))%len(v.words)]:])
		var word uint64
		switch prog[6] % 10 {
		case 0:
			word = old ^ 1<<(prog[5]&63)
		case 1:
			word = 0
		case 2:
			word = 1<<64 - 1
		case 3:
			word = 1 << 63
		case 4:
			word = other // often the offset of another object
		case 5:
			word = uint64(at) // an object that points to itself
		case 6:
			word = old + uint64(prog[4]) - 128
		case 7:
			word = uint64(len(v.orig)) - uint64(prog[4])
		case 8:
			word = uint64(v.words[int(binary.LittleEndian.Uint16(prog[4:]))%len(v.words)])
		case 9:
			if err := f.Truncate(int64(at + int(prog[4]))); err != nil {
				t.Fatal(err)
			}
			truncated = true
			continue
		}
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], word)
		if _, err := f.WriteAt(b[:], int64(at)); err != nil {
			t.Fatal(err)
		}
		dirty = append(dirty, at)
	}
	return func() {
		if err := f.Truncate(int64(len(v.orig))); err != nil {
			t.Fatal(err)
		}
		// A truncation may have taken any of it, up to the last word that is not zero.
		end := v.words[len(v.words)-1] + 8
		if truncated {
			dirty = append(dirty[:0], 0)
		} else {
			end = 8
		}
		for _, at := range dirty {
			if _, err := f.WriteAt(v.orig[at:at+end], int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
}

// selected are the matches that mutated files are read with.
var selected = []string{"", "_SYSTEMD_UNIT=ssh.service", "_SYSTEMD_UNIT=ssh.service _UID=0 + SYSLOG_IDENTIFIER=CRON"}

// read reads the victim and the intact file together, forward, backward and from a time. Whatever the victim contains, reading
// ends, takes no more steps than the file has room for entries, and returns all entries of the intact file.
func (v *victim) read(t testing.TB, sel string, prog []byte) {
	const intact = 50
	// The slowest takes half a second by itself; 16 side by side, under the race detector and on a busy machine, some have taken 20.
	// Steps are bounded below: this only finds what hangs within one.
	const hangs = 2 * time.Minute
	alarm := time.AfterFunc(hangs, func() { panic(fmt.Sprintf("no end after %v: mutation %#v", hangs, prog)) })
	defer alarm.Stop()
	most := len(v.orig)/64 + intact // an entry object is 64 bytes at least
	m, err := journal.ParseMatches(strings.Fields(sel))
	if err != nil {
		t.Fatal(err)
	}
	o := journal.Options{Matches: m}
	if sel != "" {
		o.Fields = []string{"MESSAGE", "_PID"}
	}
	want := 0
	x := journal.NewExport(intactText(), o)
	var good journal.ID128
	for x.Next() {
		want++
		good = x.Entry().BootID
	}
	r, err := journal.Open(journal.Files(v.path, v.intact), o)
	if err != nil {
		t.Fatalf("one bad file among two: %v: mutation %#v", err, prog)
	}
	bytes := 0
	for _, way := range []struct {
		name string
		step func() bool
		seek func()
	}{
		{"forward", r.Next, r.SeekHead},
		{"backward", r.Previous, r.SeekTail},
	} {
		way.seek()
		n, found := 0, 0
		for ; way.step(); n++ {
			if n > most {
				t.Fatalf("%q %s: more than %d entries: mutation %#v", sel, way.name, most, prog)
			}
			e := r.Entry()
			if e.BootID == good {
				found++
			}
			e.Each(func(name string, value []byte) bool { bytes += len(name) + len(value); return true })
			for i := range o.Fields {
				bytes += len(e.Field(i))
			}
		}
		if found != want {
			t.Errorf("%q %s: %d of %d entries of the intact file: mutation %#v", sel, way.name, found, want, prog)
		}
	}
	r.SeekRealtime(1_700_000_000_050_000)
	r.Next()
	r.SeekRealtime(1_700_000_000_050_000)
	r.Previous()
	if err := r.Close(); err != nil {
		t.Errorf("%v: mutation %#v", err, prog)
	}
}

var intactOnce = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	testdata["intact-beside-them"].gen.WriteTo(&b)
	return b.Bytes()
})

func intactText() io.Reader { return bytes.NewReader(intactOnce()) }

// TestMutations runs some thousand mutations, always the same, within seconds; FuzzFile looks for more. They run side by side since
// closing a reader waits for the kernel (some 8 ms for inotify), not for the processor.
func TestMutations(t *testing.T) {
	const shards = 4
	n := 250
	if testing.Short() {
		n = 30
	}
	var wg sync.WaitGroup
	for name := range testdata {
		if name == "intact-beside-them" {
			continue
		}
		for shard := range uint64(shards) {
			wg.Add(1)
			go func() {
				defer wg.Done()
				t.Run(fmt.Sprint(name, "-", shard), func(t *testing.T) {
					v := newVictim(t, name)
					r := rand.New(rand.NewPCG(shard, uint64(len(name))))
					for i := range n {
						prog := make([]byte, 8*(1+r.IntN(3)))
						for i := range prog {
							prog[i] = byte(r.Uint32())
						}
						undo := v.mutate(t, prog)
						v.read(t, selected[i%len(selected)], prog)
						undo()
						if t.Failed() {
							return
						}
					}
					// After undo the file reads as at first.
					v.read(t, "", nil)
					if b, err := os.ReadFile(v.path); err != nil || !bytes.Equal(b, v.orig) {
						t.Fatal("a mutation was not taken back: the test is wrong: ", err)
					}
				})
			}()
		}
	}
	wg.Wait()
}

func FuzzFile(f *testing.F) {
	f.Add(byte(0), []byte{1, 0, 0, 0, 2, 3, 5, 0})
	f.Add(byte(1), []byte{200, 1, 0, 0, 9, 9, 4, 0, 11, 0, 0, 0, 0, 0, 2, 1})
	f.Add(byte(2), []byte{22, 0, 0, 0, 1, 0, 9, 1})
	names := []string{"compact-zstd", "compact-lz4", "regular-xz", "regular-jenkins"}
	var victims []*victim
	for _, n := range names {
		victims = append(victims, newVictim(f, n))
	}
	f.Fuzz(func(t *testing.T, which byte, prog []byte) {
		v := victims[int(which)%len(victims)]
		defer v.mutate(t, prog)()
		v.read(t, selected[int(which)/len(victims)%len(selected)], prog)
	})
}

// Entries that are accepted, written out as export text and read again are the same entries.
func FuzzExport(f *testing.F) {
	f.Add([]byte(text()))
	f.Add([]byte("__REALTIME_TIMESTAMP=1\nMESSAGE\n\x02\x00\x00\x00\x00\x00\x00\x00a\n\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		type entry struct {
			realtime uint64
			fields   []field
		}
		read := func(in []byte) (all []entry, err error) {
			x := journal.NewExport(bytes.NewReader(in), journal.Options{})
			for x.Next() {
				all = append(all, entry{x.Entry().Realtime, fields(x.Entry())})
			}
			return all, x.Err()
		}
		first, _ := read(in)
		var out []byte
		for _, e := range first {
			out = fmt.Appendf(out, "__REALTIME_TIMESTAMP=%d\n", e.realtime)
			for _, f := range e.fields {
				out = journaltest.Field(out, f.name, []byte(f.value))
			}
			out = append(out, '\n')
		}
		second, err := read(out)
		if err != nil || fmt.Sprint(first) != fmt.Sprint(second) {
			t.Fatalf("%v: %q, then %q", err, first, second)
		}
	})
}

// An accepted cursor, written as text, is accepted again and means the same.
func FuzzCursor(f *testing.F) {
	f.Add("s=cce0e3af1b74493080865256befafa42;i=233;b=6f71f3b14a344ab39a3db4af958d55cd;m=88f78cea;t=660de7ff7d29b;x=a911c7477a7e82b4")
	f.Add("s=cce0e3af1b74493080865256befafa42;i=1")
	f.Add("t=1;q=2;t=3")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := journal.ParseCursor(s)
		if err != nil {
			return
		}
		again, err := journal.ParseCursor(c.String())
		if err != nil || again != c {
			t.Fatalf("%q: %v, then %v, %v", s, c, again, err)
		}
	})
}
