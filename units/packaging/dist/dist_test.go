package main

import (
	"cmp"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCopyright holds the licence report against the modules that the programs are built from.
func TestCopyright(t *testing.T) {
	t.Chdir("../../..")
	want, err := licences(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("units/packaging/copyright")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error(`units/packaging/copyright is not up to date: go run ./units/packaging/dist -copyright >units/packaging/copyright`)
	}
}

// TestRelease builds a release twice, from two checkouts in different folders, in environments that differ in everything that must not
// matter, and compares all files. Then lintian, rpmlint and the source tarball must accept the result.
//
// It takes minutes, so it runs in CI, for one architecture and with Go's cache, and by make reproducible, which sets BAILIFF_DIST to a list.
func TestRelease(t *testing.T) {
	arches, ci := os.Getenv("BAILIFF_DIST"), os.Getenv("CI") != ""
	if arches == "" && !ci {
		t.Skip("builds packages twice: run make reproducible")
	}
	arches = cmp.Or(arches, "amd64")
	work := t.TempDir()
	run := func(dir string, env []string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	top, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	r := &release{ctx: t.Context(), work: work}
	if err := r.packager(); err != nil {
		t.Fatal(err)
	}
	build := func(name string, env []string, shell string) string {
		t.Helper()
		dir, out := filepath.Join(work, name), filepath.Join(work, "out-"+name)
		run(top, nil, "git", "clone", "-q", "--no-local", "--no-hardlinks", top, dir)
		dist := filepath.Join(t.TempDir(), "dist") // what it builds has to be the same without a cache, not the builder
		run(dir, nil, "go", "build", "-o", dist, "./units/packaging/dist")
		run(dir, env, "sh", "-euc", shell+`; exec "$0" "$@"`, dist, "-arch", arches, "-nfpm", r.nfpm, "-out", out)
		return out
	}
	other := []string{"TZ=Pacific/Auckland", "LC_ALL=C", "USER=nobody"}
	if os.Getenv("BAILIFF_DIST") != "" { // takes minutes; what Go keeps there is named by a hash of all that it is made from
		other = append(other, "GOCACHE="+filepath.Join(work, "cache"))
	}
	first := build("one", []string{"TZ=UTC", "LC_ALL=C.UTF-8"}, "umask 022")
	second := build("the other/and deeper", other, "umask 077")
	same(t, first, second)
	run(second, nil, "sha256sum", "--quiet", "-c", "SHA256SUMS")

	debs, rpms := found(t, first, "*.deb"), found(t, first, "*.rpm")
	t.Log(run(first, nil, append([]string{"lintian", "--fail-on", "error,warning", "--allow-root"}, debs...)...))
	for _, p := range debs {
		// On a server without any of them apt installs the first. firewalld would close the ports of its services.
		if out := run(first, nil, "dpkg-deb", "-f", p, "Recommends"); !strings.HasPrefix(out, "nftables |") {
			t.Errorf("%s recommends %s", filepath.Base(p), out)
		}
	}
	if page := run(first, nil, "sh", "-euc", `dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/share/man/man1/bailiff.1.gz | zcat`, "sh", debs[0]); !strings.HasPrefix(page, "'\\\" t\n") {
		t.Errorf("manual pages do not ask for tbl: %.40q", page)
	}
	config := filepath.Join(top, "units/packaging/rpm/rpmlint.toml")
	if out := run(first, nil, append([]string{"rpmlint", "--strict", "-c", config}, rpms...)...); !strings.Contains(out, "0 errors, 0 warnings") {
		t.Error(out)
	}
	for _, p := range found(t, first, "*.pkg.tar.zst") {
		install := run(first, nil, "tar", "--zstd", "-xOf", p, ".INSTALL")
		for _, f := range []string{"post_install", "post_upgrade", "pre_remove", "post_remove"} {
			if !strings.Contains(install, "function "+f+"()") {
				t.Errorf("%s: no %s", filepath.Base(p), f)
			}
		}
	}

	src := found(t, first, "*-src.tar.gz")[0]
	run(work, nil, "tar", "-xf", src)
	dir := strings.TrimSuffix(filepath.Base(src), "-src.tar.gz")
	offline := []string{"GOPROXY=off", "GOMODCACHE=" + filepath.Join(work, "no-modules"), "GOFLAGS=", "CGO_ENABLED=0"}
	run(filepath.Join(work, dir), offline, "go", "build", "-tags", "nethttpomithttp2", "-trimpath", "-o", filepath.Join(work, "bin")+"/", "./cmd/...")
	if out := run(work, nil, filepath.Join(work, "bin/bailiff"), "version"); !strings.Contains(out, strings.TrimPrefix(dir, "bailiff-")) {
		t.Errorf("built from the source tarball, bailiff calls itself %q", out)
	}
}

func found(t *testing.T, dir, pattern string) []string {
	t.Helper()
	l, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(l) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return l
}

// same compares two releases file by file. It does not trust SHA256SUMS, which is one of the files.
func same(t *testing.T, a, b string) {
	t.Helper()
	sums := func(dir string) map[string]string {
		m := make(map[string]string)
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				m[strings.TrimPrefix(p, dir)], _, err = digest(p)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	x, y := sums(a), sums(b)
	if len(x) < 8 {
		t.Errorf("not a whole release: %v", x)
	}
	for _, name := range slices.Sorted(maps.Keys(x)) {
		if x[name] != y[name] {
			t.Errorf("%s differs between two builds", name)
		}
	}
	for name := range y {
		if x[name] == "" {
			t.Errorf("%s is in the second build only", name)
		}
	}
}
