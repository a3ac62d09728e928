package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const top = "../.."

type file struct{ mode, source, destination string }

func list(t *testing.T) []file {
	t.Helper()
	text, err := os.ReadFile("files")
	if err != nil {
		t.Fatal(err)
	}
	var l []file
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] != "#" {
			l = append(l, file{f[0], f[1], f[2]})
		} else if len(f) > 0 && f[0] != "#" {
			t.Errorf("not mode, source and destination: %q", line)
		}
	}
	return l
}

// TestFiles holds the list of installed files against the tree: each source exists, and each unit file, manual page,
// completion and program of the tree is listed.
func TestFiles(t *testing.T) {
	var sources, destinations []string
	for _, f := range list(t) {
		if slices.Contains(sources, f.source) || slices.Contains(destinations, f.destination) {
			t.Errorf("listed twice: %s, %s", f.source, f.destination)
		}
		sources, destinations = append(sources, f.source), append(destinations, f.destination)
		of := f.source
		switch {
		case strings.HasPrefix(of, "bin/man/"):
			of = "units/man/" + strings.TrimPrefix(of, "bin/man/") + ".scd"
		case strings.HasPrefix(of, "bin/"):
			of = "cmd/" + strings.TrimPrefix(of, "bin/")
		}
		if _, err := os.Stat(filepath.Join(top, of)); err != nil {
			t.Errorf("listed, but not in the tree: %v", err)
		}
	}
	for pattern, source := range map[string]func(string) string{
		"cmd/bailiff*":            func(p string) string { return "bin/" + filepath.Base(p) },
		"units/man/*.scd":         func(p string) string { return "bin/man/" + strings.TrimSuffix(filepath.Base(p), ".scd") },
		"units/systemd/*.*":       func(p string) string { return p },
		"units/systemd/mail/*":    func(p string) string { return p },
		"units/polkit/*":          func(p string) string { return p },
		"units/completion/*bail*": func(p string) string { return p },
		"units/config/*":          func(p string) string { return p },
		"units/catalog/*.catalog": func(p string) string { return p },
	} {
		paths, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil || len(paths) == 0 {
			t.Errorf("%s: %v, %v", pattern, paths, err)
		}
		for _, p := range paths {
			rel, err := filepath.Rel(top, p)
			if err != nil {
				t.Fatal(err)
			}
			if s := source(rel); !strings.HasSuffix(s, ".go") && !slices.Contains(sources, s) {
				t.Errorf("%s is not in the list of installed files", s)
			}
		}
	}
}

// TestInstall installs into a folder and removes it again: everything that is listed is there, with its mode, and nothing
// else; afterwards nothing is left but /etc/bailiff, which is the administrator's.
func TestInstall(t *testing.T) {
	tree, dest := t.TempDir(), t.TempDir()
	for _, f := range list(t) {
		from, to := filepath.Join(top, f.source), filepath.Join(tree, f.source)
		text, err := os.ReadFile(from)
		if strings.HasPrefix(f.source, "bin/") {
			text, err = []byte(f.source), nil
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o755)
		}
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"install.sh", "files"} {
		text, err := os.ReadFile(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(tree, f), text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	run := func(verb string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(tree, "install.sh"), verb)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "DESTDIR=" + dest, "PREFIX=/opt/b"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", verb, err, out)
		}
		return string(out)
	}
	run("install")
	run("install") // over itself
	var want []string
	modes := make(map[string]string)
	for i, d := range strings.Fields(run("list")) {
		want = append(want, d)
		modes[d] = list(t)[i].mode
	}
	if got := walk(t, dest, modes); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("installed:\n%s\nlisted:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	unit, err := os.ReadFile(filepath.Join(dest, "/opt/b/lib/systemd/system/bailiff.service"))
	if err != nil || !regexp.MustCompile(`(?m)^ExecStart=/opt/b/sbin/bailiffd`).Match(unit) {
		t.Errorf("bailiff.service does not name the program under PREFIX: %v\n%s", err, unit)
	}
	run("remove")
	if got := walk(t, dest, nil); len(got) != 0 {
		t.Errorf("left after removal: %v", got)
	}
	for _, d := range []string{"/opt/b/share/bailiff", "/opt/b/lib/bailiff", "/opt/b/libexec/bailiff", "/opt/b/share/doc/bailiff"} {
		if _, err := os.Stat(filepath.Join(dest, d)); err == nil {
			t.Errorf("folder left after removal: %s", d)
		}
	}
	if _, err := os.Stat(filepath.Join(dest, "/etc/bailiff")); err != nil {
		t.Error("removal took the configuration: ", err)
	}
	run("purge")
	if _, err := os.Stat(filepath.Join(dest, "/etc/bailiff")); err == nil {
		t.Error("/etc/bailiff is left after purge")
	}
}

// walk returns the files below a folder, sorted, and checks their modes.
func walk(t *testing.T, root string, modes map[string]string) []string {
	t.Helper()
	var l []string
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(p, root)
		i, err := d.Info()
		if err != nil {
			return err
		}
		if want := modes[name]; want != "" && want != fmt.Sprintf("%o", i.Mode().Perm()) {
			t.Errorf("%s has mode %o, listed with %s", name, i.Mode().Perm(), want)
		}
		l = append(l, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(l)
	return l
}

// TestShell: the scripts are POSIX shell that shellcheck finds nothing in.
func TestShell(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	scripts, err := filepath.Glob("*.sh")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("deb/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(scripts, more...) {
		if out, err := exec.CommandContext(t.Context(), "shellcheck", "-s", "sh", s).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", s, err, out)
		}
		if out, err := exec.CommandContext(t.Context(), "dash", "-n", s).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", s, err, out)
		}
	}
}
