package journal_test

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

// fileSet is some journal files that are read together.
type fileSet struct {
	name  string
	files []string
	mixed bool // entries of different boots lie between each other in time
}

// byBoot reports whether the order of the set's entries can be compared only within each boot. libsystemd up to 253 orders entries
// of different boots by realtime, as Reader does; from 254 on it orders boots by what it has seen of them so far (compare_boot_ids in
// sd-journal.c), so the next entry depends on those read before. Within one boot both go by the monotonic clock.
func (s fileSet) byBoot(t testing.TB) bool {
	t.Helper()
	if !s.mixed {
		return false
	}
	out, err := exec.Command("journalctl", "--version").Output()
	var version int
	if _, serr := fmt.Sscanf(string(out), "systemd %d", &version); err != nil || serr != nil {
		t.Fatalf("journalctl --version: %q, %v, %v", out, err, serr)
	}
	return version >= 254
}

// nextOf steps the reader of a boot, opened and sought at its first use, to the boot's next entry. The caller decides the order of
// boots; the order within each boot is Reader's own.
func nextOf(t testing.TB, readers map[journal.ID128]*journal.Reader, files []string, m journal.Matches, boot journal.ID128,
	seek func(*journal.Reader), step func(*journal.Reader) bool) *journal.Reader {
	t.Helper()
	r := readers[boot]
	if r == nil {
		var err error
		if r, err = journal.Open(journal.Files(files...), journal.Options{Matches: m}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		readers[boot] = r
		seek(r)
	}
	for step(r) {
		if r.Entry().BootID == boot {
			return r
		}
	}
	t.Fatalf("Reader has no more entries of boot %v: %v", boot, r.Problems())
	return nil
}

// captures are the journals of real hosts, from ../shared beside the checkout or BAILIFF_SHARED.
func captures(t testing.TB) []fileSet {
	t.Helper()
	root := shared()
	tars, _ := filepath.Glob(filepath.Join(root, "journal", "*", "journal-files.tar.xz"))
	if len(tars) == 0 {
		t.Log("no captures of real hosts: set BAILIFF_SHARED to the folder that holds journal/*/journal-files.tar.xz")
	}
	var sets []fileSet
	for _, name := range tars {
		dir := t.TempDir()
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := xz.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		set := fileSet{name: filepath.Base(filepath.Dir(name))}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(name, err)
			}
			if !strings.HasSuffix(h.Name, ".journal") {
				continue
			}
			path := filepath.Join(dir, filepath.Base(h.Name))
			w, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(w, r); err != nil {
				t.Fatal(name, err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			set.files = append(set.files, path)
		}
		sets = append(sets, set)
	}
	return sets
}

// shared finds the folder beside the checkout; empty when there is none.
func shared() string {
	if dir := os.Getenv("BAILIFF_SHARED"); dir != "" {
		return dir
	}
	for dir, _ := os.Getwd(); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(filepath.Dir(dir), "shared")
		}
		if dir == "/" {
			return ""
		}
	}
}

// written are files by systemd-journal-remote: every layout, several files that overlap in time, several boots, a file that is there
// twice, and n entries that rotated by themselves.
func written(t testing.TB, n int) []fileSet {
	t.Helper()
	var sets []fileSet
	add := func(name string, files ...string) { sets = append(sets, fileSet{name: name, files: files}) }
	mixed := func(name string, files ...string) { sets = append(sets, fileSet{name, files, true}) }
	for _, l := range journaltest.Layouts() {
		g := journaltest.Gen{Entries: min(n, 3000), Boots: 2, Odd: true}
		add(l.String(), journaltest.Write(t, filepath.Join(t.TempDir(), "a.journal"), l, g)...)
	}
	dir := t.TempDir()
	var overlap []string
	for i := range 3 {
		g := journaltest.Gen{Entries: min(n, 3000), Boots: 3, Seed: uint64(i), Step: int64(800 + 300*i)}
		overlap = append(overlap, journaltest.Write(t, filepath.Join(dir, strconv.Itoa(i)+".journal"), journaltest.Layouts()[2*i], g)...)
	}
	mixed("overlap", overlap...)
	var foreign []string
	for i := range 2 {
		g := journaltest.Gen{Entries: min(n, 2000), Boots: 2, Seed: uint64(i), BootSeed: uint64(i), Start: 1_700_000_000_000_000 + int64(i)*500_000}
		foreign = append(foreign, journaltest.Write(t, filepath.Join(dir, "host"+strconv.Itoa(i)+".journal"), journaltest.Layout{}, g)...)
	}
	mixed("two-hosts", foreign...)
	copied := filepath.Join(dir, "copy.journal")
	b, err := os.ReadFile(overlap[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, b, 0o640); err != nil {
		t.Fatal(err)
	}
	add("twice", overlap[0], copied)
	add("rotated", journaltest.Write(t, filepath.Join(t.TempDir(), "big.journal"), journaltest.Layout{}, journaltest.Gen{Entries: n, Boots: 3})...)
	return sets
}
