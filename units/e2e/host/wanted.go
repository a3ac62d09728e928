package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// ErrNotWanted says that nobody asked for hosts: booting them takes root, tools and minutes.
var ErrNotWanted = fmt.Errorf("boots whole hosts as root: run `make e2e`, or set BAILIFF_E2E to some of %q", Suites)

// tools are the programs of the outer machine that a host is made with.
var tools = []string{"mmdebstrap", "systemd-nspawn", "nsenter", "ip", "tar", "chroot"}

// Wanted returns the releases that the environment variable BAILIFF_E2E asks to be tried ("bookworm trixie"). When it is
// not set the error is ErrNotWanted, and a test is to be skipped; any other error is a failure.
func Wanted() ([]string, error) {
	suites := strings.Fields(os.Getenv("BAILIFF_E2E"))
	if len(suites) == 0 {
		return nil, ErrNotWanted
	}
	for _, s := range suites {
		if !slices.Contains(Suites, s) {
			return nil, fmt.Errorf("BAILIFF_E2E: %q is not one of %q", s, Suites)
		}
	}
	return suites, Possible()
}

// Possible says what this machine lacks for booting hosts.
func Possible() error {
	if os.Getuid() != 0 {
		return errors.New("booting a host needs root")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("booting a host: %w (make deps installs it)", err)
		}
	}
	return nil
}
