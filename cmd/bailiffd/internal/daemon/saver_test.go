package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestSaveNow: bans are in the journal before the state with them is on disk, even if an operator's command causes the save: after a crash
// in between nobody would announce them.
func TestSaveNow(t *testing.T) {
	dir := t.TempDir()
	flushed := false
	s := &saver{dir: dir, build: func(b []byte) []byte { return append(b, "state"...) }, failed: func(err error) { t.Error(err) }}
	s.flush = func(ctx context.Context) error {
		flushed = true
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a journald that hangs would hold up the daemon")
		}
		if _, err := os.Stat(filepath.Join(dir, stateName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the state was written first: %v", err)
		}
		return nil
	}
	if err := s.saveNow(); err != nil || !flushed {
		t.Errorf("%v; announced before: %v", err, flushed)
	}
	if text, err := os.ReadFile(filepath.Join(dir, stateName)); err != nil || string(text) != "state" {
		t.Errorf("%q, %v", text, err)
	}
}
