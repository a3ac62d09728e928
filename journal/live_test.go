package journal_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

// TestLive follows a journal while it is written, rotated and vacuumed, all at once: nothing is lost and nothing comes twice.
//
// The writer is systemd-journal-remote. It rotates when the table of field names (333 places, journal-def.h) is three
// quarters full, so entries bring a new name now and then. It is never more than one file ahead of the follower: what is vacuumed before
// it is read is lost to every reader.
func TestLive(t *testing.T) {
	journaltest.Need(t)
	const (
		entries   = 20_000
		perName   = 10
		perFile   = 250 * perName
		vacuum    = 2 // archived files that stay
		keepClose = perFile / 2
	)
	dir := t.TempDir()
	path := filepath.Join(dir, "live.journal")
	r, err := journal.Open(journal.Dir(dir), journal.Options{Fields: []string{"MESSAGE"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var got atomic.Int64
	wrote, vacuumed := make(chan error, 1), make(chan error, 1)

	pipe, end := journaltest.Start(t, path)
	go func() {
		wrote <- func() error {
			var b []byte
			for i := range int64(entries) {
				b = rotating(b[:0], int(i), perName)
				for i-got.Load() > keepClose {
					if ctx.Err() != nil {
						return fmt.Errorf("the follower stands still at %d", got.Load())
					}
					time.Sleep(time.Millisecond)
				}
				if _, err := pipe.Write(b); err != nil {
					return err
				}
			}
			return nil
		}()
	}()

	done, stop := context.WithCancel(ctx)
	seen := map[string]bool{} // archived files that were there at some time
	go func() {
		vacuumed <- func() error {
			for done.Err() == nil {
				for _, f := range journaltest.Files(path) {
					seen[f] = true
				}
				if out, err := exec.CommandContext(done, "journalctl", "--directory", dir, fmt.Sprint("--vacuum-files=", vacuum)).CombinedOutput(); err != nil && done.Err() == nil {
					return fmt.Errorf("%w: %s", err, out)
				}
			}
			return nil
		}()
	}()

	for n := int64(0); n < entries; {
		for r.Next() {
			if m := string(r.Entry().Field(0)); m != fmt.Sprint(n) {
				t.Fatalf("entry %s comes where %d is due", m, n)
			}
			n++
			got.Store(n)
		}
		if n < entries {
			if err := r.Wait(ctx, time.Second); err != nil {
				t.Fatalf("after %d entries: %v, %v", n, err, r.Problems())
			}
		}
	}
	stop()
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if err := <-vacuumed; err != nil {
		t.Error(err)
	}
	end()
	if r.Next() {
		t.Errorf("one more: %s", r.Entry().Field(0))
	}
	if p := r.Problems(); len(p) > 0 {
		t.Error(p)
	}
	gone := 0
	for f := range seen {
		if _, err := os.Stat(f); err != nil {
			gone++
		}
	}
	if len(seen) < entries/perFile-1 || gone < len(seen)-vacuum-3 || gone == 0 {
		t.Errorf("there were %d files, of which %d were vacuumed: the test did not see what it is for", len(seen), gone)
	}
	t.Logf("%d entries over %d files, %d of them vacuumed", entries, len(seen), gone)
}

// rotating appends an entry whose message is its number, with a new field name every perName entries.
func rotating(b []byte, i, perName int) []byte {
	return fmt.Appendf(b, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=6f71f3b14a344ab39a3db4af958d55cd\nROTATE_%d=\nMESSAGE=%d\n\n",
		1_700_000_000_000_000+i, i+1, i/perName, i)
}

// TestTruncated cuts a file off under its reader, which has it mapped: reading there is a SIGBUS. The file is a problem with
// a name, and the other file is read to its end.
func TestTruncated(t *testing.T) {
	for _, size := range []int64{0, 100, 4096, 300 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := t.TempDir()
			cut, whole := filepath.Join(dir, "cut.journal"), filepath.Join(dir, "whole.journal")
			journaltest.Write(t, cut, journaltest.Layout{}, journaltest.Gen{Entries: 2000, Seed: 1, BootSeed: 1})
			g := journaltest.Gen{Entries: 500, Seed: 2, BootSeed: 2, Step: 4000}
			journaltest.Write(t, whole, journaltest.Layout{}, g)
			boot, err := journal.ParseID128(g.Boot(0))
			if err != nil {
				t.Fatal(err)
			}
			r, err := journal.Open(journal.Files(cut, whole), journal.Options{Fields: []string{"MESSAGE"}})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			n, found := 0, 0
			for r.Next() {
				if n++; n == 100 {
					if err := os.Truncate(cut, size); err != nil {
						t.Fatal(err)
					}
				}
				if r.Entry().BootID == boot {
					found++
				}
				r.Entry().Each(func(string, []byte) bool { return true })
			}
			if found != 500 {
				t.Errorf("%d of 500 entries of the other file: %v", found, r.Problems())
			}
			told := false
			for _, err := range r.Problems() {
				told = told || strings.Contains(err.Error(), cut)
			}
			if !told {
				t.Errorf("problems %v do not name %s", r.Problems(), cut)
			}
			if err := r.Wait(t.Context(), time.Millisecond); err != nil {
				t.Error(err)
			}
		})
	}
}
