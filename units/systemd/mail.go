// Package systemd holds the unit files, and the test that systemd accepts them as they are. Programs use only the drop-ins for mail
// systems: see Mail.
package systemd

import "embed"

// Mail holds what each mail system asks of bailiff-report's unit, by the system's name: a drop-in (.conf) for
// bailiff-report.service, or a piece of configuration (.yaml). `bailiff report setup` installs one of them.
//
//go:embed mail
var Mail embed.FS
