//go:build libsystemd

package journal_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/sdjournal"

	"bailiff/journal"
)

// BenchmarkAgainstLibsystemd reads MESSAGE of sshd's entries of the same files with both readers, in turns, and gives the ratio of
// their entries per second of CPU. Each reads with the fewest calls there are: sdjournal Next and GetDataBytes.
func BenchmarkAgainstLibsystemd(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	files := benchFiles(b)
	var ours, theirs time.Duration
	entries := 0
	for b.Loop() {
		start := cpu(b)
		n, size := readOurs(b, files)
		middle := cpu(b)
		m, length := readTheirs(b, files)
		ours, theirs = ours+middle-start, theirs+cpu(b)-middle
		if n != m || size != length || n == 0 {
			b.Fatalf("%d entries of %d bytes, libsystemd has %d of %d", n, size, m, length)
		}
		entries += n
	}
	b.ReportMetric(float64(entries)/ours.Seconds(), "entries/cpu-s")
	b.ReportMetric(float64(entries)/theirs.Seconds(), "libsystemd-entries/cpu-s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
	b.ReportMetric(float64(entries)/float64(b.N), "entries")
}

func readOurs(b *testing.B, files []string) (n, size int) {
	r, err := journal.Open(journal.Files(files...), journal.Options{Matches: sshd, Fields: []string{"MESSAGE"}})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for r.Next() {
		n++
		size += len(r.Entry().Field(0))
	}
	return n, size
}

func readTheirs(b *testing.B, files []string) (n, size int) {
	j, err := sdjournal.NewJournalFromFiles(files...)
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	if err := j.AddMatch("_SYSTEMD_UNIT=ssh.service"); err != nil {
		b.Fatal(err)
	}
	for {
		step, err := j.Next()
		if err != nil {
			b.Fatal(err)
		}
		if step == 0 {
			return n, size
		}
		v, err := j.GetDataBytes("MESSAGE")
		if err != nil {
			b.Fatal(err)
		}
		n++
		size += len(v) - len("MESSAGE=")
	}
}
