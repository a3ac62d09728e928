// Package doc has pages for those who work on bailiff, and a test that holds them against the tree.
package doc

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
	for _, page := range append(pages, "../../README.md", "../../SECURITY.md", "../e2e/RESULTS.md") {
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
