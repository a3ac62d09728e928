// Package fleet holds the commands that set a fleet up: init, add, rotate, revoke, servers and operator maintain the operator's folder, hub
// and join install its files on a server and on a host. bailiff-fleet(7) shows how to use them.
//
// The folder is the operator's: it holds the key that signs the roster. It is not part of the running fleet, and no command here
// speaks to the hub. Start reading at Folder.
package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"regexp"
	"strconv"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/policy/fleet"
	"bailiff/units/hub"
)

// Commands are the verbs of `bailiff fleet` that set a fleet up.
func Commands() []*cli.Command {
	return []*cli.Command{initCommand(), addCommand(), rotateCommand(), revokeCommand(), serversCommand(), keyCommand(), operatorCommand(), allowCommand(), publishCommand(), hubCommand(), joinCommand(), leaveCommand()}
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?$`)

// parseServer reads HOST[:PORT], with brackets around an IPv6 address that a port follows.
func parseServer(s string) (hub.Server, error) {
	host, port := s, hub.DefaultPort
	if a, err := netip.ParseAddr(s); err == nil {
		return hub.Server{Host: a.String(), Port: port}, noZone(a, s)
	}
	if h, p, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return hub.Server{}, cli.Usagef("--server: %q: the port is not 1 to 65535", s)
		}
		host, port = h, n
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return hub.Server{Host: a.String(), Port: port}, noZone(a, s)
	}
	if len(host) > 253 || !hostName.MatchString(host) {
		return hub.Server{}, cli.Usagef("--server: %q is not HOST[:PORT], such as hub.example.org or [2001:db8::1]:4222", s)
	}
	return hub.Server{Host: strings.ToLower(strings.TrimSuffix(host, ".")), Port: port}, nil
}

func noZone(a netip.Addr, s string) error {
	if a.Zone() != "" || a.IsUnspecified() {
		return cli.Usagef("--server: other hosts cannot connect to %q", s)
	}
	return nil
}

// parseHost reads HOST[=GROUP]. A host without a group is a group of its own.
func parseHost(s string) (name, group string, err error) {
	name, group, _ = strings.Cut(s, "=")
	group = cmp.Or(group, name)
	for _, n := range []string{name, group} {
		if !fleet.ValidHost(n) {
			err := &cli.UsageError{Text: fmt.Sprintf("%q is not HOST[=GROUP]: %q is not 1 to 64 letters, digits, - and _", s, n)}
			if short, _, ok := strings.Cut(n, "."); ok && fleet.ValidHost(short) {
				err.Hint = "host names matter only within the fleet: write " + short
			}
			return "", "", err
		}
	}
	return name, group, nil
}

// operatorName is the user who runs the command, for the roster's signature.
func operatorName() string {
	if n := os.Getenv("SUDO_USER"); fleet.ValidHost(n) {
		return n
	}
	if u, err := user.Current(); err == nil && fleet.ValidHost(u.Username) {
		return u.Username
	}
	return "operator"
}

// result is what a command has written and what a person has to do with it.
type result struct {
	Fleet  string   `json:"fleet"`
	Serial uint64   `json:"serial"` // of the roster
	Hosts  int      `json:"hosts"`
	Files  []string `json:"files"` // written
	Steps  []string `json:"steps"` // to be done by a person
}

func (r *result) print(e *cli.Env) error {
	return e.Print(r, func() {
		for _, f := range r.Files {
			e.Printf("wrote %s\n", f)
		}
		e.Printf("fleet %s: %d %s, roster %d\n\n", r.Fleet, r.Hosts, map[bool]string{true: "host", false: "hosts"}[r.Hosts == 1], r.Serial)
		for i, s := range r.Steps {
			e.Printf("%d. %s\n", i+1, s)
		}
	})
}

// errNotRoot says that only root may do something.
func errNotRoot() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return cli.WithHint(errors.New("only root may change /etc"), "try sudo")
}
