// Command dist builds everything that a release consists of: packages for Debian, rpm and Arch, tarballs with an installer,
// the source with its dependencies, a Debian package repository, a bill of materials and check sums. The same commit gives
// the same bytes, on any machine and in any folder, with the same versions of Go and of the tools.
//
// `make dist` runs it. Start reading at release.build.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bailiff/units/changelog"
	"bailiff/units/packaging"
	"bailiff/units/version"
)

// maintainer stands in the packages' metadata.
const maintainer = "The bailiff authors <bailiff@bailiff.invalid>"

// An arch is an architecture as Go, Debian, rpm and Arch call it.
type arch struct{ name, goarch, goarm, deb, rpm, pacman string }

var arches = []arch{
	{"amd64", "amd64", "", "amd64", "x86_64", "x86_64"},
	{"arm64", "arm64", "", "arm64", "aarch64", "aarch64"},
	{"armv7", "arm", "7", "armhf", "armv7hl", "armv7h"},
	{"riscv64", "riscv64", "", "riscv64", "riscv64", "riscv64"},
}

type release struct {
	ctx    context.Context
	out    string    // where the result goes
	work   string    // temporary folder
	date   time.Time // of the commit; of every file that is packed
	commit string
	suffix string // of the packages' version
	nfpm   string // program that builds packages; empty: it is built from its module
	key    string // of gpg, by which the package repository is signed; empty: it is not
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	out := flag.String("out", "dist", "write to `FOLDER`, which is emptied first")
	only := flag.String("arch", "", "build for these architectures only: a `LIST` such as amd64,arm64")
	formats := flag.String("formats", "deb,rpm,archlinux,tar,source", "build these only: a `LIST`")
	key := flag.String("sign", "", "sign the package repository, rpms and check sums with this gpg `KEY`")
	suffix := flag.String("suffix", "", "append `TEXT` to the packages' version, +git20261128 for instance")
	nfpm := flag.String("nfpm", "", "use this `PROGRAM`; by default it is built from "+nfpmModule)
	copyright := flag.Bool("copyright", false, "print units/packaging/copyright, as it should be, and build nothing")
	flag.Parse()
	if *copyright {
		text, err := licences(ctx)
		if err == nil {
			_, err = io.WriteString(os.Stdout, text)
		}
		exit(err)
		return
	}
	syscall.Umask(0o022) // modes of what is packed
	work, err := os.MkdirTemp("", "bailiff-dist-")
	exit(err)
	r := &release{ctx: ctx, work: work, suffix: *suffix, key: *key, nfpm: *nfpm}
	r.out, err = filepath.Abs(*out)
	if err == nil {
		err = r.build(split(*only), split(*formats))
	}
	os.RemoveAll(work)
	exit(err)
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' })
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

// build makes the whole release in r.out.
func (r *release) build(only, formats []string) error {
	if err := r.identify(); err != nil {
		return err
	}
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if slices.Contains(formats, "source") {
		if err := r.source(); err != nil {
			return err
		}
	}
	pages := filepath.Join(r.work, "man")
	if err := r.manPages(pages); err != nil {
		return err
	}
	if slices.ContainsFunc(formats, func(f string) bool { return f == "deb" || f == "rpm" || f == "archlinux" }) {
		if err := errors.Join(r.packager(), r.scripts()); err != nil {
			return err
		}
	}
	for _, a := range arches {
		if len(only) > 0 && !slices.Contains(only, a.name) {
			continue
		}
		tree, err := r.tree(a, pages)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		if a.name == "amd64" {
			if err := r.bom(tree); err != nil {
				return err
			}
		}
		for _, f := range formats {
			switch f {
			case "tar":
				err = r.tarball(filepath.Base(tree), tree)
			case "deb", "rpm", "archlinux":
				err = r.pack(f, a, tree)
			}
			if err != nil {
				return fmt.Errorf("%s for %s: %w", f, a.name, err)
			}
		}
	}
	if slices.Contains(formats, "deb") {
		if err := r.repository(); err != nil {
			return err
		}
	}
	return r.sums()
}

// identify finds out commit and date: from git, or in an unpacked source tarball from the file that source put there.
func (r *release) identify() error {
	if text, err := os.ReadFile(commitFile); err == nil {
		f := strings.Fields(string(text))
		if len(f) != 2 {
			return fmt.Errorf("%s: not a commit and a time", commitFile)
		}
		return r.setDate(f[0], f[1])
	}
	text, err := r.output("git", "log", "-1", "--format=%h %ct", "--abbrev=12")
	if err != nil {
		return err
	}
	f := strings.Fields(text)
	changed, err := r.output("git", "status", "--porcelain", "--untracked-files=no")
	if err != nil {
		return err
	}
	if changed != "" {
		f[0] += "-dirty"
	}
	return r.setDate(f[0], f[1])
}

func (r *release) setDate(commit, seconds string) error {
	n, err := strconv.ParseInt(seconds, 10, 64)
	r.commit, r.date = commit, time.Unix(n, 0).UTC()
	return err
}

// manPages renders the manual pages. Packages without them would be incomplete, so scdoc has to be there.
func (r *release) manPages(to string) error {
	sources, err := filepath.Glob("units/man/*.scd")
	if err != nil {
		return err
	}
	for _, s := range sources {
		text, err := os.ReadFile(s)
		if err != nil {
			return err
		}
		cmd := r.command("scdoc")
		cmd.Env = append(os.Environ(), r.epoch())
		cmd.Stdin = bytes.NewReader(text)
		page, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("scdoc: %s: %w", s, err)
		}
		page = append([]byte("'\\\" t\n"), page...) // man(1) has to run tbl(1)
		if err := put(filepath.Join(to, strings.TrimSuffix(filepath.Base(s), ".scd")), page, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// maxProgram is the largest size of a program for amd64, in bytes.
const maxProgram = 12 << 20

// tree makes the folder that the tarball holds and the packages are staged from: what units/packaging/files lists, the
// installer, and texts to read.
func (r *release) tree(a arch, pages string) (string, error) {
	dir := filepath.Join(r.work, fmt.Sprintf("bailiff-%s-linux-%s", version.Release, a.name))
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	cmd := r.command("go", "build", "-tags", "nethttpomithttp2", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X bailiff/units/version.Commit="+r.commit, "-o", bin+"/", "./cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+a.goarch, "GOARM="+a.goarm, "GOFLAGS=")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go build: %w", err)
	}
	programs, err := os.ReadDir(bin)
	if err != nil {
		return "", err
	}
	for _, p := range programs {
		if st, err := p.Info(); err == nil && a.goarch == "amd64" && st.Size() > maxProgram {
			return "", fmt.Errorf("%s has %d bytes, more than %d", p.Name(), st.Size(), maxProgram)
		}
	}
	if err := os.CopyFS(filepath.Join(bin, "man"), os.DirFS(pages)); err != nil {
		return "", err
	}
	list, err := packaging.Files("units/packaging/files")
	if err != nil {
		return "", err
	}
	copies := map[string]string{"units/packaging/install.sh": "install.sh", "units/packaging/files": "files", "units/packaging/copyright": "copyright"}
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md"} {
		copies[name] = name
	}
	for _, f := range list {
		if !strings.HasPrefix(f.Source, "bin/") {
			copies[f.Source] = f.Source
		}
	}
	for from, to := range copies {
		text, err := os.ReadFile(from)
		if from == "CHANGELOG.md" {
			text, err = changes()
		}
		if err != nil {
			return "", err
		}
		mode := fs.FileMode(0o644)
		if to == "install.sh" {
			mode = 0o755
		}
		if err := put(filepath.Join(dir, to), text, mode); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// put writes a file, and makes the folders on the way.
func put(path string, text []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, mode)
}

// changes returns CHANGELOG.md with what is not released yet.
func changes() ([]byte, error) {
	l, err := changelog.Read(os.DirFS(changelog.Folder))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		return nil, err
	}
	whole, err := changelog.Assemble(string(text), l, "")
	return []byte(whole), err
}

// sums writes SHA256SUMS, in the form of sha256sum(1).
func (r *release) sums() error {
	var lines []string
	err := filepath.WalkDir(r.out, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(r.out, p)
		if err != nil {
			return err
		}
		sum, _, err := digest(p)
		lines = append(lines, sum+"  "+name+"\n")
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(lines, func(a, b string) int { return cmp.Compare(a[64:], b[64:]) })
	name := filepath.Join(r.out, "SHA256SUMS")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o644); err != nil || r.key == "" {
		return err
	}
	return r.clearSign(name, name+".asc")
}

// digest returns a file's SHA-256 and its length in bytes.
func digest(path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

func (r *release) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(r.ctx, name, args...)
	cmd.Stderr = os.Stderr
	return cmd
}

func (r *release) output(name string, args ...string) (string, error) {
	out, err := r.command(name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// epoch tells tools which time to write into what they make: https://reproducible-builds.org/specs/source-date-epoch/
func (r *release) epoch() string { return fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.date.Unix()) }
