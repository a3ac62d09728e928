package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/firewall"
	"bailiff/journal/audit"
	"bailiff/units/control"
	"bailiff/units/manager"
)

// removeLimit bounds the whole removal: firewalld takes seconds for a reload on a slow host.
const removeLimit = 2 * time.Minute

func firewallRemove() *cli.Command {
	c := cli.New("remove", "", "remove everything of bailiff's from every firewall of this host").WithJSON()
	force := forceOption(c)
	stop := c.Flags.Bool("stop", false, "stop the daemon first")
	return c.Does(func(e *cli.Env, _ []string) error { return removeAll(e, *stop, *force) })
}

// removeAll removes bailiff's rules and sets from every firewall, in use or not. It refuses while the daemon runs, which would put
// everything back.
func removeAll(e *cli.Env, stop, force bool) error {
	if os.Geteuid() != 0 {
		return &control.Error{Message: "firewall remove: only root may change the firewall", Hint: "try sudo"}
	}
	ctx, cancel := context.WithTimeout(e.Ctx, removeLimit)
	defer cancel()
	if stop {
		if err := manager.Stop(ctx, "bailiff.socket", audit.Unit); err != nil {
			return err
		}
	}
	if err := checkStopped(ctx); err != nil {
		return err
	}
	r, failed := cleanFirewalls(ctx, e, force)
	if r == nil {
		return failed
	}
	if err := e.Print(r, func() {
		for _, o := range r.Removed {
			e.Printf("removed: %s: %s\n", o.Backend, text.Clean(o.Name))
		}
		for _, o := range r.Left {
			e.Printf("%s %s: %s: %s\n", e.Paint(cli.Red, "left:"), o.Backend, text.Clean(o.Name), text.Clean(o.Why))
		}
		if len(r.Removed)+len(r.Left) == 0 && failed == nil {
			e.Printf("no firewall holds anything of bailiff's\n")
		}
	}); err != nil {
		return err
	}
	if len(r.Left) > 0 {
		return cli.ErrSilent
	}
	return failed
}

// cleanFirewalls has the daemon's program, which knows the firewalls, remove everything. It returns what was removed, as far as known; the
// program writes its errors itself.
func cleanFirewalls(ctx context.Context, e *cli.Env, force bool) (*firewall.Removal, error) {
	program, err := cli.Program("bailiffd")
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, program, "--remove-rules", "--force="+strconv.FormatBool(force))
	c.Stderr = e.Err
	out, err := c.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	var r firewall.Removal
	switch bad := json.Unmarshal(out, &r); {
	case bad != nil && err != nil:
		return nil, fmt.Errorf("%s: %w", program, err)
	case bad != nil:
		return nil, fmt.Errorf("%s: %w", program, bad)
	case err != nil:
		return &r, cli.ErrSilent
	}
	return &r, nil
}

// checkStopped refuses while the daemon runs.
func checkStopped(ctx context.Context) error {
	// If systemd cannot be asked, the list of processes has to do.
	running, err := manager.Active(ctx, audit.Unit)
	if err != nil || len(running) == 0 {
		pids, err := daemons()
		if err != nil || len(pids) == 0 {
			return err
		}
		running = []string{fmt.Sprintf("process %d", pids[0])}
	}
	return &control.Error{Message: fmt.Sprintf("the daemon is running (%s) and would put everything back", strings.Join(running, ", ")),
		Hint: "systemctl stop bailiff.socket bailiff.service, or bailiff firewall remove --stop; the next start restores the bans"}
}

// daemons finds processes of the daemon in this network namespace, whoever started them.
func daemons() (pids []int, err error) {
	ours, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		comm, err := os.ReadFile(dir + "/comm")
		if err != nil || strings.TrimSpace(string(comm)) != "bailiffd" {
			continue
		}
		st, err := os.Stat(dir)
		if err != nil {
			continue
		}
		if s, ok := st.Sys().(*syscall.Stat_t); ok && s.Uid >= firstUser {
			continue // any user may run a program of that name
		}
		if theirs, err := os.Stat(dir + "/ns/net"); err == nil && !os.SameFile(ours, theirs) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// firstUser is the first uid of people (UID_MIN in login.defs on every distribution with systemd).
const firstUser = 1000
