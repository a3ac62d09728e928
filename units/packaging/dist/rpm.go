package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// forRPM adds what rpm asks for beyond the other formats: users, and a list of changes.
func (r *release) forRPM(d *details) (err error) {
	if d.Provides, err = users(); err != nil {
		return err
	}
	d.Changes = filepath.Join(r.work, "changes.yaml")
	entry := fmt.Sprintf("- semver: %s-1\n  date: %s\n  packager: %s\n  changes:\n  - note: The changes are in /usr/share/doc/bailiff/CHANGELOG.md.\n",
		d.Version, r.date.Format(time.RFC3339), maintainer)
	return os.WriteFile(d.Changes, []byte(entry), 0o644)
}

// users returns the users and groups that an rpm provides: https://rpm-software-management.github.io/rpm/man/rpm-sysusers.7.
// From version 4.19 on, rpm creates them before it unpacks; earlier ones leave that to the script.
func users() ([]string, error) {
	text, err := os.ReadFile("units/systemd/sysusers.conf")
	if err != nil {
		return nil, err
	}
	var l []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "u" {
			continue
		}
		entry := strings.Join(f, " ")
		for len(entry)%3 != 0 { // without =, which a version must not contain
			entry += "\x00"
		}
		l = append(l, fmt.Sprintf("user(%s) = %s", f[1], base64.StdEncoding.EncodeToString([]byte(entry))), fmt.Sprintf("group(%s)", f[1]))
	}
	return l, nil
}

// allLicences joins the licences that units/packaging/copyright names into one expression: https://spdx.org/licenses/
func allLicences() (string, error) {
	text, err := os.ReadFile("units/packaging/copyright")
	if err != nil {
		return "", err
	}
	var ids []string
	for line := range strings.Lines(string(text)) {
		if l, ok := strings.CutPrefix(strings.TrimSpace(line), "License: "); ok {
			ids = append(ids, strings.Split(l, " and ")...)
		}
	}
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), " AND "), nil
}
