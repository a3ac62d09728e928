package main

import "bailiff/units/control"

func runConfig(e *env, args []string) error {
	f := e.flags("config")
	conf := f.String("config", "", "this `file`, or what this folder holds, in place of the installed configuration")
	running := f.Bool("running", false, "what the daemon has in force, which may be older than what is on disk")
	socket := f.String("socket", control.DefaultPath, "`path` of the daemon's control socket")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("config", rest, 0, 0); err != nil {
		return err
	}
	var text []byte
	if *running {
		if *conf != "" {
			return usagef("config: --running and --config exclude each other")
		}
		text, err = control.Dial(*socket).Config(e.ctx)
	} else if c, e := loadConfig(*conf); e != nil {
		err = e
	} else {
		text = c.Render()
	}
	if err != nil {
		return err
	}
	_, err = e.out.Write(text)
	return err
}
