package main

import (
	"fmt"
	"runtime"

	"bailiff/cmd/internal/build"
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
		return printJSON(e.out, map[string]string{"version": build.String(), "go": runtime.Version()})
	}
	fmt.Fprintln(e.out, "bailiff", build.String())
	return nil
}
