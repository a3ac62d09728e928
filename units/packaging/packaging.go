// Package packaging holds what is needed to install bailiff: the list of files (files), the installer that reads it
// (install.sh), and the scripts of the packages (deb, rpm, arch), which dist/ completes. Start with files.
package packaging

import (
	"fmt"
	"os"
	"strings"
)

// A File is a line of the list of installed files.
type File struct {
	Mode        string // as chmod(1) takes it
	Source      string // in the tree
	Destination string // with variables of install.sh
	Enable      bool   // a unit that packages enable and start
}

// Program is the folder of a program's source; "" for other files.
func (f *File) Program() string {
	name, ok := strings.CutPrefix(f.Source, "bin/bailiff")
	switch {
	case !ok:
		return ""
	case name == "-fetch": // a part of the command
		return "cmd/bailiff/bailiff-fetch"
	}
	return "cmd/bailiff" + name
}

// Files reads the list.
func Files(path string) ([]File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var l []File
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		enable := len(f) == 4 && f[3] == "enable" && strings.HasPrefix(f[2], "${UNITDIR}/")
		if len(f) != 3 && !enable {
			return nil, fmt.Errorf(`%s:%d: expected mode, source and destination, and "enable" behind units only`, path, n)
		}
		l = append(l, File{f[0], f[1], f[2], enable})
	}
	return l, nil
}

// Complete puts the assignments that install.sh prints for "variables" into a script of a package, below its first line.
func Complete(script, variables string) string {
	comment := "# From units/packaging/files:\n"
	if !strings.HasPrefix(script, "#!") {
		return comment + variables + "\n" + script
	}
	first, rest, _ := strings.Cut(script, "\n")
	return first + "\n" + comment + variables + "\n" + rest
}
