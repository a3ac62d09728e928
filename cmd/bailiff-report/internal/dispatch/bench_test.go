package dispatch

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// BenchmarkWaiting measures the cost of 100,000 waiting deliveries: memory, the file, and the time to take one, to read all back at a
// start, and to compact the file.
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
		q := openTest(b, dir)
		begin := time.Now()
		for i := 0; i < waiting; i += 50 {
			for k := range 50 {
				add(b, q, fmt.Sprintf("%016x", i+k), 300, "admin")
			}
			if err := q.commit(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(time.Since(begin).Microseconds())/waiting, "µs/report")
		b.ReportMetric(float64(heap()-before)/waiting, "B-heap/report")
		b.ReportMetric(float64(q.log.end)/waiting, "B-disk/report")
		begin = time.Now()
		if err := q.compact(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s/compact")
		begin = time.Now()
		if q = openTest(b, dir); len(q.reports) != waiting {
			b.Fatal(len(q.reports))
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s/start")
	}
}

// BenchmarkStorm measures what the queue costs while 1,000 bans are taken one by one and delivered to two destinations.
func BenchmarkStorm(b *testing.B) {
	for range b.N {
		q := openTest(b, b.TempDir())
		for i := range 1000 {
			key := fmt.Sprintf("%016x", i)
			add(b, q, key, 300, "one", "two")
			if err := q.commit(); err != nil {
				b.Fatal(err)
			}
			for _, x := range q.sorted() {
				for _, s := range []state{delivering, done} {
					q.write(kindDelivery, recDelivery{Dest: x.name, Key: itemKey(key, x.name), State: s}, nil)
					if err := q.commit(); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
	}
}
