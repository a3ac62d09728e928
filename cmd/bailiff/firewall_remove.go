package main

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

	"bailiff/firewall"
	"bailiff/firewall/firewalld"
	"bailiff/firewall/ipset"
	"bailiff/firewall/nftables"
	"bailiff/journal/audit"
	"bailiff/units/control"
	"bailiff/units/manager"
)

// removed is what `bailiff firewall remove --json` prints.
type removed struct {
	Removed []trace `json:"removed"`
	Left    []trace `json:"left"` // what is still there
}

// trace is something of ours.
type trace struct {
	Backend string `json:"backend"`
	Name    string `json:"name"`
	Why     string `json:"why,omitempty"` // it was left
}

// removeLimit bounds the whole of it. firewalld takes seconds for a reload on a slow host.
const removeLimit = 2 * time.Minute

// removeFirewall takes what is ours out of every firewall, whichever was in use. It works without the daemon, and does not
// work beside it: the daemon would put it all back.
func removeFirewall(e *env, stop, force, asJSON bool) error {
	if os.Geteuid() != 0 {
		return &control.Error{Message: "firewall remove: only root may change the firewall", Hint: "try sudo"}
	}
	ctx, cancel := context.WithTimeout(e.ctx, removeLimit)
	defer cancel()
	if stop {
		if err := manager.Stop(ctx, "bailiff.socket", audit.Unit); err != nil {
			return err
		}
	}
	if err := alone(ctx); err != nil {
		return err
	}
	r := removed{Removed: []trace{}, Left: []trace{}}
	everything := []firewall.Scope{{}}
	var errs []error
	if be, err := ipset.New(ipset.Options{Scopes: everything}); err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, r.clean(ctx, be, force))
	}
	if be, err := nftables.New(nftables.Options{Scopes: everything}); err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, r.clean(ctx, be, force))
	}
	errs = append(errs, r.cleanFirewalld(ctx, force))
	for _, l := range [][]trace{r.Removed, r.Left} {
		slices.SortStableFunc(l, func(x, y trace) int { return cmp.Or(cmp.Compare(x.Backend, y.Backend), cmp.Compare(x.Name, y.Name)) })
	}
	if asJSON {
		errs = append(errs, printJSON(e.out, r))
	} else {
		for _, t := range r.Removed {
			fmt.Fprintf(e.out, "removed: %s: %s\n", t.Backend, clean(t.Name))
		}
		for _, t := range r.Left {
			fmt.Fprintf(e.out, "%s %s: %s: %s\n", e.paint(red, "left:"), t.Backend, clean(t.Name), clean(t.Why))
		}
		if len(r.Removed)+len(r.Left) == 0 {
			fmt.Fprintln(e.out, "no firewall holds anything of ours")
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(r.Left) > 0 {
		return errSilent
	}
	return nil
}

// alone refuses while the daemon runs.
func alone(ctx context.Context) error {
	hint := "systemctl stop bailiff.socket bailiff.service, or bailiff firewall remove --stop; a start brings everything back"
	// Without systemd's bus only the processes tell.
	if units, err := manager.Active(ctx, audit.Unit); err == nil && len(units) > 0 {
		return &control.Error{Message: fmt.Sprintf("the daemon runs (%s), and would put everything back", strings.Join(units, ", ")), Hint: hint}
	}
	pids, err := daemons()
	if err != nil {
		return err
	}
	if len(pids) > 0 {
		return &control.Error{Message: fmt.Sprintf("the daemon runs (process %d), and would put everything back", pids[0]), Hint: hint}
	}
	return nil
}

// daemons finds processes of the daemon that are in our network namespace, whoever started them.
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
			continue // anybody may call his program so
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

// firstUser is where users that are people begin (login.defs, UID_MIN, on every distribution with systemd).
const firstUser = 1000

// clean takes away what a backend has on the host, and notes what that was.
func (r *removed) clean(ctx context.Context, be firewall.Backend, force bool) error {
	defer be.Close()
	before, err := be.Inspect(ctx, nil)
	var lack *firewall.UnsupportedError
	switch {
	case errors.As(err, &lack): // so there is nothing of it
		return nil
	case err != nil:
		return err
	}
	if force {
		if _, err := be.Evict(ctx); err != nil {
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
			r.Removed = append(r.Removed, trace{Backend: be.Name(), Name: name})
		}
	}
	for name, p := range left {
		why := "is still there"
		if p.Foreign {
			why = p.Harm + "; --force takes it away"
		}
		r.Left = append(r.Left, trace{be.Name(), name, why})
	}
	return nil
}

func present(in *firewall.Inspection) map[string]firewall.Part {
	m := make(map[string]firewall.Part)
	for _, p := range in.Parts {
		if p.Present {
			m[p.Name] = p
		}
	}
	for _, s := range in.Sets {
		if s.Present {
			m["set "+s.Name] = s.Part
		}
	}
	return m
}

// cleanFirewalld takes everything out of firewalld, and away the copies of it that firewalld keeps.
func (r *removed) cleanFirewalld(ctx context.Context, force bool) error {
	files, _, err := firewalld.Traces(firewalld.Dir)
	if err != nil {
		return err
	}
	runs, err := firewalld.Running(ctx)
	if err != nil || !runs { // without a bus there is none
		for _, f := range files {
			r.Left = append(r.Left, trace{"firewalld", f, "firewalld does not run; start it and give this command again"})
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
		r.Removed = append(r.Removed, trace{Backend: "firewalld", Name: f})
	}
	return err
}
