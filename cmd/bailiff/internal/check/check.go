// Package check is `bailiff check`: it loads the configuration as the daemon would, with the daemon's access to files, and
// notes what this host lacks for it to work. It changes nothing. Start reading with Command.
package check

import (
	"errors"
	"fmt"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/reports"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/config"
	"bailiff/units/configdir"
)

// result is what `bailiff check --json` prints. bailiff(1) documents its keys, which do not change.
type result struct {
	OK      bool             `json:"ok"`
	Files   []string         `json:"files"`
	Jails   []string         `json:"jails"` // enabled ones
	Notices []string         `json:"notices"`
	Errors  []settings.Fault `json:"errors"`
}

// Command is `bailiff check`.
func Command() *cli.Command {
	c := cli.New("check", "", "check the configuration as the daemon would load it").WithJSON()
	conf := settings.Option(c)
	c.Run = func(e *cli.Env, _ []string) error {
		installed := *conf == "" // the configuration that the daemon reads
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
		r := result{OK: err == nil, Files: []string{}, Jails: []string{}, Notices: []string{}, Errors: settings.Faults(err)}
		if loaded != nil {
			r.describe(e, loaded, installed)
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

func (r *result) print(e *cli.Env, c *config.Config) {
	for _, n := range r.Notices {
		e.Notef("%s", n)
	}
	files := "no files, so the defaults"
	if len(r.Files) > 0 {
		files = text.Count(len(r.Files), "file")
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
	e.Printf("the configuration is good: %s, %s on, %d more where the host has their service\n", files, text.Count(len(r.Jails)-auto, "jail"), auto)
}
