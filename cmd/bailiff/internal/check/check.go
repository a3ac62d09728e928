// Package check is `bailiff check`: it loads the configuration as the daemon would, with the daemon's access to files, and
// notes what this host lacks for it to work. It changes nothing. Start reading with Command.
package check

import (
	"errors"
	"fmt"
	"slices"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/reports"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/units/configdir"
)

// result is what `bailiff check --json` prints. bailiff(1) documents its keys, which do not change.
type result struct {
	OK      bool             `json:"ok"`
	Files   []string         `json:"files"`
	Jails   []string         `json:"jails"` // enabled ones
	Notices []string         `json:"notices"`
	Errors  []settings.Fault `json:"errors"`

	Services []service `json:"services"` // of this host; empty if systemd does not answer, or with --config
}

// Command is `bailiff check`.
func Command() *cli.Command {
	c := cli.New("check", "[SERVICE]…", "check the configuration as the daemon would load it, and where this host's services log").WithJSON()
	c.Completes = cli.Services
	conf := settings.Option(c)
	fix := c.Flags.String("fix", "", "write the drop-in that makes this `SERVICE` log to the journal")
	dry := c.Flags.Bool("dry-run", false, "with --fix: print the drop-in, and write nothing")
	c.Run = func(e *cli.Env, names []string) error {
		installed := *conf == "" // the configuration that the daemon reads
		switch {
		case *dry && *fix == "":
			return cli.Usagef("check: --dry-run is for --fix")
		case *fix != "" && len(names) > 0:
			return cli.Usagef("check: --fix takes one service")
		case (*fix != "" || len(names) > 0) && !installed:
			return cli.Usagef("check: services are looked up for the installed configuration, not with --config")
		}
		var loaded *config.Config
		var err error
		if installed {
			loaded, err = loadAs(&configdir.Loader{}, daemonFiles())
		} else {
			loaded, err = settings.Load(*conf)
		}
		if err == nil {
			err = errors.Join(settings.SelfTests(loaded), reports.CheckTemplates(e, loaded))
		}
		r := result{OK: err == nil, Files: []string{}, Jails: []string{}, Notices: []string{}, Errors: settings.Faults(err), Services: []service{}}
		if loaded != nil && *fix != "" {
			list, err := thisHost().services(e.Ctx, loaded)
			if err != nil {
				return err
			}
			return thisHost().fix(e, list, *fix, *dry)
		}
		if loaded != nil {
			r.describe(e, loaded, installed)
			if installed {
				if err := r.lookUp(e, loaded, names); err != nil {
					return err
				}
			}
		}
		if e.JSON {
			if err2 := cli.WriteJSON(e.Out, r); err2 != nil || r.OK {
				return err2
			}
			return cli.ErrSilent
		}
		if err != nil {
			return err
		}
		printServices(e, r.Services, len(names) > 0)
		r.print(e, loaded)
		return nil
	}
	return c
}

// describe fills in what a configuration consists of, and what the host lacks for it.
func (r *result) describe(e *cli.Env, c *config.Config, installed bool) {
	r.Files = append(r.Files, c.Files...)
	for i := range c.Jails {
		if c.Jails[i].Enabled {
			r.Jails = append(r.Jails, c.Jails[i].Name)
		}
	}
	r.Notices = append(append(r.Notices, c.Notices...), hostNotices(e.Ctx, c, installed)...)
}

// lookUp fills in the services of this host; if names are given, only those.
func (r *result) lookUp(e *cli.Env, c *config.Config, names []string) error {
	list, err := thisHost().services(e.Ctx, c)
	if err != nil && len(names) == 0 {
		return nil // no systemd here: the rest is of use
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.ContainsFunc(list, func(s service) bool { return s.is(name) }) {
			return noService(name, list)
		}
	}
	for _, s := range list {
		if len(names) == 0 || slices.ContainsFunc(names, s.is) {
			r.Services = append(r.Services, s)
		}
	}
	return nil
}

func (r *result) print(e *cli.Env, c *config.Config) {
	for _, n := range r.Notices {
		e.Notef("%s", n)
	}
	files := "no files, so the defaults"
	if len(r.Files) > 0 {
		files = diag.Count(len(r.Files), "file")
	}
	if n := len(c.Allow.Entries); n > 0 {
		files += fmt.Sprintf(", %d in the allow list", n)
	}
	auto := 0
	for i := range c.Jails {
		if c.Jails[i].Enabled && !c.Jails[i].Explicit {
			auto++
		}
	}
	e.Printf("the configuration is good: %s, %s on, %d more where the host has their service\n", files, diag.Count(len(r.Jails)-auto, "jail"), auto)
}
