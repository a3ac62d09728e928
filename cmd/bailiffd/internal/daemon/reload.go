package daemon

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"bailiff/firewall"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/evidence"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// reload loads the configuration and applies it. After any error the running configuration stays in effect.
func (d *daemon) reload(by string) (*control.Reloaded, error) {
	c, be, why, s, err := d.prepareReload()
	if err != nil {
		d.configErr = strings.ReplaceAll(err.Error(), "\n", "; ")
		d.problems.tell(audit.KindReloadRefused, "configuration", "reload rejected, keeping the running configuration: "+err.Error(), audit.Field{Name: audit.FieldBy, Value: by})
		return nil, err
	}
	d.conf, d.configErr, d.reloaded = c, "", time.Now()
	d.reporter.configure(c)
	if !c.Fleet.Some() { // this host has left its fleet; a bailiff-fleet that runs reports again
		d.others.agent = nil
	}
	d.firewall.configure(c.Firewall, be, why, s)
	d.liftOrphans()
	d.followOperators(context.Background(), d.reloaded, uint64(d.reloaded.UnixMicro())) // cannot fail
	d.lastStatus = ""                                                                   // it shows its progress there
	d.readLists()
	d.self.ask()
	d.refreshAllow(d.reloaded)
	d.reader.reload(d.matches())
	d.firewall.reconcile()
	d.aud.Event(audit.KindReload, fmt.Sprintf("reloaded by %s: %s, %s", by, diag.Count(len(d.eng.Jails()), "jail"), diag.Count(len(c.Files), "file")), audit.Field{Name: audit.FieldBy, Value: by})
	d.reporter.start() // this may be the first configuration with a destination
	d.saver.dirtyBans = true
	d.hub.state("reloaded")
	return &control.Reloaded{Jails: d.jailNames(), Config: slices.Clone(c.Files), Notices: slices.Clone(c.Notices)}, nil
}

// prepareReload does all that may fail. be is nil if the present backend serves the new configuration, too.
func (d *daemon) prepareReload() (c *config.Config, be firewall.Backend, why string, s scopes, err error) {
	if c, err = d.load(); err != nil {
		return
	}
	if s = newScopes(c, d.state, d.firewall.host.confined); !sameBackend(d.conf.Firewall, c.Firewall) || !reflect.DeepEqual(s, d.firewall.scopes) {
		if be, why, err = d.firewall.host.open(c.Firewall, d.firewall.override, s); err != nil {
			return
		}
	}
	if err = d.eng.Configure(c); err != nil && be != nil {
		be.Close()
	}
	return
}

// liftOrphans lifts the bans of jails that are disabled, or only observe now.
func (d *daemon) liftOrphans() {
	gone := d.eng.TakeOrphans(func(jail string) bool { return jail == jailManual || jail == jailRecovered })
	d.released(gone, jailDisabled, "")
}

// matches selects the journal entries that may concern us.
func (d *daemon) matches() journal.Matches {
	ms := d.eng.Matchers()
	if d.ops != nil {
		ms = append(ms, d.ops.Matcher())
	}
	return evidence.Matches(ms, droppedGroup)
}

func (d *daemon) jailNames() []string {
	names := []string{}
	for _, j := range d.eng.Jails() {
		names = append(names, j.Name)
	}
	return names
}
