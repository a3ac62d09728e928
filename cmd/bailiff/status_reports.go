package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"bailiff/units/control"
	"bailiff/units/manager"
)

// reportsState is what status shows of bailiff-report.
type reportsState struct {
	destinations int // that are configured
	stopped      bool
	s            *control.ReporterStatus // nil: not known
	err          error
}

// reportsTime bounds what status waits for bailiff-report and systemd.
const reportsTime = 3 * time.Second

// askReports asks bailiff-report, if it runs: a connection would start it, and somebody who only looks must not do that.
func askReports(ctx context.Context, destinations int) (r reportsState) {
	r.destinations = destinations
	if destinations == 0 {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, reportsTime)
	defer cancel()
	active, err := manager.Active(ctx, "bailiff-report.service")
	if err != nil {
		r.err = err
		return r
	}
	if r.stopped = len(active) == 0; !r.stopped {
		r.s, r.err = control.DialReport("").Status(ctx)
	}
	return r
}

// reportsText is the line of status about reports. bad tells that somebody should do something.
func reportsText(r reportsState) (text string, bad bool) {
	switch {
	case r.destinations == 0:
		return "off (no destination is configured: bailiff.yaml(5), report)", false
	case r.stopped:
		return "NOT SENT: bailiff-report.service is not running (systemctl start bailiff-report)", true
	case r.err != nil:
		return fmt.Sprintf("%s, state unknown: %s", plural(r.destinations, "destination"), clean(r.err.Error())), true
	}
	parts := []string{plural(r.destinations, "destination")}
	for _, p := range r.s.Problems {
		parts, bad = append(parts, clean(p)), true
	}
	for i := range r.s.Destinations {
		d := &r.s.Destinations[i]
		if s := destinationState(d); d.Held != "" || d.LastError != "" || d.Behind || stuck(d) {
			parts, bad = append(parts, d.Name+" "+s), true
		}
	}
	parts = append(parts, fmt.Sprintf("%d waiting, %d delivered since start", r.s.Waiting, r.s.Delivered))
	return strings.Join(parts, "; "), bad
}

// stuck tells that a delivery takes longer than deliveries do.
func stuck(d *control.DestinationStatus) bool {
	return d.Delivering != nil && time.Since(*d.Delivering) > 20*time.Second
}
