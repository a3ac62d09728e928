package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ulikunitz/xz"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

// text is an export stream of two entries; the first one's MESSAGE is length-coded.
func text() string {
	var b []byte
	b = append(b, "__CURSOR=s=cce0e3af1b74493080865256befafa42;i=233;b=6f71f3b14a344ab39a3db4af958d55cd;m=88f78cea;t=660de7ff7d29b;x=a911c7477a7e82b4\n"+
		"__REALTIME_TIMESTAMP=1795358606217883\n__MONOTONIC_TIMESTAMP=2297924842\n_BOOT_ID=6f71f3b14a344ab39a3db4af958d55cd\n"+
		"_UID=0\nTWICE=a\n"...)
	b = journaltest.Field(b, "MESSAGE", []byte("one\n\nMESSAGE=forged\n"))
	b = append(b, "TWICE=b\n_FUTURE=\n\n"+
		"__REALTIME_TIMESTAMP=1795358606217884\n__SEQNUM=17\n__SEQNUM_ID=cce0e3af1b74493080865256befafa42\n__LATER=x\n_UID=1000\nMESSAGE=a=b\n\n"...)
	return string(b)
}

type field struct{ name, value string }

func fields(e *journal.Entry) (all []field) {
	e.Each(func(name string, value []byte) bool {
		all = append(all, field{name, string(value)})
		return true
	})
	return all
}

func TestExport(t *testing.T) {
	for name, r := range map[string]io.Reader{
		"whole":        strings.NewReader(text()),
		"byte by byte": iotest.OneByteReader(strings.NewReader(text())),
		"data and EOF": iotest.DataErrReader(strings.NewReader(text())),
		"blank lines":  strings.NewReader("\n\n" + text() + "\n\n"),
	} {
		t.Run(name, func(t *testing.T) {
			x := journal.NewExport(r, journal.Options{})
			if !x.Next() {
				t.Fatal(x.Err())
			}
			e := x.Entry()
			if c := e.Cursor.String(); c != "s=cce0e3af1b74493080865256befafa42;i=233;b=6f71f3b14a344ab39a3db4af958d55cd;m=88f78cea;t=660de7ff7d29b;x=a911c7477a7e82b4" {
				t.Error(c)
			}
			if e.Realtime != 1795358606217883 || e.Monotonic != 2297924842 || e.BootID.String() != "6f71f3b14a344ab39a3db4af958d55cd" || e.Seqnum != 0x233 {
				t.Error(e.Realtime, e.Monotonic, e.BootID, e.Seqnum)
			}
			want := []field{{"_BOOT_ID", "6f71f3b14a344ab39a3db4af958d55cd"}, {"_UID", "0"}, {"TWICE", "a"}, {"MESSAGE", "one\n\nMESSAGE=forged\n"}, {"TWICE", "b"}, {"_FUTURE", ""}}
			if got := fields(e); !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
			if !x.Next() {
				t.Fatal(x.Err())
			}
			e = x.Entry()
			if c := e.Cursor.String(); c != "s=cce0e3af1b74493080865256befafa42;i=11;t=660de7ff7d29c" { // absent parts are not set
				t.Error(c)
			}
			if got := fields(e); !slices.Equal(got, []field{{"_UID", "1000"}, {"MESSAGE", "a=b"}}) {
				t.Errorf("%q", got)
			}
			if x.Next() || x.Err() != nil {
				t.Error("not at the end: ", x.Err())
			}
			if x.Offset() < int64(len(text())) {
				t.Error(x.Offset())
			}
		})
	}
}

func TestExportFields(t *testing.T) {
	x := journal.NewExport(strings.NewReader(text()), journal.Options{Fields: []string{"MESSAGE", "TWICE", "NONE", "_FUTURE", "_BOOT_ID"}})
	x.Next()
	e := x.Entry()
	for i, want := range []string{"one\n\nMESSAGE=forged\n", "b", "<nil>", "", "6f71f3b14a344ab39a3db4af958d55cd"} {
		got := string(e.Field(i))
		if e.Field(i) == nil {
			got = "<nil>"
		}
		if got != want {
			t.Errorf("field %d is %q, want %q", i, got, want)
		}
	}
	x.Next()
	if e := x.Entry(); string(e.Field(0)) != "a=b" || e.Field(1) != nil || e.Field(4) != nil {
		t.Errorf("%q %q %q", e.Field(0), e.Field(1), e.Field(4))
	}
}

func TestExportMatches(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string // _UID of those that match
	}{
		{"", []string{"0", "1000"}},
		{"_UID=0", []string{"0"}},
		{"_UID=0 _UID=1000", []string{"0", "1000"}},
		{"_UID=0 TWICE=b", []string{"0"}},
		{"_UID=1000 TWICE=b", nil},
		{"_UID=1000 + TWICE=b", []string{"0", "1000"}},
		{"_FUTURE=", []string{"0"}},
		{"TWICE=", nil},
		{"MESSAGE=forged", nil},
		{"MESSAGE=a", nil},
		{"MESSAGE=a=b", []string{"1000"}},
	} {
		m, err := journal.ParseMatches(strings.Fields(c.args))
		if err != nil {
			t.Fatal(err)
		}
		x := journal.NewExport(strings.NewReader(text()), journal.Options{Matches: m, Fields: []string{"_UID"}})
		var got []string
		for x.Next() {
			got = append(got, string(x.Entry().Field(0)))
		}
		if x.Err() != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q (%v)", c.args, got, c.want, x.Err())
		}
	}
}

func TestExportErrors(t *testing.T) {
	const head = "__REALTIME_TIMESTAMP=1\n"
	long := func(n uint64) string { return string(binary.LittleEndian.AppendUint64([]byte("MESSAGE\n"), n)) }
	for _, c := range []struct{ in, want string }{
		{head + "message=x\n\n", `export stream, entry 1 (byte 0), at byte 23: "m" is not a field name (A to Z, 0 to 9 and _, no digit first)`},
		{text() + head + "1A=x\n\n", `"1A=" is not a field name`},
		{head + "=x\n\n", "field without a name"},
		{head + strings.Repeat("A", 65) + "=\n\n", "field name longer than 64 bytes"},
		{head + strings.Repeat("A=\n", 5000) + "\n", "more than 4096 fields"},
		{head + "A=x\n", "the stream ends inside the entry (an entry ends with an empty line)"},
		{head + "A=x", "the stream ends inside the entry"},
		{head + long(5) + "abcdefgh\n\n", "no newline after a value of 5 bytes"},
		{head + long(1<<62), "a value of 4611686018427387904 bytes; more than 1073741824 means a broken stream"},
		{head + long(1<<20) + "abc", "the stream ends inside the entry"},
		{"A=x\n\n", "the entry has no __REALTIME_TIMESTAMP"},
		{"__REALTIME_TIMESTAMP=12x\n\n", `__REALTIME_TIMESTAMP: "12x" is not a decimal number of 64 bits`},
		{"__REALTIME_TIMESTAMP=18446744073709551616\n\n", `is not a decimal number of 64 bits`},
		{"__REALTIME_TIMESTAMP=\n\n", `__REALTIME_TIMESTAMP: "" is not a decimal number of 64 bits`},
		{head + "__CURSOR=s=1\n\n", "__CURSOR: cursor"},
		{head + "_BOOT_ID=1\n\n", "_BOOT_ID: "},
	} {
		for _, o := range []journal.Options{{}, {Fields: []string{"B"}}} {
			x := journal.NewExport(strings.NewReader(c.in), o)
			for x.Next() {
			}
			if x.Err() == nil || !strings.Contains(x.Err().Error(), c.want) {
				t.Errorf("%.40q: %v, want %s", c.in, x.Err(), c.want)
			}
			if x.Next() {
				t.Errorf("%.40q: goes on after an error", c.in)
			}
		}
	}
	broken := errors.New("cable cut")
	x := journal.NewExport(io.MultiReader(strings.NewReader(text()+"A="), iotest.ErrReader(broken)), journal.Options{})
	for x.Next() {
	}
	if !errors.Is(x.Err(), broken) || !strings.Contains(x.Err().Error(), "entry 3 (byte ") {
		t.Error(x.Err())
	}
}

// A value of any length is held only if it is requested, and then cut at a limit.
func TestExportSizes(t *testing.T) {
	const size = 100 << 20
	stream := func() io.Reader {
		head := binary.LittleEndian.AppendUint64([]byte("__REALTIME_TIMESTAMP=1\nHUGE\n"), size)
		return io.MultiReader(bytes.NewReader(head), io.LimitReader(zeros{}, size), strings.NewReader("\nMESSAGE=x\n\n"))
	}
	x := journal.NewExport(stream(), journal.Options{Fields: []string{"MESSAGE"}})
	if n := testing.AllocsPerRun(1, func() {
		y := journal.NewExport(stream(), journal.Options{Fields: []string{"MESSAGE"}})
		y.Next()
	}); n > 30 {
		t.Errorf("%v allocations to pass over a value", n)
	}
	if !x.Next() || string(x.Entry().Field(0)) != "x" {
		t.Fatal(x.Err())
	}
	for most, want := range map[int]int{0: 64 << 10, 100: 100, 1 << 30: 64 << 20} {
		x = journal.NewExport(stream(), journal.Options{Fields: []string{"HUGE", "MESSAGE"}, MaxValue: most})
		if !x.Next() || len(x.Entry().Field(0)) > want || len(x.Entry().Field(0)) < want-10 {
			t.Errorf("of %d bytes at most come %d: %v", most, len(x.Entry().Field(0)), x.Err())
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// What journalctl exports from real files is what Reader reads from them: same entries, order, cursors, and the fields in order.
func TestExportOfJournalctl(t *testing.T) {
	journaltest.Need(t)
	if _, err := exec.LookPath("journalctl"); err != nil {
		t.Fatal(err)
	}
	for _, set := range append(captures(t), written(t, 2000)...) {
		t.Run(set.name, func(t *testing.T) {
			args := []string{"--quiet", "-o", "export"}
			for _, f := range set.files {
				args = append(args, "--file="+f)
			}
			out, err := exec.Command("journalctl", args...).Output()
			if err != nil {
				t.Fatal(err)
			}
			x := journal.NewExport(bytes.NewReader(out), journal.Options{})
			r, err := journal.Open(journal.Files(set.files...), journal.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			turns := map[journal.ID128]*journal.Reader{} // where only the order within a boot counts: one for each boot
			byBoot, total := set.byBoot(t), 0
			for byBoot && r.Next() {
				total++
			}
			n := 0
			for x.Next() {
				a := x.Entry()
				if byBoot {
					r = nextOf(t, turns, set.files, nil, a.BootID, (*journal.Reader).SeekHead, (*journal.Reader).Next)
				} else if !r.Next() {
					t.Fatalf("Reader ends after %d entries: %v", n, r.Problems())
				}
				b := r.Entry()
				if a.Cursor != b.Cursor || a.Realtime != b.Realtime || a.Monotonic != b.Monotonic || a.BootID != b.BootID || a.Seqnum != b.Seqnum || a.SeqnumID != b.SeqnumID {
					t.Fatalf("entry %d: %v, Reader has %v", n, a.Cursor, b.Cursor)
				}
				boot := func(f field) bool { return f.name == "_BOOT_ID" } // journalctl puts it first
				fa, fb := slices.DeleteFunc(fields(a), boot), slices.DeleteFunc(fields(b), boot)
				if !slices.Equal(fa, fb) {
					t.Fatalf("%v: %.2000q, Reader has %.2000q", a.Cursor, fa, fb)
				}
				n++
			}
			if x.Err() != nil || !byBoot && r.Next() || byBoot && n != total || n == 0 {
				t.Fatalf("after %d entries (Reader has %d): %v", n, total, x.Err())
			}
		})
	}
}

// The captured exports of real hosts are read to their end.
func TestExportCaptures(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(shared(), "journal", "*", "*.export*"))
	if len(files) == 0 {
		t.Skip("no captures of real hosts: set BAILIFF_SHARED to the folder that holds journal/*/*.export")
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var r io.Reader = f
		if strings.HasSuffix(name, ".xz") {
			if r, err = xz.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Count(b, []byte("\n__CURSOR=")) + 1
		x := journal.NewExport(bytes.NewReader(b), journal.Options{Fields: []string{"MESSAGE"}})
		n := 0
		for ; x.Next(); n++ {
			if x.Entry().Field(0) == nil {
				t.Errorf("%s: %v has no MESSAGE", name, x.Entry().Cursor)
			}
		}
		if x.Err() != nil || n != want {
			t.Errorf("%s: %d entries of %d: %v", name, n, want, x.Err())
		}
	}
}
