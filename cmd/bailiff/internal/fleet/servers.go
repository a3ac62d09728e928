package fleet

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/units/hub"
)

func serversCommand() *cli.Command {
	return cli.New("servers", "DIR SERVER…", "give a fleet's hub these servers in place of those it has").WithJSON().Does(func(e *cli.Env, args []string) error {
		list, err := parseServers(args[1:])
		if err != nil {
			return err
		}
		return change(e, args[0], func(f *Folder) (*result, error) { return f.setServers(list) })
	})
}

// setServers gives the hub other servers. Those that leave keep the files that they have: as long as hosts are connected to them,
// publish sends the roster there, too. They do not know the new keys.
func (f *Folder) setServers(list []hub.Server) (*result, error) {
	isIn := func(l []hub.Server) func(hub.Server) bool {
		return func(s hub.Server) bool {
			return slices.ContainsFunc(l, func(x hub.Server) bool { return x.Host == s.Host })
		}
	}
	if slices.Equal(list, f.Servers) {
		return nil, fmt.Errorf("fleet %s already has these servers", f.Fleet)
	}
	for _, s := range list {
		if i := slices.IndexFunc(f.Servers, func(x hub.Server) bool { return x.Host == s.Host && x.Port != s.Port }); i >= 0 {
			return nil, cli.WithHint(fmt.Errorf("server %s: its port, %d, cannot be changed", s.Host, f.Servers[i].Port), "move the hub to another server first, then back")
		}
	}
	leaving := slices.DeleteFunc(slices.Clone(f.Servers), isIn(list))
	if len(leaving) > 0 {
		if err := f.newAdmin(); err != nil {
			return nil, err
		}
	}
	f.Leaving = append(slices.DeleteFunc(f.Leaving, isIn(list)), leaving...)
	f.Servers = list
	if err := f.finish(time.Now()); err != nil {
		return nil, err
	}
	steps := append(f.serverSteps(), f.publishStep())
	for _, s := range leaving {
		steps = append(steps, fmt.Sprintf("server %s leaves: when no host is connected to it (bailiff fleet status on each), run there: bailiff fleet hub --remove", s.Host))
	}
	if len(leaving) > 0 {
		steps = append(steps, fmt.Sprintf("forget the servers that have left: bailiff fleet rotate --finish %s", f.dir))
	}
	return f.result(append(steps, "ports to open on the hub: "+f.ports())...), nil
}

// adminFile is the file by which publish reaches a server.
func (f *Folder) adminFile(s hub.Server) string {
	return filepath.Join(f.dir, serversDir, s.Name(), adminName)
}

// writeLeaving updates only the roster in the files of servers that leave.
func (f *Folder) writeLeaving(roster *hub.Sealed) error {
	for _, s := range f.Leaving {
		a, err := hub.ReadAdmin(f.adminFile(s))
		if err != nil {
			return cli.WithHint(err, "if no host needs server %s any more: remove it from leaving in %s", s.Host, filepath.Join(f.dir, inventoryFile))
		}
		a.Servers, a.Trust, a.Roster = []string{s.URL()}, f.Trust, *roster
		if err := a.Write(f.adminFile(s)); err != nil {
			return err
		}
	}
	return nil
}
