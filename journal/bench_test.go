package journal_test

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

// benchFiles are the files of a journal of 100,000 entries, or BAILIFF_BENCH_ENTRIES, a fifth of them sshd's. They are kept in
// BAILIFF_BENCH_DIR if that is set, since a million takes a minute to write.
//
// They are read into the page cache, as on a host that was restarted after they were written. If their pages stayed there as the
// writer touched them, one by one, both readers would spend up to 0.25 µs an entry in the kernel's page tables alone.
func benchFiles(b *testing.B) []string {
	n := 100_000
	if s := os.Getenv("BAILIFF_BENCH_ENTRIES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal("BAILIFF_BENCH_ENTRIES: ", err)
		}
	}
	dir := os.Getenv("BAILIFF_BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	dir = filepath.Join(dir, strconv.Itoa(n))
	path := filepath.Join(dir, "bench.journal")
	done := filepath.Join(dir, "done")
	if _, err := os.Stat(done); err == nil {
		files := journaltest.Files(path)
		cache(b, files)
		return files
	}
	if err := os.RemoveAll(dir); err != nil {
		b.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	files := journaltest.Write(b, path, journaltest.Layout{}, journaltest.Gen{Entries: n})
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		b.Fatal(err)
	}
	cache(b, files)
	return files
}

func cache(b *testing.B, files []string) {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		if err := f.Sync(); err != nil { // pages not yet on the disk stay in the cache
			b.Fatal(err)
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, bufio.NewReaderSize(f, 1<<20)); err != nil {
			b.Fatal(err)
		}
	}
}

// cpu is the time that the whole process has used, in user and kernel mode, in every thread.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var sshd = journal.Matches{{{Field: "_SYSTEMD_UNIT", Value: "ssh.service"}}}

// readings are what the daemon reads, and the two ends around it.
var readings = []struct {
	name    string
	matches journal.Matches
	fields  []string
	cursor  bool
	all     bool
}{
	{name: "MESSAGE", matches: sshd, fields: []string{"MESSAGE"}},
	{name: "daemon", matches: sshd, fields: []string{"MESSAGE", "_SYSTEMD_UNIT", "_UID", "_PID", "SYSLOG_IDENTIFIER", "_SYSTEMD_SLICE"}, cursor: true},
	{name: "every-field", all: true},
}

// BenchmarkReader is per entry.
func BenchmarkReader(b *testing.B) {
	files := benchFiles(b)
	for _, w := range readings {
		b.Run(w.name, func(b *testing.B) {
			r, err := journal.Open(journal.Files(files...), journal.Options{Matches: w.matches, Fields: w.fields})
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			b.ReportAllocs()
			u := newUser(len(w.fields), w.cursor, w.all)
			start := cpu(b)
			for b.Loop() {
				if !r.Next() {
					r.SeekHead()
					if !r.Next() {
						b.Fatal("no entries: ", r.Problems())
					}
				}
				u.use(r.Entry())
			}
			b.ReportMetric(float64(b.N)/(cpu(b)-start).Seconds()/1e6, "M-entries/cpu-s")
			if u.size == 0 {
				b.Fatal("nothing read")
			}
		})
	}
}

// BenchmarkLookup looks up entries of two files in turns, as the evidence of a ban lies in several, and prints how many times longer it
// takes if the other file must be mapped again for each.
func BenchmarkLookup(b *testing.B) {
	files := benchFiles(b)
	var cursors []journal.Cursor
	for _, f := range files[:2] {
		r, err := journal.Open(journal.Files(f), journal.Options{})
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; i < 1000 && r.Next(); i++ {
			cursors = append(cursors, r.Entry().Cursor)
		}
		r.Close()
	}
	look := func(again bool) time.Duration {
		r, err := journal.Open(journal.Files(files[:2]...), journal.Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		start := cpu(b)
		for i := range 1000 {
			for k := range 2 {
				c := cursors[1000*k+i]
				if _, ok := r.Locate(c.SeqnumID, c.Seqnum); !ok {
					b.Fatal(c)
				}
				if again {
					r.Unmap()
				}
			}
		}
		return cpu(b) - start
	}
	var kept, anew time.Duration
	for b.Loop() {
		kept += look(false)
		anew += look(true)
	}
	b.ReportMetric(kept.Seconds()*1e6/float64(2000*b.N), "cpu-µs/lookup")
	b.ReportMetric(anew.Seconds()/kept.Seconds(), "anew/kept")
}

// user reads the requested fields. It makes its closure once, since one that is passed to Each escapes.
type user struct {
	fields      int
	cursor, all bool
	size        int
	each        func(name string, value []byte) bool
}

func newUser(fields int, cursor, all bool) *user {
	u := &user{fields: fields, cursor: cursor, all: all}
	u.each = func(name string, value []byte) bool { u.size += len(name) + len(value); return true }
	return u
}

func (u *user) use(e *journal.Entry) {
	for i := range u.fields {
		u.size += len(e.Field(i))
	}
	if u.cursor {
		c := e.Cursor
		u.size += int(c.Seqnum & 1)
	}
	if u.all {
		e.Each(u.each)
	}
}

// BenchmarkExport is per entry of the stream.
func BenchmarkExport(b *testing.B) {
	var text bytes.Buffer
	if _, err := (journaltest.Gen{Entries: 10_000}).WriteTo(&text); err != nil {
		b.Fatal(err)
	}
	for _, w := range readings {
		b.Run(w.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(text.Len() / 10_000))
			u := newUser(len(w.fields), w.cursor, w.all)
			var x *journal.ExportReader
			for b.Loop() {
				for x == nil || !x.Next() {
					x = journal.NewExport(bytes.NewReader(text.Bytes()), journal.Options{Fields: w.fields})
				}
				u.use(x.Entry())
			}
			if u.size == 0 {
				b.Fatal("nothing read")
			}
		})
	}
}
