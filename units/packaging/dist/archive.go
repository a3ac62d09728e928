package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bailiff/units/version"
)

// commitFile stands in a source tarball, which has no git: commit and its time in seconds.
const commitFile = "units/packaging/COMMIT"

// source packs the commit with all its dependencies: it builds without a network, since go prefers the folder vendor.
func (r *release) source() error {
	dir := filepath.Join(r.work, "bailiff-"+version.Release)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(".git"); errors.Is(err, fs.ErrNotExist) {
		return errors.New("the source tarball is made from a git checkout only; see -formats")
	}
	files := r.command("git", "archive", "--format=tar", "HEAD")
	text, err := files.Output()
	if err != nil {
		return fmt.Errorf("git archive: %w", err)
	}
	unpack := r.command("tar", "-x", "-C", dir)
	unpack.Stdin = bytes.NewReader(text)
	if err := unpack.Run(); err != nil {
		return fmt.Errorf("tar: %w", err)
	}
	if out, err := r.command("go", "mod", "vendor", "-o", filepath.Join(dir, "vendor")).Output(); err != nil {
		return fmt.Errorf("go mod vendor: %w\n%s", err, out)
	}
	stamp := fmt.Sprintf("%s %d\n", r.commit, r.date.Unix())
	if err := os.WriteFile(filepath.Join(dir, commitFile), []byte(stamp), 0o644); err != nil {
		return err
	}
	return r.tarball(filepath.Base(dir)+"-src", dir)
}

// tarball packs a folder as NAME.tar.gz: files sorted, all of one time, of root, and with the modes 0644 and 0755.
func (r *release) tarball(name, dir string) error {
	_, err := r.output("tar", "--format=gnu", "--sort=name", fmt.Sprintf("--mtime=@%d", r.date.Unix()), "--owner=root:0", "--group=root:0", "--mode=u=rwX,go=rX",
		"--use-compress-program=gzip -n", "-C", filepath.Dir(dir), "-cf", filepath.Join(r.out, name+".tar.gz"), filepath.Base(dir))
	return err
}

// compress writes text as gzip -9n does: without name and time.
func compress(path string, text []byte) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
