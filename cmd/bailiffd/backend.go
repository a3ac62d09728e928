package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/dryrun"
	"bailiff/firewall/firewalld"
	"bailiff/firewall/ipset"
	"bailiff/firewall/nftables"
	"bailiff/policy/config"
)

// hostFacts are what auto goes by.
type hostFacts struct {
	lacks map[string]string // backends that this kernel refused, and what it lacks for them
	fwd   bool              // firewalld runs
	tools func() string     // a program of iptables or ipset that is installed; "" for none

	confined bool // to what takes no netlink
}

// choose says which backend is meant, and why that one: for the log, status and the unit's status line.
func (h *hostFacts) choose(c *config.Config, override string) (name, why string) {
	name, why = c.Firewall.Backend, "as configured"
	if override != "" {
		name, why = override, "as the command line asks"
	}
	if name != "auto" {
		return name, why
	}
	if h.confined {
		return "firewalld", "auto: this unit has no netlink, so no other can be had"
	}
	tool := h.tools()
	switch lack, lacking := h.lacks["ipset"]; {
	case h.fwd && h.lacks["firewalld"] == "":
		return "firewalld", "auto: firewalld runs"
	case lacking:
		return "nftables", "auto: for ipset this host lacks " + lack
	case tool != "":
		return "ipset", "auto: " + tool + " is installed"
	}
	return "nftables", "auto: neither iptables nor ipset is installed"
}

// programs are where Debian, Fedora and RHEL put them.
func programs() string {
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		for _, name := range []string{"iptables", "ipset"} {
			if _, err := os.Stat(dir + name); err == nil {
				return name
			}
		}
	}
	return ""
}

// open makes the firewall backend that is meant; why says how it was chosen.
func (h *hostFacts) open(c *config.Config, override string, s scopes) (be firewall.Backend, why string, err error) {
	name, why := h.choose(c, override)
	if h.confined && (name == "ipset" || name == "nftables") {
		return nil, "", noNetlink(name)
	}
	if h.confined {
		why += "; what takes netlink is asked of bailiff-netlink.socket"
	}
	switch name {
	case "firewalld":
		be, err = firewalld.New(firewalld.Options{Scopes: s.list, Block: c.Firewall.Block, Via: c.Firewall.Via, Zones: c.Firewall.Zones})
	case "ipset":
		be, err = ipset.New(ipset.Options{Scopes: s.list, Block: c.Firewall.Block})
	case "nftables":
		be, err = nftables.New(nftables.Options{Scopes: s.list, Block: c.Firewall.Block})
	case "dryrun":
		be, err = dryrun.New(s.list, time.Now)
	default:
		err = fmt.Errorf("there is no backend %q", name)
	}
	if err != nil {
		return nil, "", fmt.Errorf("firewall backend %s: %w", name, err)
	}
	return be, why, nil
}

// sameFirewall says whether a backend made for one configuration serves another, if it has the same scopes.
func sameFirewall(a, b *config.Config) bool {
	return a.Firewall.Backend == b.Firewall.Backend && a.Firewall.Block == b.Firewall.Block && a.Firewall.Via == b.Firewall.Via &&
		slices.Equal(a.Firewall.Zones, b.Firewall.Zones)
}
