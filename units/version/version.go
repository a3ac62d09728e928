// Package version says which version of bailiff a program is, and what it was built from.
package version

import (
	"runtime/debug"
)

// Release is the version that the tree is, or becomes with the next release.
const Release = "1.0.0-rc1"

// Commit is set by the Makefile: -ldflags "-X bailiff/units/version.Commit=…". Empty, what Go itself recorded counts.
var Commit string

// Info is what `bailiff version --json` prints. Since 1.0.
type Info struct {
	Version string   `json:"version"`
	Commit  string   `json:"commit,omitempty"` // what git describes it as; ends in -dirty if files had been changed
	Go      string   `json:"go"`
	Modules []Module `json:"modules"`
}

// Module is a dependency that is part of the program.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

// Read returns what is recorded in this program.
func Read() Info {
	i := Info{Version: Release, Commit: Commit, Modules: []Module{}}
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return i
	}
	i.Go = b.GoVersion
	for _, m := range b.Deps {
		i.Modules = append(i.Modules, Module{m.Path, m.Version})
	}
	if i.Commit == "" {
		for _, s := range b.Settings {
			switch {
			case s.Key == "vcs.revision" && len(s.Value) >= 12:
				i.Commit = s.Value[:12]
			case s.Key == "vcs.modified" && s.Value == "true" && i.Commit != "":
				i.Commit += "-dirty"
			}
		}
	}
	return i
}

// String returns the version and the commit: "1.0.0-rc1 (1f2e3d4c5b6a)".
func String() string {
	i := Read()
	if i.Commit == "" {
		return i.Version
	}
	return i.Version + " (" + i.Commit + ")"
}
