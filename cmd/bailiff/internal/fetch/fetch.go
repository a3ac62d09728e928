// Package fetch declares the verb refresh of `bailiff allow` and `bailiff lists`. It runs the program bailiff-fetch (package refresh),
// so that the command that root types contains neither TLS nor an HTTP client.
package fetch

import (
	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/units/published"
)

// Options of a call.
type Options struct {
	Config string   // instead of the installed configuration
	Dir    string   // of the lists
	Force  bool     // fetch before their time
	Accept []string // lists that may have shrunk
	Lists  []string // none: all
}

// Command is the verb refresh for lists in a folder.
func Command(dir string, do func(e *cli.Env, o *Options) error) *cli.Command {
	c := cli.New("refresh", "[LIST…]", "fetch published lists whose time has come").WithJSON()
	conf := settings.Option(c)
	lists := c.Flags.String("lists", dir, "put the lists into this `FOLDER`")
	force := c.Flags.Bool("force", false, "fetch lists even before their time")
	accept := c.List("accept", "accept this `LIST` although it has shrunk")
	return c.Does(func(e *cli.Env, args []string) error {
		return do(e, &Options{Config: *conf, Dir: *lists, Force: *force, Accept: *accept, Lists: args})
	})
}

// Allow is the verb refresh of `bailiff allow`.
func Allow() *cli.Command { return Command(published.AllowDir, handOver("allow")) }

// Block is the verb refresh of `bailiff lists`.
func Block() *cli.Command { return Command(published.BlockDir, handOver("lists")) }

func handOver(group string) func(e *cli.Env, o *Options) error {
	return func(e *cli.Env, o *Options) error {
		args := []string{group, "refresh", "--lists", o.Dir}
		if o.Config != "" {
			args = append(args, "--config", o.Config)
		}
		if o.Force {
			args = append(args, "--force")
		}
		if e.JSON {
			args = append(args, "--json")
		}
		for _, l := range o.Accept {
			args = append(args, "--accept", l)
		}
		return cli.HandOver(e, "bailiff-fetch", append(append(args, "--"), o.Lists...)...)
	}
}
