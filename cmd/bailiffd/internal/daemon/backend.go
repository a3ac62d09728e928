package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/internal/nlhelper"
	"bailiff/firewall"
	"bailiff/firewall/dryrun"
	"bailiff/firewall/firewalld"
	"bailiff/firewall/ipset"
	"bailiff/firewall/nftables"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/units/manager"
)

// systemdLimit bounds a question to systemd about one unit.
const systemdLimit = 2 * time.Second

// hostFacts are what firewall.backend: auto depends on.
type hostFacts struct {
	lacks      map[string]string // backends that this kernel does not support, and what is missing
	fwd        bool              // firewalld runs
	ipsetTool  func() bool       // the program ipset is installed
	nftService func() bool       // nftables.service loads a ruleset of the admin's own, at boot or now
	confined   bool              // the daemon must not use netlink
}

// newHostFacts checks whether firewalld runs; Presence reports later changes.
func newHostFacts(ctx context.Context) hostFacts {
	c, cancel := context.WithTimeout(ctx, systemdLimit)
	defer cancel()
	fwd, _ := firewalld.Running(c) // false without D-Bus
	return hostFacts{lacks: map[string]string{}, fwd: fwd, ipsetTool: ipsetTool, nftService: nftService, confined: confined()}
}

// ipsetTool checks where Debian, Fedora and RHEL install ipset.
func ipsetTool() bool {
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if _, err := os.Stat(dir + "ipset"); err == nil {
			return true
		}
	}
	return false
}

// nftService asks systemd. Without D-Bus it checks for the links that enable a unit.
func nftService() bool {
	const unit = "nftables.service"
	ctx, cancel := context.WithTimeout(context.Background(), systemdLimit)
	defer cancel()
	if used, err := manager.Used(ctx, unit); err == nil {
		return used
	}
	links, _ := filepath.Glob("/etc/systemd/system/*.wants/" + unit)
	return len(links) > 0
}

// choose returns the name of the backend to use, and why that one, for the log, status and the unit's status line.
func (h *hostFacts) choose(c config.Firewall, override string) (name, why string) {
	name, why = c.Backend, "as configured"
	if override != "" {
		name, why = override, "from the command line"
	}
	if name != "auto" {
		return name, why
	}
	if h.confined {
		return "firewalld", "auto: the only backend that works without netlink"
	}
	switch lack, lacking := h.lacks["ipset"]; {
	case h.fwd && h.lacks["firewalld"] == "":
		return "firewalld", "auto: firewalld runs"
	case lacking:
		return "nftables", "auto: for ipset this host lacks " + lack
	case !h.ipsetTool():
		return "nftables", "auto: the program ipset is not installed"
	case h.nftService(): // its file is often a saved ruleset; one with a rule that matches an ipset cannot be loaded
		return "nftables", "auto: nftables.service loads the ruleset"
	}
	return "ipset", "auto: the program ipset is installed"
}

// open chooses a backend and makes it. why says how it was chosen.
func (h *hostFacts) open(c config.Firewall, override string, s scopes) (be firewall.Backend, why string, err error) {
	name, why := h.choose(c, override)
	if h.confined && (name == "ipset" || name == "nftables") {
		return nil, "", noNetlink(name)
	}
	if h.confined {
		why += "; bailiff-netlink.socket does what needs netlink"
	}
	if be, err = newBackend(name, c, s.list); err != nil {
		return nil, "", fmt.Errorf("firewall backend %s: %w", name, err)
	}
	return be, why, nil
}

// noNetlink is the error for a backend that a confined daemon cannot use.
func noNetlink(backend string) error {
	return &diag.Error{Text: "firewall backend " + backend + " needs netlink, which firewalld-only.conf denies",
		Hint: "write firewall: {backend: firewalld}, or remove the drop-in: rm /etc/systemd/system/bailiff.service.d/firewalld-only.conf && systemctl daemon-reload"}
}

func newBackend(name string, c config.Firewall, scopes []firewall.Scope) (firewall.Backend, error) {
	switch name {
	case "firewalld":
		return firewalld.New(firewalld.Options{Scopes: scopes, Block: c.Block, Method: c.Method, Zones: c.Zones})
	case "ipset":
		return ipset.New(ipset.Options{Scopes: scopes, Block: c.Block})
	case "nftables":
		return nftables.New(nftables.Options{Scopes: scopes, Block: c.Block})
	case "dryrun":
		return dryrun.New(scopes, time.Now)
	}
	return nil, fmt.Errorf("there is no backend %q", name)
}

// others are the backends whose rules an earlier start may have left: all but the chosen one. A trial run with --firewall dryrun leaves the
// rules of the real daemon alone.
func (h *hostFacts) others(chosen, override string, helper *nlhelper.Client) (l []*retired) {
	if override == "dryrun" {
		return nil
	}
	for _, other := range []string{"firewalld", "ipset", "nftables"} {
		if other == chosen || h.confined && other != "firewalld" || !h.fwd && other == "firewalld" { // without firewalld none of its rules are in effect
			continue
		}
		if be, err := newBackend(other, config.Firewall{}, []firewall.Scope{{}}); err == nil {
			l = append(l, leftover(be))
		}
	}
	if helper != nil {
		l = append(l, &retired{name: "ipset or nftables", close: func() error { return nil }, quiet: true, remove: func(ctx context.Context) (string, error) {
			removed, err := helper.Remove(ctx)
			return strings.Join(removed, " and "), err
		}})
	}
	return l
}

// unsupported records that this kernel does not support a backend, and lets auto choose another. It returns whether the backend has
// changed.
func (f *firewallControl) unsupported(name string, err error) bool {
	var lack *firewall.UnsupportedError
	if !errors.As(err, &lack) || f.host.lacks[name] != "" {
		return false
	}
	f.host.lacks[name] = lack.What
	return f.chooseAgain()
}

// sameBackend reports whether a backend made for one configuration serves another, given the same scopes.
func sameBackend(a, b config.Firewall) bool {
	return a.Backend == b.Backend && a.Block == b.Block && a.Method == b.Method && slices.Equal(a.Zones, b.Zones)
}
