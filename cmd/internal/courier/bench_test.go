package courier

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"bailiff/policy/report"
)

// BenchmarkWaiting says what 100,000 deliveries that wait cost: memory, the file, and the time to take one, to read all
// back at a start, and to write the file anew.
func BenchmarkWaiting(b *testing.B) {
	const waiting = 100_000
	for range b.N {
		dir := b.TempDir()
		heap := func() uint64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		q, err := Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		line := report.Line{Hostname: "mail.example.net", Identifier: "sshd", PID: 4711, Unit: "ssh.service", Message: []byte("Failed password for invalid user admin from 198.51.100.7 port 40000 ssh2"),
			Cursor: "s=4a3f1c2e9b8d47f6a1b2c3d4e5f60718;i=1a2b3c;b=0f1e2d3c4b5a69788796a5b4c3d2e1f0;m=123456789;t=5f0a1b2c3d4e5;x=9f8e7d6c5b4a3928"}
		begin := time.Now()
		for i := 0; i < waiting; i += 50 {
			var batch []taken
			for k := range 50 {
				a := netip.AddrFrom4([4]byte{198, 18 + byte((i+k)>>16), byte((i + k) >> 8), byte(i + k)})
				key := fmt.Sprintf("%016x", i+k)
				r := &report.Report{ID: key, Address: a, Prefix: netip.PrefixFrom(a, 32), Jail: "sshd", Lines: []report.Line{line, line, line, line, line}}
				batch = append(batch, taken{Key: key, ID: key, Address: a, Jail: "sshd", Time: int64(i), Since: begin.UnixMicro(), To: []string{"admin"}, report: r})
			}
			if err := q.Take(position{"i=1", uint64(i)}, batch); err != nil {
				b.Fatal(err)
			}
			if err := q.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(time.Since(begin).Microseconds())/waiting, "µs/report")
		b.ReportMetric(float64(heap()-before)/waiting, "B-heap/report")
		b.ReportMetric(float64(q.wal.end)/waiting, "B-disk/report")
		begin = time.Now()
		if err := q.compact(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s/compact")
		q.close()
		q = nil
		begin = time.Now()
		if q, err = Open(dir); err != nil || len(q.reps) != waiting {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s/start")
		b.ReportMetric(float64(heap()-before)/waiting, "B-heap-read/report")
		q.close()
	}
}
