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

func list(t *testing.T) []File {
	t.Helper()
	l, err := Files("files")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// variables runs install.sh variables.
func variables(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "install.sh", "variables").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestFiles holds the list of installed files against the tree: each source exists, and each unit file, manual page,
// completion and program of the tree is listed.
func TestFiles(t *testing.T) {
	var sources, destinations []string
	for _, f := range list(t) {
		if slices.Contains(sources, f.Source) || slices.Contains(destinations, f.Destination) {
			t.Errorf("listed twice: %s, %s", f.Source, f.Destination)
		}
		sources, destinations = append(sources, f.Source), append(destinations, f.Destination)
		of := f.Source
		switch {
		case strings.HasPrefix(of, "bin/man/"):
			of = "units/man/" + strings.TrimPrefix(of, "bin/man/") + ".scd"
		case strings.HasPrefix(of, "bin/"):
			of = f.Program()
		}
		if _, err := os.Stat(filepath.Join(top, of)); err != nil {
			t.Errorf("listed, but not in the tree: %v", err)
		}
	}
	for pattern, source := range map[string]func(string) string{
		"cmd/bailiff/bailiff*":     func(p string) string { return "bin/" + filepath.Base(p) },
		"cmd/bailiff*":             func(p string) string { return "bin/" + filepath.Base(p) },
		"units/man/*.scd":          func(p string) string { return "bin/man/" + strings.TrimSuffix(filepath.Base(p), ".scd") },
		"units/systemd/*.*":        func(p string) string { return p },
		"units/systemd/mail/*":     func(p string) string { return p },
		"units/polkit/*":           func(p string) string { return p },
		"cmd/bailiff-web/page/*.*": func(p string) string { return p },
		"units/completion/*bail*":  func(p string) string { return p },
		"units/config/*":           func(p string) string { return p },
		"units/catalog/*.catalog":  func(p string) string { return p },
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
		from, to := filepath.Join(top, f.Source), filepath.Join(tree, f.Source)
		text, err := os.ReadFile(from)
		if strings.HasPrefix(f.Source, "bin/") {
			text, err = []byte(f.Source), nil
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
	run("install")                                                                 // over itself
	if err := os.MkdirAll(filepath.Join(dest, "etc/bailiff"), 0o755); err != nil { // at run time by systemd-tmpfiles
		t.Fatal(err)
	}
	var want []string
	modes := make(map[string]string)
	for i, d := range strings.Fields(run("list")) {
		want = append(want, d)
		modes[d] = list(t)[i].Mode
	}
	if got := walk(t, dest, modes); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("installed:\n%s\nlisted:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	unit, err := os.ReadFile(filepath.Join(dest, "/opt/b/lib/systemd/system/bailiff.service"))
	if err != nil || !regexp.MustCompile(`(?m)^ExecStart=/opt/b/sbin/bailiffd`).Match(unit) {
		t.Errorf("bailiff.service does not name the program under PREFIX: %v\n%s", err, unit)
	}
	wants := filepath.Join(dest, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/opt/b/lib/systemd/system/bailiff.service", filepath.Join(wants, "bailiff.service")); err != nil {
		t.Fatal(err)
	}
	run("remove")
	if got := walk(t, dest, nil); len(got) != 0 {
		t.Errorf("left after removal: %v", got)
	}
	for _, d := range []string{"/opt/b/share/bailiff", "/opt/b/lib/bailiff", "/opt/b/libexec/bailiff", "/opt/b/share/doc/bailiff", "/opt/b/share/cockpit/bailiff"} {
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

// TestVariables compares what the packages' scripts are told with the unit files: an enabled unit is also stopped and purged; a unit that
// starts at boot, but not by default, is purged; users are those of sysusers.conf.
func TestVariables(t *testing.T) {
	v := make(map[string][]string)
	for line := range strings.Lines(variables(t)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || len(value) < 2 || value[0] != '\'' || value[len(value)-1] != '\'' {
			t.Fatalf("not an assignment: %q", line)
		}
		v[name] = strings.Fields(value[1 : len(value)-1])
	}
	if want := []string{"bailiff.socket", "bailiff.service"}; !slices.Equal(v["ENABLED"], want) {
		t.Errorf("a package enables and starts %q; without a reason that is in this test it is %q", v["ENABLED"], want)
	}
	for _, f := range list(t) {
		if !strings.HasPrefix(f.Destination, "${UNITDIR}/") || strings.Contains(f.Source, "@.") {
			continue
		}
		unit := filepath.Base(f.Source)
		text, err := os.ReadFile(filepath.Join(top, f.Source))
		if err != nil {
			t.Fatal(err)
		}
		installable := strings.Contains(string(text), "\n[Install]\n")
		if f.Enable && !installable {
			t.Errorf("%s is to be enabled, but has no [Install]", unit)
		}
		once := strings.Contains(string(text), "\nType=oneshot\n")
		for name, want := range map[string]bool{
			"UNITS": true, "ENABLED": f.Enable, "OPTIONAL": installable && !f.Enable,
			"SERVICES": strings.HasSuffix(unit, ".service") && !once && !f.Enable,
		} {
			if slices.Contains(v[name], unit) != want {
				t.Errorf("%s: in %s is %t", unit, name, !want)
			}
		}
		for _, key := range []string{"State", "Runtime"} {
			if m := regexp.MustCompile(`(?m)^` + key + `Directory=(.*)$`).FindStringSubmatch(string(text)); m != nil && !slices.Contains(v["FOLDERS"], m[1]) {
				t.Errorf("purge leaves %s's folder %s", unit, m[1])
			}
		}
		if m := regexp.MustCompile(`(?m)^User=(bailiff.*)$`).FindStringSubmatch(string(text)); m != nil && !slices.Contains(v["USERS"], m[1]) {
			t.Errorf("%s runs as %s, which no package creates", unit, m[1])
		}
	}
	for _, unit := range slices.Concat(v["OPTIONAL"], v["SERVICES"], v["ENABLED"]) {
		if !slices.Contains(v["UNITS"], unit) {
			t.Errorf("%s is not stopped at removal", unit)
		}
	}
}

// TestNoUnitByName: package scripts name only bailiff.service, whose configuration they check, and other packages' units.
func TestNoUnitByName(t *testing.T) {
	unit := regexp.MustCompile(`[a-z0-9@-]+\.(service|socket|timer)(\.d)?\b`)
	for _, s := range scripts(t) {
		text, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range unit.FindAllString(string(text), -1) {
			if !strings.HasSuffix(name, ".d") && name != "bailiff.service" && name != "fail2ban.service" {
				t.Errorf("%s names %s; see install.sh variables", s, name)
			}
		}
	}
}

// scripts are those of the packages.
func scripts(t *testing.T) []string {
	t.Helper()
	l, err := filepath.Glob("*/p*")
	l = slices.DeleteFunc(l, func(s string) bool { return strings.HasPrefix(s, "dist/") })
	if err != nil || len(l) < 9 {
		t.Fatal(l, err)
	}
	return l
}

// TestShell: all scripts are POSIX shell that shellcheck finds nothing in, as packages have them.
func TestShell(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, with := t.TempDir(), variables(t)
	check := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		// SC2016: a script writes a script. SC2034: not each one needs all variables. SC2086: some of them are lists.
		for _, c := range [][]string{{"shellcheck", "-s", "sh", "-e", "SC2016,SC2034,SC2086", file}, {"dash", "-n", file}} {
			if out, err := exec.CommandContext(t.Context(), c[0], c[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		}
	}
	for _, s := range scripts(t) {
		text, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		check(s, Complete(string(text), with))
	}
	files, err := exec.CommandContext(t.Context(), "git", "-C", top, "ls-files", "*.sh", "*.bash", ".ci").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range strings.Fields(string(files)) {
		text, err := os.ReadFile(filepath.Join(top, s))
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(s) == ".sh" {
			check(s, string(text))
		} else if out, err := exec.CommandContext(t.Context(), "shellcheck", "-s", "bash", filepath.Join(top, s)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", s, err, out)
		}
	}
}
