package main

import (
	"fmt"

	"bailiff/units/version"
)

func runVersion(e *env, args []string) error {
	f := e.flags("version")
	asJSON := f.Bool("json", false, "print JSON")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("version", rest, 0, 0); err != nil {
		return err
	}
	if *asJSON {
		return printJSON(e.out, version.Read())
	}
	fmt.Fprintln(e.out, "bailiff", version.String())
	return nil
}
