// Command assemble prints the section of CHANGELOG.md that the fragments in units/changelog/unreleased make up. With -release
// it writes the section into CHANGELOG.md, as the part for that release, and deletes the fragments.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bailiff/units/changelog"
)

func main() {
	release := flag.String("release", "", "write the part for `VERSION` into CHANGELOG.md and delete the fragments")
	date := flag.String("date", time.Now().UTC().Format(time.DateOnly), "the `DAY` of the release")
	flag.Parse()
	if err := run(*release, *date); err != nil {
		fmt.Fprintln(os.Stderr, "assemble:", err)
		os.Exit(1)
	}
}

func run(release, date string) error {
	l, err := changelog.Read(os.DirFS(changelog.Folder))
	if err != nil {
		return err
	}
	if release == "" {
		fmt.Print(changelog.Section(l))
		return nil
	}
	text, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		return err
	}
	next, err := changelog.Assemble(string(text), l, fmt.Sprintf("%s (%s)", release, date))
	if err != nil {
		return err
	}
	if err := os.WriteFile("CHANGELOG.md", []byte(next), 0o644); err != nil {
		return err
	}
	for _, f := range l {
		if err := os.Remove(filepath.Join(changelog.Folder, f.Name)); err != nil {
			return err
		}
	}
	return nil
}
