// Package catalog holds the texts that journalctl -x shows below our entries, and the test that compares them with the code.
package catalog

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ids finds all 32-digit ids by a pattern with one group.
func ids(text, pattern string) []string {
	var out []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	slices.Sort(out)
	return out
}

// TestIDs compares with the source and not with the package: units imports nothing of journal.
func TestIDs(t *testing.T) {
	text := read(t, "bailiff.catalog")
	have := ids(text, `(?m)^-- ([0-9a-f]{32})$`)
	want := ids(read(t, "../../journal/audit/kind.go"), `"([0-9a-f]{32})"`)
	if len(want) == 0 || !slices.Equal(have, want) {
		t.Errorf("catalog has\n%s\nand the code\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	if n := len(slices.Compact(slices.Clone(want))); n != len(want) {
		t.Error("an id is there twice")
	}
	for _, e := range strings.Split(text, "\n-- ")[1:] {
		head, body, ok := strings.Cut(e, "\n\n")
		for _, h := range []string{"Subject: ", "Defined-By: bailiff", "Documentation: man:"} {
			if !strings.Contains(head, "\n"+h) {
				t.Errorf("%.32s: no %q", e, h)
			}
		}
		if !ok || strings.TrimSpace(body) == "" {
			t.Errorf("%.32s: no text", e)
		}
	}
}

// TestFields makes sure that every @FIELD@ is one that the code writes.
func TestFields(t *testing.T) {
	code := read(t, "../../journal/audit/event.go") + read(t, "../../journal/audit/writer.go")
	for _, f := range ids(read(t, "bailiff.catalog"), `@(\w+)@`) {
		if !strings.Contains(code, `"`+f+`"`) {
			t.Errorf("nothing writes %s", f)
		}
	}
}

// TestJournalctl compiles and shows the catalog with systemd's own programs.
func TestJournalctl(t *testing.T) {
	bin, err := exec.LookPath("journalctl")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("journalctl is needed: %v", err)
		}
		t.Skipf("journalctl is not installed: %v", err)
	}
	root := t.TempDir()
	dir := filepath.Join(root, "usr/lib/systemd/catalog")
	for _, d := range []string{dir, filepath.Join(root, "var/lib/systemd/catalog")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := read(t, "bailiff.catalog")
	if err := os.WriteFile(filepath.Join(dir, "bailiff.catalog"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bin, "--root="+root, "--update-catalog").CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "" {
		t.Fatalf("--update-catalog: %v\n%s", err, out)
	}
	out, err := exec.Command(bin, "--root="+root, "--list-catalog").CombinedOutput()
	if err != nil {
		t.Fatalf("--list-catalog: %v\n%s", err, out)
	}
	if have, want := ids(string(out), `(?m)^([0-9a-f]{32}) bailiff: \S`), ids(text, `(?m)^-- ([0-9a-f]{32})$`); !slices.Equal(have, want) {
		t.Errorf("--list-catalog shows\n%s\nwant ids\n%s", out, strings.Join(want, "\n"))
	}
}
