package main

import (
	"fmt"
	"reflect"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/dryrun"
	"bailiff/firewall/ipset"
	"bailiff/policy/config"
)

// openBackend makes the firewall backend that the configuration asks for; why says how it was chosen.
func openBackend(c *config.Config, override string) (be firewall.Backend, why string, err error) {
	name, why := c.Firewall.Backend, "as configured"
	if override != "" {
		name, why = override, "as the command line asks"
	}
	if name == "auto" {
		name, why = "ipset", "auto"
	}
	switch name {
	case "ipset":
		be, err = ipset.New(ipset.Options{Scopes: scopes(c), Block: c.Firewall.Block})
	case "dryrun":
		be, err = dryrun.New(scopes(c), time.Now)
	default:
		err = fmt.Errorf("there is no backend %q", name)
	}
	if err != nil {
		return nil, "", fmt.Errorf("firewall backend %s: %w", name, err)
	}
	return be, why, nil
}

// scopes are the jails that stop some ports only. The scope of everything is always there.
func scopes(c *config.Config) []firewall.Scope {
	l := []firewall.Scope{{}}
	for _, j := range c.Jails {
		if !j.Enabled || len(j.Ports) == 0 {
			continue
		}
		s := firewall.Scope{Name: j.Name}
		for _, p := range j.Ports {
			s.Ports = append(s.Ports, firewall.Port{Proto: p.Proto, From: p.From, To: p.To})
		}
		l = append(l, s)
	}
	return l
}

// sameFirewall says whether a backend made for one configuration serves another.
func sameFirewall(a, b *config.Config) bool {
	return a.Firewall.Backend == b.Firewall.Backend && a.Firewall.Block == b.Firewall.Block && reflect.DeepEqual(scopes(a), scopes(b))
}
