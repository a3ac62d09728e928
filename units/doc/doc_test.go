// Package doc has pages for developers and operators, and tests that compare them with the source tree.
package doc

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bailiff/units/configdir"
	"bailiff/units/packaging"
)

var (
	link   = regexp.MustCompile(`\]\(([^)#:]+)\)`)
	inCode = regexp.MustCompile("`((?:cmd|journal|firewall|policy|units)/[^` ]*)`")
)

// TestLinks: what README and the pages link to, and each file they name with its whole path, is there.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../../README.md", "../../SECURITY.md", "../../.github/CONTRIBUTING.md", "../e2e/RESULTS.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
		for _, m := range inCode.FindAllStringSubmatch(string(text), -1) {
			if strings.ContainsAny(m[1], "*{…") || strings.HasSuffix(m[1], "/example") {
				continue
			}
			if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
				t.Errorf("%s names %s: %v", page, m[1], err)
			}
		}
	}
}

// example is a configuration on one line of an indented block.
var example = regexp.MustCompile(`(?m)^ {4,}((?:allow|defaults|firewall|jails|limits|report): +\{.*\})$`)

// TestExamples: bailiff accepts the configurations that the pages show.
func TestExamples(t *testing.T) {
	for page, least := range map[string]int{"automation.md": 3, "../../README.md": 2} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found := example.FindAllStringSubmatch(string(text), -1)
		if len(found) < least {
			t.Errorf("%s: %d configurations found, want %d at least", page, len(found), least)
		}
		for _, m := range found {
			file := filepath.Join(t.TempDir(), "example.yaml")
			if err := os.WriteFile(file, []byte(m[1]+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := new(configdir.Loader).LoadFile(file); err != nil {
				t.Errorf("%s: %s: %v", page, m[1], err)
			}
		}
	}
}

// TestNixOS follows the steps of the package in automation.md, with a program that only stands for the real one: all files get
// to PREFIX, and units name the programs there. The users are those of sysusers.conf.
func TestNixOS(t *testing.T) {
	page, err := os.ReadFile("automation.md")
	if err != nil {
		t.Fatal(err)
	}
	list := func(name string) []string {
		m := regexp.MustCompile(name + ` = \[ (.*) \];`).FindStringSubmatch(string(page))
		if m == nil {
			t.Fatalf("automation.md has no %s", name)
		}
		return strings.Fields(strings.ReplaceAll(m[1], `"`, ""))
	}
	conf, err := os.ReadFile("../systemd/sysusers.conf")
	if err != nil {
		t.Fatal(err)
	}
	var users, programs []string
	for _, m := range regexp.MustCompile(`(?m)^u (\S+)`).FindAllStringSubmatch(string(conf), -1) {
		users = append(users, m[1])
	}
	if got := list("users"); !slices.Equal(got, users) {
		t.Errorf("automation.md creates users %q; sysusers.conf %q", got, users)
	}
	files, err := packaging.Files("../packaging/files")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if p := f.Program(); p != "" {
			programs = append(programs, p)
		}
	}
	if got := list("subPackages"); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(programs))) {
		t.Errorf("automation.md builds %q; installed are %q", got, programs)
	}
	steps := regexp.MustCompile(`(?s)postInstall = ''(.*?)'';`).FindStringSubmatch(string(page))
	if steps == nil {
		t.Fatal("automation.md has no steps")
	}
	tree, out := t.TempDir(), filepath.Join(t.TempDir(), "nix/store/x-bailiff")
	if err := os.CopyFS(filepath.Join(tree, "units"), os.DirFS("..")); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		to := filepath.Join(tree, f.Source)
		if p, ok := strings.CutPrefix(f.Source, "bin/bailiff"); ok {
			to = filepath.Join(out, "bin/bailiff"+p)
		}
		if strings.HasPrefix(f.Source, "cmd/") || to != filepath.Join(tree, f.Source) || strings.HasPrefix(f.Source, "bin/man/") {
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, []byte(f.Source), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", strings.ReplaceAll(steps[1], "make man", "true"))
	cmd.Dir, cmd.Env = tree, []string{"PATH=" + os.Getenv("PATH"), "out=" + out}
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	n := 0
	err = filepath.WalkDir(out, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for _, m := range regexp.MustCompile(`(?m)^Exec\w+=(/\S+)`).FindAllSubmatch(text, -1) {
			if _, err := os.Stat(string(m[1])); err != nil || !strings.HasPrefix(string(m[1]), out) {
				t.Errorf("%s runs %s: %v", filepath.Base(p), m[1], err)
			}
		}
		return nil
	})
	if err != nil || n != len(files) {
		t.Errorf("%d files are installed, %d are listed: %v", n, len(files), err)
	}
}

// TestReadmeIsShort: README is read in full, so it stays below 200 lines.
func TestReadmeIsShort(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n >= 200 {
		t.Errorf("README.md has %d lines", n)
	}
}
