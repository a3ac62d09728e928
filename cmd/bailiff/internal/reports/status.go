package reports

import (
	"context"
	"fmt"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
	"bailiff/units/manager"
)

// statusLimit bounds what StatusLine waits for bailiff-report and systemd.
const statusLimit = 3 * time.Second

// StatusLine describes reporting to this many configured destinations, in a line of `bailiff status`. bad means that somebody should act.
// It does not start bailiff-report.
func StatusLine(ctx context.Context, destinations int) (line string, bad bool) {
	if destinations == 0 {
		return "off (no destination is configured: bailiff.yaml(5), report)", false
	}
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	active, err := manager.Active(ctx, "bailiff-report.service")
	if err == nil && len(active) == 0 {
		return "NOT SENT: bailiff-report.service is not running (systemctl start bailiff-report)", true
	}
	var s *control.ReporterStatus
	if err == nil {
		s, err = control.DialReport("").Status(ctx)
	}
	return statusLine(s, err, destinations)
}

// statusLine is StatusLine with the answer of bailiff-report, or the error in its place.
func statusLine(s *control.ReporterStatus, err error, destinations int) (line string, bad bool) {
	if err != nil {
		return fmt.Sprintf("%s, state unknown: %s", diag.Count(destinations, "destination"), text.Clean(err.Error())), true
	}
	parts := []string{diag.Count(destinations, "destination")}
	for _, p := range s.Problems {
		parts, bad = append(parts, text.Clean(p)), true
	}
	for i := range s.Destinations {
		d := &s.Destinations[i]
		if d.Held != "" || d.LastError != "" || d.Behind || stuck(d) {
			parts, bad = append(parts, d.Name+" "+destinationState(d)), true
		}
	}
	parts = append(parts, fmt.Sprintf("%d waiting, %d delivered since start", s.Waiting, s.Delivered))
	return strings.Join(parts, "; "), bad
}

// stuck reports whether a delivery takes longer than deliveries usually do.
func stuck(d *control.DestinationStatus) bool {
	return d.Delivering != nil && time.Since(*d.Delivering) > 20*time.Second
}
