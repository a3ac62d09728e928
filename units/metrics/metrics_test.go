package metrics

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// tool returns the path of a program of Prometheus. Without it the test is skipped, except in CI.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is needed: %v", name, err)
		}
		t.Skipf("%s is not installed: %v", name, err)
	}
	return path
}

// full has a sample of every metric, with the worst labels.
func full() *Set {
	var s Set
	for i, f := range Families {
		if f.Type == Histogram {
			h := NewDurations(0.0025, 1, 10)
			for _, d := range []time.Duration{-time.Hour, 2500 * time.Microsecond, 900 * time.Millisecond, time.Minute} {
				h.Observe(d)
			}
			s.AddHistogram(f, h)
			continue
		}
		for j, v := range []string{"sshd", "a\"b\\c\nd", "\xff\x00é }"} {
			labels := make([]string, len(f.Labels))
			for k := range labels {
				labels[k] = v
			}
			if j == 0 || len(labels) > 0 {
				v := float64(i + j)
				if f.Type == Info {
					v = 1
				}
				s.Add(f, v, labels...)
			}
		}
	}
	return &s
}

func TestText(t *testing.T) {
	var s Set
	s.Add(Bans, 3, "a\"b\\c\nd", "\xff")
	s.AddTime(StartTime, time.UnixMicro(1764374400123456))
	s.Add(BuildInfo, 1, "1.0")
	s.Add(DroppedBytes, 123456789012, "bailiff4-0")
	h := NewDurations(0.005, 1)
	h.Observe(time.Millisecond)
	h.Observe(time.Second)
	h.Observe(2 * time.Second)
	s.AddHistogram(Latency, h)
	want := `# HELP bailiff_build_info ` + BuildInfo.Help + `
# TYPE bailiff_build_info gauge
bailiff_build_info{version="1.0"} 1
# HELP bailiff_start_time_seconds ` + StartTime.Help + `
# TYPE bailiff_start_time_seconds gauge
bailiff_start_time_seconds 1764374400.123456
# HELP bailiff_bans_total ` + Bans.Help + `
# TYPE bailiff_bans_total counter
bailiff_bans_total{jail="a\"b\\c\nd",reason="�"} 3
# HELP bailiff_ban_latency_seconds ` + Latency.Help + `
# TYPE bailiff_ban_latency_seconds histogram
bailiff_ban_latency_seconds_bucket{le="0.005"} 1
bailiff_ban_latency_seconds_bucket{le="1"} 2
bailiff_ban_latency_seconds_bucket{le="+Inf"} 3
bailiff_ban_latency_seconds_sum 3.001
bailiff_ban_latency_seconds_count 3
# HELP bailiff_firewall_dropped_bytes_total ` + DroppedBytes.Help + `
# TYPE bailiff_firewall_dropped_bytes_total counter
bailiff_firewall_dropped_bytes_total{set="bailiff4-0"} 123456789012
`
	if got := string(s.Encode(false)); got != want {
		t.Errorf("text:\n%s\nwant\n%s", got, want)
	}
	open := strings.NewReplacer(
		"# HELP bailiff_build_info", "# HELP bailiff_build", "# TYPE bailiff_build_info gauge", "# TYPE bailiff_build info",
		"# TYPE bailiff_start_time_seconds gauge\n", "# TYPE bailiff_start_time_seconds gauge\n# UNIT bailiff_start_time_seconds seconds\n",
		"# HELP bailiff_bans_total", "# HELP bailiff_bans", "# TYPE bailiff_bans_total", "# TYPE bailiff_bans",
		"# TYPE bailiff_ban_latency_seconds histogram\n", "# TYPE bailiff_ban_latency_seconds histogram\n# UNIT bailiff_ban_latency_seconds seconds\n",
		`le="1"`, `le="1.0"`,
		"# HELP bailiff_firewall_dropped_bytes_total", "# HELP bailiff_firewall_dropped_bytes",
		"# TYPE bailiff_firewall_dropped_bytes_total counter\n", "# TYPE bailiff_firewall_dropped_bytes counter\n# UNIT bailiff_firewall_dropped_bytes bytes\n",
	).Replace(want) + "# EOF\n"
	if got := string(s.Encode(true)); got != open {
		t.Errorf("OpenMetrics:\n%s\nwant\n%s", got, open)
	}
}

// TestPromtool: promtool's linter finds nothing in the text format.
func TestPromtool(t *testing.T) {
	cmd := exec.Command(tool(t, "promtool"), "check", "metrics")
	cmd.Stdin = bytes.NewReader(full().Encode(false))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	cmd = exec.Command(tool(t, "promtool"), "check", "metrics")
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(string(full().Encode(false)), "bailiff_bans_total", "bailiff_bans"))
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("a counter without _total passes, so the check checks nothing\n%s", out)
	}
}

// TestPrometheusTakesOpenMetrics: Prometheus' own parser, which promtool uses for backfilling, accepts the output. It requires a time for
// each sample.
func TestPrometheusTakesOpenMetrics(t *testing.T) {
	bin := tool(t, "promtool")
	timed := regexp.MustCompile(`(?m)^([^#].*)$`).ReplaceAll(full().Encode(true), []byte("$1 1764374400"))
	dir := t.TempDir()
	file := filepath.Join(dir, "metrics")
	if err := os.WriteFile(file, timed, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "tsdb", "create-blocks-from", "openmetrics", file, filepath.Join(dir, "blocks")).CombinedOutput()
	if err != nil {
		t.Errorf("promtool tsdb create-blocks-from openmetrics: %v\n%s", err, out)
	}
}

// TestStrictOpenMetrics: the Python library's parser is the strictest there is.
func TestStrictOpenMetrics(t *testing.T) {
	python := tool(t, "/usr/bin/python3") // Debian's, which finds Debian's modules
	script := `import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
for f in parse(sys.stdin.read()):
    print(f.name, f.type, f.unit, len(f.samples))`
	if out, err := exec.Command(python, "-c", "import prometheus_client").CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("python3-prometheus-client is needed: %s", out)
		}
		t.Skip("python3-prometheus-client is not installed")
	}
	cmd := exec.Command(python, "-c", script)
	cmd.Stdin = bytes.NewReader(full().Encode(true))
	cmd.Env = append(os.Environ(), "PYTHONIOENCODING=utf-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := bytes.Count(out, []byte("\n")); n != len(Families) {
		t.Errorf("%d families, want %d:\n%s", n, len(Families), out)
	}
	for _, line := range []string{"bailiff_bans counter  3", "bailiff_ban_latency_seconds histogram seconds 6", "bailiff_build info  3"} {
		if !slices.Contains(strings.Split(string(out), "\n"), line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
}

// TestFamilies: names follow the conventions of Prometheus, and no two families share a name in either format.
func TestFamilies(t *testing.T) {
	names := map[string]bool{}
	claim := func(name string) {
		if names[name] {
			t.Errorf("%s: two families have this name", name)
		}
		names[name] = true
	}
	for _, f := range Families {
		is := func(kind Type, suffix string) {
			if (f.Type == kind) != strings.HasSuffix(f.Name, suffix) {
				t.Errorf("%s is a %s", f.Name, f.Type)
			}
		}
		is(Counter, "_total")
		is(Info, "_info")
		if !regexp.MustCompile(`^bailiff_[a-z]+(_[a-z]+)*$`).MatchString(f.Name) {
			t.Errorf("%s: no proper name", f.Name)
		}
		for _, unit := range []string{"seconds", "bytes"} {
			if strings.HasSuffix(f.openName(), "_"+unit) != (f.Unit == unit) {
				t.Errorf("%s has the unit %q", f.Name, f.Unit)
			}
		}
		if !strings.HasSuffix(f.Help, ".") || strings.ContainsAny(f.Help, "\n\\\"") {
			t.Errorf("%s: help %q", f.Name, f.Help)
		}
		for _, l := range f.Labels {
			if slices.Contains([]string{"address", "prefix", "account", "user", "host", "unit", "le"}, l) {
				t.Errorf("%s has the label %s", f.Name, l)
			}
		}
		claim(f.openName())
		if f.openName() != f.Name {
			claim(f.Name)
		}
		if f.Type == Histogram {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				claim(f.Name + suffix)
			}
		}
	}
}

func TestAccept(t *testing.T) {
	for accept, open := range map[string]bool{
		"":    false,
		"*/*": false,
		"application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2": true, // Prometheus 2.53
		"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.4,*/*;q=0.1":                             true, // Prometheus 3
		"application/openmetrics-text": true,
		"text/plain;version=0.0.4":     false,
		"text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.5": false,
		"application/openmetrics-text; version=0.0.1":                                   false,
		"application/openmetrics-text; q=0":                                             false,
		"application/openmetrics-text; q=x, ;;;, text/html":                             false,
	} {
		if got := OpenMetrics([]string{accept}); got != open {
			t.Errorf("%q: OpenMetrics %v", accept, got)
		}
	}
}

func TestJoin(t *testing.T) {
	var a, b, both Set
	a.Add(Bans, 1, "sshd", "failures")
	b.Add(ReportQueue, 2, "admin")
	both.Add(Bans, 1, "sshd", "failures")
	both.Add(ReportQueue, 2, "admin")
	for _, open := range []bool{false, true} {
		if got, want := Join(open, a.Encode(open), b.Encode(open)), both.Encode(open); !bytes.Equal(got, want) {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
}

func TestWrongLabels(t *testing.T) {
	defer func() {
		if p := fmt.Sprint(recover()); !strings.Contains(p, "bailiff_bans_total") {
			t.Errorf("panic %q", p)
		}
	}()
	new(Set).Add(Bans, 1, "sshd")
}
