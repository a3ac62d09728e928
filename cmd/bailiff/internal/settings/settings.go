// Package settings loads the configuration for the commands that work without the daemon: the installed one, or the one
// that --config names. The loader itself is policy/config's.
package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/units/configdir"
)

// Dir is where the administrator's configuration is.
const Dir = "/etc/bailiff"

// Option adds --config.
func Option(c *cli.Command) *string {
	return c.Flags.String("config", "", "use this configuration `FILE` (or folder) instead of the installed one")
}

// Load reads the configuration at path, or the installed one if path is empty; without any file every built-in jail is
// enabled. If jails are named, only their filters are loaded.
func Load(path string, jails ...string) (*config.Config, error) {
	l := configdir.Loader{Jails: jails}
	if path != "" {
		return l.LoadFile(path)
	}
	return l.Load()
}

// LoadOnly is Load with all jails but those named switched off. No names: all jails as configured.
func LoadOnly(path string, jails []string) (*config.Config, error) {
	c, err := Load(path, jails...)
	if err != nil || len(jails) == 0 {
		return c, err
	}
	for _, name := range jails {
		if !slices.ContainsFunc(c.Jails, func(j config.Jail) bool { return j.Name == name }) {
			var have []string
			for _, j := range c.Jails {
				have = append(have, j.Name)
			}
			return nil, (&diag.Error{File: "--jail", Text: fmt.Sprintf("there is no jail %q", name)}).WithHint("there are %s", strings.Join(have, ", "))
		}
	}
	for i := range c.Jails {
		c.Jails[i].Enabled = slices.Contains(jails, c.Jails[i].Name)
	}
	return c, nil
}

// Additions are what the enabled jails of a configuration add to the trust of their filters, by the filter's name. c may
// be nil.
func Additions(c *config.Config) map[string]filter.Additions {
	added := map[string]filter.Additions{}
	if c == nil {
		return added
	}
	for _, j := range c.Jails {
		if j.Enabled {
			a := added[j.Filter.Name]
			a.Units, a.Containers, a.UserUnits = append(a.Units, j.Trust.Units...), append(a.Containers, j.Trust.Containers...), append(a.UserUnits, j.Trust.UserUnits...)
			a.Exe, a.AnyExe = append(a.Exe, j.Trust.Exe...), a.AnyExe || j.Trust.AnyExe
			added[j.Filter.Name] = a
		}
	}
	return added
}

// Fault is an error with its place in a file, as JSON shows it.
type Fault struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Path   string `json:"path,omitempty"` // of the setting: jails.sshd.max_retry
	Error  string `json:"error"`
	Hint   string `json:"hint,omitempty"`
}

// Faults takes joined errors apart. It is never nil.
func Faults(err error) []Fault {
	l := []Fault{}
	for _, y := range diag.Errors(err) {
		l = append(l, Fault{y.File, y.Line, y.Col, y.Path, y.Text, y.Hint})
	}
	return l
}

// MakeFolder makes a folder and those above it that are missing, readable by everybody whatever the umask is: the daemon
// runs as a user of its own.
func MakeFolder(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := MakeFolder(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// SelfTests runs the test lines of the filters of the enabled jails.
func SelfTests(c *config.Config) error {
	var errs []error
	done := map[string]bool{}
	for _, j := range c.Jails {
		if j.Enabled && !done[j.Filter.File] {
			done[j.Filter.File] = true
			errs = append(errs, j.Filter.SelfTest()...)
		}
	}
	return errors.Join(errs...)
}
