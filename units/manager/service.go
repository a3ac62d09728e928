package manager

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// describeLimit bounds Describe: one call for each unit that exists.
const describeLimit = 10 * time.Second

// Service is a service unit as systemd knows it, or the template of one.
type Service struct {
	Unit     string // primary name
	Template bool
	Running  bool // of a template: an instance is
	Socket   bool // a socket that starts it is listening

	// What follows is that of the unit, or of a template's first running instance; empty if there is none.
	ControlGroup       string
	Started            time.Time // the main process; zero: there is none
	Output, Error      string    // StandardOutput=, StandardError=: journal, null, file, …
	LogLevelMax        int       // LogLevelMax=: syslog's number; -1: not set
	Command            string    // ExecStart=, words separated by blanks
	Environment        []string  // Environment=: NAME=VALUE
	NeedsReload        bool      // a file of the unit is newer than what systemd has loaded
	Dropins, Instances []string  // files; names of running instances
}

// Describe returns those services of the names that exist on this host, each under its primary name and once. A name is one
// that Find takes.
func Describe(ctx context.Context, names []string) (list []Service, err error) {
	ctx, cancel := context.WithTimeout(ctx, describeLimit)
	defer cancel()
	c, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("systemd over D-Bus: %w", err)
	}
	defer c.Close()
	found, err := find(ctx, c, names)
	if err != nil {
		return nil, fmt.Errorf("systemd over D-Bus: %w", err)
	}
	units := slices.Compact(slices.Sorted(maps.Values(found)))
	for _, u := range units {
		s, err := describe(ctx, c, u)
		if err != nil {
			return nil, fmt.Errorf("systemd over D-Bus: %s: %w", u, err)
		}
		list = append(list, s)
	}
	return list, nil
}

func describe(ctx context.Context, c *dbus.Conn, unit string) (Service, error) {
	s := Service{Unit: unit, LogLevelMax: -1}
	name := unit
	if prefix, ok := strings.CutSuffix(unit, "@.service"); ok {
		s.Template = true
		if active, err := running(ctx, c, []string{prefix + ".socket"}); err == nil {
			s.Socket = len(active) > 0
		}
		l, err := c.ListUnitsByPatternsContext(ctx, []string{"active", "activating", "reloading"}, []string{prefix + "@*.service"})
		if err != nil || len(l) == 0 {
			return s, err
		}
		for _, u := range l {
			s.Instances = append(s.Instances, u.Name)
		}
		slices.Sort(s.Instances)
		name = s.Instances[0]
	}
	p, err := c.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return s, err
	}
	text := func(key string) string { v, _ := p[key].(string); return v }
	s.Running = !slices.Contains([]string{"inactive", "failed", ""}, text("ActiveState"))
	s.ControlGroup, s.Output, s.Error = text("ControlGroup"), text("StandardOutput"), text("StandardError")
	if v, ok := p["LogLevelMax"].(int32); ok {
		s.LogLevelMax = int(v)
	}
	if v, ok := p["ExecMainStartTimestamp"].(uint64); ok && v > 0 {
		s.Started = time.UnixMicro(int64(v))
	}
	if by, _ := p["TriggeredBy"].([]string); len(by) > 0 && !s.Socket {
		active, err := running(ctx, c, slices.DeleteFunc(by, func(u string) bool { return !strings.HasSuffix(u, ".socket") }))
		s.Socket = err == nil && len(active) > 0
	}
	s.NeedsReload, _ = p["NeedDaemonReload"].(bool)
	s.Environment, _ = p["Environment"].([]string)
	s.Dropins, _ = p["DropInPaths"].([]string)
	if all, ok := p["ExecStart"].([][]any); ok {
		for _, one := range all {
			if len(one) > 1 {
				if argv, ok := one[1].([]string); ok {
					s.Command += strings.Join(argv, " ") + "\n"
				}
			}
		}
	}
	return s, nil
}
