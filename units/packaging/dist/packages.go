package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"bailiff/units/packaging"
	"bailiff/units/version"
)

// nfpmModule builds deb, rpm and Arch packages from one description, without the distributions' tools.
const nfpmModule = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2"

// packager builds nfpm.
func (r *release) packager() error {
	if r.nfpm != "" {
		return nil
	}
	bin := filepath.Join(r.work, "tools")
	cmd := r.command("go", "install", "-trimpath", nfpmModule)
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=", "CGO_ENABLED=0")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go install %s: %w", nfpmModule, err)
	}
	r.nfpm = filepath.Join(bin, "nfpm")
	return nil
}

// scripts completes the packages' scripts by the names of units, users and folders, which install.sh finds in the list.
func (r *release) scripts() error {
	variables, err := r.output("sh", "units/packaging/install.sh", "variables")
	if err != nil {
		return err
	}
	l, err := filepath.Glob("units/packaging/*/p*")
	if err != nil {
		return err
	}
	for _, from := range l {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		to := filepath.Join(r.work, "scripts", strings.TrimPrefix(from, "units/packaging/"))
		if err := put(to, []byte(packaging.Complete(string(text), variables+"\n")), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// details are what differs between packages.
type details struct {
	Format, Arch, Version, Release, Maintainer, Time, License string
	Scripts                                                   string // folder
	Contents                                                  []content
	Provides                                                  []string // rpm only
	Changes                                                   string   // file of nfpm's format; rpm only
}

// A content is one of nfpm's: a file or a folder.
type content struct{ Source, Destination, Type string }

//go:embed nfpm.yaml
var nfpmYAML string

// description is nfpm's configuration.
var description = template.Must(template.New("nfpm.yaml").Parse(nfpmYAML))

// pack builds one package. Where the formats differ in folders, the installer is told.
func (r *release) pack(format string, a arch, tree string) error {
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
	licence, err := allLicences()
	if err != nil {
		return err
	}
	files, err := contents(stage, format)
	if err != nil {
		return err
	}
	d := details{
		Format: format, Arch: goarch, Version: number, Release: rel, Maintainer: maintainer, Time: r.date.Format(time.RFC3339), License: licence,
		Scripts: filepath.Join(r.work, "scripts"), Contents: files,
	}
	if format == "rpm" {
		if err := r.forRPM(&d); err != nil {
			return err
		}
	}
	var text bytes.Buffer
	if err := description.Execute(&text, d); err != nil {
		return err
	}
	file := filepath.Join(r.work, format+".yaml")
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		return err
	}
	cmd = r.command(r.nfpm, "package", "-f", file, "-p", format, "-t", filepath.Join(r.out, name))
	cmd.Env = append(os.Environ(), r.epoch())
	if out, err := cmd.Output(); err != nil {
		return fmt.Errorf("nfpm: %w\n%s", err, out)
	}
	if format == "rpm" && r.key != "" {
		gpg, err := exec.LookPath("gpg")
		if err != nil {
			return err
		}
		if _, err := r.output("rpmsign", "--define", "_gpg_name "+r.key, "--define", "__gpg "+gpg, "--addsign", filepath.Join(r.out, name)); err != nil {
			return err
		}
	}
	return nil
}

// contents lists what is staged, file by file: nfpm's "tree" keeps the folders' times, and lets an rpm own, and change the mode
// of, folders that belong to other packages. Only those named after bailiff are ours.
func contents(stage, format string) ([]content, error) {
	var l []content
	err := filepath.WalkDir(filepath.Join(stage, "usr"), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		c := content{Source: p, Destination: strings.TrimPrefix(p, stage)}
		switch {
		case e.IsDir():
			if !strings.Contains(c.Destination, "/bailiff") {
				return nil
			}
			c.Source, c.Type = "", "dir"
		case format != "rpm": // the only one that asks for types
		case strings.HasPrefix(c.Destination, "/usr/share/licenses/"):
			c.Type = "license"
		case strings.HasPrefix(c.Destination, "/usr/share/doc/"), strings.HasPrefix(c.Destination, "/usr/share/man/"):
			c.Type = "doc"
		}
		l = append(l, c)
		return nil
	})
	return l, err
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
		text, err := os.ReadFile("units/packaging/lintian-overrides")
		if err != nil {
			return err
		}
		if err := put(filepath.Join(stage, "usr/share/lintian/overrides/bailiff"), text, 0o644); err != nil {
			return err
		}
	} else if err := os.WriteFile(filepath.Join(doc, "CHANGELOG.md"), changes, 0o644); err != nil {
		return err
	}
	name := filepath.Join(doc, "copyright")
	if format != "deb" {
		name = filepath.Join(stage, "usr/share/licenses/bailiff/LICENSE")
	}
	return put(name, copyright, 0o644)
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
	if err := r.clearSign(release, filepath.Join(dir, "InRelease")); err != nil {
		return err
	}
	if _, err = r.output("gpg", "--batch", "--yes", "--output", filepath.Join(dir, "bailiff.gpg"), "--export", r.key); err != nil {
		return err
	}
	_, err = r.output("gpg", "--batch", "--yes", "--armor", "--output", filepath.Join(dir, "bailiff.asc"), "--export", r.key) // for rpm
	return err
}

func (r *release) clearSign(from, to string) error {
	_, err := r.output("gpg", "--batch", "--yes", "--local-user", r.key, "--clear-sign", "--output", to, from)
	return err
}

// identifier makes an UUID of a text, since a bill of materials wants one and must be the same twice.
func identifier(text string) string {
	h := sha256.Sum256([]byte(text))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // version 8, RFC 9562
	s := hex.EncodeToString(h[:16])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
