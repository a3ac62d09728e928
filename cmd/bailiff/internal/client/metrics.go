package client

import (
	"errors"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/units/atomicfile"
	"bailiff/units/control"
	"bailiff/units/metrics"
)

// Metrics is `bailiff metrics`.
func Metrics() *cli.Command {
	c := cli.New("metrics", "", "print metrics for Prometheus").WithSocket(control.DefaultPath)
	open := c.Flags.Bool("openmetrics", false, "print OpenMetrics instead of Prometheus' text format")
	reports := c.Flags.String("report-socket", control.ReportPath, "`PATH` of bailiff-report's socket")
	output := c.Flags.String("output", "", "replace this `FILE`, whether the daemon runs or not: for node_exporter's textfile collector")
	return c.Does(func(e *cli.Env, _ []string) error {
		b, err := control.AllMetrics(e.Ctx, dial(e), control.DialReport(*reports), *open)
		if *output != "" && errors.Is(err, control.ErrNotRunning) {
			var down metrics.Set
			down.Add(metrics.Up, 0)
			b, err = down.Encode(*open), nil
		}
		if err != nil {
			return err
		}
		if *output != "" {
			return atomicfile.Write(*output, b, 0o644)
		}
		_, err = e.Out.Write(b)
		return err
	})
}
