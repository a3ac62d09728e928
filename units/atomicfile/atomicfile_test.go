package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func names(t *testing.T, dir string) (l []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		l = append(l, e.Name())
	}
	return l
}

func content(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestCommitNew: an existing file stays, whatever it is.
func TestCommitNew(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "new")
	for i, want := range []error{nil, fs.ErrExist} {
		f, err := Create(name, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString([]string{"first", "second"}[i]); err != nil {
			t.Fatal(err)
		}
		if err := f.CommitNew(); !errors.Is(err, want) {
			t.Errorf("CommitNew %d: %v, want %v", i, err, want)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if have := content(t, name); have != "first" || len(names(t, dir)) != 1 {
		t.Errorf("%q, files %q", have, names(t, dir))
	}
}

// TestWrite: the mode holds whatever the umask is, and no temporary file stays.
func TestWrite(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	name := filepath.Join(dir, "state")
	for _, text := range []string{"old", "new"} {
		if err := Write(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := content(t, name); got != text {
			t.Errorf("content %q, want %q", got, text)
		}
	}
	if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if l := names(t, dir); len(l) != 1 {
		t.Errorf("files: %v", l)
	}
}

// TestFails: after an error the old content stays and no temporary file does.
func TestFails(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(name, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(name, []byte("x"), 0o644); err == nil {
		t.Error("a folder was replaced")
	}
	if l := names(t, dir); len(l) != 1 {
		t.Errorf("files: %v", l)
	}
	if err := Write(filepath.Join(dir, "none", "x"), nil, 0o644); err == nil {
		t.Error("no error without a folder")
	}
}

// TestDiscard: a replacement that is closed without Commit changes nothing.
func TestDiscard(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "state")
	if err := Write(name, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Create(name, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("half of the n")
	f.Close()
	if got := content(t, name); got != "old" {
		t.Errorf("content %q", got)
	}
	if l := names(t, dir); len(l) != 1 {
		t.Errorf("files: %v", l)
	}
}

// TestLink: the link itself is replaced, not the file that it names.
func TestLink(t *testing.T) {
	dir := t.TempDir()
	other, name := filepath.Join(dir, "other"), filepath.Join(dir, "state")
	if err := os.WriteFile(other, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, name); err != nil {
		t.Fatal(err)
	}
	if err := Write(name, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := content(t, other); got != "other" {
		t.Errorf("the target of the link was written: %q", got)
	}
	if st, err := os.Lstat(name); err != nil || st.Mode()&fs.ModeSymlink != 0 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// TestLeftover: what a crash has left under the temporary name is overwritten, whole; a link there is not followed.
func TestLeftover(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "state")
	if err := os.WriteFile(name+".new", []byte("a long text of before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(name, []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(name); err != nil || content(t, name) != "new" || st.Mode().Perm() != 0o644 {
		t.Errorf("%q, %v, %v", content(t, name), st, err)
	}
	other := filepath.Join(dir, "other")
	if err := os.Symlink(other, name+".new"); err != nil {
		t.Fatal(err)
	}
	if err := Write(name, []byte("newer"), 0o644); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a link: %v", err)
	}
	if l := names(t, dir); len(l) != 2 {
		t.Errorf("files: %v", l)
	}
}

// TestBusy: one process writes at a time; a second one gets an error, and the first one's content stays whole.
func TestBusy(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	f, err := Create(name, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("first")
	if err := Write(name, []byte("second"), 0o600); !errors.Is(err, ErrBusy) {
		t.Errorf("second writer: %v", err)
	}
	if err := f.Commit(); err != nil || content(t, name) != "first" {
		t.Errorf("%v", err)
	}
	if err := Write(name, []byte("third"), 0o600); err != nil || content(t, name) != "third" {
		t.Errorf("after that: %v", err)
	}
}
