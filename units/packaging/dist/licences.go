package main

import (
	"context"
	"debug/buildinfo"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"bailiff/units/version"
)

// A module is a dependency that is linked into a program.
type module struct{ Path, Version, Dir string }

// modules returns what the programs are linked from, sorted by path; this tree itself and Go's library are not among it.
func modules(ctx context.Context) ([]module, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}", "./cmd/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	found := make(map[string]module)
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 {
			found[f[0]] = module{f[0], f[1], f[2]}
		}
	}
	var l []module
	for _, p := range slices.Sorted(maps.Keys(found)) {
		l = append(l, found[p])
	}
	return l, nil
}

// licenceTexts returns the files of a module that its licence asks to be passed on.
func licenceTexts(m module) (map[string]string, error) {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return nil, err
	}
	texts := make(map[string]string)
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if !e.Type().IsRegular() || !strings.HasPrefix(name, "LICENSE") && !strings.HasPrefix(name, "NOTICE") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
		if err != nil {
			return nil, err
		}
		texts[e.Name()] = string(text)
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s has no licence", m.Path)
	}
	return texts, nil
}

// spdx recognizes a licence by its words and returns its identifiers: https://spdx.org/licenses/
func spdx(texts map[string]string) (string, error) {
	var ids []string
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		t := strings.Join(strings.Fields(texts[name]), " ")
		if strings.HasPrefix(strings.ToUpper(name), "NOTICE") {
			continue
		}
		for _, l := range []struct{ words, id string }{
			{"Apache License Version 2.0", "Apache-2.0"},
			{"Permission to use, copy, modify, and/or distribute this software for any purpose", "ISC"},
			{"Permission is hereby granted, free of charge, to any person obtaining a copy", "MIT"},
		} {
			if strings.Contains(t, l.words) {
				ids = append(ids, l.id)
			}
		}
		if strings.Contains(t, "Redistribution and use in source and binary forms") {
			if strings.Contains(t, "endorse or promote products") {
				ids = append(ids, "BSD-3-Clause")
			} else {
				ids = append(ids, "BSD-2-Clause")
			}
		}
	}
	if len(ids) == 0 {
		return "", fmt.Errorf("unknown licence")
	}
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), " and "), nil
}

// apacheText is the text of the Apache License 2.0 itself, which Debian wants to be referred to, not repeated.
var apacheText = regexp.MustCompile(`(?s) *Apache License\n *Version 2\.0, January 2004.*?(limitations under the License\.|END OF TERMS AND CONDITIONS)\n`)

// licences renders units/packaging/copyright: bailiff's licence and those of all modules that are part of the programs, in
// Debian's machine-readable form: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
func licences(ctx context.Context) (string, error) {
	l, err := modules(ctx)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(`Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: bailiff
Comment: Written by "go run ./units/packaging/dist -copyright"; a test compares. The programs are statically linked from
 the modules below, whose licences follow.

Files: *
Copyright: The bailiff authors
License: Apache-2.0
 On Debian systems, the full text of the Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0.
`)
	for _, m := range append([]module{{"Go's standard library", "", ""}}, l...) {
		texts := map[string]string{"LICENSE": goLicence}
		if m.Dir != "" {
			if texts, err = licenceTexts(m); err != nil {
				return "", err
			}
		}
		id, err := spdx(texts)
		if err != nil {
			return "", fmt.Errorf("%s: %w", m.Path, err)
		}
		var holders []string
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			for line := range strings.Lines(texts[name]) {
				line = strings.TrimSpace(line)
				if strings.HasPrefix(line, "Copyright") && strings.ContainsAny(line, "0123456789") && !slices.Contains(holders, line) {
					holders = append(holders, line)
				}
			}
		}
		if len(holders) == 0 {
			holders = []string{"The authors of " + m.Path}
		}
		files := "vendor/" + m.Path + "/*"
		if m.Dir == "" {
			files = "go/*"
		}
		fmt.Fprintf(&b, "\nFiles: %s\nCopyright: %s\nLicense: %s\n", files, strings.Join(holders, "\n "), id)
		fmt.Fprintf(&b, "Comment: %s\n", strings.TrimSpace(m.Path+" "+m.Version))
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			if id == "Apache-2.0" && strings.HasPrefix(name, "LICENSE") {
				continue
			}
			fmt.Fprintf(&b, " .\n %s:\n .\n", name)
			for line := range strings.Lines(apacheText.ReplaceAllString(texts[name], "(the Apache License 2.0)\n")) {
				if line = strings.TrimRight(line, " \t\r\n"); line == "" {
					line = "."
				}
				b.WriteString("  " + strings.TrimLeft(line, " ") + "\n")
			}
		}
	}
	return strings.ReplaceAll(b.String(), "\n  .\n", "\n .\n"), nil
}

// goLicence is https://go.dev/LICENSE.
//
//go:embed go-licence.txt
var goLicence string

// bom writes a bill of materials of the programs: https://cyclonedx.org/docs/1.5/json/
func (r *release) bom(tree string) error {
	type id struct {
		ID string `json:"id"`
	}
	type licence struct {
		License id `json:"license"`
	}
	type property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	type component struct {
		Type       string     `json:"type"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		PURL       string     `json:"purl,omitempty"`
		Licenses   []licence  `json:"licenses,omitempty"`
		Properties []property `json:"properties,omitempty"`
	}
	l, err := modules(r.ctx)
	if err != nil {
		return err
	}
	programs, err := filepath.Glob(filepath.Join(tree, "bin/bailiff*"))
	if err != nil {
		return err
	}
	sums, in, goVersion := make(map[string]string), make(map[string][]string), ""
	for _, p := range programs {
		b, err := buildinfo.ReadFile(p)
		if err != nil {
			return err
		}
		goVersion = strings.TrimPrefix(b.GoVersion, "go")
		for _, d := range b.Deps {
			sums[d.Path] = d.Sum
			in[d.Path] = append(in[d.Path], filepath.Base(p))
		}
	}
	components := []component{{Type: "library", Name: "std", Version: goVersion, PURL: "pkg:golang/std@" + goVersion, Licenses: []licence{{id{"BSD-3-Clause"}}}}}
	for _, m := range l {
		texts, err := licenceTexts(m)
		if err != nil {
			return err
		}
		ids, err := spdx(texts)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Path, err)
		}
		c := component{Type: "library", Name: m.Path, Version: m.Version, PURL: "pkg:golang/" + m.Path + "@" + m.Version}
		for _, i := range strings.Split(ids, " and ") {
			c.Licenses = append(c.Licenses, licence{id{i}})
		}
		c.Properties = []property{{"go:sum", sums[m.Path]}, {"go:programs", strings.Join(in[m.Path], " ")}}
		components = append(components, c)
	}
	doc := map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"serialNumber": "urn:uuid:" + identifier("bailiff "+version.Release+" "+r.commit),
		"metadata": map[string]any{
			"timestamp": r.date.Format(time.RFC3339),
			"component": component{Type: "application", Name: "bailiff", Version: version.Release, Licenses: []licence{{id{"Apache-2.0"}}},
				Properties: []property{{"vcs:commit", r.commit}}},
		},
		"components": components,
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "bailiff-"+version.Release+".cdx.json"), append(text, '\n'), 0o644)
}
