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
	"bailiff/journal/audit"
	"bailiff/policy/config"
	"bailiff/units/manager"
)

// hostFacts are what auto goes by.
type hostFacts struct {
	lacks      map[string]string // backends that this kernel refused, and what it lacks for them
	fwd        bool              // firewalld runs
	ipsetTool  func() bool       // the program ipset is installed
	nftService func() bool       // nftables.service loads a ruleset of the admin's own, at boot or now

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
	switch lack, lacking := h.lacks["ipset"]; {
	case h.fwd && h.lacks["firewalld"] == "":
		return "firewalld", "auto: firewalld runs"
	case lacking:
		return "nftables", "auto: for ipset this host lacks " + lack
	case !h.ipsetTool():
		return "nftables", "auto: the program ipset is not installed"
	case h.nftService(): // its file is often a saved ruleset, and one with a rule that looks into an ipset cannot be loaded
		return "nftables", "auto: nftables.service loads the ruleset"
	}
	return "ipset", "auto: the program ipset is installed"
}

// ipsetTool looks where Debian, Fedora and RHEL put it.
func ipsetTool() bool {
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if _, err := os.Stat(dir + "ipset"); err == nil {
			return true
		}
	}
	return false
}

// nftService asks systemd. Where there is no bus, the links that enable a unit tell.
func (d *daemon) nftService() bool {
	const unit = "nftables.service"
	ctx, cancel := context.WithTimeout(context.Background(), unitLimit)
	defer cancel()
	if used, err := manager.Used(ctx, unit); err == nil {
		return used
	}
	links, _ := filepath.Glob("/etc/systemd/system/*.wants/" + unit)
	return len(links) > 0
}

// unitLimit is how long systemd may take to tell of one unit.
const unitLimit = 2 * time.Second

// open makes the firewall backend that is meant; why says how it was chosen.
func (h *hostFacts) open(c *config.Config, override string, s scopes) (be firewall.Backend, why string, err error) {
	name, why := h.choose(c, override)
	if h.confined && (name == "ipset" || name == "nftables") {
		return nil, "", noNetlink(name)
	}
	if h.confined {
		why += "; what takes netlink is asked of bailiff-netlink.socket"
	}
	if be, err = newBackend(name, c.Firewall, s.list); err != nil {
		return nil, "", fmt.Errorf("firewall backend %s: %w", name, err)
	}
	return be, why, nil
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

// others are the backends of which an earlier start may have left rules in force: all but the one that is used. A trial run
// with --firewall dryrun leaves those of the daemon proper alone.
func (h *hostFacts) others(name, override string, helper *nlhelper.Client) (l []*retired) {
	if override == "dryrun" {
		return nil
	}
	for _, other := range []string{"firewalld", "ipset", "nftables"} {
		if other == name || h.confined && other != "firewalld" || !h.fwd && other == "firewalld" { // nothing of firewalld is in force then
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

// another takes the next backend where auto picked one that this kernel cannot do.
func (d *daemon) another(name string, err error) bool {
	var lack *firewall.UnsupportedError
	if !errors.As(err, &lack) || d.host.lacks[name] != "" {
		return false
	}
	d.host.lacks[name] = lack.What
	return d.choose()
}

// lookForFirewalld asks once, at the start; from then on Presence tells.
func (d *daemon) lookForFirewalld(ctx context.Context) {
	c, cancel := context.WithTimeout(ctx, unitLimit)
	defer cancel()
	d.host.fwd, _ = firewalld.Running(c) // without a bus there is none
}

// choose has another backend take over where what auto goes by has changed.
func (d *daemon) choose() bool {
	name, _ := d.host.choose(d.conf, d.opt.backend)
	if name == d.chosen {
		return false
	}
	be, why, err := d.host.open(d.conf, d.opt.backend, d.scopes)
	if err != nil {
		d.aud.Event(audit.KindFirewallError, err.Error(), audit.Field{Name: audit.FieldBackend, Value: d.fw.Backend})
		return false
	}
	// Of a firewalld that is gone nothing is in force. It may come back any moment, and then it is wanted as it is.
	d.useBackend(be, why, d.chosen == "firewalld" && !d.host.fwd)
	d.firewall.reconcile(d.wanted())
	return true
}

// useBackend has another backend take over; the full set of bans is to follow. keep leaves the rules of the present one
// alone.
func (d *daemon) useBackend(be firewall.Backend, why string, keep bool) {
	d.firewall.switchBackend(be, keep)
	d.chosen, d.why, d.newRules = be.Name(), why, true
	d.watch(be)
}

// watch lets a backend that can tell at once when somebody else changes our rules do so.
func (d *daemon) watch(be firewall.Backend) {
	if d.unwatch != nil {
		d.unwatch()
		d.unwatch = nil
	}
	d.solved("firewall watch")
	d.counter, _ = be.(firewall.Counter)
	w, ok := be.(interface {
		Watch(context.Context, func()) error
	})
	if !ok {
		return
	}
	var ctx context.Context
	ctx, d.unwatch = context.WithCancel(context.Background())
	go func() {
		if err := w.Watch(ctx, d.firewall.changed); err != nil && ctx.Err() == nil {
			d.firewallEvents <- firewallEvent{source: "firewall watch", notice: fmt.Errorf("changes that others make to our rules are noticed every %s only: %w", tick, err)}
		}
	}()
}

// sameFirewall says whether a backend made for one configuration serves another, if it has the same scopes.
func sameFirewall(a, b *config.Config) bool {
	return a.Firewall.Backend == b.Firewall.Backend && a.Firewall.Block == b.Firewall.Block && a.Firewall.Method == b.Firewall.Method &&
		slices.Equal(a.Firewall.Zones, b.Firewall.Zones)
}
