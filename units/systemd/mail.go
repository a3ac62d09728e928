// Package systemd holds the unit files, and the test that systemd itself takes them as they are. Programs see of it the
// drop-ins of mail systems alone: see Mail.
package systemd

import "embed"

// Mail holds what each mail system asks of bailiff-report's unit, by the system's name: a drop-in (.conf) for
// bailiff-report.service, or a piece of configuration (.yaml). `bailiff report setup` installs one of them.
//
//go:embed mail
var Mail embed.FS
