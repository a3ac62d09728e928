package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/reports"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/policy/config"
	"bailiff/units/manager"
)

// hostNotices say what on this host keeps a valid configuration from working as intended. installed: it is the one that
// the daemon reads.
func hostNotices(ctx context.Context, c *config.Config, installed bool) (notes []string) {
	notes = unitNotices(ctx, c)
	if off := switchedOff(c); len(off) > 0 {
		notes = append(notes, "switched off by the configuration: "+strings.Join(off, ", "))
	}
	if !installed {
		return notes
	}
	if active, err := manager.Active(ctx, "fail2ban.service"); err == nil && len(active) > 0 {
		notes = append(notes, "fail2ban.service is running, too, and bans by its own rules: systemctl disable --now fail2ban")
	}
	return append(append(notes, reports.MailNotices(c)...), keyNotices(c)...)
}

// unitNotices name the jails without a unit on this host. Built-in jails that are on by default need none.
func unitNotices(ctx context.Context, c *config.Config) (notes []string) {
	watched := map[*config.Jail][]string{}
	var names []string
	for i := range c.Jails {
		j := &c.Jails[i]
		if !j.Enabled || !j.Explicit && strings.HasPrefix(j.Filter.File, "builtin/") {
			continue
		}
		t := j.Filter.Trust()
		if units := slices.Concat(t.Units, t.Slices); len(units) > 0 {
			watched[j] = units
			names = append(names, units...)
		}
	}
	slices.Sort(names)
	have, err := manager.Find(ctx, slices.Compact(names))
	if err != nil {
		return nil // systemd does not say
	}
	for i := range c.Jails {
		units := watched[&c.Jails[i]]
		if len(units) > 0 && !slices.ContainsFunc(units, func(u string) bool { return have[u] != "" }) {
			notes = append(notes, fmt.Sprintf("jail %s: no unit on this host writes its entries (looked for %s)", c.Jails[i].Name, strings.Join(units, ", ")))
		}
	}
	return notes
}

// switchedOff are the built-in jails that the configuration disables, unless another jail uses their filter.
func switchedOff(c *config.Config) (names []string) {
	for i := range c.Jails {
		j := &c.Jails[i]
		used := func(o config.Jail) bool { return o.Enabled && o.Filter.Name == j.Filter.Name }
		if j.Filter != nil && !j.Enabled && !j.Filter.Off && j.Filter.Name == j.Name && !slices.ContainsFunc(c.Jails, used) {
			names = append(names, j.Name)
		}
	}
	return names
}

// keyNotices name the destinations whose key is missing. Only root may look.
func keyNotices(c *config.Config) (notes []string) {
	if os.Geteuid() != 0 {
		return nil
	}
	for i := range c.Report.Destinations {
		d := &c.Report.Destinations[i]
		if !d.Enabled || d.CredentialName() == "" || d.Credential != "" {
			continue
		}
		name := strings.TrimPrefix(d.CredentialName(), "bailiff_")
		found := func(dir string) bool {
			_, err := os.Stat(filepath.Join(settings.Dir, dir, name))
			return err == nil
		}
		if !found("credentials") && !found("credentials.encrypted") {
			notes = append(notes, fmt.Sprintf("report.destinations.%s: its key is missing: %s/credentials/%s (bailiff-report(8), KEYS)", d.Name, settings.Dir, name))
		}
	}
	return notes
}
