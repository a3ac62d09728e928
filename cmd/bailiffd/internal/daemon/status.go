package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bailiff/policy"
	"bailiff/policy/diag"
	"bailiff/units/notify"
)

// statusLine is the line that systemctl status shows.
func (d *daemon) statusLine() string {
	var b strings.Builder
	switch {
	case !d.journal.caughtUp:
		b.WriteString("catching up with the journal; ")
	case d.journal.lagging:
		fmt.Fprintf(&b, "LAGGING %.0f s behind the journal; ", d.journal.status.Lag)
	}
	if d.firewall.status.Error != "" {
		fmt.Fprintf(&b, "FIREWALL: %s; ", d.firewall.status.Error)
	}
	if d.configErr != "" {
		fmt.Fprintf(&b, "CONFIGURATION NOT RELOADED: %s; ", d.configErr)
	}
	if d.saver.err != nil {
		fmt.Fprintf(&b, "STATE NOT SAVED: %v; ", d.saver.err)
	}
	tracked, _, _ := d.eng.Tracked()
	fmt.Fprintf(&b, "%d banned, %d watched, %s since start; %s", d.state.Len(), tracked, diag.Count(int(d.counts.made), "ban"), d.firewall.status.Backend)
	return b.String()
}

// updateStatus passes the status line on if it has changed.
func (d *daemon) updateStatus() {
	if s := d.statusLine(); s != d.lastStatus {
		d.lastStatus = s
		notify.Status(s)
		d.hub.state(s)
	}
}

// present returns a function that lists which of a jail's units this host has. It asks systemd once for all jails, so a bus that
// hangs costs one timeout. If systemd cannot be asked, all units are listed.
func (d *daemon) present(ctx context.Context, jails []policy.JailInfo) func(policy.JailInfo) []string {
	var names []string
	for _, j := range jails {
		names = append(names, j.Trust.Names()...)
	}
	found, err := d.units.Find(ctx, names)
	return func(j policy.JailInfo) []string {
		names := j.Trust.Names()
		if err != nil {
			return names
		}
		units := []string{}
		for _, n := range names {
			if unit := found[n]; unit != "" {
				units = append(units, unit)
			}
		}
		slices.Sort(units)
		return slices.Compact(units)
	}
}
