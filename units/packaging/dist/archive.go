package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
func (r *release) tarball(name, dir string) (err error) {
	f, err := os.Create(filepath.Join(r.out, name+".tar.gz"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	top := filepath.Dir(dir)
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return r.add(t, top, p, d)
	})
	return errors.Join(err, t.Close(), z.Close())
}

func (r *release) add(t *tar.Writer, top, path string, d fs.DirEntry) error {
	i, err := d.Info()
	if err != nil {
		return err
	}
	h := &tar.Header{Name: strings.TrimPrefix(path, top+"/"), ModTime: r.date, Format: tar.FormatPAX, Uname: "root", Gname: "root", Mode: 0o644}
	switch {
	case d.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, h.Name+"/", 0o755
		return t.WriteHeader(h)
	case i.Mode()&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(path); err != nil {
			return err
		}
		return t.WriteHeader(h)
	case i.Mode()&0o100 != 0:
		h.Mode = 0o755
	}
	h.Typeflag, h.Size = tar.TypeReg, i.Size()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(t, f)
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
