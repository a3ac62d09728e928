package dispatch

import (
	"context"
	"strings"
	"testing"

	"bailiff/journal/audit"
)

func (b *bench) metrics() string {
	b.t.Helper()
	s, err := b.ask().Metrics(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	return string(s.Encode(false))
}

func TestMetrics(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}, bad: {"+prog+"}, held: {"+prog+"}"))
	b.script("one", take)
	b.script("bad", `echo 550 no; exit 65`)
	b.script("held", `echo the key is not known; exit 78`)
	b.start()
	b.ban("198.51.100.1")
	b.told(audit.KindReported, "report to one, ban of 198.51.100.1")
	b.told(audit.KindReportDropped, "refused: exit status 65")
	if m := b.told(audit.KindReportsHeld, "reports to held wait"); m[audit.FieldProblem] != "reports to held" {
		t.Errorf("no news for notices: %v", m)
	}
	for _, line := range []string{
		`bailiff_report_caught_up 1`,
		`bailiff_report_queue{destination="held"} 1`,
		`bailiff_report_queue{destination="one"} 0`,
		`bailiff_report_oldest_seconds{destination="one"} 0`,
		`bailiff_report_held{destination="held"} 1`,
		`bailiff_report_held{destination="one"} 0`,
		`bailiff_reports_total{destination="one",result="delivered"} 1`,
		`bailiff_reports_total{destination="bad",result="dropped"} 1`,
		`bailiff_reports_total{destination="held",result="delivered"} 0`,
		`bailiff_report_errors_total{destination="bad"} 1`,
	} {
		b.until(line, func() bool { return strings.Contains(b.metrics(), "\n"+line+"\n") })
	}
	if m := b.metrics(); strings.Contains(m, `bailiff_report_oldest_seconds{destination="held"} 0`+"\n") || strings.Contains(m, "198.51") {
		t.Errorf("a report that waits has no age, or an address is told:\n%s", m)
	}
}
