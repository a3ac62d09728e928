package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/firewall"
	"bailiff/firewall/blocklists"
	"bailiff/firewall/firewalld"
	"bailiff/firewall/ipset"
	"bailiff/firewall/nftables"
	"bailiff/journal/audit"
	"bailiff/units/control"
	"bailiff/units/manager"
)

// removal is what `bailiff firewall remove --json` prints.
type removal struct {
	Removed []object `json:"removed"`
	Left    []object `json:"left"` // what is still there
}

// object is something in a firewall that bears bailiff's name.
type object struct {
	Backend string `json:"backend"`
	Name    string `json:"name"`
	Why     string `json:"why,omitempty"` // it was left
}

// removeLimit bounds the whole removal: firewalld takes seconds for a reload on a slow host.
const removeLimit = 2 * time.Minute

func firewallRemove() *cli.Command {
	c := cli.New("remove", "", "remove everything of bailiff's from every firewall of this host").WithJSON()
	force := forceOption(c)
	stop := c.Flags.Bool("stop", false, "stop the daemon first")
	return c.Does(func(e *cli.Env, _ []string) error { return removeAll(e, *stop, *force) })
}

// removeAll removes bailiff's rules and sets from every firewall, whichever is in use. It refuses while the daemon runs,
// which would put everything back.
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
	r := removal{Removed: []object{}, Left: []object{}}
	everything := []firewall.Scope{{}}
	clean := func(be firewall.Backend, err error) error {
		if err != nil {
			return err
		}
		return r.clean(ctx, be, force)
	}
	errs := []error{
		clean(ipset.New(ipset.Options{Scopes: everything})),
		clean(nftables.New(nftables.Options{Scopes: everything})),
		r.cleanFirewalld(ctx, force),
		r.cleanLists(ctx, force),
	}
	for _, l := range [][]object{r.Removed, r.Left} {
		slices.SortStableFunc(l, func(x, y object) int { return cmp.Or(cmp.Compare(x.Backend, y.Backend), cmp.Compare(x.Name, y.Name)) })
	}
	errs = append(errs, e.Print(r, func() {
		for _, o := range r.Removed {
			e.Printf("removed: %s: %s\n", o.Backend, text.Clean(o.Name))
		}
		for _, o := range r.Left {
			e.Printf("%s %s: %s: %s\n", e.Paint(cli.Red, "left:"), o.Backend, text.Clean(o.Name), text.Clean(o.Why))
		}
		if len(r.Removed)+len(r.Left) == 0 {
			e.Printf("no firewall holds anything of bailiff's\n")
		}
	}))
	if err := errors.Join(errs...); err != nil || len(r.Left) == 0 {
		return err
	}
	return cli.ErrSilent
}

// checkStopped refuses while the daemon runs.
func checkStopped(ctx context.Context) error {
	// Where systemd cannot be asked, the list of processes has to do.
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

// clean removes what a backend has on the host, and notes what that was.
func (r *removal) clean(ctx context.Context, be firewall.Backend, force bool) error {
	defer be.Close()
	before, err := be.Inspect(ctx, nil)
	var unsupported *firewall.UnsupportedError
	switch {
	case errors.As(err, &unsupported): // then it holds nothing
		return nil
	case err != nil:
		return err
	}
	if force {
		if _, err := be.RemoveForeign(ctx); err != nil {
			return err
		}
	}
	err = be.Cleanup(ctx)
	var foreign *firewall.ForeignError
	if err != nil && !errors.As(err, &foreign) {
		return err
	}
	after, err := be.Inspect(ctx, nil)
	if err != nil {
		return err
	}
	left := present(after)
	for name := range present(before) {
		if _, still := left[name]; !still {
			r.Removed = append(r.Removed, object{Backend: be.Name(), Name: name})
		}
	}
	for name, p := range left {
		why := "is still there"
		if p.Foreign {
			why = p.Problem + "; --force removes it"
		}
		r.Left = append(r.Left, object{be.Name(), name, why})
	}
	return nil
}

// present are the parts and sets that exist, by name.
func present(in *firewall.Inspection) map[string]firewall.Object {
	m := map[string]firewall.Object{}
	for _, p := range in.Objects {
		if p.Present {
			m[p.Name] = p
		}
	}
	for _, s := range in.Sets {
		if s.Present {
			m["set "+s.Name] = s.Object
		}
	}
	return m
}

// cleanLists removes the table of block lists.
func (r *removal) cleanLists(ctx context.Context, force bool) error {
	t := blocklists.New()
	found, err := t.Remove(ctx)
	var foreign *firewall.ForeignError
	var unsupported *firewall.UnsupportedError
	switch {
	case errors.As(err, &unsupported): // then it holds nothing
		return nil
	case errors.As(err, &foreign) && force:
		if found, err = true, t.RemoveForeign(ctx); err != nil {
			return err
		}
	case errors.As(err, &foreign):
		r.Left = append(r.Left, object{"block lists", "table " + t.Name(), foreign.Why + "; --force removes it"})
		return nil
	case err != nil:
		return err
	}
	if found {
		r.Removed = append(r.Removed, object{Backend: "block lists", Name: "table " + t.Name()})
	}
	return nil
}

// cleanFirewalld removes everything from firewalld, and the copies of it that firewalld keeps as .old files.
func (r *removal) cleanFirewalld(ctx context.Context, force bool) error {
	files, _, err := firewalld.Traces(firewalld.Dir)
	if err != nil {
		return err
	}
	runs, err := firewalld.Running(ctx)
	if err != nil || !runs { // without a bus it does not run
		for _, f := range files {
			r.Left = append(r.Left, object{"firewalld", f, "firewalld is not running; start it and repeat this command"})
		}
		return nil
	}
	be, err := firewalld.New(firewalld.Options{Scopes: []firewall.Scope{{}}})
	if err != nil {
		return err
	}
	if err := r.clean(ctx, be, force); err != nil {
		return err
	}
	_, old, err := firewalld.Traces(firewalld.Dir)
	for _, f := range old {
		if e := os.Remove(f); e != nil {
			err = errors.Join(err, e)
			continue
		}
		r.Removed = append(r.Removed, object{Backend: "firewalld", Name: f})
	}
	return err
}
