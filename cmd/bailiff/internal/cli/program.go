package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Program finds a program that is installed with this one: in one of the folders that install.sh and the packages use, beside the folder
// of this program (/usr/sbin for /usr/bin), in that folder itself, or in PATH.
func Program(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		dir := filepath.Dir(self)
		for _, near := range []string{"../sbin", "../libexec/bailiff", "../lib/bailiff", "."} {
			p := filepath.Join(dir, near, name)
			if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				return p, nil
			}
		}
	}
	p, err := exec.LookPath(name)
	if err != nil {
		return "", WithHint(fmt.Errorf("%s is not installed: it is neither beside this program nor in PATH", name), "install bailiff again, with all of its programs")
	}
	return p, nil
}

// HandOver runs such a program in place of this one: with its standard streams, and its exit status.
func HandOver(e *Env, name string, args ...string) error {
	program, err := Program(name)
	if err != nil {
		return err
	}
	c := exec.CommandContext(e.Ctx, program, args...)
	c.Stdin, c.Stdout, c.Stderr = e.In, e.Out, e.Err
	err = c.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return ExitStatus(exit.ExitCode())
	}
	return err
}
