// Package changelog reads the notes on changes that are not released yet and makes a section of CHANGELOG.md of them.
//
// Each change that a user can notice has a file of its own, unreleased/SHORT-NAME.md, so that two changes never conflict:
//
//	Added: `bailiff version --json` names commit, Go version and modules.
//
//	An empty line and a paragraph may follow, for what a user has to know or do.
//
// The first line starts with one of Kinds and is one sentence. assemble/ is the program.
package changelog

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Folder is where the fragments are, relative to the top of the tree.
const Folder = "units/changelog/unreleased"

// Kinds are what a fragment may start with, in the order of a section: https://keepachangelog.com/en/1.1.0/
var Kinds = []string{"Security", "Added", "Changed", "Fixed", "Removed"}

// unreleased is the heading below which CHANGELOG.md collects what the next release contains.
const unreleased = "## Unreleased\n"

// width is where the lines of a section wrap, in characters.
const width = 100

// A Fragment is the note on one change.
type Fragment struct {
	Name string // of the file
	Kind string
	Text []string // paragraphs; the first begins with the sentence
}

var fileName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*\.md$`)

// Read returns the fragments in a folder, sorted by file name. The error names each file that is not well formed.
func Read(folder fs.FS) ([]Fragment, error) {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return nil, err
	}
	var l []Fragment
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") { // keeps the empty folder in git
			continue
		}
		text, err := fs.ReadFile(folder, e.Name())
		if err != nil {
			return nil, err
		}
		f, err := Parse(e.Name(), string(text))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path.Join(Folder, e.Name()), err))
		}
		l = append(l, f)
	}
	return l, errors.Join(errs...)
}

// Parse reads one fragment. Its errors say what to write instead.
func Parse(name, text string) (Fragment, error) {
	f := Fragment{Name: name}
	if !fileName.MatchString(name) {
		return f, errors.New("a name consists of lower case words with hyphens and ends in .md")
	}
	if !utf8.ValidString(text) || strings.ContainsAny(text, "\r\t") || !strings.HasSuffix(text, "\n") {
		return f, errors.New("UTF-8 without tabs and carriage returns is expected, and a newline at the end")
	}
	first, rest, _ := strings.Cut(text, "\n")
	kind, sentence, ok := strings.Cut(first, ": ")
	if !ok || !slices.Contains(Kinds, kind) {
		return f, fmt.Errorf("line 1: expected one of %s, then a colon and a sentence", strings.Join(Kinds, ", "))
	}
	if sentence != strings.TrimSpace(sentence) || !strings.HasSuffix(sentence, ".") || len(sentence) < 10 {
		return f, errors.New("line 1: expected one sentence that ends with a full stop")
	}
	f.Kind, f.Text = kind, []string{sentence}
	if rest == "" {
		return f, nil
	}
	if !strings.HasPrefix(rest, "\n") {
		return f, errors.New("line 2: expected an empty line; the sentence stands on line 1 alone")
	}
	for i, p := range strings.Split(strings.TrimPrefix(rest, "\n"), "\n\n") {
		if strings.HasPrefix(p, " ") || strings.HasPrefix(p, "#") || strings.HasPrefix(p, "- ") || strings.TrimSpace(p) == "" || strings.HasPrefix(p, "\n") {
			return f, fmt.Errorf("paragraph %d: expected plain text: no heading, list or code block, and no second empty line", i+1)
		}
		if p = strings.Join(strings.Fields(p), " "); i == 0 {
			f.Text[0] += " " + p
		} else {
			f.Text = append(f.Text, p)
		}
	}
	return f, nil
}

// Section returns the fragments as Markdown: a heading for each kind that occurs, and an item for each change.
func Section(l []Fragment) string {
	var b strings.Builder
	for _, kind := range Kinds {
		heading := "### " + kind + "\n"
		for _, f := range l {
			if f.Kind != kind {
				continue
			}
			b.WriteString(heading)
			heading = ""
			for i, p := range f.Text {
				if i == 0 {
					b.WriteString(wrap("- ", p))
				} else {
					b.WriteString("\n" + wrap("  ", p))
				}
			}
		}
		if heading == "" {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// wrap breaks a paragraph into lines; each but the first is indented by two spaces.
func wrap(first, text string) string {
	var b strings.Builder
	line := first
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			b.WriteString(line + "\n")
			line = "  " + word
		default:
			line += " " + word
		}
	}
	return b.String() + line + "\n"
}

// Assemble returns the text of CHANGELOG.md with the fragments in its unreleased part, before what already stands there. With
// a release, "1.0.0 (2026-12-01)" for instance, the part gets this as its heading, and an empty unreleased part is put before it.
func Assemble(changelog string, l []Fragment, release string) (string, error) {
	before, after, ok := strings.Cut(changelog, unreleased)
	if !ok || strings.Contains(after, unreleased) {
		return "", fmt.Errorf("CHANGELOG.md: expected one line %q", strings.TrimSpace(unreleased))
	}
	heading := unreleased
	if release != "" {
		if strings.Contains(changelog, "\n## "+release[:strings.IndexAny(release+" ", " ")]+" ") {
			return "", fmt.Errorf("CHANGELOG.md has a part for %s already", release)
		}
		heading = unreleased + "\n## " + release + "\n"
	}
	section, after := Section(l), strings.TrimLeft(after, "\n")
	if section == "" {
		return before + heading + "\n" + after, nil
	}
	return before + heading + "\n" + section + after, nil
}
