package dispatch

import (
	"context"
	"time"

	"bailiff/units/metrics"
)

// outcomeCounts counts the reports of a destination that left the queue, and attempts that failed, since start.
type outcomeCounts struct{ delivered, dropped, errors uint64 }

// Metrics returns metrics for Prometheus. It neither keeps an idle process running nor waits for the disk, as other calls do.
func (d *Dispatcher) Metrics(ctx context.Context) (*metrics.Set, error) {
	done := make(chan *metrics.Set, 1)
	select {
	case d.events <- func() { s := &metrics.Set{}; d.measure(s); done <- s }:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-d.ended:
		return nil, errEnded
	}
	select {
	case s := <-done:
		return s, nil
	case <-d.ended:
		return nil, errEnded
	}
}

func (d *Dispatcher) measure(s *metrics.Set) {
	now := d.o.Now()
	s.AddBool(metrics.ReportCaughtUp, d.caughtUp)
	for _, x := range d.q.sorted() {
		if x.ep == nil && len(x.all) == 0 {
			continue
		}
		waiting, age := 0, time.Duration(0)
		for _, it := range x.all {
			waiting += len(it.reports)
			for _, rp := range it.reports {
				age = max(age, now.Sub(time.UnixMicro(rp.Time)))
			}
		}
		s.Add(metrics.ReportQueue, float64(waiting), x.name)
		s.Add(metrics.ReportOldest, age.Seconds(), x.name)
		s.AddBool(metrics.ReportHeld, x.held() != "", x.name)
		s.Add(metrics.Reports, float64(x.counts.delivered), x.name, "delivered")
		s.Add(metrics.Reports, float64(x.counts.dropped), x.name, "dropped")
		s.Add(metrics.ReportErrors, float64(x.counts.errors), x.name)
	}
}
