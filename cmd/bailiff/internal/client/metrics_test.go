package client

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/cmd/bailiff/internal/cli/clitest"
	"bailiff/units/control"
	"bailiff/units/metrics"
)

type measured struct{ control.Daemon }

func (measured) Metrics(context.Context) (*metrics.Set, error) {
	s := &metrics.Set{}
	s.Add(metrics.Up, 1)
	return s, nil
}

func TestMetrics(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root and members of group bailiff may ask a control server, and this test is not run by root")
	}
	up := serve(t, measured{})
	dir := t.TempDir()
	none, file := filepath.Join(dir, "none"), filepath.Join(dir, "bailiff.prom")
	run := func(socket string, args ...string) (string, string, int) {
		return clitest.Run(t, Metrics(), append([]string{"metrics", "--socket", socket, "--report-socket", none}, args...)...)
	}
	out, _, status := run(up)
	if want := "# TYPE bailiff_up gauge\nbailiff_up 1\n"; status != 0 || !strings.HasSuffix(out, want) {
		t.Errorf("%d: %q", status, out)
	}
	if out, _, status := run(up, "--openmetrics"); status != 0 || !strings.HasSuffix(out, "bailiff_up 1\n# EOF\n") {
		t.Errorf("OpenMetrics: %d: %q", status, out)
	}
	if out, stderr, status := run(none); status == 0 || out != "" || !strings.Contains(stderr, "not running") {
		t.Errorf("without a daemon: %d: %q, %q", status, out, stderr)
	}
	for socket, want := range map[string]string{up: "bailiff_up 1\n", none: "bailiff_up 0\n"} {
		out, stderr, status := run(socket, "--output", file)
		text, err := os.ReadFile(file)
		info, err2 := os.Stat(file)
		if status != 0 || out != "" || err != nil || err2 != nil || !strings.HasSuffix(string(text), want) || info.Mode().Perm() != 0o644 {
			t.Errorf("to a file: %d: %q, %q, %v, %v: %q", status, out, stderr, err, err2, text)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if _, stderr, status := run(up, "--output", filepath.Join(dir, "missing", "x.prom")); status == 0 || !strings.Contains(stderr, "x.prom") {
		t.Errorf("into a folder that does not exist: %d: %q", status, stderr)
	}
}
