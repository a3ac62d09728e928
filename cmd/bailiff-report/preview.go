package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/destinations"
	"bailiff/cmd/bailiff-report/internal/dispatch"
	"bailiff/journal"
	"bailiff/policy/config"
)

// preview prints exactly what a destination would get about a ban, or as a test if no ban is named. `bailiff report --dry-run` runs it.
// It works without the service and sends nothing to the destination.
func preview(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("bailiff-report preview", flag.ContinueOnError)
	f.SetOutput(stderr)
	file := f.String("config", "", "use this configuration `file` instead of the installed configuration")
	var paths []string
	f.Func("file", "look for the ban in this journal `file` or folder; may be repeated (default: the journal of this host)", func(s string) error {
		paths = append(paths, s)
		return nil
	})
	if err := parse(f, args); err != nil {
		return err
	}
	if f.NArg() < 1 || f.NArg() > 2 {
		fmt.Fprintln(stderr, "bailiff-report: preview: expected DESTINATION [BAN-ID | ADDRESS]")
		return errUsage
	}
	conf, err := load(*file)
	if err != nil {
		return err
	}
	d, err := only(&conf.Report, f.Arg(0))
	if err != nil {
		return err
	}
	env, err := destinations.Env(conf, "")
	if err != nil {
		return err
	}
	env.Secret = destinations.Masked
	dst, err := destinations.New(d, env)
	if err != nil {
		return err
	}
	var users []uint32
	if len(paths) == 0 {
		users, _ = daemonUsers("bailiff") // if it is not installed, all users' entries in its unit count
	}
	src, err := journal.Paths(paths...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, conf.Report.Lookup.TimeLimit+time.Minute)
	defer cancel()
	it, err := dispatch.Preview(ctx, src, users, conf, env, d, f.Arg(1))
	if err != nil {
		return err
	}
	b, err := dst.Render(it)
	if err != nil {
		return err
	}
	_, err = stdout.Write(b)
	return err
}

// only returns the destination named and disables the others, which need nothing of this report.
func only(c *config.Report, name string) (found *config.Destination, err error) {
	var names []string
	for i := range c.Destinations {
		d := &c.Destinations[i]
		names = append(names, d.Name)
		if d.Enabled = d.Name == name; d.Enabled {
			found = d
		}
	}
	switch {
	case found != nil:
		return found, nil
	case len(names) == 0:
		return nil, errors.New("no destinations are configured: see report.destinations in bailiff.yaml(5)")
	}
	return nil, fmt.Errorf("there is no destination %q: there are %s", name, strings.Join(names, ", "))
}
