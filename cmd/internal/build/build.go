// Package build says what this binary is.
package build

import "runtime/debug"

// Version is set by the Makefile: -ldflags "-X bailiff/cmd/internal/build.Version=…".
var Version string

// String returns the version, or the revision that Go recorded, or "devel".
func String() string {
	if Version != "" {
		return Version
	}
	if i, ok := debug.ReadBuildInfo(); ok {
		for _, s := range i.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "devel-" + s.Value[:12]
			}
		}
	}
	return "devel"
}
