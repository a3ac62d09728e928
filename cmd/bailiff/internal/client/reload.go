package client

import (
	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// Reload is `bailiff reload`.
func Reload() *cli.Command {
	return command("reload", "", "have the daemon load the configuration again").Does(func(e *cli.Env, _ []string) error {
		return cli.Got(dial(e).Reload(e.Ctx)).Print(e, func(e *cli.Env, r *control.Reloaded) {
			for _, n := range r.Notices {
				e.Notef("%s", text.Clean(n))
			}
			e.Printf("reloaded: %s\n", diag.Count(len(r.Jails), "jail"))
		})
	})
}

// Config is `bailiff config`.
func Config() *cli.Command {
	c := cli.New("config", "", "show the merged configuration with the origin of each setting").WithSocket(control.DefaultPath)
	conf := settings.Option(c)
	running := c.Flags.Bool("running", false, "show what the daemon uses, which may be older than the files")
	return c.Does(func(e *cli.Env, _ []string) error {
		if *running && *conf != "" {
			return cli.Usagef("config: --running and --config exclude each other")
		}
		var text []byte
		var err error
		if *running {
			text, err = dial(e).Config(e.Ctx)
		} else if c, e := settings.Load(*conf); e == nil {
			text = c.Render()
		} else {
			err = e
		}
		if err != nil {
			return err
		}
		_, err = e.Out.Write(text)
		return err
	})
}
