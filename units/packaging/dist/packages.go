package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"bailiff/units/version"
)

// nfpmModule builds deb, rpm and Arch packages from one description, without the distributions' tools.
const nfpmModule = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2"

func (r *release) nfpm() (string, error) {
	bin := filepath.Join(r.work, "tools")
	cmd := r.command("go", "install", nfpmModule)
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=", "CGO_ENABLED=0")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go install %s: %w", nfpmModule, err)
	}
	return filepath.Join(bin, "nfpm"), nil
}

// description is nfpm's configuration: https://nfpm.goreleaser.com/configuration/
var description = template.Must(template.New("nfpm.yaml").Parse(`
name: bailiff
arch: {{.Arch}}
platform: linux
version: {{.Version}}
version_schema: none
release: "{{.Release}}"
section: admin
priority: optional
maintainer: {{.Maintainer}}
vendor: bailiff
license: Apache-2.0
mtime: {{.Time}}
description: |
  block attackers found in the systemd journal
  bailiff reads the systemd journal, recognizes failed logins and other attacks,
  and adds the offending addresses to firewalld, nftables or ipset. Every ban is
  backed by the journal entries that caused it. It replaces fail2ban on hosts
  that run systemd.
contents:
  - {src: "{{.Stage}}/usr", dst: /usr, type: tree}
  - {dst: /etc/bailiff, type: dir, file_info: {mode: 0755}}
deb:
  compression: zstd
overrides:
  deb:
    depends: ["systemd | systemd-standalone-sysusers | systemd-sysusers", passwd]
    recommends: ["firewalld | ipset | nftables"]
    suggests: [default-mta | mail-transport-agent]
    scripts: {postinstall: units/packaging/deb/postinst, preremove: units/packaging/deb/prerm, postremove: units/packaging/deb/postrm}
  rpm:
    depends: [systemd]
    recommends: ["(firewalld or ipset or nftables)"]
    provides: [user(bailiff), user(bailiff-fetch), user(bailiff-report), user(bailiff-web), group(bailiff), group(bailiff-fetch), group(bailiff-report), group(bailiff-web)]
    scripts: {postinstall: units/packaging/rpm/post, preremove: units/packaging/rpm/preun, postremove: units/packaging/rpm/postun}
  archlinux:
    depends: [systemd]
    scripts: {postinstall: units/packaging/arch/post_install, preremove: units/packaging/arch/pre_remove}
rpm:
  buildhost: localhost
  group: System Environment/Daemons
  summary: Block attackers found in the systemd journal
archlinux:
  packager: {{.Maintainer}}
  scripts: {postupgrade: units/packaging/arch/post_upgrade}
`))

// pack builds one package. Where the formats differ in folders, the installer is told.
func (r *release) pack(nfpm, format string, a arch, tree string) error {
	stage := filepath.Join(r.work, format+"-"+a.name)
	dirs := []string{"DESTDIR=" + stage, "ZSHDIR=/usr/share/zsh/site-functions"}
	name := ""
	switch format {
	case "deb":
		dirs = append(dirs, "ZSHDIR=/usr/share/zsh/vendor-completions")
		name = fmt.Sprintf("bailiff_%s_%s.deb", r.version("~"), a.deb)
	case "rpm":
		name = fmt.Sprintf("bailiff-%s-1.%s.rpm", r.version("~"), a.rpm)
	case "archlinux": // there /usr/sbin is a link to /usr/bin
		dirs = append(dirs, "SBINDIR=/usr/bin", "LIBEXECDIR=/usr/lib/bailiff")
		name = fmt.Sprintf("bailiff-%s-1-%s.pkg.tar.zst", r.version(""), a.pacman)
	}
	cmd := r.command("sh", filepath.Join(tree, "install.sh"), "install")
	cmd.Env = append(os.Environ(), dirs...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("install.sh: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(stage, "etc")); err != nil { // nfpm makes /etc/bailiff
		return err
	}
	if err := r.documents(format, stage); err != nil {
		return err
	}
	number, rel := r.version("~"), "1"
	switch format {
	case "deb":
		rel = "" // a package of Debian's native kind: the version has no revision
	case "archlinux":
		number = r.version("")
	}
	goarch := a.goarch
	if a.goarm != "" {
		goarch += a.goarm
	}
	var text bytes.Buffer
	err := description.Execute(&text, map[string]string{
		"Arch": goarch, "Version": number, "Release": rel, "Maintainer": maintainer, "Stage": stage, "Time": r.date.Format(time.RFC3339),
	})
	if err != nil {
		return err
	}
	file := filepath.Join(r.work, format+".yaml")
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		return err
	}
	cmd = r.command(nfpm, "package", "-f", file, "-p", format, "-t", filepath.Join(r.out, name))
	cmd.Env = append(os.Environ(), r.epoch())
	if out, err := cmd.Output(); err != nil {
		return fmt.Errorf("nfpm: %w\n%s", err, out)
	}
	return nil
}

// documents compresses the manual pages and adds licence and changes, where each distribution has them.
func (r *release) documents(format, stage string) error {
	pages, err := filepath.Glob(filepath.Join(stage, "usr/share/man/man*/*"))
	if err != nil {
		return err
	}
	for _, p := range pages {
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if err := compress(p+".gz", text); err != nil {
			return err
		}
		if err := os.Remove(p); err != nil {
			return err
		}
	}
	doc := filepath.Join(stage, "usr/share/doc/bailiff")
	changes, err := changes()
	if err != nil {
		return err
	}
	copyright, err := os.ReadFile("units/packaging/copyright")
	if err != nil {
		return err
	}
	if format == "deb" {
		if err := compress(filepath.Join(doc, "NEWS.gz"), changes); err != nil {
			return err
		}
		entry := fmt.Sprintf("bailiff (%s) unstable; urgency=medium\n\n  * The changes are in NEWS.gz.\n\n -- %s  %s\n",
			r.version("~"), maintainer, r.date.Format(time.RFC1123Z))
		if err := compress(filepath.Join(doc, "changelog.gz"), []byte(entry)); err != nil {
			return err
		}
		overrides := filepath.Join(stage, "usr/share/lintian/overrides")
		if err := os.MkdirAll(overrides, 0o755); err != nil {
			return err
		}
		text, err := os.ReadFile("units/packaging/lintian-overrides")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(overrides, "bailiff"), text, 0o644); err != nil {
			return err
		}
	} else if err := os.WriteFile(filepath.Join(doc, "CHANGELOG.md"), changes, 0o644); err != nil {
		return err
	}
	name := filepath.Join(doc, "copyright")
	if format != "deb" {
		name = filepath.Join(stage, "usr/share/licenses/bailiff/LICENSE")
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(name, copyright, 0o644)
}

// version is the version as a package manager sorts it: Debian and rpm have 1.0.0~rc1 before 1.0.0, vercmp(8) 1.0.0rc1.
func (r *release) version(rc string) string {
	return strings.Replace(version.Release, "-", rc, 1) + r.suffix
}

// repository makes a flat repository of the Debian packages, for apt: deb [signed-by=…] https://…/apt ./
func (r *release) repository() error {
	dir := filepath.Join(r.out, "apt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(r.out, "*.deb"))
	if err != nil {
		return err
	}
	var index strings.Builder
	for _, p := range packages {
		control, err := r.output("dpkg-deb", "-f", p)
		if err != nil {
			return err
		}
		sum, size, err := digest(p)
		if err != nil {
			return err
		}
		if err := os.Link(p, filepath.Join(dir, filepath.Base(p))); err != nil {
			return err
		}
		fmt.Fprintf(&index, "%s\nFilename: ./%s\nSize: %d\nSHA256: %s\n\n", control, filepath.Base(p), size, sum)
	}
	if err := os.WriteFile(filepath.Join(dir, "Packages"), []byte(index.String()), 0o644); err != nil {
		return err
	}
	if err := compress(filepath.Join(dir, "Packages.gz"), []byte(index.String())); err != nil {
		return err
	}
	var archs []string
	for _, a := range arches {
		archs = append(archs, a.deb)
	}
	slices.Sort(archs)
	text := fmt.Sprintf("Origin: bailiff\nLabel: bailiff\nSuite: stable\nCodename: stable\nDate: %s\nArchitectures: %s\nSHA256:\n", r.date.Format(time.RFC1123), strings.Join(archs, " "))
	for _, name := range []string{"Packages", "Packages.gz"} {
		sum, size, err := digest(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		text += fmt.Sprintf(" %s %d %s\n", sum, size, name)
	}
	release := filepath.Join(dir, "Release")
	if err := os.WriteFile(release, []byte(text), 0o644); err != nil {
		return err
	}
	if r.key == "" {
		return nil
	}
	if _, err := r.output("gpg", "--batch", "--yes", "--local-user", r.key, "--clear-sign", "--output", filepath.Join(dir, "InRelease"), release); err != nil {
		return err
	}
	_, err = r.output("gpg", "--batch", "--yes", "--output", filepath.Join(dir, "bailiff.gpg"), "--export", r.key)
	return err
}

// identifier makes an UUID of a text, since a bill of materials wants one and must be the same twice.
func identifier(text string) string {
	h := sha256.Sum256([]byte(text))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // version 8, RFC 9562
	s := hex.EncodeToString(h[:16])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
