package changelog

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

const top = "../.."

// TestFragments: each fragment of the tree is well formed, and CHANGELOG.md takes them.
func TestFragments(t *testing.T) {
	l, err := Read(os.DirFS(top + "/" + Folder))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(top + "/CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	next, err := Assemble(string(text), l, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range l {
		if !strings.Contains(next, "\n- "+strings.Fields(f.Text[0])[0]) {
			t.Errorf("%s is not in the assembled text", f.Name)
		}
	}
	for line := range strings.Lines(Section(l)) {
		if n := len([]rune(line)) - 1; n > width && strings.Contains(strings.TrimSpace(line[2:]), " ") {
			t.Errorf("%d characters: %s", n, line)
		}
	}
}

func TestParse(t *testing.T) {
	good := "Fixed: The daemon starts without a network.\n"
	for _, c := range []struct{ name, text, want string }{
		{"a.md", good, ""},
		{"a-b2.md", good + "\nA paragraph\nof two lines.\n\nAnother.\n", ""},
		{"A.md", good, "lower case"},
		{"a.txt", good, "lower case"},
		{"a.md", strings.TrimSuffix(good, "\n"), "newline"},
		{"a.md", "", "newline"},
		{"a.md", strings.ReplaceAll(good, "\n", "\r\n"), "carriage returns"},
		{"a.md", "\xff" + good, "UTF-8"},
		{"a.md", "Mended: The daemon starts without a network.\n", "line 1: expected one of"},
		{"a.md", "The daemon starts without a network.\n", "line 1: expected one of"},
		{"a.md", "Fixed: the daemon starts without a network\n", "full stop"},
		{"a.md", "Fixed: .\n", "full stop"},
		{"a.md", "Fixed: The daemon starts\nwithout a network.\n", "full stop"},
		{"a.md", good + "More.\n", "line 2"},
		{"a.md", good + "\n", "paragraph 1"},
		{"a.md", good + "\nText.\n\n\nMore.\n", "paragraph 2"},
		{"a.md", good + "\n## More\n", "paragraph 1"},
		{"a.md", good + "\nText.\n\n- item\n", "paragraph 2"},
	} {
		_, err := Parse(c.name, c.text)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s %q: %v", c.name, c.text, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s %q: %v, want %q", c.name, c.text, err, c.want)
		}
	}
}

func TestAssemble(t *testing.T) {
	l, err := Read(fstest.MapFS{
		"z.md":     {Data: []byte("Security: One.\n")},
		".gitkeep": {},
	})
	if err == nil || !strings.Contains(err.Error(), "unreleased/z.md: line 1") {
		t.Errorf("an error that names the file is expected: %v, %v", l, err)
	}
	l, err = Read(fstest.MapFS{
		"a.md": {Data: []byte("Fixed: The second kind in a section.\n")},
		"b.md": {Data: []byte("Added: A sentence of its own.\n\n" + strings.Repeat("word ", 30) + "\n\nOne more.\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	const old = "# Changes\n\n## Unreleased\n\n### Topic\n- Old text.\n\n## 0.9.0 (2026-01-01)\n- First.\n"
	got, err := Assemble(old, l, "1.0.0 (2026-12-01)")
	if err != nil {
		t.Fatal(err)
	}
	want := `# Changes

## Unreleased

## 1.0.0 (2026-12-01)

### Added
- A sentence of its own. word word word word word word word word word word word word word word word
  word word word word word word word word word word word word word word word

  One more.

### Fixed
- The second kind in a section.

### Topic
- Old text.

## 0.9.0 (2026-01-01)
- First.
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if _, err := Assemble(got, nil, "1.0.0 (2026-12-02)"); err == nil {
		t.Error("the same release twice is no error")
	}
	next, err := Assemble(got, nil, "")
	if err != nil || next != got {
		t.Errorf("without fragments the text changes: %v\n%s", err, next)
	}
	if _, err := Assemble("# Changes\n", l, ""); err == nil {
		t.Error("no error without an unreleased part")
	}
}

// TestVersions: the headings of CHANGELOG.md are of the form that Assemble looks for.
func TestVersions(t *testing.T) {
	text, err := os.ReadFile(top + "/CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`^## (Unreleased|\d+\.\d+\.\d+(-rc\d+)? \(\d{4}-\d\d-\d\d\))\n$`)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "## ") && !heading.MatchString(line) {
			t.Errorf("heading %q: expected Unreleased, or a version and a day", line)
		}
	}
}
