package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/policy/fleet"
	"bailiff/units/hub"
)

func initCommand() *cli.Command {
	c := cli.New("init", "DIR HOST[=GROUP]…", "make a new fleet: write the files of its hub and hosts to a new folder").WithJSON()
	servers := c.List("server", "`SERVER` of the hub, HOST[:PORT]")
	name := c.Flags.String("name", "", "`NAME` of the fleet (default: that of the folder)")
	operator := c.Flags.String("operator", "", "`NAME` of the operator, who signs the list of hosts (default: your user name)")
	return c.Does(func(e *cli.Env, args []string) error {
		dir := args[0]
		if *name == "" {
			if abs, err := filepath.Abs(dir); err == nil {
				*name = filepath.Base(abs)
			}
		}
		*operator = cmp.Or(*operator, operatorName())
		for option, v := range map[string]string{"--name": *name, "--operator": *operator} {
			if !fleet.ValidHost(v) {
				return &cli.UsageError{Text: fmt.Sprintf("%s: %q is not 1 to 64 letters, digits, - and _", option, v), Hint: "choose one with " + option}
			}
		}
		list, err := parseServers(*servers)
		if err != nil {
			return err
		}
		hosts, err := parseHosts(args[1:])
		if err != nil {
			return err
		}
		f, err := create(dir, *name, *operator, list, time.Now())
		if err != nil {
			return err
		}
		defer f.close()
		r, err := f.add(hosts)
		if err != nil {
			return err
		}
		r.Steps = append(r.Steps, fmt.Sprintf("keep %s: whoever has it can let hosts in and out; ports to open on the hub: %s", dir, f.ports()))
		return r.print(e)
	})
}

// ports are the hub's ports that others connect to.
func (f *Folder) ports() string {
	var l []string
	for _, s := range f.Servers {
		if p := fmt.Sprintf("%d/tcp for the hosts", s.Port); !slices.Contains(l, p) {
			l = append(l, p)
		}
	}
	if len(f.Servers) > 1 {
		l = append(l, fmt.Sprintf("%d/tcp for the other servers", hub.ClusterPort))
	}
	return strings.Join(l, ", ")
}

func parseServers(l []string) ([]hub.Server, error) {
	var servers []hub.Server
	for _, s := range l {
		x, err := parseServer(s)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(servers, func(y hub.Server) bool { return x.Host == y.Host }) {
			return nil, cli.Usagef("--server: %s is given twice", x.Host)
		}
		servers = append(servers, x)
	}
	switch len(servers) {
	case 0:
		return nil, &cli.UsageError{Text: "no server is given", Hint: "name the host on which nats-server will run: --server hub.example.org"}
	case 1, 3, 5:
		return servers, nil
	}
	return nil, &cli.UsageError{Text: fmt.Sprintf("%d servers are given", len(servers)), Hint: "a hub has 1, 3 or 5 servers: a majority must remain when one fails"}
}

// newHost is a host to be added.
type newHost struct{ name, group string }

func parseHosts(words []string) (l []newHost, err error) {
	for _, w := range words {
		name, group, err := parseHost(w)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(l, func(h newHost) bool { return h.name == name }) {
			return nil, cli.Usagef("host %s is given twice", name)
		}
		l = append(l, newHost{name, group})
	}
	return l, nil
}

// add adds hosts and writes all files.
func (f *Folder) add(hosts []newHost) (*result, error) {
	var members []*hub.Member
	var names []string
	for _, h := range hosts {
		if _, ok := f.Hosts[h.name]; ok {
			return nil, cli.WithHint(fmt.Errorf("host %s is in the fleet already", h.name), "new keys for it: bailiff fleet rotate %s %s", f.dir, h.name)
		}
		f.Hosts[h.name] = &Host{Group: h.group}
		m, err := f.newKeys(h.name)
		if err != nil {
			return nil, err
		}
		members, names = append(members, m), append(names, h.name)
	}
	if len(f.Hosts) > fleet.MaxHosts {
		return nil, fmt.Errorf("a fleet has %d hosts at most", fleet.MaxHosts)
	}
	if err := f.finish(time.Now(), members...); err != nil {
		return nil, err
	}
	return f.result(append(f.serverSteps(), f.hostSteps(names...)...)...), nil
}

// change opens a folder for a command that changes it and prints the result.
func change(e *cli.Env, dir string, do func(f *Folder) (*result, error)) error {
	f, err := open(dir)
	if err != nil {
		return err
	}
	defer f.close()
	r, err := do(f)
	if err != nil {
		return err
	}
	return r.print(e)
}

func addCommand() *cli.Command {
	return cli.New("add", "DIR HOST[=GROUP]…", "add hosts to a fleet").WithJSON().Does(func(e *cli.Env, args []string) error {
		hosts, err := parseHosts(args[1:])
		if err != nil {
			return err
		}
		return change(e, args[0], func(f *Folder) (*result, error) { return f.add(hosts) })
	})
}

func rotateCommand() *cli.Command {
	c := cli.New("rotate", "DIR [HOST]", "give a host, or the hub, new keys; the old ones are valid until --finish").WithJSON()
	finish := c.Flags.Bool("finish", false, "the host has its new file, or all hosts the new roster: revoke the old keys")
	return c.Does(func(e *cli.Env, args []string) error {
		return change(e, args[0], func(f *Folder) (*result, error) {
			switch {
			case len(args) == 1 && *finish:
				return f.finishHub(time.Now())
			case len(args) == 1:
				now := time.Now()
				if err := f.renewHub(now); err != nil {
					return nil, err
				}
				if err := f.finish(now); err != nil {
					return nil, err
				}
				return f.result(f.renewSteps()...), nil
			}
			name := args[1]
			h, err := f.host(name)
			if err != nil {
				return nil, err
			}
			if *finish {
				if len(h.Keys) < 2 {
					return nil, fmt.Errorf("host %s has one key only: nothing to finish", name)
				}
				h.Keys, h.NKeys = h.Keys[1:], h.NKeys[1:]
				if err := f.finish(time.Now()); err != nil {
					return nil, err
				}
				return f.result(f.serverSteps()...), nil
			}
			if len(h.Keys) > 1 {
				return nil, cli.WithHint(fmt.Errorf("host %s has two keys already", name), "first run bailiff fleet rotate --finish %s %s", f.dir, name)
			}
			m, err := f.newKeys(name)
			if err != nil {
				return nil, err
			}
			if err := f.finish(time.Now(), m); err != nil {
				return nil, err
			}
			return f.result(append(append(f.serverSteps(), f.hostSteps(name)...),
				fmt.Sprintf("then revoke the old keys: bailiff fleet rotate --finish %s %s", f.dir, name))...), nil
		})
	})
}

func (f *Folder) host(name string) (*Host, error) {
	if h, ok := f.Hosts[name]; ok {
		return h, nil
	}
	err := fmt.Errorf("host %q is not in fleet %s", name, f.Fleet)
	var names []string
	for n := range f.Hosts {
		names = append(names, n)
	}
	slices.Sort(names)
	if len(names) > 20 {
		names = append(names[:20], "…")
	}
	return nil, cli.WithHint(err, "there are %s", strings.Join(names, ", "))
}

func revokeCommand() *cli.Command {
	return cli.New("revoke", "DIR HOST…", "remove hosts from a fleet: they are no longer trusted, and their bans end").WithJSON().Does(func(e *cli.Env, args []string) error {
		return change(e, args[0], func(f *Folder) (*result, error) {
			for _, name := range args[1:] {
				if _, err := f.host(name); err != nil {
					return nil, err
				}
				delete(f.Hosts, name)
			}
			if err := f.finish(time.Now()); err != nil {
				return nil, err
			}
			for _, name := range args[1:] {
				if err := os.Remove(f.memberFile(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return nil, err
				}
			}
			return f.result(append([]string{f.publishStep()}, f.serverSteps()...)...), nil
		})
	})
}
